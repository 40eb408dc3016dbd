"""Forwarding tables as Click configurations.

Formats are told apart by their lines: ``PREFIX NEXT-HOP-OR-PORT`` (one an own line), Linux (``ip route``), Cisco IOS
(``show ip route``). A next hop without an interface is an interface of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.lang.arguments import ArgumentContext, ArgumentError, parse_prefix, unparse_prefix
from penstock.verify.readers.errors import TableError

__all__ = ["interface_name", "parse_routes", "prefix_text", "router_configuration"]

_CONTEXT = ArgumentContext({}, {})
_LINUX_SKIPPED = ("broadcast", "multicast", "local", "anycast", "nat")
_LINUX_REFUSED = ("unreachable", "prohibit", "blackhole", "throw")
_CISCO = re.compile(r"^(?P<code>[A-Z][A-Z0-9*]*(?:\s[A-Z0-9*]{1,2})?)\s+(?P<prefix>\d+\.\d+\.\d+\.\d+(?:/\d+)?)(?P<rest>.*)$")


#: most lines of large tables; several times as quick as what all others are read by
_NUMBER = r"(0|[1-9]\d{0,2})"
_PLAIN = re.compile(rf"(?P<prefix>{_NUMBER}\.{_NUMBER}\.{_NUMBER}\.{_NUMBER}/{_NUMBER}) (?P<interface>(?!(?:dev|via)$)[A-Za-z0-9_.:-]+)",
                    re.ASCII)


@dataclass(frozen=True)
class Route:
    """A prefix as text, and the interface behind which it lies; None where its packets are dropped."""

    prefix: str
    interface: str | None


def parse_routes(text: str) -> list[Route]:
    """A forwarding table in any of the formats. Of several routes to a prefix the first one counts. Raises TableError."""
    found: dict[str, Route] = {}
    cisco_bits = 32
    for number, raw in enumerate(text.splitlines(), 1):
        plain = _PLAIN.fullmatch(raw)
        if plain is not None and _is_normal(plain):
            prefix = plain["prefix"]
            if prefix not in found:
                found[prefix] = Route(prefix, plain["interface"])
            continue
        line = raw.split("#")[0].strip()
        if not line or line.startswith(("Codes:", "Gateway of last resort", "!")):
            continue
        try:
            match = _CISCO.match(line)
            if (subnetted := re.match(r"^(\d+\.\d+\.\d+\.\d+)/(\d+) is (?:variably )?subnetted", line)) is not None:
                # The prefixes below are written without their length where all of them have this one.
                cisco_bits = int(subnetted[2])
                continue
            route = _cisco(match, cisco_bits) if match else _linux_or_plain(line.split())
        except ArgumentError as error:
            raise TableError(f"line {number}: '{line}': {error}") from None
        except IndexError:
            raise TableError(f"line {number}: '{line}': it ends too early") from None
        except TableError as error:
            raise TableError(f"line {number}: '{line}': {error}") from None
        if route is not None:
            found.setdefault(route.prefix, route)
    return list(found.values())


def _is_normal(plain: re.Match[str]) -> bool:
    """Whether a prefix is written as it would be by us: no number too large, no bit behind the mask."""
    a, b, c, d, length = map(int, plain.groups()[1:6])
    address = a << 24 | b << 16 | c << 8 | d
    return max(a, b, c, d) < 256 and length <= 32 and not address << length & 0xFFFF_FFFF


def prefix_text(text: str) -> str:
    """A prefix as ``a.b.c.d/length``, no bit behind it. Raises TableError, ArgumentError."""
    address, mask = parse_prefix("0.0.0.0/0" if text in ("default", "0/0") else text, _CONTEXT)
    if mask != (0xFFFF_FFFF << (32 - mask.bit_count())) & 0xFFFF_FFFF:
        raise TableError("the mask is not a prefix")
    return unparse_prefix(address & mask, mask)


def _linux_or_plain(words: list[str]) -> Route | None:
    if words[0] in _LINUX_SKIPPED:
        return None
    if words[0] in _LINUX_REFUSED:
        return Route(prefix_text(words[1]), None)
    if words[0] == "nexthop":
        return None
    prefix, rest = prefix_text(words[0]), words[1:]
    if "dev" in rest:
        return Route(prefix, rest[rest.index("dev") + 1])
    if rest[:1] == ["via"] or (len(rest) > 1 and "proto" in rest):
        raise TableError("a route without an interface ('dev NAME')")
    if len(rest) != 1:
        raise TableError("expected 'PREFIX NEXT-HOP-OR-PORT'")
    return Route(prefix, rest[0])


def _cisco(match: re.Match[str], bits: int) -> Route | None:
    code, prefix, rest = match["code"], match["prefix"], match["rest"]
    if code.split()[0].rstrip("*") == "L":
        return None
    full = prefix_text(prefix if "/" in prefix else f"{prefix}/{bits}")
    if "Null0" in rest:
        return Route(full, None)
    if "directly connected" in rest:
        return Route(full, rest.rpartition(",")[2].strip())
    via = re.search(r"via (\d+\.\d+\.\d+\.\d+)", rest)
    if via is None:
        raise TableError("neither 'via ADDRESS' nor 'directly connected'")
    interface = rest.rpartition(",")[2].strip()
    return Route(full, interface if re.match(r"^[A-Za-z]", interface) else via[1])


def router_configuration(routes: list[Route]) -> str:
    """A router with one interface for each that routes lead to. It takes one from the TTL; what has no route is dropped."""
    interfaces = sorted({r.interface for r in routes if r.interface is not None})
    if not interfaces:
        raise TableError("no route leads to an interface")
    dropped = len(interfaces)
    entries = ", ".join(f"{r.prefix} {dropped if r.interface is None else interfaces.index(r.interface)}" for r in routes)
    lines = [f"in :: Strip(14) -> CheckIPHeader -> routes :: RadixIPLookup({entries});"]
    for i, name in enumerate(interfaces):
        # A neighbour's address is found by ARP; it is nobody's concern here.
        quoted = interface_name(name)
        lines.append(f"FromDevice({quoted}) -> in; routes[{i}] -> DecIPTTL -> Unstrip(14) -> ToDevice({quoted});")
    if any(r.interface is None for r in routes):
        lines.append(f"routes[{dropped}] -> unreachable :: Discard;")
    return "\n".join(lines)


def interface_name(name: str) -> str:
    """A name as it can stand in a configuration. Raises TableError."""
    if not re.fullmatch(r"[A-Za-z0-9_./:@-]+", name):
        raise TableError(f"'{name}' is no name of an interface")
    return name
