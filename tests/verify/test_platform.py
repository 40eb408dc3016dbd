"""A running platform as a network."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from penstock.cli.main import main
from penstock.lang.arguments import parse_ip
from penstock.packet.build import ipv4_header, udp_datagram
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


NAT = ("FromDevice(0) -> Strip(14) -> CheckIPHeader -> rw :: IPRewriter(pattern 203.0.113.1 1024-65535 - - 0 1, drop) -> Unstrip(14) -> ToDevice(1); "
       "FromDevice(1) -> Strip(14) -> CheckIPHeader -> [1] rw; rw[1] -> Unstrip(14) -> ToDevice(0)")


def test_flows_that_run_count_where_they_are_asked_for(tmp_path: Path) -> None:
    from penstock.toolstack.service import Service

    file = tmp_path / "nat.click"
    file.write_text(NAT)
    with Toolstack() as toolstack:
        domain = toolstack.create(DomainSpec("nat", click=str(file), vif=(VifSpec(), VifSpec())))
        service = Service(toolstack)
        router = domain.instance().router
        assert service.call("tables", {"name": "nat"}) == {}
        frame = udp("10.0.0.5", 4000, "198.51.100.7", 53)
        domain.ports[0].send(frame)
        deadline = time.monotonic() + 10
        while not router.by_name["rw"].table.entries and time.monotonic() < deadline:  # type: ignore[attr-defined]
            time.sleep(0.01)
        told, tables = service.call("list", {}), service.call("tables", {"name": "nat", "number": 0})
    for vif, bridge in zip(told[0]["vifs"], ("inside", "outside")):
        vif["bridge"] = bridge
    tables = json.loads(json.dumps(tables))
    assert len(tables["rw.table"]) == 2
    policy = "deny any from outside to inside"
    fresh, running = network_of(told), network_of(told, tables=lambda name, number: tables)
    (before,), (now,) = ([a.check(n) for a in parse_policy(policy, n)] for n in (fresh, running))
    assert before.holds and now.verdict == "no" and now.witness is not None
    sent, arrived = now.witness.sent, now.witness.arrived
    assert sent[26:30] == bytes([198, 51, 100, 7]) and arrived[30:34] == bytes([10, 0, 0, 5]) and arrived[36:38] == (4000).to_bytes(2, "big")
    (narrower,) = [a.check(running) for a in parse_policy("deny udp src port 54 from outside to inside", running)]
    assert narrower.holds


def udp(source: str, source_port: int, target: str, target_port: int) -> bytes:
    addresses = parse_ip(source), parse_ip(target)
    body = udp_datagram(source_port, target_port, b"hello", b"".join(a.to_bytes(4, "big") for a in addresses))
    return bytes(12) + b"\x08\x00" + ipv4_header(*addresses, 17, len(body), ttl=64) + body
