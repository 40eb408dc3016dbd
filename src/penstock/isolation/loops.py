"""The few instructions around a router: the guest's loop, and the host's threads that run and wake domains.

Made with llvmlite and kept in the image cache, as the routers are. Its functions:

``serve(control, hook, context)``
    Turns of all installed configurations until something is wanted, then ``hook(context)``; ends when that gives 1.
``doorbell(context)``
    The hook inside a virtual machine: ``out``, which leaves it.
``attend(context)``
    The host's side of a hook: wakes peers, tells Python, and sleeps until there is something to do. Gives 1 to end.
``upcall(memory)``
    What packet code calls to have the host read its ring now.
``thread(context)``, ``vcpu(context)``
    What a thread runs: ``serve`` in this process, or a virtual CPU.
``fault(signal, information, state)``
    The handler of a locked-down process for what its code must not do: notes where that was, and ends the process.
``exchange(address, value)``, ``claim(context)``
    For Python: put a value and get the old one at once; make a domain HELD that is IDLE, and get the state found.
"""

from __future__ import annotations

from typing import Any

from penstock.datapath import ports, sched
from penstock.datapath.ports import DOMAIN_WAITING, PEER_WAITING
from penstock.isolation import layout
from penstock.isolation.layout import MAX_INSTANCES, Context, Control, Entry, Event, Request, State, Want
from penstock.runtime.image import Image
from penstock.runtime.machinecode import Code, assemble
from penstock.runtime.once import once

__all__ = ["DOORBELL_PORT", "HOOK_WORD", "loops"]

DOORBELL_PORT = 0x10
#: words at the start of instance memory, which no router uses: control, hook, context
CONTROL_WORD, HOOK_WORD, CONTEXT_WORD = 8, 16, 24

_WRITE, _IOCTL, _GETTID, _FUTEX_WAITV, _CLOCK_GETTIME, _SCHED_SETAFFINITY, _EXIT_GROUP = 1, 16, 186, 449, 228, 203, 231
_UCONTEXT_STACK, _UCONTEXT_RIP = 16, 168
_KVM_RUN, _KVM_EXIT_IO = 0xAE80, 2
_NEVER = 0xFFFF_FFFF_FFFF_FFFF
#: a virtual CPU stays on the CPU that it was made on for so many runs: moving it costs milliseconds here, starting should not
_RUNS_AT_HOME = 256
_EINTR, _EAGAIN = 4, 11
_EXIT_REASON_OFFSET = 8


@once
def loops() -> Image:
    """The functions, from the image cache where it has them."""
    return assemble("loops", _FUNCTIONS, [__file__, layout.__file__, ports.__file__, sched.__file__])


def _doorbell(c: Code) -> None:
    kind = c.ir.FunctionType(c.ir.VoidType(), [c.ir.IntType(16)])
    c.b.asm(kind, "outb %al, $0", "{dx},~{memory}", [c.ir.IntType(16)(DOORBELL_PORT)], True)
    c.ret(0)


def _upcall(c: Code) -> None:
    (memory,) = c.args
    control = c.load(memory, CONTROL_WORD)
    c.store(control, Control.RESULT, Want.UPCALL | Want.HOST | Want.BUSY)
    c.call_at(c.load(memory, HOOK_WORD), c.load(memory, CONTEXT_WORD))
    c.ret(0)


def _serve(c: Code) -> None:
    control, hook, context = c.args
    with c.forever() as (_, done):
        wants, deadline = c.variable(0), c.variable(_NEVER)
        c.store(control, Control.TURNS, c.b.add(c.load(control, Control.TURNS), c.const(1)))
        c.set(wants, 0)
        c.set(deadline, _NEVER)
        with c.each(c.b.and_(c.load(control, Control.COUNT), c.const(2 * MAX_INSTANCES - 1))) as i:
            entry = c.b.add(control, c.b.add(c.b.mul(i, c.const(Entry.SIZE)), c.const(Control.ENTRIES)))
            turn = c.load(entry, Entry.TURN)
            with c.when(c.test("!=", turn, 0)):
                memory = c.load(entry, Entry.MEMORY)
                clock = c.b.add(memory, c.load(entry, Entry.CLOCK_OFFSET))
                for k in (0, 8, 16):
                    c.store(clock, k, c.load(control, Control.TIME + k))
                result = c.call_at(turn, memory, c.load(control, Control.LIMIT))
                c.set(wants, c.b.or_(c.get(wants), result))
                expiry = c.load(memory, c.load(entry, Entry.EXPIRY_OFFSET))
                with c.when(c.test("<", expiry, c.get(deadline))):
                    c.set(deadline, expiry)
        muted = c.b.xor(c.load(control, Control.MUTE), c.const(_NEVER))
        c.set(wants, c.b.and_(c.get(wants), muted))
        calm = c.b.and_(c.test("==", c.get(wants), Want.BUSY), c.test("==", c.load(control, Control.STOP), 0))
        with c.when(c.b.not_(calm)):
            c.store(control, Control.RESULT, c.get(wants))
            c.store(control, Control.DEADLINE_NS, c.get(deadline))
            ended = c.call_at(hook, context)
            with c.when(c.test("!=", ended, 0)):
                c.b.branch(done)
    c.ret(0)


def _attend(c: Code) -> None:
    (context,) = c.args
    control = c.load(context, Context.CONTROL)
    n_ports = c.load(context, Context.N_PORTS)
    wants = c.variable(c.load(control, Control.RESULT))
    c.store(context, Context.BEATS, c.b.add(c.load(context, Context.BEATS), c.const(1)))
    with c.each(n_ports) as i:
        port = c.load(c.b.add(context, c.b.mul(i, c.const(8))), Context.PORTS)
        with c.when(c.test("!=", c.load(port, 4 * PEER_WAITING, 32), 0)):
            c.store(port, 4 * PEER_WAITING, 0, 32)
            c.futex_wake(c.b.add(port, c.const(4 * PEER_WAITING)))
    _tell_host(c, context, control, wants)
    with c.forever() as (again, _):
        request = c.load(context, Context.REQUEST)
        with c.when(c.test("==", request, Request.END)):
            c.store(context, Context.STATE, State.ENDED, 32)
            c.futex_wake(context)
            c.ret(1)
        with c.when(c.test("==", request, Request.PAUSE)):
            c.store(context, Context.STATE, State.PARKED, 32)
            c.futex_wake(context)
            c.futex_wait(context, Context.KICK, 0)
            c.clear(context, Context.KICK)
            # Whatever was changed meanwhile is to be looked at.
            c.set(wants, Want.BUSY)
            c.b.branch(again)
        with c.when(c.has(c.get(wants), Want.BUSY)):
            c.store(context, Context.STATE, State.RUNNING, 32)
            _refresh_time(c, context, control)
            c.ret(0)
        _sleep(c, context, control, n_ports)
        with c.forever() as (_, awake):
            found = c.swap_if(context, Context.STATE, State.IDLE, State.RUNNING)
            with c.when(c.test("!=", found, State.HELD)):
                c.b.branch(awake)
            c.futex_wait(context, Context.STATE, State.HELD)
        c.set(wants, Want.BUSY)
    c.b.unreachable()


def _tell_host(c: Code, context: Any, control: Any, wants: Any) -> None:
    """Events for Python, each once: what was told is muted until Python has seen to it."""
    news = c.b.and_(c.get(wants), c.const(Want.HOST | Want.STOPPED | Want.UPCALL))
    with c.when(c.test("!=", news, 0)):
        c.set_bits(context, Context.EVENTS, news)
        c.set_bits(control, Control.MUTE, c.b.and_(news, c.const(Want.HOST | Want.STOPPED)))
        c.syscall(_WRITE, c.load(context, Context.EVENTFD), c.b.add(context, c.const(Context.ONE)), 8)
    with c.when(c.has(c.get(wants), Want.UPCALL)):
        with c.forever() as (_, answered):
            with c.when(c.test("!=", c.load(context, Context.ACK, 32), 0)):
                c.b.branch(answered)
            with c.when(c.test("==", c.load(context, Context.REQUEST), Request.END)):
                c.b.branch(answered)
            c.futex_wait(context, Context.ACK, 0)
        c.clear(context, Context.ACK)


def _sleep(c: Code, context: Any, control: Any, n_ports: Any) -> None:
    """Until a peer, a timer or the host wants something."""
    c.store(context, Context.STATE, State.IDLE, 32)
    deadline = c.load(control, Control.DEADLINE_NS)
    billion = c.const(1_000_000_000)
    with c.b.goto_entry_block():
        when = c.b.alloca(c.i64, 2)
    when_at = c.address_of(when)
    c.store(when_at, 0, c.b.udiv(deadline, billion))
    c.store(when_at, 8, c.b.urem(deadline, billion))
    # The kernel takes no time beyond what a signed number holds.
    timeout = c.b.select(c.test("<", deadline, 1 << 62), when_at, c.const(0))
    waits = c.b.add(context, c.const(Context.WAITS))
    c.syscall(_FUTEX_WAITV, waits, c.b.add(n_ports, c.const(1)), 0, timeout, 0)
    c.clear(context, Context.KICK)
    with c.each(n_ports) as i:
        c.store(c.load(c.b.add(context, c.b.mul(i, c.const(8))), Context.PORTS), 4 * DOMAIN_WAITING, 0, 32)


def _refresh_time(c: Code, context: Any, control: Any) -> None:
    with c.b.goto_entry_block():
        now = c.b.alloca(c.i64, 2)
    at = c.address_of(now)
    c.syscall(_CLOCK_GETTIME, 0, at)
    cycles = c.b.call(c.b.module.declare_intrinsic("llvm.readcyclecounter", (), c.ir.FunctionType(c.i64, [])), [])
    ns = c.b.add(c.b.mul(c.load(at, 0), c.const(1_000_000_000)), c.load(at, 8))
    c.store(control, Control.TIME, ns)
    c.store(control, Control.TIME + 8, c.b.add(cycles, c.load(context, Context.CYCLES_OFFSET)))
    c.store(control, Control.TIME + 16, c.load(context, Context.RATE))


def _thread(c: Code) -> None:
    (context,) = c.args
    c.store(context, Context.THREAD, c.syscall(_GETTID))
    control = c.load(context, Context.CONTROL)
    c.store(control, Control.RESULT, Want.BUSY)
    ended = c.call("attend", context)
    with c.when(c.test("==", ended, 0)):
        hook = c.b.ptrtoint(c.functions["attend"], c.i64)
        c.call("serve", control, hook, context)
    c.ret(0)


def _vcpu(c: Code) -> None:
    (context,) = c.args
    c.store(context, Context.THREAD, c.syscall(_GETTID))
    control, run = c.load(context, Context.CONTROL), c.load(context, Context.RUN)
    c.store(control, Control.RESULT, Want.BUSY)
    runs = c.variable(0)
    with c.forever() as (again, done):
        with c.when(c.test("!=", c.call("attend", context), 0)):
            c.b.branch(done)
        answer = c.syscall(_IOCTL, c.load(context, Context.VCPU), _KVM_RUN, 0)
        c.set(runs, c.b.add(c.get(runs), c.const(1)))
        with c.when(c.test("==", c.get(runs), _RUNS_AT_HOME)):
            c.syscall(_SCHED_SETAFFINITY, 0, 128, c.b.add(context, c.const(Context.AFFINITY)))
        reason = c.load(run, _EXIT_REASON_OFFSET, 32)
        fine = c.b.and_(c.test("==", answer, 0), c.test("==", reason, _KVM_EXIT_IO))
        with c.when(fine):
            c.b.branch(again)
        interrupted = c.b.or_(c.test("==", answer, -_EINTR & _NEVER), c.test("==", answer, -_EAGAIN & _NEVER))
        with c.when(c.b.and_(interrupted, c.test("!=", c.load(context, Context.REQUEST), Request.END))):
            c.store(control, Control.RESULT, Want.BUSY)
            c.b.branch(again)
        c.store(context, Context.REASON, c.b.select(c.test("==", answer, 0), reason, answer))
        c.store(context, Context.STATE, State.CRASHED, 32)
        c.futex_wake(context)
        c.set_bits(context, Context.EVENTS, Event.CRASHED)
        c.syscall(_WRITE, c.load(context, Context.EVENTFD), c.b.add(context, c.const(Context.ONE)), 8)
        c.b.branch(done)
    c.ret(0)


def _fault(c: Code) -> None:
    number, _, state = c.args
    # The kernel tells the alternate stack in ucontext_t, and its first word is the context; rip is among the saved registers.
    context = c.load(c.load(state, _UCONTEXT_STACK), 0)
    c.store(context, Context.REASON, c.load(state, _UCONTEXT_RIP))
    c.syscall(_EXIT_GROUP, c.b.add(c.b.and_(number, c.const(63)), c.const(64)))
    c.ret(0)


def _exchange(c: Code) -> None:
    address, value = c.args
    c.ret(c.b.atomic_rmw("xchg", c.b.inttoptr(address, c.i64.as_pointer()), value, "seq_cst"))


def _claim(c: Code) -> None:
    c.ret(c.swap_if(c.args[0], Context.STATE, State.IDLE, State.HELD))


_FUNCTIONS = {"doorbell": (1, _doorbell), "attend": (1, _attend), "serve": (3, _serve), "upcall": (1, _upcall), "thread": (1, _thread),
              "vcpu": (1, _vcpu), "fault": (3, _fault), "exchange": (2, _exchange), "claim": (1, _claim)}
