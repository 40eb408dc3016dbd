"""A packet given to one of several functions by number, such as a HashSwitch before its outputs.

Where the functions are twins (the same code on the state of different elements, at equal distances), one of them
stands for all, with the place of the state computed from the number: no jump to mispredict, and the code of one.
With four Discards behind a HashSwitch over 1,000 flows that took 9.9 ns a packet down to half.
"""

from __future__ import annotations

import re

__all__ = ["Fanouts"]

_STATE_OFFSET = re.compile(r"(?<=ptr %m, i64 )\d+")
_FIELD_TAG = re.compile(r"!tbaa !(?:9|\d\d+)\b")
_DEBUG = re.compile(r", !dbg !\{N\d+\}")
#: what a twin's body may call; another element's code would have to be a twin itself
_CALLS = re.compile(r"call [^\n(]*@(?!pk_|llvm\.)\w+")


class Fanouts:
    """The functions ``@to<n>(ptr %m, ptr %p, i32 index)`` of one module; what has no target is killed."""

    def __init__(self) -> None:
        self._names: dict[tuple[str | None, ...], str] = {}

    def name(self, targets: list[str | None]) -> str:
        """The function that gives its packet to ``targets[index]``."""
        return self._names.setdefault(tuple(targets), f"to{len(self._names)}")

    def texts(self, bodies: dict[str, str]) -> list[str]:
        """Their definitions, given the text of each function that they may call."""
        return [_twins(name, [bodies.get(t or "", "") for t in targets]) or _choice(name, targets)
                for targets, name in self._names.items()]


def _choice(name: str, targets: tuple[str | None, ...]) -> str:
    cases = " ".join(f"i32 {i}, label %b{i}" for i, target in enumerate(targets) if target)
    lines = [f"  switch i32 %index, label %none [ {cases} ]"]
    for i, target in enumerate(targets):
        if target:
            lines += [f"b{i}:", f"  call void @{target}(ptr %m, ptr %p0)", "  ret void"]
    lines += ["none:", "  call void @pk_kill(ptr %m, ptr %p0)", "  ret void"]
    return _function(name, lines)


def _twins(name: str, bodies: list[str]) -> str | None:
    if len(bodies) < 2 or _CALLS.search(bodies[0]):
        return None
    bodies = [_DEBUG.sub("", body) for body in bodies]
    plain = [_FIELD_TAG.sub("!tbaa !6", body.partition("entry:\n")[2]) for body in bodies]
    shape = _STATE_OFFSET.sub("#", plain[0])
    if not shape or any(_STATE_OFFSET.sub("#", body) != shape for body in plain[1:]):
        return None
    computed: list[str] = []
    operands: list[str] = []
    for offsets in zip(*([int(n) for n in _STATE_OFFSET.findall(body)] for body in plain)):
        stride = offsets[1] - offsets[0]
        if any(offset != offsets[0] + i * stride for i, offset in enumerate(offsets)):
            return None
        if stride == 0:
            operands.append(str(offsets[0]))
            continue
        k = len(operands)
        computed += [f"  %t{k} = mul i64 %wide, {stride}", f"  %o{k} = add i64 %t{k}, {offsets[0]}"]
        operands.append(f"%o{k}")
    each = iter(operands)
    lines = [
        f"  %known = icmp ult i32 %index, {len(bodies)}", "  br i1 %known, label %one, label %none",
        "none:", "  call void @pk_kill(ptr %m, ptr %p0)", "  ret void",
        "one:", "  %wide = zext i32 %index to i64", *computed,
        _STATE_OFFSET.sub(lambda _: next(each), plain[0]).rstrip().removesuffix("}").rstrip(),
    ]
    allocas = [line for line in lines[-1].split("\n") if " = alloca " in line]
    lines[-1] = "\n".join(line for line in lines[-1].split("\n") if " = alloca " not in line)
    return _function(name, [*allocas, *lines])


def _function(name: str, lines: list[str]) -> str:
    head = f"define internal void @{name}(ptr noalias nonnull align 64 %m, ptr %p0, i32 %index) #0 {{\nentry:"
    return "\n".join([head, *lines, "}\n"])
