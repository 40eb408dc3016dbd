"""FlowPinner and MaglevSwitch: a flow's packets always take the same output, in both directions."""

from penstock.elements import Array, ConfigureError, Element, HandlerError, Packet, datapath, u8, u32, u64
from penstock.lang.arguments import ArgumentError, UInt32, parse_bool

__all__ = ["FlowPinner", "MaglevSwitch"]

_MAX_OUTPUTS = 255


def _mix(a: int, b: int, c: int) -> int:
    """The end of Bob Jenkins's lookup3, in Python."""
    mask = 0xFFFFFFFF

    def turn(x: int, k: int) -> int:
        return (x << k | x >> (32 - k)) & mask

    c ^= b
    c = (c - turn(b, 14)) & mask
    a ^= c
    a = (a - turn(c, 11)) & mask
    b ^= a
    b = (b - turn(a, 25)) & mask
    c ^= b
    c = (c - turn(b, 16)) & mask
    a ^= c
    a = (a - turn(c, 4)) & mask
    b ^= a
    b = (b - turn(a, 14)) & mask
    c ^= b
    return (c - turn(b, 24)) & mask


class _ByFlow(Element):
    """The hash of a flow: lookup3 (Bob Jenkins 2006) over addresses, ports and protocol, the same in both directions."""

    seed: u32

    @datapath
    def final(self, a: u32, b: u32, c: u32) -> u32:
        c = c ^ b
        c -= (b << 14) | (b >> 18)
        a = a ^ c
        a -= (c << 11) | (c >> 21)
        b = b ^ a
        b -= (a << 25) | (a >> 7)
        c = c ^ b
        c -= (b << 16) | (b >> 16)
        a = a ^ c
        a -= (c << 4) | (c >> 28)
        b = b ^ a
        b -= (a << 14) | (a >> 18)
        c = c ^ b
        c -= (b << 24) | (b >> 8)
        return c

    @datapath
    def flow_hash(self, p: Packet) -> u32:
        """0 for what is not IP. Later fragments have no ports, so no fragment counts them."""
        if not p.network.has(0, 20):
            return u32(0)
        first = p.network.u8[0] >> 4
        ports: u32 = 0
        if first == 4:
            ip = p.ip
            low = min(ip.src, ip.dst)
            high = max(ip.src, ip.dst)
            if (ip.protocol == 6 or ip.protocol == 17) and (ip.fragment & 0x3FFF) == 0 and p.transport.has(0, 4):
                ports = u32(p.transport.u16[0]) ^ u32(p.transport.u16[2])
            return self.final(u32(low) + self.seed, u32(high) + self.seed, (ports << 8 | ip.protocol) + self.seed)
        if first == 6 and p.network.has(0, 40):
            one: u32 = p.network.u32[8] ^ p.network.u32[12] * 3 ^ p.network.u32[16] * 5 ^ p.network.u32[20] * 7
            other: u32 = p.network.u32[24] ^ p.network.u32[28] * 3 ^ p.network.u32[32] * 5 ^ p.network.u32[36] * 7
            protocol = p.network.u8[6]
            if (protocol == 6 or protocol == 17) and p.network.has(40, 4):
                ports = u32(p.network.u16[40]) ^ u32(p.network.u16[42])
            return self.final(min(one, other) + self.seed, max(one, other) + self.seed, (ports << 8 | protocol) + self.seed)
        return u32(0)


class FlowPinner(_ByFlow):
    """Spread flows over the outputs by a hash; both directions of a flow take the same output.

    IPv4 and IPv6, with the ports of TCP and UDP. The network header must be marked, and for IPv4 the transport header. What is not
    IP takes output 0.

    Arguments:
        SEED: another seed spreads otherwise.

    Example:
        MemSource(FLOWS 10, LIMIT 100, STOP true) -> Strip(14) -> CheckIPHeader -> f :: FlowPinner; f[0] -> Discard; f[1] -> Discard;
    """

    ports = "1/1-"
    processing = "h/h"
    can_live_reconfigure = True

    def configure(self, *, seed: UInt32 = 0) -> None:
        self.seed = seed
        self.is_power = self.noutputs & (self.noutputs - 1) == 0

    @datapath
    def push(self, port: int, p: Packet) -> None:
        h = self.flow_hash(p)
        if self.is_power:
            self.output(h & (self.noutputs - 1)).push(p)
        else:
            # The high bits of a product: no division.
            self.output(u32((u64(h) * self.noutputs) >> 32)).push(p)


class MaglevSwitch(_ByFlow):
    """Spread flows over the outputs by a table that changes little when an output goes or comes (Maglev, Eisenbud and others 2016).

    Both directions of a flow take the same output. When one of N outputs goes, its flows go to the others, and nearly all others
    stay where they are.

    Arguments:
        ENTRIES: size of the table, a prime much larger than the number of outputs (65537). SEED: another seed spreads otherwise.

    Handlers:
        active (read): for each output whether it gets flows. set_active (write): an output's number, and true or false.
        shares (read): each output's entries in the table.

    Example:
        MemSource(FLOWS 10, LIMIT 100, STOP true) -> Strip(14) -> CheckIPHeader -> m :: MaglevSwitch(ENTRIES 251);
        m[0] -> Discard; m[1] -> Discard; m[2] -> Discard;
    """

    ports = "1/1-"
    processing = "h/h"

    def configure(self, *, entries: UInt32 = 65537, seed: UInt32 = 0) -> None:
        if not 3 <= entries <= 1 << 20 or any(entries % k == 0 for k in range(2, int(entries**0.5) + 1)):
            raise ConfigureError("ENTRIES: must be a prime between 3 and 1048573")
        if self.noutputs > _MAX_OUTPUTS:
            raise ConfigureError(f"no more than {_MAX_OUTPUTS} outputs")
        self.entries, self.seed = entries, seed
        self.is_active = [True] * self.noutputs
        self.choices = Array(u8, entries, self._fill())

    def _fill(self) -> list[int]:
        """Section 3.4: the outputs take turns, each its next preferred entry that is free."""
        size = self.entries
        outputs = [i for i, active in enumerate(self.is_active) if active]
        steps = {i: (_mix(i, 1, self.seed) % size, _mix(i, 2, self.seed) % (size - 1) + 1) for i in outputs}
        table = [-1] * size
        following = {i: steps[i][0] for i in outputs}
        filled = 0
        while filled < size:
            for i in outputs:
                place = following[i]
                while table[place] >= 0:
                    place = (place + steps[i][1]) % size
                table[place] = i
                following[i] = (place + steps[i][1]) % size
                filled += 1
                if filled == size:
                    break
        return table

    def add_handlers(self) -> None:
        self.add_read("active", lambda: "".join(f"{i} {str(a).lower()}\n" for i, a in enumerate(self.is_active)))
        self.add_write("set_active", self._set_active)
        self.add_read("shares", self._shares)

    def _shares(self) -> str:
        counts = [0] * self.noutputs
        for i in range(self.entries):
            counts[self.choices[i]] += 1
        return "".join(f"{i} {n}\n" for i, n in enumerate(counts))

    def _set_active(self, text: str) -> None:
        words = text.split()
        try:
            if len(words) != 2 or not 0 <= int(words[0]) < self.noutputs:
                raise HandlerError(f"expected an output (0 to {self.noutputs - 1}), and true or false")
            active = [*self.is_active]
            active[int(words[0])] = parse_bool(words[1])
        except (ArgumentError, ValueError) as error:
            raise HandlerError(str(error)) from None
        if not any(active):
            raise HandlerError("one output at least must be active")
        self.is_active = active
        for i, output in enumerate(self._fill()):
            self.choices[i] = output

    @datapath
    def push(self, port: int, p: Packet) -> None:
        h = self.flow_hash(p)
        self.output(self.choices[u32((u64(h) * self.entries) >> 32)]).push(p)
