"""What sources share that make packets of one content, up to a limit: InfiniteSource, RatedSource and their kind."""

from __future__ import annotations

from penstock.datapath.memory import Array
from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.sourceend import TwoSidedSource
from penstock.lang.arguments import parse_bool, parse_int
from penstock.lang.text import unquote
from penstock.packet.integers import boolean, i64, u8, u64

__all__ = ["DEFAULT_DATA", "ContentSource"]

DEFAULT_DATA = b"Random bullshit in a packet, at least 64 bytes long. Well, now it is."


class ContentSource(TwoSidedSource):
    """Makes packets of ``content`` until there are as many as ``limit``; a negative one is none."""

    count: u64
    limit: i64
    active: boolean

    def set_content(self, data: bytes, length: int, limit: int, active: bool) -> None:
        """``length``: data is repeated or cut to that, unless 0."""
        if length and data:
            data = (data * (length // len(data) + 1))[:length]
        self.content, self.limit, self.active = data, limit, active
        self.buffer_bytes = len(data)
        self.store = Array(u8, max(len(data), 1), data)
        self.set_side(active)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_write("reset", self._reset, flags="b")
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)
        self.add_read("limit", lambda: self.limit)
        self.add_write("limit", self._set_limit)
        self.add_read("data", lambda: self.content.decode("latin-1"), flags="%")
        self.add_read("length", lambda: len(self.content))

    def wake(self) -> None:
        if self.active:
            super().wake()

    def _reset(self, text: str) -> None:
        self.count = 0
        self.ended = False
        self.wake()

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(unquote(text.strip()))
        self.wake()

    def _set_limit(self, text: str) -> None:
        self.limit = parse_int(text.strip())
        self.ended = False
        self.wake()

    @datapath
    def copy_content(self) -> Packet | None:
        p = self.pool.allocate(len(self.content))
        if p is None:
            return None
        p.data.load_from(self.store, 0, 0, len(self.content))
        return p

    @datapath
    def finished(self) -> bool:
        return self.limit >= 0 and self.count >= u64(self.limit)
