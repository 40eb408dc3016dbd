"""IP6Rewriter: network address and port translation between IPv6 addresses."""

from penstock.datapath.checksum import checksum_adjust32, checksum_apply, checksum_finish, fold, word_delta
from penstock.elements import NONE, Packet, Struct, Table, abstraction, datapath, u8, u16, u32, u64, u128
from penstock.elements.ip6.addresses6 import unparse_ip6
from penstock.elements.rewriter_patterns import InputSpec, Pattern
from penstock.elements.rewritinginputs import RewritingElement, ticks
from penstock.lang.arguments import ArgumentContext, ArgumentError, Raw, Seconds, UInt32, parse_ip6

__all__ = ["IP6Rewriter"]

_TCP, _UDP, _ICMP6 = 6, 17, 58
_ECHO, _ECHO_REPLY = 128, 129
_NEW, _STREAMING, _DONE = 0, 1, 2
#: in an ICMPv6 error, from its header: the quoted packet, and its transport header
_QUOTE, _QUOTED = 8, 48


class _Flow(Struct):
    """One direction of a flow: what packets become."""

    LINKS = ("peer",)

    src_high: u64
    src_low: u64
    dst_high: u64
    dst_low: u64
    ports: u32
    expiry: u32
    peer: u32
    #: the change of the transport checksum (RFC 1624)
    delta: u16
    output: u16
    mode: u8
    forward: u8


def _addresses(text: str, context: ArgumentContext) -> tuple[int | None, int]:
    if text == "-":
        return None, 1
    low, dash, high = text.partition("-")
    first = parse_ip6(low)
    last = parse_ip6(high) if dash else first
    if last < first or last - first >= 1 << 16:
        raise ArgumentError(f"bad address range '{text}'")
    return first, last - first + 1


class IP6Rewriter(RewritingElement):
    """Rewrite addresses and ports of TCP, UDP and ICMPv6 echo packets by flow; replies are rewritten back.

    As IPRewriter, for IPv6. An echo's identifier stands in the place of the source port. ICMPv6 errors about packets of a flow are
    rewritten as packets of it, with what they quote. Checksums stay right. Other packets, fragments and what stands behind extension
    headers pass on inputs with ``pass``, and are dropped on others. While MAPPING_CAPACITY flows are known, packets of new ones are
    dropped.

    Arguments:
        INPUTSPEC, ...: one for each input: ``drop``; ``pass [OUTPUT]``; ``keep FOUTPUT ROUTPUT``;
            ``pattern SADDR SPORT DADDR DPORT FOUTPUT ROUTPUT`` with IPv6 addresses, as IPRewriter has them.
        MAPPING_CAPACITY: flows that are remembered (65536).
        TCP_TIMEOUT, TCP_NODATA_TIMEOUT, TCP_DONE_TIMEOUT: how long a TCP flow is remembered while it works (24 h), before there is a reply
            (5 min), and after FIN or RST (4 min). UDP_TIMEOUT: how long another one is (5 min).
        DST_ANNO: set the destination annotation.

    Handlers:
        nmappings, mapping_failures, capacity (read). table (read): the flows. clear (write): forget all.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIP6Encap(fd00::1, 1024, 3ffe::2, 53) -> CheckIP6Header
        -> rw :: IP6Rewriter(pattern 3ffe::1 1024-65535 - - 0 1, drop); rw[0] -> IP6Print -> Discard; rw[1] -> Discard; Idle -> [1] rw;
    """

    def configure(self, *inputs: Raw, mapping_capacity: UInt32 = 65536, tcp_timeout: Seconds = 86400, tcp_nodata_timeout: Seconds = 300,
                  tcp_done_timeout: Seconds = 240, udp_timeout: Seconds = 300, dst_anno: bool = True) -> None:
        self.read_inputs(inputs, mapping_capacity, addresses=_addresses)
        self.dst_anno = dst_anno
        self.timeouts = tuple(ticks(t) for t in (tcp_nodata_timeout, tcp_timeout, tcp_done_timeout, udp_timeout))
        self.table = Table((u128, u128, u32, u8), _Flow, 2 * mapping_capacity)
        self.watch()

    def _table(self) -> str:
        def shown(src: int, dst: int, ports: int) -> str:
            return f"({unparse_ip6(src)}, {ports >> 16}, {unparse_ip6(dst)}, {ports & 0xFFFF})"

        return "".join(sorted(
            f"{shown(src, dst, ports)} => {shown(f.src_high << 64 | f.src_low, f.dst_high << 64 | f.dst_low, f.ports)} [{f.output}]\n"
            for (src, dst, ports, _), f in self.table.items() if f.forward))

    # The table

    @datapath
    def timeout(self, protocol: u32, mode: u32) -> u32:
        if protocol != _TCP:
            return u32(self.timeouts[3])
        if mode == _NEW:
            return u32(self.timeouts[0])
        return u32(self.timeouts[1]) if mode == _STREAMING else u32(self.timeouts[2])

    @datapath
    def candidate(self, pattern: Pattern, pick: u32, src: u128, sport: u32) -> tuple[u128, u32]:
        """Source address and port of the choice number ``pick``."""
        if pattern.sources > 1:
            src = u128(pattern.src or 0) + u128(pick // pattern.ports)
        if pattern.ports > 1:
            sport = u32(pattern.sport or 0) + pick % pattern.ports
        return src, sport

    @datapath
    def first_free(self, pattern: Pattern, start: u32, src: u128, sport: u32, dst: u128, dport: u32, protocol: u32) -> u32:
        """The first choice from ``start`` on whose replies find this flow and no other; NONE where all are taken."""
        for n in range(pattern.choices):
            pick = (start + n) % pattern.choices
            mine, port = self.candidate(pattern, pick, src, sport)
            if self.table.find((dst, mine, (dport << 16) | port, protocol)) == NONE:
                return pick
        return u32(NONE)

    @abstraction(of=first_free)
    def any_free(self, pattern: Pattern, start: u32, src: u128, sport: u32, dst: u128, dport: u32, protocol: u32) -> u32:
        """Other flows may have the first choice, but not all of them."""
        if pattern.choices == 1:
            return start
        other = self.random.next()
        if (other & 1) == 0:
            return start
        return (other >> 1) % pattern.choices

    @datapath(rare=True)
    def install(self, spec: InputSpec, src: u128, dst: u128, ports: u32, protocol: u32) -> u32:
        """Enter a new flow by ``spec``; gives the index of its forward entry, or NONE where that cannot be."""
        pattern = spec.pattern
        new_dst: u128 = dst if pattern.dst is None else u128(pattern.dst)
        dport: u32 = (ports & 0xFFFF) if pattern.dport is None or protocol == _ICMP6 else u32(pattern.dport)
        new_src: u128 = src if pattern.src is None else u128(pattern.src)
        sport: u32 = (ports >> 16) if pattern.sport is None else u32(pattern.sport)
        start = self.first_pick(pattern, ports, sport)
        pick = self.first_free(pattern, start, new_src, sport, new_dst, dport, protocol)
        if pick == NONE or self.table.entries + 2 > self.table.capacity:
            self.failures += 1
            return u32(NONE)
        self.rotation = pick + 1
        new_src, sport = self.candidate(pattern, pick, new_src, sport)
        i = self.table.insert((src, dst, ports, protocol))
        if i == NONE:
            self.failures += 1
            return u32(NONE)
        j = self.table.insert((new_dst, new_src, (dport << 16) | sport, protocol))
        if j == NONE:
            self.table.remove(i)
            self.failures += 1
            return u32(NONE)
        change = self.change(src, new_src) + self.change(dst, new_dst) + word_delta(ports, (sport << 16) | dport)
        back = self.change(new_src, src) + self.change(new_dst, dst) + word_delta((sport << 16) | dport, ports)
        self.fill(i, j, new_src, new_dst, (sport << 16) | dport, fold(change), u32(spec.forward), True)
        self.fill(j, i, dst, src, (ports << 16) | (ports >> 16), fold(back), u32(spec.reply), False)
        for k in (i, j):
            self.table.slots[k].value.expiry = self.now_ticks() + self.timeout(protocol, u32(_NEW))
        return i

    @datapath
    def change(self, old: u128, new: u128) -> u32:
        total: u32 = 0
        for shift in (96, 64, 32, 0):
            total += word_delta(u32(old >> shift), u32(new >> shift))
        return total

    @datapath
    def fill(self, i: u32, peer: u32, src: u128, dst: u128, ports: u32, delta: u32, output: u32, forward: bool) -> None:
        flow = self.table.slots[i].value
        flow.src_high = u64(src >> 64)
        flow.src_low = u64(src)
        flow.dst_high = u64(dst >> 64)
        flow.dst_low = u64(dst)
        flow.ports = ports
        flow.delta = delta
        flow.peer = peer
        flow.output = output
        flow.mode = _NEW
        flow.forward = 1 if forward else 0

    # Packets

    @datapath
    def new_src(self, i: u32) -> u128:
        return (u128(self.table.slots[i].value.src_high) << 64) | u128(self.table.slots[i].value.src_low)

    @datapath
    def new_dst(self, i: u32) -> u128:
        return (u128(self.table.slots[i].value.dst_high) << 64) | u128(self.table.slots[i].value.dst_low)

    @datapath
    def apply(self, p: Packet, at: u32, delta: u32) -> None:
        p.transport.u16[at] = checksum_apply(p.transport.u16[at], delta)

    @datapath
    def rewrite(self, p: Packet, i: u32, protocol: u32) -> None:
        flow = self.table.slots[i].value
        ip6 = p.ip6
        ip6.src = self.new_src(i)
        ip6.dst = self.new_dst(i)
        if self.dst_anno:
            p.dst_ip6 = self.new_dst(i)
        mode: u32 = flow.mode
        if protocol == _ICMP6:
            # One half is the identifier, the other one is 0.
            p.transport.u16[4] = (flow.ports >> 16) | (flow.ports & 0xFFFF)
            self.apply(p, u32(2), u32(flow.delta))
        else:
            p.transport.u32[0] = flow.ports
            if protocol == _TCP:
                if p.transport.has(0, 18):
                    self.apply(p, u32(16), u32(flow.delta))
                    if (p.transport.u8[13] & 5) != 0:
                        mode = _DONE
                        flow.mode = _DONE
                        self.table.slots[flow.peer].value.mode = _DONE
                        self.table.slots[flow.peer].value.expiry = self.now_ticks() + self.timeout(protocol, mode)
            elif p.transport.u16[6] != 0:
                after = checksum_apply(p.transport.u16[6], u32(flow.delta))
                p.transport.u16[6] = 0xFFFF if after == 0 else after
        if mode == _NEW and flow.forward == 0:
            mode = _STREAMING
            flow.mode = _STREAMING
            self.table.slots[flow.peer].value.mode = _STREAMING
        flow.expiry = self.now_ticks() + self.timeout(protocol, mode)
        self.output(u32(flow.output)).push(p)

    @datapath
    def quoted(self, p: Packet) -> u32:
        """The flow of the packet that an ICMPv6 error is about, in the direction of the error; NONE where it is of none."""
        if p.transport.u8[0] == 0 or p.transport.u8[0] > 4 or not p.transport.has(0, _QUOTED + 8):
            return u32(NONE)
        protocol: u32 = p.transport.u8[_QUOTE + 6]
        ports: u32 = p.transport.u32[_QUOTED]
        if protocol == _ICMP6:
            ports = u32(p.transport.u16[_QUOTED + 4]) << 16
            if p.transport.u8[_QUOTED] == _ECHO_REPLY:
                ports = ports >> 16
            elif p.transport.u8[_QUOTED] != _ECHO:
                return u32(NONE)
        elif protocol != _TCP and protocol != _UDP:
            return u32(NONE)
        return self.table.find((p.transport.u128[_QUOTE + 24], p.transport.u128[_QUOTE + 8], (ports << 16) | (ports >> 16), protocol))

    @datapath
    def rewrite_error(self, p: Packet, i: u32) -> None:
        """RFC 5508, section 4.2: the error goes as a packet of the flow does, and what it quotes becomes what its sender sent."""
        flow = self.table.slots[i].value
        ip6 = p.ip6
        src, dst = self.new_src(i), self.new_dst(i)
        protocol: u32 = p.transport.u8[_QUOTE + 6]
        before_src: u128 = p.transport.u128[_QUOTE + 8]
        before_dst: u128 = p.transport.u128[_QUOTE + 24]
        if ip6.src == before_dst:
            ip6.src = src
        ip6.dst = dst
        p.transport.u128[_QUOTE + 8] = dst
        p.transport.u128[_QUOTE + 24] = src
        ports = (flow.ports << 16) | (flow.ports >> 16)
        old: u32 = 0
        at: u32 = _QUOTED + (6 if protocol == _UDP else 16)
        if protocol == _ICMP6:
            at = _QUOTED + 2
            old = p.transport.u16[_QUOTED + 4]
            ports = (ports >> 16) | (ports & 0xFFFF)
            p.transport.u16[_QUOTED + 4] = ports
        else:
            old = p.transport.u32[_QUOTED]
            p.transport.u32[_QUOTED] = ports
        if p.transport.has(at, 2):
            total: u32 = p.transport.u16[at]
            for shift in (96, 64, 32, 0):
                total = checksum_adjust32(total, u32(before_src >> shift), u32(dst >> shift))
                total = checksum_adjust32(total, u32(before_dst >> shift), u32(src >> shift))
            p.transport.u16[at] = checksum_adjust32(total, old, ports)
        length = p.length - u32(p.transport_offset)
        p.transport.u16[2] = 0
        p.transport.u16[2] = checksum_finish(p.transport.checksum(0, length, p.network.checksum(8, 32, length + _ICMP6)))
        if self.dst_anno:
            p.dst_ip6 = dst
        self.output(u32(flow.output)).push(p)

    @datapath
    def unknown(self, port: int, p: Packet, src: u128, dst: u128, ports: u32, protocol: u32) -> None:
        """A packet of no known flow: what the input's specification says."""
        for number, spec in enumerate(self.specs):
            if port == number:
                if spec.kind == "pass":
                    self.output(spec.forward).push(p)
                elif spec.kind == "drop":
                    p.kill()
                else:
                    i = self.install(spec, src, dst, ports, protocol)
                    if i == NONE:
                        p.kill()
                    else:
                        self.rewrite(p, i, protocol)
                return
        p.kill()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if not p.network.has(0, 40) or not p.transport.has(0, 8) or (u32(p.network.u8[0]) >> 4) != 6:
            self.untouched(port, p)
            return
        protocol: u32 = p.ip6.next_header
        ports: u32 = p.transport.u32[0]
        if protocol == _ICMP6:
            kind = p.transport.u8[0]
            if kind != _ECHO and kind != _ECHO_REPLY:
                k = self.quoted(p)
                if k == NONE:
                    self.untouched(port, p)
                else:
                    self.rewrite_error(p, k)
                return
            ports = p.transport.u16[4]
            if kind == _ECHO:
                ports = ports << 16
        elif protocol != _TCP and protocol != _UDP:
            self.untouched(port, p)
            return
        src: u128 = p.ip6.src
        dst: u128 = p.ip6.dst
        i = self.table.find((src, dst, ports, protocol))
        if i != NONE:
            self.rewrite(p, i, protocol)
        else:
            self.unknown(port, p, src, dst, ports, protocol)
