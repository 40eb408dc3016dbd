"""What changes without a box or a link, and where two configurations differ."""

from __future__ import annotations

import pytest

from penstock.verify.box import Box
from penstock.verify.difference import differences, network_differences
from penstock.verify.network import Network, NetworkError
from penstock.verify.policy import parse_policy
from penstock.verify.readers.routes import parse_routes, router_configuration
from penstock.verify.replay import Dataplane
from penstock.verify.results import check
from penstock.verify.whatif import insertions, replacements, variations, what_if

FORK = """FromDevice(a) -> Strip(14) -> CheckIPHeader -> c :: IPClassifier(dst net 10.1.0.0/16, -); c[0] -> Unstrip(14) -> ToDevice(b);
c[1] -> Unstrip(14) -> ToDevice(c); FromDevice(b) -> t :: Null -> ToDevice(a); FromDevice(c) -> t;"""
IP = "FromDevice(0) -> Strip(14) -> CheckIPHeader -> "
OUT = " -> Unstrip(14) -> ToDevice(1)"


def fork() -> Network:
    network = Network()
    network.add_host("x", ["192.0.2.1"])
    network.add_host("y", ["10.1.0.0/16"])
    network.add_host("z", ["10.2.0.0/16"])
    network.add_box("fork", FORK)
    network.add_box("left", "FromDevice(0) -> ToDevice(1); FromDevice(1) -> ToDevice(0)")
    network.add_box("right", "FromDevice(0) -> ToDevice(1); FromDevice(1) -> ToDevice(0)")
    for link in ("x fork:a", "fork:b left:0", "left:1 y", "fork:c right:0", "right:1 z"):
        network.link(*link.split())
    return network


def test_each_box_and_each_link_is_taken_out_once() -> None:
    texts = [v.text for v in variations(fork())]
    assert sorted(texts) == ["without fork", "without left", "without right", "without the link fork:a x", "without the link fork:b left:0",
                     "without the link fork:c right:0", "without the link left:1 y", "without the link right:1 z"]


def test_only_what_depends_on_it_changes() -> None:
    network = fork()
    policy = parse_policy("allow udp to 10.1.0.1 from x to y\nallow udp to 10.2.0.1 from x to z\ndeny any to 10.2.0.1 from x to y", network)
    changed = {variation.text: sorted(c.assertion.text.split(" to ")[-1] + c.after.verdict for c in changes) for variation, changes in what_if(network, policy)}
    assert changed == {
        "without fork": ["yno", "zno"], "without left": ["yno"], "without right": ["zno"], "without the link fork:a x": ["yno", "zno"],
        "without the link fork:b left:0": ["yno"], "without the link left:1 y": ["yno"], "without the link fork:c right:0": ["zno"],
        "without the link right:1 z": ["zno"],
    }
    assert all(a.check(network).holds for a in policy), "the network itself is as it was"


@pytest.mark.parametrize(("one", "other"), [
    (IP + "IPFilter(allow udp, allow tcp, deny all)" + OUT, IP + "IPFilter(deny icmp, allow tcp or udp, deny all)" + OUT),
    (IP + "IPFilter(allow src net 10.0.0.0/9, allow src net 10.128.0.0/9, deny all)" + OUT, IP + "IPFilter(allow src net 10.0.0.0/8, deny all)" + OUT),
    (IP + "t :: Tee; u :: Unstrip(14) -> ToDevice(1); t[0] -> u; t[1] -> Discard", IP + "t :: Tee; u :: Unstrip(14) -> ToDevice(1); t[1] -> u; t[0] -> Discard"),
    (IP + "Counter -> Queue -> Unqueue" + OUT, IP + "Null" + OUT), (IP + "RadixIPLookup(10.0.0.0/8 0, 11.0.0.0/8 0)" + OUT, IP + "IPFilter(allow dst net 10.0.0.0/7)" + OUT),
])
def test_configurations_that_do_the_same_are_told_to(one: str, other: str) -> None:
    assert list(differences(Box(one), Box(other))) == []


@pytest.mark.parametrize(("one", "other"), [
    (IP + "IPFilter(allow udp, deny all)" + OUT, IP + "IPFilter(allow udp, allow tcp dst port 81, deny all)" + OUT), (IP + "DecIPTTL" + OUT, IP + "Null" + OUT),
    (IP + "IPFilter(allow src net 10.0.0.0/9, deny all)" + OUT, IP + "IPFilter(allow src net 10.0.0.0/8, deny all)" + OUT),
    (IP + "IPMirror" + OUT, IP + "IPMirror -> SetIPDSCP(1)" + OUT), ("FromDevice(0) -> ToDevice(1)", "FromDevice(0) -> ToDevice(2)"),
    ("FromDevice(0) -> ToDevice(1)", "FromDevice(3) -> ToDevice(1)"),
])
def test_a_difference_is_shown_by_a_packet_with_which_compiled_code_differs(one: str, other: str) -> None:
    boxes = [Box(one), Box(other)]
    found = next(iter(differences(*boxes)))
    outcomes = []
    for box in boxes:
        with Dataplane(box.flat(), sorted({*box.interfaces, found.where})) as dataplane:
            outcomes.append(dataplane.send(found.where, found.sent))
    assert outcomes[0] != outcomes[1]


def router(routes: str) -> str:
    return router_configuration(parse_routes(routes))


def two_routers(second: str) -> Network:
    network = Network()
    network.add_host("h")
    network.add_host("g")
    network.add_box("a", router("0.0.0.0/0 b\n10.0.0.0/8 h"))
    network.add_box("b", router(second))
    for one, other in (("h", "a:h"), ("a:b", "b:a"), ("b:g", "g")):
        network.link(one, other)
    return network


def test_networks_are_compared_by_what_becomes_of_their_hosts_packets() -> None:
    one, other = two_routers("0.0.0.0/0 g\n10.0.0.0/8 a"), two_routers("0.0.0.0/0 g\n10.0.0.0/8 a\n192.0.2.0/24 a")
    assert list(network_differences(one, one)) == []
    found = [d for d in network_differences(one, other) if d.where == "h"]
    assert {d.sent[30:33] for d in found} == {bytes([192, 0, 2])}
    assert all(d.one[0].startswith("arrives at g as ") and d.other == ("dropped",) for d in found)
    less = two_routers("0.0.0.0/0 g\n10.0.0.0/8 a")
    del less.links["h", ""], less.links["a", "h"]
    assert next(d for d in network_differences(one, less) if d.where == "h").other == ("there is no such host",)


def test_a_box_is_replaced_by_another_one() -> None:
    network = two_routers("0.0.0.0/0 g\n10.0.0.0/8 a")
    policy = parse_policy("reach udp to 192.0.2.1 from h to g\nreach udp to 192.0.3.1 from h to g", network)
    better, worse = Box(router("0.0.0.0/0 g\n10.0.0.0/8 a\n11.0.0.0/8 g")), Box(router("0.0.0.0/0 g\n192.0.2.0/24 a"))
    (_, none), = what_if(network, policy, replacements(network, {"b": better}))
    assert none == []
    (variation, changes), = what_if(network, policy, replacements(network, {"b": worse}))
    assert variation.text == "with another b" and [c.assertion.text for c in changes] == ["reach udp to 192.0.2.1 from h to g"]
    with pytest.raises(NetworkError, match="the other 'b' has no interface 'a'"):
        list(replacements(network, {"b": Box(router("0.0.0.0/0 g"))}))
    with pytest.raises(NetworkError, match="there is no box 'x'"):
        list(replacements(network, {"x": better}))


def test_a_box_is_put_into_a_link() -> None:
    network = two_routers("0.0.0.0/0 g\n10.0.0.0/8 a")
    policy = parse_policy("reach udp from h to g\nreach tcp from h to g", network)
    wall = Box("FromDevice(in) -> Strip(14) -> CheckIPHeader -> IPFilter(allow udp, deny all) -> Unstrip(14) -> ToDevice(out); FromDevice(out) -> ToDevice(in)", name="a")
    for end in ("h", "a:h", "a:b", "g"):
        (variation, changes), = what_if(network, policy, insertions(network, {end: wall}))
        facing_client = end in ("h", "a:b")
        assert variation.text == f"with a' at {end}"
        assert [c.assertion.text for c in changes] == (["reach tcp from h to g"] if facing_client else [])
    with pytest.raises(NetworkError, match="nothing is linked there"):
        list(insertions(network, {"b:nowhere": wall}))
    with pytest.raises(NetworkError, match="two interfaces, and this one has 1"):
        list(insertions(network, {"h": Box("FromDevice(x) -> Discard")}))


def test_a_question_that_takes_too_long_is_undecided() -> None:
    network = two_routers("0.0.0.0/0 g\n10.0.0.0/8 a")
    (answer,) = check(network, "reach udp from h to g", budget_s=-1)
    assert answer.verdict == "undecided" and "takes longer than" in answer.text
    assert check(network, "reach udp from h to g").hold
