"""What ends a question without an answer."""

from __future__ import annotations

__all__ = ["NotDecided", "OutOfTime"]


class NotDecided(Exception):
    """This cannot be followed; the message says why."""


class OutOfTime(NotDecided):
    """A question took longer than it may."""
