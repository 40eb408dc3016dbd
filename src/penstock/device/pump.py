"""Two threads between a port and a device's descriptor: each waits for one side, and moves frames to the other.

``inward(context)``
    Frames that the device has go into the ring towards the domain; those that find it full are dropped and counted.
``outward(context)``
    Frames that the domain sent are written to the device.
``inward_to_switch(context)``, ``outward_from_switch(context)``
    The same where the other side of the port is a switch: rings and waiting words the other way round.
"""

from __future__ import annotations

import enum
from typing import Any

from penstock.datapath import ports
from penstock.datapath.ports import (
    BUFFER_BYTES,
    DOMAIN_WAITING,
    HEAD,
    LENGTHS,
    PEER_WAITING,
    RING_HEADER_BYTES,
    RX,
    SLOTS,
    STARVED,
    TAIL,
    TX,
)
from penstock.runtime.image import Image
from penstock.runtime.machinecode import Code, assemble
from penstock.runtime.once import once

__all__ = ["CONTEXT_BYTES", "PumpContext", "pumps"]

CONTEXT_BYTES = 4096
_WRITE, _POLL, _READ, _RECVFROM = 1, 7, 0, 45
_POLLIN, _BURST = 1, 64
_MSG_DONTWAIT, _MSG_TRUNC = 0x40, 0x20


class PumpContext(enum.IntEnum):
    """Offsets in bytes of the 64-bit words that a pump works on."""

    DEVICE = 0
    PORT = 8
    STOP = 16
    STOP_DESCRIPTOR = 24
    COUNT = 32
    DROPS = 40
    BROKEN = 48
    #: the descriptor is a socket: larger frames than a slot holds are found out, not cut off
    IS_SOCKET = 56
    #: room for a frame that nobody wants
    SCRATCH = 1024


@once
def pumps() -> Image:
    return assemble("pumps", {
        "inward": (1, lambda c: _inward(c, RX, DOMAIN_WAITING)), "outward": (1, lambda c: _outward(c, TX, PEER_WAITING, DOMAIN_WAITING)),
        "inward_to_switch": (1, lambda c: _inward(c, TX, PEER_WAITING)),
        "outward_from_switch": (1, lambda c: _outward(c, RX, DOMAIN_WAITING, PEER_WAITING)),
    }, [__file__, ports.__file__])


def _add(c: Code, context: Any, offset: int, amount: Any) -> None:
    c.store(context, offset, c.b.add(c.load(context, offset), c.num(amount)))


def _wake(c: Code, port: Any, waiting: int) -> None:
    c.fence()
    with c.when(c.test("!=", c.load(port, 4 * waiting, 32), 0)):
        c.store(port, 4 * waiting, 0, 32)
        c.futex_wake(c.b.add(port, c.const(4 * waiting)))


def _buffer(c: Code, port: Any, ring: int, index: Any) -> tuple[Any, Any]:
    """The address of a slot's buffer, and the offset of its length."""
    slot = c.b.and_(index, c.const(SLOTS - 1))
    start = c.b.add(port, c.const(4 * ring + RING_HEADER_BYTES))
    length = c.b.add(c.b.mul(slot, c.const(4)), c.const(4 * (ring + LENGTHS)))
    return c.b.add(start, c.b.mul(slot, c.const(BUFFER_BYTES))), length


def _inward(c: Code, ring: int, waiting: int) -> None:
    (context,) = c.args
    device, port = c.load(context, PumpContext.DEVICE), c.load(context, PumpContext.PORT)
    tail = c.variable(c.load(port, 4 * (ring + TAIL), 32))
    with c.b.goto_entry_block():
        polled = c.b.alloca(c.i64, 2)
    at = c.address_of(polled)
    mask = c.const(0xFFFFFFFF)
    is_socket = c.test("!=", c.load(context, PumpContext.IS_SOCKET), 0)
    with c.forever() as (_, done):
        c.store(at, 0, c.b.or_(device, c.const(_POLLIN << 32)))
        c.store(at, 8, c.b.or_(c.load(context, PumpContext.STOP_DESCRIPTOR), c.const(_POLLIN << 32)))
        c.syscall(_POLL, at, 2, (1 << 64) - 1)
        with c.when(c.test("!=", c.load(context, PumpContext.STOP), 0)):
            c.b.branch(done)
        moved = c.variable(0)
        c.set(moved, 0)
        with c.forever() as (_, empty):
            with c.when(c.test("==", c.get(moved), _BURST)):
                c.b.branch(empty)
            used = c.b.and_(c.b.sub(c.get(tail), c.load(port, 4 * (ring + HEAD), 32)), mask)
            with c.when(c.test(">", used, SLOTS)):
                c.store(context, PumpContext.BROKEN, 1)
                c.b.branch(done)
            full = c.test("==", used, SLOTS)
            buffer, length = _buffer(c, port, ring, c.get(tail))
            into = c.b.select(full, c.b.add(context, c.const(PumpContext.SCRATCH)), buffer)
            length_there = c.variable(0)
            with c.b.if_else(is_socket) as (then, otherwise):
                with then:
                    c.set(length_there, c.syscall(_RECVFROM, device, into, BUFFER_BYTES, _MSG_DONTWAIT | _MSG_TRUNC, 0, 0))
                with otherwise:
                    c.set(length_there, c.syscall(_READ, device, into, BUFFER_BYTES))
            got = c.get(length_there)
            with c.when(c.b.or_(c.test("==", got, 0), c.test(">", got, 1 << 32))):
                c.b.branch(empty)
            c.set(moved, c.b.add(c.get(moved), c.const(1)))
            with c.b.if_else(c.b.or_(full, c.test(">", got, BUFFER_BYTES))) as (then, otherwise):
                with then:
                    _add(c, context, PumpContext.DROPS, 1)
                with otherwise:
                    c.store(port, length, got, 32)
                    c.set(tail, c.b.and_(c.b.add(c.get(tail), c.const(1)), mask))
                    _add(c, context, PumpContext.COUNT, 1)
        c.store(port, 4 * (ring + TAIL), c.get(tail), 32)
        _wake(c, port, waiting)
    c.ret(0)


def _outward(c: Code, ring: int, mine: int, waiting: int) -> None:
    (context,) = c.args
    device, port = c.load(context, PumpContext.DEVICE), c.load(context, PumpContext.PORT)
    head = c.variable(c.load(port, 4 * (ring + HEAD), 32))
    mask = c.const(0xFFFFFFFF)
    with c.forever() as (again, done):
        with c.when(c.test("!=", c.load(context, PumpContext.STOP), 0)):
            c.b.branch(done)
        c.store(port, 4 * mine, 1, 32)
        c.fence()
        ready = c.b.and_(c.b.sub(c.load(port, 4 * (ring + TAIL), 32), c.get(head)), mask)
        with c.when(c.test("==", ready, 0)):
            with c.when(c.test("==", c.load(context, PumpContext.STOP), 0)):
                c.futex_wait(port, 4 * mine, 1)
            c.b.branch(again)
        c.store(port, 4 * mine, 0, 32)
        with c.when(c.test(">", ready, SLOTS)):
            c.store(context, PumpContext.BROKEN, 1)
            c.b.branch(done)
        with c.each(ready):
            buffer, length = _buffer(c, port, ring, c.get(head))
            size = c.load(port, length, 32)
            with c.when(c.test(">", size, BUFFER_BYTES)):
                c.store(context, PumpContext.BROKEN, 1)
                c.b.branch(done)
            sent = c.syscall(_WRITE, device, buffer, size)
            refused = c.test("!=", sent, size)
            _add(c, context, PumpContext.COUNT, c.b.zext(c.b.not_(refused), c.i64))
            _add(c, context, PumpContext.DROPS, c.b.zext(refused, c.i64))
            c.set(head, c.b.and_(c.b.add(c.get(head), c.const(1)), mask))
        c.store(port, 4 * (ring + HEAD), c.get(head), 32)
        c.fence()
        with c.when(c.test("!=", c.load(port, 4 * (ring + STARVED), 32), 0)):
            c.store(port, 4 * (ring + STARVED), 0, 32)
            _wake(c, port, waiting)
    c.ret(0)
