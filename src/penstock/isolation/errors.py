"""What goes wrong with machines."""

__all__ = ["MachineError"]


class MachineError(Exception):
    """The machine cannot be made, or does not answer."""
