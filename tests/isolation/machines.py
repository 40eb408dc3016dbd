"""Machines for tests, and the same interface over the interpreter."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from penstock.datapath.sched import BUSY
from penstock.isolation import machine_class
from penstock.isolation.kvm import why_not
from penstock.isolation.machine import Instance, Machine
from penstock.isolation.template import Template
from penstock.ring import SharedPort
from penstock.runtime.router import Router

__all__ = ["ISOLATIONS", "KVM", "exchange", "interpret", "running"]

KVM = pytest.param("kvm", marks=pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"))
PROCESS = pytest.param("process", marks=pytest.mark.skipif(os.name != "posix", reason="needs fork"))
ISOLATIONS = ["inline", PROCESS, KVM]
SEED = 4711


@contextmanager
def running(isolation: str, text: str, ports: int = 1) -> Iterator[tuple[Machine, Instance, list[SharedPort]]]:
    """A started machine with one configuration and its interfaces ``0``, ``1`` …"""
    names = [str(i) for i in range(ports)]
    template = Template.from_text(text, interfaces=names)
    shared = [SharedPort(n) for n in names]
    machine = machine_class(isolation)(data_bytes=64 << 20, name="test")
    try:
        instance = machine.install(template, dict(zip(names, shared)), seed=SEED)
        machine.start()
        yield machine, instance, shared
    finally:
        machine.close()
        for port in shared:
            port.close()


def exchange(shared: list[SharedPort], frames: Iterable[tuple[int, bytes]], *, quiet_s: float = 0.1) -> list[list[bytes]]:
    """Send (port, frame) one after the other; gives what came out of each port until nothing more comes."""
    out: list[list[bytes]] = [[] for _ in shared]

    def collect(timeout_s: float) -> None:
        for i, port in enumerate(shared):
            while (frame := port.receive(timeout_s)) is not None:
                out[i].append(frame)

    for number, frame in frames:
        while not shared[number].send(frame):
            collect(0.001)
        collect(0)
    collect(quiet_s)
    collect(quiet_s)
    return out


def interpret(text: str, frames: Iterable[tuple[int, bytes]], ports: int = 1) -> tuple[list[list[bytes]], Router]:
    """The same with the reference interpreter, one turn after the other."""
    names = [str(i) for i in range(ports)]
    router = Router.from_text(text, interfaces=names, engine="interpreter", seed=SEED)
    assert router.memory is not None
    shared = [SharedPort(n) for n in names]
    for name, port in zip(names, shared):
        if name in router.ports:
            port.map_into(router.memory, router.ports[name].words.offset)
    out: list[list[bytes]] = [[] for _ in shared]
    for number, frame in frames:
        assert shared[number].send(frame)
        while (router.program.run_interpreted(router.program.entry("turn"), [64]) or 0) & BUSY:
            router.drain_host()
        for i, port in enumerate(shared):
            while (sent := port.receive()) is not None:
                out[i].append(sent)
    return out, router
