"""Answers as a table."""

from __future__ import annotations

import pytest

from penstock.verify import Network, PolicyError, check

FILTER = ("FromDevice(a) -> Strip(14) -> CheckIPHeader -> f :: IPFilter(allow udp, deny all) -> c :: Counter -> Unstrip(14) -> ToDevice(b); "
          "FromDevice(b) -> ToDevice(a)")


def network() -> Network:
    made = Network()
    made.add_box("x", FILTER)
    for host in ("a", "b"):
        made.add_host(host)
        made.link(host, f"x:{host}")
    return made


def test_each_assertion_is_a_row() -> None:
    results = check(network(), "reach udp from a to b\n\nreach tcp from a to b\n")
    assert not results.hold and len(results) == 2 and results[0].holds and not results[1].holds
    one, other = results.rows
    assert (one["assertion"], one["line"], one["verdict"], one["source"], one["end"], one["node"]) == ("reach udp from a to b", 1, "yes", "a", "delivered", "b")
    assert one["sent"][23] == 17 and one["arrived"] == one["sent"]
    assert (other["line"], other["verdict"], other["sent"], other["arrived"]) == (3, "no", None, None)
    assert check(network(), "deny tcp from a to b").hold


def test_pandas_takes_them() -> None:
    table = check(network(), "reach udp from a to b\nreach tcp from a to b").to_pandas()
    assert list(table["verdict"]) == ["yes", "no"] and table.loc[0, "node"] == "b"


@pytest.mark.parametrize(("line", "verdict"), [
    ("x/c sees udp from a", "yes"), ("x/c sees tcp from a", "no"), ("x/f sees tcp from a", "yes"), ("not x/f sees any from b", "yes"),
])
def test_what_an_element_sees(line: str, verdict: str) -> None:
    assert [a.verdict for a in check(network(), line)] == [verdict]


@pytest.mark.parametrize(("line", "problem"), [
    ("x/nothing sees udp from a", "no element 'nothing' in x"), ("y/f sees udp from a", "no box 'y'"), ("x sees udp from a", "expected 'BOX/ELEMENT sees"), ("x/f sees udp", "expected 'BOX/ELEMENT sees"),
])
def test_mistakes_are_told(line: str, problem: str) -> None:
    with pytest.raises(PolicyError, match=problem):
        check(network(), line)
