"""The rules of nftables, as ``nft list ruleset`` prints them and files for ``nft -f`` hold them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from penstock.lang.arguments import ArgumentError
from penstock.verify.readers.errors import TableError
from penstock.verify.readers.routes import prefix_text
from penstock.verify.readers.rules import ChainRule, InterfaceTest, Rule, any_of, flatten, port_range

__all__ = ["parse_nftables"]

_TOKEN = re.compile(r"""\s*?(?P<token>\n|#[^\n]*|"[^"\n]*"|[{};,]|[^\s{};,"#]+)""")
_ICMP_TYPES = {
    "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8, "time-exceeded": 11,
    "parameter-problem": 12, "timestamp-request": 13, "timestamp-reply": 14,
}
_VERDICTS = ("accept", "drop", "reject", "return", "jump", "goto")

#: a word, or the words of a set
Word: TypeAlias = "str | list[Word]"


@dataclass
class _Chain:
    name: str
    kind: str = ""
    hook: str = ""
    accepts: bool = True
    #: (line, words)
    rules: list[tuple[int, list[Word]]] = field(default_factory=list)


@dataclass
class _Table:
    chains: dict[str, _Chain] = field(default_factory=dict)
    sets: dict[str, list[Word]] = field(default_factory=dict)


def parse_nftables(text: str) -> tuple[list[Rule], bool]:
    """The rules of the chain at the hook ``forward``, and whether what none matches is accepted. Raises TableError with the line.

    Understood are addresses, protocols, ports, types of ICMP, interfaces, sets, verdict maps, jumps, and ``ct state``; nothing is
    ever in the state ``invalid``. Rules for IPv6 are left out, as are tables of other families and chains of other types than
    ``filter``. Anything else is refused.
    """
    tables = _Reader(text).tables()
    found = [(table, chain) for table in tables for chain in table.chains.values() if chain.hook == "forward" and chain.kind == "filter"]
    if len(found) != 1:
        raise TableError(f"there {'is no chain' if not found else 'are several chains'} of type filter at the hook forward in it")
    table, chain = found[0]
    chains = {name: list(_parsed(table, one)) for name, one in table.chains.items() if name == chain.name or not one.hook}
    return flatten(chains, chain.name, chain.accepts), chain.accepts


class _Reader:
    """Tables, chains and sets by their braces."""

    def __init__(self, text: str):
        self._tokens: list[tuple[int, str]] = []
        line = 1
        for match in _TOKEN.finditer(text):
            token = match["token"]
            if token == "\n":
                self._tokens.append((line, ";"))
                line += 1
            elif not token.startswith("#"):
                self._tokens.append((line, token))
        self._at = 0

    def tables(self) -> list[_Table]:
        found: list[_Table] = []
        for line, words, block in self._statements():
            if words == ["flush", "ruleset"] or words[:2] in (["flush", "table"], ["add", "table"], ["delete", "table"]):
                continue
            if not block or words[0] != "table" or len(words) not in (2, 3):
                raise TableError(f"line {line}: '{_shown(words)}': expected 'table FAMILY NAME {{'")
            table = self._table()
            if len(words) == 2 or words[1] in ("ip", "inet"):
                found.append(table)
        return found

    def _table(self) -> _Table:
        table = _Table()
        for line, words, block in self._statements():
            if not block:
                raise TableError(f"line {line}: '{_shown(words)}' is not understood in a table")
            name = str(words[1]) if len(words) > 1 else ""
            if words[0] == "chain":
                table.chains[name] = self._chain(name)
            else:
                for _, inner, _ in self._statements():
                    if words[0] == "set" and inner[:2] == ["elements", "="] and isinstance(inner[-1], list):
                        table.sets[name] = inner[-1]
        return table

    def _chain(self, name: str) -> _Chain:
        chain = _Chain(name)
        for line, words, block in self._statements(nested=False):
            assert not block
            if words[0] == "type":
                chain.kind = str(words[1]) if len(words) > 1 else ""
                chain.hook = str(words[words.index("hook") + 1]) if "hook" in words[:-1] else ""
            elif words[0] == "policy":
                chain.accepts = words[1:] == ["accept"]
            else:
                chain.rules.append((line, words))
        return chain

    def _statements(self, *, nested: bool = True) -> Iterator[tuple[int, list[Word], bool]]:
        """(line, words, whether a block follows), up to the brace that closes. A block must be read before the next statement."""
        words: list[Word] = []
        first = 0
        while self._at < len(self._tokens):
            line, token = self._tokens[self._at]
            self._at += 1
            if token in (";", "}"):
                if words:
                    yield first, words, False
                    words = []
                if token == "}":
                    return
                continue
            first = first if words else line
            if token == "{":
                if not words:
                    raise TableError(f"line {line}: '{{' without a name before it")
                if nested and words[-1] != "=":
                    yield first, words, True
                    words = []
                else:
                    words.append(self._set(line))
            else:
                words.append(token.strip('"') or token)
        if words:
            yield first, words, False

    def _set(self, line: int) -> list[Word]:
        found: list[Word] = []
        while self._at < len(self._tokens):
            _, token = self._tokens[self._at]
            self._at += 1
            if token == "}":
                return found
            if token == "{":
                found.append(self._set(line))
            elif token != ";":
                found.append(token.strip('"') or token)
        raise TableError(f"line {line}: a set that does not end")


def _shown(words: list[Word]) -> str:
    return " ".join(w if isinstance(w, str) else "{ " + _shown(w) + " }" for w in words)


#: what makes a condition of one value: an expression of IPFilter's, or a test of an interface
Maker = Callable[[str], "str | InterfaceTest | None"]


def _parsed(table: _Table, chain: _Chain) -> Iterator[ChainRule]:
    """The rules of a chain. Raises TableError with the line."""
    for line, words in chain.rules:
        text = f"line {line}: '{_shown(words)}'"
        try:
            yield from _rules(table, list(words), text)
        except IndexError:
            raise TableError(f"{text}: it ends too early") from None
        except (TableError, ArgumentError, ValueError, OSError) as error:
            raise TableError(f"{text}: {error}") from None


def _rules(table: _Table, words: list[Word], text: str) -> list[ChainRule]:
    """One rule; several where it has a verdict map."""
    made = ChainRule(text, [], [])
    mapped: list[ChainRule] = []
    while words:
        word = words.pop(0)
        if not isinstance(word, str):
            raise TableError("a set where none is expected")
        if word in _VERDICTS:
            made.verdict = (word, *([_text(words.pop(0))] if word in ("jump", "goto") else []))
            words.clear()
        elif word == "counter":
            while words[:1] in (["packets"], ["bytes"]):
                del words[:2]
        elif word == "comment":
            words.pop(0)
        elif word == "log":
            while words and words[0] not in _VERDICTS:
                words.pop(0)
        elif word == "ct" and words[:1] == ["state"]:
            words.pop(0)
            mapped += _states(words, made)
        else:
            maker = _maker(word, words, made)
            if maker is None:
                made.never = True
                return [made]
            mapped += _values(table, words, maker, made)
    return mapped or [made]


def _states(words: list[Word], made: ChainRule) -> list[ChainRule]:
    """``ct state``: of known flows, or of none. What is tested otherwise stays as it is."""
    if words[:1] == ["vmap"]:
        found = []
        for key, verdict in _entries(words):
            if key in ("established", "new"):
                found.append(ChainRule(made.text, list(made.parts), list(made.interfaces), verdict, key == "established"))
        return found
    if words[0] in ("!=", "=="):
        raise TableError("of states only a list of them is understood")
    states = _listed(words)
    if not set(states) <= {"established", "related", "new", "invalid", "untracked"}:
        raise TableError(f"state {', '.join(states)} is not understood")
    if "established" in states:
        made.stateful = "new" not in states
    elif "new" not in states:
        made.never = True
    return []


def _listed(words: list[Word]) -> list[str]:
    """Words with commas between them, or the words of a set."""
    first = words.pop(0)
    if isinstance(first, list):
        return [_text(w) for w in first if w != ","]
    found = [first]
    while words[:1] == [","]:
        words.pop(0)
        found.append(_text(words.pop(0)))
    return found


def _entries(words: list[Word]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(key, verdict) of a verdict map, which is taken off the words."""
    entries = words[1]
    del words[:2]
    if isinstance(entries, str):
        raise TableError("verdict maps are understood where they stand in the rule")
    item: list[str] = []
    for word in [*entries, ","]:
        if word != ",":
            item.append(_text(word))
            continue
        if not item:
            continue
        if len(item) < 3 or item[1] != ":" or item[2] not in _VERDICTS:
            raise TableError(f"'{' '.join(item)}' is no entry of a verdict map")
        yield item[0], tuple(item[2:])
        item = []


def _values(table: _Table, words: list[Word], maker: Maker, made: ChainRule) -> list[ChainRule]:
    """The value that a field is compared with: what it must be goes into ``made``; a verdict map makes rules of their own."""
    if words[0] == "vmap":
        found = []
        for key, verdict in _entries(words):
            other = ChainRule(made.text, list(made.parts), list(made.interfaces), verdict, made.stateful)
            _add(other, [maker(key)], negated=False)
            found.append(other)
        return found
    negated = words[0] == "!="
    if words[0] in ("!=", "=="):
        words.pop(0)
    value = words.pop(0)
    if isinstance(value, str) and value.startswith("@"):
        if value[1:] not in table.sets:
            raise TableError(f"there is no set '{value[1:]}' with elements")
        value = table.sets[value[1:]]
    texts = [_text(w) for w in value if w != ","] if isinstance(value, list) else [value]
    _add(made, [maker(text) for text in texts], negated=negated)
    return []


def _add(made: ChainRule, conditions: list[str | InterfaceTest | None], *, negated: bool) -> None:
    tests = [c for c in conditions if isinstance(c, InterfaceTest)]
    texts = [c for c in conditions if isinstance(c, str)]
    if tests:
        made.interfaces.append(InterfaceTest(tests[0].side, tuple(name for test in tests for name in test.names), negated))
    elif texts:
        whole = any_of(texts)
        if whole != "all":
            made.parts.append(f"not {whole}" if negated else whole)
        elif negated:
            made.never = True
    else:
        made.never = not negated


def _maker(word: str, words: list[Word], made: ChainRule) -> Maker | None:
    """How a field's value is written for IPFilter. None where the rule is for other packets than IPv4's."""
    if word == "meta":
        word = _text(words.pop(0))
        if word == "nfproto" or word == "protocol":
            names = {"ipv4": "all", "ip": "all"}
            return lambda value: names.get(value)
    if word in ("iifname", "iif", "oifname", "oif"):
        side = "in" if word.startswith("i") else "out"
        return lambda value: InterfaceTest(side, (value,))
    if word in ("ip6", "icmpv6"):
        return None
    if word == "l4proto":
        return _protocol
    if word == "ip":
        name = _text(words.pop(0))
        if name == "protocol":
            return _protocol
        if name in ("saddr", "daddr"):
            return lambda value: _addresses("src" if name == "saddr" else "dst", value)
        raise TableError(f"'ip {name}' is not understood")
    if word in ("tcp", "udp", "th"):
        name = _text(words.pop(0))
        if name not in ("sport", "dport"):
            raise TableError(f"'{word} {name}' is not understood")
        made.parts.append("(tcp || udp)" if word == "th" else word)
        return lambda value: _ports("src" if name == "sport" else "dst", value, word)
    if word == "icmp" and words[:1] == ["type"]:
        words.pop(0)
        made.parts.append("icmp")
        return lambda value: f"icmp type {_ICMP_TYPES[value] if value in _ICMP_TYPES else int(value)}"
    raise TableError(f"'{word}' is not understood")


def _protocol(value: str) -> str | None:
    if value in ("icmpv6", "ipv6-icmp"):
        return None
    if value in ("tcp", "udp", "icmp"):
        return value
    number = int(value) if value.isdigit() else socket.getprotobyname(value)
    if number > 255:
        raise TableError(f"protocol {value} is out of range")
    return f"ip proto {number}"


def _addresses(side: str, value: str) -> str:
    low, dash, high = value.partition("-")
    if not dash:
        return f"{side} net {prefix_text(value)}"
    nets = ipaddress.summarize_address_range(ipaddress.IPv4Address(low), ipaddress.IPv4Address(high))
    return any_of([f"{side} net {net}" for net in nets])


def _ports(side: str, value: str, protocol: str) -> str:
    numbers = [int(v) if v.isdigit() else socket.getservbyname(v, *([protocol] if protocol != "th" else []))
               for v in (value.split("-") if value[:1].isdigit() else [value])]
    if len(numbers) > 2 or max(numbers) > 0xFFFF or numbers[0] > numbers[-1]:
        raise TableError(f"port {value} is out of range")
    return f"{side} port {numbers[0]}" if len(numbers) == 1 else port_range(side, *numbers)


def _text(word: Word) -> str:
    if not isinstance(word, str):
        raise TableError("a set where none is expected")
    return word
