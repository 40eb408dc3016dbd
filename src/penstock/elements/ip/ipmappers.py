"""RoundRobinIPMapper and SourceIPHashMapper: which of several patterns a rewriter's new flow gets."""

from penstock.elements import Array, ConfigureError, Element, datapath, u8, u32
from penstock.lang.arguments import ArgumentError, Raw, parse_int
from penstock.lang.text import split_words

__all__ = ["RoundRobinIPMapper", "SourceIPHashMapper"]

_TABLE = 4096
_MASK = 0xFFFFFFFF


class _Mapper(Element):
    """What rewriters know of a mapper: its input specifications, and how it chooses."""

    ports = "0/0"
    configure_phase = 20

    def set_specs(self, specs: list[str]) -> None:
        if not specs:
            raise ConfigureError("INPUTSPEC: required argument missing")
        if len(specs) > 255:
            raise ConfigureError("no more than 255 input specifications")
        self.specs = specs
        self.router.context.mappers[self.name] = self


class RoundRobinIPMapper(_Mapper):
    """Give new flows the input specifications in turn. Rewriters use it by its name, in the place of an input specification.

    Arguments:
        INPUTSPEC, ...: as IPRewriter has them.

    Handlers:
        next (read): whose turn it is.

    Example:
        m :: RoundRobinIPMapper(pattern - - 3.0.0.1 - 0 1, pattern - - 3.0.0.2 - 0 1);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.1, 1024, 2.0.0.2, 53) -> CheckIPHeader
        -> rw :: IPRewriter(m, drop); rw[0] -> IPPrint -> Discard; rw[1] -> Discard; Idle -> [1] rw;
    """

    following: u32

    def configure(self, *inputspec: Raw) -> None:
        self.set_specs(list(inputspec))
        self.count = len(inputspec)

    def add_handlers(self) -> None:
        self.add_data("next", "following")

    @datapath
    def choose(self, src: u32, dst: u32, ports: u32) -> u32:
        pick = self.following
        self.following = 0 if pick + 1 >= self.count else pick + 1
        return pick


class SourceIPHashMapper(_Mapper):
    """Give new flows an input specification by their source address: a host always gets the same one, by consistent hashing.

    Arguments:
        NNODES SEED: places on the ring for each specification, and the hash's seed.
        INPUTSPEC ID, ...: as IPRewriter has them, each with a number of its own: who keeps his number keeps his hosts.

    Example:
        m :: SourceIPHashMapper(10 77, pattern - - 3.0.0.1 - 0 1 5, pattern - - 3.0.0.2 - 0 1 9);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.1, 1024, 2.0.0.2, 53) -> CheckIPHeader
        -> rw :: IPRewriter(m, drop); rw[0] -> IPPrint -> Discard; rw[1] -> Discard; Idle -> [1] rw;
    """

    def configure(self, nnodes: Raw, *inputspec: Raw) -> None:
        words = split_words(nnodes)
        try:
            if len(words) != 2:
                raise ArgumentError("expected NNODES SEED")
            places, self.seed = parse_int(words[0], 1, 1024), parse_int(words[1], 0, _MASK)
            ids, specs = [], []
            for text in inputspec:
                *rest, number = split_words(text) or [""]
                ids.append(parse_int(number, 0, _MASK))
                specs.append(" ".join(rest))
        except ArgumentError as error:
            raise ConfigureError(str(error)) from None
        if len(set(ids)) != len(ids):
            raise ConfigureError("each ID may be there once")
        self.set_specs(specs)
        ring = sorted((self._mixed(number * 1024 + k + 1) >> 20, i) for i, number in enumerate(ids) for k in range(places))
        table, at = [0] * _TABLE, 0
        for place in range(_TABLE):
            while at < len(ring) and ring[at][0] < place:
                at += 1
            table[place] = ring[at % len(ring)][1]
        self.table = Array(u8, _TABLE, table)

    def _mixed(self, value: int) -> int:
        value = (value ^ self.seed) & _MASK
        value = (value ^ value >> 16) * 0x7FEB352D & _MASK
        value = (value ^ value >> 15) * 0x846CA68B & _MASK
        return value ^ value >> 16

    @datapath
    def choose(self, src: u32, dst: u32, ports: u32) -> u32:
        value: u32 = src ^ self.seed
        value = (value ^ (value >> 16)) * 0x7FEB_352D
        value = (value ^ (value >> 15)) * 0x846C_A68B
        return u32(self.table[(value ^ (value >> 16)) >> 20])
