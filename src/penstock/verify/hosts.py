"""What hosts send: packets with variables in them, whose lengths and checksums are right."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from penstock.packet import headers
from penstock.verify.options import OPTIONS_BYTES, put_options
from penstock.verify.packet import HEADER_TYPES, PARTS, Rest, SymbolicPacket
from penstock.verify.path import Path
from penstock.verify.terms import Value, Var, add, extend, invert

__all__ = ["LONGEST", "make_packet"]

#: bytes of IP that an Ethernet frame holds
LONGEST = 1500

_TRANSPORT_BYTES = {"tcp": 20, "udp": 8, "icmp": 8, "": 0}
#: fields that follow from others, or that a sender leaves at a value of its own
_FIXED: dict[str, int] = {
    "ip.version": 4, "ip.header_length": 5, "ip.fragment": 0, "tcp.reserved": 0, "tcp.urgent": 0,
}


def make_packet(protocol: str = "", fields: Mapping[str, Value] | None = None, *, name: str = "", longest: int = LONGEST,
                options: bool = False) -> SymbolicPacket:
    """An Ethernet frame with an IPv4 packet of ``protocol`` (tcp, udp, icmp; none: any other bytes).

    ``fields`` sets fields by ``header.field``; all others are variables. ``longest``: how many bytes of IP there are at most.
    IP options are left out. With ``options`` a TCP header has those of a SYN.
    """
    return _made(protocol, tuple((fields or {}).items()), name, longest, options).copy()


@functools.lru_cache(maxsize=256)
def _made(protocol: str, fields: tuple[tuple[str, Value], ...], name: str, longest: int, options: bool) -> SymbolicPacket:
    more = OPTIONS_BYTES if options and protocol == "tcp" else 0
    given = {**_FIXED, "ether.type": 0x0800, **dict(fields)}
    if protocol:
        given.setdefault("ip.protocol", headers.PROTOCOL_NUMBERS[protocol])
    given["tcp.offset"] = 5 + more // 4
    prefix = f"{name}." if name else ""
    ranges = Path().range
    packet = SymbolicPacket.empty()
    start = packet.meta["data"]
    assert isinstance(start, int)
    packet.meta.update(mac=start, packet_type=Var(f"{prefix}packet_type", 32, 0, 6), timestamp=Var(f"{prefix}timestamp", 64, kind="time"))
    order = ["ether", "ip", *([protocol] if protocol else [])]
    at = start
    places: dict[str, int] = {}
    for header in order:
        places[header] = at
        at += HEADER_TYPES[header].SIZE if header != "icmp" else 8
    body = at + more
    size = Var(f"{prefix}payload length", 16, 0, longest - (body - start - 14))
    packet.rest = Rest(f"{prefix}payload", body, extend(size, 32, ranges))
    for header in order:
        for item in HEADER_TYPES[header].FIELDS.values():
            text = f"{header}.{item.name}"
            if text in PARTS or item.name in ("checksum", "length"):
                continue
            value = given.get(text)
            packet.put_field(places[header], item, Var(prefix + text, item.type.bits) if value is None else value)
    if more:
        put_options(packet, at, prefix)
    length = add(extend(size, 16, ranges), body - start - 14, 16)
    packet.meta["length"] = add(extend(size, 32, ranges), body - start, 32)
    packet.put_field(places["ip"], headers.IP.FIELDS["length"], given.get("ip.length", length))
    if protocol == "udp":
        packet.put_field(places["udp"], headers.UDP.FIELDS["length"], given.get("udp.length", add(extend(size, 16, ranges), 8, 16)))
    _checksums(packet, protocol, places, given, size, _TRANSPORT_BYTES[protocol] + more)
    return packet


def _checksums(packet: SymbolicPacket, protocol: str, places: Mapping[str, int], given: Mapping[str, Value], size: Var,
               n: int) -> None:
    """``n``: bytes of the transport header."""
    ranges = Path().range
    assert packet.rest is not None
    if protocol:
        at = places[protocol]
        where = {"tcp": at + 16, "udp": at + 6, "icmp": at + 2}[protocol]
        packet.store(where, 2, 0)
        start: Value = 0
        if protocol != "icmp":
            length = add(extend(size, 32, ranges), n, 32)
            for word in (packet.load(places["ip"] + 12 + k, 2) for k in (0, 2, 4, 6)):
                start = add(start, extend(word, 32, ranges), 32)
            start = add(start, add(extend(packet.load(places["ip"] + 9, 1), 32, ranges), length, 32), 32)
        total = packet.checksum(at, add(extend(size, 32, ranges), n, 32), start, ranges)
        assert total is not None
        packet.store(where, 2, given.get(f"{protocol}.checksum", invert(total, 16)))
    where = places["ip"] + 10
    packet.store(where, 2, 0)
    total = packet.checksum(places["ip"], 20, 0, ranges)
    assert total is not None
    packet.store(where, 2, given.get("ip.checksum", invert(total, 16)))
