"""Click's group ``analysis``."""
