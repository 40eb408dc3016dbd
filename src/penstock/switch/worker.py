"""The thread in which a switch forwards: turns of the fabric, calls to sleeping readers, and sleep. No Python in it.

``work(context)``
    Until it is told to end: a turn; the readers that were found asleep are woken; after some turns without a frame, sleep
    until a port calls.
``forward(context)``
    For a program that forwards what it sends itself: all that it has put, then its readers are woken. Gives -1 once it may not.
"""

from __future__ import annotations

import enum
from typing import Any

from penstock.datapath import ports
from penstock.datapath.ports import DOMAIN_WAITING
from penstock.runtime.image import Image
from penstock.runtime.machinecode import Code, assemble
from penstock.runtime.once import once

__all__ = ["CONTEXT_BYTES", "MAX_WAITS", "WorkerContext", "WorkerState", "worker"]

#: words that one thread can wait on (futex_waitv), less the one that Python wakes it by
MAX_WAITS = 127
_FUTEX_WAITV, _NANOSLEEP = 449, 35
_ROUNDS = 8
#: turns without a frame before going to sleep: about 20 microseconds. A call costs 4 to 27
_SPINS = 400
CONTEXT_BYTES = 8192


class WorkerState(enum.IntEnum):
    RUNNING, PARKED, ENDED = range(3)


class WorkerContext(enum.IntEnum):
    """Offsets in bytes of the 64-bit words that a worker works on."""

    MEMORY = 0
    TURN = 8
    SETTLE = 16
    ROUSE = 24
    #: 1 park, 2 end
    REQUEST = 32
    STATE = 40
    KICK = 48
    #: how many words to wait on; more ports than that are looked at every so often
    N_WAITS = 56
    #: the fabric's layout: addresses of n_wake, wake, the ports' page words, and the ports' memory
    N_WAKE = 64
    WAKE = 72
    PAGES = 80
    PORTS = 88
    STATE_BYTES = 96
    #: nanoseconds between two looks where not every port can be waited on
    PAUSE = 112
    #: of a program that forwards itself: its port, and where it has the code; TURN is from there
    SOURCE = 120
    CODE = 128
    WAITS = 256


@once
def worker() -> Image:
    return assemble("switch", {"work": (1, _work), "forward": (1, _forward)}, [__file__, ports.__file__])


def _work(c: Code) -> None:
    (context,) = c.args
    memory = c.load(context, WorkerContext.MEMORY)
    idle = c.variable(0)
    with c.forever() as (again, done):
        request = c.load(context, WorkerContext.REQUEST)
        with c.when(c.test("!=", request, 0)):
            with c.when(c.test("==", request, 2)):
                c.b.branch(done)
            c.store(context, WorkerContext.STATE, WorkerState.PARKED, 32)
            c.futex_wake(c.b.add(context, c.const(WorkerContext.STATE)))
            c.futex_wait(context, WorkerContext.KICK, 0)
            c.clear(context, WorkerContext.KICK)
            c.store(context, WorkerContext.STATE, WorkerState.RUNNING, 32)
            c.b.branch(again)
        moved = c.call_at(c.load(context, WorkerContext.TURN), memory, _ROUNDS)
        _wake(c, context)
        with c.when(c.test("!=", moved, 0)):
            c.set(idle, 0)
            c.b.branch(again)
        c.set(idle, c.b.add(c.get(idle), c.const(1)))
        with c.when(c.test("<", c.get(idle), _SPINS)):
            c.b.asm(c.ir.FunctionType(c.ir.VoidType(), []), "pause", "~{memory}", [], True)
            c.b.branch(again)
        c.set(idle, 0)
        _sleep(c, context, memory)
    c.store(context, WorkerContext.STATE, WorkerState.ENDED, 32)
    c.futex_wake(c.b.add(context, c.const(WorkerContext.STATE)))
    c.ret(0)


def _forward(c: Code) -> None:
    (context,) = c.args
    with c.forever() as (again, _):
        c.swap_if(context, WorkerContext.STATE, WorkerState.PARKED, WorkerState.RUNNING)
        c.fence()
        request = c.load(context, WorkerContext.REQUEST)
        with c.when(c.test("!=", request, 0)):
            with c.when(c.test("==", request, 2)):
                c.ret(-1)
            c.store(context, WorkerContext.STATE, WorkerState.PARKED, 32)
            c.futex_wake(c.b.add(context, c.const(WorkerContext.STATE)))
            c.futex_wait(context, WorkerContext.KICK, 0)
            c.clear(context, WorkerContext.KICK)
            c.b.branch(again)
        turn = c.b.add(c.load(context, WorkerContext.CODE), c.load(context, WorkerContext.TURN))
        moved = c.call_at(turn, c.load(context, WorkerContext.MEMORY), c.load(context, WorkerContext.SOURCE))
        _wake(c, context)
        c.store(context, WorkerContext.STATE, WorkerState.PARKED, 32)
        c.fence()
        with c.when(c.test("!=", c.load(context, WorkerContext.REQUEST), 0)):
            c.futex_wake(c.b.add(context, c.const(WorkerContext.STATE)))
        with c.when(c.test("==", moved, 0)):
            c.ret(0)
    c.b.unreachable()


def _wake(c: Code, context: Any) -> None:
    """Each reader once for all that it was given in this turn."""
    counter = c.load(context, WorkerContext.N_WAKE)
    sleepers = c.load(counter, 0, 32)
    with c.when(c.test("!=", sleepers, 0)):
        with c.each(sleepers) as i:
            port = c.load(c.b.add(c.load(context, WorkerContext.WAKE), c.b.mul(i, c.const(4))), 0, 32)
            page = c.load(c.b.add(c.load(context, WorkerContext.PAGES), c.b.mul(port, c.load(context, WorkerContext.STATE_BYTES))), 0)
            word = c.b.add(c.load(context, WorkerContext.PORTS), c.b.mul(page, c.const(4)))
            with c.when(c.test("!=", c.load(word, 4 * DOMAIN_WAITING, 32), 0)):
                c.store(word, 4 * DOMAIN_WAITING, 0, 32)
                c.futex_wake(c.b.add(word, c.const(4 * DOMAIN_WAITING)))
        c.store(counter, 0, 0, 32)


def _sleep(c: Code, context: Any, memory: Any) -> None:
    found = c.call_at(c.load(context, WorkerContext.SETTLE), memory)
    with c.when(c.b.and_(c.test("!=", found, 1), c.test("==", c.load(context, WorkerContext.REQUEST), 0))):
        # Where a port only waits until it may send again, a nap.
        waits = c.b.select(c.test("==", found, 2), c.const(0), c.load(context, WorkerContext.N_WAITS))
        with c.b.if_else(c.test("!=", waits, 0)) as (then, otherwise):
            with then:
                c.syscall(_FUTEX_WAITV, c.b.add(context, c.const(WorkerContext.WAITS)), waits, 0, 0, 0)
            with otherwise:
                with c.b.goto_entry_block():
                    when = c.b.alloca(c.i64, 2)
                at = c.address_of(when)
                c.store(at, 0, 0)
                c.store(at, 8, c.load(context, WorkerContext.PAUSE))
                c.syscall(_NANOSLEEP, at, 0)
        c.clear(context, WorkerContext.KICK)
    c.call_at(c.load(context, WorkerContext.ROUSE), memory)
