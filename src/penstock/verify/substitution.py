"""Looking into terms: their variables, the number that they are, and what they become where something is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from penstock.verify.sums import ones_sum
from penstock.verify.terms import (
    Join,
    Linear,
    Ones,
    Ranges,
    Slice,
    Term,
    Value,
    Var,
    add,
    bit_and,
    bit_or,
    bit_xor,
    compare,
    divide,
    join,
    member,
    multiply,
    piece,
    remainder,
    shift_left,
    shift_right,
    truth,
    truth_not,
)

__all__ = ["evaluate", "substitute", "variables"]

_ONES = 0xFFFF


_OPERATIONS: dict[str, Callable[[Value, Value, int], Value]] = {
    "and": bit_and, "or": bit_or, "xor": bit_xor, "mul": multiply, "div": divide, "mod": remainder, "shl": shift_left, "shr": shift_right,
}


def substitute(value: Value, known: Mapping[Term, Value], ranges: Ranges) -> Value:
    """The value with terms replaced by what they are known to be equal to."""
    if isinstance(value, int) or not known:
        return value
    found = known.get(value)
    if found is not None:
        return substitute(found, known, ranges)
    if isinstance(value, Var):
        return value

    def inner(part: Value) -> Value:
        return substitute(part, known, ranges)

    if isinstance(value, Linear):
        result: Value = value.const
        changed = False
        for term, factor in value.items:
            new = inner(term)
            changed = changed or new is not term
            result = add(result, multiply(new, factor, value.bits), value.bits)
        return result if changed else value
    if isinstance(value, Join):
        pieces = [(inner(p), n) for p, n in value.key]
        return value if all(a is b for (a, _), (b, _) in zip(pieces, value.key)) else join(pieces)
    if isinstance(value, Slice):
        base = inner(value.key[0])
        return value if base is value.key[0] else piece(base, value.key[1], value.bits)
    if isinstance(value, Ones):
        parts = [(inner(term), factor) for term, factor in value.key[0]]
        return value if all(a is b for (a, _), (b, _) in zip(parts, value.key[0])) else ones_sum(parts, value.key[1], ranges)
    name, *rest = value.key
    if name == "in":
        new = inner(rest[0])
        return value if new is rest[0] else member(new, rest[1])
    args = [inner(a) for a in rest]
    if all(a is b for a, b in zip(args, rest)):
        return value
    bits = value.bits
    if name in ("eq", "lt", "le"):
        return compare(name, args[0], args[1], next(a.bits for a in rest if isinstance(a, Term)))
    if name == "not":
        return truth_not(args[0])
    if bits == 1 and name in ("and", "or"):
        return truth(name, args[0], args[1])
    return _OPERATIONS[name](args[0], args[1], bits)



def variables(value: Value) -> frozenset[Var]:
    """Every variable in a value; a term keeps the answer."""
    if isinstance(value, int):
        return frozenset()
    found = value.inside
    if found is None:
        found = value.inside = frozenset((value,)) if isinstance(value, Var) else frozenset(_within(value.key))
    return found


def _within(key: tuple[Any, ...]) -> Iterator[Var]:
    for item in key:
        if isinstance(item, Term):
            yield from variables(item)
        elif isinstance(item, tuple):
            yield from _within(item)


def evaluate(value: Value, known: Mapping[Var, int]) -> int:
    """The number that a value is where its variables are these. Raises KeyError for one that is not known."""
    if isinstance(value, int):
        return value
    if isinstance(value, Var):
        return known[value]
    if isinstance(value, Linear):
        return (sum(f * evaluate(t, known) for t, f in value.items) + value.const) & ((1 << value.bits) - 1)
    if isinstance(value, Join):
        result = 0
        for part, n in value.key:
            result = result << n | evaluate(part, known)
        return result
    if isinstance(value, Slice):
        return int(evaluate(value.key[0], known) >> value.key[1] & ((1 << value.bits) - 1))
    if isinstance(value, Ones):
        return int((sum(f * evaluate(t, known) for t, f in value.key[0]) + value.key[1]) % _ONES) or _ONES
    name, *rest = value.key
    if name == "in":
        number = evaluate(rest[0], known)
        return int(number in rest[1])
    args = [evaluate(a, known) for a in rest]
    mask = (1 << value.bits) - 1
    match name:
        case "eq" | "lt" | "le":
            return int({"eq": args[0] == args[1], "lt": args[0] < args[1], "le": args[0] <= args[1]}[name])
        case "not":
            return 1 - args[0]
        case "and":
            return args[0] & args[1]
        case "or":
            return args[0] | args[1]
        case "xor":
            return args[0] ^ args[1]
        case "mul":
            return args[0] * args[1] & mask
        case "div":
            return args[0] // args[1]
        case "mod":
            return args[0] % args[1]
        case "shl":
            return args[0] << args[1] % value.bits & mask
        case "shr":
            return args[0] >> args[1] % value.bits
    raise KeyError(name)
