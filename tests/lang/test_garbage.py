"""Any text gives a configuration or errors: no traceback, no hang."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.elements import catalog
from penstock.elements.filter_language import parse_pattern
from penstock.elements.rewriter_patterns import parse_input
from penstock.lang.arguments import ArgumentContext, ArgumentError
from penstock.lang.format import format_configuration
from penstock.lang.graph import to_dot, to_svg
from penstock.lang.load import flatten, unpack_archive
from penstock.lang.source import Diagnostics
from penstock.runtime.router import Router

PIECES = [
    "a", "b", "c", "Idle", "Discard", "Queue", "Strip(14)", "Null", "::", "->", "=>", "[0]", "[1]", "[]", "[2-]",
    "{", "}", "(", ")", "|", "||", "...", ";", ",", "$x", "${x}", "elementclass", "define", "require", "input",
    "output", "E", "\n", "//c\n", "/*", "*/", '"', "'", "\\<", "#line 3 \"f\"\n", "InfiniteSource(LIMIT 1)",
    "Tee", "@", "a/b"
]


def _flatten(text: str) -> None:
    diagnostics = Diagnostics()
    flat = flatten(text, known_classes=catalog.is_known, class_names=catalog.class_names, diagnostics=diagnostics)
    diagnostics.click_lines()
    diagnostics.sources["config"] = text
    diagnostics.pretty_lines()
    if not diagnostics.errors:
        to_dot(flat, catalog.port_rules)
        to_svg(flat, catalog.port_rules)
        text_again = flat.text()
        again = flatten(text_again, known_classes=catalog.is_known)
        assert again.text() == text_again


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join))
def test_any_tokens_give_a_configuration_or_errors(text: str) -> None:
    _flatten(text)


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_any_text_gives_a_configuration_or_errors(text: str) -> None:
    _flatten(text)


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_any_archive_gives_a_member_or_an_error(data: bytes) -> None:
    for content in (data, b"!<arch>\n" + data):
        try:
            unpack_archive(content)
        except ValueError as error:
            assert str(error)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join))
def test_formatting_keeps_the_meaning_and_is_stable(text: str) -> None:
    diagnostics = Diagnostics()
    once = format_configuration(text, diagnostics=diagnostics)
    if diagnostics.errors:
        return
    assert format_configuration(once) == once
    before, after = Diagnostics(), Diagnostics()
    a = flatten(text, known_classes=catalog.is_known, diagnostics=before)
    b = flatten(once, known_classes=catalog.is_known, diagnostics=after)
    assert [e.message for e in before.entries] == [e.message for e in after.entries]
    if not before.errors:
        assert a.text() == b.text()


WORDS = [
    "src", "dst", "host", "net", "port", "proto", "tcp", "udp", "icmp", "ip", "and", "or", "not", "(", ")", "&&",
    "||", "!", "?", ":", "=", "!=", "<", ">=", "&", "10.0.0.1", "10.0.0.0/8", "80", "www", "ttl", "frag", "opt",
    "syn", "type", "echo", "ip[6:2]", "tcp[13]", "0x1fff", "mask", "255.0.0.0", "true", "-", "[", "ip["
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_any_filter_pattern_gives_a_tree_or_an_argument_error(text: str) -> None:
    try:
        parse_pattern(text, ArgumentContext({}, {}))
    except ArgumentError as error:
        assert str(error)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["pattern", "keep", "drop", "pass", "-", "1.0.0.1", "1.0.0.1-1.0.0.9", "1024-65535", "5-3", "80#", "0", "1", "9", "x"]),
                max_size=8).map(" ".join))
def test_any_input_specification_gives_one_or_an_argument_error(text: str) -> None:
    try:
        parse_input(text, ArgumentContext({}, {}), 2)
    except ArgumentError as error:
        assert str(error)


CLASSES = [n for n in catalog.class_names() if n not in ("FromDevice", "ToDevice", "ControlSocket")]
VALUES = [
    "", "1", "-1", "x", "1.0.0.1", "1.0.0.1/8 0", "0800", "12/08??", "true", "10ms", "1Mbps", "0x", '"', "a b c",
    "LIMIT 3", "NOPE 3", "KEY", "1:2:3:4:5:6", "allow all", "pattern - - - - 0 0", "99999999999999999999", "1e5",
    "\\<00>", "$x", "PAINT", "ip src", "print 1"
]


@pytest.mark.parametrize("name", CLASSES)
def test_any_arguments_are_taken_or_refused_by_name(name: str) -> None:
    r = random.Random(name)
    for _ in range(25):
        arguments = ", ".join(r.choice(VALUES) for _ in range(r.randrange(5)))
        diagnostics = Diagnostics()
        flat = flatten(f"x :: {name}({arguments})", known_classes=catalog.is_known, diagnostics=diagnostics)
        if diagnostics.errors:
            continue
        try:
            Router(flat, diagnostics=diagnostics, check_only=True)
        except Exception as error:
            assert type(error).__name__ == "ConfigurationError", f"{name}({arguments}): {error!r}"
        assert all(d.message for d in diagnostics.entries)
