"""Filters of many rules give the answers that a walk through the rules would."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.elements.classification import Test as WordTest
from penstock.elements.classification import Tree
from penstock.elements.tuplespace import TupleSpace, conjunctions, tuple_space
from penstock.runtime.router import Router
from tests.harness import run_packets, use_port_elements
from tests.traffic import Sent, icmp, ipv4, tcp, udp


def holds(tree: Tree, data: bytes) -> bool:
    """What a tree says of an IPv4 packet."""
    if tree.test is not None:
        t = tree.test
        start = (data[0] & 15) * 4 if t.base == "transport" else 0
        word = data[start + t.offset : start + t.offset + t.width]
        return len(word) == t.width and t.low <= int.from_bytes(word) & t.mask <= t.high
    if tree.kind == "not":
        return not holds(tree.parts[0], data)
    if tree.kind in ("and", "or"):
        return (all if tree.kind == "and" else any)(holds(part, data) for part in tree.parts)
    return tree.kind == "true"


def rule(r: random.Random) -> str:
    parts = []
    for which in ("src", "dst"):
        if r.random() < 0.7:
            parts.append(f"{which} net 10.{r.randrange(3)}.{r.randrange(4)}.{r.randrange(256)}/{r.choice([24, 24, 32])}")
    kind = r.random()
    if kind < 0.3:
        parts.append(f"{r.choice(['tcp', 'udp'])} {r.choice(['src', 'dst'])} port {r.choice(['80', '53', '22', '5000'])}")
    elif kind < 0.4:
        parts.append(f"tcp port {r.choice(['80', '53'])}" if r.random() < 0.5 else "dst port > 1023")
    elif kind < 0.5:
        parts.append(r.choice(["icmp type echo", "ip ttl < 5", "ip tos 16", "tcp opt syn"]))
    return " && ".join(parts) or "ip proto 77"


def packet(r: random.Random) -> bytes:
    ends = {"src": f"10.{r.randrange(3)}.{r.randrange(4)}.{r.randrange(256)}", "dst": f"10.{r.randrange(3)}.{r.randrange(4)}.{r.randrange(256)}"}
    ports = [r.choice([80, 53, 22, 5000, r.randrange(1, 65536)]) for _ in range(2)]
    kind = r.randrange(5)
    if kind == 0:
        return icmp(r.choice([0, 8]), **ends)
    if kind == 1:
        return ipv4(17, bytes(r.randrange(256) for _ in range(r.randrange(12))), fragment=r.choice([0, 0x2000, 5]), ttl=r.choice([2, 64]), **ends)
    if kind == 2:
        return tcp(*ports, flags=r.choice([2, 16]), **ends)
    return udp(*ports, **ends)


@pytest.mark.parametrize("seed", range(6))
def test_a_filter_of_many_rules_answers_as_a_walk_through_them(seed: int) -> None:
    r = random.Random(seed)
    rules = [f"{r.randrange(4)} {rule(r)}" for _ in range(300)]
    if seed % 2:
        # Rules that are no conjunctions break the run in two.
        rules.insert(150, "1 not src net 10.0.0.0/8 && not udp")
        rules.insert(151, "2 src net 10.1.1.0/24 || not dst net 10.0.0.0/8")
    rules.append("3 all")
    text = f"feed :: Feed -> CheckIPHeader -> f :: IPFilter({', '.join(rules)}); " + "; ".join(f"f[{i}] -> s{i} :: Sink" for i in range(4))
    use_port_elements()
    with Router.from_text(text) as router:
        element = router.by_name["f"]
        trees = element.rules_in_order()  # type: ignore[attr-defined]
        assert any(isinstance(step, TupleSpace) for step in element.steps)  # type: ignore[attr-defined]
    packets = [packet(r) for _ in range(400)]
    done = run_packets(text, [Sent(data) for data in packets], rounds=600)
    got = {i: done.out(f"s{i}") for i in range(4)}
    expected: dict[int, list[bytes]] = {i: [] for i in range(4)}
    for data in packets:
        expected[next(port for tree, port in trees if holds(tree, data))].append(data)
    assert got == expected


words = st.tuples(st.sampled_from(["network", "transport"]), st.integers(0, 3), st.sampled_from([1, 2]))
tests = st.builds(lambda w, mask, a, b: Tree("test", test=WordTest(*w, mask & ((1 << 8 * w[2]) - 1), *sorted((a & ((1 << 8 * w[2]) - 1), b & ((1 << 8 * w[2]) - 1))))),
                  words, st.sampled_from([0xFFFF, 0xFF, 0xF0, 0x0F, 0x1F, 0xFFF0]), st.integers(0, 65535), st.integers(0, 65535))
trees = st.recursive(tests, lambda inner: st.builds(lambda kind, parts: Tree(kind, tuple(parts)), st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
                     max_leaves=6)


@settings(max_examples=300, deadline=None)
@given(trees, st.lists(st.binary(min_size=24, max_size=30), min_size=1, max_size=8))
def test_conjunctions_say_what_the_tree_says(tree: Tree, contents: list[bytes]) -> None:
    alternatives = conjunctions(tree)
    if alternatives is None:
        return
    for content in contents:
        data = b"\x45" + content

        def word(place: tuple[str, int, int], data: bytes = data) -> int:
            start = (20 if place[0] == "transport" else 0) + place[1]
            return int.from_bytes(data[start : start + place[2]]) if len(data) >= start + place[2] else -1

        said = any(all(word(p) >= 0 and word(p) & mask == value for p, (mask, value) in c.items()) for c in alternatives)
        assert said == holds(tree, data)


def test_the_first_of_rules_with_the_same_values_counts() -> None:
    same = Tree("test", test=WordTest("network", 12, 4, 0xFFFFFFFF, 7, 7))
    space, contents, count = tuple_space([(same, 1), (same, 2)], 9)
    assert count == 2 and len(space.shapes) == 1
    assert contents[0][1] == {(7,): {"rule": 0, "port": 1}}
