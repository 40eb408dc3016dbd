"""Click's group ``standard``."""
