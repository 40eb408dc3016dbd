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
from penstock.datapath.sched import Timer
from penstock.datapath.source import abstraction, datapath
from penstock.elements.element import ConfigureError, Element, HandlerError
from penstock.elements.rewriter_patterns import InputSpec, Pattern, parse_input
from penstock.lang.arguments import ArgumentError, unparse_ip
from penstock.packet.integers import u8, u16, u32, u64

__all__ = ["Flow", "Rewriter"]

#: timeouts are counted in units of 2^30 ns
_TICK_SHIFT = 30
_REAP_NS = 250_000_000
_REAP_PARTS = 64
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


def ticks(seconds: float) -> int:
    return min(-int(-seconds * 1e9 // (1 << _TICK_SHIFT)), 1 << 30)


class Rewriter(Element):
    """What IPRewriter and its relatives share. Subclasses say what a flow is."""

    ports = "1-/1-"
    processing = "h/h"
    takes_state = True
    packets_held = 1

    #: whether ports are rewritten, and are part of a flow
    with_ports: ClassVar[bool] = True
    with_destination: ClassVar[bool] = True

    failures: u64
    rotation: u32
    hand: u32

    def setup(self, inputs: tuple[str, ...], capacity: int, *, guarantee: float, first: float, streaming: float, done: float,
              tcp_guarantee: float | None = None, tcp_first: float | None = None, tcp_streaming: float | None = None,
              dst_anno: bool = True) -> None:
        """``first``, ``streaming``, ``done``: seconds that a flow is remembered before and after a reply, and after its end."""
        if len(inputs) != self.ninputs:
            raise ConfigureError(f"need {self.ninputs} arguments, one per input port")
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("MAPPING_CAPACITY: out of range, bound 4194304")
        specs: list[InputSpec] = []
        problems: list[str] = []
        for number, text in enumerate(inputs):
            try:
                specs.append(parse_input(text, self.router.context, self.noutputs, ports=self.with_ports,
                                         destination=self.with_destination))
            except ArgumentError as error:
                problems.append(f"input {number}: {error}")
        if problems:
            raise ConfigureError("\n".join(problems))
        self.specs = tuple(specs)
        self.capacity, self.dst_anno = capacity, dst_anno
        self.timeouts = tuple(map(ticks, (first, streaming, done)))
        self.tcp_timeouts = tuple(map(ticks, (
            first if tcp_first is None else tcp_first, streaming if tcp_streaming is None else tcp_streaming, done)))
        self.guarantee = ticks(guarantee)
        self.tcp_guarantee = ticks(guarantee if tcp_guarantee is None else tcp_guarantee)
        self.table = Table((u32, u32, u32, u8), Flow, 2 * capacity)
        self.timer = Timer(self)

    def started(self) -> None:
        self.timer.schedule_after(_REAP_NS)

    def add_handlers(self) -> None:
        self.add_read("nmappings", lambda: self.table.entries // 2)
        self.add_read("table_size", lambda: self.table.entries // 2)
        self.add_read("size", lambda: self.table.entries // 2)
        self.add_data("mapping_failures", "failures")
        self.add_read("capacity", lambda: self.capacity)
        self.add_read("table", self._table)
        self.add_write("clear", self._clear, flags="b")

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

    def _clear(self, text: str) -> None:
        if text.strip():
            raise HandlerError("takes no value")
        self.table.clear()

    # The table

    @datapath
    def now_ticks(self) -> u32:
        return u32(self.clock.recent >> _TICK_SHIFT)

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
    def remove_flow(self, i: u32) -> None:
        peer = self.table.slots[i].value.peer
        self.table.remove(i)
        if peer != i:
            self.table.remove(peer)

    @datapath
    def is_expired(self, i: u32, now: u32) -> bool:
        """A flow is as young as its younger direction."""
        if now <= self.table.slots[i].value.expiry:
            return False
        return bool(now > self.table.slots[self.table.slots[i].value.peer].value.expiry)

    @datapath
    def run_timer(self) -> bool:
        """Look at a part of the table each time."""
        now = u32(self.clock.now() >> _TICK_SHIFT)
        for _ in range(self.table.top // _REAP_PARTS + 1):
            i = self.table.after(self.hand)
            self.hand = i
            if self.table.used(i):
                if self.is_expired(i, now):
                    self.remove_flow(i)
        self.timer.schedule_after(_REAP_NS)
        return True

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
            self.remove_flow(best)

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
        start: u32 = 0
        if pattern.choices > 1:
            if pattern.order == "same" and pattern.ports > 1:
                mine = (ports >> 16) - sport
                start = self.random.next() % pattern.choices
                if mine < pattern.ports:
                    start = mine
            elif pattern.order == "?":
                start = self.random.next() % pattern.choices
            else:
                start = self.rotation % pattern.choices
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

    @datapath
    def untouched(self, port: int, p: Packet) -> None:
        """A packet that cannot belong to a flow: passes where its input passes, else is dropped."""
        for number, spec in enumerate(self.specs):
            if port == number:
                if spec.kind == "pass":
                    self.output(spec.forward).push(p)
                else:
                    p.kill()
                return
        p.kill()
