"""Concrete packets out of symbolic ones: numbers for the variables of a path, and the bytes that follow."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from penstock.verify.intervals import Intervals
from penstock.verify.packet import Rest, SymbolicPacket
from penstock.verify.path import Path
from penstock.verify.substitution import evaluate, variables
from penstock.verify.terms import Slice, Var

__all__ = ["Contradiction", "bytes_of", "find_example", "holds", "matches", "plain_example"]

_TRIES, _TRIES_FIRST = 400, 20
#: what an example shows where anything would do: addresses and ports that people recognise
_USUAL = {
    "ether.dst": 0x020000000002, "ether.src": 0x020000000001, "ip.src": 0xC0A80001, "ip.dst": 0xC6336401, "ip.ttl": 64,
    "ip.identification": 1, "ip.protocol": 253, "tcp.src": 40000, "tcp.dst": 80, "tcp.sequence": 1000, "tcp.window": 65535,
    "udp.src": 40000, "udp.dst": 53, "icmp.type": 8, "icmp.identifier": 1, "icmp.sequence": 1,
}


class Contradiction(Exception):
    """No packet can take this way: its conditions exclude each other."""


def holds(path: Path, known: Mapping[Var, int]) -> bool:
    """Whether every fact of a path is so with these numbers. Facts about other variables are left out."""
    for fact in path.facts:
        if all(v in known for v in variables(fact.condition)) and bool(evaluate(fact.condition, known)) != fact.truth:
            return False
    return True


def plain_example(path: Path, packets: Iterable[SymbolicPacket] = ()) -> dict[Var, int] | None:
    """What :func:`find_example` tries first: the numbers that people would take."""
    known = _guess(path, _variables_of(path, packets), None)
    return known if known is not None and holds(path, known) else None


def find_example(path: Path, packets: Iterable[SymbolicPacket] = ()) -> dict[Var, int] | None:
    """A number for every variable so that all facts hold; None where none was found. Raises Contradiction where there is none.

    First what the intervals allow, then chance, then z3 where it is installed.
    """
    order = _variables_of(path, packets)
    chance = random.Random(1)
    for turn in range(_TRIES):
        known = _guess(path, order, chance if turn else None)
        if known is not None and holds(path, known):
            return known
        if turn == _TRIES_FIRST and (solved := _solve(path, order)) is not None:
            return solved
    return None


def _variables_of(path: Path, packets: Iterable[SymbolicPacket]) -> list[Var]:
    wanted: set[Var] = set()
    for fact in path.facts:
        wanted |= variables(fact.condition)
    for packet in packets:
        wanted |= packet.variables
    return sorted(wanted, key=lambda v: v.name)


def _guess(path: Path, order: list[Var], chance: random.Random | None) -> dict[Var, int] | None:
    known: dict[Var, int] = {}
    later: list[Var] = []
    for variable in order:
        if variable in path.same and not isinstance(path.same[variable], int):
            later.append(variable)
        elif variable.name.startswith("sum("):
            known[variable] = 0
        else:
            known[variable] = _number(path, variable, chance)
    for _ in range(len(later) + 1):
        left = []
        for variable in later:
            value = path.same[variable]
            missing = [v for v in variables(value) if v not in known and v not in later]
            for v in missing:
                known[v] = _number(path, v, chance)
            try:
                known[variable] = evaluate(value, known)
            except KeyError:
                left.append(variable)
        later = left
    return None if later else known


def _number(path: Path, variable: Var, chance: random.Random | None) -> int:
    domain = path.of(variable)
    usual = _USUAL.get(variable.name.rpartition("/")[2].split("#")[0])
    if usual is None and "." in variable.name:
        usual = _USUAL.get(".".join(variable.name.split(".")[-2:]))
    number = domain.low
    if usual is not None and usual in domain:
        number = usual
    if chance is not None and chance.random() < 0.5:
        number = _pick(domain, chance)
    for term, allowed in path.domains.items():
        if isinstance(term, Slice) and term.key[0] is variable:
            mask = (1 << term.bits) - 1
            if number >> term.key[1] & mask not in allowed:
                part = _pick(allowed, chance) if chance else allowed.low
                number = number & ~(mask << term.key[1]) | part << term.key[1]
    return number


def _pick(domain: Intervals, chance: random.Random) -> int:
    low, high = domain.parts[chance.randrange(len(domain.parts))]
    return chance.choice((low, high, chance.randint(low, high)))


def _solve(path: Path, order: list[Var]) -> dict[Var, int] | None:
    try:
        from penstock.verify.solver import solve
    except ImportError:
        return None
    found = solve(path, order)
    if found == {}:
        raise Contradiction
    return found


def _rest_byte(rest: Rest | None, at: int, known: Mapping[Var, int], payload: bytes | None) -> int:
    if rest is None or not rest.start <= at < rest.start + evaluate(rest.length, known):
        return 0
    offset = at - rest.start
    found: Mapping[Any, int] = known
    return found.get(rest.byte(at), payload[offset] if payload is not None and offset < len(payload) else 0)


def bytes_of(packet: SymbolicPacket, known: Mapping[Var, int], payload: bytes | None = None) -> bytes:
    """The frame with these numbers. ``payload`` is what stands where nobody looked; zeros if it is not given."""
    start, length = packet.meta["data"], evaluate(packet.meta["length"], known)
    assert isinstance(start, int)
    out = bytearray()
    for at in range(start, start + length):
        cell = packet.cells.get(at)
        if cell is None:
            out.append(_rest_byte(packet.rest, at, known, payload))
        else:
            out.append(evaluate(cell, known))
    return bytes(out)


def matches(packet: SymbolicPacket, known: Mapping[Var, int], frame: bytes) -> bool:
    """Whether a frame is one that this packet can be: what depends on chance, time or other flows may be anything."""
    if evaluate(packet.meta["length"], known) != len(frame):
        return False
    start = packet.meta["data"]
    assert isinstance(start, int)
    for at, byte in enumerate(frame, start):
        cell = packet.cells.get(at)
        if cell is None:
            if _rest_byte(packet.rest, at, known, None) != byte:
                return False
        elif all(v.kind == "packet" and v in known for v in variables(cell)) and evaluate(cell, known) != byte:
            return False
    return True
