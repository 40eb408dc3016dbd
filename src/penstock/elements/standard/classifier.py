"""Classifier."""

import re

from penstock.elements import ConfigureError
from penstock.elements.classification import FALSE, TRUE, ClassifyingElement, Tree, every, negation, test
from penstock.lang.arguments import ArgumentError, Raw, parse_int

__all__ = ["Classifier"]

_CLAUSE = re.compile(r"(!?)(\d+)/([0-9A-Fa-f?]+)(?:%([0-9A-Fa-f]+))?$")


def _bytes(value: str, mask: str, clause: str) -> list[tuple[int, int]]:
    """(value, mask) of each byte; ``?`` stands for any half byte."""
    if len(value) % 2:
        raise ConfigureError(f"'{clause}': value has an odd number of hex digits")
    if mask and len(mask) != len(value):
        raise ConfigureError(f"'{clause}': value and mask have different lengths")
    pairs: list[tuple[int, int]] = []
    for i in range(0, len(value), 2):
        digits = value[i : i + 2]
        wild = int("".join("0" if c == "?" else "f" for c in digits), 16)
        limit = wild & int(mask[i : i + 2], 16) if mask else wild
        pairs.append((int(digits.replace("?", "0"), 16) & limit, limit))
    return pairs


def clause_tree(text: str) -> Tree:
    """The tree of one clause such as ``12/0800``, ``20/45%f0`` or ``!33/02``."""
    match = _CLAUSE.match(text)
    if not match:
        raise ConfigureError(f"bad pattern clause '{text}' (expected OFFSET/HEXVALUE[%HEXMASK])")
    offset = parse_int(match[2].lstrip("0") or "0", 0)
    if offset + len(match[3]) // 2 > 0xFFFF:
        raise ConfigureError(f"'{text}': offset out of range, bound 65535")
    pairs = _bytes(match[3], match[4] or "", text)
    parts: list[Tree] = []
    at = 0
    while at < len(pairs):
        width = next(w for w in (4, 2, 1) if at + w <= len(pairs))
        value = int.from_bytes(bytes(v for v, _ in pairs[at : at + width]), "big")
        mask = int.from_bytes(bytes(m for _, m in pairs[at : at + width]), "big")
        # A clause with an empty mask still asks that the bytes are there.
        parts.append(test("data", offset + at, width, value, mask=mask))
        at += width
    tree = every(*parts) if parts else TRUE
    return negation(tree) if match[1] else tree


class Classifier(ClassifyingElement):
    """Classify packets by their bytes.

    One pattern an output; a packet goes to the first that matches, and is dropped where none does. A pattern is
    clauses ``OFFSET/VALUE`` or ``OFFSET/VALUE%MASK`` in hex, all of which must match; ``?`` is any half byte, ``!``
    before a clause negates it, ``-`` matches every packet. Packets too short for a clause do not match it.

    Arguments:
        PATTERN, ...: one for each output.

    Handlers:
        program (read): the tests as they are made.

    Example:
        FromDump(f.pcap, STOP true) -> c :: Classifier(12/0806 20/0001, 12/0800, -);
        c[0] -> Discard; c[1] -> Discard; c[2] -> Print -> Discard;
    """

    def configure(self, *patterns: Raw) -> None:
        if len(patterns) != self.noutputs:
            raise ConfigureError(f"need {self.noutputs} arguments, one per output port")
        rules: list[tuple[Tree, int]] = []
        for number, pattern in enumerate(patterns):
            words = pattern.split()
            if not words:
                raise ConfigureError(f"pattern {number}: empty pattern (write - for all packets)")
            try:
                rules.append((TRUE if words == ["-"] else every(*map(clause_tree, words)), number))
            except ArgumentError as error:
                raise ConfigureError(f"pattern {number}: {error}") from None
        self.set_rules(rules or [(FALSE, 0)])
