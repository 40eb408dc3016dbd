"""Click's group ``aqm``."""
