"""Tests of the room tracebox."""
