"""Null and its copies, which exist so that configurations can tell them apart in profiles."""

from penstock.elements import Element

__all__ = ["Null", "Null1", "Null2", "Null3", "Null4", "Null5", "Null6", "Null7", "Null8", "PullNull", "PushNull"]


class Null(Element):
    """Pass packets unchanged.

    Example:
        InfiniteSource(LIMIT 1) -> Null -> Discard;
    """


class Null1(Null):
    """Null by another name.

    Example:
        InfiniteSource(LIMIT 1) -> Null1 -> Discard;
    """


class Null2(Null):
    """Null by another name.

    Example:
        InfiniteSource(LIMIT 1) -> Null2 -> Discard;
    """


class Null3(Null):
    """Null by another name.

    Example:
        InfiniteSource(LIMIT 1) -> Null3 -> Discard;
    """


class Null4(Null):
    """Null by another name.

    Example:
        InfiniteSource(LIMIT 1) -> Null4 -> Discard;
    """


class Null5(Null):
    """Null by another name.

    Example:
        InfiniteSource(LIMIT 1) -> Null5 -> Discard;
    """


class Null6(Null):
    """Null by another name.

    Example:
        InfiniteSource(LIMIT 1) -> Null6 -> Discard;
    """


class Null7(Null):
    """Null by another name.

    Example:
        InfiniteSource(LIMIT 1) -> Null7 -> Discard;
    """


class Null8(Null):
    """Null by another name.

    Example:
        InfiniteSource(LIMIT 1) -> Null8 -> Discard;
    """


class PushNull(Null):
    """Null whose ports are push.

    Example:
        InfiniteSource(LIMIT 1) -> PushNull -> Discard;
    """

    processing = "h/h"


class PullNull(Null):
    """Null whose ports are pull.

    Example:
        InfiniteSource(LIMIT 1) -> Queue -> PullNull -> Unqueue -> Discard;
    """

    processing = "l/l"
