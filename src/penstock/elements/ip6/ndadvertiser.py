"""IP6NDAdvertiser."""

from penstock.elements import Array, ConfigureError, Packet, datapath, u32, u48, u64, u128
from penstock.elements.ip6.addresses6 import unparse_ip6
from penstock.elements.neighbours import NEIGHBOUR_FRAME_BYTES, NeighbourElement
from penstock.lang.arguments import ArgumentError, Raw, parse_ether, parse_int, parse_ip6, unparse_ether
from penstock.lang.text import split_words, unquote

__all__ = ["IP6NDAdvertiser"]

_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOLICITATION_BYTES, _TARGET_ADDRESS = 24, 2
_ALL_NODES, _ALL_NODES_ETHER = 0xFF02_0000_0000_0000_0000_0000_0000_0001, 0x3333_0000_0001
_SOLICITED, _OVERRIDE = 0x4000_0000, 0x2000_0000


class IP6NDAdvertiser(NeighbourElement):
    """Answer neighbour solicitations for given IPv6 addresses (RFC 4861, section 7.2.4).

    Ethernet frames with a solicitation for one of them become the advertisement, on output 0. Other frames, and such whose hop limit or
    checksum is wrong, go to output 1, or are dropped. The entry with the longest matching prefix wins.

    Arguments:
        IP6/MASK [IP6/MASK...] ETH, ...: prefixes, and the address to answer with.

    Handlers:
        table (read): the entries. count (read): advertisements.

    Example:
        FromDump(f.pcap, STOP true) -> IP6NDAdvertiser(3ffe::1 1:1:1:1:1:1, 3ffe:2::/32 2:2:2:2:2:2) -> Print -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    count: u64

    def configure(self, *entries: Raw) -> None:
        if not entries:
            raise ConfigureError("IP6/MASK ETH: required argument missing")
        table: list[tuple[int, int, int]] = []
        for text in entries:
            *prefixes, ether = [unquote(w) for w in split_words(text)]
            if not prefixes:
                raise ConfigureError(f"entry '{text}' needs IPv6 addresses and an Ethernet address")
            try:
                address = parse_ether(ether, self.router.context)
                for prefix in prefixes:
                    first, _, bits = prefix.partition("/")
                    length = parse_int(bits, 0, 128) if bits else 128
                    mask = (1 << 128) - (1 << (128 - length))
                    table.append((parse_ip6(first) & mask, mask, address))
            except ArgumentError as error:
                raise ConfigureError(f"entry '{text}': {error}") from None
        self.table = sorted(table, key=lambda entry: -entry[1].bit_count())
        self.size = len(self.table)
        self.addresses = Array(u128, self.size, [a for a, _, _ in self.table])
        self.masks = Array(u128, self.size, [m for _, m, _ in self.table])
        self.ethers = Array(u48, self.size, [e for _, _, e in self.table])

    def add_handlers(self) -> None:
        self.add_read("table", lambda: "".join(f"{unparse_ip6(a)}/{m.bit_count()}\t{unparse_ether(e)}\n" for a, m, e in self.table))
        self.add_data("count", "count")

    @datapath
    def answer(self, p: Packet, mine: u64) -> None:
        asker: u128 = p.data.u128[22]
        target: u128 = p.data.u128[62]
        to: u64 = p.data.u48[6]
        flags: u32 = _SOLICITED | _OVERRIDE
        if asker == 0:
            # Duplicate address detection: the asker has no address yet.
            asker = u128(_ALL_NODES)
            to = _ALL_NODES_ETHER
            flags = _OVERRIDE
        if p.length > NEIGHBOUR_FRAME_BYTES:
            p.take(p.length - NEIGHBOUR_FRAME_BYTES)
        elif p.length < NEIGHBOUR_FRAME_BYTES:
            p.put(NEIGHBOUR_FRAME_BYTES - p.length)
        self.write_message(p, to, mine, target, asker, u32(_ADVERTISEMENT), flags, target, u32(_TARGET_ADDRESS))
        self.count += 1

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.is_message(p, u32(_SOLICITATION), u32(_SOLICITATION_BYTES)):
            target: u128 = p.data.u128[62]
            for i in range(self.size):
                if (target & self.masks[i]) == self.addresses[i]:
                    self.answer(p, self.ethers[i])
                    return p
        self.checked_output_push(1, p)
        return None
