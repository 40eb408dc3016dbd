"""Large modules are made in two parts: the same code whoever makes them, that runs, and whose lines are known."""

import os
import threading
from collections.abc import Iterator

import pytest

from penstock.datapath.llvm.compile import compile_text, link
from penstock.datapath.llvm.emit import LARGE_TEXT_BYTES
from penstock.runtime.router import Router

KINDS = ("Counter", "Paint(3)", "CheckLength(2000)", "Queue(10) -> Unqueue", "SetTimestamp", "StoreData(0, \\<00>)", "CheckIPHeader")
TEXT = "s :: InfiniteSource(LIMIT 50, LENGTH 60) -> " + " -> ".join(
    f"e{i} :: {KINDS[i % 7]}".replace("Queue(10) -> Unqueue", f"Queue(10) -> u{i} :: Unqueue") for i in range(420) if i % 7 != 6) + " -> d :: Discard"


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Router.from_text(TEXT, cache=None) as made:
        yield made


def test_two_processes_make_what_one_makes(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    text = router.assembly()
    assert len(text) > LARGE_TEXT_BYTES
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    forks: list[int] = []
    fork = os.fork

    def counted() -> int:
        forks.append(1)
        return fork()

    monkeypatch.setattr(os, "fork", counted)
    shared = compile_text(text)
    assert len(shared) == 2 and forks == [1]
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    alone = compile_text(text)
    assert forks == [1] and link(alone, [router.root]) == link(shared, [router.root])
    # A child that dies leaves its part to its parent.
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(os, "fork", lambda: 0 if (pid := fork()) == 0 and os._exit(3) else pid)
    code, entries = link(compile_text(text), [router.root])
    assert entries.keys() == {router.root} and len(code) > 10_000


def test_its_code_runs_and_its_lines_are_known(router: Router) -> None:
    router.run(until=lambda: router.read("d.count") == "50")
    assert [router.read(f"e{i}.count") for i in (0, 210, 413)] == ["50"] * 3
    size = len(router.build().code)
    places = [router.locate(size * i // 6) for i in range(6)]
    assert len({p.element for p in places if p is not None}) > 3
