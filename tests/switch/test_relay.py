"""Frames between opened ports: flows keep together, frames of several slots go as a whole, bad peers are found out."""

from __future__ import annotations

import random
import struct
from collections import defaultdict
from collections.abc import Iterator

import pytest

from penstock.datapath.ports import BUFFER_BYTES, HEAD, LENGTHS, MORE, TAIL
from penstock.packet.build import ipv4_header, udp_datagram
from penstock.ring import PortMemory, RingError
from penstock.switch.relay import Relay

SLOTS = 64


def udp(src: int, sport: int, dst: int, dport: int, *, vlan: bool = False, payload: bytes = b"x") -> bytes:
    segment = udp_datagram(sport, dport, payload, src.to_bytes(4) + dst.to_bytes(4))
    return bytes(12) + (b"\x81\0\0\x05" if vlan else b"") + b"\x08\0" + ipv4_header(src, dst, 17, len(segment), ttl=64) + segment


def udp6(src: int, sport: int, dst: int, dport: int) -> bytes:
    addresses = src.to_bytes(16) + dst.to_bytes(16)
    return bytes(12) + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, 8, 17, 64) + addresses + struct.pack(">HHHH", sport, dport, 8, 0)


class Other:
    """The other side of an opened port: a switch or a device."""

    def __init__(self, memory: PortMemory):
        self.memory, self.layout = memory, memory.layout

    def put(self, frame: bytes, *, end: bool = True) -> None:
        m, ring = self.memory, self.layout.rx
        parts = [frame[i : i + BUFFER_BYTES] for i in range(0, len(frame), BUFFER_BYTES)]
        tail = m.words[ring + TAIL]
        for i, part in enumerate(parts):
            slot = (tail + i) % SLOTS
            at = 4 * ring + self.layout.ring_header_bytes + slot * BUFFER_BYTES
            m.bytes[at : at + len(part)] = part
            m.words[ring + LENGTHS + slot] = len(part) | (MORE if i + 1 < len(parts) or not end else 0)
        m.words[ring + TAIL] = (tail + len(parts)) % (1 << 32)

    def take(self) -> list[bytes]:
        m, ring, frames, parts = self.memory, self.layout.tx, [], []
        while m.words[ring + HEAD] != m.words[ring + TAIL]:
            slot = m.words[ring + HEAD] % SLOTS
            word = m.words[ring + LENGTHS + slot]
            at = 4 * ring + self.layout.ring_header_bytes + slot * BUFFER_BYTES
            parts.append(bytes(m.bytes[at : at + (word & 0xFFFF)]))
            if not word & MORE:
                frames.append(b"".join(parts))
                parts = []
            m.words[ring + HEAD] = (m.words[ring + HEAD] + 1) % (1 << 32)
        return frames


@pytest.fixture
def ports() -> Iterator[list[PortMemory]]:
    made = [PortMemory(SLOTS) for _ in range(6)]
    yield made
    for memory in made:
        memory.close()


def test_both_directions_of_a_flow_go_to_one_port_of_each_group(ports: list[PortMemory]) -> None:
    r, others = random.Random(5), [Other(p) for p in ports]
    where: dict[object, set[tuple[int, ...]]] = defaultdict(set)
    with Relay(ports, [(0, 1), (1, 4), (5, 1)]) as relay:
        used = set()
        for _ in range(200):
            a, b, p, q = r.getrandbits(32), r.getrandbits(32), r.randrange(1, 65536), r.randrange(1, 65536)
            flow = [udp(a, p, b, q), udp(b, q, a, p, vlan=True), udp6(a, p, b, q), udp6(b, q, a, p)]
            for k, frame in enumerate(flow):
                others[0].put(frame)
                assert relay.move(0, 1, n_groups=2) == 1
                got = [i for i in range(1, 6) if others[i].take() == [frame]]
                assert len(got) == 2 and got[1] == 5, "one of the first group, and the second group's only one"
                where[a, b, p, q, k // 2].add(tuple(got))
                used.add(got[0])
        assert all(len(places) == 1 for places in where.values())
        assert used == {1, 2, 3, 4}
        counters = relay.counters()
        assert counters[0] == (800, 0, 0) and counters[5] == (0, 800, 0)
        assert min(given for _, given, _ in counters[1:5]) > 100, "flows are spread evenly"


def test_frames_of_several_slots_go_as_a_whole_and_wait_for_their_end(ports: list[PortMemory]) -> None:
    a, b = Other(ports[0]), Other(ports[1])
    with Relay(ports[:2], [(0, 1), (1, 1)]) as relay:
        large = bytes(range(256)) * 40
        a.put(large)
        a.put(b"small frame, 14 bytes at least")
        a.put(b"begun", end=False)
        assert relay.move(0, 1) == 6
        assert b.take() == [large, b"small frame, 14 bytes at least"]
        assert relay.move(0, 1) == 0
        a.put(b"ended")
        assert relay.move(0, 1) == 2 and b.take() == [b"begunended"]


def test_what_finds_no_room_waits_where_there_is_one_way_and_is_lost_where_there_are_more(ports: list[PortMemory]) -> None:
    a, b = Other(ports[0]), Other(ports[1])
    with Relay(ports[:3], [(0, 1), (1, 1), (1, 2)]) as relay:
        for n in range(SLOTS):
            a.put(udp(1, n, 2, 80))
        assert relay.move(0, 1, burst=40) == 40
        for n in range(40):
            a.put(udp(1, n, 2, 80))
        assert relay.move(0, 1) == SLOTS - 40 and relay.move(0, 1) == 0
        assert len(b.take()) == SLOTS
        assert relay.move(0, 1) == 40
        for n in range(SLOTS):
            a.put(udp(1, n, 2, 80))
        assert relay.move(0, 2) == SLOTS, "nothing stays"
        lost = [x for _, _, x in relay.counters()]
        assert lost[1] > 0 and sum(len(Other(p).take()) for p in ports[1:3]) + sum(lost) == 40 + SLOTS


def test_a_peer_that_breaks_the_rules_is_found_out(ports: list[PortMemory]) -> None:
    with Relay(ports[:2], [(0, 1), (1, 1)]) as relay:
        ports[0].words[ports[0].layout.rx + TAIL] = SLOTS + 1
        with pytest.raises(RingError, match="broke the rules"):
            relay.move(0, 1)
    with Relay(ports[2:4], [(0, 1), (1, 1)]) as relay:
        a = Other(ports[2])
        for _ in range(SLOTS):
            a.put(b"without an end", end=False)
        with pytest.raises(RingError, match="broke the rules"):
            relay.move(0, 1)
