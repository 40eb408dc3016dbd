"""The tables behind longest-prefix match are the same function of the address, whoever makes them."""

from __future__ import annotations

import random
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.datapath.lpm import LPM
from penstock.datapath.manyprefixes import small_runs, tables
from tests.harness import run_packets
from tests.traffic import Sent, ipv4

ROUTES = st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), st.sampled_from([0, 1, 7, 8, 15, 16, 17, 23, 24, 25, 31, 32]), st.integers(0, 3)),
                  min_size=1, max_size=30)


def look(top: array[int], chunks: array[int], address: int) -> int:
    entry = top[address >> 16]
    for shift in (8, 0):
        if entry >> 31:
            entry = chunks[(entry & 0x7FFF_FFFF) * 256 + (address >> shift & 255)]
    return entry


@given(ROUTES, st.lists(st.integers(0, 0xFFFFFFFF), max_size=10))
def test_tables_made_by_arrays_give_what_those_made_by_prefix_give(routes: list[tuple[int, int, int]], addresses: list[int]) -> None:
    prefixes = {(a >> (32 - n) << (32 - n) if n else 0, n): hop for a, n, hop in routes}
    one, other = LPM(LPM.chunks_needed(prefixes))._tables(prefixes), tables(prefixes)
    edges = [e for a, n in prefixes for e in (a, a + (1 << (32 - n)) - 1, max(a - 1, 0), (a + (1 << (32 - n))) & 0xFFFFFFFF)]
    for address in [*edges, *addresses]:
        assert look(*one, address) == look(*other, address)
    assert len(other[1]) <= 256 * LPM.chunks_needed(prefixes)


def _longest(prefixes: dict[tuple[int, int], int], address: int) -> int | None:
    return next((prefixes[key] for n in range(32, -1, -1) if (key := (address >> (32 - n) << (32 - n), n)) in prefixes), None)


@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
def test_packets_find_their_way_in_a_large_table(engine: str) -> None:
    """Chunks of few runs and of many, more next hops than fit four bits, host routes, and nothing at all."""
    chance = random.Random(5)
    hops = 20
    prefixes = {(0x0A000000, 8): 19, (0xC0A80000, 16): 3}
    for i in range(256):
        prefixes[0x0B000000 | i << 8, 24] = i % 2
        prefixes[0x0C000000 | i << 8, 24] = i // 6 % hops
        prefixes[0x0D000000 | i << 8, 24] = i // 5 % 14
    while len(prefixes) < 21_000:
        n = chance.choice([17, 20, 22, 24, 24, 24, 25, 32])
        prefixes[(chance.randrange(0x0A, 0x30) << 24 | chance.getrandbits(24)) >> (32 - n) << (32 - n), n] = chance.randrange(hops)
    texts = [f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}/{n} {hop}" for (a, n), hop in prefixes.items()]
    known = list(prefixes)
    addresses = [chance.randrange(0x0A, 0x31) << 24 | chance.getrandbits(24) for _ in range(300)]
    addresses += [0x0B000000 | chance.getrandbits(16) for _ in range(60)] + [0x0C000000 | chance.getrandbits(17) for _ in range(60)]
    addresses += [0x0D000000 | i << 8 for i in range(256)] + [a ^ chance.choice([0, 1, 1 << 8]) for a, _ in chance.sample(known, 300)]
    packets = [Sent(ipv4(17, bytes(8), dst=f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}")) for a in addresses]
    text = f"s :: Sink; feed :: Feed -> GetIPAddress(16) -> r :: RadixIPLookup({', '.join(texts)}); " + "".join(f"r[{i}] -> [{i}] s; " for i in range(hops))
    done = run_packets(text, packets, engine=engine, rounds=1200)
    expected = [_longest(prefixes, a) for a in addresses]
    got = {i: done.out("s", i) for i in range(hops)}
    for i in range(hops):
        assert got[i] == [p.data for p, hop in zip(packets, expected) if hop == i]
    assert done.handlers["r.drops"] == str(expected.count(None)) and expected.count(None) > 0


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=80), st.integers(2, 17))
def test_runs_say_what_places_say(changes: list[tuple[int, int]], other: int) -> None:
    near = np.zeros(512, np.uint8)
    for place, value in changes:
        near[256 + place :] = value
    fit, starts, labels = small_runs(near, min(other, 15))
    for chunk in range(2):
        values = np.minimum(near[256 * chunk : 256 * chunk + 256], min(other, 15)).tolist()
        begins = [i for i in range(256) if i == 0 or values[i] != values[i - 1]]
        assert fit[chunk] == (len(begins) <= 48)
        bits = sum(int(word) << 64 * k for k, word in enumerate(starts[4 * chunk : 4 * chunk + 4]))
        assert bits == sum(1 << i for i in begins)
        nibbles = sum(int(word) << 64 * k for k, word in enumerate(labels[3 * chunk : 3 * chunk + 3]))
        assert [nibbles >> 4 * k & 15 for k in range(min(len(begins), 48))] == [values[i] for i in begins[:48]]
