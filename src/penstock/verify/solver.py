"""The last resort for an example: z3, where it is installed, with a budget."""

from __future__ import annotations

from typing import Any

import z3

from penstock.verify.path import Path
from penstock.verify.substitution import variables
from penstock.verify.terms import Join, Linear, Ones, Slice, Value, Var

__all__ = ["solve"]

_BUDGET_MS = 2000


def solve(path: Path, order: list[Var]) -> dict[Var, int] | None:
    """Numbers for which every fact holds; none where there are no such, None where the budget did not suffice."""
    solver = z3.Solver()
    solver.set("timeout", _BUDGET_MS)
    names: dict[Var, Any] = {}

    def variable(v: Var) -> Any:
        if v not in names:
            names[v] = z3.BitVec(f"v{len(names)}", v.bits)
            solver.add(z3.ULE(v.low, names[v]), z3.ULE(names[v], v.high))
        return names[v]

    try:
        for fact in path.facts:
            made = _translate(fact.condition, 1, variable)
            solver.add(made == int(fact.truth))
    except NotImplementedError:
        return None
    wanted = {v for fact in path.facts for v in variables(fact.condition)} | set(order)
    for v in wanted:
        variable(v)
    answer = solver.check()
    if answer != z3.sat:
        return {} if answer == z3.unsat else None
    model = solver.model()
    return {v: model.eval(names[v], model_completion=True).as_long() for v in wanted}


def _translate(value: Value, bits: int, variable: Any) -> Any:
    def inner(part: Value, n: int) -> Any:
        return _translate(part, n, variable)

    if isinstance(value, int):
        return z3.BitVecVal(value, bits)
    if isinstance(value, Var):
        return variable(value)
    if isinstance(value, Linear):
        total = z3.BitVecVal(value.const, bits)
        for term, factor in value.items:
            total = total + inner(term, bits) * z3.BitVecVal(factor, bits)
        return total
    if isinstance(value, Join):
        return z3.Concat(*[inner(p, n) for p, n in value.key])
    if isinstance(value, Slice):
        base, low = value.key
        return z3.Extract(low + value.bits - 1, low, inner(base, base.bits))
    if isinstance(value, Ones):
        total = z3.BitVecVal(value.key[1], 64)
        for term, factor in value.key[0]:
            total = total + z3.ZeroExt(64 - term.bits, inner(term, term.bits)) * factor
        rest = z3.URem(total, z3.BitVecVal(0xFFFF, 64))
        return z3.Extract(15, 0, z3.If(rest == 0, z3.BitVecVal(0xFFFF, 64), rest))
    name, *args = value.key
    n = next((a.bits for a in args if not isinstance(a, (int, tuple))), bits)
    if name == "in":
        number = inner(args[0], n)
        found = z3.Or(*[z3.And(z3.ULE(low, number), z3.ULE(number, high)) for low, high in args[1].parts])
        return z3.If(found, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1))
    parts = [inner(a, n) for a in args]
    if name in ("eq", "lt", "le"):
        made = {"eq": lambda a, b: a == b, "lt": z3.ULT, "le": z3.ULE}[name](*parts)
        return z3.If(made, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1))
    if name == "not":
        return ~parts[0]
    operations: dict[str, Any] = {
        "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b, "mul": lambda a, b: a * b,
        "div": z3.UDiv, "mod": z3.URem, "shl": lambda a, b: a << z3.URem(b, n), "shr": lambda a, b: z3.LShR(a, z3.URem(b, n)),
    }
    if name not in operations:
        raise NotImplementedError(name)
    return operations[name](*parts)
