"""Test files: what passes, what fails and with which words, and that no file breaks the runner."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli.main import main
from penstock.testing import TestFileError, parse_test, run_test

GOOD = rb"""%info
Counts what passes.

%require -q
click-buildtool provides Counter

%script
click -e 'FromDump(IN, STOP true) -> c :: Counter -> Discard' -h c.count 2>ERR || true
click -e 'InfiniteSource(DATA "hello", LIMIT 2, STOP true) -> Print(x) -> Discard' 2>OUT
cat TEXT

%file TEXT
one
two 3.5

%expect OUT
x:    5 | {{[0-9a-f]+}} 6f
x:    5 | 68656c6c 6f

%expectx stdout
o.e
two [0-9.]+

%ignorex ERR
.*

%eot
never read
"""


def test_a_test_of_click_s_kind_passes() -> None:
    outcome = run_test(parse_test(GOOD, "good"))
    assert (outcome.state, outcome.problems) == ("passed", [])


@pytest.mark.parametrize(("text", "state", "words"), [
    (b"%script\necho a\n%expect stdout\nb\n", "failed", "t:4: stdout, line 1:\n  expected 'b'\n   but got 'a'"),
    (b"%script\necho a\n%expect stdout\na\nb\n", "failed", "t:5: stdout:\n  expected 'b'\n   but got the end of the file"),
    (b"%script\necho a; echo b\n%expect stdout\na\n", "failed", "expected the end of the file\n   but got 'b'"),
    (b"%script\nexit 3\n", "failed", "t: the script ended with status 3"),
    (b"%script\nexit 3\n%expect status\n3\n", "passed", ""),
    (b"%require\nfalse\n%script\nexit 3\n", "left out", "t: requirement is not met: false"),
    (b"%script\n:\n%expect FILE\nx\n", "failed", "file 'FILE' was not made"),
    (b"%script\necho '  A  b'\n%expect -diw stdout\na b\n", "passed", ""),
    (b"%script\necho b\n%expect -a stdout\na\n%expect -a stdout\nb\n", "passed", ""),
    (b"%script\necho a; echo time 5; echo b\n%expect stdout\na\nb\n%ignore stdout\ntime {{\\d}}\n", "passed", ""),
    (b"%script\ncat\n%stdin\nhello\n%expect stdout\nhello\n", "passed", ""),
    (b"%script\ncat F\n%file +6 F\n%file\n%expect stdout\n{{.}}file\n", "passed", ""),
    (b"%script\nsleep 30\n", "failed", "did not end within"),
])
def test_what_differs_is_told_with_its_place(text: bytes, state: str, words: str) -> None:
    outcome = run_test(parse_test(text, "t"), timeout_s=5 if b"sleep" not in text else 0.3)
    assert outcome.state == state
    assert words in "\n".join(outcome.problems)


@pytest.mark.parametrize(("text", "words"), [
    (b"hello", "begins with a section"), (b"%info\nx\n", "there is no %script"), (b"%script\n:\n%nonsense\n", "section '%nonsense' is not known"),
    (b"%script\n:\n%file ../x\n", "outside"), (b"%script\n:\n%include nothing\n", "No such file"),
])
def test_what_is_no_test_is_told(text: bytes, words: str) -> None:
    with pytest.raises(TestFileError, match=words):
        parse_test(text, "t")


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(
    [b"%script\n", b"%file +3 a\n", b"%expect -a\n", b"x\n", b"%", b"%%\n", b"%eot\n", b"%ignorex\n", b"(\n", b"%file\n"]), max_size=10).map(b"".join)))
def test_any_bytes_are_a_test_or_an_error(text: bytes) -> None:
    try:
        parse_test(text, "t")
    except TestFileError as error:
        assert str(error).startswith("t")


def test_the_command_runs_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.testie").write_bytes(b"%script\necho $WHAT\n%expect stdout\nhello\n")
    (tmp_path / "b.clicktest").write_bytes(b"%script\necho a\n%expect stdout\nb\n")
    assert main(["test", str(tmp_path), "WHAT=hello"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "1 of 2 passed\n" and "b.clicktest:4: stdout, line 1" in captured.out
    assert main(["test", "-q", str(tmp_path / "a.testie"), "WHAT=hello"]) == 0
    assert main(["test", str(tmp_path / "nothing.testie")]) == 1
    assert "No such file" in capsys.readouterr().out
