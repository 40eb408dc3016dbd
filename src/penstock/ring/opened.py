"""A port of a switch as the program that opened it sees it: frames in, frames out, one at a time from Python."""

from __future__ import annotations

import threading
import time
from typing import Self

from penstock.datapath.futex import futex_wait, futex_wake
from penstock.datapath.ports import (
    BUFFER_BYTES,
    DOMAIN_WAITING,
    HEAD,
    LENGTHS,
    MAX_SEGMENTS,
    MORE,
    PEER_WAITING,
    STARVED,
    TAIL,
)
from penstock.ring.memory import PortMemory, RingError

__all__ = ["OpenPort"]

_WRAP = 1 << 32


class OpenPort:
    """Send to and receive from a switch. What the switch writes is checked: RingError tells that it makes no sense."""

    def __init__(self, memory: PortMemory, name: str = ""):
        self.memory, self.name = memory, name
        self._words, self._bytes = memory.words, memory.bytes
        layout = memory.layout
        self._slots, self._rx, self._tx = layout.slots, layout.rx, layout.tx
        self._rx_buffers, self._tx_buffers = 4 * layout.rx + layout.ring_header_bytes, 4 * layout.tx + layout.ring_header_bytes
        self._head, self._tail = self._words[self._rx + HEAD], self._words[self._tx + TAIL]
        self._fence = threading.Lock()

    def send(self, frame: bytes) -> bool:
        """One frame to the switch, over several slots where it is large; False where the ring is full. The switch is woken."""
        done = self.put(frame)
        self.flush()
        return done

    def put(self, frame: bytes) -> bool:
        """As ``send``, but the switch sees it at the next ``flush``."""
        segments = max(1, -(-len(frame) // BUFFER_BYTES))
        if segments > min(MAX_SEGMENTS, self._slots):
            raise ValueError(f"a frame of {len(frame)} bytes; {MAX_SEGMENTS} slots of {BUFFER_BYTES} hold less")
        words = self._words
        used = (self._tail - words[self._tx + HEAD]) % _WRAP
        if used > self._slots:
            raise RingError(f"{self.name}: the switch's read index makes no sense")
        if self._slots - used < segments:
            words[self._tx + STARVED] = 1
            return False
        for i in range(segments):
            part = frame[i * BUFFER_BYTES : (i + 1) * BUFFER_BYTES]
            slot = (self._tail + i) % self._slots
            at = self._tx_buffers + slot * BUFFER_BYTES
            self._bytes[at : at + len(part)] = part
            words[self._tx + LENGTHS + slot] = len(part) | (MORE if i + 1 < segments else 0)
        self._tail = (self._tail + segments) % _WRAP
        return True

    def flush(self) -> None:
        words = self._words
        words[self._tx + TAIL] = self._tail
        # A lock is a full fence: the switch must see the frame, or we must see that it waits.
        with self._fence:
            pass
        if words[PEER_WAITING]:
            self.wake_switch()

    def wake_switch(self) -> None:
        self._words[PEER_WAITING] = 0
        futex_wake(self.memory.address + 4 * PEER_WAITING)

    def receive(self, timeout_s: float = 0.0) -> bytes | None:
        """The next frame from the switch; None where none comes in time."""
        frame = self._get()
        if frame is not None or timeout_s <= 0:
            return frame
        end = time.monotonic() + timeout_s
        words = self._words
        while True:
            words[DOMAIN_WAITING] = 1
            with self._fence:
                pass
            frame = self._get()
            left = end - time.monotonic()
            if frame is not None or left <= 0:
                words[DOMAIN_WAITING] = 0
                return frame
            futex_wait(self.memory.address + 4 * DOMAIN_WAITING, 1, timeout_s=left)

    def _get(self) -> bytes | None:
        words = self._words
        ready = (words[self._rx + TAIL] - self._head) % _WRAP
        if ready == 0:
            return None
        if ready > self._slots:
            raise RingError(f"{self.name}: the switch's write index makes no sense")
        parts: list[bytes] = []
        for i in range(min(ready, MAX_SEGMENTS)):
            slot = (self._head + i) % self._slots
            word = words[self._rx + LENGTHS + slot]
            length = word & 0xFFFF
            if length > BUFFER_BYTES:
                raise RingError(f"{self.name}: a length makes no sense")
            at = self._rx_buffers + slot * BUFFER_BYTES
            parts.append(bytes(self._bytes[at : at + length]))
            if not word & MORE:
                self._head = (self._head + i + 1) % _WRAP
                words[self._rx + HEAD] = self._head
                with self._fence:
                    pass
                if words[self._rx + STARVED]:
                    words[self._rx + STARVED] = 0
                    if words[PEER_WAITING]:
                        self.wake_switch()
                return b"".join(parts)
        raise RingError(f"{self.name}: a frame without end")

    def close(self) -> None:
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
