"""Which thread runs what: parts with queues between them, or with nothing."""

from __future__ import annotations

import pytest

from penstock import Router
from penstock.runtime.spread import Spread


def spread_of(text: str, threads: int = 2) -> tuple[dict[str, tuple[int, int]], list[str]]:
    with Router.from_text(text, threads=threads) as router:
        found: Spread = router.spread
        assert found.queues == [i for i, e in enumerate(router.elements) if getattr(e, "is_shared", False)]
        return ({e.name: (found.pushed[i], found.pulled[i]) for i, e in enumerate(router.elements)},
                [d.message for d in router.diagnostics.entries])


def test_what_is_not_connected_is_spread_evenly() -> None:
    places, said = spread_of("a :: Idle -> b :: Counter -> c :: Discard; d :: Idle -> e :: Counter -> f :: Discard;")
    assert {places[n] for n in "abc"} == {(0, 0)} and {places[n] for n in "def"} == {(1, 1)} and not said
    places, _ = spread_of("a :: Idle -> b :: Counter -> c :: Discard; d :: Idle -> e :: Counter -> f :: Discard;", 1)
    assert set(places.values()) == {(0, 0)}
    places, _ = spread_of("; ".join(f"i{k} :: Idle -> d{k} :: Discard" for k in range(9)) + ";", 4)
    loads = [sum(p == (t, t) for p in places.values()) for t in range(4)]
    assert sorted(loads) == [4, 4, 4, 6]


def test_a_queue_divides_and_nothing_else_does() -> None:
    places, _ = spread_of("a :: Idle -> q :: Queue -> u :: Unqueue -> d :: Discard; q[1] -> over :: Discard;")
    assert places["a"] == places["over"] and places["u"] == places["d"] and places["a"] != places["u"]
    assert places["q"] == (places["a"][0], places["u"][0])
    for between in ("Counter", "FrontDropQueue -> Unqueue"):
        places, _ = spread_of(f"a :: Idle -> {between} -> d :: Discard;")
        assert places["a"] == places["d"], between
    places, _ = spread_of("a :: Idle -> q :: Queue -> s :: RoundRobinSched -> u :: Unqueue -> d :: Discard; b :: Idle -> p :: Queue -> [1] s;")
    assert places["s"] == places["u"] == places["d"]


def test_who_names_another_element_runs_beside_it() -> None:
    text = "i :: Idle -> f :: FlowCache -> d :: Discard; k :: Idle -> c :: CheckTCPFlow(f) -> e :: Discard;"
    places, _ = spread_of(text)
    assert len(set(places.values())) == 1
    inside = "elementclass X { i :: Idle -> f :: FlowCache -> d :: Discard; k :: Idle -> CheckTCPFlow(f) -> Discard }; x :: X; y :: X;"
    places, _ = spread_of(inside)
    assert {places[n] for n in places if n.startswith("x/")} != {places[n] for n in places if n.startswith("y/")}
    assert all(len({p for n, p in places.items() if n.startswith(k)}) == 1 for k in ("x/", "y/"))
    places, _ = spread_of("i :: Idle -> c :: Counter -> d :: Discard; Idle -> e :: Counter -> Discard; Script(read c.count, read e.count);")
    assert places["c"] != places["e"], "handlers are called while all threads stand still"


def test_a_schedule_binds_and_says_what_it_cannot() -> None:
    two = "a :: Idle -> b :: Counter -> c :: Discard; d :: Idle -> e :: Counter -> f :: Discard;"
    places, said = spread_of(f"StaticThreadSched(b 1, f 0); {two}")
    assert places["a"] == (1, 1) and places["d"] == (0, 0) and not said
    places, said = spread_of(f"StaticThreadSched(a 1, c 0); {two}")
    assert places["a"] == places["c"] == (1, 1)
    assert said == ["'c' runs in thread 1, as 'a' does: there is no queue between them"]
    places, _ = spread_of(f"StaticThreadSched(a 5, d -1); {two}")
    assert places["a"] == (1, 1), "there are two"
    places, _ = spread_of("elementclass X { i :: Idle -> d :: Discard }; x :: X; y :: X; StaticThreadSched(x 1, y 1);")
    assert all(p == (1, 1) for n, p in places.items() if "/" in n)


def test_one_thread_at_least_and_simulated_time_is_one() -> None:
    with pytest.raises(ValueError, match="one thread at least"):
        Router.from_text("Idle -> Discard;", threads=0)
    with Router.from_text("Idle -> Discard; Idle -> Discard;", threads=2, simulated_start_ns=1) as router:
        assert len(router.lanes) == 1
