"""Headers as bytes, in Python: for packets that are made once, when a configuration or a generator is set up."""

from __future__ import annotations

import struct

from penstock.packet.checksum import internet_checksum

__all__ = ["ipv4_header", "pseudo_header", "tcp_segment", "udp_datagram", "with_transport_checksum"]

#: where the checksum of ICMP, TCP and UDP stands
_CHECKSUM_AT = {1: 2, 6: 16, 17: 6}


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


def with_transport_checksum(packet: bytes) -> bytes:
    """An IPv4 packet with the right checksum of its TCP, UDP or ICMP; what is neither, a fragment, or not all there stays as it is."""
    start, protocol, whole = (packet[0] & 15) * 4, packet[9], int.from_bytes(packet[2:4], "big")
    at = _CHECKSUM_AT.get(protocol)
    if at is None or int.from_bytes(packet[6:8], "big") & 0x3FFF or len(packet) < whole or whole < start + at + 2:
        return packet
    plain = packet[start : start + at] + b"\0\0" + packet[start + at + 2 : whole]
    value = internet_checksum((b"" if protocol == 1 else pseudo_header(packet[12:20], protocol, len(plain))) + plain)
    if protocol == 17 and value == 0:
        value = 0xFFFF
    return packet[: start + at] + value.to_bytes(2, "big") + packet[start + at + 2 :]
