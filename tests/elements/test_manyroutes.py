"""Large tables are read all at once: as what reads a route at a time reads them, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import ConfigurationError, Router
from penstock.elements.manyroutes import plain_routes

_OCTET = st.integers(0, 255)
_PLAIN = st.tuples(_OCTET, _OCTET, _OCTET, _OCTET, st.integers(0, 32), st.integers(0, 3))


def _mask(length: int) -> int:
    return 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF


@given(st.lists(_PLAIN, min_size=1, max_size=40))
def test_plain_routes_are_read_as_written(routes: list[tuple[int, int, int, int, int, int]]) -> None:
    texts = [f"{a}.{b}.{c}.{d}/{length} {port}" for a, b, c, d, length, port in routes]
    expected = [((a << 24 | b << 16 | c << 8 | d) & _mask(length), length, port) for a, b, c, d, length, port in routes]
    read = plain_routes(", ".join(texts), 4)
    if len({e[:2] for e in expected}) < len(expected):
        assert read is None
    else:
        assert read is not None
        assert list(zip(read.address.tolist(), read.length.tolist(), read.number.tolist())) == expected
        assert dict(read) == {e[:2]: e[2] for e in expected} and len(read) == len(expected)


@given(st.lists(_PLAIN, min_size=1, max_size=5, unique_by=lambda r: r[:4]), st.data())
def test_what_is_written_otherwise_is_left_to_who_says_why(routes: list[tuple[int, ...]], data: st.DataObject) -> None:
    texts = ["{}.{}.{}.{}/{} {}".format(*r) for r in routes]
    which = data.draw(st.integers(0, len(texts) - 1))
    at = data.draw(st.integers(0, len(texts[which])))
    texts[which] = texts[which][:at] + data.draw(st.sampled_from(["x", " ", "/", ".", "\n", "-", "é", "9999", ",", "//", '"'])) + texts[which][at:]
    read = plain_routes(", ".join(texts), 4)
    if read is not None:
        # Still a number, and one that fits.
        assert all(n < 4 for n in read.number.tolist()) and max(read.length.tolist()) <= 32


def test_outputs_and_lengths_have_their_bounds() -> None:
    assert plain_routes("10.0.0.0/8 4", 4) is None
    assert plain_routes("10.0.0.0/33 1", 4) is None
    assert plain_routes("256.0.0.0/8 1", 4) is None
    assert plain_routes("10.0.0.0/8 01", 4) is None
    assert plain_routes("10.0.0.0/8 1", 4) is not None


def test_a_large_table_shows_and_changes_its_routes() -> None:
    texts = [f"10.{i >> 8}.{i & 255}.0/24 {i % 2}" for i in range(5000)]
    with Router.from_text(f"Idle -> r :: RadixIPLookup({', '.join(texts)}) -> Discard; r[1] -> Discard") as router:
        assert router.read("r.table").splitlines()[1] == "10.0.1.0/24\t\t-\t\t1"
        assert router.read("r.lookup", "10.0.3.9") == "1"
        router.write("r.remove", "10.0.3.0/24")
        router.write("r.add", "10.0.3.8/31 10.9.9.9 0")
        assert router.read("r.lookup", "10.0.3.9") == "0 10.9.9.9"
        assert router.read("r.lookup", "10.0.3.7") == "-1"
        assert len(router.read("r.table").splitlines()) == 5000


@pytest.mark.parametrize("name", ["RadixIPLookup", "DirectIPLookup", "StaticIPLookup", "LinearIPLookup", "SortedIPLookup", "RadixIPsecLookup",
                                  "LookupIPRouteMP", "RangeIPLookup"])
def test_each_lookup_takes_many_routes(name: str) -> None:
    texts = [f"10.{i >> 8}.{i & 255}.0/24 {i % 2}" for i in range(6000)]
    with Router.from_text(f"Idle -> r :: {name}({', '.join(texts)}) -> Discard; r[1] -> Discard") as router:
        assert router.read("r.lookup", "10.0.3.9") == "1"
        router.step(1)
    with pytest.raises(ConfigurationError, match=r"10\.0\.7\.0/24: duplicate route"):
        Router.from_text(f"Idle -> r :: {name}({', '.join([*texts, '10.0.7.0/24 1'])}) -> Discard; r[1] -> Discard")
