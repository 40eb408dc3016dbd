"""Packet code is safe by construction: what could go wrong is rejected, or checked and counted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from penstock.datapath.source import DatapathError
from penstock.elements import catalog
from penstock.runtime.router import Router
from tests.harness import run_packets, use_port_elements
from tests.traffic import Sent

HERE = Path(__file__).parent
REJECTED = {
    "Lost": ("neither passed on, stored nor killed", "'p'"), "Twice": ("used after it was given away", "'p'"),
    "AfterKill": ("used after it was given away", "'p'"), "SometimesGone": ("given away on one path", "'p'"),
    "MaybeNone": ("may be None here", "test it first"), "Unbounded": ("no while statement", "bounded loop"),
    "Narrowing": ("holds u32, but this value is u64", "u32(...)"), "Floating": ("no operator div", "use // for division"),
    "Constant": ("cannot be assigned when packets flow", "declare it as state"),
    "InLoop": ("given away", "break or return"),
}


@pytest.fixture(autouse=True)
def elements() -> None:
    use_port_elements()
    if catalog.find("Wild") is None:
        catalog.load_file(str(HERE / "rejected.py"))


@pytest.mark.parametrize("name", REJECTED)
def test_unsafe_packet_code_is_rejected_with_line_and_hint(name: str) -> None:
    pull = name == "MaybeNone"
    before, after = ("Queue -> ", " -> Unqueue") if pull else ("", "")
    rest = "" if name != "Twice" else "; x [1] -> Discard"
    with Router.from_text(f"InfiniteSource -> {before}x :: {name}{after} -> Discard{rest}") as router:
        with pytest.raises(DatapathError) as caught:
            router.build()
    text = str(caught.value)
    assert f"{HERE / 'rejected.py'}:" in text
    for words in REJECTED[name]:
        assert words in text


def _wild(count: int, seed: int) -> list[Sent]:
    r = random.Random(seed)
    out = []
    for _ in range(count):
        where = r.choice([0, 1, 15, 16, 17, 40, 60, 64, 100, 2000, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1, r.randrange(70)])
        n = r.choice([0, 1, 16, 60, 64, 65535, r.randrange(70)])
        body = where.to_bytes(4, "big") + n.to_bytes(2, "big") + bytes([r.randrange(15)]) + r.randbytes(r.randrange(0, 80))
        out.append(Sent(body[: r.choice([len(body)] * 6 + [3, 6, 7])]))
    return out


def test_no_access_leaves_the_packet_or_the_array() -> None:
    packets = _wild(600, 5)
    text = "feed :: Feed -> w :: Wild -> s :: Sink"
    compiled = run_packets(text, packets, rounds=200)
    interpreted = run_packets(text, packets, engine="interpreter", rounds=200)
    assert compiled.packets == interpreted.packets
    assert compiled.state == interpreted.state
    faults = int.from_bytes(compiled.state["w.faults"], "little")
    assert faults > 100
    assert len(compiled.packets) + faults == len(packets)
    assert compiled.free == interpreted.free


def test_memory_around_the_pool_slots_stays_as_it_was() -> None:
    """Packets beside the one that misbehaves keep their bytes: they wait in a queue while it does its worst."""
    quiet = [Sent(bytes([i]) * 100) for i in range(20)]
    text = ("feed :: Feed -> c :: CheckLength(90); c[1] -> q :: Queue -> r :: RatedUnqueue(1, ACTIVE false) -> s :: Sink; "
            "c[0] -> Wild -> Discard")

    def check(router: Router) -> None:
        assert router.memory is not None
        ring = router.by_name["q"].ring
        assert (ring.tail - ring.head) == 20
        for i in range(20):
            slot = ring.slots[i]
            start = router.memory.load(slot, 4)
            assert bytes(router.memory.view[slot + start : slot + start + 100]) == bytes([i]) * 100

    run_packets(text, [quiet[i // 30] if i % 30 == 0 else p for i, p in enumerate(_wild(600, 9))], between=check, rounds=200)


def test_loop_of_pushes_ends_and_leaks_nothing() -> None:
    outcome = run_packets("feed :: Feed -> x :: Null -> t :: Tee; t[0] -> [0] x; t[1] -> s :: Sink", [Sent(b"abc")], rounds=5)
    assert 0 < len(outcome.packets) <= 300


def test_exhausted_pool_drops_and_counts() -> None:
    text = "feed :: Feed -> t :: Tee(3); t[0] -> q :: SimpleQueue(50) -> Idle; t[1] -> Discard; t[2] -> c :: Counter -> Discard"
    outcome = run_packets(text, [Sent(b"x" * 30)] * 200)
    assert outcome.handlers["c.count"] == "200"
    assert outcome.handlers["q.length"] == "50"
