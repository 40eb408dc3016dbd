"""Elements at the edge of a domain: its interfaces."""
