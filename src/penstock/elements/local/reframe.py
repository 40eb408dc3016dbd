"""Reframe: the IP packets of a stream of bytes."""

from penstock.elements import Array, Element, Packet, abstraction, datapath, u8, u32, u64

__all__ = ["Reframe"]

_ROOM_BYTES = 4 * 65_536
_LEAST_BYTES = 20


class Reframe(Element):
    """Find the IP packets in a stream of bytes, such as a Socket has from TCP, and send each by itself.

    The stream is IPv4 and IPv6 packets, one behind the other, as their own headers say how long they are; it does not matter how it is
    cut into packets here. What comes out has its network header marked. Where no IP header can be, the stream is broken: all that
    is kept is dropped, and the next packet is taken for a beginning.

    Handlers:
        count (read): packets found. broken (read): how often the stream was broken. length (read): bytes kept. reset (write): drop them.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> Reframe -> IPPrint -> Discard;
    """

    processing = "h/h"

    #: where in the room the next packet begins, and where what is kept ends
    start: u32
    end: u32
    count: u64
    broken: u64

    def configure(self) -> None:
        self.kept = Array(u8, _ROOM_BYTES)
        self.buffer_bytes = 65_536

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("broken", "broken")
        self.add_read("length", lambda: self.end - self.start)
        self.add_write("reset", lambda text: self._reset(), flags="b")

    def _reset(self) -> None:
        self.start = self.end = 0

    @datapath
    def compact(self) -> None:
        """Move what is kept to the beginning; it is less than one packet."""
        left: u32 = self.end - self.start
        for i in range(left):
            self.kept[i] = self.kept[self.start + i]
        self.start = 0
        self.end = left

    @datapath
    def word(self, at: u32) -> u32:
        return (u32(self.kept[self.start + at]) << 8) | self.kept[self.start + at + 1]

    @datapath
    def next_length(self) -> u32:
        """Of the packet that begins the rest; 0 where none can."""
        version = self.kept[self.start] >> 4
        if version == 4 and self.word(u32(2)) >= _LEAST_BYTES:
            return self.word(u32(2))
        return self.word(u32(4)) + 40 if version == 6 else u32(0)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        size: u32 = p.length
        if self.end + size > _ROOM_BYTES:
            self.compact()
        if self.end + size > _ROOM_BYTES:
            self.broken += 1
            self.start = 0
            self.end = 0
            p.kill()
            return
        p.data.store_to(self.kept, self.end, 0, size)
        self.end += size
        stamp: u64 = p.timestamp
        p.kill()
        for _ in range(_ROOM_BYTES // _LEAST_BYTES):
            left: u32 = self.end - self.start
            if left < _LEAST_BYTES:
                break
            length = self.next_length()
            if length == 0:
                self.broken += 1
                self.start = self.end
                break
            if left < length:
                break
            q = self.pool.allocate(length)
            if q is not None:
                q.data.load_from(self.kept, self.start, 0, length)
                q.timestamp = stamp
                q.set_network(0)
                self.count += 1
                self.output(0).push(q)
            self.start += length
        if self.start == self.end:
            self.start = 0
            self.end = 0

    @abstraction(of=push)
    def any_push(self, port: int, p: Packet) -> None:
        """Packets of the stream are packets that were put into it; one stands for all."""
        if (self.random.next() & 1) != 0:
            self.count += 1
            p.set_network(0)
            self.output(0).push(p)
        else:
            p.kill()
