"""PPP and what carries it."""
