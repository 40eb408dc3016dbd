"""The two threads between a port and a memory-mapped packet socket (packet(7), TPACKET_V2): the kernel and we share its frames.

``inward(context)``
    Frames that came go into the port's ring, VLAN tags that the kernel has taken off in their places; then they are the kernel's again.
``outward(context)``
    Frames of the port are copied into the kernel's, which is called to send them, once for many.
"""

from __future__ import annotations

import enum
from typing import Any

from penstock.datapath import ports
from penstock.datapath.ports import BUFFER_BYTES, HEAD, TAIL
from penstock.device import partial, pump
from penstock.device.partial import complete
from penstock.device.pump import (
    BURST,
    PumpContext,
    PumpRing,
    add,
    copy,
    done_with,
    finish,
    hand_over,
    nap_if_busy,
    wait_for_device,
    wait_for_frames,
)
from penstock.runtime.image import Image
from penstock.runtime.machinecode import Code, assemble
from penstock.runtime.once import once

__all__ = ["BLOCK_BYTES", "FRAMES", "FRAME_BYTES", "MappedContext", "mapped_pumps"]

#: a frame of the kernel's has a header of up to 80 bytes in front; 16 of them are nine pages, so that all lie in a row
FRAME_BYTES, FRAMES = 2304, 1024
BLOCK_BYTES = 16 * FRAME_BYTES
_SENDTO, _RECVFROM, _YIELD = 44, 45, 24
_MSG_DONTWAIT = 0x40
#: struct tpacket2_hdr
_STATUS, _LENGTH, _CAPTURED, _MAC, _TCI, _TPID, _HEADER_BYTES = 0, 4, 8, 12, 24, 26, 32
#: of a frame that came: ours, and its VLAN tag is in the header. Of one to send: free, to be sent, not understood
_OURS, _TAGGED, _FREE, _TO_SEND, _WRONG = 1, 0x10, 0, 1, 4
_ADDRESSES_BYTES, _TAG_BYTES = 12, 4
#: calls for a frame that the kernel has still under way before one of the port's is given up
_PATIENCE = 16


class MappedContext(enum.IntEnum):
    """Offsets in bytes of the 64-bit words after those of PumpContext: where the frames of either direction are."""

    RECEIVED = 128
    TO_SEND = 136


@once
def mapped_pumps() -> Image:
    return assemble("mappedpumps", {"inward": (1, _inward), "outward": (1, _outward), "complete": (2, complete)},
                    [__file__, pump.__file__, partial.__file__, ports.__file__])


def _frame(c: Code, frames: Any, index: Any) -> Any:
    return c.b.add(frames, c.b.mul(c.b.and_(index, c.const(FRAMES - 1)), c.const(FRAME_BYTES)))


def _network_order(c: Code, value: Any) -> Any:
    return c.b.or_(c.b.lshr(value, c.const(8)), c.b.shl(c.b.and_(value, c.const(0xFF)), c.const(8)))


def _inward(c: Code) -> None:
    (context,) = c.args
    ring, mask = PumpRing(c, context), c.const(0xFFFFFFFF)
    frames = c.load(context, MappedContext.RECEIVED)
    tail, index, moved = c.variable(ring.load(TAIL)), c.variable(0), c.variable(0)
    with c.forever() as (_, done):
        wait_for_device(c, context, done)
        c.set(moved, 0)
        with c.forever() as (_, empty):
            frame = _frame(c, frames, c.get(index))
            status = c.load(frame, _STATUS, 32)
            with c.when(c.b.or_(c.test(">=", c.get(moved), BURST), c.test("==", c.b.and_(status, c.const(_OURS)), 0))):
                c.b.branch(empty)
            c.fence()
            came, captured, start = c.load(frame, _LENGTH, 32), c.load(frame, _CAPTURED, 32), c.b.add(frame, c.load(frame, _MAC, 16))
            is_tagged = c.test("!=", c.b.and_(status, c.const(_TAGGED)), 0)
            size = c.b.add(came, c.b.select(is_tagged, c.const(_TAG_BYTES), c.const(0)))
            used = c.b.and_(c.b.sub(c.get(tail), ring.load(HEAD)), mask)
            with c.when(c.test(">", used, ring.size)):
                c.store(context, PumpContext.BROKEN, 1)
                c.b.branch(done)
            unwanted = c.b.or_(c.test("!=", came, captured), c.test(">", size, BUFFER_BYTES))
            with c.b.if_else(c.b.or_(c.test("==", used, ring.size), unwanted)) as (then, otherwise):
                with then:
                    add(c, context, PumpContext.DROPS, 1)
                with otherwise:
                    buffer, length = ring.buffer(c.get(tail))
                    finish(c, context, start, came)
                    with c.b.if_else(is_tagged) as (tagged, plain):
                        with tagged:
                            copy(c, buffer, start, c.const(_ADDRESSES_BYTES))
                            c.store(buffer, _ADDRESSES_BYTES, _network_order(c, c.load(frame, _TPID, 16)), 16)
                            c.store(buffer, _ADDRESSES_BYTES + 2, _network_order(c, c.load(frame, _TCI, 16)), 16)
                            copy(c, c.b.add(buffer, c.const(_ADDRESSES_BYTES + _TAG_BYTES)), c.b.add(start, c.const(_ADDRESSES_BYTES)),
                                 c.b.sub(came, c.const(_ADDRESSES_BYTES)))
                        with plain:
                            copy(c, buffer, start, came)
                    c.store(length, 0, size, 32)
                    c.set(tail, c.b.and_(c.b.add(c.get(tail), c.const(1)), mask))
                    add(c, context, PumpContext.COUNT, 1)
            c.fence()
            c.store(frame, _STATUS, 0, 32)
            c.set(index, c.b.add(c.get(index), c.const(1)))
            c.set(moved, c.b.add(c.get(moved), c.const(1)))
        with c.when(c.test("==", c.get(moved), 0)):
            # An error (the interface went down) would end every sleep at once until somebody has taken note of it.
            nowhere = c.b.add(context, c.const(PumpContext.SCRATCH))
            c.syscall(_RECVFROM, c.load(context, PumpContext.DEVICE), nowhere, 0, _MSG_DONTWAIT, 0, 0)
        hand_over(c, ring, c.get(tail), c.get(moved))
    c.ret(0)


def _outward(c: Code) -> None:
    (context,) = c.args
    ring, frames = PumpRing(c, context), c.load(context, MappedContext.TO_SEND)
    head, index, tries, sent = c.variable(ring.load(HEAD)), c.variable(0), c.variable(0), c.variable(0)
    with c.forever() as (again, done):
        ready = wait_for_frames(c, context, ring, c.get(head), again, done)
        count = c.b.select(c.test("<", ready, BURST), ready, c.const(BURST))
        c.set(sent, 0)
        with c.forever() as (_, full):
            frame = _frame(c, frames, c.get(index))
            status = c.load(frame, _STATUS, 32)
            is_free = c.b.or_(c.test("==", status, _FREE), c.test("!=", c.b.and_(status, c.const(_WRONG)), 0))
            with c.when(c.b.or_(c.test(">=", c.get(sent), count), c.b.not_(is_free))):
                c.b.branch(full)
            buffer, length = ring.buffer(c.b.add(c.get(head), c.get(sent)))
            size = c.load(length, 0, 32)
            with c.when(c.test(">", size, BUFFER_BYTES)):
                c.store(context, PumpContext.BROKEN, 1)
                c.b.branch(done)
            copy(c, c.b.add(frame, c.const(_HEADER_BYTES)), buffer, size)
            c.store(frame, _LENGTH, size, 32)
            c.fence()
            c.store(frame, _STATUS, _TO_SEND, 32)
            c.set(index, c.b.add(c.get(index), c.const(1)))
            c.set(sent, c.b.add(c.get(sent), c.const(1)))
        c.syscall(_SENDTO, c.load(context, PumpContext.DEVICE), 0, 0, _MSG_DONTWAIT, 0, 0)
        with c.when(c.test("==", c.get(sent), 0)):
            # All of the kernel's frames are under way: the device is slower than we are.
            c.syscall(_YIELD)
            c.set(tries, c.b.add(c.get(tries), c.const(1)))
            with c.when(c.test(">=", c.get(tries), _PATIENCE)):
                c.set(tries, 0)
                done_with(c, context, ring, head, c.const(1), PumpContext.DROPS)
            c.b.branch(again)
        c.set(tries, 0)
        done_with(c, context, ring, head, c.get(sent), PumpContext.COUNT)
        with c.when(c.test("==", c.load(ring.words, 4 * TAIL, 32), c.get(head))):
            nap_if_busy(c, c.get(sent))
    c.ret(0)
