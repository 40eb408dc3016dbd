"""A concrete packet through the compiled code of a network: what a prediction is worth."""

from __future__ import annotations

import ctypes

from penstock.datapath.sched import BUSY
from penstock.lang.configuration import Configuration
from penstock.ring.port import SharedPort
from penstock.runtime.image import ImageCache, LoadedImage
from penstock.runtime.router import Router
from penstock.verify.example import matches
from penstock.verify.network import Network
from penstock.verify.questions import Witness

__all__ = ["Dataplane", "as_predicted", "replay"]

_MAX_HOPS = 256


class Dataplane:
    """The compiled code of one box with its interfaces, run here step by step: what comes out belongs to what went in."""

    def __init__(self, flat: Configuration, interfaces: list[str], *, seed: int = 1, cache: ImageCache | None = None):
        self.router = router = Router(flat, interfaces=interfaces, seed=seed, cache=cache)
        assert router.memory is not None
        self.ports = {name: SharedPort(name) for name in interfaces}
        for name, port in self.ports.items():
            if name in router.ports:
                port.map_into(router.memory, router.ports[name].words.offset)
        self._loaded = LoadedImage(router.build())
        self._upcall = ctypes.CFUNCTYPE(None)(router.drain_host)
        router.driver.upcall = ctypes.cast(self._upcall, ctypes.c_void_p).value or 0
        self._turn = self._loaded.function("turn", ctypes.c_uint64, returns=ctypes.c_uint64)

    def send(self, interface: str, frame: bytes) -> list[tuple[str, bytes]]:
        """(interface, frame) of everything that comes out."""
        memory = self.router.memory
        assert memory is not None
        self.ports[interface].send(frame)
        self.router.clock.synchronise()
        while self._turn(memory.address, 64) & BUSY:
            pass
        out: list[tuple[str, bytes]] = []
        for name, port in self.ports.items():
            while (sent := port.receive()) is not None:
                out.append((name, sent))
        return out

    def close(self) -> None:
        self.router.close()
        self._loaded.close()
        for port in self.ports.values():
            port.close()

    def __enter__(self) -> Dataplane:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def replay(network: Network, node: str, frame: bytes) -> list[tuple[str, bytes]]:
    """(host or ``box:interface``, frame) of everything that arrives when a host sends a frame."""
    planes: dict[str, Dataplane] = {}
    cache = ImageCache()
    arrived: list[tuple[str, bytes]] = []
    try:
        work = [(*network.links[node, ""], frame)]
        hops = 0
        while work and hops < _MAX_HOPS:
            hops += 1
            here, interface, content = work.pop()
            if here in network.hosts:
                arrived.append((here, content))
                continue
            box = network.boxes[here]
            if here not in planes:
                planes[here] = Dataplane(box.flat(), box.interfaces, cache=cache)
            for out, sent in planes[here].send(interface, content):
                peer = network.links.get((here, out))
                if peer is None:
                    arrived.append((f"{here}:{out}", sent))
                else:
                    work.append((*peer, sent))
    finally:
        for plane in planes.values():
            plane.close()
    return arrived


def as_predicted(witness: Witness, arrived: list[tuple[str, bytes]]) -> bool:
    """Whether what arrived is what the witness says."""
    way = witness.way
    if way.kind not in ("delivered", "left"):
        return not arrived
    where = way.node if way.kind == "delivered" else f"{way.node}:{way.interface}"
    return any(node == where and matches(way.packet, witness.numbers, frame) for node, frame in arrived)
