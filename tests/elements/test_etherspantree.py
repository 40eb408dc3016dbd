"""Loops of bridged networks stay open: among themselves, beside the kernel's bridge, and when a link fails."""

import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from penstock import ConfigurationError, Router
from tests.conftest import needs_root
from tests.elements.links import ip

BRIDGE = r"""
elementclass Bridge { $addr, $prio |
  in_ :: Suppressor; out :: Suppressor; s :: EtherSwitch; tree :: EtherSpanTree($addr, in_, out, s, PRIORITY $prio);
  input[0] -> c0 :: Classifier(0/0180c2000000, -); c0[0] -> [0] tree; c0[1] -> [0] in_ [0] -> [0] s [0] -> [0] out [0] -> [0] output;
  tree[0] -> [0] output;
  input[1] -> c1 :: Classifier(0/0180c2000000, -); c1[0] -> [1] tree; c1[1] -> [1] in_ [1] -> [1] s [1] -> [1] out [1] -> [1] output;
  tree[1] -> [1] output;
  input[2] -> [2] in_ [2] -> [2] s [2] -> [2] out [2] -> [2] output; tree[2] -> Discard; Idle -> [2] tree;
}
elementclass Cable { input -> Queue -> Unqueue -> s :: Suppressor -> output; }
a :: Bridge(2:0:0:0:0:a, 100); b :: Bridge(2:0:0:0:0:b, 200); c :: Bridge(2:0:0:0:0:c, 300);
a[0] -> ab :: Cable -> [1] b; b[1] -> ba :: Cable -> [0] a;
b[0] -> bc :: Cable -> [1] c; c[1] -> cb :: Cable -> [0] b;
c[0] -> ca :: Cable -> [1] a; a[1] -> ac :: Cable -> [0] c;
i :: InfiniteSource(DATA \<ffffffffffff 020000000001 0800>, LIMIT 1, ACTIVE false) -> [2] a; Idle -> [2] b; Idle -> [2] c;
a[2] -> na :: Counter -> Discard; b[2] -> nb :: Counter -> Discard; c[2] -> nc :: Counter -> Discard;
"""


def _states(router: Router, tree: str) -> list[str]:
    return [" ".join(line.split()[1:3]) for line in router.read(f"{tree}.ports").splitlines()[:2]]


@pytest.fixture
def triangle() -> Iterator[Router]:
    with Router.from_text(BRIDGE + "Script(wait 40s, stop)", simulated_start_ns=10**18) as router:
        router.run()
        yield router


def _advance(router: Router, seconds: float) -> None:
    end = router.clock.time + int(seconds * 1e9)
    router.driver.runcount = 1
    router.run(until=lambda: router.clock.time >= end)


def test_one_link_of_a_triangle_rests(triangle: Router) -> None:
    assert _states(triangle, "a/tree") == ["forwarding designated"] * 2
    assert _states(triangle, "b/tree") == ["forwarding designated", "forwarding root"]
    assert _states(triangle, "c/tree") == ["forwarding root", "blocking alternate"]
    assert triangle.read("a/tree.is_root") == "true" and triangle.read("c/tree.root") == "100 02-00-00-00-00-0A 19"
    triangle.write("i.active", "true")
    _advance(triangle, 1)
    # A broadcast comes to everybody, once.
    assert [triangle.read(f"n{x}.count") for x in "abc"] == ["0", "1", "1"]


def test_a_cut_link_is_replaced_and_the_change_is_told(triangle: Router) -> None:
    before = int(triangle.read("a/tree.topology_changes"))
    triangle.write("ca/s.active0", "false")
    triangle.write("ac/s.active0", "false")
    _advance(triangle, 60)
    assert _states(triangle, "c/tree") == ["forwarding designated", "forwarding root"]
    assert triangle.read("c/tree.root") == "100 02-00-00-00-00-0A 38"
    assert int(triangle.read("a/tree.topology_changes")) > before
    triangle.write("i.active", "true")
    _advance(triangle, 1)
    assert [triangle.read(f"n{x}.count") for x in "abc"] == ["0", "1", "1"]


def test_when_the_root_is_gone_the_next_one_takes_its_place(triangle: Router) -> None:
    for cable in ("ab", "ba", "ac", "ca"):
        triangle.write(f"{cable}/s.active0", "false")
    _advance(triangle, 60)
    assert triangle.read("b/tree.is_root") == "true"
    assert triangle.read("c/tree.root") == "200 02-00-00-00-00-0B 19"
    assert _states(triangle, "c/tree") == ["forwarding designated", "forwarding root"]


def test_frames_that_are_no_messages_are_counted() -> None:
    text = ("in_ :: Suppressor; out :: Suppressor; s :: EtherSwitch; tree :: EtherSpanTree(2:0:0:0:0:1, in_, out, s);"
            "Idle -> [0] in_ [0] -> [0] s [0] -> [0] out [0] -> Discard; Idle -> [1] in_ [1] -> [1] s [1] -> [1] out [1] -> Discard;"
            r"InfiniteSource(DATA \<0180c2000000 020000000002 0026 424203 0000 00>, LIMIT 3, STOP true) -> tree -> Discard;"
            "Idle -> [1] tree [1] -> Discard")
    with Router.from_text(text, simulated_start_ns=10**18) as router:
        router.run()
        assert router.read("tree.bad") == "3"


@pytest.mark.parametrize(("arguments", "message"), [
    ("nobody, out, s", "'nobody' is no Suppressor"), ("in_, out, in_", "'in_' is no EtherSwitch"),
    ("in_, out, s, MAX_AGE 60", "MAX_AGE"), ("in_, small, s", "'small' has 1 inputs"),
])
def test_what_cannot_be_is_refused(arguments: str, message: str) -> None:
    text = (f"in_ :: Suppressor; out :: Suppressor; small :: Suppressor; s :: EtherSwitch; tree :: EtherSpanTree(2:0:0:0:0:1, {arguments});"
            "Idle -> [0] in_ [0] -> [0] s [0] -> [0] out [0] -> Discard; Idle -> [1] in_ [1] -> [1] s [1] -> [1] out [1] -> Discard;"
            "Idle -> small -> Discard; Idle -> [0] tree [0] -> Discard; Idle -> [1] tree [1] -> Discard")
    with pytest.raises(ConfigurationError, match=message):
        Router.from_text(text)


@needs_root()
@pytest.mark.skipif(shutil.which("bridge") is None, reason="needs iproute2")
@pytest.mark.parametrize("kernel_is_root", [True, False])
def test_two_links_to_a_bridge_of_the_kernel(kernel_is_root: bool) -> None:
    name, link = ("pk-stp-r", "pkstpr") if kernel_is_root else ("pk-stp-o", "pkstpo")
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "br0", "type", "bridge", "stp_state", "1", "forward_delay", "400", "hello_time", "100", "max_age", "600",
           "priority", "4096" if kernel_is_root else "61440")
        for i in range(2):
            ip("link", "add", f"{link}{i}", "type", "veth", "peer", "name", f"e{i}", "netns", name)
            ip("-n", name, "link", "set", f"e{i}", "master", "br0")
            ip("-n", name, "link", "set", f"e{i}", "up")
            ip("link", "set", f"{link}{i}", "up")
        ip("-n", name, "link", "set", "br0", "up")
        text = "in_ :: Suppressor; out :: Suppressor; s :: EtherSwitch; "
        text += "tree :: EtherSpanTree(2:0:0:0:0:1, in_, out, s, HELLO 1, MAX_AGE 6, FORWARD_DELAY 4); "
        for i in range(2):
            text += (f"f{i} :: FromDevice({link}{i}, PROMISC true) -> c{i} :: Classifier(0/0180c2000000, -); c{i}[0] -> [{i}] tree; "
                     f"c{i}[1] -> [{i}] in_ [{i}] -> [{i}] s [{i}] -> [{i}] out [{i}] -> q{i} :: Queue -> ToDevice({link}{i}); tree[{i}] -> q{i}; ")
        with Router.from_text(text) as router:
            end = time.monotonic() + 11
            router.run(until=lambda: time.monotonic() > end)
            mine = _states(router, "tree")
        shown = subprocess.run(["ip", "netns", "exec", name, "bridge", "link"], check=True, capture_output=True, text=True).stdout
        theirs = ["forwarding" if "state forwarding" in line else "blocking" for line in shown.splitlines() if "master br0" in line]
        if kernel_is_root:
            assert mine == ["forwarding root", "blocking alternate"] and theirs == ["forwarding"] * 2
        else:
            assert mine == ["forwarding designated"] * 2 and sorted(theirs) == ["blocking", "forwarding"]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def test_messages_are_shown_to_people(capfd: pytest.CaptureFixture[str]) -> None:
    text = ("in_ :: Suppressor; out :: Suppressor; s :: EtherSwitch; tree :: EtherSpanTree(2:0:0:0:0:1, in_, out, s, PRIORITY 7);"
            "Idle -> [0] in_ [0] -> [0] s [0] -> [0] out [0] -> Discard; Idle -> [1] in_ [1] -> [1] s [1] -> [1] out [1] -> Discard;"
            "Idle -> [0] tree [0] -> DebugBridge(left, 2) -> Discard; Idle -> [1] tree [1] -> DebugBridge -> DebugBridge(no, 0) -> Discard;"
            r"InfiniteSource(DATA \<0180c2000000 020000000002 0007 424203 0000 00 80 >, LIMIT 1) -> DebugBridge(change) -> Discard;"
            r"InfiniteSource(DATA \<0180c2000000 020000000003 0007 424203 0000 00 02 >, LIMIT 1) -> DebugBridge(odd) -> Discard;"
            "InfiniteSource(LIMIT 1) -> DebugBridge(other) -> Discard; Script(wait 1s, stop)")
    with Router.from_text(text, simulated_start_ns=10**18) as router:
        router.run()
    assert sorted(capfd.readouterr().err.splitlines()) == [
        "02-00-00-00-00-01 configuration", "change: 02-00-00-00-00-02 topology change",
        "left: 02-00-00-00-00-01 configuration: root 7 02-00-00-00-00-01 cost 0 bridge 7 02-00-00-00-00-01 port 0x8001"
        " age 0 of 20 s, hello 2 s, forward delay 15 s",
        "odd: 02-00-00-00-00-03 unknown message (21 bytes, type 2)",
    ]
