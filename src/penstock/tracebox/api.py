"""Tracing from Python: ``trace("192.0.2.1", probe="IP / TCP / mss(9000)")`` gives a :class:`Path`."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterable, Iterator

from penstock.packet.capture import CaptureWriter
from penstock.tracebox.engine import PORTS_PER_PATH, Prober, Target
from penstock.tracebox.flow import Flow
from penstock.tracebox.inference import infer
from penstock.tracebox.language import parse_probe
from penstock.tracebox.layers import SCTP, TCP, UDP, IPv6
from penstock.tracebox.nearhops import NearHops
from penstock.tracebox.network import LiveNetwork, Network, RecordedNetwork
from penstock.tracebox.packet import Packet, dissect
from penstock.tracebox.path import Hop, Path
from penstock.tracebox.settings import NetworkError, Settings

__all__ = ["open_network", "ports_of", "resolve", "trace", "trace_many"]

_FIRST_PORT, _LAST_PORT = 33000, 60000


def resolve(name: str, *, wide: bool = False) -> str:
    """The first address of a name, IPv4 unless ``wide``. Raises NetworkError."""
    family = socket.AF_INET6 if wide or ":" in name else socket.AF_INET
    try:
        return str(socket.getaddrinfo(name, None, family, socket.SOCK_RAW)[0][4][0])
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise NetworkError(f"'{name}' has no IPv{6 if family == socket.AF_INET6 else 4} address ({str(said).lower()})") from None


def ports_of(packet: Packet, first: int, count: int) -> range:
    """The ports that replies may come to."""
    transport = packet.transport
    if isinstance(transport, (TCP, UDP, SCTP)) and "src" in transport.given:
        return range(transport["src"], transport["src"] + 1)
    return range(first, first + count)


def open_network(settings: Settings, *, ports: range | None = None, capture: CaptureWriter | None = None) -> LiveNetwork | RecordedNetwork:
    """The network that ``settings.interface`` names: an interface, or ``pcap:OUT:IN``. Raises NetworkError."""
    interface = settings.interface
    if interface is not None and interface.startswith("pcap:"):
        names = interface[5:].split(":")
        if len(names) != 2 or not all(names):
            raise NetworkError(f"'{interface}': pcap:OUT:IN names two captures, the one to write and the one to read")
        return RecordedNetwork(*names)
    return LiveNetwork(interface=interface, ports=ports, capture=capture)


def trace(destination: str, *, probe: str | Packet = "IP / TCP", port: int | None = None, wide: bool = False,
          settings: Settings | None = None, flows: int = 1, network: Network | None = None, capture: CaptureWriter | None = None) -> Path:
    """Trace one path. ``probe`` is a line of tracebox's language, the name of a common probe, or a packet.

    ``flows`` more than 1 sends as many flows, which load balancers spread: a hop's other routers are its alternatives.
    Raises :class:`NetworkError` (no permission, no route, no such name) and ProbeError.
    """
    paths = trace_many([destination], probe=probe, port=port, wide=wide, settings=settings, flows=flows, network=network, capture=capture)
    return next(iter(paths))


def trace_many(destinations: Iterable[str], *, probe: str | Packet = "IP / TCP", port: int | None = None, wide: bool = False,
               settings: Settings | None = None, flows: int = 1, network: Network | None = None, capture: CaptureWriter | None = None,
               most_at_once: int = 256, memory: NearHops | None = None,
               on_error: Callable[[str, NetworkError], None] | None = None) -> Iterator[Path]:
    """Trace many paths at once; gives each when it is done.

    A destination that cannot be reached at all raises, or is told to ``on_error`` and left out. With a ``memory``, near routers that
    all paths share are asked no more often than it allows.
    """
    settings = settings or Settings()
    template = parse_probe(probe) if isinstance(probe, str) else probe
    said = probe if isinstance(probe, str) else repr(probe)
    wide = wide or template.find(IPv6) is not None
    chance = random.Random()
    total = (_LAST_PORT - _FIRST_PORT) // PORTS_PER_PATH * PORTS_PER_PATH
    first = _FIRST_PORT
    if isinstance(destinations, list) and len(destinations) * flows * PORTS_PER_PATH < total:
        total = len(destinations) * flows * PORTS_PER_PATH
        first = chance.randrange(_FIRST_PORT, _LAST_PORT - total)
    own = network is None
    net: Network = network if network is not None else open_network(settings, ports=ports_of(template, first, total), capture=capture)
    prober = Prober(net, pace_pps=settings.pace_pps, most_at_once=most_at_once)

    def targets() -> Iterator[Target]:
        number = 0
        for name in destinations:
            try:
                address = resolve(name, wide=wide)
                source = net.source(address)
                recorded = net.recorded_probe(address)
                for _ in range(flows):
                    flow = Flow(template, source, address, port=first + number * PORTS_PER_PATH % total, chance=chance,
                                is_marked=settings.is_marked, destination_port=port, like=recorded)
                    number += 1
                    path = Path(address, name, source, said, settings.hops_max)
                    if recorded is not None and not _is_same_kind(recorded, dissect(flow.probe(1))):
                        path.notes.append("the capture was made with another probe: what differs may be that alone")
                    window = settings.window if memory is None else memory.window(settings.window)
                    known = memory.known(net.now_ns()) if memory is not None else None
                    yield Target(path, flow, settings, first_ttl=settings.hops_min, window=window, known=known)
            except NetworkError as error:
                if on_error is None:
                    raise
                on_error(name, error)

    try:
        if flows == 1:
            for path in prober.run(targets()):
                infer(path)
                if memory is not None:
                    memory.learn(path)
                yield path
        else:
            yield from _merged(prober.run(targets()), flows)
    finally:
        if own:
            net.close()  # type: ignore[attr-defined]


def _is_same_kind(recorded: Packet, ours: Packet) -> bool:
    """Whether two packets have the same layers, as far as the recorded one goes."""
    theirs = [layer.identity for layer in recorded.layers]
    return theirs == [layer.identity for layer in ours.layers][: len(theirs)]


def _merged(paths: Iterable[Path], flows: int) -> Iterator[Path]:
    """One path of several flows: the first flow's, with the routers of the others beside."""
    parts: dict[str, list[Path]] = {}
    for path in paths:
        same = parts.setdefault(path.name, [])
        same.append(path)
        if len(same) < flows:
            continue
        base = max(same, key=lambda p: (p.is_reached, sum(h.address is not None for h in p.hops)))
        infer(base)
        for hop in base.hops:
            others = [h for p in same if p is not base for h in p.hops if h.ttl == hop.ttl and h.address]
            if hop.address is None and others:
                _adopt(hop, others[0])
            hop.alternatives = sorted({str(h.address) for h in others} - {hop.address})
        for other in same:
            if other is not base:
                base.findings += [f for f in infer(other) if f not in base.findings]
        del parts[path.name]
        yield base


def _adopt(hop: Hop, other: Hop) -> None:
    for name in ("address", "kind", "round_trip_ns", "comparison", "reply", "sent", "note"):
        setattr(hop, name, getattr(other, name))
