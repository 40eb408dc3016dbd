"""Large routing tables written plainly: read all at once, by arrays instead of a route at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.datapath.manyprefixes import Prefixes

__all__ = ["plain_routes"]

#: what stands behind each number of a route: ``192.0.2.0/24 3,``
_SEPARATORS = b".../ ,"
_DIGITS_MAX = (3, 3, 3, 3, 2, 6)


def plain_routes(text: str, noutputs: int) -> Prefixes | None:
    """Prefixes with their outputs as numbers, of arguments that are a prefix and an output each, where no prefix stands twice, and all are
    right; None otherwise: who reads a route at a time says what is wrong with it."""
    import numpy as np

    from penstock.datapath.manyprefixes import Prefixes

    try:
        joined = text.strip().removesuffix(",").replace(", ", ",").replace(",\n", ",").encode("ascii") + b","
        content = np.frombuffer(joined, np.uint8)
    except UnicodeEncodeError:
        return None
    # 32 bits: what is gathered by them comes twice as quickly, and no text is as long as 2 GiB.
    ends = np.flatnonzero(content - np.uint8(48) > 9).astype(np.int32)
    separators = np.frombuffer(_SEPARATORS, np.uint8)
    if len(ends) % 6 or (content[ends].reshape(-1, 6) != separators).any():
        return None
    counts = np.empty_like(ends)
    counts[0] = ends[0]
    np.subtract(ends[1:], ends[:-1] + 1, out=counts[1:])
    digits = counts.reshape(-1, 6)
    most = [int(digits[:, k].max()) for k in range(6)]
    if counts.min() < 1 or any(a > b for a, b in zip(most, _DIGITS_MAX)):
        return None
    values = content[ends - 1].astype(np.int32) - 48
    for place in range(1, max(most)):
        # Where a number is shorter, what is read there (from the end, at the very start) counts for nothing.
        digit = content[ends - (1 + place)].astype(np.int32) - 48
        values += digit * (counts > place) * np.int32(10**place)
    numbers = values.reshape(-1, 6)
    length, output = numbers[:, 4].astype(np.int64), numbers[:, 5].astype(np.int64)
    leading_zero = (content[ends[5::6] - digits[:, 5]] == 48) & (digits[:, 5] > 1)
    if numbers[:, :4].max() > 255 or length.max() > 32 or output.max() >= noutputs or leading_zero.any():
        return None
    address = numbers[:, :4].astype(np.uint8)[:, ::-1].copy().view(np.uint32).reshape(-1).astype(np.int64)
    prefixes = Prefixes(address & 0xFFFF_FFFF << (32 - length) & 0xFFFF_FFFF, length, output)
    return None if prefixes.has_twice() else prefixes
