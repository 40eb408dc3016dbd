"""What comes back: ICMP errors with their quotes and extensions, and answers of the destination.

Sources: RFC 792, RFC 4443; RFC 4884 (extensions), RFC 4950 (MPLS), RFC 5837 (interface information). Everything here comes
from strangers: whatever does not parse is None, or a quote without extensions.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from penstock.packet.checksum import internet_checksum
from penstock.tracebox.layers import IP, IPv6
from penstock.tracebox.packet import Packet, dissect

__all__ = ["UNREACHABLE_CODES", "Extension", "Reply", "parse_reply"]

_EXTENDED_QUOTE_BYTES = 128
#: ICMP code of destination unreachable -> what it says (RFC 792, RFC 1812 section 5.2.7.1)
UNREACHABLE_CODES = {
    0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable", 4: "fragmentation needed",
    5: "source route failed", 6: "network unknown", 7: "host unknown", 9: "network prohibited", 10: "host prohibited",
    11: "network unreachable for this service", 12: "host unreachable for this service", 13: "administratively prohibited",
    14: "host precedence violation", 15: "precedence cutoff",
}
_UNREACHABLE6_CODES = {
    0: "no route", 1: "administratively prohibited", 2: "beyond scope", 3: "address unreachable", 4: "port unreachable",
    5: "source address failed policy", 6: "route rejected",
}


@dataclass(frozen=True, slots=True)
class Extension:
    """An object that an ICMP error carries after the quote. ``name`` is tracebox's name for it, ``text`` what it says."""

    name: str
    text: str


@dataclass(slots=True)
class Reply:
    """A packet that may answer a probe.

    ``kind`` is "time exceeded", "unreachable", "packet too big", "parameter problem" (these four carry ``quote``), or
    "answer". ``ttl`` is what is left of the reply's own.
    """

    kind: str
    source: str
    destination: str
    ttl: int
    received_ns: int
    data: bytes
    code: int = 0
    mtu: int = 0
    quote: bytes = b""
    extensions: tuple[Extension, ...] = ()
    text: str = ""
    _packet: Packet | None = None

    @property
    def packet(self) -> Packet:
        if self._packet is None:
            self._packet = dissect(self.data)
        return self._packet

    @property
    def quoted(self) -> Packet | None:
        """The packet that an error quotes; None where there is no IP header in it."""
        packet = dissect(self.quote)
        return packet if packet.find(IP) or packet.find(IPv6) else None


def parse_reply(data: bytes, received_ns: int = 0) -> Reply | None:
    """Read an IP packet; None where it is none, or is of no use."""
    if len(data) < 20:
        return None
    version = data[0] >> 4
    if version == 4:
        header_bytes = (data[0] & 15) * 4
        if header_bytes < 20 or len(data) < header_bytes:
            return None
        total = data[2] << 8 | data[3]
        if total >= header_bytes:
            data = data[:total]
        protocol, ttl = data[9], data[8]
        source, destination = str(ipaddress.IPv4Address(data[12:16])), str(ipaddress.IPv4Address(data[16:20]))
        if protocol == 1:
            return _icmp(data, data[header_bytes:], source, destination, ttl, received_ns)
    elif version == 6 and len(data) >= 40:
        data = data[: 40 + (data[4] << 8 | data[5])]
        protocol, ttl = data[6], data[7]
        source, destination = str(ipaddress.IPv6Address(data[8:24])), str(ipaddress.IPv6Address(data[24:40]))
        if protocol == 58:
            return _icmp6(data, data[40:], source, destination, ttl, received_ns)
    else:
        return None
    return Reply("answer", source, destination, ttl, received_ns, data)


def _icmp(data: bytes, body: bytes, source: str, destination: str, ttl: int, received_ns: int) -> Reply | None:
    if len(body) < 8:
        return None
    kind, code = body[0], body[1]
    names = {3: "unreachable", 11: "time exceeded", 12: "parameter problem"}
    if kind not in names:
        return Reply("answer", source, destination, ttl, received_ns, data, code)
    quote, extensions = _split(body[8:], body[5] * 4)
    reply = Reply(names[kind], source, destination, ttl, received_ns, data, code, quote=quote, extensions=extensions)
    if kind == 3:
        reply.text = UNREACHABLE_CODES.get(code, f"unreachable, code {code}")
        if code == 4:
            reply.mtu = body[6] << 8 | body[7]
            reply.text += f", MTU {reply.mtu}" if reply.mtu else ""
    elif kind == 11 and code == 1:
        reply.text = "reassembly timed out"
    return reply


def _icmp6(data: bytes, body: bytes, source: str, destination: str, ttl: int, received_ns: int) -> Reply | None:
    if len(body) < 8:
        return None
    kind, code = body[0], body[1]
    names = {1: "unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem"}
    if kind not in names:
        # Neighbour discovery and the like are nobody's answer.
        return Reply("answer", source, destination, ttl, received_ns, data, code) if kind == 129 else None
    quote, extensions = _split(body[8:], body[4] * 8 if kind in (1, 3) else 0)
    reply = Reply(names[kind], source, destination, ttl, received_ns, data, code, quote=quote, extensions=extensions)
    if kind == 1:
        reply.text = _UNREACHABLE6_CODES.get(code, f"unreachable, code {code}")
    elif kind == 2:
        reply.mtu = int.from_bytes(body[4:8])
        reply.text = f"packet too big, MTU {reply.mtu}"
    return reply


def _split(rest: bytes, said_bytes: int) -> tuple[bytes, tuple[Extension, ...]]:
    """The quote, and the extensions behind it. Routers older than RFC 4884 put them after 128 bytes and do not say so."""
    if said_bytes:
        if said_bytes < len(rest) and (found := _extensions(rest[said_bytes:])) is not None:
            return rest[:said_bytes], found
        return rest, ()
    if len(rest) > _EXTENDED_QUOTE_BYTES + 4 and rest[_EXTENDED_QUOTE_BYTES : _EXTENDED_QUOTE_BYTES + 2] == b"\x20\x00":
        found = _extensions(rest[_EXTENDED_QUOTE_BYTES:], strictly=True)
        if found:
            return rest[:_EXTENDED_QUOTE_BYTES], found
    return rest, ()


def _extensions(data: bytes, *, strictly: bool = False) -> tuple[Extension, ...] | None:
    if len(data) < 4 or data[0] >> 4 != 2:
        return None
    checksum = data[2] << 8 | data[3]
    if (strictly or checksum) and internet_checksum(data):
        return None
    found: list[Extension] = []
    at = 4
    while at + 4 <= len(data):
        size, number, kind = struct.unpack_from(">HBB", data, at)
        if size < 4 or at + size > len(data):
            break
        body = data[at + 4 : at + size]
        if number == 1 and kind == 1:
            for i in range(0, len(body) - 3, 4):
                entry = int.from_bytes(body[i : i + 4])
                found.append(Extension("ICMPExtensionMPLS", f"MPLS label {entry >> 12}, class {entry >> 9 & 7}, "
                                       f"{'bottom, ' if entry >> 8 & 1 else ''}TTL {entry & 255}"))
        elif number == 2:
            found.append(Extension("ICMPExtensionInterface", _interface(kind, body)))
        else:
            found.append(Extension("ICMPExtensionObject", f"class {number}, type {kind}: {body[:32].hex() or 'nothing'}"))
        at += size
    return tuple(found)


def _interface(kind: int, body: bytes) -> str:
    """RFC 5837 section 4: index, address, name and MTU, each there if its bit is set."""
    role = ("came in by", "sub-interface of", "goes out by", "next hop")[kind >> 6]
    said: list[str] = []
    at = 0
    if kind & 8 and at + 4 <= len(body):
        said.append(f"interface {int.from_bytes(body[at : at + 4])}")
        at += 4
    if kind & 4 and at + 4 <= len(body):
        family = int.from_bytes(body[at : at + 2])
        size = {1: 4, 2: 16}.get(family, 0)
        at += 4
        if size and at + size <= len(body):
            said.append(str(ipaddress.ip_address(body[at : at + size])))
        at += size
    if kind & 2 and at < len(body):
        size = max(body[at], 1)
        name = body[at + 1 : at + size].rstrip(b"\0").decode("ascii", "replace")
        said.append("".join(c if c.isprintable() else "?" for c in name))
        at += size
    if kind & 1 and at + 4 <= len(body):
        said.append(f"MTU {int.from_bytes(body[at : at + 4])}")
    return f"{role} {', '.join(said) or 'unknown'}"
