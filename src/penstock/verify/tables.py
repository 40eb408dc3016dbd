"""Other systems' tables as Click configurations: forwarding tables, and the rules of iptables.

Formats are told apart by their lines: ``PREFIX NEXT-HOP-OR-PORT`` (one an own line), Linux (``ip route``), Cisco IOS
(``show ip route``). A next hop without an interface is an interface of its own.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from penstock.lang.arguments import ArgumentContext, ArgumentError, parse_prefix, unparse_prefix

__all__ = ["TableError", "filter_configuration", "parse_iptables", "parse_routes", "router_configuration"]

_CONTEXT = ArgumentContext({}, {})
_LINUX_SKIPPED = ("broadcast", "multicast", "local", "anycast", "nat")
_LINUX_REFUSED = ("unreachable", "prohibit", "blackhole", "throw")
_CISCO = re.compile(r"^(?P<code>[A-Z][A-Z0-9*]*(?:\s[A-Z0-9*]{1,2})?)\s+(?P<prefix>\d+\.\d+\.\d+\.\d+(?:/\d+)?)(?P<rest>.*)$")


#: most lines of large tables; several times as quick as what all others are read by
_NUMBER = r"(0|[1-9]\d{0,2})"
_PLAIN = re.compile(rf"(?P<prefix>{_NUMBER}\.{_NUMBER}\.{_NUMBER}\.{_NUMBER}/{_NUMBER}) (?P<interface>(?!(?:dev|via)$)[A-Za-z0-9_.:-]+)",
                    re.ASCII)


class TableError(ValueError):
    """A line that cannot be understood; the message says which, and why."""


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


def _prefix(text: str) -> str:
    address, mask = parse_prefix("0.0.0.0/0" if text in ("default", "0/0") else text, _CONTEXT)
    if mask != (0xFFFF_FFFF << (32 - mask.bit_count())) & 0xFFFF_FFFF:
        raise TableError("the mask is not a prefix")
    return unparse_prefix(address & mask, mask)


def _linux_or_plain(words: list[str]) -> Route | None:
    if words[0] in _LINUX_SKIPPED:
        return None
    if words[0] in _LINUX_REFUSED:
        return Route(_prefix(words[1]), None)
    if words[0] == "nexthop":
        return None
    prefix, rest = _prefix(words[0]), words[1:]
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
    full = _prefix(prefix if "/" in prefix else f"{prefix}/{bits}")
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
        lines.append(f"FromDevice({_quoted(name)}) -> in; routes[{i}] -> DecIPTTL -> Unstrip(14) -> ToDevice({_quoted(name)});")
    if any(r.interface is None for r in routes):
        lines.append(f"routes[{dropped}] -> unreachable :: Discard;")
    return "\n".join(lines)


def _quoted(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_./:@-]+", name):
        raise TableError(f"'{name}' is no name of an interface")
    return name


# iptables

@dataclass(frozen=True)
class _Rule:
    expression: str
    accepts: bool
    stateful: bool = False


def parse_iptables(text: str) -> tuple[list[_Rule], bool]:
    """The rules of FORWARD in the output of ``iptables-save``, and whether what none matches is accepted. Raises TableError.

    Understood are -s, -d, -p, --sport, --dport, their negations, and ``state``/``conntrack`` with ESTABLISHED; anything else is
    refused: a rule that is left out would make the answer wrong.
    """
    rules: list[_Rule] = []
    accepts, table = True, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":FORWARD ") and table in ("", "filter"):
            accepts = line.split()[1] == "ACCEPT"
        elif line.startswith("-A FORWARD") and table in ("", "filter"):
            try:
                rules.append(_rule(shlex.split(line)[2:]))
            except IndexError:
                raise TableError(f"line {number}: '{line}': it ends too early") from None
            except ValueError as error:
                raise TableError(f"line {number}: '{line}': {error}") from None
    if not rules and ":FORWARD" not in text:
        raise TableError("there is no chain FORWARD in it")
    return rules, accepts


def _rule(words: list[str]) -> _Rule:
    parts: list[str] = []
    target, protocol, stateful, negated = "", "", False, False
    while words:
        word = words.pop(0)
        if word == "!":
            negated = True
            continue
        sign, negated = "not " if negated else "", False
        if word in ("-s", "--source", "-d", "--destination"):
            parts.append(f"{sign}{'src' if 's' in word[:3] else 'dst'} net {_prefix(words.pop(0))}")
        elif word in ("-p", "--protocol"):
            protocol = words.pop(0)
            if protocol not in ("tcp", "udp", "icmp", "all"):
                raise TableError(f"protocol {protocol} is not understood")
            if protocol != "all":
                parts.append(f"{sign}{protocol}")
        elif word in ("--sport", "--source-port", "--dport", "--destination-port"):
            low, colon, high = words.pop(0).partition(":")
            side = "src" if word.startswith("--s") else "dst"
            span = f"{side} port {int(low)}" if not colon else f"({side} port >= {int(low or 0)} && {side} port <= {int(high or 65535)})"
            parts.append(f"{sign}{span}")
        elif word == "-m":
            if (module := words.pop(0)) not in ("tcp", "udp", "icmp", "state", "conntrack", "comment"):
                raise TableError(f"match {module} is not understood")
        elif word in ("--state", "--ctstate"):
            stateful = "ESTABLISHED" in words.pop(0).split(",")
            if not stateful or sign:
                raise TableError("of states only ESTABLISHED is understood")
        elif word == "--comment":
            words.pop(0)
        elif word in ("-j", "--jump"):
            target = words.pop(0)
        elif word == "--reject-with":
            words.pop(0)
        else:
            raise TableError(f"'{word}' is not understood")
    if target not in ("ACCEPT", "DROP", "REJECT"):
        raise TableError(f"target '{target}' is not understood (ACCEPT, DROP, REJECT)")
    if stateful and (target != "ACCEPT" or parts):
        raise TableError("a rule for ESTABLISHED is understood where it accepts, and asks for nothing else")
    return _Rule(" && ".join(parts) or "all", target == "ACCEPT", stateful)


def filter_configuration(rules: list[_Rule], accepts: bool, *, inside: str = "inside", outside: str = "outside") -> str:
    """A box with two interfaces whose packets go from each to the other where the rules say so.

    With a rule for ESTABLISHED, what comes back of a flow that was accepted passes.
    """
    plain = [f"{'allow' if r.accepts else 'deny'} {r.expression}" for r in rules if not r.stateful]
    expression = ", ".join([*plain, f"{'allow' if accepts else 'deny'} all"])
    if not any(r.stateful for r in rules):
        way = "FromDevice({0}) -> Strip(14) -> CheckIPHeader -> rules_{0} :: IPFilter({2}) -> Unstrip(14) -> ToDevice({1});"
        return "\n".join(way.format(a, b, expression) for a, b in ((inside, outside), (outside, inside)))
    # Whose flow is known passes; the first packet of another one must be accepted, and makes it known.
    lines = ["known :: IPRewriter(pass 2, pass 3, keep 0 1, keep 1 0);"]
    for port, (a, b) in enumerate(((inside, outside), (outside, inside))):
        lines.append(f"FromDevice({a}) -> Strip(14) -> CheckIPHeader -> [{port}] known;")
        lines.append(f"known[{port + 2}] -> rules_{a} :: IPFilter({expression}) -> tcp_or_udp_{a} :: IPClassifier(tcp or udp, -);")
        lines.append(f"tcp_or_udp_{a} -> [{port + 2}] known; tcp_or_udp_{a}[1] -> to_{b} :: Null; known[{port}] -> to_{b};")
        lines.append(f"to_{b} -> Unstrip(14) -> ToDevice({b});")
    return "\n".join(lines)
