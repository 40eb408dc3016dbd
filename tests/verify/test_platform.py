"""A running platform as a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.main import main
from penstock.toolstack import DomainSpec, Toolstack, VifSpec
from penstock.verify.platform import network_of
from penstock.verify.policy import parse_policy

FILTER = "FromDevice(0) -> Strip(14) -> CheckIPHeader -> IPFilter(allow udp, deny all) -> Unstrip(14) -> ToDevice(1); FromDevice(1) -> ToDevice(0)"
AGEING = "FromDevice(in) -> Strip(14) -> CheckIPHeader -> DecIPTTL -> Unstrip(14) -> ToDevice(1); FromDevice(1) -> ToDevice(in)"


def described(name: str, text: str, *bridges: str, names: tuple[str, ...] = ("", "")) -> dict[str, object]:
    return {"name": name, "vifs": [{"bridge": b, "name": n} for b, n in zip(bridges, names)], "configurations": [{"number": 0, "name": "x", "text": text}]}


def test_domains_and_switches_are_a_network() -> None:
    network = network_of([described("one", FILTER, "vale0", "vale1"), described("two", AGEING, "vale1", "vale2", names=("in", ""))])
    assert sorted(network.hosts) == ["vale0", "vale1", "vale2"]
    policy = "reach udp from vale0 to vale2\nip.ttl unchanged from vale0 to vale1\nnot ip.ttl unchanged from vale0 to vale2\nudp from vale0 to vale2 passes two\ndeny tcp from vale0 to vale2"
    for assertion in parse_policy(policy, network):
        answer = assertion.check(network)
        assert answer.holds, f"{assertion.text}: {answer.text}"


def test_what_runs_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command asks the toolstack that runs; without one it says so."""
    monkeypatch.setenv("PENSTOCK_RUN", str(tmp_path / "run"))
    assert main(["verify", "--live", "no loops"]) == 2
    assert "no toolstack runs" in capsys.readouterr().err


def test_what_a_toolstack_tells_of_its_domains_is_enough(tmp_path: Path) -> None:
    from penstock.toolstack.service import Service

    file = tmp_path / "f.click"
    file.write_text(FILTER)
    with Toolstack() as toolstack:
        toolstack.create(DomainSpec("one", click=str(file), vif=(VifSpec(), VifSpec())))
        told = Service(toolstack).call("list", {})
    network = network_of(told)
    assert list(network.boxes) == ["one"] and network.boxes["one"].interfaces == ["0", "1"]
