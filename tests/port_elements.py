"""Feed and Sink: elements that give packets to a configuration under test and take what comes out."""

from __future__ import annotations

from typing import Any

from penstock.elements import Element, HostPacket, HostSource, Packet, Task, datapath, u32, u64

__all__ = ["Feed", "Sink"]


class Feed(Element):
    """Push (or let pull) the packets that a test offers."""

    ports = "0/1"
    may_generate = True

    count: u64

    def configure(self) -> None:
        self.source = HostSource(1 << 22)
        self.buffer_bytes = 4096
        self.is_push = self.output_codes[0] == "h"
        if self.is_push:
            self.task = Task(self)

    def send(self, packet: Any) -> None:
        done = self.source.offer(packet.data, timestamp_ns=packet.timestamp_ns, mac=packet.mac, network=packet.network,
                                 transport=packet.transport, annotations=packet.annotations)
        assert done, "the packets of a test must fit into the ring"

    @datapath
    def run_task(self) -> bool:
        moved: u32 = 0
        for _ in range(16):
            p = self.source.next(self.pool)
            if p is None:
                break
            moved += 1
            self.count += 1
            self.output(0).push(p)
        if self.source.written != self.source.read:
            self.task.reschedule()
        return moved > 0

    @datapath
    def pull(self, port: int) -> Packet | None:
        return self.source.next(self.pool)


class Sink(Element):
    """Keep a copy of everything that arrives, by input."""

    ports = "1-/0"

    def configure(self) -> None:
        self.received: list[tuple[int, HostPacket]] = []
        self.pulls = self.input_codes[0] == "l"
        if self.pulls:
            self.task = Task(self)

    def host_packet(self, packet: HostPacket) -> None:
        self.received.append((packet.tag, packet))

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.to_host(p, port)
        p.kill()

    @datapath
    def run_task(self) -> bool:
        moved = False
        for i in tuple(range(self.ninputs)):
            p = self.input(i).pull()
            if p is not None:
                moved = True
                self.to_host(p, i)
                p.kill()
        self.task.reschedule()
        return moved
