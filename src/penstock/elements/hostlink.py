"""What elements share that exchange packets with something of this host's: an interface, a socket."""

from __future__ import annotations

from penstock.datapath.host import HostPacket, HostSource
from penstock.datapath.packet import Packet
from penstock.datapath.sched import Task
from penstock.datapath.source import datapath
from penstock.elements.element import ConfigureError, Element
from penstock.elements.signals import upstream_signal
from penstock.packet.integers import u64

__all__ = ["HostLink"]

_BURST = 32
#: room in the ring before another packet is read
_ROOM_BYTES = 1 << 17


class HostLink(Element):
    """Something of this host's that packets come from, to output 0, and go to, from the input, each where it is connected.

    A subclass opens it in ``open``, and then answers ``descriptor``, ``read`` and ``write``.
    """

    frames = True

    count: u64
    sent: u64

    def set_link(self) -> None:
        self.drops, self.is_open = 0, False
        self.source = HostSource()
        self.buffer_bytes = 65536
        self.pulls = self.ninputs > 0 and self.input_codes[0] == "l"
        self.task = Task(self, active=self.pulls)

    def open(self) -> None:
        """Open what packets come from. Raises ConfigureError."""
        raise NotImplementedError

    def shut(self) -> None:
        """Close it; it may not have been opened."""
        raise NotImplementedError

    @property
    def descriptor(self) -> int:
        raise NotImplementedError

    def read(self) -> bytes | None:
        """The next packet, None where there is none yet."""
        raise NotImplementedError

    def write(self, data: bytes) -> bool:
        """Whether a packet was taken."""
        raise NotImplementedError

    def initialize(self) -> None:
        if self.router.interfaces is None:
            self.open()
            self.is_open = True
        elif "" not in self.router.interfaces:
            # A name that no domain's interface has: only the verifier, which opens nothing, says that it is there.
            raise ConfigureError("a domain has its interfaces alone (FromDevice and ToDevice)")
        if self.pulls:
            self.signal = upstream_signal(self, 0, self.task)

    def started(self) -> None:
        if self.noutputs and self.is_open:
            self.router.calls.readers[self.descriptor] = self._read

    def cleanup(self) -> None:
        if self.is_open:
            self.shut()

    def _read(self) -> None:
        for _ in range(_BURST):
            if self.source.room_bytes < _ROOM_BYTES:
                break
            data = self.read()
            if data is None:
                break
            self.source.offer(data, timestamp_ns=self.clock.read(), mac=0 if self.frames else None, network=None if self.frames else 0)
        self.task.reschedule()

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("drops", lambda: self.drops)

    def host_packet(self, packet: HostPacket) -> None:
        if not self.write(packet.data):
            self.drops += 1

    @datapath
    def is_known(self, p: Packet) -> bool:
        """Whether a packet goes to output 0; frames do."""
        if self.frames:
            return True
        if not p.data.has(0, 20):
            return False
        version = p.data.u8[0] >> 4
        if version == 4:
            p.dst_ip = p.ip.dst
        return version == 4 or version == 6

    @datapath
    def run_task(self) -> bool:
        worked = False
        if self.noutputs != 0:
            for _ in range(_BURST):
                p = self.source.next(self.pool)
                if p is None:
                    break
                worked = True
                self.count += 1
                if self.is_known(p):
                    self.output(0).push(p)
                else:
                    self.checked_output_push(1, p)
            if self.source.written != self.source.read:
                self.task.reschedule()
        if self.pulls:
            for _ in range(_BURST):
                q = self.input(0).pull()
                if q is None:
                    break
                worked = True
                self.sent += 1
                self.to_host(q)
                q.kill()
            if self.signal.active():
                self.task.reschedule()
        return worked

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.sent += 1
        self.to_host(p)
        p.kill()
