"""Null and its copies, which exist so that configurations can tell them apart in profiles."""

from penstock.elements import Element

__all__ = ["Null", "Null1", "Null2", "Null3", "Null4", "Null5", "Null6", "Null7", "Null8", "PullNull", "PushNull"]


class Null(Element):
    """Pass packets unchanged.

    Example:
        InfiniteSource(LIMIT 1) -> Null -> Discard;
    """


class Null1(Null):
    """Null by another name."""


class Null2(Null):
    """Null by another name."""


class Null3(Null):
    """Null by another name."""


class Null4(Null):
    """Null by another name."""


class Null5(Null):
    """Null by another name."""


class Null6(Null):
    """Null by another name."""


class Null7(Null):
    """Null by another name."""


class Null8(Null):
    """Null by another name."""


class PushNull(Null):
    """Null whose ports are push."""

    processing = "h/h"


class PullNull(Null):
    """Null whose ports are pull."""

    processing = "l/l"
