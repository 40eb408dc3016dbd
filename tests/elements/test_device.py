"""FromDevice and ToDevice with the kernel's own stack as the peer, in a namespace of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.lang.source import ConfigurationError
from penstock.packet.capture import CaptureReader
from penstock.runtime.router import Router
from tests.conftest import needs_root
from tests.harness import running
from tests.traffic import checksum

pytestmark = [
    needs_root(),
    pytest.mark.skipif(shutil.which("ip") is None or shutil.which("ping") is None, reason="needs ip and ping (iproute2, iputils-ping)"),
]
HOST = f"pk{os.getpid() % 100000}"
LINK = f"pkv{os.getpid() % 100000}"
ANSWER = """
FromDevice({dev}{how}) -> c :: Classifier(12/0806 20/0001, 12/0800, -);
c[0] -> ARPResponder(10.99.0.1 02:00:00:00:00:01) -> q :: Queue -> t :: ToDevice({dev}{how});
c[1] -> Strip(14) -> CheckIPHeader -> ICMPPingResponder -> Unstrip(14) -> EtherMirror -> q;
c[2] -> Discard;
"""


def sh(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.fixture
def link() -> Iterator[str]:
    """One end of a veth pair; the other is 10.99.0.2 in a namespace."""
    sh(f"ip netns add {HOST}")
    try:
        sh(f"ip link add {LINK} type veth peer name eth0 netns {HOST}")
        sh(f"ip link set {LINK} up && ip -n {HOST} link set eth0 up && ip -n {HOST} addr add 10.99.0.2/24 dev eth0")
        yield LINK
    finally:
        subprocess.run(f"ip link del {LINK}", shell=True, capture_output=True)
        sh(f"ip netns del {HOST}")


def test_ping_of_the_kernel_is_answered(link: str) -> None:
    with running(ANSWER.format(dev=link, how="")) as router:
        out = sh(f"ip netns exec {HOST} ping -c 5 -i 0.05 -W 2 10.99.0.1")
        assert " 5 received" in out
        big = sh(f"ip netns exec {HOST} ping -c 3 -i 0.05 -s 1400 -W 2 10.99.0.1")
        assert " 3 received" in big
        assert int(router.read("t.count")) >= 9
        assert router.read("FromDevice@1.kernel_drops") == "0"
    assert LINK in sh("ip -o link")


TALK = """
import socket
for family, address in ((socket.AF_INET, "10.99.0.1"), (socket.AF_INET6, "fd99::1")):
    socket.socket(family, socket.SOCK_DGRAM).sendto(b"odd", (address, 9))
    try:
        socket.create_connection((address, 9), 0.3)
    except OSError:
        pass
"""


def test_checksums_that_the_kernel_leaves_to_a_card_are_made(link: str, tmp_path: Path) -> None:
    sh(f"ip -n {HOST} addr add fd99::2/64 dev eth0 nodad; ip -n {HOST} neigh add 10.99.0.1 lladdr 2:0:0:0:0:1 dev eth0;"
       f"ip -n {HOST} neigh add fd99::1 lladdr 2:0:0:0:0:1 dev eth0")
    text = f"FromDevice({link}, PROMISC true) -> c :: Counter -> ToDump({tmp_path}/a.pcap, SNAPLEN 0, UNBUFFERED true);"
    with running(text) as router:
        subprocess.run(["ip", "netns", "exec", HOST, sys.executable, "-c", TALK], check=True)
        assert wait_until(lambda: int(router.read("c.count")) >= 4)
        time.sleep(0.2)
    kinds = set()
    with CaptureReader(str(tmp_path / "a.pcap")) as packets:
        for frame in (p.data for p in packets):
            six = frame[12:14] == b"\x86\xdd"
            protocol, addresses = (frame[20], frame[22:54]) if six else (frame[23], frame[26:34])
            if frame[12:14] in (b"\x08\0", b"\x86\xdd") and protocol in (6, 17):
                segment = frame[54:] if six else frame[34 : 14 + int.from_bytes(frame[16:18], "big")]
                assert checksum(addresses + bytes([0, protocol]) + len(segment).to_bytes(2, "big") + segment) == 0
                kinds.add((six, protocol))
    assert kinds == {(False, 6), (False, 17), (True, 6), (True, 17)}


def test_jumbo_frames_come_and_go_whole(link: str) -> None:
    sh(f"ip link set {link} mtu 9000 && ip -n {HOST} link set eth0 mtu 9000")
    with running(ANSWER.format(dev=link, how="")) as router:
        out = sh(f"ip netns exec {HOST} ping -c 3 -i 0.05 -s 8900 -M do -W 2 10.99.0.1")
        assert " 3 received" in out
        assert router.read("t.drops") == "0"


def test_frames_are_cut_at_the_snaplen(link: str, tmp_path: Path) -> None:
    text = f"FromDevice({link}, SNAPLEN 100, BPF_FILTER \"icmp\") -> ToIPSummaryDump({tmp_path}/o, HEADER false, CONTENTS wire_len); " + ANSWER
    with running(text.format(dev=link, how="")):
        assert " 1 received" in sh(f"ip netns exec {HOST} ping -c 1 -s 1000 -W 2 10.99.0.1")
        time.sleep(0.2)
    assert (tmp_path / "o").read_text() == "1042\n"
    with pytest.raises(ConfigurationError, match="SNAPLEN: must be between 14 and 65535"):
        Router.from_text(f"FromDevice({link}, SNAPLEN 5) -> Discard")


def test_tap_interface_answers_and_goes_away(link: str) -> None:
    tap = f"pkt{os.getpid() % 100000}"
    try:
        with running(ANSWER.format(dev=tap, how=", METHOD TAP")):
            sh(f"ip link set {tap} netns {HOST} && ip -n {HOST} addr flush dev eth0 && ip -n {HOST} addr add 10.99.0.2/24 dev {tap} "
               f"&& ip -n {HOST} link set {tap} up")
            assert " 3 received" in sh(f"ip netns exec {HOST} ping -c 3 -i 0.05 -W 2 10.99.0.1")
    except ConfigurationError as error:
        pytest.skip(f"no TAP interfaces here: {error}")
    assert tap not in sh(f"ip -n {HOST} -o link")


def test_frames_are_sent_as_they_are_and_long_ones_dropped(link: str) -> None:
    text = (f"FromDevice({link}, OUTBOUND true) -> d :: Counter -> Discard; InfiniteSource(LENGTH 1500, LIMIT 2000) -> Queue(50) "
            f"-> t :: ToDevice({link}); InfiniteSource(LENGTH 3000, LIMIT 3) -> Queue -> u :: ToDevice({link})")
    before = int(sh(f"cat /sys/class/net/{link}/statistics/tx_packets"))
    with running(text) as router:
        for _ in range(200):
            if int(router.read("t.count")) >= 2000:
                break
            threading.Event().wait(0.02)
        threading.Event().wait(0.2)
        assert router.read("t.count") == "2000"
        assert (router.read("u.count"), router.read("u.drops")) == ("0", "3")
    assert int(sh(f"cat /sys/class/net/{link}/statistics/tx_packets")) - before >= 2000


SEND_TAGGED = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("eth0", 0))
for tag in ("81006005", "88a80fff", ""):
    s.send(bytes.fromhex("020000000099020000000001" + tag + "88b5") + bytes(50))
"""


def test_tags_that_the_kernel_takes_off_are_put_back(link: str) -> None:
    text = f"FromDevice({link}, PROMISC true) -> c :: Classifier(12/8100600588b5, 12/88a80fff88b5, 12/88b5, -);"
    with running(text + "".join(f"c[{i}] -> n{i} :: Counter -> Discard;" for i in range(4))) as router:
        subprocess.run(["ip", "netns", "exec", HOST, sys.executable, "-c", SEND_TAGGED], check=True)
        time.sleep(0.5)
        assert [router.read(f"n{i}.count") for i in range(3)] == ["1", "1", "1"]


def test_missing_interface_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="nosuchdev: no such interface"):
        Router.from_text("FromDevice(nosuchdev) -> Discard")


LINKS = [
    "t :: KernelTun(10.98.0.1/24, DEVNAME pktun7); t -> CheckIPHeader -> ICMPPingResponder -> Queue -> t",
    "t :: KernelTun(10.98.0.1/24, DEVNAME pktun7) -> CheckIPHeader -> ICMPPingResponder -> t",
    "FromHost(pktun7, 10.98.0.1/24, TYPE IP) -> CheckIPHeader -> ICMPPingResponder -> ToHost(pktun7, TYPE IP)",
    """t :: KernelTap(10.98.0.1/24, DEVNAME pktun7, ETHER 02:00:00:00:00:99) -> c :: Classifier(12/0806 20/0001, 12/0800, -); c[2] -> Discard;
       c[0] -> ARPResponder(10.98.0.2 02:00:00:00:00:01) -> t;
       c[1] -> Strip(14) -> CheckIPHeader -> ICMPPingResponder -> Unstrip(14) -> EtherMirror -> t""",
]


def test_the_host_s_ping_is_answered_behind_its_own_interface() -> None:
    for text in LINKS:
        ping_through(text)


def ping_through(text: str) -> None:
    with running(text):
        out = sh("ping -c 3 -i 0.05 -W 2 10.98.0.2")
        assert "3 received" in out
        assert "pktun7" in sh("ip -br link")
    assert "pktun7" not in sh("ip -br link")


def test_a_default_route_leads_to_the_gateway(link: str) -> None:
    text = "KernelTun(10.98.0.1/24, 10.98.0.7, DEV_NAME pktun7) -> CheckIPHeader -> c :: Counter -> Discard;"
    program = subprocess.Popen(["ip", "netns", "exec", HOST, sys.executable, "-m", "penstock.cli.main", "run", "-e", text])
    try:
        assert wait_until(lambda: "default via 10.98.0.7 dev pktun7" in sh(f"ip -n {HOST} route"))
    finally:
        program.kill()
        program.wait()
    assert wait_until(lambda: "default" not in sh(f"ip -n {HOST} route"))
    with pytest.raises(ConfigurationError, match="GATEWAY: must lie in the network of ADDR"):
        Router.from_text("KernelTun(10.98.0.1/24, 10.97.0.7) -> Discard")


def wait_until(true: Callable[[], bool]) -> bool:
    for _ in range(200):
        if true():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft (nftables)")
@pytest.mark.parametrize("keeper", ["FromDevice(eth0, SNIFFER false)", "KernelFilter(drop dev eth0); FromDevice(eth0)"])
def test_the_kernel_gets_no_frames_while_a_sniffer_keeps_them(link: str, keeper: str) -> None:
    ether = sh(f"ip -n {HOST} -br link show eth0").split()[2]
    sh(f"ip -n {HOST} neigh replace 10.99.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent")
    pings = (f"ICMPPingSource(10.99.0.1, 10.99.0.2, INTERVAL 20ms) -> EtherEncap(0x0800, 2:0:0:0:0:1, {ether}) -> Queue -> ToDevice({link});"
             f"FromDevice({link}, PROMISC true, BPF_FILTER \"icmp[icmptype] = icmp-echoreply\") -> r :: Counter -> Discard;"
             f"FromDevice({link}, PROMISC true, OUTBOUND true, BPF_FILTER \"arp\") -> a :: Counter -> Discard;")
    keeper += " -> Classifier(12/0800) -> Strip(14) -> CheckIPHeader -> IPPrint(kept) -> Discard;"
    with running(pings) as router:
        def answered() -> bool:
            router.write("r.reset")
            time.sleep(0.3)
            return int(router.read("r.count")) > 0

        assert wait_until(answered)
        program = subprocess.Popen(["ip", "netns", "exec", HOST, sys.executable, "-m", "penstock.cli.main", "run", "-e", keeper],
                                   stderr=subprocess.PIPE, text=True)
        try:
            assert program.stderr is not None and program.stderr.readline().startswith("kept: ")
            assert not answered()
        finally:
            # However it ends, the kernel has its frames again.
            program.kill()
            program.communicate()
        assert wait_until(answered)
        assert router.read("a.count") == "0"


@pytest.mark.parametrize(("options", "message"), [("BPF_FILTER \"no such thing\"", "BPF_FILTER: .*syntax error"),
                                                  ("BPF_FILTER arp, METHOD TAP", "not with METHOD TAP")])
def test_bad_filters_are_named(options: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Router.from_text(f"FromDevice(lo, {options}) -> Discard")


@pytest.mark.parametrize(("filters", "message"), [("drop eth0", "expected 'drop dev INTERFACE'"), ("\"drop dev nosuchdev\"", "no such interface")])
def test_bad_kernel_filters_are_named(filters: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Router.from_text(f"KernelFilter({filters})")
