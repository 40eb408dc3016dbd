"""The tables behind longest-prefix match are the same function of the address, whoever makes them."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from penstock.datapath.lpm import LPM
from penstock.datapath.manyprefixes import tables

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
