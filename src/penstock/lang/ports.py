"""Port counts, push/pull resolution and flow codes: does every port fit the one it is connected to?"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.lang.configuration import Configuration
from penstock.lang.source import Diagnostics

__all__ = ["AGNOSTIC", "PULL", "PUSH", "PortRules", "ResolvedPorts", "flow_reaches", "resolve_ports"]

PUSH, PULL, AGNOSTIC = "h", "l", "a"
_WORDS = {PUSH: "push", PULL: "pull"}


@dataclass(frozen=True, slots=True)
class PortRules:
    """A class's three strings, in Click's grammar."""

    ports: str = "1/1"
    processing: str = "a/a"
    flow: str = "x/x"


@dataclass(slots=True)
class ResolvedPorts:
    """For each element: the processing of each input and output, and who is connected to them."""

    inputs: list[list[str]] = field(default_factory=list)
    outputs: list[list[str]] = field(default_factory=list)
    #: the peers of each port, as (element, port)
    input_peers: list[list[list[tuple[int, int]]]] = field(default_factory=list)
    output_peers: list[list[list[tuple[int, int]]]] = field(default_factory=list)


@functools.cache
def _bounds(code: str) -> tuple[int, int | None]:
    """``1``, ``1-2``, ``1-``, ``-`` as (least, most)."""
    low, dash, high = code.partition("-")
    if not dash:
        return int(low), int(low)
    return int(low or 0), int(high) if high else None


def _port_range(rules: PortRules, n_in: int, n_out: int) -> tuple[int, int | None, int, int | None]:
    in_code, _, out_code = rules.ports.partition("/")
    if not out_code:
        out_code = in_code
    in_low, in_high = _bounds(in_code)
    if out_code.startswith("="):
        wanted = max(in_low, n_in) + out_code.count("+")
        return in_low, in_high, wanted, wanted
    return in_low, in_high, *_bounds(out_code)


@functools.cache
def _processing(code: str, n_in: int, n_out: int) -> tuple[str, str]:
    left, _, right = code.partition("/")
    right = right or left
    left, right = left or AGNOSTIC, right or AGNOSTIC
    return (left + left[-1] * n_in)[:n_in], (right + right[-1] * n_out)[:n_out]


@functools.cache
def _flow_part(code: str, port: int) -> tuple[str, bool]:
    """The letters that stand for ``port`` in one half of a flow code, and whether they are negated."""
    parts: list[str] = []
    i = 0
    while i < len(code):
        if code[i] == "[":
            end = code.find("]", i)
            parts.append(code[i + 1 : end])
            i = end + 1
        else:
            parts.append(code[i])
            i += 1
    part = parts[min(port, len(parts) - 1)] if parts else ""
    return part.lstrip("^"), part.startswith("^")


def flow_reaches(flow: str, in_port: int, out_port: int) -> bool:
    """Whether a packet that enters at ``in_port`` may leave at ``out_port`` (Click's flow code)."""
    left, _, right = flow.partition("/")
    right = right or left
    a, negated_a = _flow_part(left, in_port)
    b, negated_b = _flow_part(right, out_port)
    if "#" in (a, b):
        return in_port == out_port
    if negated_a or negated_b:
        inverse, plain = (a, b) if negated_a else (b, a)
        return not (set(inverse) & set(plain)) if plain else True
    return bool(set(a) & set(b))


def resolve_ports(
    configuration: Configuration, rules_of: Callable[[str], PortRules], diagnostics: Diagnostics
) -> ResolvedPorts:
    """Check port numbers, push/pull agreement and completeness; every problem becomes a diagnostic."""
    elements = configuration.elements
    rules = [rules_of(e.class_name) for e in elements]
    n_in, n_out = [0] * len(elements), [0] * len(elements)
    for c in configuration.connections:
        n_out[c.source] = max(n_out[c.source], c.from_port + 1)
        n_in[c.target] = max(n_in[c.target], c.to_port + 1)
    for i in range(len(elements)):
        in_low, in_high, out_low, out_high = _port_range(rules[i], n_in[i], n_out[i])
        if in_high is not None and n_in[i] > in_high:
            _no_port(configuration, i, "input", in_high, n_in[i], diagnostics)
        if out_high is not None and n_out[i] > out_high:
            _no_port(configuration, i, "output", out_high, n_out[i], diagnostics)
        n_in[i] = max(in_low, n_in[i] if in_high is None else min(n_in[i], in_high))
        n_out[i] = max(out_low, n_out[i] if out_high is None else min(n_out[i], out_high))
    result = ResolvedPorts()
    for i in range(len(elements)):
        ins, outs = _processing(rules[i].processing, n_in[i], n_out[i])
        result.inputs.append(list(ins))
        result.outputs.append(list(outs))
        result.input_peers.append([[] for _ in ins])
        result.output_peers.append([[] for _ in outs])
    usable = [
        c for c in configuration.connections if c.from_port < n_out[c.source] and c.to_port < n_in[c.target]
    ]
    for c in usable:
        result.output_peers[c.source][c.from_port].append((c.target, c.to_port))
        result.input_peers[c.target][c.to_port].append((c.source, c.from_port))
    if diagnostics.errors:
        return result
    _propagate(configuration, rules, result, diagnostics)
    _check_complete(configuration, result, diagnostics)
    return result


def _no_port(
    configuration: Configuration, element: int, kind: str, have: int, used: int, diagnostics: Diagnostics
) -> None:
    e = configuration.elements[element]
    for port in range(have, used):
        for c in configuration.connections:
            if (kind == "input" and c.target == element and c.to_port == port) or (
                kind == "output" and c.source == element and c.from_port == port
            ):
                diagnostics.error(
                    f"'{e}' has no {kind} {port}", c.at, code="E034",
                    suggestion=f"{e.class_name} has {have} {kind}{'' if have == 1 else 's'}",
                )
                break


def _propagate(
    configuration: Configuration, rules: list[PortRules], ports: ResolvedPorts, diagnostics: Diagnostics
) -> None:
    """Click's personality propagation: along connections and, inside elements, along flow codes."""
    elements = configuration.elements
    inner: list[tuple[int, int, int]] = []
    for i in range(len(elements)):
        for a, in_code in enumerate(ports.inputs[i]):
            for b, out_code in enumerate(ports.outputs[i]):
                if in_code == out_code == AGNOSTIC and flow_reaches(rules[i].flow, a, b):
                    inner.append((i, a, b))
    changed, conflicts = True, set[object]()
    while changed:
        changed = False
        for i, a, b in inner:
            left, right = ports.inputs[i][a], ports.outputs[i][b]
            if left == right:
                continue
            if AGNOSTIC in (left, right):
                known = left if right == AGNOSTIC else right
                ports.inputs[i][a] = ports.outputs[i][b] = known
                changed = True
            elif (i, a, b) not in conflicts:
                conflicts.add((i, a, b))
                diagnostics.error(
                    f"agnostic '{elements[i]}' in mixed context: "
                    f"{_WORDS[left]} input {a}, {_WORDS[right]} output {b}",
                    elements[i].at, code="E041", suggestion="put a Queue or an Unqueue on one side of it",
                )
        for c in configuration.connections:
            left, right = ports.outputs[c.source][c.from_port], ports.inputs[c.target][c.to_port]
            if left == right:
                continue
            if AGNOSTIC in (left, right):
                known = left if right == AGNOSTIC else right
                ports.outputs[c.source][c.from_port] = ports.inputs[c.target][c.to_port] = known
                changed = True
            elif c not in conflicts:
                conflicts.add(c)
                # Click gives this message no landmark; scripts compare it.
                diagnostics.error(
                    f"'{elements[c.source]}' {_WORDS[left]} output {c.from_port} connected to "
                    f"'{elements[c.target]}' {_WORDS[right]} input {c.to_port}",
                    code="E042",
                    suggestion="a Queue turns push into pull, an Unqueue turns pull into push",
                )
    for codes in (*ports.inputs, *ports.outputs):
        for p, code in enumerate(codes):
            if code == AGNOSTIC:
                codes[p] = PUSH


def _check_complete(configuration: Configuration, ports: ResolvedPorts, diagnostics: Diagnostics) -> None:
    for i, e in enumerate(configuration.elements):
        for kind, codes, peers, single in (
            ("input", ports.inputs[i], ports.input_peers[i], PULL),
            ("output", ports.outputs[i], ports.output_peers[i], PUSH),
        ):
            for p, code in enumerate(codes):
                if not peers[p]:
                    diagnostics.error(
                        f"'{e}' {kind} {p} unused", e.at, code="E035",
                        suggestion=f"connect it, or use {'Idle' if kind == 'input' else 'Discard'} there",
                    )
                elif len(peers[p]) > 1 and code == single:
                    again = [
                        c for c in configuration.connections
                        if (kind == "output" and (c.source, c.from_port) == (i, p))
                        or (kind == "input" and (c.target, c.to_port) == (i, p))
                    ]
                    for c in again[1:]:
                        diagnostics.error(
                            f"illegal reuse of '{e}' {_WORDS[code]} {kind} {p}", c.at, code="E043",
                            suggestion="a Tee copies packets to several outputs" if kind == "output" else "",
                        )
