"""What a platform runs right now as a network: its domains are boxes, its switches and bridges join them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from penstock.verify.network import Network, NetworkError

__all__ = ["network_of"]


#: what is in the tables of a domain's configuration, by its number: see Box.load_tables
Tables = Callable[[str, int], Mapping[str, Any]]


def network_of(domains: Iterable[Mapping[str, Any]], *, tables: Tables | None = None) -> Network:
    """From what ``penstock vm list --json`` tells. A domain with several configurations is a box for each: ``name.0``, ``name.1``.

    ``tables`` gives what is in a domain's tables; where it is not given, they are as they were installed.

    Each switch or bridge is a box that gives a frame to everybody else on it, which allows at least what any module of a switch
    does, and a host of its name: whoever is there besides domains. Raises NetworkError, ConfigurationError.
    """
    network = Network()
    joined: dict[str, list[tuple[str, str]]] = {}
    for domain in domains:
        running = [c for c in domain["configurations"] if c["text"]]
        for configuration in running:
            name = domain["name"] if len(running) == 1 else f"{domain['name']}.{configuration['number']}"
            there = tables(domain["name"], configuration["number"]) if tables is not None else {}
            network.add_box(name, configuration["text"], file=f"{name} ({configuration['name']})", tables=there)
            for interface in network.boxes[name].interfaces:
                bridge = _bridge(domain, interface)
                if bridge:
                    joined.setdefault(bridge, []).append((name, interface))
    for bridge, ends in joined.items():
        ports = [f"{name}.{interface}" for name, interface in ends]
        if bridge in network.boxes:
            raise NetworkError(f"'{bridge}' is the name of a domain and of a switch")
        network.add_host(bridge)
        network.add_box(f"{bridge}.switch", _everybody_else([*ports, "others"]), file=f"switch {bridge}")
        network.link(bridge, f"{bridge}.switch:others")
        for (name, interface), port in zip(ends, ports):
            network.link(f"{name}:{interface}", f"{bridge}.switch:{port}")
    return network


def _bridge(domain: Mapping[str, Any], interface: str) -> str:
    """Where an interface of a domain leads; configurations name it by its number or by its name."""
    for number, vif in enumerate(domain["vifs"]):
        if interface in (str(number), vif["name"]):
            return str(vif["bridge"])
    return ""


def _everybody_else(ports: list[str]) -> str:
    """A configuration that copies what comes in at a port to all others."""
    lines: list[str] = []
    for i, port in enumerate(ports):
        others = [k for k in range(len(ports)) if k != i]
        copies = "; ".join(f"copy{i}[{n}] -> out{k}" for n, k in enumerate(others))
        lines.append(f"out{i} :: Null -> ToDevice({port});")
        lines.append(f"FromDevice({port}) -> copy{i} :: Tee({len(others)}); {copies};")
    return "\n".join([*lines[::2], *lines[1::2]])
