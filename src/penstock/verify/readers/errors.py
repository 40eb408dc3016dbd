"""What a reader says of a file that it does not understand."""

__all__ = ["TableError"]


class TableError(ValueError):
    """A line that cannot be understood; the message says which, and why."""
