"""Click's group ``ip``."""
