"""Probes in one line, in the original's language: ``IP / TCP / mss(9000)``, ``ip{ecn=1} / udp{dst=53} / raw('hello')``.

The language is the part of Lua that builds packets: names, numbers, strings, tables, calls, and ``/``, ``+`` and ``..`` that
put layers together. A mistake is told with its position.
"""

from __future__ import annotations

import difflib
import re
import struct
from typing import Any

from penstock.tracebox.constructors import CONSTANTS, CONSTRUCTORS, READY
from penstock.tracebox.layers import Layer
from penstock.tracebox.packet import Packet

__all__ = ["COMMON_PROBES", "ProbeError", "parse_probe"]

#: probes that have a name of their own
COMMON_PROBES = {
    "syn": "IP / TCP", "options": "IP / TCP / mss(1460) / SACKP / TS / WSCALE", "mptcp": "IP / TCP / MSS / MPCAPABLE",
    "ecn": "ip{ecn=2} / tcp{flags=TCP.SYN+TCP.ECE+TCP.CWR}", "tfo": "IP / TCP / MSS / TFO", "udp": "IP / UDP / raw('penstock')",
    "icmp": "IP / ICMP / raw('penstock')", "sctp": "IP / SCTP", "http": "IP / tcp{dst=80} / MSS", "https": "IP / tcp{dst=443} / MSS",
    "dns": "IP / UDP / DNS.new{query=DNSQuery.new{name='example.org'}}",
}
_MAX_BYTES, _MAX_DEPTH = 1 << 16, 40
_TOKEN = re.compile(r"""\s*(?:(?P<number>0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)
    |(?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")|(?P<mark>\.\.|[-/+.(){}=,;|]))""", re.X)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class ProbeError(ValueError):
    """The probe is malformed; ``position`` counts characters from 0."""

    def __init__(self, message: str, text: str, position: int):
        self.message, self.text, self.position = message, text, position
        super().__init__(f"probe, character {position + 1}: {message}\n  {text}\n  {' ' * position}^")


class _Table:
    def __init__(self) -> None:
        self.items: list[Any] = []
        self.named: dict[str, Any] = {}


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        self.at = 0
        self.depth = 0
        place = 0
        if len(text) > _MAX_BYTES:
            raise ProbeError("longer than 64 KiB", text[:40], 0)
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if not found:
                place += len(text[place:]) - len(text[place:].lstrip())
                said = "this string does not end" if text[place] in "'\"" else f"'{text[place]}' cannot stand here"
                raise ProbeError(said, text, place)
            kind = found.lastgroup or ""
            self.tokens.append((kind, found.group(kind), found.start(kind)))
            place = found.end()
        self.tokens.append(("end", "", len(text)))

    def fail(self, message: str, position: int | None = None) -> ProbeError:
        return ProbeError(message, self.text, self.tokens[self.at][2] if position is None else position)

    def accept(self, *marks: str) -> str | None:
        kind, value, _ = self.tokens[self.at]
        if kind == "mark" and value in marks:
            self.at += 1
            return value
        return None

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            value = self.tokens[self.at][1]
            raise self.fail(f"'{mark}' is missing here" + (f" (before '{value}')" if value else ""))

    def expression(self) -> Any:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.fail("nested too deeply")
        left = self.term()
        while True:
            position = self.tokens[self.at][2]
            mark = self.accept("/", "+", "..", "|")
            if mark is None:
                break
            left = self.join(left, mark, self.term(), position)
        self.depth -= 1
        return left

    def join(self, left: Any, mark: str, right: Any, position: int) -> Any:
        if isinstance(left, int) and isinstance(right, int) and mark in "+|":
            return left + right if mark == "+" else left | right
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        if isinstance(left, Layer) and isinstance(right, (Layer, Packet)):
            return Packet([left]) / right
        if isinstance(left, Packet) and isinstance(right, (Layer, Packet)):
            return left / right
        raise self.fail(f"'{mark}' joins layers, and here is something else", position)

    def term(self) -> Any:
        kind, value, position = self.tokens[self.at]
        if kind == "mark" and value == "(":
            self.at += 1
            inner = self.expression()
            self.expect(")")
            return inner
        if kind == "mark" and value == "{":
            return self.table()
        self.at += 1
        if kind == "mark" and value == "-" and self.tokens[self.at][0] == "number":
            return -int(self.term())
        if kind == "number":
            return int(float(value)) if "." in value else int(value, 0)
        if kind == "string":
            return re.sub(r"\\(x[0-9a-fA-F]{2}|\d{1,3}|.)", _unescape, value[1:-1])
        if kind != "name":
            self.at -= 1
            raise self.fail("a layer is missing here" if kind == "end" else f"'{value}' cannot stand here")
        name = value
        if name in ("true", "false"):
            return int(name == "true")
        while self.tokens[self.at][:2] == ("mark", ".") and self.tokens[self.at + 1][0] == "name":
            name += "." + self.tokens[self.at + 1][1]
            self.at += 2
        return self.named(name, position)

    def named(self, name: str, position: int) -> Any:
        kind, mark, _ = self.tokens[self.at]
        if kind == "string" or (kind == "mark" and mark in "({"):
            function = CONSTRUCTORS.get(name)
            if function is None:
                raise self.unknown(name, position)
            return self.call(function, name, position)
        if name in READY:
            return READY[name]()
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in CONSTRUCTORS:
            # In Lua a bare name would be the function; what is meant is its layer.
            raise self.fail(f"'{name}' needs its arguments: {name}(…) or {name}{{…}}", position)
        raise self.unknown(name, position)

    def unknown(self, name: str, position: int) -> ProbeError:
        near = difflib.get_close_matches(name, [*CONSTRUCTORS, *READY, *CONSTANTS], 1)
        return self.fail(f"'{name}' is not known" + (f" (did you mean '{near[0]}'?)" if near else ""), position)

    def call(self, function: Any, name: str, position: int) -> Any:
        arguments: list[Any] = []
        named: dict[str, Any] = {}
        if self.tokens[self.at][0] == "string" or self.tokens[self.at][1] == "{":
            arguments.append(self.term())
        else:
            self.expect("(")
            while not self.accept(")"):
                arguments.append(self.expression())
                if not self.accept(","):
                    self.expect(")")
                    break
        if len(arguments) == 1 and isinstance(arguments[0], _Table):
            named = arguments[0].named
            arguments = [_plain(arguments[0])] if arguments[0].items else []
        try:
            return function(*map(_plain, arguments), **{k: _plain(v) for k, v in named.items()})
        except TypeError as error:
            told = str(error)
            told = told[told.index(")") + 1 :].strip() if ")" in told else told
            raise self.fail(f"{name} {told}".replace("keyword argument ", ""), position) from None
        except struct.error as error:
            raise self.fail(f"{name}: a number does not fit ({str(error).split(' format ')[-1]})", position) from None
        except (ValueError, OverflowError, AttributeError, UnicodeError) as error:
            raise self.fail(f"{name}: {error}", position) from None

    def table(self) -> _Table:
        self.expect("{")
        found = _Table()
        while not self.accept("}"):
            kind, value, _ = self.tokens[self.at]
            if kind == "name" and self.tokens[self.at + 1][:2] == ("mark", "="):
                self.at += 2
                found.named[value] = self.expression()
            else:
                found.items.append(self.expression())
            if not self.accept(",", ";"):
                self.expect("}")
                break
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, _Table):
        return [_plain(v) for v in value.items]
    return value


def _unescape(found: re.Match[str]) -> str:
    said = found.group(1)
    if said[0] == "x" and len(said) == 3:
        return chr(int(said[1:], 16))
    if said.isdigit():
        return chr(int(said) & 255)
    return _ESCAPES.get(said, said)


def parse_probe(text: str) -> Packet:
    """The packet that a probe's line describes. Raises :class:`ProbeError` with the place of a mistake.

    A name of :data:`COMMON_PROBES` stands for its line. Addresses, ports and numbers that the line does not give are
    chosen when it is sent.
    """
    parser = _Parser(COMMON_PROBES.get(text.strip(), text))
    found = parser.expression()
    if parser.tokens[parser.at][0] != "end":
        raise parser.fail(f"'{parser.tokens[parser.at][1]}' cannot stand here: layers are joined by '/'")
    if isinstance(found, Layer):
        found = Packet([found])
    if not isinstance(found, Packet):
        raise parser.fail("this is no packet: a probe is layers, joined by '/'", 0)
    try:
        found.build()
    except ValueError as error:
        raise parser.fail(str(error), 0) from None
    return Packet(found.layers)
