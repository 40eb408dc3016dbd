"""SpinlockInfo, SpinlockAcquire, SpinlockRelease and SpinlockPush: parts of a configuration that one thread at a time may be in.

One image runs in one thread: a lock is always free, and its name is checked.
"""

from penstock.elements import ConfigureError, Element, Packet, datapath, u32
from penstock.lang.arguments import Word

__all__ = ["SpinlockAcquire", "SpinlockInfo", "SpinlockPush", "SpinlockRelease"]


class SpinlockInfo(Element):
    """Name locks for the other Spinlock elements.

    Arguments:
        LOCK, ...: names.

    Example:
        SpinlockInfo(l); InfiniteSource(LIMIT 1, STOP true) -> SpinlockAcquire(l) -> SpinlockRelease(l) -> Discard;
    """

    ports = "0/0"
    configure_phase = 0

    def configure(self, *lock: Word) -> None:
        if not lock:
            raise ConfigureError("LOCK: required argument missing")
        self.locks = lock


class _Locking(Element):
    """What the elements share that take a lock's name."""

    def configure(self, lock: Word) -> None:
        self.lock = lock

    def initialize(self) -> None:
        for element in self.router.elements:
            if isinstance(element, SpinlockInfo) and self.lock in element.locks:
                return
        raise ConfigureError(f"no spinlock named '{self.lock}' (SpinlockInfo names them)")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        return p


class SpinlockAcquire(_Locking):
    """Take a lock, and let the packet go on.

    Arguments:
        LOCK: a name that SpinlockInfo gives.

    Example:
        SpinlockInfo(l); InfiniteSource(LIMIT 1, STOP true) -> SpinlockAcquire(l) -> SpinlockRelease(l) -> Discard;
    """


class SpinlockRelease(_Locking):
    """Give a lock back, and let the packet go on.

    Arguments:
        LOCK: a name that SpinlockInfo gives.

    Example:
        SpinlockInfo(l); InfiniteSource(LIMIT 1, STOP true) -> SpinlockAcquire(l) -> SpinlockRelease(l) -> Discard;
    """


class SpinlockPush(_Locking):
    """Hold a lock as long as the packet is under way downstream.

    Arguments:
        LOCK: a name that SpinlockInfo gives.

    Handlers:
        count (read): packets that went through.

    Example:
        SpinlockInfo(l); InfiniteSource(LIMIT 1, STOP true) -> SpinlockPush(l) -> Discard;
    """

    processing = "h/h"

    count: u32

    def add_handlers(self) -> None:
        self.add_data("count", "count")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        self.count += 1
        return p
