"""Elements that set the aggregate annotation, and that sort packets by it."""

from penstock.elements import NONE, ConfigureError, Element, Packet, Struct, Table, datapath, u32, u64
from penstock.lang.arguments import Anno1, Raw, UInt32, parse_int
from penstock.lang.text import split_words

__all__ = ["AggregateFilter", "AggregateFirst", "AggregateIP", "AggregateLength", "AggregatePacketCounter", "AggregatePaint"]


class AggregateLength(Element):
    """Set the aggregate annotation to the packet's length.

    Arguments:
        IP: the length from the IP header on.

    Example:
        FromDump(f.pcap, STOP true) -> AggregateLength -> AggregateCounter -> Discard;
    """

    def configure(self, *, ip: bool = False) -> None:
        self.ip = ip

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        length = p.length + p.extra_length
        if self.ip and p.has_network:
            length = u32(length - p.network_offset)
        p.aggregate = length
        return p


class AggregatePaint(Element):
    """Set the aggregate annotation to the paint annotation, or fold some bits of that into it.

    Arguments:
        BITS: how many low bits of the paint are used (8).
        INCREMENTAL: the old aggregate is kept, shifted up by BITS.
        ANNO: which annotation byte.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> Paint(5) -> AggregatePaint -> AggregateCounter -> Discard;
    """

    def configure(self, bits: UInt32 = 8, *, incremental: bool = False, anno: Anno1 = 16) -> None:
        if not 1 <= bits <= 8:
            raise ConfigureError("BITS: must be between 1 and 8")
        self.bits, self.mask, self.incremental, self.anno = bits, (1 << bits) - 1, incremental, anno

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        color = u32(p.anno8[self.anno]) & self.mask
        p.aggregate = u32((p.aggregate << self.bits) + color) if self.incremental else color
        return p


#: name -> (byte from the header's start, bits to the right of the field in its 32-bit word, mask)
_IP_FIELDS = {"version": (0, 28, 0xF), "hl": (0, 24, 0xF), "tos": (0, 16, 0xFF), "dscp": (0, 18, 0x3F), "ecn": (0, 16, 3),
              "len": (0, 0, 0xFFFF), "id": (4, 16, 0xFFFF), "off": (4, 0, 0x1FFF), "ttl": (8, 24, 0xFF), "proto": (8, 16, 0xFF),
              "sum": (8, 0, 0xFFFF), "src": (12, 0, 0xFFFFFFFF), "dst": (16, 0, 0xFFFFFFFF)}
_PORTS = {"sport": (0, 16, 0xFFFF), "dport": (0, 0, 0xFFFF)}


class AggregateIP(Element):
    """Set the aggregate annotation to a field of the IP or transport header, or to its first bits.

    Packets without the field go to output 1, or are dropped.

    Arguments:
        FIELD: ``ip src``, ``ip dst``, ``ip src/16``, ``ip tos``, ``ip proto``, ``ip ttl``, ``ip id``, ``ip len``, ``ip dscp``,
            ``tcp sport``, ``udp dport``, ``transp sport`` and the like.
        INCREMENTAL: the old aggregate is kept, shifted up by the field's bits.
        UNSHIFT: the field stays at the top of its word where only its first bits are used.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> AggregateIP(ip src/8) -> AggregateCounter -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    def configure(self, field: Raw, *, incremental: bool = False, unshift: bool = False) -> None:
        words = split_words(field.replace("/", " / "))
        name = [w for w in words if w != "/"]
        prefix = int(name.pop()) if "/" in words and name[-1].isdigit() else None
        if len(name) == 1:
            name.insert(0, "ip")
        kind, what = [*name, "", ""][:2]
        place = _IP_FIELDS.get(what) if kind == "ip" else _PORTS.get(what) if kind in ("tcp", "udp", "transp") else None
        if place is None or len(name) != 2:
            raise ConfigureError(f"FIELD: '{field.strip()}' is no field (as in 'ip src/16' or 'transp dport')")
        self.place, right, mask = place
        bits = mask.bit_length()
        if prefix is not None and not 1 <= prefix <= bits:
            raise ConfigureError(f"FIELD: the field has {bits} bits")
        self.bits = bits if prefix is None else prefix
        self.right = right if unshift else right + bits - self.bits
        cut = ((1 << self.bits) - 1) << (bits - self.bits)
        self.mask = cut if unshift else (1 << self.bits) - 1
        self.in_network = kind == "ip"
        self.protocol = {"tcp": 6, "udp": 17}.get(kind, 0)
        self.incremental = incremental

    @datapath
    def word(self, p: Packet) -> u32:
        return p.network.u32[self.place] if self.in_network else p.transport.u32[self.place]

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        good = p.network.has(0, 20)
        if good and not self.in_network:
            protocol = p.ip.protocol
            good = p.transport.has(0, 4) and p.ip.fragment_offset == 0
            if self.protocol != 0:
                good = good and protocol == self.protocol
            else:
                good = good and (protocol == 6 or protocol == 17)
        if not good:
            self.checked_output_push(1, p)
            return None
        value = (self.word(p) >> self.right) & self.mask
        if self.incremental and self.bits < 32:
            p.aggregate = u32((p.aggregate << self.bits) + value)
        else:
            p.aggregate = value
        return p


class AggregateFilter(Element):
    """Send packets to outputs by their aggregate annotation.

    Arguments:
        RULE, ...: ``OUTPUT AGGREGATE...`` with aggregates as numbers or ranges (``0 5 10-20``), ``OUTPUT -`` or ``OUTPUT all`` for
            the rest; ``allow`` is output 0, ``drop`` none.

    Example:
        FromDump(f.pcap, STOP true) -> AggregateLength -> f :: AggregateFilter(0 60-100, 1 all); f[0] -> Discard; f[1] -> Discard;
    """

    ports = "1/1-254"
    processing = "h/h"

    def configure(self, *rule: Raw) -> None:
        rules: list[tuple[int, int, int]] = []
        for text in rule:
            words = split_words(text)
            if len(words) < 2:
                raise ConfigureError(f"'{text.strip()}': expected OUTPUT AGGREGATE...")
            output = {"allow": 0, "drop": -1, "deny": -1}.get(words[0])
            output = parse_int(words[0], 0) if output is None else output
            if output >= self.noutputs:
                raise ConfigureError(f"output must be < {self.noutputs}")
            for word in words[1:]:
                if word in ("-", "all"):
                    rules.append((0, 0xFFFFFFFF, output))
                    continue
                low, dash, high = word.partition("-")
                first = parse_int(low, 0, 0xFFFFFFFF)
                rules.append((first, parse_int(high, first, 0xFFFFFFFF) if dash else first, output))
        self.rules = tuple(rules)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        aggregate = p.aggregate
        for low, high, output in self.rules:
            if low <= aggregate and aggregate <= high:
                if output < 0:
                    p.kill()
                else:
                    self.output(output).push(p)
                return
        p.kill()


class _Seen(Struct):
    count: u64


class AggregateFirst(Element):
    """Send the first packet of each aggregate to output 0, all others to output 1 (or drop them).

    Arguments:
        CAPACITY: aggregates that are remembered (65536); packets of further ones count as seen.

    Handlers:
        clear (write): forget all.

    Example:
        FromDump(f.pcap, STOP true) -> AggregateLength -> AggregateFirst -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    def configure(self, *, capacity: UInt32 = 65536) -> None:
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self.seen = Table((u32,), _Seen, capacity)

    def add_handlers(self) -> None:
        self.add_write("clear", lambda text: self.seen.clear(), flags="b")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        key = (p.aggregate,)
        if self.seen.find(key) == NONE:
            if self.seen.insert(key) != NONE:
                return p
        self.checked_output_push(1, p)
        return None


class AggregatePacketCounter(Element):
    """Count packets by input and aggregate annotation: which aggregates were seen, and how often.

    Arguments:
        CAPACITY: aggregates and inputs in the table (65536).

    Handlers:
        count (read): packets in all. clear (write).
        packets (read): each input, aggregate and count.

    Example:
        FromDump(f.pcap, STOP true) -> AggregateLength -> c :: AggregatePacketCounter -> Discard;
    """

    ports = "1-/1-"
    processing = "a/a"
    flow = "#/#"

    count: u64

    def configure(self, *, capacity: UInt32 = 65536) -> None:
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        if self.ninputs != self.noutputs:
            raise ConfigureError("need as many inputs as outputs")
        self.table = Table((u32, u32), _Seen, capacity)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("packets", lambda: "".join(f"{i} {a} {v.count}\n" for (i, a), v in sorted(self.table.items(), key=lambda kv: kv[0])))
        self.add_write("clear", self._clear, flags="b")

    def _clear(self, text: str) -> None:
        self.table.clear()
        self.count = 0

    @datapath
    def note(self, port: u32, p: Packet) -> None:
        self.count += 1
        i = self.table.find((port, p.aggregate))
        if i == NONE:
            i = self.table.insert((port, p.aggregate))
        if i != NONE:
            self.table.slots[i].value.count += 1

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.note(u32(port), p)
        self.output(port).push(p)

    @datapath
    def pull(self, port: int) -> Packet | None:
        p = self.input(port).pull()
        if p is not None:
            self.note(u32(port), p)
        return p


