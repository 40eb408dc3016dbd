"""What the code around a router (loops.py) and the host share: two small blocks of 64-bit words.

*Control* belongs to the isolated side, which may write what it likes there; the host believes nothing in it that could
hurt the host. *Context* belongs to the host.
"""

from __future__ import annotations

import enum

from penstock.datapath import sched

__all__ = ["CONTEXT_BYTES", "CONTROL_BYTES", "MAX_INSTANCES", "Context", "Control", "Entry", "Event", "Request", "State", "Want"]

MAX_INSTANCES = 64
CONTROL_BYTES = 8192
CONTEXT_BYTES = 4096


class Want(enum.IntFlag):
    """What a turn of the domain asks for; the first four are those of the driver."""

    BUSY = sched.BUSY
    WAKE = sched.WAKE
    HOST = sched.HOST
    STOPPED = sched.STOPPED
    UPCALL = 16


class State(enum.IntEnum):
    """Who may touch instance memory: the host where it is HELD, PARKED, CRASHED or ENDED, and where it made it HELD from IDLE."""

    IDLE = 0
    RUNNING = 1
    HELD = 2
    PARKED = 3
    CRASHED = 4
    ENDED = 5


class Request(enum.IntEnum):
    RUN = 0
    PAUSE = 1
    END = 2


class Event(enum.IntFlag):
    """Why the host was called; the bits of Want that concern it, and one more."""

    HOST = Want.HOST
    STOPPED = Want.STOPPED
    UPCALL = Want.UPCALL
    CRASHED = 32


class Control(enum.IntEnum):
    """Offsets in bytes."""

    STOP = 0
    COUNT = 8
    LIMIT = 16
    RESULT = 24
    DEADLINE_NS = 32
    MUTE = 40
    #: base in nanoseconds since the epoch, base in cycles, nanoseconds a cycle times 2^32: as Clock has them
    TIME = 48
    #: counts turns, so that a domain that hangs is told from one that works
    TURNS = 72
    ENTRIES = 128


class Entry(enum.IntEnum):
    """One installed configuration, in Control from ENTRIES on."""

    TURN = 0
    MEMORY = 8
    CLOCK_OFFSET = 16
    EXPIRY_OFFSET = 24
    SIZE = 64


class Context(enum.IntEnum):
    """Offsets in bytes; the first three are 32-bit futex words."""

    STATE = 0
    KICK = 8
    ACK = 16
    REQUEST = 24
    CONTROL = 32
    EVENTFD = 40
    EVENTS = 48
    BEATS = 56
    THREAD = 64
    #: KVM: the vCPU's descriptor, its shared page, and why the last run ended (exit reason, or a negative errno)
    VCPU = 72
    RUN = 80
    REASON = 88
    RATE = 96
    N_PORTS = 104
    ONE = 112
    CYCLES_OFFSET = 120
    #: addresses of the ports' page 0
    PORTS = 128
    #: struct futex_waitv, 24 bytes each
    WAITS = 1280
    #: a CPU mask of 128 bytes, for the thread once the virtual CPU has run for a while
    AFFINITY = 2048
