"""The binary form of IP summary dumps: what each field takes, and how its bytes are read as its text.

Behind the line ``!binary`` stand records: four bytes with the record's length, themselves included, in network byte order, and then the
fields in the order of the ``!data`` line. Where the length's highest bit is set, the record is a line of text (``!bad`` and such).
A field that a packet does not have is zero bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from penstock.elements.summary_fields import FIELDS, Parts, View, options_of, stamp_text
from penstock.lang.arguments import unparse_ether, unparse_ip

__all__ = ["MAX_RECORD_BYTES", "METADATA", "RecordError", "has_binary_form", "pack_record", "pack_text", "read_record"]

METADATA = 0x8000_0000
MAX_RECORD_BYTES = 1 << 20


class RecordError(ValueError):
    """A record's fields take more bytes than it has."""


@dataclass(frozen=True)
class _Form:
    """How a field stands in a record. ``size`` is None where its first ``prefix`` bytes say how many follow."""

    size: int | None
    pack: Callable[[View], bytes]
    #: what of a packet the bytes say
    put: Callable[[Parts, bytes], None]
    prefix: int = 0


def _number(name: str, width: int) -> _Form:
    field = FIELDS[name]

    def pack(view: View) -> bytes:
        value = field.show(view)
        return (value & (1 << 8 * width) - 1 if isinstance(value, int) else 0).to_bytes(width, "big")

    def put(parts: Parts, data: bytes) -> None:
        if field.set is not None:
            field.set(parts, str(int.from_bytes(data, "big")))

    return _Form(width, pack, put)


def _bits(name: str, width: int, read: Callable[[View], int | None]) -> _Form:
    """A field whose text is not its number."""
    form = _number(name, width)
    return _Form(width, lambda view: ((read(view) or 0) & (1 << 8 * width) - 1).to_bytes(width, "big"), form.put)


def _stamp(name: str, read: Callable[[View], int], unit_ns: int) -> _Form:
    def put(parts: Parts, data: bytes) -> None:
        seconds, fraction = struct.unpack(">II", data)
        setter = FIELDS[name].set
        if setter is not None:
            setter(parts, stamp_text(seconds * 10**9 + fraction * unit_ns, 9))

    return _Form(8, lambda view: struct.pack(">II", read(view) // 10**9 & 0xFFFFFFFF, read(view) % 10**9 // unit_ns), put)


def _text(name: str, width: int, unparse: Callable[[int], str], read: Callable[[View], bytes]) -> _Form:
    def put(parts: Parts, data: bytes) -> None:
        setter = FIELDS[name].set
        if setter is not None:
            setter(parts, unparse(int.from_bytes(data, "big")))

    return _Form(width, lambda view: (read(view) or b"").ljust(width, b"\0")[:width], put)


def _variable(prefix: int, read: Callable[[View], bytes], attribute: str) -> _Form:
    return _Form(None, read, lambda parts, data: setattr(parts, attribute, data), prefix)


def _ether(at: int) -> Callable[[View], bytes]:
    def read(view: View) -> bytes:
        start = view.packet.mac
        return view.packet.data[start + at : start + at + 6] if start is not None and start >= 0 else b""

    return read


def _ether_type(view: View) -> int | None:
    data = _ether(12)(view)[:2]
    return int.from_bytes(data, "big") if len(data) == 2 else None


def _tcp_options(*skip: int) -> Callable[[View], bytes]:
    """The options without those kinds, as the text of the same field has them."""

    def read(view: View) -> bytes:
        tcp = view.of(6)
        return b"".join(options_of(tcp[20 : (tcp[12] >> 4) * 4], skip) or []) if len(tcp) >= 20 else b""

    return read


def _fragment(view: View) -> bytes:
    return str(FIELDS["ip_frag"].show(view) or "\0").encode()


def _put_fragment(parts: Parts, data: bytes) -> None:
    setter = FIELDS["ip_frag"].set
    if setter is not None and data != b"\0":
        setter(parts, data.decode("latin-1"))


def _put_offset(parts: Parts, data: bytes) -> None:
    """The header's field as it is: offset in units of 8 bytes, and flags."""
    parts.fragment = int.from_bytes(data, "big")


_WIDTHS = {
    "ts_sec": 4, "ts_usec": 4, "ts_usec1": 8, "ip_tos": 1, "ip_ttl": 1, "ip_hl": 1, "ip_len": 4, "ip_id": 2, "ip_sum": 2,
    "ip_capture_len": 4, "sport": 2, "dport": 2, "tcp_seq": 4, "tcp_ack": 4, "tcp_off": 1, "tcp_window": 2, "tcp_sum": 2, "tcp_urp": 2,
    "udp_len": 2, "udp_sum": 2, "icmp_type": 1, "icmp_code": 1, "icmp_sum": 2, "icmp_flowid": 2, "icmp_seq": 2, "icmp_nextmtu": 2,
    "payload_len": 4, "wire_len": 4, "aggregate": 4, "count": 4, "link": 1, "paint": 1, "num": 4,
}
_FORMS: dict[str, _Form] = {
    **{name: _number(name, width) for name, width in _WIDTHS.items()},
    "timestamp": _stamp("timestamp", lambda v: v.packet.timestamp_ns, 1000),
    "ntimestamp": _stamp("ntimestamp", lambda v: v.packet.timestamp_ns, 1),
    "first_timestamp": _stamp("first_timestamp", lambda v: v.packet.anno(32, 8), 1000),
    "ip_src": _text("ip_src", 4, unparse_ip, lambda v: v.ip[12:16]),
    "ip_dst": _text("ip_dst", 4, unparse_ip, lambda v: v.ip[16:20]),
    "ip_proto": _bits("ip_proto", 1, lambda v: v.ip[9] if v.ip else None),
    "ip_frag": _Form(1, _fragment, _put_fragment),
    "ip_fragoff": _Form(2, lambda v: v.ip[6:8].ljust(2, b"\0"), _put_offset),
    "ip_opt": _variable(1, lambda v: v.ip[20 : v.header_bytes] if v.ip else b"", "options"),
    "tcp_flags": _bits("tcp_flags", 1, lambda v: v.u16(v.of(6), 12)),
    "tcp_opt": _variable(1, _tcp_options(1), "tcp_options"),
    "tcp_ntopt": _variable(1, _tcp_options(1, 8), "tcp_options"),
    "tcp_sack": _variable(1, _tcp_options(1, 2, 3, 4, 8), "tcp_options"),
    "payload": _variable(4, lambda v: v.payload, "payload"),
    "payload_md5": _Form(16, lambda v: bytes.fromhex(str(FIELDS["payload_md5"].show(v) or "")).ljust(16, b"\0"), lambda parts, data: None),
    "direction": _number("link", 1),
    "eth_src": _text("eth_src", 6, unparse_ether, _ether(6)),
    "eth_dst": _text("eth_dst", 6, unparse_ether, _ether(0)),
    "eth_type": _bits("eth_type", 2, _ether_type),
}


def has_binary_form(name: str) -> bool:
    return name in _FORMS


def _framed(body: bytes, flag: int = 0) -> bytes:
    return struct.pack(">I", 4 + len(body) | flag) + body


def pack_record(names: Sequence[str], view: View, given: Mapping[str, bytes] | None = None) -> bytes:
    """The record of a packet; ``given`` has fields that say something else than it does."""
    out: list[bytes] = []
    for name in names:
        form = _FORMS[name]
        data = given[name] if given and name in given else form.pack(view)
        out += [len(data).to_bytes(form.prefix, "big"), data] if form.size is None else [data]
    return _framed(b"".join(out))


def pack_text(line: str) -> bytes:
    """The record of a line of text, which begins with ``!``."""
    return _framed(line.encode("latin-1", "replace"), METADATA)


def read_record(names: Sequence[str], data: bytes, parts: Parts) -> None:
    """Put what a record's fields say (without its length) into ``parts``.

    Raises RecordError, or what a field's setter raises.
    """
    at = 0
    for name in names:
        form = _FORMS.get(name)
        if form is None:
            raise RecordError(f"field '{name or 'unknown'}' has no binary form")
        size = form.size
        if size is None:
            size = int.from_bytes(data[at : at + form.prefix], "big")
            at += form.prefix
        if at + size > len(data):
            raise RecordError(f"field '{name}' ends behind its record")
        form.put(parts, data[at : at + size])
        at += size
