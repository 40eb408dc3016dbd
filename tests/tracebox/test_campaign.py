"""Campaigns: nothing lost, nothing done twice, and the same paths out as went in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.tracebox import Settings
from penstock.tracebox.campaign import Campaign, CampaignError
from penstock.tracebox.campaign_report import report_page
from penstock.tracebox.layers import TCP
from tests.tracebox.simulated import Router, SimulatedNetwork, with_field

NAMES = [f"192.0.2.{i}" for i in range(1, 61)]


def network(**more: object) -> SimulatedNetwork:
    paths = {}
    for i, name in enumerate(NAMES):
        hops = [Router(f"10.0.{k}.1", quote_bytes=8 if k == 2 else None) for k in range(1, 4)] + [Router(f"10.1.{i}.1")]
        if i % 3 == 0:
            hops[3].change = with_field(TCP, "window", 1000)
        paths[name] = hops
    return SimulatedNetwork(paths, **more)  # type: ignore[arg-type]


def test_a_campaign_that_stops_half_way_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "c.db"
    with Campaign(file, probe="syn", vantage="lab") as campaign:
        assert campaign.add(NAMES) == 60
        for progress in campaign.run(network=network(), settings=Settings()):
            if progress.done == 25:
                break
    with Campaign(file) as campaign:
        done, total, failed = campaign.counts()
        assert (total, failed) == (60, 0) and 25 <= done < 60
        net = network()
        *_, progress = campaign.run(network=net)
        assert (progress.done, progress.total, progress.failed) == (60, 60, 0)
        assert len({data[16:20] for data in net.sent}) == 60 - done
        assert [d["destination"] for d in campaign.documents()] == NAMES
        assert campaign.query("SELECT COUNT(*) FROM finding") == [(20,)]
        assert not list(campaign.run(network=network()))


def test_near_routers_are_asked_as_often_as_the_budget_allows_and_no_hop_is_missing(tmp_path: Path) -> None:
    with Campaign(tmp_path / "c.db", probe="syn") as campaign:
        campaign.add(NAMES)
        net = network()
        for _ in campaign.run(network=net, router_pps=5, most_at_once=4):
            pass
        assert campaign.query("SELECT COUNT(*) FROM hop WHERE address IS NULL") == [(0,)]
        assert campaign.query("SELECT COUNT(*) FROM path WHERE length != 5") == [(0,)]
        assert campaign.query("SELECT COUNT(*) FROM hop WHERE kind = 'remembered'")[0][0] > 60
        assert campaign.query("SELECT COUNT(*), MIN(by_hop), MAX(by_hop) FROM finding") == [(20, 4, 4)]


def test_what_cannot_be_resolved_fails_alone(tmp_path: Path) -> None:
    with Campaign(tmp_path / "c.db", probe="syn") as campaign:
        campaign.add([NAMES[0], "no such name.invalid", NAMES[1]])
        *_, progress = campaign.run(network=network())
        assert (progress.done, progress.failed) == (3, 1)
        assert "no IPv4 address" in campaign.query("SELECT error FROM destination WHERE state = 'failed'")[0][0]


def test_exports_hold_what_the_database_holds(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with Campaign(tmp_path / "c.db", probe="syn") as campaign:
        campaign.add(NAMES[:10])
        for _ in campaign.run(network=network()):
            pass
        assert campaign.export(str(tmp_path / "c.jsonl")) == 10
        assert campaign.export(str(tmp_path / "c.parquet")) == 50
    lines = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert [d["name"] for d in lines] == NAMES[:10]
    table = parquet.read_table(tmp_path / "c.parquet").to_pydict()
    assert table["router"][:5] == ["10.0.1.1", "10.0.2.1", "10.0.3.1", "10.1.0.1", NAMES[0]]


def test_the_page_tells_the_figures_and_loads_nothing(tmp_path: Path) -> None:
    with Campaign(tmp_path / "c.db", probe="syn", vantage="<lab>") as campaign:
        campaign.add(NAMES)
        for _ in campaign.run(network=network()):
            pass
        page = report_page([campaign])
    assert "62 of 63 routers" in page
    assert "&lt;lab&gt;" in page and "<lab>" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "window changer" in page


def test_a_file_that_is_no_campaign_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("nonsense" * 300)
    with pytest.raises(CampaignError, match="no campaign"):
        Campaign(tmp_path / "x.db")
    with Campaign(tmp_path / "c.db", probe="syn"):
        pass
    with pytest.raises(CampaignError, match="another probe"):
        Campaign(tmp_path / "c.db", probe="udp")
