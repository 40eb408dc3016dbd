"""A fused chain does to frames what the domains did one after the other."""

from __future__ import annotations

import pytest

from penstock.isolation import choose
from penstock.toolstack import DomainError, DomainSpec, Toolstack, VifSpec
from penstock.toolstack.fuse import fuse
from tests.traffic import ether, mixture, udp

STAGES = [
    # Annotations and header marks do not cross a ring: what stands behind must not see what was painted before it.
    "FromDevice(0) -> Strip(14) -> CheckIPHeader -> Paint(2) -> Unstrip(14) -> c :: Counter -> ToDevice(1); FromDevice(1) -> ToDevice(0)",
    "FromDevice(0) -> p :: PaintSwitch; p[0] -> q :: Queue(50) -> ToDevice(1); p[1] -> Discard; p[2] -> lost :: Counter -> Discard;"
    " FromDevice(1) -> back :: Counter -> ToDevice(0)",
    "elementclass E { input -> m :: EtherMirror -> output } FromDevice(0) -> E -> c :: Counter -> ToDevice(1); FromDevice(1) -> ToDevice(0)",
]


def through(texts: list[str], frames: list[bytes]) -> tuple[list[bytes], list[bytes], list[str]]:
    """What comes out at the right of frames from the left, at the left of the same from the right, and the counters."""
    with Toolstack() as toolstack:
        switch = toolstack.switches.make("valex", module="patch " + " ".join(
            f"{a}={b}" for a, b in zip(["left", *(f"{i}r" for i in range(len(texts)))], [*(f"{i}l" for i in range(len(texts))), "right"])))
        for i, text in enumerate(texts):
            toolstack.create(DomainSpec(f"d{i}", memory=16, vif=(VifSpec(bridge="valex", vifname=f"{i}l"), VifSpec(bridge="valex", vifname=f"{i}r"))))
            toolstack.start(f"d{i}", text)
        left, right = switch.open("left"), switch.open("right")
        outs: list[list[bytes]] = []
        for here, there in ((left, right), (right, left)):
            got = []
            for frame in frames:
                assert here.send(frame)
                received = there.receive(0.3)
                if received is not None:
                    got.append(received)
            outs.append(got)
        names = ["d1/c", "d2/lost", "d3/c"] if len(texts) == 1 else ["c", "lost", "c"]
        counts = [toolstack.find(f"d{0 if len(texts) == 1 else i}").read(f"{name}.count") for i, name in enumerate(names)]
        return outs[0], outs[1], counts


def test_fused_and_chained_domains_do_the_same() -> None:
    frames = [p.data for p in mixture(12, 5, "ether")] + [ether(udp(1, 2, b"x" * 40)), ether(udp(1, 2))]
    frames = [f for f in frames if 0 < len(f) < 1500]
    fused = fuse([(f"{k}.click", text) for k, text in enumerate(STAGES)])
    assert through(STAGES, frames) == through([fused], frames)
    assert choose()[0]


def test_sides_that_nobody_uses_are_closed() -> None:
    text = fuse([("a", "FromDevice(0) -> Discard; Idle -> ToDevice(1)"), ("b", "FromDevice(1) -> ToDevice(1)"), ("c", "FromDevice(0) -> ToDevice(1)")])
    assert text.count(":: FromDevice(") == 1 and text.count(":: ToDevice(1)") == 1
    assert text.count(":: Discard") == 2 and text.count(":: Idle") == 2


@pytest.mark.parametrize("text", ["FromDevice(0) -> Nonsense -> ToDevice(1)", "FromDevice(0 -> ToDevice(1)", "FromDevice(0) -> [3]Counter"])
def test_what_is_wrong_is_told_with_file_and_line(text: str) -> None:
    with pytest.raises(DomainError, match=r"b\.click:1: "):
        fuse([("a.click", STAGES[0]), ("b.click", text)])
