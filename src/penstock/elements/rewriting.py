"""Network address translation: the table of flows that the rewriters share.

A flow is two entries of one table, one for each direction, each with the headers that packets get and with the
changes of their checksums worked out in advance (RFC 1624). A packet touches its own entry alone.
"""

from __future__ import annotations

from typing import ClassVar

from penstock.datapath.checksum import checksum_apply, fold, word_delta
from penstock.datapath.containers import NONE, Table
from penstock.datapath.memory import Struct
from penstock.datapath.packet import Packet
from penstock.datapath.source import abstraction, datapath
from penstock.elements.rewriter_patterns import InputSpec, Pattern
from penstock.elements.rewritinginputs import RewritingElement, ticks
from penstock.lang.arguments import unparse_ip
from penstock.packet.integers import u8, u16, u32

__all__ = ["Flow", "Rewriter"]

_NEW, _STREAMING, _DONE = 0, 1, 2
_EVICTION_PROBES = 64


class Flow(Struct):
    """One direction of a flow: what packets become."""

    LINKS = ("peer",)

    src: u32
    dst: u32
    ports: u32
    ip_delta: u16
    transport_delta: u16
    expiry: u32
    peer: u32
    guaranteed: u32
    output: u16
    mode: u8
    forward: u8


class Rewriter(RewritingElement):
    """What IPRewriter and its relatives share. Subclasses say what a flow is."""

    packets_held = 1

    #: whether ports are rewritten, and are part of a flow
    with_ports: ClassVar[bool] = True
    with_destination: ClassVar[bool] = True
    #: what is remembered of a flow's direction
    flow_kind: ClassVar[type[Flow]] = Flow

    def setup(self, inputs: tuple[str, ...], capacity: int, *, guarantee: float, first: float, streaming: float, done: float,
              tcp_guarantee: float | None = None, tcp_first: float | None = None, tcp_streaming: float | None = None,
              dst_anno: bool = True) -> None:
        """``first``, ``streaming``, ``done``: seconds that a flow is remembered before and after a reply, and after its end."""
        self.read_inputs(inputs, capacity, with_ports=self.with_ports, with_destination=self.with_destination)
        self.dst_anno = dst_anno
        self.timeouts = tuple(map(ticks, (first, streaming, done)))
        self.tcp_timeouts = tuple(map(ticks, (
            first if tcp_first is None else tcp_first, streaming if tcp_streaming is None else tcp_streaming, done)))
        self.guarantee = ticks(guarantee)
        self.tcp_guarantee = ticks(guarantee if tcp_guarantee is None else tcp_guarantee)
        self.table = Table((u32, u32, u32, u8), self.flow_kind, 2 * capacity)
        self.watch()

    def add_handlers(self) -> None:
        super().add_handlers()
        for name in ("table_size", "size"):
            self.add_read(name, lambda: self.table.entries // 2)

    def _table(self, protocol: int | None = None) -> str:
        lines: list[str] = []
        for (src, dst, ports, proto), flow in self.table.items():
            if flow.forward and (protocol is None or proto == protocol):
                lines.append(f"{self._shown(src, dst, ports)} => {self._shown(flow.src, flow.dst, flow.ports)} [{flow.output}]\n")
        return "".join(sorted(lines))

    def _shown(self, src: int, dst: int, ports: int) -> str:
        if not self.with_ports:
            return f"({unparse_ip(src)}" + (f", {unparse_ip(dst)})" if self.with_destination else ")")
        return f"({unparse_ip(src)}, {ports >> 16}, {unparse_ip(dst)}, {ports & 0xFFFF})"

    # The table

    @datapath
    def timeout(self, protocol: u32, mode: u32) -> u32:
        if protocol == 6:
            if mode == _NEW:
                return u32(self.tcp_timeouts[0])
            return u32(self.tcp_timeouts[1]) if mode == _STREAMING else u32(self.tcp_timeouts[2])
        if mode == _NEW:
            return u32(self.timeouts[0])
        return u32(self.timeouts[1])

    @datapath(rare=True)
    def make_room(self) -> None:
        """The table is full: of some flows past their guarantee, give up the one that would expire first."""
        now = self.now_ticks()
        best: u32 = NONE
        first: u32 = NONE
        for _ in range(_EVICTION_PROBES):
            i = self.table.after(self.hand)
            self.hand = i
            if self.table.used(i):
                flow = self.table.slots[i].value
                if flow.guaranteed <= now:
                    last = max(flow.expiry, self.table.slots[flow.peer].value.expiry)
                    if last < first:
                        first = last
                        best = i
        if best != NONE:
            self.end_entry(best)

    # A new flow

    @datapath(rare=True)
    def install(self, spec: InputSpec, src: u32, dst: u32, ports: u32, protocol: u32) -> u32:
        """Enter a new flow by ``spec``; gives the index of its forward entry, or NONE where that cannot be."""
        if self.table.entries + 2 > self.table.capacity:
            self.make_room()
        pattern = spec.pattern
        new_dst: u32 = dst if pattern.dst is None else u32(pattern.dst)
        dport: u32 = (ports & 0xFFFF) if pattern.dport is None else u32(pattern.dport)
        new_src: u32 = src if pattern.src is None else u32(pattern.src)
        sport: u32 = (ports >> 16) if pattern.sport is None else u32(pattern.sport)
        start = self.first_pick(pattern, ports, sport)
        pick = self.first_free(pattern, start, new_src, sport, new_dst, dport, protocol)
        if pick == NONE:
            self.failures += 1
            return u32(NONE)
        self.rotation = pick + 1
        new_src, sport = self.candidate(pattern, pick, new_src, sport)
        new_ports = (sport << 16) | dport
        i = self.table.insert((src, self.flow_dst(dst), ports, protocol))
        if i == NONE:
            self.failures += 1
            return u32(NONE)
        j = self.table.insert((self.reply_src(new_dst), new_src, (dport << 16) | sport, protocol))
        if j == NONE:
            self.table.remove(i)
            self.failures += 1
            return u32(NONE)
        now = self.now_ticks()
        guaranteed = now + (u32(self.tcp_guarantee) if protocol == 6 else u32(self.guarantee))
        self.fill(i, j, (src, dst, ports), (new_src, new_dst, new_ports), u32(spec.forward), True)
        self.fill(j, i, (new_dst, new_src, (dport << 16) | sport), (dst, src, (ports << 16) | (ports >> 16)),
                  u32(spec.reply), False)
        for k in (i, j):
            self.table.slots[k].value.expiry = now + self.timeout(protocol, u32(_NEW))
            self.table.slots[k].value.guaranteed = guaranteed
        return i

    @datapath
    def candidate(self, pattern: Pattern, pick: u32, src: u32, sport: u32) -> tuple[u32, u32]:
        """Source address and port of the choice number ``pick``."""
        if pattern.sources > 1:
            src = u32(pattern.src or 0) + pick // pattern.ports
        if pattern.ports > 1:
            sport = u32(pattern.sport or 0) + pick % pattern.ports
        return src, sport

    @datapath
    def first_free(self, pattern: Pattern, start: u32, src: u32, sport: u32, dst: u32, dport: u32, protocol: u32) -> u32:
        """The first choice from ``start`` on whose replies find this flow and no other; NONE where all are taken."""
        for n in range(pattern.choices):
            pick = (start + n) % pattern.choices
            mine, port = self.candidate(pattern, pick, src, sport)
            if self.table.find((self.reply_src(dst), mine, (dport << 16) | port, protocol)) == NONE:
                return pick
        return u32(NONE)

    @abstraction(of=first_free)
    def any_free(self, pattern: Pattern, start: u32, src: u32, sport: u32, dst: u32, dport: u32, protocol: u32) -> u32:
        """Other flows may have the first choice, but not all of them."""
        if pattern.choices == 1:
            return start
        other = self.random.next()
        if (other & 1) == 0:
            return start
        return (other >> 1) % pattern.choices

    @datapath
    def flow_dst(self, dst: u32) -> u32:
        return dst if self.with_destination else u32(0)

    @datapath
    def reply_src(self, src: u32) -> u32:
        return src if self.with_destination else u32(0)

    @datapath
    def fill(self, i: u32, peer: u32, old: tuple[int, int, int], new: tuple[int, int, int], output: u32, forward: bool) -> None:
        flow = self.table.slots[i].value
        flow.src = new[0]
        flow.dst = new[1]
        flow.ports = new[2]
        addresses = word_delta(old[0], new[0]) + word_delta(old[1], new[1])
        flow.ip_delta = fold(addresses)
        flow.transport_delta = fold(addresses + word_delta(old[2], new[2]))
        flow.peer = peer
        flow.output = output
        flow.mode = _NEW
        flow.forward = 1 if forward else 0

    # A packet of a flow

    @datapath
    def rewrite(self, p: Packet, i: u32) -> None:
        flow = self.table.slots[i].value
        ip = p.ip
        protocol = ip.protocol
        if self.with_destination:
            ip.src = flow.src
            ip.dst = flow.dst
        elif flow.forward != 0:
            ip.src = flow.src
        else:
            ip.dst = flow.dst
        ip.checksum = checksum_apply(ip.checksum, u32(flow.ip_delta))
        if self.dst_anno:
            p.dst_ip = ip.dst
        if self.with_ports:
            p.transport.u32[0] = flow.ports
        first = (ip.fragment & 0x1FFF) == 0
        mode: u32 = flow.mode
        if protocol == 6:
            if first and p.transport.has(0, 18):
                p.transport.u16[16] = checksum_apply(p.transport.u16[16], u32(flow.transport_delta))
                if self.with_ports and (p.transport.u8[13] & 5) != 0:
                    # FIN or RST: the flow ends.
                    mode = _DONE
                    flow.mode = _DONE
                    self.table.slots[flow.peer].value.mode = _DONE
                    self.table.slots[flow.peer].value.expiry = self.now_ticks() + self.timeout(protocol, mode)
        elif protocol == 17:
            if first and p.transport.has(0, 8):
                before = p.transport.u16[6]
                if before != 0:
                    after = checksum_apply(before, u32(flow.transport_delta))
                    p.transport.u16[6] = 0xFFFF if after == 0 else after
        if mode == _NEW and flow.forward == 0:
            mode = _STREAMING
            flow.mode = _STREAMING
            self.table.slots[flow.peer].value.mode = _STREAMING
        flow.expiry = self.now_ticks() + self.timeout(protocol, mode)
        self.output(u32(flow.output)).push(p)

    @datapath
    def unknown(self, port: int, p: Packet, src: u32, dst: u32, ports: u32, protocol: u32) -> None:
        """A packet of no known flow: what the input's specification says."""
        for number, spec in enumerate(self.specs):
            if port == number:
                if spec.kind == "pass":
                    self.output(spec.forward).push(p)
                elif spec.kind == "drop":
                    p.kill()
                elif spec.kind == "map":
                    pick = spec.mapper.choose(src, dst, ports)
                    for k, choice in enumerate(spec.choices):
                        if pick == k:
                            if choice.kind == "pass":
                                self.output(choice.forward).push(p)
                            elif choice.kind == "drop":
                                p.kill()
                            else:
                                self.begin(p, choice, src, dst, ports, protocol)
                            return
                    p.kill()
                else:
                    self.begin(p, spec, src, dst, ports, protocol)
                return
        p.kill()

    @datapath
    def begin(self, p: Packet, spec: InputSpec, src: u32, dst: u32, ports: u32, protocol: u32) -> None:
        i = self.install(spec, src, dst, ports, protocol)
        if i == NONE:
            p.kill()
        else:
            self.rewrite(p, i)
