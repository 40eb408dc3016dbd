"""The fields of IP summary dumps (Click's ``!IPSummaryDump`` format): each one's text, both ways.

A field is shown from a parsed packet, and set into the parts that a packet is built from again. ``-`` stands for what
a packet does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.datapath.host import HostPacket
from penstock.lang.arguments import parse_ether, parse_int, parse_ip, unparse_ether, unparse_ip
from penstock.lang.text import quote_word, unquote
from penstock.packet.headers import PROTOCOL_NUMBERS

__all__ = ["FIELDS", "MISSING", "Parts", "View", "canonical_name", "options_of", "stamp_text"]

MISSING = "-"
_LETTERS = {1: "I", 6: "T", 17: "U"}
_FLAG_LETTERS = "FSRPAUECN"
_FRAGMENT = {"": 0, ".": 0, "F": 0x2000, "f": 1}


class View:
    """A packet taken apart. Slices are empty where the packet ends before."""

    def __init__(self, packet: HostPacket, number: int = 0):
        self.packet, self.number = packet, number
        start = packet.network
        self.ip = packet.data[start:] if start is not None and start >= 0 else b""
        if len(self.ip) < 20 or self.ip[0] >> 4 != 4:
            self.ip = b""
        self.header_bytes = (self.ip[0] & 15) * 4 if self.ip else 0
        self.protocol = self.ip[9] if self.ip else -1
        self.total = int.from_bytes(self.ip[2:4], "big")
        self.fragment = int.from_bytes(self.ip[6:8], "big")
        first = self.ip and self.fragment & 0x1FFF == 0
        self.transport = self.ip[self.header_bytes : max(self.total, self.header_bytes)] if first else b""

    def u16(self, data: bytes, at: int) -> int | None:
        return int.from_bytes(data[at : at + 2], "big") if len(data) >= at + 2 else None

    def u32(self, data: bytes, at: int) -> int | None:
        return int.from_bytes(data[at : at + 4], "big") if len(data) >= at + 4 else None

    def of(self, *protocols: int) -> bytes:
        return self.transport if self.protocol in protocols else b""

    @property
    def payload_start(self) -> int | None:
        """Where the payload starts, from the IP header; None where that cannot be told."""
        if not self.ip:
            return None
        size = 0
        if self.fragment & 0x1FFF == 0:
            if self.protocol == 6:
                if len(self.transport) < 13:
                    return None
                size = (self.transport[12] >> 4) * 4
            elif self.protocol in (1, 17):
                size = 8
        return self.header_bytes + size

    @property
    def payload(self) -> bytes:
        start = self.payload_start
        return self.ip[start : self.total] if start is not None else b""


@dataclass
class Parts:
    """What a packet is built from."""

    src: int = 0
    dst: int = 0
    sport: int = 0
    dport: int = 0
    protocol: int = 6
    total: int | None = None
    ident: int = 0
    tos: int = 0
    ttl: int = 100
    fragment: int = 0
    header_bytes: int = 20
    options: bytes = b""
    sequence: int = 0
    acknowledgement: int = 0
    flags: int = 16
    window: int = 0
    urgent: int = 0
    tcp_options: bytes = b""
    udp_length: int | None = None
    icmp: dict[str, int] = field(default_factory=dict)
    payload_bytes: int | None = None
    payload: bytes | None = None
    timestamp_ns: int = 0
    first_timestamp_ns: int = 0
    aggregate: int = 0
    paint: int = 0
    count: int = 1
    ethers: tuple[int, int] | None = None
    ether_type: int = 0x0800
    length: int | None = None

    def build(self) -> tuple[bytes, int]:
        """The packet's bytes from the IP header on, and its length on the wire."""
        if self.protocol == 6 and not self.fragment & 0x1FFF:
            options = self.tcp_options + bytes(-len(self.tcp_options) % 4)
            words = (20 + len(options)) // 4
            transport = b"".join((
                self.sport.to_bytes(2, "big"), self.dport.to_bytes(2, "big"), self.sequence.to_bytes(4, "big"),
                self.acknowledgement.to_bytes(4, "big"), bytes([words << 4 | self.flags >> 8, self.flags & 0xFF]),
                self.window.to_bytes(2, "big"), b"\0\0", self.urgent.to_bytes(2, "big"), options))
        elif self.protocol == 17 and not self.fragment & 0x1FFF:
            length = self.udp_length if self.udp_length is not None else 8 + (self.payload_bytes or len(self.payload or b""))
            transport = b"".join((self.sport.to_bytes(2, "big"), self.dport.to_bytes(2, "big"),
                                  (length & 0xFFFF).to_bytes(2, "big"), b"\0\0"))
        elif self.protocol == 1 and not self.fragment & 0x1FFF:
            get = self.icmp.get
            transport = bytes([get("type", 0), get("code", 0), 0, 0]) + get("id", 0).to_bytes(2, "big") + get(
                "seq", 0).to_bytes(2, "big")
        else:
            transport = b""
        options = self.options + bytes(-len(self.options) % 4)
        header_bytes = max(20 + len(options), self.header_bytes)
        head = header_bytes + len(transport)
        extra = self.payload_bytes if self.payload_bytes is not None else len(self.payload or b"")
        total = self.total if self.total is not None else head + extra
        body = transport + (self.payload or b"")
        ip = bytearray(20) + options + bytes(header_bytes - 20 - len(options))
        ip[0] = 0x40 | header_bytes // 4
        ip[1] = self.tos
        ip[2:4] = (total & 0xFFFF).to_bytes(2, "big")
        ip[4:6] = self.ident.to_bytes(2, "big")
        ip[6:8] = self.fragment.to_bytes(2, "big")
        ip[8], ip[9] = self.ttl, self.protocol
        ip[12:16], ip[16:20] = self.src.to_bytes(4, "big"), self.dst.to_bytes(4, "big")
        checksum = sum(int.from_bytes(ip[i : i + 2], "big") for i in range(0, header_bytes, 2))
        while checksum >> 16:
            checksum = (checksum & 0xFFFF) + (checksum >> 16)
        ip[10:12] = (checksum ^ 0xFFFF).to_bytes(2, "big")
        data = bytes(ip) + body
        return data, max(self.length if self.length is not None else total, len(data))


Shower = Callable[[View], object]
Setter = Callable[[Parts, str], None]


@dataclass(frozen=True)
class Field:
    """One field. ``show`` gives None where the packet does not have it; ``set`` is None where it cannot be built from."""

    name: str
    show: Shower
    set: Setter | None = None


def stamp_text(ns: int, digits: int = 6) -> str:
    return f"{ns // 10**9}.{ns % 10**9 // 10 ** (9 - digits):0{digits}d}"


def stamp_ns(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole or "0") * 10**9 + int(fraction[:9].ljust(9, "0"))


def _flags_text(value: int) -> str:
    return "".join(c for i, c in enumerate(_FLAG_LETTERS) if value >> i & 1) or "."


def _flags_value(text: str) -> int:
    if text == ".":
        return 0
    if text[:1].isdigit():
        return parse_int(text, 0, 0x1FF)
    return sum(1 << _FLAG_LETTERS.index(c) for c in set(text))


def _protocol_value(text: str) -> int:
    for number, letter in _LETTERS.items():
        if text == letter:
            return number
    if text.lower() in PROTOCOL_NUMBERS:
        return PROTOCOL_NUMBERS[text.lower()] & 0xFF
    return parse_int(text, 0, 255)


def options_of(data: bytes, skip: tuple[int, ...]) -> list[bytes] | None:
    """The options of IP or TCP but those kinds, each whole; None where one is broken."""
    out: list[bytes] = []
    at = 0
    while at < len(data) and data[at]:
        length = 1 if data[at] == 1 else data[at + 1] if at + 1 < len(data) else 0
        if at + length > len(data) or (length < 2 and data[at] != 1):
            return None
        if data[at] not in skip:
            out.append(data[at : at + length])
        at += length
    return out


def _options_text(data: bytes, names: dict[int, str], skip: tuple[int, ...]) -> str | None:
    """``mss1460;sackok;ts1:2;wscale3``, for the options of TCP; numbers for others."""
    options = options_of(data, skip)
    if options is None:
        return None
    return ";".join("nop" if o[0] == 1 else _option_text(o[0], o[2:], names) for o in options) or "."


def _option_text(kind: int, body: bytes, names: dict[int, str]) -> str:
    word = names.get(kind, "")
    if word in ("mss", "wscale"):
        return f"{word}{int.from_bytes(body, 'big')}"
    if word == "sackok":
        return word
    if word == "ts" and len(body) == 8:
        return f"ts{int.from_bytes(body[:4], 'big')}:{int.from_bytes(body[4:], 'big')}"
    if word == "sack" and len(body) % 8 == 0:
        blocks = (body[i : i + 8] for i in range(0, len(body), 8))
        return ";".join(f"sack{int.from_bytes(b[:4], 'big')}-{int.from_bytes(b[4:], 'big')}" for b in blocks)
    return str(kind) + ("=" + ":".join(map(str, body)) if body else "")


_TCP_OPTIONS = {2: "mss", 3: "wscale", 4: "sackok", 5: "sack", 8: "ts"}


def _options_value(text: str) -> bytes:
    if text == ".":
        return b""
    out = b""
    sacks = b""
    for word in text.replace(",", ";").split(";"):
        if word == "nop":
            out += b"\x01"
        elif word == "eol":
            out += b"\x00"
        elif word == "sackok":
            out += b"\x04\x02"
        elif word.startswith("mss"):
            out += b"\x02\x04" + int(word[3:]).to_bytes(2, "big")
        elif word.startswith("wscale"):
            out += b"\x03\x03" + int(word[6:]).to_bytes(1, "big")
        elif word.startswith("ts"):
            value, _, echo = word[2:].partition(":")
            out += b"\x08\x0a" + int(value).to_bytes(4, "big") + int(echo or "0").to_bytes(4, "big")
        elif word.startswith("sack"):
            low, _, high = word[4:].partition("-")
            sacks += int(low).to_bytes(4, "big") + int(high).to_bytes(4, "big")
        else:
            kind, _, body = word.partition("=")
            content = bytes(int(b) for b in body.split(":")) if body else b""
            out += bytes([int(kind), 2 + len(content)]) + content
    if sacks:
        out += bytes([5, 2 + len(sacks)]) + sacks
    return out[:40]


def _put(name: str, low: int = 0, high: int = 0xFFFFFFFF) -> Setter:
    return lambda parts, text: setattr(parts, name, parse_int(text, low, high))


def _put_icmp(name: str, high: int) -> Setter:
    def put(parts: Parts, text: str) -> None:
        parts.icmp[name] = parse_int(text, 0, high)

    return put


def _put_address(name: str) -> Setter:
    return lambda parts, text: setattr(parts, name, parse_ip(text))


def _byte(at: int) -> Shower:
    return lambda v: v.ip[at] if v.ip else None


def _fragment_text(v: View) -> str | None:
    if not v.ip:
        return None
    if v.fragment & 0x1FFF:
        return "f"
    return "F" if v.fragment & 0x2000 else "."


def _offset_text(v: View) -> str | None:
    if not v.ip:
        return None
    return f"{(v.fragment & 0x1FFF) * 8}{'+' if v.fragment & 0x2000 else ''}"


def _put_offset(parts: Parts, text: str) -> None:
    parts.fragment = parts.fragment & 0x4000 | parse_int(text.rstrip("+"), 0, 65528) // 8 | (0x2000 if text.endswith("+") else 0)


def _put_ether(side: int) -> Setter:
    def put(parts: Parts, text: str) -> None:
        before = parts.ethers or (0, 0)
        value = parse_ether(text)
        parts.ethers = (value, before[1]) if side == 0 else (before[0], value)

    return put


def _ether(at: int) -> Shower:
    def show(v: View) -> object:
        start = v.packet.mac
        data = v.packet.data
        if start is None or start < 0 or len(data) < start + 14:
            return None
        return unparse_ether(int.from_bytes(data[start + at : start + at + 6], "big"))

    return show


def _ether_type(v: View) -> object:
    start = v.packet.mac
    if start is None or start < 0 or len(v.packet.data) < start + 14:
        return None
    return f"0x{v.packet.data[start + 12 : start + 14].hex()}"


def _payload_md5(v: View) -> object:
    return hashlib.md5(v.payload, usedforsecurity=False).hexdigest() if v.payload_start is not None else None


def _seconds(parts: Parts, text: str) -> None:
    parts.timestamp_ns = parse_int(text, 0) * 10**9 + parts.timestamp_ns % 10**9


def _micros(parts: Parts, text: str) -> None:
    parts.timestamp_ns = parts.timestamp_ns // 10**9 * 10**9 + parse_int(text, 0, 999_999) * 1000


def _payload_bytes(v: View) -> object:
    start = v.payload_start
    return max(v.total - start, 0) if start is not None else None


def _wire(v: View) -> int:
    return v.packet.length + v.packet.extra_length


def _set_payload(parts: Parts, text: str) -> None:
    parts.payload = unquote(text).encode("latin-1", "replace")


def _direction(parts: Parts, text: str) -> None:
    parts.paint = {">": 0, "<": 1}.get(text, -1)
    if parts.paint < 0:
        parts.paint = parse_int(text, 0, 255)


_ALL = [
    Field("timestamp", lambda v: stamp_text(v.packet.timestamp_ns), lambda p, t: setattr(p, "timestamp_ns", stamp_ns(t))),
    Field("ntimestamp", lambda v: stamp_text(v.packet.timestamp_ns, 9), lambda p, t: setattr(p, "timestamp_ns", stamp_ns(t))),
    Field("first_timestamp", lambda v: stamp_text(v.packet.anno(32, 8)),
          lambda p, t: setattr(p, "first_timestamp_ns", stamp_ns(t))),
    Field("ts_sec", lambda v: v.packet.timestamp_ns // 10**9, _seconds),
    Field("ts_usec", lambda v: v.packet.timestamp_ns % 10**9 // 1000, _micros),
    Field("ts_usec1", lambda v: v.packet.timestamp_ns // 1000, lambda p, t: setattr(p, "timestamp_ns", parse_int(t, 0) * 1000)),
    Field("ip_src", lambda v: unparse_ip(int.from_bytes(v.ip[12:16], "big")) if v.ip else None, _put_address("src")),
    Field("ip_dst", lambda v: unparse_ip(int.from_bytes(v.ip[16:20], "big")) if v.ip else None, _put_address("dst")),
    Field("ip_tos", _byte(1), _put("tos", 0, 255)),
    Field("ip_ttl", _byte(8), _put("ttl", 0, 255)),
    Field("ip_hl", lambda v: v.header_bytes if v.ip else None, _put("header_bytes", 20, 60)),
    Field("ip_len", lambda v: v.total if v.ip else None, _put("total", 0, 0xFFFF)),
    Field("ip_id", lambda v: v.u16(v.ip, 4), _put("ident", 0, 0xFFFF)),
    Field("ip_sum", lambda v: v.u16(v.ip, 10)),
    Field("ip_frag", _fragment_text, lambda p, t: setattr(p, "fragment", p.fragment | _FRAGMENT[t])),
    Field("ip_fragoff", _offset_text, _put_offset),
    Field("ip_opt", lambda v: _options_text(v.ip[20 : v.header_bytes], {}, (1,)) if v.ip else None,
          lambda p, t: setattr(p, "options", _options_value(t))),
    Field("ip_proto", lambda v: _LETTERS.get(v.protocol, v.protocol) if v.ip else None,
          lambda p, t: setattr(p, "protocol", _protocol_value(t))),
    Field("ip_capture_len", lambda v: min(len(v.ip), v.total) if v.ip else None),
    Field("sport", lambda v: v.u16(v.of(6, 17), 0), _put("sport", 0, 0xFFFF)),
    Field("dport", lambda v: v.u16(v.of(6, 17), 2), _put("dport", 0, 0xFFFF)),
    Field("tcp_seq", lambda v: v.u32(v.of(6), 4), _put("sequence")),
    Field("tcp_ack", lambda v: v.u32(v.of(6), 8), _put("acknowledgement")),
    Field("tcp_off", lambda v: (v.of(6)[12] >> 4) * 4 if len(v.of(6)) > 12 else None),
    Field("tcp_flags", lambda v: _flags_text((v.u16(v.of(6), 12) or 0) & 0x1FF) if len(v.of(6)) > 13 else None,
          lambda p, t: setattr(p, "flags", _flags_value(t))),
    Field("tcp_window", lambda v: v.u16(v.of(6), 14), _put("window", 0, 0xFFFF)),
    Field("tcp_sum", lambda v: v.u16(v.of(6), 16)),
    Field("tcp_urp", lambda v: v.u16(v.of(6), 18), _put("urgent", 0, 0xFFFF)),
    Field("tcp_opt", lambda v: _tcp_options(v, (1,)), lambda p, t: setattr(p, "tcp_options", _options_value(t))),
    Field("tcp_ntopt", lambda v: _tcp_options(v, (1, 8)), lambda p, t: setattr(p, "tcp_options", _options_value(t))),
    Field("tcp_sack", lambda v: _tcp_options(v, (1, 2, 3, 4, 8)), lambda p, t: setattr(p, "tcp_options", _options_value(t))),
    Field("udp_len", lambda v: v.u16(v.of(17), 4), _put("udp_length", 0, 0xFFFF)),
    Field("udp_sum", lambda v: v.u16(v.of(17), 6)),
    Field("icmp_type", lambda v: v.of(1)[0] if v.of(1) else None, _put_icmp("type", 255)),
    Field("icmp_code", lambda v: v.of(1)[1] if len(v.of(1)) > 1 else None, _put_icmp("code", 255)),
    Field("icmp_sum", lambda v: v.u16(v.of(1), 2)),
    Field("icmp_flowid", lambda v: v.u16(v.of(1), 4), _put_icmp("id", 0xFFFF)),
    Field("icmp_seq", lambda v: v.u16(v.of(1), 6), _put_icmp("seq", 0xFFFF)),
    Field("icmp_nextmtu", lambda v: v.u16(v.of(1), 6) if v.of(1)[:2] == b"\x03\x04" else None, _put_icmp("seq", 0xFFFF)),
    Field("payload_len", _payload_bytes, _put("payload_bytes", 0, 0xFFFF)),
    Field("payload", lambda v: quote_word(v.payload.decode("latin-1")) if v.payload_start is not None else None, _set_payload),
    Field("payload_md5", _payload_md5),
    Field("payload_md5_hex", _payload_md5),
    Field("wire_len", _wire, _put("length")),
    Field("aggregate", lambda v: v.packet.anno(20, 4), _put("aggregate")),
    Field("count", lambda v: 1 + v.packet.anno(24, 4), _put("count", 1)),
    Field("direction", lambda v: {0: ">", 1: "<"}.get(v.packet.anno(16), v.packet.anno(16)), _direction),
    Field("link", lambda v: v.packet.anno(16), _put("paint", 0, 255)),
    Field("paint", lambda v: v.packet.anno(16), _put("paint", 0, 255)),
    Field("num", lambda v: v.number),
    Field("eth_src", _ether(6), _put_ether(0)),
    Field("eth_dst", _ether(0), _put_ether(1)),
    Field("eth_type", _ether_type, _put("ether_type", 0, 0xFFFF)),
]


def _tcp_options(v: View, skip: tuple[int, ...]) -> str | None:
    tcp = v.of(6)
    if len(tcp) < 20 or len(tcp) < (tcp[12] >> 4) * 4:
        return None
    return _options_text(tcp[20 : (tcp[12] >> 4) * 4], _TCP_OPTIONS, skip)


FIELDS = {f.name: f for f in _ALL}
#: older and other names
_ALIASES = {
    "src": "ip_src", "dst": "ip_dst", "tos": "ip_tos", "ttl": "ip_ttl", "hl": "ip_hl", "len": "ip_len", "length": "ip_len",
    "id": "ip_id", "frag": "ip_frag", "fragoff": "ip_fragoff", "proto": "ip_proto", "sec": "ts_sec", "usec": "ts_usec",
    "usec1": "ts_usec1", "ts": "timestamp", "utimestamp": "timestamp", "tcp_win": "tcp_window",
    "pkt_count": "count", "packet_count": "count",
    "packets": "count", "aggregate_id": "aggregate", "agg": "aggregate", "ether_src": "eth_src", "ether_dst": "eth_dst",
    "ether_type": "eth_type", "first_ts": "first_timestamp", "ip_capture_length": "ip_capture_len",
    "icmp_id": "icmp_flowid",
}


def canonical_name(text: str) -> str | None:
    """The name of a field as the file's header has it; None where there is no such field."""
    name = unquote(text).strip().lower().replace(" ", "_").replace("-", "_")
    name = _ALIASES.get(name, name)
    return name if name in FIELDS else None
