"""The rules of iptables, as ``iptables-save`` prints them."""

from __future__ import annotations

import shlex

from penstock.verify.readers.errors import TableError
from penstock.verify.readers.routes import prefix_text
from penstock.verify.readers.rules import InterfaceTest, Rule

__all__ = ["parse_iptables"]


def parse_iptables(text: str) -> tuple[list[Rule], bool]:
    """The rules of FORWARD in the output of ``iptables-save``, and whether what none matches is accepted. Raises TableError.

    Understood are -s, -d, -p, -i, -o, --sport, --dport, their negations, and ``state``/``conntrack`` with ESTABLISHED; anything else is
    refused: a rule that is left out would make the answer wrong.
    """
    rules: list[Rule] = []
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


def _rule(words: list[str]) -> Rule:
    parts: list[str] = []
    interfaces: list[InterfaceTest] = []
    target, protocol, stateful, negated = "", "", False, False
    while words:
        word = words.pop(0)
        if word == "!":
            negated = True
            continue
        sign, was_negated, negated = "not " if negated else "", negated, False
        if word in ("-s", "--source", "-d", "--destination"):
            parts.append(f"{sign}{'src' if 's' in word[:3] else 'dst'} net {prefix_text(words.pop(0))}")
        elif word in ("-i", "--in-interface", "-o", "--out-interface"):
            name = words.pop(0)
            pattern = name[:-1] + "*" if name.endswith("+") else name
            interfaces.append(InterfaceTest("in" if "i" in word[:3] else "out", (pattern,), was_negated))
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
    return Rule(" && ".join(parts) or "all", target == "ACCEPT", stateful, tuple(interfaces))
