"""IPv4 routing tables: what the lookup elements share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from penstock.datapath.lpm import LPM, LPMFullError
from penstock.datapath.memory import Array
from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import ConfigureError, Element, HandlerError
from penstock.elements.manyroutes import plain_routes
from penstock.lang.arguments import ArgumentError, Raw, parse_int, parse_ip, parse_prefix, unparse_ip, unparse_prefix
from penstock.lang.text import split_words, unquote
from penstock.packet.integers import u32, u64

__all__ = ["IPRouteTable", "Route"]

#: arguments of that many characters (5,000 routes or so) are read all at once
_MANY_CHARACTERS = 100_000
_MASKS = [0xFFFF_FFFF << (32 - length) & 0xFFFF_FFFF for length in range(33)]


class Route(NamedTuple):
    """One route; ``gateway`` 0 means that the destination is a neighbour."""

    address: int
    mask: int
    gateway: int
    port: int

    def __str__(self) -> str:
        gateway = unparse_ip(self.gateway) if self.gateway else "-"
        return f"{unparse_prefix(self.address, self.mask)}\t\t{gateway}\t\t{self.port}"


class IPRouteTable(Element):
    """Looks destinations up (the destination annotation); sets the annotation to the gateway where there is one.

    Packets without a route are dropped and counted. Updates through handlers take effect between two runs of
    the image; the table is rebuilt as a whole.
    """

    ports = "1/-"
    processing = "h/h"
    #: routes that may be added while it runs, beside those in the configuration
    spare_routes = 4096
    updates = True

    drops: u64

    def configure_plainly(self, arguments: str) -> bool:
        prefixes = plain_routes(arguments, self.noutputs) if len(arguments) >= _MANY_CHARACTERS else None
        if prefixes is None:
            return False
        self._routes: dict[tuple[int, int], Route] | None = None
        self._make({(0, port): port for port in range(self.noutputs)}, prefixes)
        return True

    def configure(self, *routes: Raw) -> None:
        self._routes = self._read(routes)
        hops = self._hops(self._routes)
        self._make(hops, self._prefixes(self._routes, hops))

    def _make(self, hops: dict[tuple[int, int], int], prefixes: Mapping[tuple[int, int], int]) -> None:
        spare = self.spare_routes if self.updates else 0
        self.capacity = len(prefixes) + spare
        self.lpm = LPM(LPM.chunks_needed(prefixes) + min(2 * spare, 1024))
        self.gateways, self.outputs = Array(u32, self.capacity + 1), Array(u32, self.capacity + 1)
        self._fill(hops, prefixes)

    def _read(self, texts: tuple[str, ...]) -> dict[tuple[int, int], Route]:
        found: dict[tuple[int, int], Route] = {}
        for text in texts:
            route = self._route(text)
            if route[:2] in found:
                raise ConfigureError(f"{unparse_prefix(*route[:2])}: duplicate route")
            found[route[:2]] = route
        return found

    @property
    def routes(self) -> dict[tuple[int, int], Route]:
        """The table by (address, mask); of a large one that was read all at once it is made when somebody asks."""
        if self._routes is None:
            self._routes = {}
            for (address, length), port in self.lpm.prefixes.items():
                self._routes[address, _MASKS[length]] = Route(address, _MASKS[length], 0, port)
        return self._routes

    def _route(self, text: str) -> Route:
        words = [unquote(w) for w in split_words(text)]
        if len(words) not in (2, 3):
            raise ArgumentError(f"route '{text}': expected 'ADDR/MASK [GATEWAY] OUTPUT'")
        address, mask = parse_prefix(words[0], self.router.context)
        if mask != (0xFFFFFFFF << (32 - mask.bit_count())) & 0xFFFFFFFF:
            raise ArgumentError(f"route '{text}': the mask is not a prefix")
        gateway = 0 if len(words) == 2 or words[1] == "-" else parse_ip(words[1], self.router.context)
        port = parse_int(words[-1], 0)
        if port >= self.noutputs:
            raise ArgumentError(f"route '{text}': output {port} of {self.noutputs} (outputs count from 0)")
        return Route(address & mask, mask, gateway, port)

    @staticmethod
    def _hops(routes: dict[tuple[int, int], Route]) -> dict[tuple[int, int], int]:
        """The numbers of the next hops: (gateway, output)."""
        found: dict[tuple[int, int], int] = {}
        for route in routes.values():
            found.setdefault((route.gateway, route.port), len(found))
        return found

    @staticmethod
    def _prefixes(routes: dict[tuple[int, int], Route], hops: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
        return {(r.address, r.mask.bit_count()): hops[r.gateway, r.port] for r in routes.values()}

    def _store(self, routes: dict[tuple[int, int], Route]) -> None:
        if len(routes) > self.capacity:
            raise HandlerError(f"the table is full ({self.capacity} routes)")
        hops = self._hops(routes)
        self._fill(hops, self._prefixes(routes, hops))
        self._routes = routes

    def _fill(self, hops: dict[tuple[int, int], int], prefixes: Mapping[tuple[int, int], int]) -> None:
        try:
            self.lpm.fill(prefixes)
        except LPMFullError as error:
            raise HandlerError(str(error)) from None
        for (gateway, port), i in hops.items():
            self.gateways[i], self.outputs[i] = gateway, port

    def add_handlers(self) -> None:
        self.add_read("table", lambda: "".join(f"{r}\n" for r in self.routes.values()))
        self.add_read("lookup", self._lookup, parameter=True)
        self.add_data("drops", "drops")
        if self.updates:
            self.add_write("add", lambda text: self._change([("add", text)]))
            self.add_write("set", lambda text: self._change([("set", text)]))
            self.add_write("remove", lambda text: self._change([("remove", text)]))
            self.add_write("ctrl", self._ctrl)
            self.add_write("flush", lambda text: self._store({}), flags="b")

    def _lookup(self, text: str) -> str:
        address = parse_ip(text.strip(), self.router.context)
        best = max((r for r in self.routes.values() if address & r.mask == r.address), key=lambda r: r.mask, default=None)
        if best is None:
            return "-1"
        return f"{best.port}" + (f" {unparse_ip(best.gateway)}" if best.gateway else "")

    def _ctrl(self, text: str) -> None:
        changes = [line.strip().partition(" ")[::2] for line in text.splitlines() if line.strip()]
        self._change([(verb, rest) for verb, rest in changes])

    def _change(self, changes: list[tuple[str, str]]) -> None:
        """All of the changes, or none of them."""
        routes = dict(self.routes)
        for verb, text in changes:
            if verb == "remove":
                words = split_words(text)
                if not words:
                    raise HandlerError("expected a prefix")
                address, mask = parse_prefix(unquote(words[0]), self.router.context)
                if routes.pop((address & mask, mask), None) is None:
                    raise HandlerError(f"no route {unparse_prefix(address & mask, mask)}")
            elif verb in ("add", "set"):
                route = self._route(text)
                if verb == "add" and route[:2] in routes:
                    raise HandlerError(f"{unparse_prefix(*route[:2])}: there is a route already (set replaces it)")
                routes[route[:2]] = route
            else:
                raise HandlerError(f"bad command '{verb}' (expected add, set or remove)")
        self._store(routes)

    @datapath
    def note_hop(self, p: Packet, hop: u32) -> None:
        """What a packet is told of its next hop, beside the gateway."""

    @datapath
    def push(self, port: int, p: Packet) -> None:
        found = self.lpm.find(p.dst_ip)
        if found == 0:
            self.drops += 1
            p.kill()
        else:
            gateway = self.gateways[found - 1]
            if gateway != 0:
                p.dst_ip = gateway
            self.note_hop(p, found - 1)
            if self.noutputs == 1:
                self.output(0).push(p)
            else:
                self.output(self.outputs[found - 1]).push(p)
