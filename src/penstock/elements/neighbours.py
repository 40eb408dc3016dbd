"""What the elements of IPv6's neighbour discovery share: whole Ethernet frames with one message (RFC 4861)."""

from __future__ import annotations

from penstock.datapath.checksum import checksum_finish
from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import Element
from penstock.packet.integers import u32, u64, u128

__all__ = ["NEIGHBOUR_FRAME_BYTES", "NeighbourElement"]

#: Ethernet, IPv6, a message with its target, and one option with an Ethernet address
NEIGHBOUR_FRAME_BYTES = 86
_MESSAGE_BYTES, _ICMP6 = 32, 58


class NeighbourElement(Element):
    """Reads and writes solicitations and advertisements."""

    @datapath
    def is_message(self, p: Packet, kind: u32, least: u32) -> bool:
        """Whether a frame is a message of that type, of ``least`` bytes or more, that came from no further than the link.

        The hop limit must be 255, the checksum right (section 7.1).
        """
        if not p.data.has(0, 54 + least):
            return False
        if p.data.u16[12] != 0x86DD or (p.data.u8[14] >> 4) != 6 or p.data.u8[20] != _ICMP6 or p.data.u8[21] != 255:
            return False
        length = p.data.u16[18]
        if p.data.u16[54] != kind << 8 or length < least or not p.data.has(54, length):
            return False
        return p.data.checksum(54, length, p.data.checksum(22, 32, length + _ICMP6)) == 0xFFFF

    @datapath
    def write_message(self, p: Packet, to: u64, me: u64, src: u128, dst: u128, kind: u32, flags: u32, target: u128, option: u32) -> None:
        """Fill a frame of 86 bytes: a message about ``target`` with an option that carries ``me``."""
        p.data.u48[0] = to
        p.data.u48[6] = me
        p.data.u16[12] = 0x86DD
        p.data.u32[14] = 0x6000_0000
        p.data.u16[18] = _MESSAGE_BYTES
        p.data.u8[20] = _ICMP6
        p.data.u8[21] = 255
        p.data.u128[22] = src
        p.data.u128[38] = dst
        p.data.u32[54] = kind << 24
        p.data.u32[58] = flags
        p.data.u128[62] = target
        p.data.u16[78] = option << 8 | 1
        p.data.u48[80] = me
        p.data.u16[56] = checksum_finish(p.data.checksum(54, _MESSAGE_BYTES, p.data.checksum(22, 32, _MESSAGE_BYTES + _ICMP6)))
