"""Internet checksum arithmetic, as packet code."""

from penstock.datapath.source import datapath
from penstock.packet.integers import u32

__all__ = ["checksum_adjust", "checksum_adjust32", "checksum_finish", "pseudo_header_sum"]


@datapath
def checksum_adjust(checksum: u32, old: u32, new: u32) -> u32:
    """The checksum after a 16-bit word changed from ``old`` to ``new`` (RFC 1624, equation 3)."""
    total = (checksum ^ 0xFFFF) + (old ^ 0xFFFF) + new
    folded = (total & 0xFFFF) + (total >> 16)
    return ((folded & 0xFFFF) + (folded >> 16)) ^ 0xFFFF


@datapath
def checksum_adjust32(checksum: u32, old: u32, new: u32) -> u32:
    """The checksum after a 32-bit word changed."""
    total = (
        (checksum ^ 0xFFFF) + ((old >> 16) ^ 0xFFFF) + ((old & 0xFFFF) ^ 0xFFFF) + (new >> 16) + (new & 0xFFFF)
    )
    folded = (total & 0xFFFF) + (total >> 16)
    return ((folded & 0xFFFF) + (folded >> 16)) ^ 0xFFFF


@datapath
def checksum_finish(total: u32) -> u32:
    """The checksum field for a sum that is folded already."""
    return total ^ 0xFFFF


@datapath
def pseudo_header_sum(src: u32, dst: u32, protocol: u32, length: u32) -> u32:
    """The sum of TCP's and UDP's IPv4 pseudo header (RFC 9293, RFC 768), not folded."""
    return (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF) + protocol + length
