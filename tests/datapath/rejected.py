"""Packet code that the front end must reject, and elements that misbehave at run time. Loaded by tests as a user's file."""

from penstock.elements import Array, Element, Packet, PacketSlot, datapath, u8, u32


class Lost(Element):
    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.length > 10:
            return None
        return p


class Twice(Element):
    ports = "1/2"
    processing = "h/h"

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.output(0).push(p)
        self.output(1).push(p)


class AfterKill(Element):
    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.kill()
        return p


class SometimesGone(Element):
    ports = "1/1"
    processing = "h/h"

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if p.length > 10:
            p.kill()
        self.output(0).push(p)


class MaybeNone(Element):
    processing = "l/l"

    @datapath
    def pull(self, port: int) -> Packet | None:
        p = self.input(0).pull()
        p.paint = 1  # type: ignore[union-attr]
        return p


class Unbounded(Element):
    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        while p.length > 10:
            p.take(1)
        return p


class Narrowing(Element):
    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        x: u32 = 0
        for i in range(p.length):
            x = p.timestamp
        p.paint = x
        return p


class Floating(Element):
    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.paint = p.length / 2  # type: ignore[assignment]
        return p


class Constant(Element):
    def configure(self) -> None:
        self.seen = 0

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        self.seen += 1
        return p


class InLoop(Element):
    ports = "1/1"
    processing = "h/h"

    @datapath
    def push(self, port: int, p: Packet) -> None:
        for _ in range(p.length):
            self.output(0).push(p)


class Wild(Element):
    """Reads and writes wherever the packet says: every access must be checked."""

    slot: PacketSlot

    def configure(self) -> None:
        self.bytes = Array(u8, 16)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        where = p.data.u32[0]
        n = p.data.u16[4]
        kind = p.data.u8[6]
        if kind == 0:
            p.data.u8[where] = 0xAA
        elif kind == 1:
            p.data.u64[where] = 0xBBBB
        elif kind == 2:
            p.pull(where)
        elif kind == 3:
            p.take(where)
        elif kind == 4:
            p.put(where)
        elif kind == 5:
            p.push(where)
        elif kind == 6:
            self.bytes[where] = 1
        elif kind == 7:
            p.data.store_to(self.bytes, where, n, n)
        elif kind == 8:
            p.data.load_from(self.bytes, where, n, n)
        elif kind == 9:
            p.data.copy(where, p.data, n, n)
        elif kind == 10:
            p.paint = p.data.checksum(where, n) & 0xFF
        elif kind == 11:
            p.data.fill(where, n, 7)
        elif kind == 12:
            p.paint = where // n
        elif kind == 13:
            p.set_network(16)
            p.paint = p.ip.ttl
        elif kind == 14:
            p.paint = p.tcp.flags
        return p
