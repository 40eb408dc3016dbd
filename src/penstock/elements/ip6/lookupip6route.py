"""LookupIP6Route."""

from penstock.elements import NONE, Array, ConfigureError, Element, HandlerError, Packet, Struct, Table, datapath, u32, u64, u128
from penstock.elements.ip6.addresses6 import parse_prefix6, unparse_ip6, unparse_prefix6
from penstock.lang.arguments import ArgumentError, Raw, parse_int, parse_ip6
from penstock.lang.text import split_words

__all__ = ["LookupIP6Route"]

_LENGTHS = 129
_LOW = (1 << 64) - 1


class _Route(Struct):
    gateway_high: u64
    gateway_low: u64
    output: u32


class LookupIP6Route(Element):
    """Route IPv6 packets by their destination annotation, by longest prefix match.

    A route's gateway, where it has one, becomes the destination annotation. Packets without a route are dropped.
    One look in a table for each prefix length that is in use.

    Arguments:
        ADDR/BITS [GATEWAY] OUTPUT, ...: the routes; a gateway ``::0`` is none.
        CAPACITY: routes in the table (65536).

    Handlers:
        table (read): the routes. lookup (read): output and gateway for the address given as parameter. drops (read).
        add (write): a route. remove (write): ADDR/BITS. flush (write): remove all.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2)
        -> r :: LookupIP6Route(3ffe::/16 0, ::/0 fe80::1 1); r[0] -> Print -> Discard; r[1] -> Discard;
    """

    ports = "1/-"
    processing = "h/h"

    drops: u64
    #: prefix lengths in use, longest first
    n_lengths: u32

    def configure(self, *routes: Raw, capacity: int = 65536) -> None:
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self.lengths = Array(u32, _LENGTHS)
        self.table = Table((u64, u64, u32), _Route, capacity)
        first = [self._route(text) for text in routes]
        self.content: dict[tuple[int, ...], dict[str, int]] = {(a >> 64, a & _LOW, b): self._values(g, o) for a, b, g, o in first}
        if len(self.content) != len(first):
            raise ConfigureError("duplicate route")
        if len(self.content) > capacity:
            raise ConfigureError(f"{len(self.content)} routes do not fit (see CAPACITY)")
        self._set_lengths({b for _, b, _, _ in first})

    def started(self) -> None:
        self.table.load(self.content)

    @staticmethod
    def _values(gateway: int, output: int) -> dict[str, int]:
        return {"gateway_high": gateway >> 64, "gateway_low": gateway & _LOW, "output": output}

    def _route(self, text: str) -> tuple[int, int, int, int]:
        words = split_words(text)
        if len(words) not in (2, 3):
            raise ArgumentError(f"route '{text.strip()}': expected 'ADDR/BITS [GATEWAY] OUTPUT'")
        address, bits = parse_prefix6(words[0])
        gateway = 0 if len(words) == 2 or words[1] == "-" else parse_ip6(words[1])
        output = parse_int(words[-1], 0)
        if output >= self.noutputs:
            raise ArgumentError(f"route '{text.strip()}': output {output} of {self.noutputs} (outputs count from 0)")
        return address, bits, gateway, output

    def add_handlers(self) -> None:
        self.add_read("table", lambda: "".join(
            f"{unparse_prefix6(a, b)}\t{unparse_ip6(g) if g else '-'}\t{o}\n" for a, b, g, o in self._routes()))
        self.add_read("lookup", self._lookup, parameter=True)
        self.add_data("drops", "drops")
        self.add_write("add", lambda text: self._change(text, remove=False))
        self.add_write("remove", lambda text: self._change(text, remove=True))
        self.add_write("flush", lambda text: self._flush(), flags="b")

    def _routes(self) -> list[tuple[int, int, int, int]]:
        found = [(h << 64 | low, b, int(v.gateway_high) << 64 | int(v.gateway_low), int(v.output)) for (h, low, b), v in self.table.items()]
        return sorted(found, key=lambda r: (r[0], r[1]))

    def _lookup(self, text: str) -> str:
        address = parse_ip6(text.strip())
        matching = [r for r in self._routes() if address >> (128 - r[1]) == r[0] >> (128 - r[1])]
        if not matching:
            return "-1"
        _, _, gateway, output = max(matching, key=lambda r: r[1])
        return f"{output} {unparse_ip6(gateway)}" if gateway else str(output)

    def _change(self, text: str, *, remove: bool) -> None:
        try:
            if not remove:
                self._add(*self._route(text))
                return
            address, bits = parse_prefix6(split_words(text)[0] if text.strip() else "")
        except ArgumentError as error:
            raise HandlerError(str(error)) from None
        at = self.table.index_of((address >> 64, address & _LOW, bits))
        if at is None:
            raise HandlerError(f"no route for {unparse_prefix6(address, bits)}")
        self.table.drop(at)
        self._set_lengths({b for _, b, _, _ in self._routes()})

    def _add(self, address: int, bits: int, gateway: int, output: int) -> None:
        key = (address >> 64, address & _LOW, bits)
        before = self.table.index_of(key)
        if before is not None:
            self.table.drop(before)
        if self.table.put(key, self._values(gateway, output)) is None:
            raise HandlerError("the table is full (see CAPACITY)")
        self._set_lengths({b for _, b, _, _ in self._routes()})

    def _flush(self) -> None:
        self.table.clear()
        self._set_lengths(set())

    def _set_lengths(self, lengths: set[int]) -> None:
        for i, bits in enumerate(sorted(lengths, reverse=True)):
            self.lengths[i] = bits
        self.n_lengths = len(lengths)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        address: u128 = p.dst_ip6
        for k in range(self.n_lengths):
            bits: u32 = self.lengths[k]
            cut: u128 = 0
            if bits != 0:
                cut = (address >> (128 - bits)) << (128 - bits)
            i = self.table.find((u64(cut >> 64), u64(cut), bits))
            if i != NONE:
                route = self.table.slots[i].value
                if route.gateway_high != 0 or route.gateway_low != 0:
                    p.dst_ip6 = (u128(route.gateway_high) << 64) | u128(route.gateway_low)
                self.output(u32(route.output)).push(p)
                return
        self.drops += 1
        p.kill()
