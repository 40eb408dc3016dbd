"""GetEtherAddress, SetEtherAddress, EnsureEther and EtherPauseSource."""

from penstock.elements import ConfigureError, Element, Packet, Timer, boolean, datapath, i64, u16, u64
from penstock.lang.arguments import Anno1, EtherAddress, Seconds, UInt16, Word, parse_bool, parse_int

__all__ = ["EnsureEther", "EtherPauseSource", "GetEtherAddress", "SetEtherAddress"]

_PLACES = {"dst": 0, "src": 6}
#: where pause frames go (IEEE 802.3, annex 31B)
_PAUSE_ADDRESS = 0x0180C2000001
_LAST_ANNO = 48 - 6


def _check(anno: int) -> int:
    if anno > _LAST_ANNO:
        raise ConfigureError("ANNO: an Ethernet address needs six bytes")
    return anno


class GetEtherAddress(Element):
    """Put an Ethernet address from the packet into annotation bytes. Packets that are too short go to output 1, or are dropped.

    Arguments:
        ANNO: the first of six bytes. OFFSET: where the address is, ``src``, ``dst``, or bytes from the start of the data.

    Example:
        FromDump(f.pcap, STOP true) -> GetEtherAddress(0, src) -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    def configure(self, anno: Anno1, offset: Word) -> None:
        self.anno = _check(anno)
        self.offset = _PLACES[offset.lower()] if offset.lower() in _PLACES else parse_int(offset, 0)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.data.has(self.offset, 6):
            self.checked_output_push(1, p)
            return None
        for i in (0, 1, 2, 3, 4, 5):
            p.anno8[self.anno + i] = p.data.u8[self.offset + i]
        return p


class SetEtherAddress(Element):
    """Set annotation bytes to an Ethernet address.

    Arguments:
        ANNO: the first of six bytes. ADDR: the address.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetEtherAddress(0, 1:2:3:4:5:6) -> StoreEtherAddress(1:2:3:4:5:6, src) -> Discard;
    """

    def configure(self, anno: Anno1, addr: EtherAddress) -> None:
        self.anno = _check(anno)
        self.bytes = tuple(enumerate(addr.to_bytes(6, "big")))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        for i, byte in self.bytes:
            p.anno8[self.anno + i] = byte
        return p


class EnsureEther(Element):
    """See that IP packets have an Ethernet header: those whose data begins with an IP header get one in front.

    Arguments:
        ETHERTYPE: the type field of headers that are made (0x0800).
        SRC, DST: their addresses (1:1:1:1:1:1, 2:2:2:2:2:2).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> EnsureEther -> Print -> Discard;
    """

    def configure(self, ethertype: UInt16 = 0x0800, src: EtherAddress = 0x010101010101, dst: EtherAddress = 0x020202020202) -> None:
        self.type, self.src, self.dst = ethertype, src, dst

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.has_network and p.network_offset == 0:
            p.push(14)
            p.data.u48[0] = self.dst
            p.data.u48[6] = self.src
            p.data.u16[12] = self.type
            p.set_mac(0)
        return p


class EtherPauseSource(Element):
    """Send Ethernet pause frames (IEEE 802.3x).

    Arguments:
        SRC: the source address. PAUSETIME: for how long, in units of 512 bit times.
        DST: the destination (01:80:c2:00:00:01). INTERVAL: seconds between frames (1). LIMIT: frames; negative: any number.
        ACTIVE: false sends none.

    Handlers:
        count (read), reset_counts (write), active, pausetime (read/write).

    Example:
        EtherPauseSource(1:1:1:1:1:1, 100, LIMIT 2, INTERVAL 0.1) -> Print -> Discard;
    """

    ports = "0/1"
    processing = "h/h"
    may_generate = True

    count: u64
    limit: i64
    active: boolean
    pause: u16

    def configure(self, src: EtherAddress, pausetime: UInt16, *, dst: EtherAddress = _PAUSE_ADDRESS, interval: Seconds = 1,
                  limit: int = -1, active: bool = True) -> None:
        if interval <= 0:
            raise ConfigureError("INTERVAL: must be positive")
        self.src, self.dst, self.pause = src, dst, pausetime
        self.interval_ns, self.limit, self.active = int(interval * 1e9), limit, active
        self.timer = Timer(self)

    def started(self) -> None:
        if self.active:
            self.timer.schedule_after(0)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_write("reset_counts", lambda text: setattr(self, "count", 0), flags="b")
        self.add_data("pausetime", "pause", lambda text: parse_int(text.strip(), 0, 0xFFFF))
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        if self.active:
            self.timer.schedule_after(0)

    @datapath
    def run_timer(self) -> bool:
        if not self.active or (self.limit >= 0 and i64(self.count) >= self.limit):
            return False
        p = self.make_packet(60)
        if p is not None:
            p.data.fill(0, 60, 0)
            p.data.u48[0] = self.dst
            p.data.u48[6] = self.src
            p.data.u16[12] = 0x8808
            p.data.u16[14] = 1
            p.data.u16[16] = self.pause
            p.set_mac(0)
            self.count += 1
            self.output(0).push(p)
        self.timer.schedule_after(self.interval_ns)
        return True
