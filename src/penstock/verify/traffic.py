"""Which packets a question is about: ``tcp to 8.8.8.8 port 80`` and the like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from penstock.lang.arguments import ArgumentContext, ArgumentError, parse_prefix
from penstock.verify.hosts import LONGEST, make_packet
from penstock.verify.intervals import Intervals
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.terms import Value, Var

__all__ = ["EVERY_PROTOCOL", "Traffic", "TrafficError", "all_packets", "parse_traffic"]

PROTOCOLS = ("any", "tcp", "udp", "icmp")
#: as :func:`make_packet` names them; the last one is all others
EVERY_PROTOCOL = ("tcp", "udp", "icmp", "")
#: protocol numbers that have no name here
OTHERS = Intervals(((0, 0), (2, 5), (7, 16), (18, 255)))


class TrafficError(ValueError):
    """A description of packets that cannot be understood."""


@dataclass(frozen=True)
class Traffic:
    """Packets of a protocol (or any) with fields in sets of numbers, by ``header.field``."""

    protocol: str = "any"
    fields: tuple[tuple[str, Intervals], ...] = ()
    text: str = "any"
    #: TCP packets with the options of a SYN
    options: bool = False

    @property
    def length(self) -> Intervals | None:
        """How many bytes of IP, where that is asked for."""
        return dict(self.fields).get("ip.length")

    def without_length(self) -> Traffic:
        """The same packets, of any length."""
        return replace(self, fields=tuple(f for f in self.fields if f[0] != "ip.length"))

    @property
    def protocols(self) -> tuple[str, ...]:
        """As :func:`make_packet` names them."""
        if self.protocol != "any":
            return (self.protocol,)
        return ("tcp", "udp") if any(name in ("port", "src port") for name, _ in self.fields) else EVERY_PROTOCOL

    def packet(self, protocol: str, *, source: Intervals | None = None, name: str = "", given: Mapping[str, Value] | None = None,
               ) -> tuple[SymbolicPacket, Path] | None:
        """A symbolic packet of these, sent from one of the addresses ``source``, and what is known of it; None where there is none."""
        values = {"ip.ttl": 64, **(given or {})}
        if not protocol:
            values.setdefault("ip.protocol", Var(f"{name}.ip.protocol" if name else "ip.protocol", 8))
        longest = max(LONGEST, self.length.high if self.length else 0)
        packet = make_packet(protocol, values, name=name, options=self.options, longest=longest)
        path = Path()
        asked = [*self.fields]
        if source is not None:
            asked.append(("ip.src", source))
        if not protocol:
            asked.append(("ip.protocol", OTHERS))
        for field, allowed in asked:
            full = {"port": f"{protocol}.dst", "src port": f"{protocol}.src"}.get(field, field)
            if not path.confine(packet.field(*full.split(".")), allowed, Place(text=f"{full} as asked")):
                return None
        return packet, path


def all_packets(protocol: str) -> tuple[SymbolicPacket, Path]:
    """Every packet of a protocol (none: of all that are not tcp, udp and icmp), and what is known of it."""
    packet, path = make_packet(protocol), Path()
    if not protocol:
        path.confine(packet.field("ip", "protocol"), OTHERS, Place(text="neither TCP nor UDP nor ICMP"))
    return packet, path


def parse_traffic(words: list[str]) -> Traffic:
    """From words such as ``tcp port 80 to 10.0.0.0/8``. Raises TrafficError."""
    text = " ".join(words) or "any"
    rest = list(words)
    made = Traffic(text=text)
    if rest and rest[0] in PROTOCOLS:
        made = replace(made, protocol=rest.pop(0))
    fields: list[tuple[str, Intervals]] = []
    while rest:
        word = rest.pop(0)
        if word == "options":
            made = replace(made, options=True)
            continue
        if word in ("df", "no-df"):
            # Don't fragment (RFC 791): the second of the three flags.
            fields.append(("ip.flags", Intervals(((2, 2),) if word == "df" else ((0, 1),))))
            continue
        if word == "fragments":
            # Those behind the first one: they have no transport header.
            fields.append(("ip.fragment_offset", Intervals(((1, 0x1FFF),))))
            continue
        if word in ("port", "src", "source", "dst", "to", "proto", "ttl", "length"):
            if word == "src" and rest[:1] == ["port"]:
                rest.pop(0)
                word = "src port"
            if not rest:
                raise TrafficError(f"'{word}' needs a value")
            fields.append(_field(word, rest.pop(0)))
        else:
            known = f"{', '.join(PROTOCOLS)}; fragments, options, df, no-df, src, to, port, src port, proto, ttl, length"
            raise TrafficError(f"'{word}' is not understood in '{text}' (expected {known})")
    if made.protocol == "icmp" and any("port" in name for name, _ in fields):
        raise TrafficError(f"'{text}': ICMP has no ports")
    return replace(made, fields=tuple(fields))


def _field(word: str, value: str) -> tuple[str, Intervals]:
    if word in ("src", "source", "dst", "to"):
        negated = value.startswith("!")
        try:
            address, mask = parse_prefix(value.removeprefix("!"), ArgumentContext({}, {}))
        except ArgumentError as error:
            raise TrafficError(f"{word} {value}: {error}") from None
        allowed = Intervals.prefix(address, mask)
        return ("ip.src" if word in ("src", "source") else "ip.dst"), allowed.complement(32) if negated else allowed
    low, dash, high = value.partition("-")
    try:
        span = int(low), int(high) if dash else int(low)
    except ValueError:
        raise TrafficError(f"{word} {value}: a number or a range is expected") from None
    top = 0xFFFF if "port" in word or word == "length" else 0xFF
    if not 0 <= span[0] <= span[1] <= top:
        raise TrafficError(f"{word} {value}: 0 to {top}, the lower one first")
    return {"proto": "ip.protocol", "ttl": "ip.ttl", "length": "ip.length"}.get(word, word), Intervals((span,))
