"""Headers as bytes, in Python: for packets that are made once, when a configuration or a generator is set up."""

from __future__ import annotations

import struct

from penstock.packet.checksum import internet_checksum

__all__ = ["ipv4_header", "pseudo_header", "tcp_segment", "udp_datagram"]


def ipv4_header(src: int, dst: int, protocol: int, payload_bytes: int, *, ttl: int, tos: int = 0, fragment: int = 0) -> bytes:
    """20 bytes (RFC 791); ``fragment`` is the word with flags and offset."""
    head = struct.pack(">BBHHHBBHII", 0x45, tos, 20 + payload_bytes, 0, fragment, ttl, protocol, 0, src, dst)
    return head[:10] + internet_checksum(head).to_bytes(2, "big") + head[12:]


def pseudo_header(addresses: bytes, protocol: int, length: int) -> bytes:
    """What checksums cover beside the segment: ``addresses`` are source and destination, of either IP (RFC 768, RFC 8200).

    IPv6's has its numbers in wider fields, which makes the same sum.
    """
    return addresses + struct.pack(">HH", protocol, length)


def udp_datagram(sport: int, dport: int, payload: bytes, addresses: bytes, *, checksum: bool = True) -> bytes:
    """Header and payload (RFC 768); a computed checksum of zero is sent as all ones."""
    plain = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    value = (internet_checksum(pseudo_header(addresses, 17, len(plain)) + plain) or 0xFFFF) if checksum else 0
    return plain[:6] + value.to_bytes(2, "big") + plain[8:]


def tcp_segment(sport: int, dport: int, sequence: int, acknowledgement: int, flags: int, window: int, payload: bytes,
                addresses: bytes) -> bytes:
    """Header without options, and payload (RFC 9293)."""
    plain = struct.pack(">HHIIBBHHH", sport, dport, sequence, acknowledgement, 0x50, flags, window, 0, 0) + payload
    value = internet_checksum(pseudo_header(addresses, 6, len(plain)) + plain)
    return plain[:16] + value.to_bytes(2, "big") + plain[18:]
