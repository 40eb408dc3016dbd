"""Click's group ``userlevel``."""
