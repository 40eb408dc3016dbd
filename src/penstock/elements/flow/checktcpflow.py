"""CheckTCPFlow: packets that fit the state of their TCP connection."""

from penstock.elements import Array, Element, Packet, Struct, datapath, u8, u32, u64
from penstock.elements.flow.flowcache import UDP_FLOW, find_cache
from penstock.elements.tcppayload import tcp_payload_bytes
from penstock.lang.arguments import ElementName

__all__ = ["CheckTCPFlow"]

_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_WINDOW_SCALE, _OPTION_BYTES = 3, 40
_MAX_SCALE = 14
#: how far an acknowledgement may lie back where the other side's window is smaller
_LEAST_BACK = 66_000


class _Side(Struct):
    """What one end of a connection has sent, and was allowed to."""

    #: the flow, which shows that the place is another flow's now
    number: u32
    #: behind the last byte sent; the last one that the other side would take; the largest window that this side had
    end: u32
    limit: u32
    window: u32
    #: the shift of its windows plus one; 0: it did not offer any
    scale: u8


class CheckTCPFlow(Element):
    """Check that TCP packets fit their connection: that it began with a SYN, and that numbers are within the windows of both ends.

    Sequence numbers must lie between what the other end has acknowledged, less its window, and what it will take; acknowledgements
    must be for what was sent (the four limits of G. van Rooij, Real stateful TCP packet filtering in IP Filter, 2001; window scaling
    of RFC 7323). Packets that do not fit go to output 1, or are dropped: forged resets and data, answers without a question. Packets
    of no TCP flow pass. Its FlowCache stands before it.

    Arguments:
        FLOWCACHE: the FlowCache's name.
        PICKUP: connections whose beginning was not seen are taken up at their first packet (false: they do not fit).

    Handlers:
        count (read): packets that did not fit. unbegun, outside (read): of these, without a SYN, and with numbers outside the windows.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> f :: FlowCache -> c :: CheckTCPFlow(f) -> Discard;
    """

    ports = "1/1-2"
    processing = "h/h"

    unbegun: u64
    outside: u64

    def configure(self, flowcache: ElementName, *, pickup: bool = False) -> None:
        self.name_of_cache, self.pickup = flowcache, pickup

    def initialize(self) -> None:
        self.cache = find_cache(self, self.name_of_cache)
        self.sides = Array(_Side, 2 * self.cache.tcp.capacity)

    def add_handlers(self) -> None:
        self.add_read("count", lambda: self.unbegun + self.outside)
        self.add_data("unbegun", "unbegun")
        self.add_data("outside", "outside")

    @datapath
    def scale_of(self, p: Packet) -> u32:
        """The shift that the window scale option says, plus one; 0 where there is none."""
        end = u32(p.tcp.offset) * 4
        at: u32 = 20
        if end <= 20 or not p.transport.has(0, end):
            return u32(0)
        for _ in range(_OPTION_BYTES):
            if at + 1 >= end:
                break
            kind = u32(p.transport.u8[at])
            if kind == 0:
                break
            if kind == 1:
                at += 1
            else:
                length = u32(p.transport.u8[at + 1])
                if length < 2 or at + length > end:
                    break
                if kind == _WINDOW_SCALE and length == 3:
                    return min(u32(p.transport.u8[at + 2]), u32(_MAX_SCALE)) + 1
                at += length
        return u32(0)

    @datapath
    def fits(self, p: Packet, flow: u32, direction: u32) -> bool:
        number = self.cache.tcp.slots[flow].value.number
        tcp = p.tcp
        flags = u32(tcp.flags)
        mine, other = self.sides[2 * flow + direction], self.sides[2 * flow + 1 - direction]
        sequence, acknowledgement = u32(tcp.sequence), u32(tcp.acknowledgement)
        end: u32 = sequence + tcp_payload_bytes(p)
        if (flags & _SYN) != 0:
            end += 1
        if (flags & _FIN) != 0:
            end += 1
        window: u32 = u32(tcp.window)
        is_new = mine.number != number
        if is_new:
            if other.number != number and (flags & (_SYN | _ACK)) != _SYN and not self.pickup:
                self.unbegun += 1
                return False
            if other.number == number and (flags & (_SYN | _ACK)) == 0 and not self.pickup:
                # An answer acknowledges what it answers.
                self.outside += 1
                return False
            mine.number = number
            # Of a connection that is taken up late nobody knows the shift: the largest.
            mine.scale = _MAX_SCALE + 1 if (flags & _SYN) == 0 and self.pickup else 0
            mine.window = max(window, u32(1))
            mine.end = end
            mine.limit = end + (_LEAST_BACK if (flags & _SYN) == 0 else 1)
            if other.number == number and (flags & _ACK) != 0:
                # What it may send is what the other one has offered.
                mine.limit = max(u32(other.window), u32(1)) + end
        if (flags & _SYN) != 0:
            if (flags & _ACK) == 0 and direction == 0:
                # Sent again, or with another number.
                mine.end = end
                mine.limit = end
            mine.scale = self.scale_of(p)
        elif mine.scale != 0 and (other.scale != 0 or other.number != number):
            window = window << (u32(mine.scale) - 1)
        if other.number == number:
            # Differences are signed: numbers wrap around (RFC 9293, section 3.4).
            too_high = sequence - mine.limit - 1 < 0x8000_0000
            too_old = mine.end - other.window - 1 - end < 0x8000_0000 and mine.end - other.window - 1 != end
            wrong_ack = False
            if (flags & _ACK) != 0:
                back = max(u32(mine.window), u32(_LEAST_BACK))
                ahead = acknowledgement - other.end
                behind = other.end - acknowledgement
                wrong_ack = (ahead != 0 and ahead < 0x8000_0000) or (behind < 0x8000_0000 and behind > back)
            if too_high or too_old or wrong_ack:
                if not (is_new and self.pickup):
                    self.outside += 1
                    return False
        if end - mine.end < 0x8000_0000:
            mine.end = end
        if window > mine.window:
            mine.window = window
        if other.number == number and (flags & _ACK) != 0:
            offered = acknowledgement + max(window, u32(1))
            if offered - other.limit < 0x8000_0000:
                other.limit = offered
        return True

    @datapath
    def push(self, port: int, p: Packet) -> None:
        reference = u32(p.anno32[self.cache.anno])
        if reference == 0 or reference >= UDP_FLOW or self.fits(p, reference - 1, u32(p.paint) & 1):
            self.output(0).push(p)
            return
        self.checked_output_push(1, p)
