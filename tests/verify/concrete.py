"""Random concrete packets of a symbolic one, and whether what the data plane did with them is among the verifier's answers."""

from __future__ import annotations

import random
from collections.abc import Sequence

from penstock.elements import catalog
from penstock.lang.load import flatten
from penstock.verify.box import Ending
from penstock.verify.example import bytes_of, holds, matches
from penstock.verify.network import Way
from penstock.verify.packet import SymbolicPacket
from penstock.verify.replay import Dataplane
from penstock.verify.substitution import variables
from penstock.verify.terms import Value, Var

__all__ = ["Answering", "concrete", "frame_sum", "unexplained"]


class Answering(Dataplane):
    """Interfaces ``0`` and ``1``; who is asked for by ARP answers."""

    def __init__(self, text: str):
        super().__init__(flatten(text, known_classes=catalog.is_known, class_names=catalog.class_names), ["0", "1"])

    def send(self, interface: str, frame: bytes) -> list[tuple[str, bytes]]:
        out = super().send(interface, frame)
        asked = [(i, f) for i, f in out if f[12:14] == b"\x08\x06" and f[20:22] == b"\0\1"]
        for where, f in asked:
            out += super().send(where, f[6:12] + b"\2" + f[37:42] + f[12:20] + b"\0\2\2" + f[37:42] + f[38:42] + f[22:32])
        return out


def frame_sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def concrete(packet: SymbolicPacket, chance: random.Random, interesting: dict[str, list[int]] | None = None) -> tuple[bytes, dict[Var, int]]:
    """A frame, and the numbers of the variables that it came from."""
    found: set[Var] = set()
    values: list[Value] = [*packet.cells.values(), *packet.meta.values()]
    for value in values:
        found |= variables(value)
    known: dict[Var, int] = {}
    for variable in sorted(found, key=lambda v: v.name):
        choices = [n for n in (interesting or {}).get(variable.name, []) if variable.low <= n <= variable.high]
        if choices and chance.random() < 0.7:
            known[variable] = chance.choice(choices)
        elif variable.name == "packet_type":
            # What rings give; a device may give others.
            known[variable] = 0
        elif variable.name.endswith("payload length"):
            known[variable] = min(chance.choice([0, 1, 2, 7, 40, 301]), variable.high)
        else:
            known[variable] = chance.randint(variable.low, variable.high)
    size = next((n for v, n in known.items() if v.name.endswith("payload length")), 0)
    payload = chance.randbytes(size)
    for variable in found:
        if variable.name.startswith("sum("):
            known[variable] = frame_sum(payload)
    for k, byte in enumerate(payload):
        known[Var(f"payload[{k}]", 8)] = byte
    return bytes_of(packet, known, payload), known


def _where(ending: Ending | Way) -> str:
    """Where packets come out; empty where they do not."""
    if isinstance(ending, Way):
        return ending.node if ending.kind == "delivered" else f"{ending.node}:{ending.interface}" if ending.kind == "left" else ""
    return ending.interface if ending.kind == "exit" else ""


def unexplained(endings: Sequence[Ending | Way], known: dict[Var, int], out: list[tuple[str, bytes]]) -> str:
    """Why the answer is wrong about this packet; empty where it is right."""
    possible = [e for e in endings if holds(e.path, known)]
    if not possible:
        return "no ending allows this packet"
    if any(e.kind == "undecided" for e in possible):
        return "undecided: " + next(e.reason for e in possible if e.kind == "undecided")
    for interface, frame in out:
        if not any(_where(e) == interface and matches(e.packet, known, frame) for e in possible):
            return f"it left through {interface} as {frame.hex()}, which no ending allows: {[(e.kind, _where(e)) for e in possible]}"
    if not out and all(map(_where, possible)):
        return f"nothing came out, but it should through {[_where(e) for e in possible]}"
    return ""


