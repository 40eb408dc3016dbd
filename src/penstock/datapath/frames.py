"""What code that moves frames between rings needs beside packets: frames where they lie, and memory that others use too.

These are for the switch's fabric and its modules. They exist in packet code only.
"""

from __future__ import annotations

from typing import Any

from penstock.datapath.packet import Cursor, datapath_only
from penstock.packet.headers import Ether

__all__ = ["LINE_BYTES", "Frame", "copy_lines", "exchange", "frame", "prefetch"]

#: what ``copy_lines`` counts in
LINE_BYTES = 64


class Frame:
    """A frame in a slot of a ring, seen where it lies: it can be read and rewritten, not kept, cut or extended.

    Whoever shares the memory can change it at any time, so what was read twice may differ; ``length`` was read once.
    """

    length: int
    data: Cursor
    ether: Ether


def frame(array: Any, at: int, length: int) -> Frame:
    """The frame of ``length`` bytes at byte ``at`` of an Array in state."""
    return datapath_only("frame")  # type: ignore[no-any-return]


def copy_lines(target: Any, to: int, source: Any, at: int, lines: int, at_most: int) -> None:
    """Copy ``lines`` times 64 bytes (once at least) from byte ``at`` of one Array to byte ``to`` of another.

    They do not overlap. ``at_most``, a constant, is the most that ``lines`` can be; there is that much on both sides.
    """
    datapath_only("copy_lines")


def exchange(array: Any, index: int, value: int) -> int:
    """Put ``value`` at ``index`` of an Array of u32 and give what was there, at once for all threads; a full fence."""
    return datapath_only("exchange")  # type: ignore[no-any-return]


def prefetch(array: Any, at: int) -> None:
    """The bytes at ``at`` of an Array are needed soon. Any ``at`` is allowed."""
    datapath_only("prefetch")
