"""A port of a switch as the program that opened it sees it: frames in, frames out, one at a time from Python."""

from __future__ import annotations

from typing import Self

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
from penstock.ring.side import Side

__all__ = ["OpenPort"]

_WRAP = 1 << 32


class OpenPort(Side):
    """Send to and receive from a switch. What the switch writes is checked: RingError tells that it makes no sense."""

    mine, theirs = DOMAIN_WAITING, PEER_WAITING

    def __init__(self, memory: PortMemory, name: str = ""):
        super().__init__(name)
        self.memory, self.address = memory, memory.address
        self._words, self._bytes = memory.words, memory.bytes
        layout = memory.layout
        self._slots, self._rx, self._tx = layout.slots, layout.rx, layout.tx
        self._rx_buffers, self._tx_buffers = 4 * layout.rx + layout.ring_header_bytes, 4 * layout.tx + layout.ring_header_bytes
        self._head, self._tail = self._words[self._rx + HEAD], self._words[self._tx + TAIL]

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
        """The switch moves what was put; or this program does. Then what finds no room at a patient port goes with a later flush."""
        self._words[self._tx + TAIL] = self._tail
        if self.memory.forward is not None:
            self.memory.forward()
        else:
            self.fence()
            self.call()

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
                self.fence()
                if words[self._rx + STARVED]:
                    words[self._rx + STARVED] = 0
                    self.call()
                return b"".join(parts)
        raise RingError(f"{self.name}: a frame without end")

    def close(self) -> None:
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
