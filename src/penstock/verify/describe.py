"""Packets and conditions in words."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.lang.arguments import unparse_ip
from penstock.verify.box import Step
from penstock.verify.intervals import Intervals
from penstock.verify.network import Way
from penstock.verify.packet import SymbolicPacket, fields_of
from penstock.verify.path import Fact, Path
from penstock.verify.substitution import variables
from penstock.verify.terms import Linear, Ones, Op, Slice, Term, Value, Var, flat

__all__ = [
    "changes_of", "deciding_rule", "describe_frame", "describe_numbers", "describe_set", "ends_of", "fact_text", "number_text",
    "steps_of", "told",
]

_MOST, _LONG, _MOST_ENDS = 6, 120, 4
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP"}


def describe_numbers(name: str, numbers: Intervals, bits: int) -> str:
    """A set of numbers: addresses as prefixes, others as ranges; as what it leaves out where that is shorter."""
    outside = numbers.complement(bits)
    if outside and (outside.count < numbers.count or (numbers.size > 1 << (bits - 1) and outside.count <= _MOST)):
        return "all but " + _listing(name, outside)
    return _listing(name, numbers)


def number_text(name: str, number: int) -> str:
    """A number as the field of that name is written."""
    if _is_address(name):
        return unparse_ip(number)
    if name.endswith(("ether.src", "ether.dst")):
        return ":".join(f"{number >> shift & 255:02x}" for shift in range(40, -8, -8))
    return str(number)


def _is_address(name: str) -> bool:
    return name.endswith((".src", ".dst")) and not name.endswith(("tcp.src", "tcp.dst", "udp.src", "udp.dst", "ether.src", "ether.dst"))


def _listing(name: str, numbers: Intervals) -> str:
    is_address = _is_address(name)
    texts: list[str] = []
    for low, high in numbers.first(_MOST + 1):
        ends = [number_text(name, low)] if low == high else [number_text(name, low), number_text(name, high)]
        texts += _prefixes(low, high) if is_address else ["-".join(ends)]
    shown = ", ".join(texts[:_MOST])
    return shown if len(texts) <= _MOST and numbers.count <= _MOST + 1 else f"{shown} and more ({numbers.count} ranges)"


def _prefixes(low: int, high: int) -> list[str]:
    found: list[str] = []
    first = low
    while low <= high:
        size = low & -low if low else 1 << 32
        while low + size - 1 > high:
            size >>= 1
        length = 33 - size.bit_length()
        found.append(unparse_ip(low) + (f"/{length}" if length < 32 else ""))
        low += size
        if len(found) > 3:
            return [f"{unparse_ip(first)}-{unparse_ip(high)}"]
    return found


def describe_set(path: Path) -> list[str]:
    """Which packets take a way: what each variable of the packet can be, and the other conditions."""
    lines: list[str] = []
    said: set[Term] = set()
    for term, numbers in path.domains.items():
        if isinstance(term, Var) and term.is_shared and numbers != Intervals(((term.low, term.high),)):
            lines.append(f"{term.name} is {describe_numbers(term.name, numbers, term.bits)}")
            said.add(term)
    lines += [fact_text(fact) for fact in path.facts if not _is_said(fact, said)]
    return sorted(set(lines))


def fact_text(fact: Fact) -> str:
    """A fact as a condition on fields: addresses and sets as people write them."""
    return _short(_condition(fact.condition, fact.truth))


def _condition(condition: Value, truth: bool) -> str:
    if isinstance(condition, int) or not isinstance(condition, Op):
        return str(condition) if truth else f"not ({condition})"
    name, *parts = condition.key
    if name == "not":
        return _condition(parts[0], not truth)
    if name in ("and", "or") and condition.bits == 1:
        texts = [_condition(part, True) for part in flat(name, condition)]
        return f" {name} ".join(texts) if truth else f"not: {f' {name} '.join(texts)}"
    if name not in ("eq", "lt", "le", "in"):
        return str(condition) if truth else f"not ({condition})"
    left, right = parts
    if isinstance(left, Ones) and name == "eq" and right == 0xFFFF:
        # A checksum is the sum's complement.
        over = sorted({v.name for v in variables(left)})
        return f"the checksum over {', '.join(over[:3])}{' and others' if len(over) > 3 else ''} is {'' if truth else 'not '}0"
    if name in ("lt", "le") and isinstance(left, int):
        inner = Intervals(((left + (name == "lt"), (1 << right.bits) - 1),))
        left = right
    elif name == "in":
        inner = right
    elif isinstance(right, int) and not isinstance(left, int):
        inner = Intervals((((0, right - (name == "lt")) if name != "eq" else (right, right)),))
    else:
        sign = {"eq": "is", "lt": "is below", "le": "is at most"}[name]
        return f"{left} {sign} {right}" if truth else f"not ({left} {sign} {right})"
    text = str(left)
    if isinstance(left, Slice) and left.key[1] + left.bits == left.key[0].bits and _is_address(str(left.key[0])):
        low = left.key[1]
        text, inner = str(left.key[0]), Intervals(tuple((a << low, (b + 1 << low) - 1) for a, b in inner.parts))
    return f"{text} is {'' if truth else 'not '}{_listing(text, inner)}"


def is_told_by_parts(fact: Fact) -> bool:
    """Whether its parts stand among the facts too: those of an ``and`` that holds, or an ``or`` that does not."""
    condition = fact.condition
    return isinstance(condition, Op) and condition.bits == 1 and condition.key[0] == ("and" if fact.truth else "or")


def _short(text: str) -> str:
    return text if len(text) < _LONG else text[:_LONG - 1] + "…"


def _is_said(fact: Fact, said: set[Term]) -> bool:
    """A comparison of one variable with numbers shows in what that variable can be."""
    condition = fact.condition
    if is_told_by_parts(fact):
        return True
    if isinstance(condition, Op) and condition.key[0] in ("eq", "lt", "le", "in"):
        left, right = condition.key[1], condition.key[2]
        if condition.key[0] != "in" and isinstance(left, int):
            left, right = right, left
        if condition.key[0] == "in" or isinstance(right, int):
            base = left.key[0] if isinstance(left, Slice) and left.key[1] + left.bits == left.key[0].bits else left
            if isinstance(base, Linear) and len(base.items) == 1 and abs(base.items[0][1]) == 1:
                base = base.items[0][0]
            return base in said or (isinstance(base, Var) and not base.is_shared)
    return not any(v.is_shared for v in variables(condition))


def deciding_rule(steps: Sequence[Step]) -> str:
    """The rule of a filter that decided at the last step; empty where none did."""
    facts = steps[-1].facts if steps else ()
    return facts[-1].place.text if facts and facts[-1].truth and facts[-1].place.text.startswith("rule ") else ""


def changes_of(sent: SymbolicPacket, got: SymbolicPacket, path: Path) -> list[str]:
    """Which header fields are other ones than they were, and what they are now. Checksums are left out."""
    if not got.is_frame:
        return ["no Ethernet header"]
    before, after = fields_of(sent), fields_of(got)
    if [name.partition(".")[0] for name in before] != [name.partition(".")[0] for name in after]:
        return [f"{name} = {_value_text(name, path.simpler(value))}" for name, value in after.items() if name in _TELLING]
    return [f"{name} = {_value_text(name, path.simpler(value))}" for name, value in after.items()
            if value is not before[name] and value != before[name] and not name.endswith("checksum")]


#: what tells most of a packet that is another one altogether
_TELLING = ("ip.protocol", "ip.src", "ip.dst", "tcp.dst", "udp.dst", "icmp.type", "arp.operation", "arp.target_ip")


def _value_text(name: str, value: Value) -> str:
    return number_text(name, value) if isinstance(value, int) else _short(str(value))


def describe_frame(frame: bytes) -> str:
    """A frame in one line, as tcpdump would."""
    if len(frame) < 34 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4:
        return f"{len(frame)} bytes, type {frame[12:14].hex() or 'none'}"
    ip = frame[14:]
    header = 4 * (ip[0] & 15)
    protocol = ip[9]
    src, dst = (unparse_ip(int.from_bytes(ip[at:at + 4], "big")) for at in (12, 16))
    body = ip[header:]
    extra = ""
    if protocol in (6, 17) and len(body) >= 4:
        src, dst = f"{src}:{int.from_bytes(body[:2], 'big')}", f"{dst}:{int.from_bytes(body[2:4], 'big')}"
    if protocol == 6 and len(body) >= 14:
        names = "".join(name for bit, name in enumerate("FSRPAUEC") if body[13] >> bit & 1)
        extra = f" [{names or 'none'}]"
    if protocol == 1 and len(body) >= 2:
        extra = f" type {body[0]} code {body[1]}"
    fragment = int.from_bytes(ip[6:8], "big") & 0x1FFF
    if fragment:
        extra += f" fragment at {8 * fragment}"
    return f"{src} > {dst} {_PROTOCOLS.get(protocol, f'protocol {protocol}')}{extra} ttl {ip[8]}, {len(frame)} bytes"


def ends_of(ways: Sequence[Way]) -> list[str]:
    """Where ways end, and the conditions under which they do: those that were asked for, and those that decided."""
    found: list[str] = []
    for way in sorted(ways, key=lambda w: len(w.path.facts)):
        where = "; ".join(describe_set(way.path)) or "every packet"
        line = f"{way.kind} at {way.place}" + (f" ({way.reason})" if way.reason else "") + f" where {where}"
        if line not in found:
            found.append(line)
    return found[:_MOST_ENDS] + ([f"and {len(found) - _MOST_ENDS} more"] if len(found) > _MOST_ENDS else [])


def told(facts: Sequence[Fact]) -> list[Fact]:
    """The facts that tell people something: about the packet, and each thing once."""
    found = {(f.condition, f.truth): f for f in facts
             if not is_told_by_parts(f) and any(v.is_shared for v in variables(f.condition))}
    return list(found.values())


def steps_of(way: Way) -> list[str]:
    """The way, element by element, and what was decided there."""
    lines: list[str] = []
    for box, step in way.steps:
        where = f"{box}/{step.element}" if box else step.element
        arguments = " ".join(step.arguments.split())
        shown = f"({arguments if len(arguments) < 60 else arguments[:59] + '…'})" if arguments else ""
        lines.append(f"{where} :: {step.class_name}{shown}  {step.at}")
        lines += [f"    {fact_text(fact).replace('@', f'{box}/')}  ({fact.place.source}: {fact.place.text})"
                  for fact in told(step.facts)]
    return lines
