"""Tasks, timers, notifiers and the driver that runs them: written in the datapath subset themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.datapath.clock import Clock
from penstock.datapath.memory import Array, Stateful
from penstock.datapath.packet import dispatch, fence
from penstock.datapath.source import datapath
from penstock.packet.integers import boolean, i32, u8, u32, u64

if TYPE_CHECKING:
    from penstock.datapath.host import HostRing
    from penstock.datapath.ports import RingPort

__all__ = ["BUSY", "DEFAULT_TICKETS", "HOST", "MAX_TICKETS", "STOPPED", "WAKE", "Driver", "Notifier", "RemoteTask", "Task", "Timer"]

STRIDE1 = 65536  # Click's constants
DEFAULT_TICKETS = 1024
MAX_TICKETS = 32768
TIMER_STRIDE = 16
MAX_TIMERS_A_ROUND = 64
NEVER = 0xFFFF_FFFF_FFFF_FFFF
NOBODY = 0xFFFF_FFFF
_LINGER = 50_000
#: what ``turn`` answers: go on at once; wake the peers of the ports; the host has something to read; the driver has stopped
BUSY, WAKE, HOST, STOPPED = 1, 2, 4, 8


class Driver(Stateful):
    """Stride scheduling of tasks (Waldspurger 1995, as Click does it) and the timers.

    ``attention`` makes ``run`` come back to the host soon. ``runcount`` at 0 or below means stop.
    """

    is_root = True

    runcount: i32
    attention: u32
    depth: u32
    current: u32
    #: a peer of a port sleeps, and has something to do
    wake_peers: u32
    upcall: u64
    next_expiry: u64
    faults: u64
    steps: u64
    #: steps since one that did something
    fruitless: u32
    has_posts: u32

    def __init__(self, clock: Clock):
        self.clock = clock
        self.tasks: list[Task] = []
        self.timers: list[Timer] = []
        self.n_tasks = 0
        self.n_timers = 0
        self.targets: tuple[str, ...] = ()
        self.timer_targets: tuple[str, ...] = ()
        self.ports: tuple[RingPort, ...] = ()
        self.host: HostRing | None = None

    #: other threads may schedule tasks of this one; queues between this one and others
    is_shared = False
    queues: tuple[Any, ...] = ()

    def tasks_of(self, element: Any) -> list[Task]:
        """The tasks of an element, in the order in which it made them."""
        return [t for t in self.tasks if t.owner == element.index]

    def finish(self) -> None:
        """All tasks and timers are known: make the tables."""
        n = self.n_tasks = len(self.tasks)
        self.n_timers = len(self.timers)
        self.following = Array(u32, n + 1, [n] * (n + 1))
        self.preceding = Array(u32, n + 1, [n] * (n + 1))
        self.passes = Array(u32, n + 1)
        self.strides = Array(u32, n + 1, [STRIDE1 // t.tickets for t in self.tasks] + [0])
        self.scheduled = Array(u8, n + 1)
        self.expiry = Array(u64, self.n_timers + 1, [NEVER] * (self.n_timers + 1))
        self.targets = tuple(t.target for t in self.tasks)
        self.timer_targets = tuple(t.target for t in self.timers)
        if self.is_shared:
            self.posted = Array(u8, n + 1)
        self.runcount = 1
        self.current = NOBODY
        self.next_expiry = NEVER

    def begin(self) -> None:
        """Schedule the tasks that are active at the start, in their order."""
        place = self.n_tasks
        for task in self.tasks:
            if task.active_at_start:
                self.scheduled[task.index] = 1
                self.following[place], self.preceding[task.index] = task.index, place
                place = task.index
        self.following[place], self.preceding[self.n_tasks] = self.n_tasks, place

    # Tasks

    @datapath(rare=True)
    def insert(self, task: u32) -> None:
        """Behind all tasks whose pass is not greater."""
        place = self.preceding[self.n_tasks]
        mine = self.passes[task]
        for _ in range(self.n_tasks):
            if place == self.n_tasks:
                break
            if i32(mine - self.passes[place]) >= 0:
                break
            place = self.preceding[place]
        after = self.following[place]
        self.following[place] = task
        self.preceding[task] = place
        self.following[task] = after
        self.preceding[after] = task

    @datapath(rare=True)
    def remove(self, task: u32) -> None:
        before = self.preceding[task]
        after = self.following[task]
        self.following[before] = after
        self.preceding[after] = before

    @datapath(rare=True)
    def schedule(self, task: u32) -> None:
        if self.scheduled[task] != 0:
            return
        self.scheduled[task] = 1
        if self.current == task:
            return
        head = self.following[self.n_tasks]
        if head != self.n_tasks:
            self.passes[task] = self.passes[head]
        elif self.current != NOBODY:
            # Nobody waits, but one works: who wakes up stands beside it, however often either ran before.
            self.passes[task] = self.passes[self.current]
        self.insert(task)

    @datapath(rare=True)
    def unschedule(self, task: u32) -> None:
        if self.scheduled[task] == 0:
            return
        self.scheduled[task] = 0
        if self.current != task:
            self.remove(task)

    @datapath(rare=True)
    def post(self, task: u32) -> None:
        """Schedule from another thread: this one looks in its turn."""
        self.posted[task] = 1
        fence(True)
        self.has_posts = 1

    @datapath(rare=True)
    def linger(self) -> None:
        """Who has just worked is soon given more: to sleep and wake up takes longer than to look some thousand times."""
        for _ in range(_LINGER):
            fence()
            if self.has_posts != 0:
                self.collect()
                return
            if self.attention != 0:
                return

    @datapath(rare=True)
    def collect(self) -> None:
        self.has_posts = 0
        fence(True)
        for i in range(self.n_tasks):
            if self.posted[i] != 0:
                self.posted[i] = 0
                self.schedule(u32(i))

    # Timers

    @datapath(rare=True)
    def set_timer(self, timer: u32, when: u64) -> None:
        self.expiry[timer] = when
        if when < self.next_expiry:
            self.next_expiry = when

    @datapath(rare=True)
    def run_timers(self) -> None:
        """Every timer that is due, the earliest first, each once a round."""
        now = self.clock.now()
        for _ in range(MAX_TIMERS_A_ROUND):
            best: u64 = NEVER
            which: u32 = 0
            for i in range(self.n_timers):
                when = self.expiry[i]
                if when < best:
                    best = when
                    which = i
            self.next_expiry = best
            if best > now or best == NEVER:
                return
            self.expiry[which] = NEVER
            dispatch(which, self.timer_targets)
            if self.attention != 0:
                self.next_expiry = 0
                return

    # The loop

    @datapath(inline=False)
    def run(self, limit: u64) -> u64:
        """Run tasks and timers until nothing is runnable, the host is wanted, or ``limit`` steps are done."""
        count: u64 = 0
        if self.next_expiry != NEVER:
            self.run_timers()
        if self.is_shared:
            for queue in self.queues:
                queue.look()
        for step in range(limit):
            if self.attention != 0:
                break
            if self.is_shared:
                fence()
                if self.has_posts != 0:
                    self.collect()
            task = self.following[self.n_tasks]
            if task == self.n_tasks:
                if self.is_shared and count != 0:
                    self.linger()
                    task = self.following[self.n_tasks]
                if task == self.n_tasks:
                    break
            count += 1
            self.remove(task)
            self.scheduled[task] = 0
            self.current = task
            worked = dispatch(task, self.targets)
            self.current = NOBODY
            self.fruitless = u32(0) if worked else self.fruitless + 1
            if self.scheduled[task] != 0:
                self.passes[task] = self.passes[task] + self.strides[task]
                self.insert(task)
                if not worked and self.following[self.n_tasks] == task:
                    break
            if (step & (TIMER_STRIDE - 1)) == TIMER_STRIDE - 1 and self.next_expiry != NEVER:
                self.run_timers()
        self.steps += count
        return count

    @datapath(inline=False)
    def turn(self, limit: u64) -> u64:
        """What an isolated router does between two looks at the world: bits that say what it wants then."""
        self.attention = 0
        for port in self.ports:
            port.poll()
        self.run(limit)
        for port in self.ports:
            if port.unpublished:
                port.publish()
        wants: u64 = 0
        if self.wake_peers != 0:
            self.wake_peers = 0
            wants |= WAKE
        if self.host is not None:
            if self.host.written != self.host.read:
                wants |= HOST
        if self.runcount <= 0:
            return wants | STOPPED
        if self.next_expiry == 0:
            wants |= BUSY
        if self.following[self.n_tasks] != self.n_tasks:
            wants |= BUSY
        else:
            for port in self.ports:
                if not port.sleep():
                    wants |= BUSY
        return wants

    @property
    def runnable(self) -> bool:
        return self.following[self.n_tasks] != self.n_tasks


class Task(Stateful):
    """Something of an element's that wants to run: its datapath method ``method``, which tells if it worked."""

    def __init__(self, element: Any, method: str = "run_task", *, tickets: int = DEFAULT_TICKETS, active: bool = True):
        self.driver: Driver = element.driver
        self.index = len(self.driver.tasks)
        self.tickets = tickets
        self.active_at_start = active
        self.owner: int = element.index
        self.target = f"e{element.index}_{method}"
        self.driver.tasks.append(self)

    @datapath
    def reschedule(self) -> None:
        self.driver.schedule(u32(self.index))

    @datapath
    def unschedule(self) -> None:
        self.driver.unschedule(u32(self.index))

    @property
    def is_scheduled(self) -> bool:
        return bool(self.driver.scheduled[self.index])

    def set_tickets(self, tickets: int) -> None:
        self.tickets = tickets
        self.driver.strides[self.index] = STRIDE1 // tickets


class RemoteTask(Stateful):
    """A task as another thread than its own sees it."""

    def __init__(self, task: Task):
        self.driver, self.index, self.task = task.driver, task.index, task

    @datapath
    def reschedule(self) -> None:
        self.driver.post(u32(self.index))


class Timer(Stateful):
    """Calls an element's datapath method ``method`` at a time, in nanoseconds."""

    def __init__(self, element: Any, method: str = "run_timer"):
        self.driver: Driver = element.driver
        self.clock: Clock = element.clock
        self.index = len(self.driver.timers)
        self.target = f"e{element.index}_{method}"
        self.driver.timers.append(self)

    @datapath
    def schedule_at(self, when: u64) -> None:
        self.driver.set_timer(u32(self.index), when)

    @datapath
    def schedule_after(self, ns: u64) -> None:
        self.driver.set_timer(u32(self.index), self.clock.now() + ns)

    @datapath
    def unschedule(self) -> None:
        self.driver.set_timer(u32(self.index), u64(NEVER))

    @property
    def expiry_ns(self) -> int | None:
        when = self.driver.expiry[self.index]
        return None if when == NEVER else when


class Notifier(Stateful):
    """A signal that an element raises and lowers; tasks that sleep on it are woken when it rises."""

    active: boolean

    def __init__(self, active: bool = False):
        self.active = active
        self.listeners: list[Task | RemoteTask] = []

    @datapath
    def wake(self) -> None:
        if not self.active:
            self.active = True
            for task in self.listeners:
                task.reschedule()

    @datapath
    def sleep(self) -> None:
        self.active = False
