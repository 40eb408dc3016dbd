"""SATable and RadixIPsecLookup: where associations are named."""

from collections.abc import Mapping

from penstock.elements import Array, ConfigureError, Packet, datapath, u32
from penstock.elements.associations import Association, AssociationHolder, parse_association
from penstock.elements.routing import IPRouteTable, Route
from penstock.lang.arguments import ArgumentError, Raw
from penstock.lang.text import split_words, unquote

__all__ = ["RadixIPsecLookup", "SATable"]


class SATable(AssociationHolder):
    """Name security associations for the other elements.

    Arguments:
        SPI ENCRYPT_KEY AUTH_KEY [REPLAY] [WINDOW], ...: number, keys in hexadecimal (AES of 16, 24 or 32 bytes; HMAC-SHA1, of 20
            mostly), whether old packets are refused (true), and by how many numbers they may be late (64 at most).

    Handlers:
        table (read): SPI and sizes of the keys, in bits.

    Example:
        SATable(0x100 00112233445566778899aabbccddeeff 000102030405060708090a0b0c0d0e0f10111213); Idle -> Discard;
    """

    ports = "0/0"

    def configure(self, *association: Raw) -> None:
        self.associations: list[Association] = []
        for text in association:
            try:
                self.associations.append(parse_association([unquote(w) for w in split_words(text)]))
            except ArgumentError as error:
                # The keys are not repeated in what may be written to a log.
                raise ConfigureError(f"association {len(self.associations) + 1}: {error}") from None

    def add_handlers(self) -> None:
        self.add_read("table", lambda: "".join(
            f"{a.spi:#x} AES-{len(a.encryption_key) * 8} HMAC-SHA1-{len(a.authentication_key) * 8}\n" for a in self.associations))


class RadixIPsecLookup(IPRouteTable, AssociationHolder):
    """Route IP packets by their destination annotation, and tell which security association protects them.

    A route's gateway becomes the destination annotation, its SPI the IPSEC_SPI annotation, which IPsecESPEncap takes.

    Arguments:
        ADDR/MASK [GATEWAY] OUTPUT [SPI ENCRYPT_KEY AUTH_KEY [REPLAY] [WINDOW]], ...: the routes, each with its association, where it
            has one, as SATable names it.

    Handlers:
        table (read): the routes. lookup (read): output and gateway for the address given as parameter. drops (read).

    Example:
        r :: RadixIPsecLookup(2.0.0.0/8 4.0.0.1 0 0x100 00112233445566778899aabbccddeeff 000102030405060708090a0b0c0d0e0f10111213);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> r -> IPsecESPEncap -> IPsecAES(1)
        -> IPsecAuthHMACSHA1(0) -> IPsecEncap(50, 3.0.0.1, DST_ANNO) -> IPPrint -> Discard;
    """

    updates = False

    def configure_plainly(self, arguments: str) -> bool:
        self.associations = []
        self.spi_of: dict[tuple[int, int], int] = {}
        self.known_hops: set[tuple[int, int]] = set()
        return super().configure_plainly(arguments)

    def _route(self, text: str) -> Route:
        words = split_words(text)
        rest: list[str] = []
        for count in (3, 2):
            if len(words) >= count + 3 and unquote(words[count - 1]).isdigit():
                words, rest = words[:count], [unquote(w) for w in words[count:]]
                break
        route = super()._route(" ".join(words))
        if rest:
            association = parse_association(rest)
            self.associations.append(association)
            self.spi_of[route.gateway, route.port] = association.spi
            if (route.gateway, route.port) in self.known_hops:
                raise ArgumentError(f"route '{' '.join(words)}': another route has this gateway and output, and another association")
        self.known_hops.add((route.gateway, route.port))
        return route

    def _fill(self, hops: dict[tuple[int, int], int], prefixes: Mapping[tuple[int, int], int]) -> None:
        super()._fill(hops, prefixes)
        spis = [0] * (self.capacity + 1)
        for (gateway, port), i in hops.items():
            spis[i] = self.spi_of.get((gateway, port), 0)
        self.spis_of_hops = Array(u32, self.capacity + 1, spis)

    @datapath
    def note_hop(self, p: Packet, hop: u32) -> None:
        p.anno32[32] = self.spis_of_hops[hop]
