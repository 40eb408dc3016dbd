"""PatternSearch: fixed strings and regular expressions in packets and in flows."""

from penstock.elements import (
    NONE,
    Array,
    ConfigureError,
    HandlerError,
    Packet,
    Struct,
    Table,
    abstraction,
    datapath,
    u8,
    u16,
    u32,
    u64,
)
from penstock.elements.automaton import NO_PATTERN, AutomatonError, expressions, strings
from penstock.elements.reaping import ReapingElement
from penstock.lang.arguments import Raw, Seconds, UInt32
from penstock.lang.text import unquote

__all__ = ["PatternSearch"]

_TCP, _UDP = 6, 17
_SYN = 2


class Followed(Struct):
    """One direction of a flow: where the search is, what comes next, and what was found."""

    state: u32
    next_sequence: u32
    best: u16
    expiry_s: u32


class PatternSearch(ReapingElement):
    """Search the payload of packets for patterns. Output N gets packets with pattern N (the one with the lowest number, of several),
    the last output those without any.

    All patterns are searched at once, by one automaton that is made when the configuration is installed, a table look-up for each byte.
    Patterns are strings, or with REGEX regular expressions (``. [] [^] () | * + ? {m,n} ^`` and escapes; ``^`` is where the data begin).
    With STREAM a pattern may lie across packets of a flow: TCP is followed in the order of its sequence numbers (what was seen
    before is not searched again; behind a gap the search begins anew), UDP in the order of arrival. What was found in a flow counts for
    all packets behind it. The network and transport headers must be set, but for DATA.

    Arguments:
        PATTERN, ...: in quotes where they have commas or spaces, bytes as ``\\<0d0a>``.
        REGEX: they are regular expressions. NOCASE: letters of either case are the same. STREAM: search flows.
        DATA: search all data of packets, headers too, instead of the payload of TCP and UDP.
        MEMORY: bytes that the automaton may take (4194304). FLOWS: directions of flows that are followed (65536). TIMEOUT: for how long
        they are remembered (300 s).

    Handlers:
        states, memory (read): of the automaton. matches (read): packets for each pattern, and without. flows, gaps (read): with STREAM.
        reset (write): forget flows and counts.

    Example:
        InfiniteSource(DATA "GET /x HTTP/1.1", LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 80)
        -> s :: PatternSearch("POST ", "GET [^ ]*", REGEX true); s[0] -> Discard; s[1] -> Print -> Discard; s[2] -> Discard;
    """

    ports = "1/-"
    processing = "h/h"

    gaps: u64

    def configure(self, *patterns: Raw, regex: bool = False, nocase: bool = False, stream: bool = False, data: bool = False,
                  memory: UInt32 = 4 << 20, flows: UInt32 = 65536, timeout: Seconds = 300) -> None:
        if not patterns:
            raise ConfigureError("expected at least one pattern")
        if self.noutputs != len(patterns) + 1:
            raise ConfigureError(f"{len(patterns)} patterns need {len(patterns) + 1} outputs, the last one for packets without any")
        if stream and data:
            raise ConfigureError("STREAM searches the payload of flows; it does not go with DATA")
        if not 1 <= flows <= 1 << 22:
            raise ConfigureError("FLOWS: out of range, bound 4194304")
        texts = [unquote(pattern).encode("latin-1", "replace") for pattern in patterns]
        try:
            self.automaton = (expressions if regex else strings)(texts, memory_bytes=memory, ignore_case=nocase)
        except AutomatonError as error:
            raise ConfigureError(str(error)) from None
        made = self.automaton
        self.patterns, self.stream, self.whole, self.timeout_s = len(patterns), stream, data, int(timeout)
        self.columns = made.classes
        self.classes, self.steps, self.accepted = Array(u8, 256), Array(u32, len(made.table)), Array(u16, made.states)
        self.classes.initial = {0: made.classes_of}
        self.steps.initial = {0: made.table.tobytes()}
        self.accepted.initial = {0: made.accepted.tobytes()}
        self.counts = Array(u64, len(patterns) + 1)
        if stream:
            self.table = Table((u32, u32, u32, u8), Followed, flows)
            self.watch()

    def started(self) -> None:
        if self.stream:
            super().started()

    def add_handlers(self) -> None:
        self.add_read("states", lambda: self.automaton.states)
        self.add_read("memory", lambda: self.automaton.memory_bytes)
        self.add_read("matches", lambda: " ".join(str(int(self.counts[i])) for i in range(self.patterns + 1)))
        self.add_write("reset", self._reset, flags="b")
        if self.stream:
            self.add_read("flows", lambda: self.table.entries)
            self.add_data("gaps", "gaps")

    def _reset(self, text: str) -> None:
        if text.strip():
            raise HandlerError("takes no value")
        self.gaps = 0
        for i in range(self.patterns + 1):
            self.counts[i] = 0
        if self.stream:
            self.table.clear()

    @datapath
    def scan(self, p: Packet, start: u32, length: u32, state: u32, best: u32) -> tuple[u32, u32]:
        """The state behind these bytes (from ``start`` on in the data), and the lowest pattern found, here or before."""
        here: u32 = state
        lowest: u32 = best
        for i in range(length):
            here = self.steps[here * self.columns + u32(self.classes[p.data.u8[start + i]])]
            lowest = min(lowest, u32(self.accepted[here]))
        return here, lowest

    @abstraction(of=scan)
    def found_any(self, p: Packet, start: u32, length: u32, state: u32, best: u32) -> tuple[u32, u32]:
        """Whatever the bytes are, one of the patterns or none is found."""
        pick = self.random.next() % (self.patterns + 1)
        found = u32(NO_PATTERN) if pick == self.patterns else pick
        return self.random.next(), min(found, best)

    @datapath
    def payload(self, p: Packet) -> tuple[u32, u32]:
        """Where the payload of TCP or UDP begins in the data, and how many bytes it has: as many as are there and as IP says."""
        ip = p.ip
        head: u32 = 8
        if ip.protocol == _TCP:
            if not p.transport.has(0, 20):
                return u32(0), u32(0)
            head = u32(p.tcp.offset) * 4
        elif ip.protocol != _UDP:
            head = 0
        if (ip.fragment & 0x1FFF) != 0:
            head = 0
        start = u32(p.transport_offset) + head
        end = min(u32(p.network_offset) + u32(ip.length), p.length)
        if start >= end:
            return start, u32(0)
        return start, end - start

    @datapath
    def followed(self, p: Packet) -> u32:
        """What is found in the flow up to this packet."""
        start, length = self.payload(p)
        ip = p.ip
        if (ip.fragment & 0x3FFF) != 0 or not p.transport.has(0, 4):
            _, best = self.scan(p, start, length, u32(0), u32(NO_PATTERN))
            return best
        i = self.table.find((ip.src, ip.dst, p.transport.u32[0], ip.protocol))
        sequence: u32 = 0
        flags: u32 = 0
        if ip.protocol == _TCP and p.transport.has(0, 20):
            sequence = p.tcp.sequence
            flags = p.tcp.flags
            if (flags & _SYN) != 0:
                sequence += 1
        fresh = i == NONE
        if fresh:
            i = self.table.insert((ip.src, ip.dst, p.transport.u32[0], ip.protocol))
            if i == NONE:
                _, best = self.scan(p, start, length, u32(0), u32(NO_PATTERN))
                return best
        flow = self.table.slots[i].value
        if fresh or (flags & _SYN) != 0:
            flow.state = 0
            flow.best = NO_PATTERN
            flow.next_sequence = sequence
        flow.expiry_s = u32(self.clock.recent >> 30) + self.timeout_s
        if ip.protocol == _TCP:
            ahead = sequence - flow.next_sequence
            if ahead >= 0x8000_0000:
                # Some of it, or all, was seen already.
                behind = flow.next_sequence - sequence
                if behind >= length:
                    return u32(flow.best)
                start += behind
                length -= behind
                sequence = flow.next_sequence
            elif ahead > 0:
                self.gaps += 1
                flow.state = 0
            flow.next_sequence = sequence + length
        state, best = self.scan(p, start, length, u32(flow.state), u32(flow.best))
        flow.state = state
        flow.best = best
        return best

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        return bool(u32(now_ns >> 30) > self.table.slots[i].value.expiry_s)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        best: u32 = NO_PATTERN
        if self.stream:
            best = self.followed(p)
        elif self.whole:
            _, best = self.scan(p, u32(0), p.length, u32(0), u32(NO_PATTERN))
        else:
            start, length = self.payload(p)
            _, best = self.scan(p, start, length, u32(0), u32(NO_PATTERN))
        if best >= self.patterns:
            best = u32(self.patterns)
        self.counts[best] += 1
        self.output(best).push(p)
