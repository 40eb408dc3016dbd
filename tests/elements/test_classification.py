"""Filters decide as their patterns say, as fused code and as a table alike."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.elements import catalog
from penstock.elements.classification import ClassifyingElement
from penstock.elements.filter_language import parse_pattern
from penstock.lang.arguments import ArgumentContext
from tests.harness import run_packets
from tests.traffic import Sent, icmp, mixture, tcp, udp

CONTEXT = ArgumentContext({}, {})


def u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def in_net(data: bytes, at: int, net: str) -> bool:
    return len(data) >= at + 4 and ipaddress.ip_address(data[at : at + 4]) in ipaddress.ip_network(net)


#: pattern -> the same in Python; ``t`` is the transport header of a first fragment, or nothing
MEANING = {
    "src host 10.0.0.1": lambda d, t: in_net(d, 12, "10.0.0.1/32"),
    "net 10.0.0.0/8": lambda d, t: in_net(d, 12, "10.0.0.0/8") or in_net(d, 16, "10.0.0.0/8"),
    "src or dst net 1.0.0.0/8": lambda d, t: in_net(d, 12, "1.0.0.0/8") or in_net(d, 16, "1.0.0.0/8"),
    "src and dst net 1.0.0.0/8": lambda d, t: in_net(d, 12, "1.0.0.0/8") and in_net(d, 16, "1.0.0.0/8"),
    "not dst net 224.0.0.0 mask 240.0.0.0": lambda d, t: not in_net(d, 16, "224.0.0.0/4"),
    "tcp": lambda d, t: len(d) > 9 and d[9] == 6,
    "udp && dst port 53": lambda d, t: d[9:10] == b"\x11" and len(t) >= 4 and u16(t, 2) == 53,
    "dst port 80 or 53": lambda d, t: d[9:10] in (b"\x06", b"\x11") and len(t) >= 4 and u16(t, 2) in (80, 53),
    "src port > 4000": lambda d, t: d[9:10] in (b"\x06", b"\x11") and len(t) >= 2 and u16(t, 0) > 4000,
    "tcp opt syn": lambda d, t: d[9:10] == b"\x06" and len(t) > 13 and bool(t[13] & 2),
    "tcp opt != ack": lambda d, t: d[9:10] == b"\x06" and t is not None and len(t) >= 0 and not (len(t) > 13 and t[13] & 16) and first(d),
    "icmp type echo": lambda d, t: d[9:10] == b"\x01" and t[:1] == b"\x08",
    "ip ttl < 3": lambda d, t: len(d) > 8 and d[8] < 3,
    "ip frag": lambda d, t: not (len(d) > 7 and u16(d, 6) & 0x3FFF == 0),
    "ip unfrag": lambda d, t: len(d) > 7 and u16(d, 6) & 0x3FFF == 0,
    "ip vers 4 and ip hl 5": lambda d, t: len(d) > 0 and d[0] == 0x45,
    "ip[6:2] & 0x1fff = 0": lambda d, t: len(d) > 7 and u16(d, 6) & 0x1FFF == 0,
    "ip tos 0 ? udp : icmp": lambda d, t: (len(d) > 9 and d[9] == 17) if d[1:2] == b"\0" else (len(d) > 9 and d[9] == 1),
    "tcp[13] & 0x02 != 0": lambda d, t: d[9:10] == b"\x06" and first(d) and not (len(t) > 13 and t[13] & 2 == 0),
    "(udp or tcp) and not src port 22": lambda d, t: d[9:10] in (b"\x06", b"\x11") and not (len(t) >= 2 and u16(t, 0) == 22),
    "ip proto 47 || proto 89": lambda d, t: d[9:10] in (b"\x2f", b"\x59"),
    "true": lambda d, t: True,
    "none": lambda d, t: False,
}


def first(data: bytes) -> bool:
    return len(data) > 7 and u16(data, 6) & 0x1FFF == 0


@pytest.fixture
def as_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClassifyingElement, "max_fused_tests", 0)


def _packets() -> list[Sent]:
    more = [udp(5000, 53), tcp(22, 80, flags=2), icmp(8), tcp(1, 2, flags=18), udp(1, 80, ttl=1)]
    return [Sent(d, None, 0, 20) for d in more] + mixture(150, 77, "ip")


def _expected(pattern: str, packets: list[Sent]) -> list[bytes]:
    out = []
    for p in packets:
        data = p.data if p.network is not None else b""
        transport = data[p.transport or 0 :] if first(data) else b""
        if MEANING[pattern](data, transport):
            out.append(p.data)
    return out


@pytest.mark.parametrize("pattern", MEANING)
def test_pattern_means_what_it_says(pattern: str) -> None:
    packets = _packets()
    outcome = run_packets(f"feed :: Feed -> IPFilter(allow {pattern}) -> s :: Sink", packets, rounds=100)
    assert outcome.out() == _expected(pattern, packets)


@pytest.mark.parametrize("pattern", [p for p in MEANING if p not in ("true", "none")])
def test_pattern_means_the_same_in_a_table(pattern: str, as_table: None) -> None:
    packets = _packets()
    outcome = run_packets(f"feed :: Feed -> IPFilter(allow {pattern}) -> s :: Sink", packets, rounds=100)
    assert outcome.out() == _expected(pattern, packets)


def test_many_rules_become_a_table_and_decide_alike() -> None:
    r = random.Random(5)
    rules = ", ".join(f"{r.choice(['allow', 'deny'])} src net {r.randrange(256)}.{r.randrange(256)}.0.0/16" for _ in range(700))
    packets = [Sent(udp(1, 2, src=f"{r.randrange(256)}.{r.randrange(256)}.1.1"), None, 0, 20) for _ in range(200)]
    text = f"feed :: Feed -> f :: IPFilter({rules}, allow all) -> s :: Sink"
    compiled = run_packets(text, packets, rounds=100)
    words = [rule.split() for rule in rules.split(", ")]
    kept = []
    for p in packets:
        verdict = next((w[0] for w in words if in_net(p.data, 12, w[3])), "allow")
        if verdict == "allow":
            kept.append(p.data)
    assert compiled.out() == kept


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.binary(min_size=1, max_size=5)), min_size=1, max_size=3),
       st.lists(st.binary(max_size=64), max_size=5))
def test_classifier_compares_bytes(clauses: list[tuple[bool, int, bytes]], packets: list[bytes]) -> None:
    pattern = " ".join(f"{'!' if negative else ''}{at}/{value.hex()}" for negative, at, value in clauses)
    element = catalog.find("Classifier")
    assert element is not None
    outcome = run_packets(f"feed :: Feed -> c :: Classifier({pattern}, -); c[0] -> s :: Sink; c[1] -> [1] s",
                          [Sent(p) for p in packets], engine="interpreter")
    for data, number in ((p[2], p[1]) for p in outcome.packets):
        holds = all((data[at : at + len(value)] == value) != negative for negative, at, value in clauses)
        assert number == (0 if holds else 1)
    assert len(outcome.packets) == len(packets)


@pytest.mark.parametrize("text, words", [
    ("port", "missing value"), ("src foo", "unknown word 'foo'"), ("tcp and", "missing pattern"), ("(tcp", "missing ')'"),
    ("tcp port 99999", "unknown port"), ("ip ttl x", "not a number"), ("host 1.2.3.4 < 5", "addresses take"), ("icmp port 5", "has no ports"),
])
def test_bad_patterns_say_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        parse_pattern(text, CONTEXT)


def _verdict(rules: list[tuple[str, str]], data: bytes) -> str:
    return next((action for action, net in rules if in_net(data, 12, net)), "allow")


@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
def test_sets_keep_the_order_of_rules(engine: str) -> None:
    """Runs of rules become sets; what stands between and before them still decides first."""
    r = random.Random(11)
    rules: list[tuple[str, str]] = []
    for width in (32, 16, 32):
        rules += [(r.choice(["allow", "deny", "1"]), f"10.{r.randrange(3)}.{r.randrange(4) if width == 32 else 0}.{r.randrange(6) if width == 32 else 0}/{width}")
                  for _ in range(60)]
        rules.append(("deny", f"10.1.{r.randrange(4)}.0/24"))
    clean = [(a, str(ipaddress.ip_network(n, strict=False))) for a, n in rules]
    text = ", ".join(f"{a} src net {n}" for a, n in clean)
    packets = [Sent(udp(1, 2, src=f"10.{r.randrange(3)}.{r.randrange(4)}.{r.randrange(7)}"), None, 0, 20) for _ in range(150)]
    outcome = run_packets(f"feed :: Feed -> f :: IPFilter({text}, allow all); f[0] -> s :: Sink; f[1] -> [1] s", packets, engine=engine, rounds=100)
    verdicts = [_verdict(clean, p.data) for p in packets]
    assert outcome.out() == [p.data for p, v in zip(packets, verdicts) if v == "allow"]
    assert outcome.out(port=1) == [p.data for p, v in zip(packets, verdicts) if v == "1"]


def test_sets_follow_a_live_reconfiguration() -> None:
    from penstock.runtime.router import Router
    from tests.harness import run_until_quiet, use_port_elements

    use_port_elements()
    first = ", ".join(f"deny src host 10.0.{i}.1" for i in range(60))
    second = ", ".join(f"deny src host 10.1.{i}.1" for i in range(60))
    with Router.from_text(f"feed :: Feed -> f :: IPFilter({first}, allow all) -> s :: Sink", simulated_start_ns=1, seed=9) as router:
        for rules, passed in ((first, "10.1.5.1"), (second, "10.0.5.1")):
            if rules is second:
                router.write("f.config", f"{second}, allow all")
            router.by_name["s"].received.clear()  # type: ignore[attr-defined]
            for src in ("10.0.5.1", "10.1.5.1"):
                router.by_name["feed"].send(Sent(udp(1, 2, src=src), None, 0, 20))  # type: ignore[attr-defined]
            router.by_name["feed"].task.reschedule()  # type: ignore[attr-defined]
            run_until_quiet(router)
            (packet,) = [p for _, p in router.by_name["s"].received]  # type: ignore[attr-defined]
            assert ".".join(map(str, packet.data[12:16])) == passed
