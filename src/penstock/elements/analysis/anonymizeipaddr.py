"""AnonymizeIPAddr."""

from penstock.datapath.checksum import checksum_adjust32
from penstock.elements import ConfigureError, Element, Packet, datapath, u32, u64
from penstock.lang.arguments import UInt32

__all__ = ["AnonymizeIPAddr"]

_FIXED_KEY = 0x9E37_79B9_7F4A_7C15


class AnonymizeIPAddr(Element):
    """Replace the IP addresses, each by another one for good; addresses that share a prefix go on sharing one of its length.

    Each bit is turned, or not, by what a keyed mix of the bits before it says (the way of Crypto-PAn, Xu and others 2002, with a
    quicker mix: good against a reader, not against somebody who can send packets through). The checksum follows.

    Arguments:
        CLASS: preserve the address class: as many leading one bits as these stay, and the zero behind them (0 to 4).
        SEED: true: a new secret each time. false: always the same addresses.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> AnonymizeIPAddr -> IPPrint -> Discard;
    """

    key: u64

    def configure(self, class_: UInt32 = 0, seed: bool = True) -> None:
        if class_ > 4:
            raise ConfigureError("CLASS: must be between 0 and 4")
        self.class_bits = class_
        self.key = 0 if seed else _FIXED_KEY

    @datapath
    def changed(self, address: u32) -> u32:
        kept: u32 = 0
        for _ in range(self.class_bits):
            if kept == 0 or (address >> (32 - kept)) & 1 == 1:
                kept += 1
        turned: u32 = 0
        for i in range(32):
            if i >= kept:
                # The first i bits with a one behind them: no two prefixes look alike.
                prefix: u64 = (u64(address) >> (32 - i) << 1 | 1) << (31 - i)
                word = (prefix + self.key) * 0xBF58_476D_1CE4_E5B9
                word = (word ^ (word >> 29)) * 0x94D0_49BB_1331_11EB
                turned = turned | (u32(word >> 63) << (31 - i))
        return address ^ turned

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.key == 0:
            self.key = (u64(self.random.next()) << 32) | u64(self.random.next()) | 1
        ip = p.ip
        src = self.changed(ip.src)
        dst = self.changed(ip.dst)
        ip.checksum = checksum_adjust32(checksum_adjust32(ip.checksum, ip.src, src), ip.dst, dst)
        ip.src = src
        ip.dst = dst
        p.dst_ip = dst
        return p
