"""Click's group ``icmp``."""
