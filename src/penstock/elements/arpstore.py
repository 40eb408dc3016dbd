"""Ethernet addresses of IPv4 hosts, and packets that wait for them: what an ARPQuerier keeps, or an ARPTable for several."""

from __future__ import annotations

from penstock.datapath.containers import NONE, Table
from penstock.datapath.memory import PacketSlot, Stateful, Struct
from penstock.datapath.packet import Packet, take
from penstock.datapath.source import datapath
from penstock.elements.element import ConfigureError
from penstock.lang.arguments import unparse_ether, unparse_ip
from penstock.packet.integers import u8, u32, u48, u64

__all__ = ["ARPStore"]


class _Neighbour(Struct):
    ether: u48
    queried_ns: u64
    head: PacketSlot
    waiting: u32
    age_s: u32
    known: u8
    polls: u8


class ARPStore(Stateful):
    """Entries by address. A packet waits in a list at its entry, the newest first."""

    drops: u64
    waiting: u32
    #: what is left of a list that is being turned round
    turning: PacketSlot

    def __init__(self, *, capacity: int, entries: int, entry_packets: int, timeout_s: float, poll_s: float):
        if capacity > 1 << 20 or entries > 1 << 20:
            raise ConfigureError("CAPACITY, ENTRY_CAPACITY: out of range, bound 1048576")
        self.capacity, self.entry_packets = capacity, entry_packets or capacity
        self.timeout_s, self.poll_s = (max(int(t), int(t > 0)) for t in (timeout_s, poll_s))
        self.table = Table((u32,), _Neighbour, entries or 4096)

    def rows(self) -> str:
        return "".join(f"{unparse_ip(key[0])} {'ok' if entry.known else '??'} {unparse_ether(entry.ether)} {entry.age_s}\n"
                       for key, entry in self.table.items())

    def clear(self) -> None:
        for key, _ in list(self.table.items()):
            self.forget(key[0])

    @datapath
    def entry_for(self, ip: u32) -> u32:
        """The index of the address's entry, made where there is none; NONE where the table is full."""
        i = self.table.find((ip,))
        if i != NONE:
            return i
        made = self.table.insert((ip,))
        if made == NONE:
            return u32(NONE)
        neighbour = self.table.slots[made].value
        neighbour.known = 0
        neighbour.polls = 0
        neighbour.age_s = 0
        neighbour.waiting = 0
        neighbour.queried_ns = 0
        neighbour.ether = 0
        return made

    @datapath
    def set_ether(self, i: u32, ether: u64) -> None:
        neighbour = self.table.slots[i].value
        neighbour.ether = ether
        neighbour.known = 1
        neighbour.polls = 0
        neighbour.age_s = 0

    @datapath
    def wait(self, p: Packet, i: u32) -> None:
        """The packet waits at entry ``i``, or is dropped."""
        neighbour = self.table.slots[i].value
        if self.waiting >= self.capacity or neighbour.waiting >= self.entry_packets:
            self.drops += 1
            p.kill()
        else:
            before = take(neighbour.head)
            p.next = before
            neighbour.head = p
            neighbour.waiting += 1
            self.waiting += 1

    @datapath
    def next_waiting(self, i: u32) -> Packet | None:
        """Take the first packet off entry ``i``'s list."""
        neighbour = self.table.slots[i].value
        p = take(neighbour.head)
        if p is None:
            return None
        following = take(p.next)
        neighbour.head = following
        return p

    @datapath
    def turn_round(self, i: u32) -> u32:
        """The oldest first; gives how many wait, which are the caller's to take."""
        neighbour = self.table.slots[i].value
        n = u32(neighbour.waiting)
        ordered = take(neighbour.head)
        if ordered is not None:
            rest = take(ordered.next)
            neighbour.head = ordered
            # Move the rest in front of what is turned already, one by one.
            self.turning = rest
            for _ in range(n):
                q = take(self.turning)
                if q is None:
                    break
                after = take(q.next)
                self.turning = after
                before = take(neighbour.head)
                q.next = before
                neighbour.head = q
        self.waiting -= n
        neighbour.waiting = 0
        return n

    @datapath
    def forget(self, ip: u32) -> None:
        i = self.table.find((u32(ip),))
        if i != NONE:
            self.drop_entry(i)

    @datapath
    def drop_entry(self, i: u32) -> None:
        neighbour = self.table.slots[i].value
        n = neighbour.waiting
        for _ in range(n):
            p = self.next_waiting(i)
            if p is None:
                break
            self.drops += 1
            p.kill()
        self.waiting -= n
        self.table.remove(i)

    @datapath
    def age(self) -> None:
        """Once a second: entries get older, and are to be asked for again, or forgotten."""
        for i in range(self.table.top):
            if self.table.used(i):
                neighbour = self.table.slots[i].value
                neighbour.age_s += 1
                if self.timeout_s > 0 and neighbour.age_s > self.timeout_s:
                    self.drop_entry(i)
                elif self.poll_s > 0 and neighbour.known != 0 and neighbour.age_s >= self.poll_s:
                    neighbour.polls = 1
