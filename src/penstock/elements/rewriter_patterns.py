"""What the rewriters do with a new flow: input specifications and address patterns (Click's grammar)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.lang.arguments import ArgumentContext, ArgumentError, parse_int, parse_ip, unparse_ip
from penstock.lang.text import split_words, unquote

__all__ = ["InputSpec", "Pattern", "parse_input", "parse_pattern"]


@dataclass(frozen=True)
class Pattern:
    """New addresses and ports; None keeps the packet's own.

    The source is one of ``sources`` addresses from ``src`` and ``ports`` ports from ``sport``. ``order``: "same"
    (the packet's own port if it is in range and free, else at random), "#" (in sequence) or "?" (at random).
    """

    src: int | None = None
    sources: int = 1
    sport: int | None = None
    ports: int = 1
    dst: int | None = None
    dport: int | None = None
    order: str = "same"

    @property
    def choices(self) -> int:
        return self.sources * self.ports

    def __str__(self) -> str:
        src = "-" if self.src is None else unparse_ip(self.src)
        if self.src is not None and self.sources > 1:
            src += f"-{unparse_ip(self.src + self.sources - 1)}"
        sport = "-" if self.sport is None else str(self.sport)
        if self.sport is not None and self.ports > 1:
            sport += f"-{self.sport + self.ports - 1}" + (self.order if self.order != "same" else "")
        dst = "-" if self.dst is None else unparse_ip(self.dst)
        return f"{src} {sport} {dst} {'-' if self.dport is None else self.dport}"


@dataclass(frozen=True)
class InputSpec:
    """What an input does with packets of no known flow. ``kind``: drop, pass, keep, pattern, or map: one of ``choices``, as
    ``mapper`` chooses.
    """

    kind: str
    forward: int = 0
    reply: int = 0
    pattern: Pattern = Pattern()
    choices: tuple[InputSpec, ...] = ()
    mapper: Any = None


#: how an address, a range of them, or ``-`` is read: the first one (None: the packet's own), and how many
Addresses = Callable[[str, ArgumentContext], tuple[int | None, int]]


def ip4_addresses(text: str, context: ArgumentContext) -> tuple[int | None, int]:
    if text == "-":
        return None, 1
    low, dash, high = text.partition("-")
    first = parse_ip(low, context)
    if not dash:
        return first, 1
    last = parse_ip(high, context) if "." in high else (first & 0xFFFFFF00) | parse_int(high, 0, 255)
    if last < first or last - first >= 1 << 16:
        raise ArgumentError(f"bad address range '{text}'")
    return first, last - first + 1


def parse_pattern(words: list[str], context: ArgumentContext, *, ports: bool = True, addresses: Addresses = ip4_addresses) -> Pattern:
    """``SADDR SPORT DADDR DPORT``; without ``ports`` ``SADDR DADDR``."""
    if len(words) != (4 if ports else 2):
        expected = "SADDR SPORT DADDR DPORT" if ports else "SADDR DADDR"
        raise ArgumentError(f"bad pattern '{' '.join(words)}': expected '{expected}'")
    if not ports:
        words = [words[0], "-", words[1], "-"]
    src, sources = addresses(words[0], context)
    text, order = words[1], "same"
    if text[-1:] in ("#", "?"):
        text, order = text[:-1], text[-1]
    sport, count = None, 1
    if text != "-":
        low, dash, high = text.partition("-")
        sport = parse_int(low, 1, 0xFFFF)
        last = parse_int(high, 1, 0xFFFF) if dash else sport
        if last < sport:
            raise ArgumentError(f"bad port range '{words[1]}'")
        count = last - sport + 1
    dst, targets = addresses(words[2], context)
    if targets != 1:
        raise ArgumentError(f"'{words[2]}': one destination is expected")
    dport = None if words[3] == "-" else parse_int(words[3], 1, 0xFFFF)
    return Pattern(src, sources, sport, count, dst, dport, order)


def parse_input(text: str, context: ArgumentContext, outputs: int, *, ports: bool = True, destination: bool = True,
                addresses: Addresses = ip4_addresses) -> InputSpec:
    """One input specification of a rewriter with that many outputs."""

    def output(word: str) -> int:
        number = parse_int(word, 0)
        if number >= outputs:
            raise ArgumentError(f"'{text}': output {number} of {outputs} (outputs count from 0)")
        return number

    words = [unquote(w) for w in split_words(text)]
    kind = words[0].lower() if words else ""
    if kind in ("drop", "discard"):
        return InputSpec("drop")
    if kind in ("pass", "passthrough", "nochange"):
        if len(words) > 2:
            raise ArgumentError(f"'{text}': expected 'pass [OUTPUT]'")
        return InputSpec("pass", output(words[1]) if len(words) == 2 else 0)
    if kind == "keep":
        if len(words) != 3:
            raise ArgumentError(f"'{text}': expected 'keep FOUTPUT ROUTPUT'")
        return InputSpec("keep", output(words[1]), output(words[2]))
    if kind == "pattern":
        if len(words) < 4:
            raise ArgumentError(f"'{text}': expected 'pattern ... FOUTPUT ROUTPUT'")
        parts = words[1:-2] if destination else [*words[1:-2], "-"]
        return InputSpec("pattern", output(words[-2]), output(words[-1]), parse_pattern(parts, context, ports=ports, addresses=addresses))
    if len(words) == 3 and words[0] in context.patterns:
        return InputSpec("pattern", output(words[1]), output(words[2]), context.patterns[words[0]])
    if len(words) == 1 and words[0] in context.mappers:
        mapper = context.mappers[words[0]]
        choices = tuple(parse_input(t, context, outputs, ports=ports, destination=destination) for t in mapper.specs)
        return InputSpec("map", choices=choices, mapper=mapper)
    known = f", or one of the patterns {', '.join(context.patterns)}" if context.patterns else ""
    raise ArgumentError(f"bad input specification '{text}': expected drop, pass, keep or pattern{known}")
