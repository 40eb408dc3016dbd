"""A firewall between two hosts."""

from __future__ import annotations

from penstock.verify.network import Network
from penstock.verify.policy import parse_policy


def walled(text: str, inside: str = "inside", outside: str = "outside") -> Network:
    network = Network()
    network.add_host(inside, ["10.0.0.0/8"])
    network.add_host(outside)
    network.add_box("wall", text)
    network.link(inside, f"wall:{inside}")
    network.link(f"wall:{outside}", outside)
    return network


def holds(network: Network, policy: str) -> None:
    for assertion in parse_policy(policy, network):
        answer = assertion.check(network)
        assert answer.holds, f"{assertion.text}: {answer.text}"
