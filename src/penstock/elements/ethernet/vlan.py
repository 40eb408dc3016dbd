"""VLANEncap, VLANDecap and StripEtherVLANHeader: IEEE 802.1Q tags."""

from penstock.elements import ConfigureError, Element, HandlerError, Packet, datapath, u16, u32, u48
from penstock.lang.arguments import EtherAddress, UInt16, UInt32, Word, parse_ether, parse_int, unparse_ether
from penstock.packet.headers import VLAN, Ether

__all__ = ["EtherVLANEncap", "EtherVlanEncap", "StripEtherVLANHeader", "StripEtherVlanHeader", "VLANDecap", "VLANEncap"]

_UNTAGGED = 0x10000


class _Tagging(Element):
    """The tag that packets get: given, or from the annotation; those of the native VLAN get none."""

    can_live_reconfigure = True

    tci: u16

    def set_tag(self, vlan_tci: str, vlan_id: str, vlan_pcp: int | None, native_vlan: int) -> None:
        text = vlan_id or vlan_tci
        if not text:
            raise ConfigureError("VLAN_ID: required argument missing")
        self.from_anno = text.upper() == "ANNO"
        tci = 0 if self.from_anno else parse_int(text, 0, 0xFFF if vlan_id else 0xFFFF)
        if vlan_pcp is not None and not 0 <= vlan_pcp <= 7:
            raise ConfigureError("VLAN_PCP: out of range, bound 7")
        self.pcp = vlan_pcp
        self.tci = tci if vlan_pcp is None else (tci & 0xFFF) | vlan_pcp << 13
        self.native = native_vlan if native_vlan >= 0 else _UNTAGGED

    @datapath
    def tag(self, p: Packet) -> u32:
        tci: u32 = self.tci
        if self.from_anno:
            tci = p.vlan_tci
            if self.pcp is not None:
                tci = (tci & 0x1FFF) | (self.pcp << 13)
        return tci


class VLANEncap(_Tagging):
    """Put a VLAN tag into Ethernet frames.

    Arguments:
        VLAN_TCI: the whole tag, or ANNO: from the VLAN_TCI annotation.
        VLAN_ID, VLAN_PCP: instead of VLAN_TCI, the VLAN's number (0 to 4095, or ANNO) and priority (0 to 7).
        ETHERTYPE: the tag's type.
        NATIVE_VLAN: frames of this VLAN get no tag; -1 for none.

    Handlers:
        vlan, vlan_id, vlan_pcp, vlan_tci (read/write).

    Example:
        FromDump(f.pcap, STOP true) -> VLANEncap(VLAN_ID 5) -> Print -> Discard;
    """

    def configure(self, vlan_tci: Word = "", vlan_pcp: int | None = None, *, vlan_id: Word = "", ethertype: UInt16 = 0x8100,
                  native_vlan: int = 0) -> None:
        self.set_tag(vlan_tci, vlan_id, vlan_pcp, native_vlan)
        self.ethertype = ethertype

    def add_handlers(self) -> None:
        self.add_read("vlan", lambda: self.tci & 0xFFF)
        self.add_write("vlan", self._set_id)
        self.add_read("vlan_id", lambda: self.tci & 0xFFF)
        self.add_write("vlan_id", self._set_id)
        self.add_read("vlan_pcp", lambda: self.tci >> 13)
        self.add_write("vlan_pcp", lambda text: self._set((self.tci & 0x1FFF) | parse_int(text.strip(), 0, 7) << 13))
        self.add_data("vlan_tci", "tci", lambda text: parse_int(text.strip(), 0, 0xFFFF))

    def _set_id(self, text: str) -> None:
        self._set((self.tci & 0xF000) | parse_int(text.strip(), 0, 0xFFF))

    def _set(self, tci: int) -> None:
        if self.from_anno:
            raise HandlerError("the tag comes from the annotation")
        self.tci = tci

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        tci = self.tag(p)
        if (tci & 0xFFF) == self.native:
            return p
        if p.length < 12:
            p.kill()
            return None
        p.push(4)
        p.data.copy(0, p.data, 4, 12)
        p.data.u16[12] = self.ethertype
        p.data.u16[14] = tci
        p.set_mac(0)
        return p


class VLANDecap(Element):
    """Take the VLAN tag out of Ethernet frames; untagged ones pass unchanged.

    Arguments:
        ANNO: store the tag in the VLAN_TCI annotation (0 for untagged frames).
        ETHERTYPE: the tag's type.

    Example:
        FromDump(f.pcap, STOP true) -> VLANDecap -> Print -> Discard;
    """

    def configure(self, anno: bool = True, *, ethertype: UInt16 = 0x8100) -> None:
        self.anno, self.ethertype = anno, ethertype

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        tci: u32 = 0
        if p.data.has(0, 18):
            if p.data.u16[12] == self.ethertype:
                tci = p.data.u16[14]
                p.data.copy(4, p.data, 0, 12)
                p.pull(4)
                p.set_mac(0)
        if self.anno:
            p.vlan_tci = tci
        return p


class StripEtherVLANHeader(Element):
    """Remove the Ethernet header, with its VLAN tag where it has one, which goes to the VLAN_TCI annotation.

    The MAC header position stays at the Ethernet header, the network header position is set behind it.

    Arguments:
        NATIVE_VLAN: the VLAN_TCI annotation of untagged frames; -1: such frames are dropped.
        DEPTH: how many tags may be removed.

    Example:
        FromDump(f.pcap, STOP true) -> StripEtherVLANHeader -> CheckIPHeader -> Discard;
    """

    def configure(self, native_vlan: int = 0, *, depth: UInt32 = 1) -> None:
        if native_vlan > 0xFFFF:
            raise ConfigureError("NATIVE_VLAN: out of range, bound 65535")
        if not 1 <= depth <= 8:
            raise ConfigureError("DEPTH: must be between 1 and 8")
        self.native, self.depth = native_vlan, depth

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.data.has(0, 14):
            p.kill()
            return None
        p.set_mac(0)
        kind: u32 = p.data.header(Ether, 0).type
        if kind != 0x8100:
            if self.native < 0:
                p.kill()
                return None
            p.vlan_tci = self.native
            p.pull(14)
            p.set_network(0)
            return p
        if not p.data.has(0, 18):
            p.kill()
            return None
        tag = p.data.header(VLAN, 0)
        p.vlan_tci = tag.tci
        kind = tag.type
        p.pull(18)
        for _ in tuple(range(self.depth - 1)):
            if kind == 0x8100 and p.data.has(0, 4):
                kind = p.data.u16[2]
                p.pull(4)
        p.set_network(0)
        return p


class StripEtherVlanHeader(StripEtherVLANHeader):
    """StripEtherVLANHeader by its older name.

    Arguments:
        NATIVE_VLAN, DEPTH: as StripEtherVLANHeader's.

    Example:
        FromDump(f.pcap, STOP true) -> StripEtherVlanHeader -> CheckIPHeader -> Discard;
    """


class EtherVLANEncap(_Tagging):
    """Put an Ethernet header with a VLAN tag in front of packets.

    Arguments:
        ETHERTYPE: the type field behind the tag. SRC, DST: addresses.
        VLAN_TCI: the whole tag, or ANNO: from the VLAN_TCI annotation.
        VLAN_ID, VLAN_PCP: instead of VLAN_TCI, the VLAN's number (0 to 4095, or ANNO) and priority (0 to 7).
        NATIVE_VLAN: packets of this VLAN get a header without a tag; -1 for none.

    Handlers:
        src, dst, ethertype, vlan_tci, vlan_id (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> EtherVLANEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2, VLAN_ID 5) -> Print -> Discard;
    """

    src: u48
    dst: u48
    type: u16

    def configure(self, ethertype: UInt16, src: EtherAddress, dst: EtherAddress, vlan_tci: Word = "", vlan_pcp: int | None = None, *,
                  vlan_id: Word = "", native_vlan: int = 0) -> None:
        self.set_tag(vlan_tci, vlan_id, vlan_pcp, native_vlan)
        self.type, self.src, self.dst = ethertype, src, dst

    def add_handlers(self) -> None:
        for name in ("src", "dst"):
            self.add_data(name, name, lambda text: parse_ether(text.strip(), self.router.context), unparse_ether)
        self.add_data("ethertype", "type", lambda text: parse_int(text.strip(), 0, 0xFFFF), lambda value: f"{value:04x}")
        self.add_data("vlan_tci", "tci", lambda text: parse_int(text.strip(), 0, 0xFFFF))
        self.add_read("vlan_id", lambda: self.tci & 0xFFF)
        self.add_write("vlan_id", lambda text: setattr(self, "tci", (self.tci & 0xF000) | parse_int(text.strip(), 0, 0xFFF)))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        tci = self.tag(p)
        if (tci & 0xFFF) == self.native:
            p.push(14)
            p.data.u16[12] = self.type
        else:
            p.push(18)
            p.data.u16[12] = 0x8100
            p.data.u16[14] = tci
            p.data.u16[16] = self.type
        p.data.u48[0] = self.dst
        p.data.u48[6] = self.src
        p.set_mac(0)
        return p


class EtherVlanEncap(EtherVLANEncap):
    """EtherVLANEncap by its older name.

    Arguments:
        ETHERTYPE, SRC, DST, VLAN_TCI, VLAN_ID, VLAN_PCP, NATIVE_VLAN: as EtherVLANEncap's.

    Handlers:
        src, dst, ethertype, vlan_tci, vlan_id (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> EtherVlanEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2, VLAN_ID 5) -> Print -> Discard;
    """
