"""The rules of iptables, as ``iptables-save`` prints them."""

from __future__ import annotations

import shlex

from penstock.lang.arguments import ArgumentError
from penstock.verify.readers.errors import TableError
from penstock.verify.readers.routes import prefix_text
from penstock.verify.readers.rules import ChainRule, InterfaceTest, Rule, any_of, flatten, port_range

__all__ = ["parse_iptables"]

_MODULES = ("tcp", "udp", "icmp", "state", "conntrack", "comment", "multiport")
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
_IGNORED = ("LOG", "NFLOG")
_ICMP_TYPES = {
    "echo-reply": 0, "destination-unreachable": 3, "redirect": 5, "echo-request": 8, "time-exceeded": 11, "parameter-problem": 12,
}


def parse_iptables(text: str) -> tuple[list[Rule], bool]:
    """The rules of FORWARD in the output of ``iptables-save``, and whether what none matches is accepted. Raises TableError.

    Understood are -s, -d, -p, -i, -o, ports, types of ICMP, their negations, ``multiport``, chains of one's own, and
    ``state``/``conntrack`` with ESTABLISHED; anything else is refused: a rule that is left out would make the answer wrong.
    """
    chains: dict[str, list[ChainRule]] = {"FORWARD": []}
    accepts, table = True, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("*"):
            table = line[1:]
        elif table not in ("", "filter"):
            continue
        elif line.startswith(":"):
            name, policy = [*line[1:].split(), "", ""][:2]
            chains.setdefault(name, [])
            accepts = policy == "ACCEPT" if name == "FORWARD" else accepts
        elif line.startswith(("-A ", "--append ")):
            try:
                words = shlex.split(line)[1:]
                if words[0] not in ("INPUT", "OUTPUT"):
                    chains.setdefault(words[0], []).append(_rule(words[1:], f"line {number}: '{line}'"))
            except IndexError:
                raise TableError(f"line {number}: '{line}': it ends too early") from None
            except (ArgumentError, ValueError) as error:
                raise TableError(f"line {number}: '{line}': {error}") from None
    if not chains["FORWARD"] and ":FORWARD" not in text:
        raise TableError("there is no chain FORWARD in it")
    return flatten(chains, "FORWARD", accepts), accepts


def _rule(words: list[str], text: str) -> ChainRule:
    rule = ChainRule(text, [], [])
    negated = False
    while words:
        word = words.pop(0)
        if word == "!":
            negated = True
            continue
        part = _match(word, words, rule, negated=negated)
        if part:
            rule.parts.append(f"not {part}" if negated else part)
        negated = False
    return rule


def _match(word: str, words: list[str], rule: ChainRule, *, negated: bool) -> str:
    """What an option asks for, as an expression; empty where that is nothing, or is noted in the rule."""
    if word in ("-s", "--source", "-d", "--destination"):
        nets = [f"{'src' if 's' in word[:3] else 'dst'} net {prefix_text(net)}" for net in words.pop(0).split(",")]
        return any_of(nets)
    if word in ("-i", "--in-interface", "-o", "--out-interface"):
        name = words.pop(0)
        pattern = name[:-1] + "*" if name.endswith("+") else name
        rule.interfaces.append(InterfaceTest("in" if "i" in word[:3] else "out", (pattern,), negated))
        return ""
    if word in ("-p", "--protocol"):
        protocol = words.pop(0)
        if protocol not in ("tcp", "udp", "icmp", "all") and not (protocol.isdigit() and int(protocol) < 256):
            raise TableError(f"protocol {protocol} is not understood")
        return "" if protocol == "all" else protocol if not protocol.isdigit() else f"ip proto {protocol}"
    if word in ("--sport", "--source-port", "--sports", "--dport", "--destination-port", "--dports", "--ports"):
        texts = words.pop(0).split(",")
        sides = ("src", "dst") if word == "--ports" else ("src",) if word.startswith("--s") else ("dst",)
        return any_of([_ports(side, text) for side in sides for text in texts])
    if word == "--icmp-type":
        kind = words.pop(0)
        return "" if kind == "any" else f"icmp type {_ICMP_TYPES[kind] if kind in _ICMP_TYPES else int(kind)}"
    if word in ("--state", "--ctstate"):
        states = set(words.pop(0).split(","))
        if negated or not states <= {"ESTABLISHED", "RELATED", "NEW", "INVALID", "UNTRACKED"}:
            raise TableError("of states a list of them is understood")
        # Nothing is ever invalid; what is not of a known flow is new.
        rule.stateful = "ESTABLISHED" in states and "NEW" not in states
        rule.never = not states & {"ESTABLISHED", "NEW"}
        return ""
    if word == "-m":
        if (module := words.pop(0)) not in _MODULES:
            raise TableError(f"match {module} is not understood")
        return ""
    if word in ("--comment", "--reject-with", "--log-prefix", "--log-level", "--nflog-prefix", "--nflog-group"):
        words.pop(0)
        return ""
    if word in ("-j", "--jump", "-g", "--goto"):
        target = words.pop(0)
        if target in _VERDICTS:
            rule.verdict = (_VERDICTS[target],)
        elif target not in _IGNORED:
            rule.verdict = ("goto" if "g" in word[:3] else "jump", target)
        return ""
    raise TableError(f"'{word}' is not understood")


def _ports(side: str, text: str) -> str:
    low, colon, high = text.partition(":")
    return f"{side} port {int(low)}" if not colon else port_range(side, int(low or 0), int(high or 65535))
