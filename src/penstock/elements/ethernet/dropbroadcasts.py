"""DropBroadcasts and HostEtherFilter: which frames are for us?"""

from penstock.elements import Element, Packet, datapath, u48, u64
from penstock.lang.arguments import EtherAddress, UInt32
from penstock.packet.headers import Ether
from penstock.packet.layout import PACKET_TYPES

__all__ = ["DropBroadcasts", "HostEtherFilter"]

_HOST, _BROADCAST, _MULTICAST, _OTHERHOST, _OUTGOING = (
    PACKET_TYPES.index(n) for n in ("HOST", "BROADCAST", "MULTICAST", "OTHERHOST", "OUTGOING"))
_ALL_ONES = 0xFFFF_FFFF_FFFF


class DropBroadcasts(Element):
    """Drop packets that arrived as link-level broadcasts or multicasts (their packet type says so).

    Handlers:
        count, drops (read): packets dropped.

    Example:
        FromDump(f.pcap, STOP true) -> HostEtherFilter(1:2:3:4:5:6, DROP_OTHER false) -> DropBroadcasts -> Discard;
    """

    drops: u64

    def add_handlers(self) -> None:
        self.add_data("count", "drops")
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        kind = p.packet_type
        if kind in (_BROADCAST, _MULTICAST):
            self.drops += 1
            p.kill()
            return None
        return p


class HostEtherFilter(Element):
    """Pass Ethernet frames that are for this host, and set the packet type.

    Frames from ETHER itself have the type OUTGOING and pass unless DROP_OWN. Frames to ETHER, to all and to
    groups pass. Others have the type OTHERHOST and go to output 1 (or are dropped) unless DROP_OTHER is false.

    Arguments:
        ETHER: this host's address.
        DROP_OWN: drop frames from ETHER.
        DROP_OTHER: drop frames to other hosts.
        OFFSET: where the Ethernet header starts.

    Handlers:
        drops (read): frames not passed.

    Example:
        FromDump(f.pcap, STOP true) -> HostEtherFilter(1:2:3:4:5:6) -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    ether: u48
    drops: u64

    def configure(self, ether: EtherAddress, drop_own: bool = False, drop_other: bool = True, *, offset: UInt32 = 0) -> None:
        self.ether, self.drop_own, self.drop_other, self.offset = ether, drop_own, drop_other, offset

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.data.has(self.offset, 14):
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        ether = p.data.header(Ether, self.offset)
        dst = ether.dst
        drop = False
        if ether.src == self.ether:
            p.packet_type = _OUTGOING
            drop = self.drop_own
        elif dst == self.ether:
            p.packet_type = _HOST
        elif dst == _ALL_ONES:
            p.packet_type = _BROADCAST
        elif (dst >> 40) & 1 != 0:
            p.packet_type = _MULTICAST
        else:
            p.packet_type = _OTHERHOST
            drop = self.drop_other
        if drop:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        return p
