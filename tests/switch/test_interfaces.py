"""Real peers: the kernel's stack behind a TAP interface and behind a veth pair, and a domain, on one switch."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.conftest import needs_root

PROGRAM = """
import subprocess, sys
from penstock.toolstack import DomainSpec, Toolstack, VifSpec
def ip(words): subprocess.run(["ip", *words.split()], check=True)
def ping(namespace, to, size=1400):
    command = (["ip", "netns", "exec", namespace] if namespace else []) + ["ping", "-c", "20", "-i", "0.01", "-W", "2", "-s", str(size), to]
    return subprocess.run(command, capture_output=True, text=True).stdout
name = sys.argv[1]
ip("link set lo up")
with Toolstack() as toolstack:
    switches = toolstack.switches
    switches.attach_tap("vale0:tap0", slots=1024)
    ip("addr add 10.9.0.1/24 dev tap0")
    ip(f"netns add {name}")
    try:
        ip(f"link add veth0 type veth peer name peer0 netns {name}")
        ip("link set veth0 up")
        ip(f"-n {name} addr add 10.9.0.3/24 dev peer0")
        ip(f"-n {name} link set peer0 up")
        switches.attach_interface("vale0:veth0")
        domain = toolstack.create(DomainSpec("r", vif=(VifSpec("02:00:00:00:00:09", "vale0"),)))
        toolstack.start("r", '''FromDevice(0) -> cl :: Classifier(12/0806 20/0001, 12/0800, -);
cl[0] -> ARPResponder(10.9.0.2 02:00:00:00:00:09) -> out :: ToDevice(0);
cl[1] -> Strip(14) -> CheckIPHeader -> ICMPPingResponder -> Unstrip(14) -> EtherMirror -> out; cl[2] -> Discard;''')
        for namespace, to in (("", "10.9.0.2"), (name, "10.9.0.2"), ("", "10.9.0.3")):
            print(ping(namespace, to))
        toolstack.stop("r", 0)
        toolstack.start("r", "FromDevice(0) -> c :: Counter -> Discard; Idle -> ToDevice(0)")
        print("infos", [(p.counters.name, p.kind) for p in switches.infos()[0].ports])
        # A frame larger than a slot is not for interfaces; it harms neither.
        big = switches.switches["vale0"].open("big", slots=64)
        big.send(b"\\xff" * 12 + b"\\x08\\0" + bytes(9000))
        print(ping("", "10.9.0.3"))
        print("too large", {p.counters.name: p.counters.too_large for p in switches.infos()[0].ports if p.kind != "virtual"})
        switches.detach("vale0:big")
        switches.detach("vale0:veth0")
        print("peer", "0 received" in ping("", "10.9.0.3"))
        toolstack.destroy("r")
        # The same domain straight on the interface, without a switch.
        domain = toolstack.create(DomainSpec("s", vif=(VifSpec("02:00:00:00:00:09", "veth0"),)))
        toolstack.start("s", '''FromDevice(0) -> cl :: Classifier(12/0806 20/0001, 12/0800, -);
cl[0] -> ARPResponder(10.9.0.2 02:00:00:00:00:09) -> out :: ToDevice(0);
cl[1] -> Strip(14) -> CheckIPHeader -> ICMPPingResponder -> Unstrip(14) -> EtherMirror -> out; cl[2] -> Discard;''')
        print(ping(name, "10.9.0.2"))
        toolstack.destroy("s")
        switches.make_interface("vi0")
        switches.attach_interface("vale1:vi0")
        try:
            switches.destroy_interface("vi0")
        except Exception as error:
            print(error)
        switches.attach_interface("vale1:veth0", host=True)
        print("infos", [(p.counters.name, p.kind) for p in switches.infos("vale1")[0].ports])
        try:
            switches.attach_interface("vale1:nothing")
        except Exception as error:
            print(error)
        print(sorted(switches.switches))
    finally:
        ip(f"netns del {name}")
left = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
print("left", [w for w in ("tap0", "vi0", "veth0-host") if w in left])
"""


@needs_root()
@pytest.mark.skipif(not all(map(shutil.which, ("unshare", "ip", "ping"))), reason="needs unshare, ip and ping")
def test_the_kernel_talks_through_the_switch() -> None:
    name = "penstock-switch-test"
    done = subprocess.run(["unshare", "--net", "--mount", sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "too large {'tap0': 1, 'veth0': 1, 'vif1.0': 1}" in done.stdout, done.stdout
    assert done.stdout.count("20 received, 0% packet loss") == 5, done.stdout
    assert "infos [('tap0', 'tap'), ('veth0', 'interface'), ('vif1.0', 'domain')]" in done.stdout
    assert "peer True" in done.stdout and "vale1:vi0 is attached: detach it first" in done.stdout
    assert "infos [('vi0', 'persistent'), ('veth0', 'interface'), ('veth0.host', 'tap')]" in done.stdout
    assert "nothing: no such interface (there are" in done.stdout
    assert "['vale0', 'vale1']" in done.stdout and "left []" in done.stdout
