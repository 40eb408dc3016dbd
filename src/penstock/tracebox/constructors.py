"""The names that build probes, in the original's language, in Lua and in Python: ``ip{ttl=3}``, ``mss(1300)``, ``SACKP``.

A constructor takes what the original's takes, by name where a table with names is meant. Layers are not filled in here: what
is not given (ports, sequence numbers, addresses) is chosen when the probe is sent.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Sequence
from typing import Any

from penstock.tracebox.layers import ICMP, IP, SCTP, TCP, UDP, Extension, ICMPv6, IPOption, IPv6, Layer, Raw, TCPOption
from penstock.tracebox.packet import Packet

__all__ = ["CONSTANTS", "CONSTRUCTORS", "READY", "Piece"]

_EDO_KIND, _MPTCP_KIND = 237, 30


class Piece(Packet):
    """A ready sequence of layers: adding to it makes a new packet."""

    def __truediv__(self, other: Layer | Packet | bytes | str) -> Packet:
        return Packet(layer.copy() for layer in self.layers) / other

    __add__ = __truediv__


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("latin-1")
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, Sequence):
        return bytes(int(v) for v in value)
    if value is None:
        return b""
    raise ValueError("a string or a table of bytes belongs here")


def _set(layer: Layer, names: dict[str, str], values: dict[str, Any]) -> Layer:
    for name, value in values.items():
        if name not in names:
            raise ValueError(f"{layer.LABEL} takes {', '.join(names)}, not '{name}'")
        field = names[name]
        layer[field] = int(ipaddress.ip_address(value)) if isinstance(value, str) and field in ("src", "dst") else int(value)
    return layer


def ip(**values: Any) -> Layer:
    layer = IP()
    layer.put("version", 4)
    layer.put("header_length", 5)
    layer.put("ttl", 64)
    return _set(layer, {"dst": "dst", "src": "src", "id": "identification", "flags": "flags", "ttl": "ttl", "offset": "fragment_offset",
                        "ecn": "ecn", "dscp": "dscp", "proto": "protocol"}, values)


def ipv6(**values: Any) -> Layer:
    layer = IPv6()
    layer.put("version", 6)
    layer.put("hop_limit", 64)
    return _set(layer, {"dst": "dst", "src": "src", "tc": "traffic_class", "flowlabel": "flow_label", "hoplimit": "hop_limit"}, values)


def tcp(**values: Any) -> Layer:
    layer = TCP()
    layer.put("dst", 80)
    layer.put("offset", 5)
    layer.put("flags", 2)
    layer.put("window", 5840)
    return _set(layer, {"src": "src", "dst": "dst", "seq": "sequence", "ack": "acknowledgement", "win": "window", "flags": "flags",
                        "urg": "urgent"}, values)


def udp(**values: Any) -> Layer:
    layer = UDP()
    layer.put("dst", 53)
    return _set(layer, {"src": "src", "dst": "dst"}, values)


_ICMP_NAMES = {"type": "type", "code": "code", "id": "identifier", "seqno": "sequence", "ptr": "pointer", "len": "length", "mtu": "mtu",
               "gw": "gateway"}


def icmp(**values: Any) -> Layer:
    layer = ICMP()
    layer.put("type", 8)
    return _set(layer, _ICMP_NAMES, values)


def icmp6(**values: Any) -> Layer:
    layer = ICMPv6()
    layer.put("type", 128)
    return _set(layer, {k: v for k, v in _ICMP_NAMES.items() if k not in ("ptr", "gw", "len")}, values)


def sctp(**values: Any) -> Layer:
    layer = SCTP()
    layer.put("dst", 80)
    return _set(layer, {"src": "src", "dst": "dst", "tag": "tag"}, values)


def raw(data: Any = "") -> Layer:
    return Raw(_bytes(data))


# IPv6 extension headers


def _padded(body: bytes) -> bytes:
    """Options padded to eight bytes with PadN (RFC 8200 section 4.2); next header and length before them."""
    missing = -(len(body) + 2) % 8
    body += b"\0" if missing == 1 else bytes((1, missing - 2)) + bytes(missing - 2) if missing else b""
    return bytes((0, (len(body) + 2) // 8 - 1)) + body


def hopbyhop(options: Any = None) -> Layer:
    return Extension(_padded(_bytes(options)), protocol=0)


def dstopts(options: Any = None) -> Layer:
    return Extension(_padded(_bytes(options)), protocol=60)


def fragment(offset: int = 0, more: int = 0, id: int = 1) -> Layer:
    return Extension(struct.pack(">BBHI", 0, 0, int(offset) << 3 | int(more), int(id)), protocol=44)


def srh(segmentleft: int | None = None, hmackey: int = 0, cflag: int = 0, pflag: int = 0, segments: Sequence[str] = (),
        policies: Any = None, hmac: Any = None) -> Layer:
    """The segment routing header (RFC 8754); flags and HMAC key of the draft that the original follows."""
    addresses = b"".join(ipaddress.IPv6Address(s).packed for s in segments)
    left = len(segments) - 1 if segmentleft is None else int(segmentleft)
    tail = _bytes(policies) + _bytes(hmac)
    tail += bytes(-len(tail) % 8)
    head = struct.pack(">BBBBBBH", 0, (len(addresses) + len(tail)) // 8, 4, max(left, 0), max(len(segments) - 1, 0),
                       int(cflag) << 7 | int(pflag) << 6, int(hmackey) & 0xFFFF)
    return Extension(head + addresses + tail, protocol=43)


# IPv4 options


def ip_option(copy: int = 0, option: int = 0, length: int = 2, data: Any = None, **more: Any) -> Layer:
    kind = int(copy) << 7 | int(more.pop("class", 0)) << 5 | int(option)
    if more:
        raise ValueError(f"IPOption.new takes copy, class, option, length and data, not '{next(iter(more))}'")
    body = _bytes(data)
    size = max(int(length), 2 + len(body))
    return IPOption(bytes((kind, size)) + body + bytes(size - 2 - len(body)))


def rr(count: int = 9) -> Layer:
    return IPOption(bytes((7, 3 + 4 * int(count), 4)) + bytes(4 * int(count)))


def _source_route(kind: int, addresses: Sequence[str]) -> Layer:
    body = b"".join(ipaddress.IPv4Address(a).packed for a in addresses)
    return IPOption(bytes((kind, 3 + len(body), 4)) + body)


def lsrr(addresses: Sequence[str]) -> Layer:
    return _source_route(131, addresses)


def ssrr(addresses: Sequence[str]) -> Layer:
    return _source_route(137, addresses)


def traceroute(source: str = "0.0.0.0") -> Layer:
    """RFC 1393: identifier, outbound and return hop counts, originator."""
    return IPOption(struct.pack(">BBHHH", 82, 12, 1, 0, 0xFFFF) + ipaddress.IPv4Address(source).packed)


# TCP options


def tcp_option(kind: int, length: int | None = None, data: Any = None) -> Layer:
    body = _bytes(data)
    return TCPOption(bytes((int(kind), 2 + len(body) if length is None else int(length))) + body)


def nop_option() -> Layer:
    return TCPOption(b"\1")


def mss(size: int = 1460) -> Layer:
    return TCPOption(struct.pack(">BBH", 2, 4, int(size)))


def wscale(shift: int = 14) -> Layer:
    return TCPOption(bytes((3, 3, int(shift))))


def sackp() -> Layer:
    return TCPOption(b"\4\2")


def sack(blocks: Sequence[Any] = ()) -> Layer:
    edges = [int(e) for block in blocks for e in (block if isinstance(block, Sequence) else (block,))]
    return TCPOption(struct.pack(f">BB{len(edges)}I", 5, 2 + 4 * len(edges), *edges))


def timestamp(val: int = 1, ecr: int = 0) -> Layer:
    return TCPOption(struct.pack(">BBII", 8, 10, int(val), int(ecr)))


def md5(digest: Any = None) -> Layer:
    """RFC 2385."""
    return TCPOption(bytes((19, 18)) + (_bytes(digest) + bytes(16))[:16])


def tfo(cookie: Any = None) -> Layer:
    """RFC 7413; without a cookie it asks for one."""
    body = _bytes(cookie)
    return TCPOption(bytes((34, 2 + len(body))) + body)


def mpcapable(skey: int = 0x0123456789ABCDEF, rkey: int | None = None, csum: int = 1, version: int = 0) -> Layer:
    """RFC 6824 (version 0) and RFC 8684 (version 1, whose SYN carries no key)."""
    keys = b"" if version and rkey is None else struct.pack(">Q", int(skey))
    if rkey is not None:
        keys += struct.pack(">Q", int(rkey))
    return TCPOption(bytes((_MPTCP_KIND, 4 + len(keys), int(version) & 15, int(csum) << 7 | 1)) + keys)


def mpjoin(token: int = 1, nonce: int = 1, id: int = 1, backup: int = 0) -> Layer:
    return TCPOption(struct.pack(">BBBBII", _MPTCP_KIND, 12, 0x10 | int(backup), int(id), int(token), int(nonce)))


def edo(length: int = 4, headerlength: int | None = None, segmentlength: int = 0) -> Layer:
    """draft-ietf-tcpm-tcp-edo: request (2 bytes), header length (4), and segment length (6)."""
    words = 0 if headerlength is None else int(headerlength)
    return TCPOption((struct.pack(">BBHH", _EDO_KIND, int(length), words, int(segmentlength)))[: int(length)])


# DNS


def dns_query(name: str, type: int = 1, **more: Any) -> bytes:
    labels = [part.encode("idna") for part in name.rstrip(".").split(".") if part]
    if any(len(part) > 63 for part in labels):
        raise ValueError(f"'{name}' is no domain name: a part is longer than 63 bytes")
    return b"".join(bytes((len(part),)) + part for part in labels) + b"\0" + struct.pack(">HH", int(type), int(more.get("class", 1)))


def dns(id: int = 0x7062, query: Any = None, queries: Sequence[Any] = (), flags: int = 0x0100) -> Layer:
    """A DNS message (RFC 1035) with its questions."""
    asked = [*([query] if query is not None else []), *queries]
    return Raw(struct.pack(">HHHHHH", int(id), int(flags), len(asked), 0, 0, 0) + b"".join(map(_bytes, asked)))


def _echo(kind: int) -> Callable[..., Layer]:
    def make(id: int = 1, seq: int = 1) -> Layer:
        return icmp(type=kind, id=id, seqno=seq)

    return make


def icmp_unreachable(mtu: int = 0) -> Layer:
    return icmp(type=3, code=4 if mtu else 1, mtu=mtu)


def icmp_redirect(address: str) -> Layer:
    return icmp(type=5, code=1, gw=int(ipaddress.IPv4Address(address)))


#: every name that is called
CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "ip": ip, "ipv6": ipv6, "tcp": tcp, "udp": udp, "icmp": icmp, "icmp6": icmp6, "sctp": sctp, "raw": raw, "srh": srh,
    "hopbyhop": hopbyhop, "dstopts": dstopts, "fragment": fragment,
    "ip_nop": lambda: IPOption(b"\1"), "ip_eol": lambda: IPOption(b"\0"), "rr": rr, "lsrr": lsrr, "ssrr": ssrr, "traceroute": traceroute,
    "IPOption.new": ip_option, "TCPOption.new": tcp_option,
    "nop": nop_option, "eol": lambda: TCPOption(b"\0"), "sackp": sackp, "sack": sack, "mss": mss, "wscale": wscale,
    "mpcapable": mpcapable, "mpjoin": mpjoin, "timestamp": timestamp, "tfo": tfo, "edo": edo, "md5": md5,
    "RR": rr, "LSRR": lsrr, "SSRR": ssrr, "SACK": sack, "SRH": lambda segments=(): srh(segments=segments),
    "DNS.new": dns, "DNSQuery.new": dns_query,
    "ICMPEchoReq": _echo(8), "ICMPEchoRep": _echo(0), "ICMPDstUnreach": icmp_unreachable, "ICMPRedirect": icmp_redirect,
}

_NOP, _EOL = TCPOption(b"\1"), TCPOption(b"\0")
#: SCTP's INIT chunk (RFC 9260 section 3.3.2): a tag, a window, a stream each way, a first number
_INIT = Raw(struct.pack(">BBHIIHHI", 1, 0, 20, 0x70656E73, 65535, 1, 1, 1))

#: every name that stands for layers
READY: dict[str, Callable[[], Layer | Packet]] = {
    "IP": ip, "IPv6": ipv6, "TCP": tcp, "UDP": udp, "NOP": lambda: _NOP.copy(), "EOL": lambda: _EOL.copy(), "MSS": mss,
    "SACKP": lambda: Piece([_NOP, _NOP, sackp()]), "WSCALE": lambda: Piece([wscale(), _NOP]),
    "TS": lambda: Piece([_NOP, _NOP, timestamp()]), "TFO": tfo, "MPCAPABLE": mpcapable, "MPJOIN": mpjoin, "EDO": edo,
    "EDOREQUEST": lambda: edo(2), "EDOEXT": lambda: edo(6), "IP_NOP": lambda: IPOption(b"\1"), "IP_EOL": lambda: IPOption(b"\0"),
    "ICMP": icmp, "ICMPv6": icmp6, "SCTP": lambda: Piece([sctp(), _INIT]),
    "ICMPSrcQuench": lambda: icmp(type=4), "ICMPTimeExceeded": lambda: icmp(type=11),
}

#: numbers by their names
CONSTANTS: dict[str, int] = {
    "TCP.FIN": 1, "TCP.SYN": 2, "TCP.RST": 4, "TCP.PSH": 8, "TCP.ACK": 16, "TCP.URG": 32, "TCP.ECE": 64, "TCP.CWR": 128,
    "TCPEDO.EDOREQUEST": 2, "TCPEDO.EDO": 4, "TCPEDO.EDOEXT": 6,
    "DNS.OpCode.QUERY": 0, "DNS.OpCode.STATUS": 2, "DNS.RCode.NOERROR": 0, "DNS.RCode.NXDOMAIN": 3,
    "DNS.Type.A": 1, "DNS.Type.NS": 2, "DNS.Type.CNAME": 5, "DNS.Type.SOA": 6, "DNS.Type.PTR": 12, "DNS.Type.MX": 15,
    "DNS.Type.TXT": 16, "DNS.Type.AAAA": 28, "DNS.Class.IN": 1, "DNS.Class.ANY": 255,
}
