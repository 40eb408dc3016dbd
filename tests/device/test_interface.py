"""Interfaces reached by AF_XDP and by packet sockets: the kernel's own TCP from one namespace to another, through a switch."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys

import pytest

from tests.conftest import needs_root

PROGRAM = """
import subprocess, sys, time
from penstock.device import DeviceError
from penstock.switch.host import SwitchHost
def ip(words): subprocess.run(["ip", *words.split()], check=True)
def inside(namespace, *command): return ["ip", "netns", "exec", namespace, *command]
def fetch(): return subprocess.run(inside(left, "curl", "-s", "-m", "20", "http://10.9.0.2:8000/big"), capture_output=True).stdout
left, right, folder = sys.argv[1:]
ip("link set lo up")
try:
    for i, namespace in enumerate((left, right)):
        ip(f"netns add {namespace}")
        queues = f"numrxqueues {i + 1} numtxqueues {i + 1}"
        ip(f"link add v{i} {queues} type veth peer name peer{i} {queues} netns {namespace}")
        ip(f"link set v{i} up")
        ip(f"-n {namespace} addr add 10.9.0.{i + 1}/24 dev peer{i}")
        ip(f"-n {namespace} link set peer{i} up")
    server = subprocess.Popen(inside(right, sys.executable, "-m", "http.server", "8000", "-d", folder), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(1)
    big = open(folder + "/big", "rb").read()
    with SwitchHost() as host:
        for i in range(2):
            host.attach_interface(f"vale0:v{i}", slots=1024)
        devices = [(type(d).__name__) for a in host._attached.values() for d in a.devices]
        print("devices", devices, [p.rings for p in host.infos()[0].ports])
        print("whole", fetch() == big)
        print("dropped", [d.drops for a in host._attached.values() for d in a.devices])
        print("program", "xdp" in subprocess.run(["ip", "link", "show", "v0"], capture_output=True, text=True).stdout)
        try:
            host.attach_interface("vale1:v0", method="xdp")
        except DeviceError as error:
            print(error)
        host.detach("vale0:v0")
        print("program", "xdp" in subprocess.run(["ip", "link", "show", "v0"], capture_output=True, text=True).stdout)
        host.attach_interface("vale0:v0", method="packet")
        # Segments as large as the sender likes are for the wire to cut; a packet socket sees them whole.
        subprocess.run(inside(right, "ethtool", "-K", "peer1", "tso", "off", "gso", "off"), check=False, stdout=subprocess.DEVNULL)
        print("devices", [type(d).__name__ for a in host._attached.values() for d in a.devices])
        print("whole", fetch() == big)
        host.detach("vale0:v0")
        ip("addr add 10.8.0.1/24 dev v0")
        host.attach_interface("vale0:v0")
        print("addressed", [type(d).__name__ for d in host._attached["vale0", "v0"].devices])
        for name, method in (("vale1:lo", "xdp"), ("vale1:v1", "pigeon"), ("vale1:nothing", "xdp")):
            try:
                host.attach_interface(name, method=method)
            except DeviceError as error:
                print(error)
        print(sorted(host.switches))
    server.kill()
finally:
    ip("link add v2 numrxqueues 1 numtxqueues 2 type veth peer name peer2")
    with SwitchHost() as host:
        for method in ("", "xdp"):
            try:
                host.attach_interface("vale0:v2", method=method)
                print("rings", [p.rings for p in host.infos()[0].ports])
            except Exception as error:
                print(error)
            for name in list(host.switches):
                host.destroy(name)
    for namespace in (left, right):
        subprocess.run(["ip", "netns", "del", namespace], check=False)
"""


def _has_xdp() -> bool:
    try:
        socket.socket(44, socket.SOCK_RAW, 0).close()
    except OSError:
        return False
    return True


@needs_root()
@pytest.mark.skipif(not _has_xdp(), reason="this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS), or does not let us")
@pytest.mark.skipif(not all(map(shutil.which, ("unshare", "ip", "curl"))), reason="needs unshare, ip and curl")
def test_tcp_goes_through_interfaces_whichever_way_they_are_reached(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("served")
    (folder / "big").write_bytes(bytes(range(256)) * 8192)
    done = subprocess.run(["unshare", "--net", "--mount", sys.executable, "-c", PROGRAM, "penstock-left", "penstock-right", str(folder)],
                          capture_output=True, text=True, timeout=120)
    out = done.stdout
    assert done.returncode == 0, out + done.stderr
    assert "devices ['XdpPort', 'XdpPort', 'XdpPort'] [1, 2]" in out, out
    assert out.count("whole True") == 2, out
    assert "program True" in out and "program False" in out, out
    assert "v0: another program fetches its frames with XDP; it can be reached with a packet socket (method packet)" in out, out
    assert "devices ['XdpPort', 'XdpPort', 'InterfacePort']" in out, out
    assert "addressed ['InterfacePort']" in out, out
    assert "lo: its MTU is 65536 bytes, and frames of 1770 at most can be fetched with XDP" in out, out
    assert "'pigeon' is no way to fetch frames (there are xdp, packet)" in out, out
    assert "nothing: no such interface (there are" in out, out
    assert "['vale0']" in out, out
    assert "rings [1]" in out and "v2: its peer sends with more queues than it receives with (ethtool -L)" in out, out


TAGGED = r"""
import subprocess, sys, time
LISTEN = '''
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.setsockopt(263, 8, 1)
s.bind(("peer1", 3))
s.settimeout(15)
seen = 0
while seen < 3:
    data, extra, _, _ = s.recvmsg(2048, 256)
    if data[14:19] == b"hello":
        # tp_status, tp_len, tp_snaplen, tp_mac, tp_net, tp_vlan_tci, tp_vlan_tpid
        status, length, _, _, _, tci, tpid = struct.unpack("IIIHHHH", extra[0][2][:20])
        print(hex(tci), hex(tpid), len(data), bool(status & 0x10))
        seen += 1
'''
SEND = '''
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("peer0", 0))
for tag in (bytes.fromhex("81006005"), bytes.fromhex("88a80fff"), b""):
    s.send(bytes.fromhex("020000000099020000000001") + tag + bytes.fromhex("88b5") + b"hello" + bytes(50))
'''
from penstock.switch.host import SwitchHost
def ip(words): subprocess.run(["ip", *words.split()], check=True)
def inside(namespace, *command): return ["ip", "netns", "exec", namespace, *command]
def fetch(): return subprocess.run(inside(left, "curl", "-s", "-m", "20", "http://10.9.5.2:8000/big"), capture_output=True).stdout
left, right, folder = sys.argv[1:]
ip("link set lo up")
try:
    for i, namespace in enumerate((left, right)):
        ip(f"netns add {namespace}")
        ip(f"link add v{i} type veth peer name peer{i} netns {namespace}")
        ip(f"link set v{i} up")
        ip(f"-n {namespace} link set peer{i} up")
        ip(f"-n {namespace} addr add 10.9.5.{i + 1}/24 dev peer{i}")
        subprocess.run(inside(namespace, "ethtool", "-K", f"peer{i}", "tso", "off", "gso", "off"), check=False, stdout=subprocess.DEVNULL)
    server = subprocess.Popen(inside(right, sys.executable, "-m", "http.server", "8000", "-d", folder), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(1)
    big = open(folder + "/big", "rb").read()
    with SwitchHost() as host:
        for i in range(2):
            host.attach_interface(f"vale0:v{i}", slots=1024, method="packet")
        print("whole", fetch() == big)
        listener = subprocess.Popen(inside(right, sys.executable, "-c", LISTEN), stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        subprocess.run(inside(left, sys.executable, "-c", SEND), check=True)
        print("tags", listener.communicate(timeout=20)[0])
        ip("link set v0 down")
        time.sleep(0.2)
        before = time.process_time()
        time.sleep(1)
        print("rests", time.process_time() - before < 0.5)
        ip("link set v0 up")
        time.sleep(0.5)
        print("again", fetch() == big)
    server.kill()
finally:
    for namespace in (left, right):
        subprocess.run(["ip", "netns", "del", namespace], check=False)
"""


@needs_root()
@pytest.mark.skipif(not all(map(shutil.which, ("unshare", "ip", "curl", "ethtool"))), reason="needs unshare, ip, curl and ethtool")
def test_packet_sockets_keep_tags_and_outlive_an_interface_that_was_down(tmp_path: object) -> None:
    folder = str(tmp_path)
    with open(f"{folder}/big", "wb") as file:
        file.write(bytes(range(256)) * 8192)
    done = subprocess.run(["unshare", "--net", "--mount", sys.executable, "-c", TAGGED, "penstock-tagl", "penstock-tagr", folder],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [word in done.stdout for word in ("whole True", "rests True", "again True")] == [True] * 3, done.stdout
    assert "tags 0x6005 0x8100 69 True\n0xfff 0x88a8 69 True\n0x0 0x0 69 False\n" in done.stdout, done.stdout
