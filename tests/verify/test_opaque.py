"""Elements of unknown classes are errors, or may do anything."""

from __future__ import annotations

import pytest

from penstock.lang.source import ConfigurationError
from penstock.verify.network import Network
from penstock.verify.results import check

STRANGE = ("FromDevice(a) -> Strip(14) -> CheckIPHeader -> s :: Strange(1, 2) -> f :: IPFilter(allow udp, deny all) -> Unstrip(14) -> ToDevice(b); s[1] -> Discard;"
           "FromDevice(b) -> ToDevice(a)")


def network(*, opaque: bool, boxes: int = 1) -> Network:
    made = Network(opaque=opaque)
    made.add_host("a")
    made.add_host("b")
    for i in range(boxes):
        made.add_box(f"x{i}", STRANGE, file="s.click")
    ends = ["a", *(f"x{i}:{side}" for i in range(boxes) for side in "ab"), "b"]
    for one, other in zip(ends[::2], ends[1::2]):
        made.link(one, other)
    return made


def test_an_unknown_class_is_an_error_with_its_place() -> None:
    with pytest.raises(ConfigurationError) as error:
        network(opaque=False)
    assert any("s.click:1" in line and "Strange" in line for line in error.value.diagnostics.pretty_lines())


@pytest.mark.parametrize("boxes", [1, 2])
def test_with_opaque_it_may_do_anything_and_the_answer_says_so(boxes: int) -> None:
    results = check(network(opaque=True, boxes=boxes), "reach udp from a to b\nnot allow all udp from a to b\nnot payload unchanged from a to b for udp\n"
                    "not deny tcp from a to b\nreach tcp from b to a\n")
    assert [a.verdict for a in results] == ["yes"] * 5
    assert "not known, and may do anything with packets: x0/s :: Strange" in " ".join(results[0].assumptions)


def test_what_follows_it_is_still_executed() -> None:
    """Whatever it makes, behind the filter there is nothing but UDP."""
    results = check(network(opaque=True), "reach any from a to b")
    way = results[0].witness.way
    assert "x0/s#1 bytes[23] == 17" in [str(fact) for fact in way.path.facts]
    assert results[0].witness.arrived[23] == 17
