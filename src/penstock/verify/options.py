"""TCP options of a symbolic packet: those that a host opens a connection with, and what is left of them elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.verify.packet import SymbolicPacket
from penstock.verify.terms import Value, Var

__all__ = ["OPTIONS", "OPTIONS_BYTES", "TcpOption", "find_option", "put_options"]


@dataclass(frozen=True)
class TcpOption:
    """``kind`` as IANA numbers it, and how many bytes of value it has in a SYN."""

    kind: int
    value_bytes: int


#: what a SYN carries: RFC 9293 (MSS), RFC 2018, RFC 7323, RFC 8684 (version 1)
OPTIONS = {
    "mss": TcpOption(2, 2), "sack": TcpOption(4, 0), "timestamps": TcpOption(8, 8), "wscale": TcpOption(3, 1), "mptcp": TcpOption(30, 10),
}
_NOP, _END = 1, 0
_USED = sum(2 + o.value_bytes for o in OPTIONS.values())
OPTIONS_BYTES = (_USED + 3) // 4 * 4


def put_options(packet: SymbolicPacket, at: int, prefix: str) -> None:
    """Write all of them from offset ``at`` in the slot on, their values as variables, and fill up with NOP."""
    for name, option in OPTIONS.items():
        packet.store(at, 2, option.kind << 8 | 2 + option.value_bytes)
        if option.value_bytes:
            packet.store(at + 2, option.value_bytes, Var(f"{prefix}option.{name}", 8 * option.value_bytes))
        at += 2 + option.value_bytes
    for i in range(OPTIONS_BYTES - _USED):
        packet.store(at + i, 1, _NOP)


def find_option(packet: SymbolicPacket, name: str) -> Value | None:
    """An option's value (0 where it has none); None where it is not there. LookupError where that cannot be told."""
    for kind, at, size in _walk(packet):
        if kind == OPTIONS[name].kind:
            return packet.load(at, size) if size else 0
    return None


def _walk(packet: SymbolicPacket) -> Iterator[tuple[int, int, int]]:
    """(kind, where its value is, bytes of value) of each option."""
    start = packet.header_base("tcp")
    words = packet.field("tcp", "offset")
    if not isinstance(words, int):
        raise LookupError("the TCP header's length is not known")
    at, end = start + 20, start + 4 * words
    while at < end:
        kind = packet.load(at, 1)
        if kind == _END:
            return
        if kind == _NOP:
            at += 1
            continue
        length = packet.load(at + 1, 1)
        if not isinstance(kind, int) or not isinstance(length, int):
            raise LookupError("a TCP option's kind or length is not known")
        if length < 2:
            return
        yield kind, at + 2, length - 2
        at += length
