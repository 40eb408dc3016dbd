"""Clipboard."""

from penstock.elements import Array, ConfigureError, Packet, boolean, datapath, u8
from penstock.elements.portwise import PortwiseElement
from penstock.lang.arguments import ArgumentError, Raw, parse_int

__all__ = ["Clipboard"]

_MAX_BYTES = 2048


class Clipboard(PortwiseElement):
    """Copy parts of packets into others. Packets on input 0 are copied from, packets on input 1 get what was copied last.

    Packets go out on the output of their input's number. What a packet is too short for is left alone.

    Arguments:
        OFFSET/LENGTH, ...: which bytes.

    Example:
        c :: Clipboard(0/2); InfiniteSource("ABCD", LIMIT 1) -> [0] c -> Discard;
        InfiniteSource("abcd", LIMIT 1) -> [1] c; c[1] -> Print -> Discard;
    """

    ports = "2/2"
    flow = "#/#"

    holds: boolean

    def configure(self, *ranges: Raw) -> None:
        if not ranges:
            raise ConfigureError("OFFSET/LENGTH: required argument missing")
        places: list[tuple[int, int]] = []
        for text in ranges:
            first, _, length = text.strip().partition("/")
            try:
                places.append((parse_int(first, 0, 65535), parse_int(length, 1, _MAX_BYTES)))
            except ArgumentError as error:
                raise ConfigureError(f"'{text}': expected OFFSET/LENGTH ({error})") from None
        starts, total = [], 0
        for _, length_bytes in places:
            starts.append(total)
            total += length_bytes
        if total > _MAX_BYTES:
            raise ConfigureError(f"no more than {_MAX_BYTES} bytes in all")
        self.places = tuple((o, n, s) for (o, n), s in zip(places, starts))
        self.store = Array(u8, total)

    @datapath
    def copy(self, p: Packet) -> None:
        for offset, length, start in self.places:
            if p.data.has(offset, length):
                for i in range(length):
                    self.store[start + i] = p.data.u8[offset + i]
        self.holds = True

    @datapath
    def paste(self, p: Packet) -> None:
        if self.holds:
            for offset, length, start in self.places:
                if p.data.has(offset, length):
                    for i in range(length):
                        p.data.u8[offset + i] = self.store[start + i]

    @datapath
    def handle(self, port: int, p: Packet) -> Packet | None:
        if port == 0:
            self.copy(p)
        else:
            self.paste(p)
        return p
