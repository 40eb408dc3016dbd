"""The rules of a Linux firewall as a Click configuration, whatever they are read from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from penstock.verify.readers.errors import TableError
from penstock.verify.readers.routes import interface_name

__all__ = ["ChainRule", "Chains", "InterfaceTest", "Rule", "any_of", "filter_configuration", "flatten", "interfaces_of", "port_range"]

_MAX_DEPTH = 16


@dataclass(frozen=True)
class InterfaceTest:
    """That a packet comes in through (``side`` in), or goes out through, one of these interfaces; ``*`` ends a name as a wildcard."""

    side: str
    names: tuple[str, ...]
    negated: bool = False

    def holds(self, inward: str, outward: str) -> bool:
        name = inward if self.side == "in" else outward
        return any(fnmatchcase(name, pattern) for pattern in self.names) != self.negated


@dataclass(frozen=True)
class Rule:
    """What a packet must be like (an expression of IPFilter's, ``all`` for any), and whether it is accepted then.

    ``unless``: conditions under which the rule is not come to. ``stateful``: it accepts what belongs to a known flow.
    """

    expression: str
    accepts: bool
    stateful: bool = False
    interfaces: tuple[InterfaceTest, ...] = ()
    unless: tuple[tuple[tuple[InterfaceTest, ...], str], ...] = ()

    def on_way(self, inward: str, outward: str) -> Rule | None:
        """The rule for packets from one interface to the other one, without tests of interfaces; None where it matches none."""
        if not all(test.holds(inward, outward) for test in self.interfaces):
            return None
        parts = [] if self.expression == "all" else [self.expression]
        for tests, expression in self.unless:
            if all(test.holds(inward, outward) for test in tests):
                if expression == "all":
                    return None
                parts.append(f"not ({expression})")
        return Rule(" && ".join(parts) or "all", self.accepts, self.stateful)


@dataclass
class ChainRule:
    """One rule of a chain as it is written: expressions and tests that must all hold, and its verdict (``accept``, ``drop``,
    ``return``, ``jump CHAIN``, ``goto CHAIN``; none for a rule that only counts). ``never``: it is for no packet of IPv4."""

    text: str
    parts: list[str]
    interfaces: list[InterfaceTest]
    verdict: tuple[str, ...] = ()
    stateful: bool = False
    never: bool = False


def any_of(expressions: Sequence[str]) -> str:
    """One of several expressions, at least."""
    return expressions[0] if len(expressions) == 1 else f"({' || '.join(expressions)})"


def port_range(side: str, low: int, high: int) -> str:
    """``side``: src or dst."""
    return f"({side} port >= {low} && {side} port <= {high})"


#: chains by their names
Chains = Mapping[str, Sequence[ChainRule]]


def flatten(chains: Chains, base: str, accepts: bool) -> list[Rule]:
    """The rules of a chain, with those of chains that it jumps to in their places. ``accepts``: what none matches. Raises TableError."""
    return list(_flat(chains, base, accepts, (), (), (), 0))


def _flat(chains: Chains, chain: str, accepts: bool, parts: tuple[str, ...], interfaces: tuple[InterfaceTest, ...],
          unless: tuple[tuple[tuple[InterfaceTest, ...], str], ...], depth: int) -> Iterator[Rule]:
    if depth > _MAX_DEPTH:
        raise TableError(f"chain {chain} jumps too deep")
    for rule in chains[chain]:
        if rule.never or not rule.verdict:
            continue
        what, tests = (*parts, *rule.parts), (*interfaces, *rule.interfaces)
        expression = " && ".join(what) or "all"
        name = rule.verdict[0]
        if rule.stateful and (name != "accept" or what):
            raise TableError(f"{rule.text}: a rule for known flows is understood where it accepts, and asks for nothing but interfaces")
        if name in ("jump", "goto"):
            if rule.verdict[1] not in chains:
                raise TableError(f"{rule.text}: there is no chain '{rule.verdict[1]}'")
            yield from _flat(chains, rule.verdict[1], accepts, what, tests, unless, depth + 1)
            if name == "goto":
                yield Rule(expression, accepts, False, tests, unless)
        elif name == "return" and depth:
            unless = (*unless, (tests, expression))
        else:
            yield Rule(expression, accepts if name == "return" else name == "accept", rule.stateful, tests, unless)


def interfaces_of(rules: Iterable[Rule], given: Sequence[str]) -> tuple[str, str]:
    """The two interfaces of a firewall: those given, those that its rules name, or ``inside`` and ``outside``. Raises TableError."""
    if given:
        if len(given) != 2 or given[0] == given[1]:
            raise TableError("a firewall has two interfaces: interfaces = [\"inside\", \"outside\"]")
        return given[0], given[1]
    tests = [t for rule in rules for t in (*rule.interfaces, *(t for tests, _ in rule.unless for t in tests))]
    named = list(dict.fromkeys(name for test in tests for name in test.names))
    if not named:
        return "inside", "outside"
    if len(named) != 2 or any("*" in name for name in named):
        raise TableError(f"its rules name {', '.join(named)}: say which two interfaces it has (interfaces = [\"{named[0]}\", …])")
    return named[0], named[1]


def filter_configuration(rules: Sequence[Rule], accepts: bool, *, interfaces: Sequence[str] = ()) -> str:
    """A box with two interfaces whose packets go from each to the other where the rules say so. ``accepts``: what no rule matches.

    With a rule for known flows, what comes back of a flow that was accepted passes: by TCP, UDP, and to a ping. ICMP's errors do not.
    Raises TableError.
    """
    names = interfaces_of(rules, interfaces)
    ways = [(names[0], names[1]), (names[1], names[0])]
    lists = [[made for rule in rules if (made := rule.on_way(*way)) is not None] for way in ways]
    default = f"{'allow' if accepts else 'deny'} all"
    ports = [interface_name(name) for name in names]
    if not any(rule.stateful for mine in lists for rule in mine):
        way = "FromDevice({0}) -> Strip(14) -> CheckIPHeader -> rules_{3} :: IPFilter({2}) -> Unstrip(14) -> ToDevice({1});"
        return "\n".join(way.format(ports[n], ports[1 - n], ", ".join([*map(_spoken, mine), default]), n) for n, mine in enumerate(lists))
    # Whose flow is known passes; the first packet of another one must be accepted, and makes it known.
    lines = ["known :: IPRewriter(pass 2, pass 3, keep 0 1, keep 1 0); pings :: ICMPPingRewriter(pass 2, pass 3, keep 0 1, keep 1 0);",
             "accepted_0, accepted_1 :: IPClassifier(tcp or udp, icmp type 8, -); to_0, to_1 :: Null;"]
    for n, mine in enumerate(lists):
        at = next((i for i, rule in enumerate(mine) if rule.stateful), None)
        before, after = (mine, []) if at is None else (mine[:at], [rule for rule in mine[at:] if not rule.stateful])
        start = f"FromDevice({ports[n]}) -> Strip(14) -> CheckIPHeader"
        if at is None:
            lines.append(f"{start} -> rules_{n} :: IPFilter({', '.join([*map(_spoken, before), default])}) -> accepted_{n};")
        else:
            # Rules that stand before that for known flows decide first.
            first = ", ".join([*(f"{'1' if rule.accepts else 'drop'} {rule.expression}" for rule in before), "0 all"])
            sorting = f" -> first_{n} :: IPFilter({first})" if before else ""
            lines.append(f"{start}{sorting} -> [{n}] known;")
            if any(rule.accepts for rule in before):
                lines.append(f"first_{n}[1] -> accepted_{n};")
            lines += [f"rules_{n} :: IPFilter({', '.join([*map(_spoken, after), default])}) -> accepted_{n};",
                      f"known[{n + 2}] -> echo_{n} :: IPClassifier(icmp type 0 or icmp type 8, -); echo_{n}[1] -> rules_{n};",
                      f"echo_{n} -> [{n}] pings; pings[{n + 2}] -> rules_{n};"]
        lines += [f"accepted_{n} -> [{n + 2}] known; accepted_{n}[1] -> [{n + 2}] pings; accepted_{n}[2] -> to_{n};",
                  f"known[{n}] -> to_{n}; pings[{n}] -> to_{n} -> Unstrip(14) -> ToDevice({ports[1 - n]});"]
        if at is None:
            lines.append(f"Idle -> [{n}] known; known[{n + 2}] -> Discard; Idle -> [{n}] pings; pings[{n + 2}] -> Discard;")
    return "\n".join(lines)


def _spoken(rule: Rule) -> str:
    return f"{'allow' if rule.accepts else 'deny'} {rule.expression}"
