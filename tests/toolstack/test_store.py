"""The store's semantics, its journal, and its protocol with the original clients."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.toolstack.store import Quota, Store, StoreError, StoreServer, open_store


def error(call, *args, **kwargs) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(StoreError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# Semantics

def test_values_are_written_read_and_removed_with_what_is_below() -> None:
    s = Store()
    s.write("/a/b/c", "1")
    assert (s.read("/a/b/c"), s.read("/a/b"), s.directory("/a")) == (b"1", b"", ["b"])
    s.mkdir("/a/b")
    assert s.read("/a/b/c") == b"1"
    s.remove("/a/b")
    assert error(s.read, "/a/b/c") == "ENOENT" and s.directory("/a") == []
    s.remove("/a/none")
    assert error(s.remove, "/x/y") == "ENOENT"
    assert error(s.remove, "/") == "EINVAL"
    assert error(s.write, "/a", b"x" * 2049) == "E2BIG"


@pytest.mark.parametrize("path", ["", "/a/", "//a", "/a b", "/" + "x" * 3100, "/ä"])
def test_what_is_no_path_is_refused(path: str) -> None:
    assert error(Store().write, path, "1") == "EINVAL" if path else True


def test_paths_may_be_relative_to_the_domain() -> None:
    s = Store()
    s.write("name", "dom0")
    assert s.read("/local/domain/0/name") == b"dom0"
    s.write("/local/domain/7", "")
    s.set_permissions("/local/domain/7", ("n7",))
    s.write("data/x", "1", domain=7)
    assert s.read("/local/domain/7/data/x") == b"1"
    assert s.permissions("/local/domain/7/data/x") == ("n7",)


def test_permissions_hold_between_domains() -> None:
    s = Store()
    s.write("/p", "secret")
    s.set_permissions("/p", ("n1", "r2", "w3", "b4"))
    assert [s.read("/p", domain=d) for d in (0, 1, 2, 4)] == [b"secret"] * 4
    assert error(s.read, "/p", domain=3) == "EACCES" and error(s.read, "/p", domain=5) == "EACCES"
    s.write("/p", "x", domain=3)
    assert error(s.write, "/p", "x", domain=2) == "EACCES"
    assert error(s.write, "/q", "x", domain=2) == "EACCES"
    assert error(s.set_permissions, "/p", ("n2",), domain=2) == "EACCES"
    assert error(s.set_permissions, "/p", ("x2",)) == "EINVAL"


def test_quotas_bound_what_a_domain_may_have() -> None:
    s = Store(quota=Quota(nodes=3, watches=1, transactions=1))
    s.write("/d", "")
    s.set_permissions("/d", ("n5",))
    s.write("/d/a", "1", domain=5)
    s.write("/d/b", "1", domain=5)
    assert error(s.write, "/d/c", "1", domain=5) == "EQUOTA"
    s.write("/d/a", "2", domain=5)
    s.write("/d/c", "1")
    s.watch("/d", "t", lambda p, t: None, domain=5)
    assert error(s.watch, "/d", "u", lambda p, t: None, domain=5) == "EQUOTA"
    s.begin(domain=5)
    assert error(s.begin, domain=5) == "EQUOTA"


def test_watches_hear_what_is_below_them_by_the_watcher_s_own_name() -> None:
    s = Store()
    s.write("/local/domain/0/a/b", "1")
    heard: list[tuple[str, str]] = []
    w = s.watch("a", "token", lambda p, t: heard.append((p, t)))
    s.write("/local/domain/0/a/b", "2")
    s.write("/local/domain/0/ab", "2")
    s.mkdir("/local/domain/0/a/b")
    s.remove("/local/domain/0/a")
    assert heard == [("a", "token"), ("a/b", "token"), ("a", "token"), ("a/b", "token")]
    s.unwatch(w)
    s.write("/local/domain/0/a", "3")
    assert len(heard) == 4


def test_transactions_are_seen_whole_or_not_at_all() -> None:
    s = Store()
    heard: list[str] = []
    s.watch("/t", "", lambda p, t: heard.append(p))
    t = s.begin()
    s.write("/t/a", "1", transaction=t)
    s.write("/t/b", "2", transaction=t)
    assert s.read("/t/a", transaction=t) == b"1" and not s.exists("/t/a") and heard == ["/t"]
    s.end(t, commit=True)
    assert heard == ["/t", "/t/a", "/t/b"] and s.directory("/t") == ["a", "b"]
    t = s.begin()
    s.remove("/t/a", transaction=t)
    s.end(t, commit=False)
    assert s.exists("/t/a")
    assert error(s.end, t, commit=True) == "ENOENT"


def test_a_transaction_that_saw_what_has_changed_fails() -> None:
    s = Store()
    s.write("/n", "1")
    t = s.begin()
    value = int(s.read("/n", transaction=t))
    s.write("/n", "5")
    s.write("/m", str(value + 1), transaction=t)
    assert error(s.end, t, commit=True) == "EAGAIN"
    assert not s.exists("/m")


OPERATIONS = st.lists(st.tuples(st.sampled_from(["write", "remove", "mkdir", "abort", "commit"]),
                                st.sampled_from(["/a", "/a/b", "/a/b/c", "/d", "/d/e"]), st.binary(max_size=5)), max_size=30)


@given(OPERATIONS)
def test_the_journal_makes_the_same_tree_again(operations: list[tuple[str, str, bytes]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        store, journal = open_store(path)
        for what, where, value in operations:
            t = store.begin() if what in ("abort", "commit") else 0
            try:
                if what == "remove":
                    store.remove(where)
                elif what == "mkdir":
                    store.mkdir(where)
                else:
                    store.write(where, value, transaction=t)
            except StoreError:
                pass
            if t:
                store.end(t, commit=what == "commit")
        before = list(store.items())
        journal.rewrite(store)
        journal.close()
        again, journal = open_store(path)
        assert list(again.items()) == before
        journal.close()


def test_a_torn_last_record_is_dropped_and_everything_before_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    store, journal = open_store(path)
    store.write("/a", "1")
    size = journal.size
    store.write("/b", "2")
    journal.close()
    whole = path.read_bytes()
    for cut in range(size, len(whole)):
        path.write_bytes(whole[:cut])
        again, journal = open_store(path)
        assert again.read("/a") == b"1" and not again.exists("/b")
        again.write("/c", "3")
        journal.close()
        third, journal = open_store(path)
        assert third.read("/c") == b"3"
        journal.close()
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not the journal of a store"):
        open_store(path)


# The protocol

@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    made = StoreServer(Store(), tmp_path / "socket")
    yield made
    made.close()


def run(server: StoreServer, *words: str, status: int = 0) -> str:
    done = subprocess.run(words, env={**os.environ, "XENSTORED_PATH": str(server.path)}, capture_output=True, text=True, timeout=20)
    assert done.returncode == status, done.stderr
    return done.stdout


needs_clients = pytest.mark.skipif(shutil.which("xenstore-ls") is None, reason="needs xenstore-utils (xenstore-ls)")


@needs_clients
def test_the_original_clients_work_unmodified(server: StoreServer) -> None:
    run(server, "xenstore-write", "/a/b", "one", "/a/c", "two")
    assert run(server, "xenstore-read", "/a/b") == "one\n"
    assert run(server, "xenstore-list", "/a") == "b\nc\n"
    assert run(server, "xenstore-ls") == 'a = ""\n b = "one"\n c = "two"\n'
    run(server, "xenstore-chmod", "/a/b", "n0", "r3")
    assert "(n0,r3)" in run(server, "xenstore-ls", "-p")
    run(server, "xenstore-rm", "/a/b")
    run(server, "xenstore-exists", "/a/b", status=1)
    run(server, "xenstore-read", "/nope", status=1)


@needs_clients
def test_the_original_watcher_hears_changes(server: StoreServer) -> None:
    watcher = subprocess.Popen(["xenstore-watch", "-n", "3", "/w"], env={**os.environ, "XENSTORED_PATH": str(server.path)},
                               stdout=subprocess.PIPE, text=True)
    assert watcher.stdout is not None and watcher.stdout.readline() == "/w\n"
    server.store.write("/w/x", "1")
    server.store.write("/v", "1")
    server.store.remove("/w/x")
    assert watcher.communicate(timeout=10)[0] == "/w/x\n/w/x\n"


def ask(channel: socket.socket, kind: int, payload: bytes, transaction: int = 0) -> tuple[int, bytes]:
    channel.sendall(struct.pack("<IIII", kind, 9, transaction, len(payload)) + payload)
    head = channel.recv(16, socket.MSG_WAITALL)
    answer, request, _, length = struct.unpack("<IIII", head)
    assert request == 9
    return answer, channel.recv(length, socket.MSG_WAITALL) if length else b""


def test_requests_and_errors_on_the_wire(server: StoreServer) -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(server.path))
        assert ask(channel, 11, b"/a\0value") == (11, b"OK\0")
        assert ask(channel, 2, b"/a\0") == (2, b"value")
        assert ask(channel, 2, b"/b\0") == (16, b"ENOENT\0")
        assert ask(channel, 10, b"5\0") == (10, b"/local/domain/5\0")
        assert ask(channel, 99, b"") == (16, b"ENOSYS\0")
        assert ask(channel, 11, b"no end") == (16, b"EINVAL\0")
        kind, number = ask(channel, 6, b"\0")
        assert kind == 6
        t = int(number.rstrip(b"\0"))
        assert ask(channel, 11, b"/t\0x", t) == (11, b"OK\0")
        assert ask(channel, 7, b"T\0", t) == (7, b"OK\0")
        assert ask(channel, 7, b"T\0", t) == (16, b"ENOENT\0")
        assert ask(channel, 22, b"/\x000\0")[1].endswith(b"a\0t\0\0")
        channel.sendall(struct.pack("<IIII", 2, 1, 0, 5000))
        assert channel.recv(1) == b""


@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 3), st.binary(max_size=40)), max_size=10), st.binary(max_size=30))
def test_nonsense_on_the_wire_hurts_nobody(messages: list[tuple[int, int, bytes]], tail: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        server = StoreServer(Store(), Path(folder) / "s")
        try:
            with socket.socket(socket.AF_UNIX) as channel:
                channel.connect(str(server.path))
                for kind, transaction, payload in messages:
                    channel.sendall(struct.pack("<IIII", kind, 0, transaction, len(payload)) + payload)
                channel.sendall(tail)
            with socket.socket(socket.AF_UNIX) as channel:
                channel.connect(str(server.path))
                channel.settimeout(5)
                assert ask(channel, 1, b"/\0")[0] == 1
        finally:
            server.close()


def test_the_pyxs_library_works_unmodified(server: StoreServer) -> None:
    pyxs = pytest.importorskip("pyxs")
    with pyxs.Client(unix_socket_path=str(server.path)) as client:
        client.write(b"/a/b", b"1")
        assert (client.read(b"/a/b"), client.list(b"/a"), client.exists(b"/none")) == (b"1", [b"b"], False)
        client.set_perms(b"/a/b", [b"n0", b"r2"])
        assert client.get_perms(b"/a/b") == [b"n0", b"r2"]
        client.transaction()
        client.write(b"/a/c", b"2")
        server.store.write("/a/other", "x")
        assert not client.commit(), "the children of /a have changed meanwhile"
        client.transaction()
        client.write(b"/a/c", b"2")
        assert client.commit() and client.list(b"/a") == [b"b", b"c", b"other"]
        monitor = client.monitor()
        monitor.watch(b"/a", b"token")
        events = monitor.wait()
        assert next(events) == (b"/a", b"token")
        server.store.write("/a/d", "3")
        assert next(events) == (b"/a/d", b"token")
        client.delete(b"/a")
        assert not client.exists(b"/a")
        monitor.close()
