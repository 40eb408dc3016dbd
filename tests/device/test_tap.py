"""TAP interfaces at the ports of domains, with the kernel's own stack on the other side."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from penstock.device import DeviceError, TapPort
from penstock.ring import SharedPort
from tests.conftest import needs_root
from tests.isolation.machines import KVM

PROGRAM = """
import subprocess, sys, time
from penstock.datapath.ports import TAIL, TX
from penstock.toolstack import DomainError, DomainSpec, Toolstack, VifSpec
for words in ("link set lo up", "link add br0 type bridge", "addr add 10.9.0.1/24 dev br0", "link set br0 up"):
    subprocess.run(["ip", *words.split()], check=True)
TEXT = '''FromDevice(0) -> cl :: Classifier(12/0806 20/0001, 12/0800, -);
cl[0] -> ARPResponder(10.9.0.2 02:00:00:00:00:09) -> out :: ToDevice(0);
cl[1] -> Strip(14) -> CheckIPHeader -> ICMPPingResponder -> Unstrip(14) -> EtherMirror -> out; cl[2] -> Discard;'''
with Toolstack() as toolstack:
    domain = toolstack.create(DomainSpec("r", vif=(VifSpec("02:00:00:00:00:09", "br0"),), isolation=sys.argv[1]))
    toolstack.start("r", TEXT)
    print(subprocess.run(["ping", "-c", "30", "-i", "0.01", "-W", "2", "-s", "1400", "10.9.0.2"], capture_output=True, text=True).stdout)
    inward, outward = domain.taps[0].counts
    assert inward >= 30 and outward >= 30 and not domain.taps[0].is_broken, domain.taps[0].counts
    try:
        toolstack.create(DomainSpec("s", vif=(VifSpec("", "nobridge"),)))
    except DomainError as error:
        print(error)
    try:
        toolstack.create(DomainSpec("t", vif=(VifSpec("", "br0", vifname="vif1.0"),)))
    except DomainError as error:
        print(error)
    assert [d.name for d in toolstack.infos()] == ["r"]
    # A domain that breaks the rules of its ring loses its port.
    port = domain.ports[0]
    port._words[TX + TAIL] += 100000
    port._words[16] = 0
    from penstock.datapath.futex import futex_wake
    futex_wake(port.address + 64)
    end = time.monotonic() + 5
    while not domain.taps[0].is_broken:
        assert time.monotonic() < end
        time.sleep(0.01)
print(subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout.count("vif"))
"""


@needs_root()
@pytest.mark.skipif(not all(map(shutil.which, ("unshare", "ip", "ping"))), reason="needs unshare, ip and ping")
@pytest.mark.parametrize("isolation", ["inline", "process", KVM])
def test_the_kernel_s_ping_is_answered_through_a_bridge(isolation: str) -> None:
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", PROGRAM, isolation], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "30 received" in done.stdout
    assert "s: nobridge: no such bridge (ip link add nobridge type bridge; ip link set nobridge up)" in done.stdout
    assert "t: vif1.0: an interface of that name is there already" in done.stdout
    assert done.stdout.rstrip().endswith("0"), "the interface goes with its domain"


@pytest.mark.parametrize("name", ["", "a" * 16, "a b", "a/b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with SharedPort("0") as port, pytest.raises(DeviceError, match="is no name for an interface"):
        TapPort(port, name)
    assert len(os.listdir("/proc/self/fd")) <= before + 2
