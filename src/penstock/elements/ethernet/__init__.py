"""Click's group ``ethernet``."""
