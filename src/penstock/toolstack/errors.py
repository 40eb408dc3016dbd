"""What a person is told."""

__all__ = ["DomainError"]


class DomainError(Exception):
    """What a person asked for cannot be done; the message says why, and what to do instead."""
