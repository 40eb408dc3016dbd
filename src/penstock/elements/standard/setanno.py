"""Elements that set annotations, the packet type, positions of headers, or bytes of the data."""

from penstock.elements import ConfigureError, Element, HandlerError, Packet, datapath, u16
from penstock.lang.arguments import Anno1, Byte, Bytes, UInt16, UInt32, Word, parse_int

__all__ = ["MarkMACHeader", "SetAnnoByte", "SetPacketType", "SetVLANAnno", "SetVlanAnno", "StoreData"]

_PACKET_TYPES = {"HOST": 0, "BROADCAST": 1, "MULTICAST": 2, "OTHERHOST": 3, "OUTGOING": 4, "LOOPBACK": 5, "FASTROUTE": 6}


class SetAnnoByte(Element):
    """Set a byte of the annotations.

    Arguments:
        ANNO: which byte, by number or name. VALUE: 0 to 255.

    Handlers:
        value (read).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetAnnoByte(PAINT, 3) -> CheckPaint(3) -> Discard;
    """

    can_live_reconfigure = True

    def configure(self, anno: Anno1, value: Byte) -> None:
        self.anno, self.value = anno, value

    def add_handlers(self) -> None:
        self.add_read("value", lambda: self.value)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.anno8[self.anno] = self.value
        return p


class SetPacketType(Element):
    """Set the packet type annotation.

    Arguments:
        TYPE: HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING, LOOPBACK or FASTROUTE.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetPacketType(BROADCAST) -> DropBroadcasts -> Discard;
    """

    def configure(self, type: Word) -> None:
        name = type.upper().removeprefix("PACKET_")
        if name not in _PACKET_TYPES:
            raise ConfigureError(f"TYPE: '{type}' is none of {', '.join(_PACKET_TYPES)}")
        self.value = _PACKET_TYPES[name]

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.packet_type = self.value
        return p


class SetVLANAnno(Element):
    """Set the VLAN_TCI annotation.

    Arguments:
        VLAN_TCI: the whole tag; or VLAN_ID (0 to 4095) and VLAN_PCP (0 to 7).

    Handlers:
        vlan_tci, vlan, vlan_id, vlan_pcp (read/write).

    Example:
        FromDump(f.pcap, STOP true) -> SetVLANAnno(VLAN_ID 5) -> VLANEncap(ANNO) -> Discard;
    """

    tci: u16

    def configure(self, vlan_tci: UInt16 | None = None, vlan_pcp: int = 0, *, vlan_id: UInt16 | None = None) -> None:
        if (vlan_tci is None) == (vlan_id is None):
            raise ConfigureError("supply one of VLAN_TCI and VLAN_ID")
        if vlan_id is not None and vlan_id > 0xFFF:
            raise ConfigureError("VLAN_ID: out of range, bound 4095")
        if not 0 <= vlan_pcp <= 7:
            raise ConfigureError("VLAN_PCP: out of range, bound 7")
        self.tci = (vlan_id if vlan_id is not None else vlan_tci or 0) | vlan_pcp << 13

    def add_handlers(self) -> None:
        self.add_data("vlan_tci", "tci", lambda text: parse_int(text.strip(), 0, 0xFFFF))
        for name in ("vlan", "vlan_id"):
            self.add_read(name, lambda: self.tci & 0xFFF)
            self.add_write(name, lambda text: setattr(self, "tci", (self.tci & 0xF000) | self._number(text, 0xFFF)))
        self.add_read("vlan_pcp", lambda: self.tci >> 13)
        self.add_write("vlan_pcp", lambda text: setattr(self, "tci", (self.tci & 0x1FFF) | self._number(text, 7) << 13))

    @staticmethod
    def _number(text: str, bound: int) -> int:
        try:
            return parse_int(text.strip(), 0, bound)
        except ValueError as error:
            raise HandlerError(str(error)) from None

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.vlan_tci = self.tci
        return p


class SetVlanAnno(SetVLANAnno):
    """SetVLANAnno by its older name.

    Arguments:
        VLAN_TCI, VLAN_ID, VLAN_PCP: as SetVLANAnno's.

    Handlers:
        vlan_tci, vlan, vlan_id, vlan_pcp (read/write).

    Example:
        FromDump(f.pcap, STOP true) -> SetVlanAnno(VLAN_ID 5) -> VLANEncap(ANNO) -> Discard;
    """


class MarkMACHeader(Element):
    """Mark where packets' link-level header begins.

    Arguments:
        OFFSET: bytes from the start of the data (0).
        END_OFFSET: where it ends; the network header then begins there.

    Example:
        FromDump(f.pcap, STOP true) -> MarkMACHeader(0, 14) -> Discard;
    """

    def configure(self, offset: UInt32 = 0, end_offset: UInt32 = 0) -> None:
        if end_offset and end_offset <= offset:
            raise ConfigureError("END_OFFSET must be greater than OFFSET")
        self.offset, self.end = offset, end_offset

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.set_mac(self.offset)
        if self.end != 0:
            p.set_network(self.end)
        return p


class StoreData(Element):
    """Write bytes into packets. Nothing is written past their end, unless they may grow.

    Arguments:
        OFFSET: where. DATA: what.
        MASK: only these bits are written.
        GROW: packets that are too short are made longer.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> StoreData(0, \\<CA FE>) -> Print -> Discard;
    """

    def configure(self, offset: UInt32, data: Bytes, *, mask: Bytes = b"", grow: bool = False) -> None:
        if mask and len(mask) != len(data):
            raise ConfigureError("MASK: must be as long as DATA")
        self.offset, self.content, self.grow = offset, data, grow
        self.masked = tuple((i, b & m, 0xFF & ~m) for i, (b, m) in enumerate(zip(data, mask)) if m) if mask else ()
        self.whole = not mask or all(m == 0xFF for m in mask)
        self.bytes = tuple(enumerate(data))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.grow and p.length < self.offset + len(self.content):
            p.put(self.offset + len(self.content) - p.length)
        if self.whole and p.data.has(self.offset, len(self.content)):
            p.data.write(self.offset, self.content)
        elif self.whole:
            for i, byte in self.bytes:
                if p.length > self.offset + i:
                    p.data.u8[self.offset + i] = byte
        else:
            for i, byte, keep in self.masked:
                if p.length > self.offset + i:
                    p.data.u8[self.offset + i] = (p.data.u8[self.offset + i] & keep) | byte
        return p
