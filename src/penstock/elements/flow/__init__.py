"""Packets by their flows: who gets which. Click has none of these."""
