"""The functions of Script: read handlers that compute."""

from __future__ import annotations

import math
import os
import random
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.elements.element import HandlerError
from penstock.elements.printing import timestamp_text
from penstock.lang.arguments import ArgumentError, parse_bool, parse_int
from penstock.lang.text import split_words, unquote

if TYPE_CHECKING:
    from penstock.elements.standard.script import Script

__all__ = ["FUNCTIONS", "ScriptError", "number_text", "truth"]


class ScriptError(HandlerError):
    """A Script instruction or function cannot be carried out."""


def truth(text: str) -> bool:
    try:
        return parse_bool(text)
    except ArgumentError:
        raise ScriptError(f"'{text}' is not a Boolean") from None


def _number(text: str) -> float | int:
    try:
        return parse_int(text)
    except ArgumentError:
        try:
            return float(text)
        except ValueError:
            raise ScriptError(f"'{text}' is not a number") from None


def number_text(value: float | int | bool) -> str:
    """Integers plainly, others with 12 significant digits, as Click prints doubles."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.12g}"


def _words(text: str) -> list[str]:
    return [unquote(w) for w in split_words(text)]


def _numbers(text: str, least: int = 1) -> list[float | int]:
    values = [_number(w) for w in _words(text)]
    if len(values) < least:
        raise ScriptError(f"expected at least {least} number{'s' if least > 1 else ''}")
    return values


_Function = Callable[["Script", str], object]


def _reduce(step: Callable[[float | int, float | int], float | int], start: float | int | None) -> _Function:
    def run(script: Script, text: str) -> str:
        values = _numbers(text, 0 if start is not None else 1)
        total = start if start is not None else values.pop(0)
        for value in values:
            total = step(total, value)
        return number_text(total)

    return run


def _divide(a: float | int, b: float | int) -> float | int:
    if b == 0:
        raise ScriptError("division by zero")
    return a / b


def _whole(operation: Callable[[int, int], int]) -> Callable[[float | int, float | int], float | int]:
    def run(a: float | int, b: float | int) -> float | int:
        if int(b) == 0:
            raise ScriptError("division by zero")
        return operation(int(a), int(b))

    return run


def _same(a: str, b: str) -> bool:
    try:
        return _number(a) == _number(b)
    except ScriptError:
        return a == b


def _compare(test: Callable[[float | int, float | int], bool], on_text: Callable[[str, str], bool]) -> _Function:
    def run(script: Script, text: str) -> str:
        words = _words(text)
        if len(words) != 2:
            raise ScriptError("expected two values")
        try:
            result = test(_number(words[0]), _number(words[1]))
        except ScriptError:
            result = on_text(words[0], words[1])
        return number_text(result)

    return run


def _if(script: Script, text: str) -> str:
    words = _words(text)
    if not 2 <= len(words) <= 3:
        raise ScriptError("expected a condition and one or two values")
    return words[1] if truth(words[0]) else (words[2] if len(words) > 2 else "")


def _in(script: Script, text: str) -> str:
    words = _words(text)
    return number_text(bool(words) and any(_same(words[0], w) for w in words[1:]))


def _sprintf(script: Script, text: str) -> str:
    words = _words(text)
    if not words:
        raise ScriptError("expected a format")
    form, values = words[0], words[1:]
    out: list[str] = []
    i = 0
    while i < len(form):
        if form[i] != "%":
            out.append(form[i])
            i += 1
            continue
        j = i + 1
        while j < len(form) and form[j] in "-+ #0123456789.":
            j += 1
        if j >= len(form):
            raise ScriptError("bad format")
        kind, spec = form[j], form[i:j]
        i = j + 1
        if kind == "%":
            out.append("%")
            continue
        if not values:
            raise ScriptError("too few arguments")
        value = values.pop(0)
        if len(spec) > 20:
            raise ScriptError("bad format")
        if kind in "dixXuoc":
            out.append((spec + ("d" if kind in "iu" else kind)) % int(_number(value)))
        elif kind in "eEfFgG":
            out.append((spec + kind) % float(_number(value)))
        elif kind == "s":
            out.append((spec + "s") % value)
        else:
            raise ScriptError("bad format")
    return "".join(out)


def _random(script: Script, text: str) -> str:
    values = [int(v) for v in _numbers(text, 0)]
    if not values:
        return str(random.getrandbits(31))
    low, high = (0, values[0] - 1) if len(values) == 1 else (values[0], values[1])
    if high < low:
        raise ScriptError("empty range")
    return str(random.randint(low, high))


def _swap(name: str) -> _Function:
    return lambda script, text: str(getattr(socket, name)(int(_numbers(text)[0])))


def _get(script: Script, text: str) -> str:
    value = script.lookup(text.strip().lstrip("$"))
    if value is None:
        raise ScriptError(f"undefined variable '{text.strip()}'")
    return value


def _set(script: Script, text: str) -> str:
    name, _, value = text.strip().partition(" ")
    script.variables[name.lstrip("$")] = value.strip()
    return value.strip()


def _shift(script: Script, text: str) -> str:
    name = text.strip().lstrip("$") or "args"
    words = split_words(script.lookup(name) or "")
    rest = " ".join(words[1:])
    if name == "args":
        script.arguments_text = rest
    else:
        script.variables[name] = rest
    return words[0] if words else ""


def _cat(script: Script, text: str) -> str:
    try:
        with open(unquote(text.strip()), encoding="latin-1") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise ScriptError(f"{text.strip()}: {error.strerror}") from None


def _access(mode: str) -> _Function:
    def run(script: Script, text: str) -> str:
        try:
            _, handler = script.router.handlers.find(text.strip(), script.name)
        except LookupError:
            return "false"
        return number_text(getattr(handler, mode) is not None)

    return run


def _kill(script: Script, text: str) -> str:
    import signal

    words = _words(text)
    number = int(words[0]) if words[0].isdigit() else int(getattr(signal, f"SIG{words[0].upper().removeprefix('SIG')}", 0))
    if not number:
        raise ScriptError(f"bad signal '{words[0]}'")
    for process in words[1:]:
        os.kill(parse_int(process), number)
    return ""


def _logic(decide: Callable[[list[bool]], bool]) -> _Function:
    return lambda script, text: number_text(decide([truth(w) for w in _words(text)]))


FUNCTIONS: dict[str, _Function] = {
    "add": _reduce(lambda a, b: a + b, 0),
    "sub": lambda s, t: number_text(-_numbers(t)[0]) if len(_numbers(t)) == 1 else _reduce(lambda a, b: a - b, None)(s, t),
    "mul": _reduce(lambda a, b: a * b, 1),
    "div": _reduce(_divide, None),
    "idiv": _reduce(_whole(lambda a, b: int(a / b)), None),
    "mod": _reduce(_whole(lambda a, b: a - b * int(a / b)), None),
    "rem": _reduce(_whole(lambda a, b: a - b * int(a / b)), None),
    "neg": lambda s, t: number_text(-_numbers(t)[0]),
    "abs": lambda s, t: number_text(abs(_numbers(t)[0])),
    "min": lambda s, t: number_text(min(_numbers(t))),
    "max": lambda s, t: number_text(max(_numbers(t))),
    "eq": _compare(lambda a, b: a == b, lambda a, b: a == b),
    "ne": _compare(lambda a, b: a != b, lambda a, b: a != b),
    "lt": _compare(lambda a, b: a < b, lambda a, b: a < b),
    "gt": _compare(lambda a, b: a > b, lambda a, b: a > b),
    "le": _compare(lambda a, b: a <= b, lambda a, b: a <= b),
    "ge": _compare(lambda a, b: a >= b, lambda a, b: a >= b),
    "and": _logic(all), "or": _logic(any),
    "nand": _logic(lambda v: not all(v)), "nor": _logic(lambda v: not any(v)),
    "not": lambda s, t: number_text(not truth(unquote(t.strip()))),
    "if": _if, "in": _in, "sprintf": _sprintf, "random": _random,
    "first": lambda s, t: (split_words(t) or [""])[0],
    "length": lambda s, t: str(len(t)),
    "unquote": lambda s, t: unquote(t),
    "now": lambda s, t: timestamp_text(s.router.clock.read()),
    "readable": _access("read"), "writable": _access("write"),
    "htons": _swap("htons"), "htonl": _swap("htonl"), "ntohs": _swap("ntohs"), "ntohl": _swap("ntohl"),
    "get": _get, "set": _set, "shift": _shift, "cat": _cat, "catq": _cat, "kill": _kill,
}
