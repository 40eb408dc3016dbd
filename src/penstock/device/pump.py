"""Two threads between a port and a device's descriptor: each waits for one side, and moves frames to the other.

``inward(context)``
    Frames that the device has go into the ring towards the domain; those that find it full are dropped and counted.
``outward(context)``
    Frames that the domain sent are written to the device.

The other side may be a switch as well, or any size of rings: where the ring is, and which words say who sleeps, is in the context.
"""

from __future__ import annotations

import enum
from typing import Any

from penstock.datapath import ports
from penstock.datapath.ports import BUFFER_BYTES, HEAD, LENGTHS, STARVED, TAIL
from penstock.device import partial
from penstock.device.partial import complete
from penstock.runtime.image import Image
from penstock.runtime.machinecode import Code, assemble
from penstock.runtime.once import once

__all__ = [
    "BURST", "CONTEXT_BYTES", "PumpContext", "PumpRing", "add", "copy", "done_with", "finish", "hand_over", "nap_if_busy", "pumps",
    "wait_for_device", "wait_for_frames",
]

CONTEXT_BYTES = 16384
_WRITE, _POLL, _READ = 1, 7, 0
_NANOSLEEP = 35
_POLLIN = 1
#: frames of one look that mean that more will come, and for how long they may gather (the kernel adds its timer slack of 50 us)
BUSY_FRAMES, _NAP_NS = 2, 50_000
#: frames at a time
BURST = 64


class PumpContext(enum.IntEnum):
    """Offsets in bytes of the 64-bit words that a pump works on."""

    DEVICE = 0
    PORT = 8
    STOP = 16
    STOP_DESCRIPTOR = 24
    COUNT = 32
    DROPS = 40
    BROKEN = 48
    #: frames that came may have checksums that the sender left unfinished
    IS_PARTIAL = 104
    #: the ring that is worked on: bytes from the start of the port, of its header, and slots less one
    RING = 64
    HEADER = 72
    MASK = 80
    #: the words, in bytes from the start of the port, that say that this side and the other one sleep
    MINE = 88
    THEIRS = 96
    #: room for a frame that nobody wants
    SCRATCH = 1024


@once
def pumps() -> Image:
    return assemble("pumps", {"inward": (1, _inward), "outward": (1, _outward), "complete": (2, complete)},
                    [__file__, partial.__file__, ports.__file__])


def add(c: Code, context: Any, offset: int, amount: Any) -> None:
    c.store(context, offset, c.b.add(c.load(context, offset), c.num(amount)))


def copy(c: Code, target: Any, source: Any, size: Any) -> None:
    kind = c.ir.FunctionType(c.ir.LiteralStructType([c.i64] * 3), [c.i64] * 3)
    c.b.asm(kind, "rep movsb", "={rdi},={rsi},={rcx},0,1,2,~{memory}", [target, source, size], True)


def finish(c: Code, context: Any, frame: Any, size: Any) -> None:
    with c.when(c.test("!=", c.load(context, PumpContext.IS_PARTIAL), 0)):
        c.call("complete", frame, size)


def nap_if_busy(c: Code, moved: Any) -> None:
    """Where many frames came at once, more will: a nap lets them gather, so that nobody has to call us for each.

    A call to a thread on another processor costs up to 27 microseconds here, and would be the sender's to pay.
    """
    with c.b.goto_entry_block():
        when = c.b.alloca(c.i64, 2)
    with c.when(c.test(">=", moved, BUSY_FRAMES)):
        at = c.address_of(when)
        c.store(at, 0, 0)
        c.store(at, 8, _NAP_NS)
        c.syscall(_NANOSLEEP, at, 0)


def wait_for_device(c: Code, context: Any, done: Any) -> None:
    """Sleep until the device has something; leave where it is the end."""
    with c.b.goto_entry_block():
        polled = c.b.alloca(c.i64, 2)
    at = c.address_of(polled)
    c.store(at, 0, c.b.or_(c.load(context, PumpContext.DEVICE), c.const(_POLLIN << 32)))
    c.store(at, 8, c.b.or_(c.load(context, PumpContext.STOP_DESCRIPTOR), c.const(_POLLIN << 32)))
    c.syscall(_POLL, at, 2, (1 << 64) - 1)
    with c.when(c.test("!=", c.load(context, PumpContext.STOP), 0)):
        c.b.branch(done)


class PumpRing:
    """The ring of a context: where its words and slots are."""

    def __init__(self, c: Code, context: Any):
        self.c, self.port = c, c.load(context, PumpContext.PORT)
        self.words = c.b.add(self.port, c.load(context, PumpContext.RING))
        self.slots = c.b.add(self.words, c.load(context, PumpContext.HEADER))
        self.mask = c.load(context, PumpContext.MASK)
        self.size = c.b.add(self.mask, c.const(1))
        self.mine, self.theirs = c.load(context, PumpContext.MINE), c.load(context, PumpContext.THEIRS)

    def load(self, word: int) -> Any:
        return self.c.load(self.words, 4 * word, 32)

    def buffer(self, index: Any) -> tuple[Any, Any]:
        """The address of a slot's buffer, and that of its length."""
        slot = self.c.b.and_(index, self.mask)
        length = self.c.b.add(self.c.b.mul(slot, self.c.const(4)), self.c.b.add(self.words, self.c.const(4 * LENGTHS)))
        return self.c.b.add(self.slots, self.c.b.mul(slot, self.c.const(BUFFER_BYTES))), length

    def wake(self) -> None:
        self.c.fence()
        word = self.c.b.add(self.port, self.theirs)
        with self.c.when(self.c.test("!=", self.c.load(word, 0, 32), 0)):
            self.c.store(word, 0, 0, 32)
            self.c.futex_wake(word)


def hand_over(c: Code, ring: PumpRing, tail: Any, moved: Any) -> None:
    """The frames before ``tail`` are the other side's; more are looked for at once only where there were as many as are moved at a time."""
    c.store(ring.words, 4 * TAIL, tail, 32)
    ring.wake()
    with c.when(c.test("<", moved, BURST)):
        nap_if_busy(c, moved)


def _inward(c: Code) -> None:
    (context,) = c.args
    device, ring = c.load(context, PumpContext.DEVICE), PumpRing(c, context)
    tail = c.variable(ring.load(TAIL))
    mask = c.const(0xFFFFFFFF)
    with c.forever() as (_, done):
        wait_for_device(c, context, done)
        moved = c.variable(0)
        c.set(moved, 0)
        with c.forever() as (_, empty):
            with c.when(c.test(">=", c.get(moved), BURST)):
                c.b.branch(empty)
            used = c.b.and_(c.b.sub(c.get(tail), ring.load(HEAD)), mask)
            with c.when(c.test(">", used, ring.size)):
                c.store(context, PumpContext.BROKEN, 1)
                c.b.branch(done)
            full = c.test("==", used, ring.size)
            buffer, length = ring.buffer(c.get(tail))
            into = c.b.select(full, c.b.add(context, c.const(PumpContext.SCRATCH)), buffer)
            got = c.syscall(_READ, device, into, BUFFER_BYTES)
            with c.when(c.b.or_(c.test("==", got, 0), c.test(">", got, 1 << 32))):
                c.b.branch(empty)
            c.set(moved, c.b.add(c.get(moved), c.const(1)))
            with c.b.if_else(c.b.or_(full, c.test(">", got, BUFFER_BYTES))) as (then, otherwise):
                with then:
                    add(c, context, PumpContext.DROPS, 1)
                with otherwise:
                    finish(c, context, buffer, got)
                    c.store(length, 0, got, 32)
                    c.set(tail, c.b.and_(c.b.add(c.get(tail), c.const(1)), mask))
                    add(c, context, PumpContext.COUNT, 1)
        hand_over(c, ring, c.get(tail), c.get(moved))
    c.ret(0)


def _outward(c: Code) -> None:
    (context,) = c.args
    device, ring = c.load(context, PumpContext.DEVICE), PumpRing(c, context)
    head = c.variable(ring.load(HEAD))
    mask = c.const(0xFFFFFFFF)
    with c.forever() as (again, done):
        ready = wait_for_frames(c, context, ring, c.get(head), again, done)
        with c.each(ready):
            buffer, length = ring.buffer(c.get(head))
            size = c.load(length, 0, 32)
            with c.when(c.test(">", size, BUFFER_BYTES)):
                c.store(context, PumpContext.BROKEN, 1)
                c.b.branch(done)
            sent = c.syscall(_WRITE, device, buffer, size)
            refused = c.test("!=", sent, size)
            add(c, context, PumpContext.COUNT, c.b.zext(c.b.not_(refused), c.i64))
            add(c, context, PumpContext.DROPS, c.b.zext(refused, c.i64))
            c.set(head, c.b.and_(c.b.add(c.get(head), c.const(1)), mask))
        _give_way(c, ring, c.get(head))
        with c.when(c.test("==", c.load(ring.words, 4 * TAIL, 32), c.get(head))):
            nap_if_busy(c, ready)
    c.ret(0)


def wait_for_frames(c: Code, context: Any, ring: PumpRing, head: Any, again: Any, done: Any) -> Any:
    """How many frames are there, one at least; else sleep and look ``again``, or leave where it is the end."""
    asleep = c.b.add(ring.port, ring.mine)
    with c.when(c.test("!=", c.load(context, PumpContext.STOP), 0)):
        c.b.branch(done)
    c.store(asleep, 0, 1, 32)
    c.fence()
    ready = c.b.and_(c.b.sub(ring.load(TAIL), head), c.const(0xFFFFFFFF))
    with c.when(c.test("==", ready, 0)):
        with c.when(c.test("==", c.load(context, PumpContext.STOP), 0)):
            c.futex_wait(asleep, 0, 1)
        c.b.branch(again)
    c.store(asleep, 0, 0, 32)
    with c.when(c.test(">", ready, ring.size)):
        c.store(context, PumpContext.BROKEN, 1)
        c.b.branch(done)
    return ready


def _give_way(c: Code, ring: PumpRing, head: Any) -> None:
    """Slots before ``head`` go back to who fills them, who may wait for one."""
    c.store(ring.words, 4 * HEAD, head, 32)
    c.fence()
    with c.when(c.test("!=", ring.load(STARVED), 0)):
        c.store(ring.words, 4 * STARVED, 0, 32)
        ring.wake()


def done_with(c: Code, context: Any, ring: PumpRing, head: Any, count: Any, counter: int) -> None:
    """Frames of the port are sent, or given up, as ``counter`` says: their slots go back."""
    c.set(head, c.b.and_(c.b.add(c.get(head), count), c.const(0xFFFFFFFF)))
    add(c, context, counter, count)
    _give_way(c, ring, c.get(head))
