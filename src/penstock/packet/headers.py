"""Each protocol header, declared once: compiler, interpreter, verifier, printers and tracebox read this.

Fields follow one another bit by bit, most significant first (network order); ``at(n)`` places a field at
byte n instead, for the alternatives of a union.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from penstock.packet.integers import IntType, u1, u2, u3, u4, u6, u8, u13, u16, u20, u32, u48, u128

__all__ = [
    "ARP", "ICMP", "IP", "IP6", "PROTOCOL_NUMBERS", "TCP", "UDP", "VLAN", "Ether", "Field", "Header", "at",
]


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field lies: ``bit`` counts from the header's first bit."""

    name: str
    type: IntType
    bit: int


@dataclass(frozen=True, slots=True)
class _At:
    byte: int


def at(byte: int) -> Any:
    """Place a field at ``byte`` bytes from the start of its header."""
    return _At(byte)


class Header:
    """Base of the header declarations. ``SIZE`` is the length in bytes of the fixed part."""

    FIELDS: ClassVar[dict[str, Field]]
    SIZE: ClassVar[int]

    def __init_subclass__(cls) -> None:
        bit = 0
        size = 0
        cls.FIELDS = {}
        namespace = globals()
        for name, text in cls.__annotations__.items():
            if text.startswith("ClassVar"):
                continue
            kind = namespace[text]
            placed = cls.__dict__.get(name)
            if isinstance(placed, _At):
                bit = placed.byte * 8
            cls.FIELDS[name] = Field(name, kind, bit)
            bit += kind.bits
            size = max(size, bit)
        cls.SIZE = size // 8


class Ether(Header):
    """Ethernet (IEEE 802.3)."""

    dst: u48
    src: u48
    type: u16


class VLAN(Header):
    """Ethernet with an IEEE 802.1Q tag."""

    dst: u48
    src: u48
    tpid: u16
    tci: u16
    type: u16
    pcp: u3 = at(14)


class ARP(Header):
    """Address resolution for IPv4 over Ethernet (RFC 826)."""

    hardware: u16
    protocol: u16
    hardware_length: u8
    protocol_length: u8
    operation: u16
    sender_ether: u48
    sender_ip: u32
    target_ether: u48
    target_ip: u32


class IP(Header):
    """IPv4 (RFC 791; RFC 2474 and RFC 3168 for ``dscp`` and ``ecn``)."""

    version: u4
    header_length: u4
    tos: u8
    length: u16
    identification: u16
    fragment: u16
    ttl: u8
    protocol: u8
    checksum: u16
    src: u32
    dst: u32
    dscp: u6 = at(1)
    ecn: u2
    version_length: u8 = at(0)
    flags: u3 = at(6)
    fragment_offset: u13


class IP6(Header):
    """IPv6 (RFC 8200)."""

    version: u4
    traffic_class: u8
    flow_label: u20
    length: u16
    next_header: u8
    hop_limit: u8
    src: u128
    dst: u128
    first_word: u32 = at(0)


class TCP(Header):
    """TCP (RFC 9293)."""

    src: u16
    dst: u16
    sequence: u32
    acknowledgement: u32
    offset: u4
    reserved: u4
    flags: u8
    window: u16
    checksum: u16
    urgent: u16
    ports: u32 = at(0)
    offset_flags: u16 = at(12)
    fin: u1 = at(13)


class UDP(Header):
    """UDP (RFC 768)."""

    src: u16
    dst: u16
    length: u16
    checksum: u16
    ports: u32 = at(0)


class ICMP(Header):
    """ICMP (RFC 792); the second word has a meaning of its own for each type."""

    type: u8
    code: u8
    checksum: u16
    identifier: u16
    sequence: u16
    gateway: u32 = at(4)
    pointer: u8 = at(4)
    mtu: u16 = at(6)


#: protocol numbers by the names that filters use (IANA)
PROTOCOL_NUMBERS = {
    "ip": 0, "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipip": 4, "st": 5, "tcp": 6, "egp": 8, "udp": 17,
    "dccp": 33, "ip6": 41, "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "ospf": 89,
    "pim": 103, "sctp": 132, "udplite": 136, "payload": 257, "transp": 256,
}
