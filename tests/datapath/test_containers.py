"""A Table is a dictionary with a limit, to packet code in either engine and to Python."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.datapath.containers import NONE, Table
from penstock.elements import catalog
from penstock.runtime.router import Router
from tests.harness import run_packets, run_until_quiet, use_port_elements
from tests.traffic import Sent

HERE = Path(__file__).parent
TEXT = "feed :: Feed -> k :: Keeper -> s :: Sink"
CAPACITY = 12
ENTER, LOOK, REMOVE, CLEAR = range(4)
#: more keys than there is room for, so that entries are refused, removed and used again
STEPS = st.lists(st.tuples(st.sampled_from([ENTER] * 5 + [LOOK, LOOK, REMOVE, REMOVE, REMOVE, CLEAR]), st.integers(0, 25)), max_size=200)


@pytest.fixture(autouse=True)
def elements() -> None:
    use_port_elements()
    if catalog.find("Keeper") is None:
        catalog.load_file(str(HERE / "table_element.py"))


def _expected(steps: list[tuple[int, int]], content: dict[int, int]) -> list[int]:
    """What packets are answered; ``content`` is what is in the table afterwards."""
    answers = []
    for number, (what, key) in enumerate(steps):
        if what == ENTER and (key in content or len(content) < CAPACITY):
            content[key] = number
        elif what == REMOVE:
            content.pop(key, None)
        elif what == CLEAR:
            content.clear()
        answers.append(content.get(key, NONE) if what < REMOVE else number)
    return answers


def _frames(steps: list[tuple[int, int]]) -> list[Sent]:
    return [Sent(struct.pack(">BII", what, key, number)) for number, (what, key) in enumerate(steps)]


@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_a_table_answers_as_a_dictionary_would(engine: str, steps: list[tuple[int, int]]) -> None:
    content: dict[int, int] = {}
    expected = _expected(steps, content)

    def look(router: Router) -> None:
        table: Table = router.by_name["k"].table  # type: ignore[attr-defined]
        assert {key[0]: int(value.number) for key, value in table.items()} == content
        assert table.entries == len(content) <= table.top <= CAPACITY
        assert all(table.index_of((key,)) is not None for key in content)

    outcome = run_packets(TEXT, _frames(steps), engine=engine, rounds=400, between=look)
    assert [struct.unpack_from(">I", data, 5)[0] for data in outcome.out()] == expected


@settings(deadline=None, max_examples=60)
@given(steps=STEPS, after=STEPS)
def test_python_and_packet_code_work_on_the_same_table(steps: list[tuple[int, int]], after: list[tuple[int, int]]) -> None:
    """Python enters, removes and loads; what packets find then is the same as if packets had done it."""
    content: dict[int, int] = {}
    with Router.from_text(TEXT, seed=4711) as router:
        table: Table = router.by_name["k"].table  # type: ignore[attr-defined]
        for number, (what, key) in enumerate(steps):
            at = table.index_of((key,))
            assert (at is not None) == (key in content)
            if what == ENTER and at is None:
                made = table.put((key,), {"number": number})
                assert (made is None) == (len(content) == CAPACITY)
                if made is not None:
                    content[key] = number
            elif what == REMOVE and at is not None:
                table.drop(at)
                del content[key]
            elif what == CLEAR:
                content = dict.fromkeys(range(key % CAPACITY), number)
                table.load({(k,): {"number": number} for k in content})
        expected = _expected(after, content)
        feed: Any = router.by_name["feed"]
        for frame in _frames(after):
            feed.send(frame)
        run_until_quiet(router, 400)
        router.drain_host()
        answers = [struct.unpack_from(">I", p.data, 5)[0] for _, p in router.by_name["s"].received]  # type: ignore[attr-defined]
        assert answers == expected
        assert {key[0]: int(value.number) for key, value in table.items()} == content
