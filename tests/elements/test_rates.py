"""Rates are kept: by everything that limits or makes packets at one, whether packets are smaller or larger than a burst."""

from pathlib import Path

import pytest

from penstock import Router
from tests.harness import START_NS

SECONDS = 10


def _passed(text: str, seconds: float = SECONDS) -> int:
    with Router.from_text(f"{text}; Script(wait {seconds}s, stop)", simulated_start_ns=START_NS) as router:
        router.run()
        assert router.clock.time == START_NS + int(seconds * 1e9)
        return int(router.read("c.count"))


@pytest.mark.parametrize("limit", ["Shaper({}) -> Unqueue", "RatedUnqueue({})", "Shaper({}) -> Null -> Shaper(1000000) -> RatedUnqueue(1000000)"])
@pytest.mark.parametrize("rate", [0.5, 3, 100, 20_000])
def test_packets_a_second(limit: str, rate: float) -> None:
    text = f"i :: InfiniteSource(LENGTH 60) -> Queue -> {limit.format(rate)} -> c :: Counter -> Discard"
    assert abs(_passed(text) - SECONDS * rate) <= 1 + rate * 0.021


@pytest.mark.parametrize("limit", ["BandwidthShaper({}Bps) -> Unqueue", "BandwidthRatedUnqueue({}Bps)"])
@pytest.mark.parametrize(("rate", "length"), [(100, 1500), (10_000, 1000), (1_000_000, 60), (10_000_000, 1500)])
def test_bytes_a_second(limit: str, rate: int, length: int) -> None:
    text = f"i :: InfiniteSource(LENGTH {length}) -> Queue -> {limit.format(rate)} -> c :: Counter -> Discard"
    assert abs(_passed(text) * length - SECONDS * rate) <= length + rate * 0.021


@pytest.mark.parametrize("rate", [10, 1000])
@pytest.mark.parametrize("pulls", [False, True])
def test_sources_make_as_many(rate: int, pulls: bool) -> None:
    text = f"RatedSource(RATE {rate}) -> {'Unqueue ->' if pulls else ''} c :: Counter -> Discard"
    assert abs(_passed(text) - SECONDS * rate) <= 1 + rate * 0.021


@pytest.mark.parametrize(("splitter", "length", "expected"), [
    ("RatedSplitter(100)", 60, 100), ("BandwidthRatedSplitter(60000Bps)", 60, 1000), ("BandwidthRatedSplitter(30000Bps)", 1500, 20),
    ("BandwidthRatedSplitter(30000Bps, BURST_BYTES 3000)", 1500, 20),
])
def test_splitters_pass_what_the_rate_allows(splitter: str, length: int, expected: int) -> None:
    """Of five times as many packets."""
    text = f"RatedSource(LENGTH {length}, RATE {5 * expected}) -> s :: {splitter}; s[0] -> c :: Counter -> Discard; s[1] -> Discard"
    assert abs(_passed(text) - SECONDS * expected) <= 3 + expected * 0.05


@pytest.mark.parametrize("limit", ["Shaper(10) -> Unqueue", "BandwidthShaper(600Bps) -> Unqueue", "RatedUnqueue(10)", "DelayShaper(0.1) -> Unqueue"])
def test_nothing_runs_while_nothing_may_pass(limit: str) -> None:
    text = f"i :: InfiniteSource(LENGTH 60, LIMIT 50) -> SetTimestamp -> Queue -> {limit} -> c :: Counter -> Discard"
    with Router.from_text(f"{text}; Script(wait 3s, stop)", simulated_start_ns=START_NS) as router:
        router.run()
        assert router.driver.steps < 500


def test_what_asks_for_ever_does_not_stop_simulated_time() -> None:
    text = "i :: InfiniteSource(LIMIT 5) -> Queue -> s :: PullSwitch(-1) -> Unqueue -> c :: Counter -> Discard"
    assert _passed(text, 3) == 0


def test_a_rated_source_does_not_wait_for_room() -> None:
    text = "RatedSource(RATE 1000) -> c :: Counter -> q :: Queue(200) -> RatedUnqueue(100) -> Discard; Script(wait 4s, stop)"
    with Router.from_text(text, simulated_start_ns=START_NS) as router:
        router.run()
        assert abs(int(router.read("c.count")) - 4000) <= 22
        assert int(router.read("q.drops")) > 3300


def test_a_lone_packet_comes_off_a_link_when_it_is_due(tmp_path: Path) -> None:
    text = (f"InfiniteSource(LIMIT 1, LENGTH 100) -> Queue -> LinkUnqueue(10ms, 1Gbps) -> SetTimestamp -> ToIPSummaryDump({tmp_path}/o, HEADER false, "
            "CONTENTS timestamp); Script(wait 5s, stop);")
    with Router.from_text(text, simulated_start_ns=START_NS) as router:
        router.run()
    assert (tmp_path / "o").read_text().startswith("1000000000.0100")
