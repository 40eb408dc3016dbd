"""Click's group ``ip6``."""
