"""penstock switch, vale-ctl, bdgfnctl and pkt-gen, as processes that talk to one toolstack."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.cli.pkt_gen import norm
from penstock.packet.capture import CaptureReader, CaptureWriter
from penstock.toolstack import Client, DomainError
from penstock.toolstack.openport import RemotePort
from tests.conftest import needs_root

FRAME = bytes([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]) + b"hello"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PENSTOCK_RUN", str(tmp_path / "run"))
    yield tmp_path
    try:
        with Client(start=False) as client:
            pid = client.status()["pid"]
            client.shutdown()
    except DomainError:
        return
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
        assert time.monotonic() < end
        time.sleep(0.02)


def command(module: str, *words: str, status: int = 0) -> tuple[str, str]:
    code = f"import sys; from penstock.cli import {module}; sys.exit({module}.main())"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def switch(*words: str, status: int = 0) -> tuple[str, str]:
    return command("main", "switch", *words, status=status)


def test_switches_are_made_with_their_first_port_and_gone_with_their_last() -> None:
    assert switch("list")[0] == "no switches\n"
    assert json.loads(switch("list", "--json")[0]) == []
    with RemotePort("vale0:a") as a, RemotePort("vale0:b", slots=1024) as b, RemotePort("vale7:x"):
        a.send(FRAME)
        assert b.receive(2) == FRAME
        out = switch("list", "vale0")[0]
        assert out.startswith("vale0: module learning, 2 ports\n")
        assert re.search(r"^  a +0 +virtual +256 +1 +19 +0 +0 +-$", out, re.M)
        assert [s["name"] for s in json.loads(switch("list", "--json")[0])] == ["vale0", "vale7"]
        assert command("vale_ctl")[0] == ("vale0:a bridge_idx 0 port_idx 0\nvale0:b bridge_idx 0 port_idx 1\nvale7:x bridge_idx 1 port_idx 0\n")
        assert command("vale_ctl", "--2014")[0].splitlines()[0] == "bdg_ctl [149] bridge:0 port:0 vale0:a"
        assert command("vale_ctl", "-l", "vale0:b")[0] == "bridge_idx: 0\nport_idx:   1\n"
        assert "tx_slots: 1024\nrx_slots: 1024\ntx_rings: 1\n" in command("vale_ctl", "-g", "vale0:b")[0]
        rows = json.loads(switch("table", "vale0", "--json")[0])
        assert rows[0]["address"] == "02:00:00:00:00:01" and rows[0]["port"] == "0"
        assert "Mpps in" in switch("top", "--once", "-i", "0.1")[0]
        assert a.is_there
        command("vale_ctl", "-d", "vale0:a")
        assert "failed to detach vale0:a: vale0 has no port 'a'" in command("vale_ctl", "-d", "vale0:a", status=1)[1]
    end = time.monotonic() + 5
    while switch("list")[0] != "no switches\n":
        assert time.monotonic() < end


def test_a_switch_has_as_many_workers_as_asked_for_and_its_ports_as_many_rings() -> None:
    switch("make", "--workers", "2", "vale5", "dummy", "1")
    switch("make", "--trusting", "vale6")
    assert switch("list", "vale5")[0].startswith("vale5: module dummy, 0 ports, stays without ports, 2 workers\n")
    assert "its programs forward themselves" in switch("list", "vale6")[0]
    assert "is there, with 2 workers" in switch("make", "--workers", "3", "vale5", status=1)[1]
    with RemotePort("vale5:a", rings=2) as a, RemotePort("vale5:b") as b:
        assert len(a.further) == 1
        for ring in (a, *a.further):
            ring.send(FRAME)
            assert b.receive(2) == FRAME
        assert "tx_rings: 2\nrx_rings: 2\n" in command("vale_ctl", "-g", "vale5:a")[0]
    command("pkt_gen", "-i", "vale6:gen", "-f", "tx", "-n", "1000", "-w", "0")
    for name in ("vale5", "vale6"):
        switch("destroy", name)


def test_a_program_that_is_killed_gives_its_port_back() -> None:
    with RemotePort("vale0:stays"):
        code = "from penstock.toolstack.openport import RemotePort; p = RemotePort('vale0:dies'); print(p.number, flush=True); import time; time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None and child.stdout.readline() == "1\n"
        assert "dies" in switch("list")[0]
        child.kill()
        child.wait()
        child.stdout.close()
        end = time.monotonic() + 5
        while "dies" in switch("list")[0]:
            assert time.monotonic() < end


def test_who_comes_while_a_toolstack_ends_finds_another_one() -> None:
    """Without a switch it ends by itself; the next one who asks must not fall into the gap."""
    pids = set()
    for k in range(12):
        with RemotePort("vale0:a") as port:
            assert port.is_there and port.number == 0
            with Client(start=False) as client:
                pids.add(client.status()["pid"])
        time.sleep(0.003 * (k % 4))
    assert len(pids) > 1


def test_modules_are_replaced_and_told_things_by_command(home: Path) -> None:
    switch("make", "vale3", "static", "default=broadcast")
    with RemotePort("vale3:a") as a, RemotePort("vale3:b") as b, RemotePort("vale3:c") as c:
        a.send(FRAME)
        assert b.receive(2) == c.receive(2) == FRAME
        switch("tell", "vale3", "add", "02:00:00:00:00:02", "c")
        a.send(FRAME)
        assert c.receive(2) == FRAME and b.receive(0.05) is None
        assert switch("table", "vale3")[0] == "address            port\n02:00:00:00:00:02     2\n"
        assert switch("module", "vale3")[0] == "static\n"
        (home / "mine.py").write_text("from penstock.switch import Module, DROP\nfrom penstock.datapath.source import datapath\n\n\n"
                                      "class Mine(Module):\n    name = 'mine'\n\n    @datapath\n    def lookup(self, frame, source):\n        return DROP\n")
        assert switch("module", "vale3", str(home / "mine.py"))[0] == "mine\n"
        (home / "bad.py").write_text("from penstock.switch import Module\nfrom penstock.datapath.source import datapath\n\n\n"
                                     "class Bad(Module):\n    name = 'bad'\n\n    @datapath\n    def lookup(self, frame, source):\n        while True:\n"
                                     "            pass\n")
        _, err = switch("module", "vale3", str(home / "bad.py"), status=1)
        assert "bad.py:10: packet code has no while statement" in err and "write a bounded loop" in err
        assert switch("module", "vale3")[0] == "mine\n"
        assert "there is no module 'nope'" in switch("module", "vale3", "nope", status=1)[1]
        assert "takes no commands" in switch("tell", "vale3", "x", status=1)[1]
    assert switch("list")[0] == "vale3: module mine, 0 ports, stays without ports\n"
    switch("destroy", "vale3")
    assert {line.split()[0] for line in switch("modules")[0].splitlines()} >= {"learning", "static", "ips", "macs", "my_lookup", "dummy"}


def test_a_chain_of_domains_is_made_whole_or_not_at_all(home: Path) -> None:
    """Left to right every domain counts, and takes something off; right to left frames pass as they are."""
    for k in (1, 2, 3):
        (home / f"{k}.click").write_text(f"FromDevice(0) -> c :: Counter -> Strip({k}) -> ToDevice(1); "
                                         "FromDevice(1) -> b :: Counter -> ToDevice(0);\n")
    files = [str(home / f"{k}.click") for k in (1, 2, 3)]
    out, _ = command("main", "chain", "lab", *files, "--memory", "8")
    assert [line.split(":")[0] for line in out.splitlines()] == ["lab.1", "lab.2", "lab.3"]
    with RemotePort("valelab:left") as left, RemotePort("valelab:right") as right:
        left.send(bytes(range(40)))
        assert right.receive(5) == bytes(range(6, 40))
        right.send(bytes(40))
        assert left.receive(5) == bytes(40)
        assert "1l    left   up" in switch("table", "valelab")[0]
    assert command("main", "vm", "read", "lab.2", "c", "count")[0] == "read(c/count) => 1\n"
    assert "there is a chain 'lab' already" in command("main", "chain", "lab", *files, status=1)[1]
    command("main", "chain", "lab", "--destroy")
    assert re.search("there is no chain 'lab'|no toolstack runs", command("main", "chain", "lab", "--destroy", status=1)[1])
    out, _ = command("main", "chain", "lab", *files, "--fuse")
    assert out.count("\n") == 1
    with RemotePort("valelab:left") as left, RemotePort("valelab:right") as right:
        left.send(bytes(range(40)))
        assert right.receive(5) == bytes(range(6, 40))
        right.send(bytes(40))
        assert left.receive(5) == bytes(40)
        assert command("main", "vm", "read", "lab.1", "d2/c", "count")[0] == "read(d2/c/count) => 1\n"
    command("main", "chain", "lab", "--destroy")
    (home / "bad.click").write_text("FromDevice(0) -> Nonsense -> ToDevice(1);")
    _, err = command("main", "chain", "lab", files[0], str(home / "bad.click"), status=1)
    assert "bad.click:1: undeclared element 'Nonsense'" in err
    assert "bad.click:1: undeclared element 'Nonsense'" in command("main", "chain", "lab", "--fuse", files[0], str(home / "bad.click"), status=1)[1]
    assert switch("list")[0] == "no switches\n" and "lab" not in command("main", "vm", "list")[0]
    assert "needs configurations" in command("main", "chain", "lab", status=1)[1]


def test_ports_are_limited_by_command() -> None:
    with RemotePort("vale0:a") as a, RemotePort("vale0:b") as b:
        switch("limit", "vale0:a", "100Mbit")
        switch("allow", "vale0:a", "02:00:00:00:00:01")
        out = switch("list")[0]
        assert "a may send 100 Mbit/s" in out and "a may send from 02:00:00:00:00:01" in out
        a.send(FRAME)
        a.send(FRAME[:6] + FRAME[:6] + FRAME[12:])
        assert b.receive(2) == FRAME and b.receive(0.05) is None
        assert "1 refused" in switch("list")[0]
        switch("limit", "vale0:a", "none")
        switch("allow", "vale0:a", "any")
        assert "may send" not in switch("list")[0]
        assert "'fast' is no rate" in switch("limit", "vale0:a", "fast", status=1)[1]
        assert "has no port 'z'" in switch("limit", "vale0:z", "1Mbit", status=1)[1]


def test_the_modules_of_the_original_by_its_command() -> None:
    assert command("bdgfnctl", "ips", "regfn", "-b", "2", "-p", "257")[0] == "[ok]\n"
    assert command("bdgfnctl", "ips", "addif", "-b", "2", "-4", "1.2.3.4", "-d", "1")[0] == "[+] 1.2.3.4       -> 1\n[ok]\n"
    assert command("bdgfnctl", "ips", "addif", "--bridge", "2", "--ip6", "2001:db8::1", "--dest", "7")[0].startswith("[+] 2001:db8::1   -> 7\n")
    assert command("bdgfnctl", "ips", "listif", "-b", "2")[0] == "[0000] 1.2.3.4 -> 0001\n[0001] 2001:db8::1 -> 0007\n[ok]\n"
    assert command("bdgfnctl", "ips", "delif", "-b", "2", "-4", "1.2.3.4")[0] == "[ok]\n"
    out, err = command("bdgfnctl", "ips", "delif", "-b", "2", "-4", "1.2.3.4", status=1)
    assert out == "[noterror]\n" and "1.2.3.4 is not in the table" in err
    assert "'bdgfnctl macs regfn'" in command("bdgfnctl", "macs", "listif", "-b", "2", status=1)[1]
    assert command("bdgfnctl", "macs", "regfn", "-b", "2")[0] == "[ok]\n"
    command("bdgfnctl", "macs", "addif", "-b", "2", "-m", "02:00:00:00:00:01", "-d", "1")
    command("bdgfnctl", "macs", "port", "-b", "2", "-p", "0")
    for words in ((), ("ips",), ("ips", "fly"), ("ips", "addif", "-x")):
        assert "usage: bdgfnctl" in command("bdgfnctl", *words, status=2)[1]
    switch("destroy", "vale2")


def test_pkt_gen_sends_and_receives_in_the_original_s_words() -> None:
    receiver = subprocess.Popen([sys.executable, "-c", "import sys; from penstock.cli import pkt_gen; sys.exit(pkt_gen.main())",
                                 "-i", "vale0:r", "-f", "rxseq", "-n", "5000", "-T", "200"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 20
    while "vale0" not in switch("list")[0]:
        assert time.monotonic() < end
    out, err = command("pkt_gen", "-i", "vale0:t", "-f", "txseq", "-n", "5000", "-l", "100", "-w", "1", "-R", "20000", "-T", "100")
    assert re.match(r"Sent 5000 packets 500000 bytes \d+ events 100 bytes each in \d+\.\d\d seconds\.\n"
                    r"Speed: [\d.]+ Kpps Bandwidth: [\d.]+ Mbps \(raw [\d.]+ Mbps\)\. Average batch: [\d.]+ pkts\n", out), out
    assert re.search(r"^\d+\.\d{6} main_thread \[\d+\] [\d.]+ Kpps \([\d.]+ K?pkts [\d.]+ [MK]bps in \d+ usec\) [\d.]+ avg_batch 0 min_space$", err, re.M), err
    got, _ = receiver.communicate(timeout=20)
    assert got.startswith("Received 5000 packets 500000 bytes") and "Sequence: 0 frames were not the next one." in got


def test_pkt_gen_pings_and_is_answered() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; from penstock.cli import pkt_gen; sys.exit(pkt_gen.main())",
                           "-i", "vale0:pong", "-f", "pong", "-n", "50"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as answerer:
        end = time.monotonic() + 60
        while "pong" not in switch("list")[0]:
            assert time.monotonic() < end
        out, _ = command("pkt_gen", "-i", "vale0:ping", "-f", "ping", "-n", "50", "-w", "0")
        got, _ = answerer.communicate(timeout=60)
    # Those that were sent while the other side was still being compiled have no round trip.
    found = re.search(r"^RTT over (\d+) packets: min \d+ av \d+ ns$", out, re.M)
    assert found and int(found[1]) > 25, out
    assert got.startswith("Received 50 packets 3000 bytes")


@pytest.mark.parametrize(("words", "problem"), [
    (["-f", "tx"], "-i PORT is needed"), (["-i", "null", "-f", "fly"], "there are tx, rx"), (["-i", "null", "-f", "tx", "-l", "9000"], "a slot holds 14 to"),
    (["-i", "null", "-f", "tx", "-d", "10.0.0.300"], "no IPv4 address"), (["-i", "null", "-f", "tx", "-d", "10.0.0.9:99999"], "no UDP port"),
    (["-i", "null", "-f", "tx", "-d", "10.0.0.9-10.0.0.1"], "ends before it begins"), (["-i", "null", "-f", "tx", "-n", "x"], "a number is expected"),
    (["-i", "null", "-f", "tx", "-P", "/dev/null"], "too short for a capture"), (["-i", "null", "-f", "tx", "-F", "99"], "1 to 63 slots"),
    (["-i", "null", "-f", "tx", "-D", "2:3"], "no Ethernet address"), (["-i", "null", "-Q"], "option -Q not recognized"),
])
def test_pkt_gen_says_what_is_wrong(words: list[str], problem: str) -> None:
    assert problem in command("pkt_gen", *words, status=2)[1]


def test_a_port_is_tapped_into_a_capture(home: Path) -> None:
    with RemotePort("vale0:a") as a, RemotePort("vale0:b") as b:
        child = subprocess.Popen([sys.executable, "-m", "penstock.cli.main", "tap", "vale0:a", "-w", str(home / "t.pcapng"), "-c", "6"],
                                 stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 20
        while "tap of a" not in switch("list")[0]:
            assert time.monotonic() < end
        for k in range(3):
            a.send(FRAME + bytes([k]))
            assert b.receive(2)
            b.send(FRAME[6:12] + FRAME[:6] + FRAME[12:])
            assert a.receive(2)
        _, err = child.communicate(timeout=20)
        assert child.returncode == 0 and err == "6 frames\n", err
        with CaptureReader(str(home / "t.pcapng")) as reader:
            seen = [p.data for p in reader]
        assert seen[::2] == [FRAME + bytes([k]) for k in range(3)] and all(s[6:12] == FRAME[:6] for s in seen[1::2])
        _, err = command("main", "tap", "vale0:zz", "-w", str(home / "u.pcapng"), status=1)
        assert "vale0 has no port 'zz'" in err
        assert "there is no switch 'vale9'" in command("main", "tap", "vale9:a", "-w", str(home / "u.pcapng"), status=1)[1]


def test_quantities_are_written_as_the_original_does() -> None:
    assert [norm(v) for v in (0, 999, 14_880_000, 2.5e9, 3e12)] == ["0.000 ", "999.000 ", "14.880 M", "2.500 G", "3.000 T"]


def test_no_interface_is_a_clear_error() -> None:
    _, err = command("vale_ctl", "-a", "vale0:nothing", status=1)
    assert re.match(r"failed to attach vale0:nothing: nothing: (no such interface|packet sockets need)", err)
    assert "begins with 'vale'" in command("vale_ctl", "-a", "br0:lo", status=1)[1]
    assert "one thing at a time" in command("vale_ctl", "-a", "vale0:x", "-d", "vale0:y", status=2)[1]
    assert "usage: vale-ctl" in command("vale_ctl", "-x", status=2)[1]
    assert switch("list")[0] == "no switches\n"


@needs_root()
@pytest.mark.parametrize("kind", ["netmap:", "pcap:", ""])
def test_pkt_gen_sends_a_capture_on_an_interface(kind: str, home: Path) -> None:
    """On the loopback interface, which hands back what is sent: what comes is dumped."""
    with contextlib.closing(CaptureWriter(str(home / "in.pcap"))) as writer:
        writer.write(FRAME[:12] + b"\x88\xb5" + b"penstock!" * 6, 0)
    with subprocess.Popen([sys.executable, "-c", "import sys; from penstock.cli import pkt_gen; sys.exit(pkt_gen.main())", "-i", f"{kind}lo", "-f", "rx",
                           "-X", "-n", "3", "-T", "100000"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as receiver:
        try:
            time.sleep(1.5)
            out, _ = command("pkt_gen", "-i", f"{kind}lo", "-f", "tx", "-P", str(home / "in.pcap"), "-n", "20", "-w", "0", "-R", "200")
            assert out.startswith("Sent 20 packets 1360 bytes")
            got, _ = receiver.communicate(timeout=20)
        finally:
            receiver.kill()
    assert "penstock!" in got, got
    assert command("pkt_gen", "-i", f"{kind}nothing", "-f", "rx", status=1)[1].startswith("pkt-gen: nothing: no such interface")


@needs_root()
def test_interfaces_that_stay() -> None:
    name = f"pst{os.getpid() % 100000}"
    command("vale_ctl", "-n", name, "-C", "500")
    assert command("vale_ctl", "-v", "-a", f"vale0:{name}")[0] == "port_index: 0\n"
    assert "tx_slots: 512" in command("vale_ctl", "-g", f"vale0:{name}")[0]
    assert "detach it first" in command("vale_ctl", "-r", name, status=1)[1]
    command("vale_ctl", "-d", f"vale0:{name}")
    assert Path(f"/sys/class/net/{name}").exists()
    command("vale_ctl", "-r", name)
    assert not Path(f"/sys/class/net/{name}").exists()
