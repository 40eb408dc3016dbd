"""The IPv4 lookup elements. They differ in Click by how they search; here all of them are tries or code."""

from penstock.elements import Packet, datapath
from penstock.elements.routing import IPRouteTable, Route
from penstock.lang.arguments import Raw

__all__ = [
    "DirectIPLookup", "LinearIPLookup", "LookupIPRouteMP", "RadixIPLookup", "RangeIPLookup", "SortedIPLookup", "StaticIPLookup",
]


class RadixIPLookup(IPRouteTable):
    """Route IP packets by their destination annotation, by longest prefix match.

    A route's gateway, where it has one, becomes the destination annotation. Packets without a route are dropped.

    Arguments:
        ADDR/MASK [GATEWAY] OUTPUT, ...: the routes.

    Handlers:
        table (read): the routes. lookup (read): output and gateway for the address given as parameter.
        drops (read): packets without a route.
        add, set, remove (write): a route; ctrl (write): lines of them, all or none. flush (write): remove all.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2)
        -> r :: RadixIPLookup(2.0.0.0/8 0, 0.0.0.0/0 3.0.0.1 1); r[0] -> IPPrint -> Discard; r[1] -> Discard;
    """


class LinearIPLookup(IPRouteTable):
    """Route IP packets by their destination annotation; the same as RadixIPLookup.

    Arguments:
        ADDR/MASK [GATEWAY] OUTPUT, ...: the routes.

    Handlers:
        table, lookup, drops (read), add, set, remove, ctrl, flush (write): as RadixIPLookup's.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2)
        -> r :: LinearIPLookup(2.0.0.0/8 0, 0.0.0.0/0 3.0.0.1 1); r[0] -> IPPrint -> Discard; r[1] -> Discard;
    """


class DirectIPLookup(IPRouteTable):
    """Route IP packets by their destination annotation, for large tables; the same as RadixIPLookup.

    Arguments:
        ADDR/MASK [GATEWAY] OUTPUT, ...: the routes.

    Handlers:
        table, lookup, drops (read), add, set, remove, ctrl, flush (write): as RadixIPLookup's.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2)
        -> r :: DirectIPLookup(2.0.0.0/8 0, 0.0.0.0/0 3.0.0.1 1); r[0] -> IPPrint -> Discard; r[1] -> Discard;
    """

    spare_routes = 65536


class StaticIPLookup(IPRouteTable):
    """Route IP packets by their destination annotation, by routes that never change.

    A few routes become code: a compare each. More of them become a table.

    Arguments:
        ADDR/MASK [GATEWAY] OUTPUT, ...: the routes.

    Handlers:
        table, lookup, drops (read): as RadixIPLookup's.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2)
        -> r :: StaticIPLookup(2.0.0.0/8 0, 0.0.0.0/0 3.0.0.1 1); r[0] -> IPPrint -> Discard; r[1] -> Discard;
    """

    updates = False
    max_fused_routes = 16

    def configure_plainly(self, arguments: str) -> bool:
        self.fused: tuple[Route, ...] = ()
        return super().configure_plainly(arguments)

    def configure(self, *routes: Raw) -> None:
        super().configure(*routes)
        fused = len(self.routes) <= self.max_fused_routes
        self.fused = tuple(sorted(self.routes.values(), key=lambda r: -r.mask)) if fused else ()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if len(self.fused) == 0:
            IPRouteTable.push(self, port, p)
            return
        address = p.dst_ip
        for prefix, mask, gateway, output in self.fused:
            if (address & mask) == prefix:
                if gateway != 0:
                    p.dst_ip = gateway
                self.output(output).push(p)
                return
        self.drops += 1
        p.kill()


class RangeIPLookup(IPRouteTable):
    """Route IP packets by their destination annotation, for large tables; the same as RadixIPLookup.

    Arguments:
        ADDR/MASK [GATEWAY] OUTPUT, ...: the routes.

    Handlers:
        table, lookup, drops (read), add, set, remove, ctrl, flush (write): as RadixIPLookup's.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2)
        -> r :: RangeIPLookup(2.0.0.0/8 0, 0.0.0.0/0 3.0.0.1 1); r[0] -> IPPrint -> Discard; r[1] -> Discard;
    """


class SortedIPLookup(IPRouteTable):
    """Route IP packets by their destination annotation, for small tables; the same as RadixIPLookup.

    Arguments:
        ADDR/MASK [GATEWAY] OUTPUT, ...: the routes.

    Handlers:
        table, lookup, drops (read), add, set, remove, ctrl, flush (write): as RadixIPLookup's.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2)
        -> r :: SortedIPLookup(2.0.0.0/8 0, 0.0.0.0/0 3.0.0.1 1); r[0] -> IPPrint -> Discard; r[1] -> Discard;
    """


class LookupIPRouteMP(IPRouteTable):
    """Route IP packets by their destination annotation, on several threads; the same as RadixIPLookup.

    Arguments:
        ADDR/MASK [GATEWAY] OUTPUT, ...: the routes.

    Handlers:
        table, lookup, drops (read), add, set, remove, ctrl, flush (write): as RadixIPLookup's.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2)
        -> r :: LookupIPRouteMP(2.0.0.0/8 0, 0.0.0.0/0 3.0.0.1 1); r[0] -> IPPrint -> Discard; r[1] -> Discard;
    """
