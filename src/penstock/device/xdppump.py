"""The two threads between a port and an AF_XDP socket: the kernel and we pass each other frames in four rings.

``inward(context)``
    Frames that came go into the port's ring; their memory is given back for the next ones.
``outward(context)``
    Frames of the port are copied into free memory, and the kernel is called to send them, once for many.
"""

from __future__ import annotations

import enum
from typing import Any

from penstock.datapath import ports
from penstock.datapath.ports import BUFFER_BYTES, HEAD, TAIL
from penstock.device import partial, pump
from penstock.device.partial import complete
from penstock.device.pump import PumpContext, PumpRing, add, copy, done_with, finish, nap_if_busy, wait_for_device, wait_for_frames
from penstock.runtime.image import Image
from penstock.runtime.machinecode import Code, assemble
from penstock.runtime.once import once

__all__ = ["CHUNK_BYTES", "FRAMES", "RING_FRAMES", "XdpContext", "xdp_pumps"]

#: room for a frame, 256 bytes of which the kernel keeps; entries of each ring; half of the frames are for either direction
CHUNK_BYTES, RING_FRAMES = 2048, 512
FRAMES = 2 * RING_FRAMES
_SENDTO, _YIELD = 44, 24
_MSG_DONTWAIT = 0x40
#: frames that the kernel sends for one call (TX_BATCH_SIZE)
_BATCH = 32
#: calls for memory that comes back before a frame is given up
_PATIENCE = 16


class XdpContext(enum.IntEnum):
    """Offsets in bytes of the 64-bit words after those of PumpContext; each ring has three: producer, consumer, entries."""

    FRAMES = 128
    RX = 136
    FILL = 160
    TX = 184
    COMPLETION = 208
    #: frames to send with, as offsets: how many, and the list
    N_FREE = 232
    FREE = 4096


@once
def xdp_pumps() -> Image:
    return assemble("xdppumps", {"inward": (1, _inward), "outward": (1, _outward), "complete": (2, complete)},
                    [__file__, pump.__file__, partial.__file__, ports.__file__])


class _XdpRing:
    def __init__(self, c: Code, context: Any, at: int, entry_bytes: int):
        self.c, self.entry_bytes = c, entry_bytes
        self.producer, self.consumer, self.entries = (c.load(context, at + 8 * i) for i in range(3))

    def entry(self, index: Any) -> Any:
        c = self.c
        return c.b.add(self.entries, c.b.mul(c.b.and_(index, c.const(RING_FRAMES - 1)), c.const(self.entry_bytes)))

    def ready(self) -> Any:
        """How many entries the producer has put and the consumer has not taken."""
        c = self.c
        count = c.b.and_(c.b.sub(c.load(self.producer, 0, 32), c.load(self.consumer, 0, 32)), c.const(0xFFFFFFFF))
        return c.b.select(c.test(">", count, RING_FRAMES), c.const(0), count)

    def advance(self, word: Any, count: Any) -> None:
        self.c.store(word, 0, self.c.b.add(self.c.load(word, 0, 32), count), 32)


def _inward(c: Code) -> None:
    (context,) = c.args
    ring, mask = PumpRing(c, context), c.const(0xFFFFFFFF)
    received, fill = _XdpRing(c, context, XdpContext.RX, 16), _XdpRing(c, context, XdpContext.FILL, 8)
    frames = c.load(context, XdpContext.FRAMES)
    tail = c.variable(ring.load(TAIL))
    with c.forever() as (again, done):
        wait_for_device(c, context, done)
        ready = received.ready()
        with c.when(c.test("==", ready, 0)):
            c.b.branch(again)
        first, room = c.load(received.consumer, 0, 32), c.load(fill.producer, 0, 32)
        with c.each(ready) as i:
            entry = received.entry(c.b.add(first, i))
            at, size = c.load(entry, 0), c.load(entry, 8, 32)
            used = c.b.and_(c.b.sub(c.get(tail), ring.load(HEAD)), mask)
            with c.when(c.test(">", used, ring.size)):
                c.store(context, PumpContext.BROKEN, 1)
                c.b.branch(done)
            with c.b.if_else(c.b.or_(c.test("==", used, ring.size), c.test(">", size, BUFFER_BYTES))) as (then, otherwise):
                with then:
                    add(c, context, PumpContext.DROPS, 1)
                with otherwise:
                    buffer, length = ring.buffer(c.get(tail))
                    copy(c, buffer, c.b.add(frames, at), size)
                    finish(c, context, buffer, size)
                    c.store(length, 0, size, 32)
                    c.set(tail, c.b.and_(c.b.add(c.get(tail), c.const(1)), mask))
                    add(c, context, PumpContext.COUNT, 1)
            c.store(fill.entry(c.b.add(room, i)), 0, at)
        received.advance(received.consumer, ready)
        fill.advance(fill.producer, ready)
        c.store(ring.words, 4 * TAIL, c.get(tail), 32)
        ring.wake()
        with c.when(c.test("==", received.ready(), 0)):
            nap_if_busy(c, ready)
    c.ret(0)


def _outward(c: Code) -> None:
    (context,) = c.args
    ring, frames = PumpRing(c, context), c.load(context, XdpContext.FRAMES)
    out, back = _XdpRing(c, context, XdpContext.TX, 16), _XdpRing(c, context, XdpContext.COMPLETION, 8)
    head, tries = c.variable(ring.load(HEAD)), c.variable(0)
    with c.forever() as (again, done):
        ready = wait_for_frames(c, context, ring, c.get(head), again, done)
        _take_back(c, context, back)
        free = c.load(context, XdpContext.N_FREE)
        with c.when(c.test("==", free, 0)):
            # All of our frames are under way: the device is slower than we are.
            _send(c, context, out)
            c.syscall(_YIELD)
            c.set(tries, c.b.add(c.get(tries), c.const(1)))
            with c.when(c.test("<", c.get(tries), _PATIENCE)):
                c.b.branch(again)
            done_with(c, context, ring, head, c.const(1), PumpContext.DROPS)
            c.b.branch(again)
        c.set(tries, 0)
        count = c.b.select(c.test("<", ready, free), ready, free)
        first = c.load(out.producer, 0, 32)
        with c.each(count) as i:
            buffer, length = ring.buffer(c.b.add(c.get(head), i))
            size = c.load(length, 0, 32)
            with c.when(c.test(">", size, CHUNK_BYTES)):
                # The kernel refuses what is longer than an interface's MTU; this is longer than any that is served here.
                c.store(context, PumpContext.BROKEN, 1)
                c.b.branch(done)
            left = c.b.sub(c.b.sub(free, i), c.const(1))
            at = c.load(c.b.add(context, c.b.mul(left, c.const(8))), XdpContext.FREE)
            copy(c, c.b.add(frames, at), buffer, size)
            entry = out.entry(c.b.add(first, i))
            c.store(entry, 0, at)
            c.store(entry, 8, size)
        c.store(context, XdpContext.N_FREE, c.b.sub(free, count))
        out.advance(out.producer, count)
        done_with(c, context, ring, head, count, PumpContext.COUNT)
        _send(c, context, out)
        with c.when(c.test("==", c.load(ring.words, 4 * TAIL, 32), c.get(head))):
            nap_if_busy(c, count)
    c.ret(0)


def _take_back(c: Code, context: Any, back: _XdpRing) -> None:
    """Frames that the kernel has sent are free again."""
    ready, first, free = back.ready(), c.load(back.consumer, 0, 32), c.load(context, XdpContext.N_FREE)
    with c.each(ready) as i:
        at = c.load(back.entry(c.b.add(first, i)), 0)
        c.store(c.b.add(context, c.b.mul(c.b.add(free, i), c.const(8))), XdpContext.FREE, at)
    back.advance(back.consumer, ready)
    c.store(context, XdpContext.N_FREE, c.b.add(free, ready))


def _send(c: Code, context: Any, out: _XdpRing) -> None:
    with c.each(RING_FRAMES // _BATCH) as _:
        with c.when(c.test("!=", out.ready(), 0)):
            c.syscall(_SENDTO, c.load(context, PumpContext.DEVICE), 0, 0, _MSG_DONTWAIT, 0, 0)
