"""What a person is told."""

__all__ = ["DomainError", "NoToolstack"]


class DomainError(Exception):
    """What a person asked for cannot be done; the message says why, and what to do instead."""


class NoToolstack(DomainError):
    """None runs, and none was to be started."""
