"""Several threads: the same packets as with one, none lost, and everything that stops, reads and replaces while they run."""

from __future__ import annotations

import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from penstock import Router
from penstock.packet.capture import CaptureReader, CaptureWriter
from tests.harness import use_port_elements

ENGINES = ["compiled", "interpreter"]


def numbered(path: Path, count: int) -> None:
    writer = CaptureWriter(str(path), snap_bytes=65535)
    for n in range(count):
        writer.write(struct.pack(">I", n) + bytes(56 + n % 7), n * 1000)
    writer.close()


def slots_in_pools(router: Router) -> int:
    """Slots that are free, in the stacks and on their way back."""
    pools = [lane.pool for lane in router.lanes]
    return sum(int(p.free) for p in pools) + sum(
        (int(r.writer.index) - int(r.reader.index)) % (1 << 32) for p in pools for r in p.returned)  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", ENGINES)
def test_parts_that_are_not_connected_run_side_by_side(engine: str) -> None:
    count = 200_000 if engine == "compiled" else 300
    parts = "".join(f"""s{k} :: InfiniteSource(LIMIT {count + k}, LENGTH 60) -> c{k} :: Counter -> UDPIPEncap(1.0.0.{k + 1}, 1, 2.0.0.2, 2)
        -> CheckIPHeader -> DecIPTTL -> d{k} :: Counter -> Discard;""" for k in range(4))
    with Router.from_text(parts, engine=engine, threads=3) as router:
        assert set(router.spread.pushed) == {0, 1, 2}
        router.run(until=lambda: all(int(router.read(f"d{k}.count")) == count + k for k in range(4)))
        assert [int(router.read(f"c{k}.count")) for k in range(4)] == [count + k for k in range(4)]
        assert all(lane.driver.steps > 0 for lane in router.lanes)
        assert slots_in_pools(router) == sum(lane.pool.capacity for lane in router.lanes)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("queue", ["Queue(8)", "Queue(1000)", "ThreadSafeQueue", "NotifierQueue(5000)", "SimpleQueue(5000)"])
def test_packets_go_from_thread_to_thread_whole_and_in_order(tmp_path: Path, engine: str, queue: str) -> None:
    count = 4000 if engine == "compiled" else 200
    numbered(tmp_path / "in.pcap", count)
    text = f"""FromDump({tmp_path}/in.pcap) -> q :: {queue} -> u :: Unqueue -> p :: Queue(16) -> t :: ToDump({tmp_path}/out.pcap);
        StaticThreadSched(u 1, t 2);"""
    with Router.from_text(text, engine=engine, threads=3) as router:
        assert len(set(router.spread.pushed)) == 3 and len(router.spread.queues) == 2
        lost = lambda: int(router.read("q.drops")) + int(router.read("p.drops"))  # noqa: E731
        end = time.monotonic() + 30
        router.run(until=lambda: int(router.read("t.count")) + lost() == count or time.monotonic() > end)
        drops = lost()
        assert int(router.read("t.count")) + drops == count
        assert slots_in_pools(router) == sum(lane.pool.capacity for lane in router.lanes)
    with CaptureReader(str(tmp_path / "out.pcap")) as reader:
        got = [p.data for p in reader]
    numbers = [struct.unpack_from(">I", data)[0] for data in got]
    assert numbers == sorted(numbers) and len(numbers) == count - drops
    assert all(data == struct.pack(">I", n) + bytes(56 + n % 7) for n, data in zip(numbers, got))
    assert drops == 0 or "NotifierQueue" in queue or "SimpleQueue" in queue, "a source that listens waits for room"


def test_a_million_packets_cross_and_come_back() -> None:
    text = """s :: InfiniteSource(LIMIT 1000000, LENGTH 60) -> a :: Queue(500) -> u :: Unqueue -> b :: Queue(500) -> w :: Unqueue -> c :: Counter
        -> Discard; StaticThreadSched(u 1, w 0, s 0);"""
    with Router.from_text(text, threads=2) as router:
        assert len(router.spread.queues) == 2
        end = time.monotonic() + 60
        router.run(until=lambda: int(router.read("c.count")) + int(router.read("b.drops")) >= 1_000_000 or time.monotonic() > end)
        assert int(router.read("c.count")) + int(router.read("b.drops")) == 1_000_000 and router.read("a.drops").strip() == "0"
        assert slots_in_pools(router) == sum(lane.pool.capacity for lane in router.lanes)
        assert int(router.read("a.highwater_length")) <= 500


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stop_in_any_thread_stops_all(engine: str) -> None:
    for bound in (0, 1):
        text = f"""s :: InfiniteSource(LIMIT 1000, STOP true) -> c :: Counter -> Discard; r :: RatedSource(RATE 1000) -> Discard;
            StaticThreadSched(s {bound}, r {1 - bound}); Script(pause, set x done, print $x, stop);"""
        with Router.from_text(text, engine=engine, threads=2) as router:
            started = time.monotonic()
            router.run(until=lambda since=started: time.monotonic() > since + 20)  # type: ignore[misc]
            assert time.monotonic() < started + 20 and router.read("c.count").strip() == "1000"


def test_timers_run_in_every_thread() -> None:
    text = "TimedSource(5ms) -> a :: Counter -> Discard; TimedSource(5ms) -> b :: Counter -> Discard; StaticThreadSched(a 0, b 1);"
    with Router.from_text(text, threads=2) as router:
        end = time.monotonic() + 20
        router.run(until=lambda: (int(router.read("a.count")) > 20 and int(router.read("b.count")) > 20) or time.monotonic() > end)
        assert abs(int(router.read("a.count")) - int(router.read("b.count"))) < 20


def test_handlers_are_called_while_threads_run(tmp_path: Path) -> None:
    text = f"""s :: InfiniteSource(LIMIT -1) -> a :: Counter -> Discard; InfiniteSource(LIMIT -1) -> b :: Counter -> Discard;
        ControlSocket(UNIX, {tmp_path}/control);"""
    with Router.from_text(text, threads=2) as router:
        done = threading.Event()
        thread = threading.Thread(target=lambda: router.run(until=done.is_set))
        thread.start()
        try:
            with socket.socket(socket.AF_UNIX) as control:
                end = time.monotonic() + 10
                while not (tmp_path / "control").exists() and time.monotonic() < end:
                    time.sleep(0.01)
                control.connect(str(tmp_path / "control"))
                file = control.makefile("rw")
                assert file.readline().startswith("Click::ControlSocket")
                seen = [0]
                for _ in range(50):
                    file.write("READ b.count\n")
                    file.flush()
                    assert file.readline().startswith("200")
                    size = int(file.readline().split()[1])
                    seen.append(int(file.read(size)))
                assert seen == sorted(seen) and seen[-1] > 0
                time.sleep(0.5)
                before = int(router.read("b.count"))
                file.write("WRITE b.reset\nREAD b.count\n")
                file.flush()
                assert file.readline().startswith("200") and file.readline().startswith("200")
                assert int(file.read(int(file.readline().split()[1]))) < before
        finally:
            done.set()
            thread.join()


def test_a_new_configuration_takes_over_what_threads_had() -> None:
    text = "s :: InfiniteSource(LIMIT 100, LENGTH 64) -> q :: Queue(200) -> u :: Unqueue(ACTIVE {}) -> c :: Counter -> Discard; StaticThreadSched(s 1, u 0);"
    with Router.from_text(text.format("false"), threads=2) as router:
        end = time.monotonic() + 10
        router.run(until=lambda: int(router.read("q.length")) == 100 or time.monotonic() > end)
        router.hotswap(text.format("true").replace("LIMIT 100", "LIMIT 0"))
        new = router.successor
        assert new is not None and len(new.lanes) == 2 and new.read("q.length").strip() == "100"
        new.run(until=lambda: int(new.read("c.count")) == 100 or time.monotonic() > end)
        assert new.read("c.count").strip() == "100"
        assert slots_in_pools(new) == sum(lane.pool.capacity for lane in new.lanes)
        new.close()


def test_nothing_moves_in_the_old_configuration_once_the_new_one_has_its_state() -> None:
    text = "s :: InfiniteSource(LIMIT -1) -> c :: Counter -> Discard; t :: InfiniteSource(LIMIT -1) -> d :: Counter -> Discard; StaticThreadSched(s 1, t 0);"
    with Router.from_text(text, threads=2) as router:
        seen: list[int] = []

        def swap() -> None:
            router.hotswap(text)
            seen.append(int(router.lanes[1].driver.steps))

        end = time.monotonic() + 20
        router.load()
        router.calls.call_at(time.time_ns() + 300_000_000, swap)
        router.run(until=lambda: time.monotonic() > end)
        assert router.successor is not None and seen == [int(router.lanes[1].driver.steps)] and seen[0] > 0
        router.successor.close()


def test_a_live_reconfiguration_is_every_thread_s() -> None:
    text = """RatedSource(RATE 100000, LENGTH 60) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> f :: IPFilter(allow all) -> a :: Counter -> Discard;
        RatedSource(RATE 100000) -> b :: Counter -> Discard; StaticThreadSched(f 1, b 0);"""
    with Router.from_text(text, threads=2) as router:
        end = time.monotonic() + 20
        router.run(until=lambda: int(router.read("a.count")) > 100 or time.monotonic() > end)
        router.write("f.config", "deny all")
        before = int(router.read("a.count"))
        passed = int(router.read("b.count"))
        router.run(until=lambda: int(router.read("b.count")) > passed + 1000 or time.monotonic() > end)
        assert int(router.read("a.count")) == before and before > 100


def test_an_error_in_one_thread_ends_all() -> None:
    use_port_elements()
    text = "InfiniteSource(LIMIT 5) -> a :: Print -> Discard; InfiniteSource(LIMIT -1) -> b :: Counter -> Discard; StaticThreadSched(a 1, b 0);"
    with Router.from_text(text, threads=2) as router:
        def fail(packet: object) -> None:
            raise BrokenPipeError("nobody reads")
        router.by_name["a"].host_packet = fail  # type: ignore[method-assign]
        end = time.monotonic() + 20
        with pytest.raises(BrokenPipeError, match="nobody reads"):
            router.run(until=lambda: time.monotonic() > end)
        assert time.monotonic() < end
