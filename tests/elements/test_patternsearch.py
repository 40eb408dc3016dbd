"""Patterns are found where Python's own re finds them, in packets and across the packets of flows."""

from __future__ import annotations

import re
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.elements.automaton import NO_PATTERN, AutomatonError, expressions, strings
from penstock.lang.source import ConfigurationError
from tests.harness import Outcome, run_packets
from tests.traffic import Sent, tcp, udp

LETTERS = st.text(alphabet="abAB", max_size=12).map(str.encode)
MEMORY = 1 << 20


@given(st.lists(st.text(alphabet="abA", min_size=1, max_size=5).map(str.encode), min_size=1, max_size=6), LETTERS, st.booleans())
def test_strings_are_found_where_they_are(patterns: list[bytes], data: bytes, nocase: bool) -> None:
    best, _ = strings(patterns, memory_bytes=MEMORY, ignore_case=nocase).search(data)

    def there(pattern: bytes) -> bool:
        return pattern.lower() in data.lower() if nocase else pattern in data

    assert best == next((i for i, pattern in enumerate(patterns) if there(pattern)), NO_PATTERN)


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "(?:a|b)", "(ab|)", "\\w", "\\x61", "[a-b]", "a|b"])
EXPRESSIONS = st.recursive(
    ATOMS, lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join), st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,1}", "{1,}"])).map(lambda t: f"({t[0]}){t[1]}"),
        st.tuples(inner, inner).map(lambda t: f"(?:{t[0]}|{t[1]})")), max_leaves=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(EXPRESSIONS, min_size=1, max_size=3), LETTERS, st.booleans(), st.booleans())
def test_expressions_are_found_where_python_finds_them(patterns: list[str], data: bytes, nocase: bool, anchored: bool) -> None:
    patterns = [f"^(?:{p})" if anchored else p for p in patterns]
    best, _ = expressions([p.encode() for p in patterns], memory_bytes=MEMORY, ignore_case=nocase).search(data)
    flags = re.IGNORECASE if nocase else 0
    assert best == next((i for i, p in enumerate(patterns) if re.search(p.encode(), data, flags)), NO_PATTERN)


@given(st.text(alphabet="ab()[]{}|*+?^$\\-,:09xdw.", max_size=14))
def test_any_expression_is_read_or_refused(text: str) -> None:
    try:
        made = expressions([text.encode()], memory_bytes=MEMORY)
    except AutomatonError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = re.compile(text.encode())
        except re.error:
            return
    for data in (b"", b"ab", b"aab-09", b"x{2}"):
        if "\\d" in text or not re.search(r"\\[^\w]|\[\^?\]|\[.*[-\[&~|]", text):
            assert (made.search(data)[0] == 0) == bool(theirs.search(data)), data


@pytest.mark.parametrize(("pattern", "problem"), [
    ("a**", "nothing to repeat"), ("(a", "is never closed"), ("[a", "is never closed"), ("a)", "is not understood"), ("a{3", "expected {m}"), ("a{4,2}", "the lower count comes first"),
    ("a^b", "at the very beginning only"), ("a$", "'$' is not understood"), ("(?=a)", "only (?: is understood"), ("\\q", "\\q is not understood"), ("\\x1", "two digits"), ("a\\", "ends with a backslash"),
    ("[b-a]", "to a higher one"), ("a{2000}", "more than 1000"), ("(" * 3000, "nested too deep"), ("(?:a|b)*a" + "(?:a|b)" * 22, "need more than"),
])
def test_mistakes_in_expressions_are_told(pattern: str, problem: str) -> None:
    with pytest.raises(AutomatonError, match=re.escape(problem)):
        expressions([pattern.encode()], memory_bytes=MEMORY)


def test_thousands_of_strings_are_one_automaton() -> None:
    words = [f"word-{i * 7919 % 100_003}".encode() for i in range(5000)]
    started = time.monotonic()
    made = strings(words, memory_bytes=16 << 20)
    assert time.monotonic() - started < 30 and made.memory_bytes < 16 << 20
    assert made.search(b"xx " + words[1234] + b" yy")[0] <= 1234 and made.search(b"word-")[0] == NO_PATTERN
    with pytest.raises(AutomatonError, match="need more than"):
        strings(words, memory_bytes=100_000)


# In packets

def found(arguments: str, patterns: int, packets: list[bytes]) -> tuple[list[int], Outcome]:
    """For each packet the output that it took."""
    outputs = "; ".join(f"s[{i}] -> StoreData(0, \\<0{i}>) -> out" for i in range(patterns + 1))
    done = run_packets(f"out :: Sink; feed :: Feed -> CheckIPHeader -> s :: PatternSearch({arguments}); {outputs}", [Sent(p) for p in packets])
    return [data[0] for data in done.out("out")], done


def test_payloads_are_searched_and_counted() -> None:
    packets = [udp(1, 2, b"an evil thing"), udp(1, 2, b"GOOD"), tcp(1, 2, b"..evil.."), udp(1, 2, b"bad, evil"), tcp(1, 2, b"")]
    got, done = found('"bad", "evil"', 2, packets)
    assert got == [1, 2, 1, 0, 2] and done.handlers["s.matches"] == "1 2 2"
    assert found('"good", NOCASE true', 1, packets)[1].handlers["s.matches"] == "1 4"
    assert found('"e[a-z]+l", REGEX true', 1, packets)[1].handlers["s.matches"] == "3 2"


def test_data_are_searched_whole_where_that_is_asked_for() -> None:
    assert found("\\<4500>, DATA true", 1, [udp(1, 2, b"x")])[0] == [0]
    assert found("\\<4500>", 1, [udp(1, 2, b"x")])[0] == [1]


def segments(*parts: tuple[int, bytes], flags: int = 0x10) -> list[bytes]:
    return [tcp(5, 80, content, sequence=sequence, flags=flags) for sequence, content in parts]


@pytest.mark.parametrize(("parts", "expected", "gaps"), [
    ([(100, b"xxev"), (104, b"il"), (106, b"more")], [1, 0, 0], 0), ([(100, b"ev"), (100, b"ev"), (102, b"il")], [1, 1, 0], 0), ([(100, b"xev"), (101, b"evil")], [1, 0], 0),
    ([(100, b"ev"), (103, b"il")], [1, 1], 1), ([(100, b"ev"), (90, b"0123456789"), (102, b"il")], [1, 1, 0], 0), ([(0xFFFFFFFF, b"ev"), (1, b"il")], [1, 0], 0),
])
def test_tcp_is_followed_in_the_order_of_its_numbers(parts: list[tuple[int, bytes]], expected: list[int], gaps: int) -> None:
    got, done = found('"evil", STREAM true', 1, segments(*parts))
    assert got == expected and done.handlers["s.gaps"] == str(gaps) and done.handlers["s.flows"] == "1"


def test_flows_do_not_mix_and_a_new_connection_begins_anew() -> None:
    one, other = segments((100, b"ev"), (102, b"il")), [tcp(6, 80, b"ev", sequence=100), tcp(6, 80, b"no", sequence=102)]
    assert found('"evil", STREAM true', 1, [one[0], other[0], other[1], one[1]])[0] == [1, 1, 1, 0]
    syn = tcp(5, 80, b"", sequence=700, flags=2)
    assert found('"evil", STREAM true', 1, [*one, syn, tcp(5, 80, b"fine", sequence=701)])[0] == [1, 0, 1, 1]
    full, done = found('"evil", STREAM true, FLOWS 1', 1, [one[0], tcp(6, 80, b"ev", sequence=1), tcp(6, 80, b"il", sequence=3), tcp(7, 80, b"evil", sequence=1)])
    assert full == [1, 1, 1, 0] and done.handlers["s.flows"] == "1"


@pytest.mark.parametrize(("arguments", "problem"), [
    ("", "at least one pattern"), ('"a", "b"', "2 patterns need 3 outputs"), ('"(", REGEX true', "pattern 0: "), ('"a", STREAM true, DATA true', "does not go with DATA"), ('"abcdefgh", MEMORY 100', "need more than 100 bytes"), ('""', "must not be empty"),
])
def test_mistakes_are_told(arguments: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        run_packets(f"feed :: Feed -> s :: PatternSearch({arguments}) -> Discard; s[1] -> Discard", [])
    assert problem in "\n".join(error.value.diagnostics.pretty_lines())
