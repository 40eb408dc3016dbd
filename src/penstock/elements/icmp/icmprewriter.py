"""ICMPPingRewriter and ICMPRewriter: pings and ICMP errors through a NAT (RFC 5508)."""

from penstock.datapath.checksum import checksum_adjust, checksum_adjust32, checksum_apply, checksum_finish
from penstock.elements import NONE, ConfigureError, Element, Packet, datapath, u32, u64
from penstock.elements.rewriting import Rewriter
from penstock.lang.arguments import Raw, Seconds, UInt32
from penstock.lang.text import split_words

__all__ = ["ICMPPingRewriter", "ICMPRewriter"]

_ECHO_REPLY, _ECHO = 0, 8
_INNER = 8


class ICMPPingRewriter(Rewriter):
    """Rewrite addresses and identifiers of ICMP echo requests by flow; replies are rewritten back.

    A flow is a pair of addresses and an identifier, which patterns have in the place of the source port. Packets that are no echo
    requests or replies, and fragments, pass on inputs with ``pass``, and are dropped on others.

    Arguments:
        INPUTSPEC, ...: as IPRewriter has them.
        MAPPING_CAPACITY: flows that are remembered (65536). TIMEOUT: how long one is (5 min). GUARANTEE: as IPRewriter has it (5 s).
        REAP_INTERVAL: accepted for compatibility. DST_ANNO: set the destination annotation.

    Handlers:
        nmappings, table_size, size, mapping_failures, capacity, table (read), clear (write).

    Example:
        ICMPPingSource(10.0.0.1, 2.0.0.2, LIMIT 1, INTERVAL 1ms, STOP true)
        -> rw :: ICMPPingRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop); rw[0] -> IPPrint -> Discard; rw[1] -> Discard; Idle -> [1] rw;
    """

    def configure(self, *inputs: Raw, mapping_capacity: UInt32 = 65536, timeout: Seconds = 300, guarantee: Seconds = 5,
                  reap_interval: Seconds = 900, dst_anno: bool = True) -> None:
        self.setup(inputs, mapping_capacity, guarantee=guarantee, first=timeout, streaming=timeout, done=timeout, dst_anno=dst_anno)

    @datapath
    def rewrite(self, p: Packet, i: u32) -> None:
        flow = self.table.slots[i].value
        ip = p.ip
        ip.src = flow.src
        ip.dst = flow.dst
        ip.checksum = checksum_apply(ip.checksum, u32(flow.ip_delta))
        if self.dst_anno:
            p.dst_ip = ip.dst
        # One half is the identifier, the other one is 0.
        identifier = (flow.ports >> 16) | (flow.ports & 0xFFFF)
        p.icmp.checksum = checksum_adjust(p.icmp.checksum, p.icmp.identifier, identifier)
        p.icmp.identifier = identifier
        flow.expiry = self.now_ticks() + self.timeout(u32(1), u32(0))
        self.output(u32(flow.output)).push(p)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        ip = p.ip
        if ip.protocol != 1 or (ip.fragment & 0x1FFF) != 0 or not p.transport.has(0, 8):
            self.untouched(port, p)
            return
        kind = p.icmp.type
        if kind != _ECHO and kind != _ECHO_REPLY:
            self.untouched(port, p)
            return
        src = ip.src
        dst = ip.dst
        ports: u32 = p.icmp.identifier
        if kind == _ECHO:
            ports = ports << 16
        i = self.table.find((src, dst, ports, u32(1)))
        if i != NONE:
            self.rewrite(p, i)
        elif kind == _ECHO:
            self.unknown(port, p, src, dst, ports, u32(1))
        else:
            self.untouched(port, p)


class ICMPRewriter(Element):
    """Rewrite ICMP errors about packets that a rewriter has sent, so that they get to whom they are for.

    Destination unreachable, source quench, redirect, time exceeded and parameter problem quote the packet that they are about. Where
    the quoted packet is one of a flow of one of the rewriters, quote and destination become what they were before the rewriting
    (RFC 5508, section 4.2); checksums follow. Others go to output 1, or are dropped. So do quotes with IP options.

    Arguments:
        MAPS: names of rewriters (IPRewriter, TCPRewriter, UDPRewriter, ICMPPingRewriter, IPAddrRewriter, IPAddrPairRewriter).
        DST_ANNO: set the destination annotation.

    Handlers:
        count (read): errors rewritten.

    Example:
        rw :: IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.1, 5, 2.0.0.2, 53) -> CheckIPHeader -> rw -> ICMPError(9.0.0.9, 3, 1)
        -> ICMPRewriter(rw) -> IPPrint -> Discard; rw[1] -> Discard; Idle -> [1] rw;
    """

    ports = "1/1-2"
    processing = "h/h"

    count: u64

    def configure(self, maps: Raw, dst_anno: bool = True) -> None:
        self.names, self.dst_anno = split_words(maps), dst_anno
        if not self.names:
            raise ConfigureError("MAPS: required argument missing")

    def initialize(self) -> None:
        self.maps: list[Rewriter] = []
        for name in self.names:
            self.maps.append(self.named(name, Rewriter, keyword="MAPS", noun="rewriter"))

    def add_handlers(self) -> None:
        self.add_data("count", "count")

    @datapath
    def is_error(self, p: Packet) -> bool:
        if not p.network.has(0, 20) or p.ip.protocol != 1 or (p.ip.fragment & 0x1FFF) != 0 or not p.transport.has(0, _INNER + 28):
            return False
        kind = p.icmp.type
        if kind != 3 and kind != 4 and kind != 5 and kind != 11 and kind != 12:
            return False
        return p.transport.u8[_INNER] == 0x45 and (p.transport.u16[_INNER + 6] & 0x1FFF) == 0

    @datapath
    def put_back(self, p: Packet, src: u32, dst: u32, ports: u32) -> None:
        """Write what the quoted packet was before its rewriting."""
        old_src = p.transport.u32[_INNER + 12]
        old_dst = p.transport.u32[_INNER + 16]
        old_ports = p.transport.u32[_INNER + 20]
        protocol = p.transport.u8[_INNER + 9]
        checksum: u32 = p.transport.u16[_INNER + 10]
        p.transport.u16[_INNER + 10] = checksum_adjust32(checksum_adjust32(checksum, old_src, src), old_dst, dst)
        p.transport.u32[_INNER + 12] = src
        p.transport.u32[_INNER + 16] = dst
        if protocol == 1:
            # The identifier of an echo request; its checksum covers no addresses.
            word: u32 = p.transport.u16[_INNER + 22]
            p.transport.u16[_INNER + 22] = checksum_adjust(word, u32(p.transport.u16[_INNER + 24]), ports)
            p.transport.u16[_INNER + 24] = ports
        elif protocol == 6 or protocol == 17:
            p.transport.u32[_INNER + 20] = ports
            at: u32 = _INNER + 26
            if protocol == 6:
                at = _INNER + 36
            if p.transport.has(at, 2):
                sum_: u32 = p.transport.u16[at]
                if sum_ != 0 or protocol == 6:
                    sum_ = checksum_adjust32(checksum_adjust32(sum_, old_src, src), old_dst, dst)
                    p.transport.u16[at] = checksum_adjust32(sum_, old_ports, ports)
        ip = p.ip
        outer: u32 = ip.checksum
        outer_dst = ip.dst
        outer_src = ip.src
        outer = checksum_adjust32(outer, outer_dst, src)
        ip.dst = src
        if outer_src == old_dst:
            outer = checksum_adjust32(outer, outer_src, dst)
            ip.src = dst
        ip.checksum = outer
        p.icmp.checksum = 0
        p.icmp.checksum = checksum_finish(p.transport.checksum(0, p.length - u32(p.transport_offset)))
        if self.dst_anno:
            p.dst_ip = src

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.is_error(p):
            protocol = p.transport.u8[_INNER + 9]
            src = p.transport.u32[_INNER + 12]
            dst = p.transport.u32[_INNER + 16]
            ports = p.transport.u32[_INNER + 20]
            turned = (ports << 16) | (ports >> 16)
            if protocol == 1:
                turned = p.transport.u16[_INNER + 24]
            for rewriter in self.maps:
                # The quoted packet turned round is a reply of its flow.
                if rewriter.with_ports:
                    i = rewriter.table.find((dst, src, turned, protocol))
                    if i != NONE:
                        flow = rewriter.table.slots[i].value
                        before = (flow.ports << 16) | (flow.ports >> 16)
                        if protocol == 1:
                            before = (flow.ports >> 16) | (flow.ports & 0xFFFF)
                        self.count += 1
                        self.put_back(p, flow.dst, flow.src, before)
                        self.output(0).push(p)
                        return
                else:
                    k = rewriter.table.find((dst if rewriter.with_destination else u32(0), src, u32(0), u32(0)))
                    if k != NONE:
                        other = rewriter.table.slots[k].value
                        same: u32 = ports
                        if protocol == 1:
                            same = p.transport.u16[_INNER + 24]
                        self.count += 1
                        self.put_back(p, other.dst, other.src if rewriter.with_destination else dst, same)
                        self.output(0).push(p)
                        return
        self.checked_output_push(1, p)
