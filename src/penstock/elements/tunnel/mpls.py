"""MPLSPush, MPLSPop and MPLSSwap (RFC 3032): labels behind the Ethernet header."""

from penstock.elements import ConfigureError, Element, Packet, datapath, u16, u32, u64
from penstock.lang.arguments import UInt32

__all__ = ["MPLSPop", "MPLSPush", "MPLSSwap"]

_MPLS = 0x8847


def _check(label: int, exp: int, ttl: int) -> None:
    if label >> 20:
        raise ConfigureError("LABEL: out of range, bound 1048575")
    if exp > 7:
        raise ConfigureError("EXP: out of range, bound 7")
    if ttl > 255:
        raise ConfigureError("TTL: out of range, bound 255")


class MPLSPush(Element):
    """Push a label onto Ethernet frames. On a frame without labels it is the bottom of the stack.

    Arguments:
        LABEL: the label. EXP: its traffic class. TTL: its time to live (0: the label's below, or the IPv4 header's, or 64).

    Handlers:
        label (read).

    Example:
        FromDump(f.pcap, STOP true) -> MPLSPush(16) -> Print -> Discard;
    """

    can_live_reconfigure = True

    label: u32

    def configure(self, label: UInt32, exp: UInt32 = 0, *, ttl: UInt32 = 0) -> None:
        _check(label, exp, ttl)
        self.label = label
        self.exp, self.ttl = exp, ttl

    def add_handlers(self) -> None:
        self.add_data("label", "label")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.data.has(0, 14):
            p.kill()
            return None
        kind = p.data.u16[12]
        ttl: u32 = self.ttl
        bottom: u32 = 1
        if kind == _MPLS:
            bottom = 0
        if ttl == 0:
            ttl = 64
            if kind == _MPLS and p.data.has(14, 4):
                ttl = p.data.u8[17]
            elif kind == 0x0800 and p.data.has(14, 20):
                ttl = p.data.u8[22]
        dst: u64 = p.data.u48[0]
        src: u64 = p.data.u48[6]
        p.push(4)
        p.data.u48[0] = dst
        p.data.u48[6] = src
        p.data.u16[12] = _MPLS
        p.data.u32[14] = (self.label << 12) | u32(self.exp << 9) | (bottom << 8) | ttl
        p.set_mac(0)
        return p


class _Labelled(Element):
    """What takes frames with a label on top: any, or the one ``wanted``."""

    ports = "1/1-2"
    processing = "a/ah"

    count: u64
    drops: u64

    def set_wanted(self, label: int | None) -> None:
        _check(label or 0, 0, 0)
        self.wanted = label

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")

    @datapath
    def is_labelled(self, p: Packet) -> bool:
        if not p.data.has(0, 18) or p.data.u16[12] != _MPLS:
            return False
        if self.wanted is not None:
            return (p.data.u32[14] >> 12) == self.wanted
        return True


class MPLSPop(_Labelled):
    """Pop a label off Ethernet frames. Frames without one go to output 1, or are dropped.

    Behind the last label is what ETHERTYPE says, or with AUTO IPv4 or IPv6, as the first byte shows.

    Arguments:
        LABEL: the label that frames must have on top; left out, any. ETHERTYPE: of what is behind the bottom; 0 is AUTO.

    Handlers:
        count, drops (read).

    Example:
        FromDump(f.pcap, STOP true) -> MPLSPush(16) -> MPLSPop(16) -> Print -> Discard;
    """

    def configure(self, label: UInt32 | None = None, *, ethertype: UInt32 = 0) -> None:
        self.set_wanted(label)
        if ethertype > 0xFFFF:
            raise ConfigureError("ETHERTYPE: out of range, bound 65535")
        self.ethertype = ethertype

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not self.is_labelled(p):
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        self.count += 1
        kind: u32 = _MPLS
        if (p.data.u32[14] & 0x100) != 0:
            kind = self.ethertype
            if kind == 0:
                kind = 0x0800
                if p.data.has(18, 1):
                    if (p.data.u8[18] >> 4) == 6:
                        kind = 0x86DD
        dst: u64 = p.data.u48[0]
        src: u64 = p.data.u48[6]
        p.pull(4)
        p.data.u48[0] = dst
        p.data.u48[6] = src
        p.data.u16[12] = u16(kind)
        p.set_mac(0)
        return p


class MPLSSwap(_Labelled):
    """Change the label on top of Ethernet frames, and count its TTL down.

    Frames without a label, or whose time has run out, go to output 1, or are dropped.

    Arguments:
        LABEL: the new label. OLD: the label that frames must have on top; left out, any.

    Handlers:
        label (read/write). count, drops (read).

    Example:
        FromDump(f.pcap, STOP true) -> MPLSPush(16) -> MPLSSwap(17) -> Print -> Discard;
    """

    label: u32

    def configure(self, label: UInt32, *, old: UInt32 | None = None) -> None:
        _check(label, 0, 0)
        self.set_wanted(old)
        self.label = label

    def add_handlers(self) -> None:
        self.add_data("label", "label", lambda text: int(text) & 0xFFFFF)
        super().add_handlers()

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not self.is_labelled(p) or (p.data.u32[14] & 0xFF) <= 1:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        self.count += 1
        p.data.u32[14] = (self.label << 12) | ((p.data.u32[14] & 0xFFF) - 1)
        return p
