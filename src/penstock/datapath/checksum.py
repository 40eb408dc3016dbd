"""Internet checksum arithmetic, as packet code."""

from penstock.datapath.source import datapath
from penstock.packet.integers import u32

__all__ = [
    "checksum_adjust", "checksum_adjust32", "checksum_apply", "checksum_finish", "fold", "pseudo_header_sum", "word_delta",
]


@datapath
def fold(total: u32) -> u32:
    """A sum of a few 16-bit words in 16 bits (RFC 1071)."""
    once = (total & 0xFFFF) + (total >> 16)
    return (once & 0xFFFF) + (once >> 16)


@datapath
def word_delta(old: u32, new: u32) -> u32:
    """What a change of a 32-bit word adds to a ones'-complement sum, not folded."""
    return ((old >> 16) ^ 0xFFFF) + ((old & 0xFFFF) ^ 0xFFFF) + (new >> 16) + (new & 0xFFFF)


@datapath
def checksum_apply(checksum: u32, change: u32) -> u32:
    """The checksum after such a change (RFC 1624, equation 3)."""
    return fold((checksum ^ 0xFFFF) + change) ^ 0xFFFF


@datapath
def checksum_adjust(checksum: u32, old: u32, new: u32) -> u32:
    """The checksum after a 16-bit word changed from ``old`` to ``new``."""
    return checksum_apply(checksum, (old ^ 0xFFFF) + new)


@datapath
def checksum_adjust32(checksum: u32, old: u32, new: u32) -> u32:
    """The checksum after a 32-bit word changed."""
    return checksum_apply(checksum, word_delta(old, new))


@datapath
def checksum_finish(total: u32) -> u32:
    """The checksum field for a sum that is folded already."""
    return total ^ 0xFFFF


@datapath
def pseudo_header_sum(src: u32, dst: u32, protocol: u32, length: u32) -> u32:
    """The sum of TCP's and UDP's IPv4 pseudo header (RFC 9293, RFC 768), not folded."""
    return (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF) + protocol + length
