"""Click's tools: what they write is a configuration again, and does the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.cli import click_tools
from penstock.elements import catalog
from penstock.lang.load import flatten
from penstock.lang.undead import without_dead
from penstock.runtime.router import Router

COMPOUND = "elementclass E { $n | input -> Strip($n) -> Counter -> output } InfiniteSource(LIMIT 3, STOP true) -> e :: E(2) -> Discard"


def run(tool: Callable[[list[str] | None], int], words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = tool(words)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("tool", [click_tools.flat, click_tools.align, click_tools.fastclassifier, click_tools.devirtualize, click_tools.undead])
def test_what_is_written_is_the_same_configuration(tool: Callable[[list[str] | None], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "a.click", tmp_path / "b.click"
    file.write_text(COMPOUND.replace("(2)", "($k)"))
    assert run(tool, [str(file), "-o", str(out), "k=2"], capsys)[:2] == (0, "")
    with Router.from_text(out.read_text()) as router:
        router.run()
        assert router.read("e/Counter@2.count") == "3"


def test_a_bad_configuration_is_told_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    for tool in (click_tools.flat, click_tools.check, click_tools.pretty, click_tools.undead):
        status, out, err = run(tool, ["-e", "Foo -> Discard"], capsys)
        assert (status, out) == (1, "") and "config:1:1: error[E020]: undeclared element 'Foo'" in err
    assert run(click_tools.check, ["-e", "Idle -> Strip(x) -> Discard"], capsys)[0] == 1
    assert run(click_tools.check, ["-e", "Idle -> Strip(1) -> Discard"], capsys) == (0, "", "")
    assert run(click_tools.check, ["-p", "-e", "Idle -> Discard"], capsys)[1].startswith("Idle@1 :: Idle;")
    assert run(click_tools.flat, ["--fancy"], capsys)[::2] == (1, "click-flatten: option '--fancy' is not known\nTry 'click-flatten --help' for more information.\n")
    assert run(click_tools.flat, ["/nonexistent/x"], capsys)[0] == 1


@pytest.mark.parametrize(("text", "left"), [
    ("InfiniteSource -> Null -> Discard", {"InfiniteSource", "Discard"}),
    ("InfiniteSource -> s :: StaticSwitch(1); s[0] -> Counter -> Discard; s[1] -> Discard", {"InfiniteSource", "Discard"}),
    ("Idle -> Counter -> Discard; InfiniteSource -> Print -> Discard", {"InfiniteSource", "Print", "Discard"}),
    ("InfiniteSource -> t :: Tee; t[0] -> Discard; t[1] -> Idle", {"InfiniteSource", "Tee", "Discard", "Idle"}),
    ("InfiniteSource -> Counter -> Idle", set()),
    ("AddressInfo(a 1.0.0.1); InfiniteSource -> Discard", {"AddressInfo", "InfiniteSource", "Discard"}),
])
def test_dead_elements_go_and_live_ones_keep_their_ports(text: str, left: set[str]) -> None:
    def generates(name: str) -> bool:
        found = catalog.find(name)
        return found is not None and (found.may_generate or found.ports.startswith("0"))

    flat = flatten(text, known_classes=catalog.is_known)
    result = without_dead(flat, generates)
    assert {u.class_name for u in result.elements} == left
    if left:
        Router.from_text(result.text()).close()


def test_routers_are_combined_and_taken_apart_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, both = tmp_path / "one.click", tmp_path / "two.click", tmp_path / "both.click"
    one.write_text("FromDevice(eth0) -> c :: Counter -> Queue -> ToDevice(eth1)")
    two.write_text("f :: FromDevice(eth0, PROMISC true) -> p :: Print(x) -> Queue -> ToDevice(eth1)")
    assert run(click_tools.combine, [f"A={one}", f"B={two}", "-l", "A.eth1=B.eth0", "-o", str(both)], capsys)[0] == 0
    text = both.read_text()
    assert 'link1 :: RouterLink(A/ToDevice@4 ToDevice "eth1", B/f FromDevice "eth0, PROMISC true");' in text
    assert run(click_tools.uncombine, ["-l", str(both)], capsys)[1] == "A\nB\n"
    for name, original in (("A", one), ("B", two)):
        status, out, _ = run(click_tools.uncombine, [str(both), name], capsys)
        flat, again = flatten(original.read_text(), known_classes=catalog.is_known), flatten(out, known_classes=catalog.is_known)
        assert status == 0
        assert {(u.name, u.class_name, u.arguments) for u in flat.elements} == {(u.name, u.class_name, u.arguments) for u in again.elements}
        assert len(flat.connections) == len(again.connections)
    assert run(click_tools.uncombine, [str(both), "C"], capsys)[2] == "click-uncombine: no component 'C' (there are: A, B)\n"
    assert "has no ToDevice(eth9)" in run(click_tools.combine, [f"A={one}", f"B={two}", "-l", "A.eth9=B.eth0"], capsys)[2]
    assert "should be" in run(click_tools.combine, [f"A={one}", "-l", "nonsense"], capsys)[2]


@pytest.mark.parametrize(("pattern", "replacement", "text", "expected"), [
    ("input -> Strip($n) -> CheckIPHeader -> output", "input -> Unstrip($n) -> output", "Idle -> Strip(14) -> CheckIPHeader -> Discard",
     {("Unstrip", "14")}),
    ("input -> Strip($n) -> Unstrip($n) -> output", "input -> output", "Idle -> Strip(14) -> Unstrip(14) -> Discard; Idle -> Strip(1) -> Unstrip(2) -> Discard",
     {("Strip", "1"), ("Unstrip", "2")}),
    ("input -> t :: Tee; t[0] -> output; t[1] -> Discard", "input -> output", "Idle -> t :: Tee; t[0] -> Counter -> Discard; t[1] -> Discard",
     {("Counter", ""), ("Discard", "")}),
    # What is connected elsewhere too is not the pattern.
    ("input -> Null -> Counter -> output", "input -> Counter -> output", "Idle -> n :: Null -> c :: Counter -> Discard; Idle -> c",
     {("Null", ""), ("Counter", ""), ("Discard", "")}),
    ("input -> Null -> output", "input -> output", "Idle -> Null -> Null -> Null -> Discard", {("Discard", "")}),
])
def test_patterns_are_replaced_where_they_match(pattern: str, replacement: str, text: str, expected: set[tuple[str, str]],
                                                capsys: pytest.CaptureFixture[str]) -> None:
    patterns = f"elementclass P {{ {pattern} }} elementclass P_Replacement {{ {replacement} }}"
    status, out, err = run(click_tools.xform, ["-V", "-P", patterns, "-e", text], capsys)
    assert status == 0, err
    flat = flatten(out, known_classes=catalog.is_known)
    assert {(u.class_name, u.arguments) for u in flat.elements if u.class_name not in ("Idle",)} - {("Discard", "")} == expected - {("Discard", "")}
    Router.from_text(out).close()


def test_a_replacement_that_holds_its_pattern_ends(capsys: pytest.CaptureFixture[str]) -> None:
    from penstock.lang.source import Diagnostics
    from penstock.lang.xform import apply_patterns, read_patterns

    patterns = read_patterns("elementclass P { input -> Null -> output } elementclass P_Replacement { input -> Null -> Null -> output }", "p", Diagnostics())
    _, count = apply_patterns(flatten("Idle -> Null -> Discard", known_classes=catalog.is_known), patterns, limit=20)
    assert count == 20


def test_the_page_shows_text_drawing_and_elements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(click_tools.pretty, ["-e", 'Idle -> p :: Print("<b>") -> Discard // <i>'], capsys)
    assert status == 0 and "<svg" in out and '<a href="#e-p">p</a>' in out and "&lt;b&gt;" in out and "<b>" not in out and "<i>" not in out


def test_buildtool_says_what_is_provided(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(click_tools.buildtool, ["provides", "Queue", "ip6"], capsys) == (0, "", "")
    assert run(click_tools.buildtool, ["provides", "Queue", "FromDPDKDevice"], capsys)[::2] == (1, "click-buildtool: not provided: FromDPDKDevice\n")
    assert run(click_tools.buildtool, [], capsys)[0] == 2
