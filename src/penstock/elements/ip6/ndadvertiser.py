"""IP6NDAdvertiser."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Array, ConfigureError, Element, Packet, datapath, u48, u64, u128
from penstock.elements.ip6.addresses6 import unparse_ip6
from penstock.lang.arguments import ArgumentError, Raw, parse_ether, parse_int, parse_ip6, unparse_ether
from penstock.lang.text import split_words, unquote

__all__ = ["IP6NDAdvertiser"]

_FRAME_BYTES, _SOLICITATION_BYTES = 86, 78
_ALL_NODES, _ALL_NODES_ETHER = 0xFF02_0000_0000_0000_0000_0000_0000_0001, 0x3333_0000_0001
_SOLICITED, _OVERRIDE = 0x4000_0000, 0x2000_0000


class IP6NDAdvertiser(Element):
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
    def is_solicitation(self, p: Packet) -> bool:
        if not p.data.has(0, _SOLICITATION_BYTES):
            return False
        if p.data.u16[12] != 0x86DD or (p.data.u8[14] >> 4) != 6 or p.data.u8[20] != 58 or p.data.u8[21] != 255:
            return False
        length = p.data.u16[18]
        if p.data.u16[54] != 0x8700 or length < 24 or not p.data.has(54, length):
            return False
        total = p.data.checksum(22, 32, length + 58)
        return p.data.checksum(54, length, total) == 0xFFFF

    @datapath
    def answer(self, p: Packet, mine: u64) -> None:
        asker: u128 = p.data.u128[22]
        target: u128 = p.data.u128[62]
        to: u64 = p.data.u48[6]
        flags = _SOLICITED | _OVERRIDE
        if asker == 0:
            # Duplicate address detection: the asker has no address yet.
            asker = u128(_ALL_NODES)
            to = _ALL_NODES_ETHER
            flags = _OVERRIDE
        if p.length > _FRAME_BYTES:
            p.take(p.length - _FRAME_BYTES)
        elif p.length < _FRAME_BYTES:
            p.put(_FRAME_BYTES - p.length)
        p.data.u48[0] = to
        p.data.u48[6] = mine
        p.data.u32[14] = 0x6000_0000
        p.data.u16[18] = 32
        p.data.u8[20] = 58
        p.data.u8[21] = 255
        p.data.u128[22] = target
        p.data.u128[38] = asker
        p.data.u16[54] = 0x8800
        p.data.u16[56] = 0
        p.data.u32[58] = flags
        p.data.u128[62] = target
        p.data.u16[78] = 0x0201
        p.data.u48[80] = mine
        p.data.u16[56] = checksum_finish(p.data.checksum(54, 32, p.data.checksum(22, 32, 32 + 58)))
        self.count += 1

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.is_solicitation(p):
            target: u128 = p.data.u128[62]
            for i in range(self.size):
                if (target & self.masks[i]) == self.addresses[i]:
                    self.answer(p, self.ethers[i])
                    return p
        self.checked_output_push(1, p)
        return None
