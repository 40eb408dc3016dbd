"""Packets that are too long: links with an MTU, fragments, and segments that must not be fragmented."""

from __future__ import annotations

import pytest

from penstock.verify.network import Network, NetworkError
from penstock.verify.networkfile import load_network
from penstock.verify.policy import parse_policy

WIRE = "FromDevice(0) -> ToDevice(1); FromDevice(1) -> ToDevice(0)"
TUNNEL_ENTRY = ("FromDevice(0) -> Strip(14) -> CheckIPHeader -> IPEncap(4, 192.0.2.1, 192.0.2.2) -> Unstrip(0) -> EtherEncap(0x800, 1:1:1:1:1:1, 2:2:2:2:2:2) "
                "-> ToDevice(1); FromDevice(1) -> Strip(34) -> CheckIPHeader -> EtherEncap(0x800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> ToDevice(0);")


def path_of(*, mtu: int | None, first: str = WIRE) -> Network:
    network = Network()
    network.add_host("a", ["10.0.0.0/8"])
    network.add_host("b")
    network.add_box("x", first)
    network.add_box("y", WIRE)
    network.link("a", "x:0")
    network.link("x:1", "y:0", mtu=mtu)
    network.link("y:1", "b")
    return network


def verdicts(network: Network, *lines: str) -> list[tuple[str, str]]:
    answers = [assertion.check(network) for assertion in parse_policy("\n".join(lines), network)]
    return [(answer.verdict, answer.text) for answer in answers]


def test_what_is_longer_than_the_mtu_of_a_link_is_dropped_there() -> None:
    network = path_of(mtu=1400)
    (short, _), (long, why), (some, _), (every, not_all), (whole, _) = verdicts(
        network, "reach udp length 1400 from a to b", "reach udp length 1401 from a to b", "reach udp length 1300-1500 from a to b",
        "allow all udp from a to b", "allow all udp length 28-1400 from a to b")
    assert (short, long, some, every, whole) == ("yes", "no", "yes", "no", "yes")
    assert "dropped at x: the link's MTU is 1400 bytes" in why and "the link's MTU is 1400 bytes" in not_all
    assert verdicts(path_of(mtu=None), "reach udp length 1500 from a to b", "reach udp length 9000 from a to b")[1][0] == "yes"


def test_a_connection_that_opens_may_still_not_carry_full_segments() -> None:
    (opens, _), (full, why), (smaller, _) = verdicts(
        path_of(mtu=1400), "allow tcp from a to b", "allow tcp length 1500 from a to b", "allow tcp length 1400 from a to b")
    assert (opens, full, smaller) == ("yes", "no", "yes")
    assert why == "a segment of 1500 bytes from a is dropped at x: it is too long for the link"


def test_a_box_may_tell_the_sender() -> None:
    told = ("FromDevice(0) -> Strip(14) -> CheckIPHeader -> f :: IPFragmenter(1400) -> Unstrip(14) -> ToDevice(1); FromDevice(1) -> out :: ToDevice(0);"
            "f[1] -> ICMPError(192.0.2.9, unreachable, needfrag) -> EtherEncap(0x800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> out;").replace("FromDevice(1) -> out :: ToDevice(0)", "FromDevice(1) -> out :: Null -> ToDevice(0)")
    (full, why), = verdicts(path_of(mtu=1400, first=told), "allow tcp length 1500 from a to b")
    assert full == "no" and why.endswith(", and the sender is told")


def test_only_what_may_be_fragmented_is() -> None:
    fragmenting = "FromDevice(0) -> Strip(14) -> CheckIPHeader -> IPFragmenter(1400) -> Unstrip(14) -> ToDevice(1); FromDevice(1) -> ToDevice(0)"
    network = path_of(mtu=1400, first=fragmenting)
    assert [v for v, _ in verdicts(network, "reach udp length 1500 df from a to b", "reach udp length 1500 no-df from a to b")] == ["no", "yes"]


@pytest.mark.parametrize("link", ["a x:0 mtu 10", "a x:0 mtu", "a x:0 mtu many", "a x:0 speed 3"])
def test_mistakes_in_a_link_are_told(tmp_path, link: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "n.toml").write_text(f"links = ['{link}']\n[host.a]\n[box.x]\ntext = 'FromDevice(0) -> Discard'\n")
    with pytest.raises(NetworkError, match="expected two ends"):
        load_network(tmp_path / "n.toml")
