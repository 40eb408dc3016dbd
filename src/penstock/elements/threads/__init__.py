"""Click's group 'threads': which thread runs what, and locks."""
