"""Networks: how they are read, and what becomes of packets in them."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lang.source import ConfigurationError
from penstock.verify.errors import NotDecided
from penstock.verify.hosts import make_packet
from penstock.verify.network import Network, NetworkError
from penstock.verify.networkfile import load_network, schema
from penstock.verify.policy import PolicyError, parse_policy
from penstock.verify.questions import deny, no_loops, reach, unchanged
from penstock.verify.replay import as_predicted, replay
from penstock.verify.traffic import TrafficError, parse_traffic
from tests.verify.concrete import concrete, unexplained

EXAMPLES = Path(__file__).parents[2] / "examples" / "verify"
WIRE = "FromDevice(0) -> ToDevice(1); FromDevice(1) -> ToDevice(0)"


def line(*texts: str, addresses: tuple[str, ...] = ("10.0.0.0/8",)) -> Network:
    """a - b0 - b1 … - b"""
    network = Network()
    network.add_host("a", addresses)
    network.add_host("b")
    for i, text in enumerate(texts):
        network.add_box(f"b{i}", text)
    ends = ["a", *(end for i in range(len(texts)) for end in (f"b{i}:0", f"b{i}:1")), "b"]
    for one, other in zip(ends[::2], ends[1::2]):
        network.link(one, other)
    return network


@pytest.mark.parametrize("file", sorted(p.name for p in EXAMPLES.glob("*.toml")))
def test_the_cases_of_the_paper_come_out_as_they_should(file: str) -> None:
    network = load_network(EXAMPLES / file)
    for assertion in parse_policy((EXAMPLES / file).with_suffix(".policy").read_text(), network):
        answer = assertion.check(network)
        assert answer.holds, f"{assertion.text}: {answer.text}"
        if answer.witness is not None and answer.witness.is_first and not assertion.text.startswith("allow tcp"):
            assert as_predicted(answer.witness, replay(network, answer.witness.source, answer.witness.sent)), assertion.text


def test_tcp_works_exactly_where_a_randomizer_on_one_way_adds_nothing() -> None:
    network = load_network(EXAMPLES / "randomizer-one-way.toml")
    (answer,) = [a.check(network) for a in parse_policy("allow tcp from client to server", network)]
    assert answer.verdict == "conditional"
    assert answer.conditions == ["hide/random#1 == 0 (it acknowledges the client's sequence number plus 1)"]


def test_the_tunnel_leads_around_the_filter_from_every_address_but_the_filtered_one() -> None:
    from penstock.verify.describe import describe_set

    network = load_network(EXAMPLES / "tunnel.toml")
    answer = reach(network, "client", "server", parse_traffic(["to", "8.8.8.8"]))
    assert answer.witness is not None
    assert "entry/tunnel.dst is all but 8.8.8.8" in describe_set(answer.witness.way.path)


def test_a_loop_is_found_and_told_from_one_that_ends() -> None:
    back = "FromDevice(0) -> out :: Null -> ToDevice(1); FromDevice(1) -> out; Idle -> ToDevice(0)"
    turn = "FromDevice(0) -> ToDevice(0); FromDevice(1) -> ToDevice(1)"
    answer = no_loops(line(back, turn))
    assert answer.verdict == "no" and answer.witness is not None
    assert answer.witness.way.reason == "it comes back"
    ageing = back.replace("-> ToDevice(1)", "-> Strip(14) -> CheckIPHeader -> DecIPTTL -> Unstrip(14) -> ToDevice(1)")
    answer = no_loops(line(ageing, turn))
    assert answer.verdict == "no" and answer.witness is not None
    assert answer.witness.way.reason == "it comes back, until its TTL ends"
    assert no_loops(line(WIRE, WIRE)).holds


def test_a_loop_inside_a_configuration_is_found() -> None:
    answer = no_loops(line("FromDevice(0) -> n :: Null -> c :: IPClassifier(dst host 1.2.3.4, -); c[0] -> Counter -> n; c[1] -> ToDevice(1);"
                           "FromDevice(1) -> ToDevice(0)".replace("c :: IPClassifier(dst host 1.2.3.4, -)", "c :: Classifier(30/01020304, -)")))
    assert answer.verdict == "no" and answer.witness is not None
    assert answer.witness.way.place.element in ("n", "c", "Counter@4") and answer.witness.sent[30:34] == b"\1\2\3\4"


def test_boxes_that_are_alike_keep_apart_what_they_choose() -> None:
    """Two NATs with the same configuration choose their ports apart from each other."""
    nat = ("FromDevice(0) -> Strip(14) -> CheckIPHeader -> rw :: IPRewriter(pattern 1.0.0.1 1024-65535? - - 0 1, drop) -> Unstrip(14) -> ToDevice(1);"
           "FromDevice(1) -> Strip(14) -> CheckIPHeader -> [1] rw; rw[1] -> Unstrip(14) -> ToDevice(0)")
    network = line(nat, nat)
    packet, path = parse_traffic(["tcp"]).packet("tcp", source=network.addresses("a")) or pytest.fail("no packet")
    ways = [w for w in network.send("a", packet, path) if w.kind == "delivered"]
    assert ways and all("b1/" in str(w.packet.field("tcp", "src")) and "b0/" not in str(w.packet.field("tcp", "src")) for w in ways)
    (answer,) = [a.check(network) for a in parse_policy("allow tcp from a to b", network)]
    assert answer.holds


ELEMENTS = [
    "DecIPTTL", "IPFilter(deny dst host 8.8.8.8, allow all)", "IPFilter(allow udp, allow tcp dst port 80, deny all)", "SetIPDSCP(10)", "Counter",
    "Queue -> Unqueue", "IPMirror", "CheckIPHeader", "StoreIPAddress(1.2.3.4, dst)", "FixIPSrc(9.9.9.9)", "CheckLength(300)",
    "IPEncap(4, 5.5.5.5, 6.6.6.6)", "SetIPAddress(7.7.7.7) -> StoreIPAddress(16)", "IPClassifier(ip ttl > 60)", "UDPIPEncap(5.5.5.5, 1, 6.6.6.6, 2)",
    "Strip(20) -> Unstrip(20)", "GetIPAddress(12) -> StoreIPAddress(16)", "Paint(3) -> CheckPaint(3)", "SetTCPChecksum", "SetUDPChecksum",
    "RED(5, 50, 0.02)", "Shaper(1000)", "Queue -> DelayUnqueue(0.001)", "TimeFilter(START now)", "RandomSample(1)", "MarkIPHeader",
]


@pytest.mark.parametrize("seed", range(24))
def test_what_random_networks_do_is_among_the_answers(seed: int) -> None:
    chance = random.Random(seed)
    texts = []
    for _ in range(chance.randint(1, 3)):
        inner = " -> ".join(chance.sample([e for e in ELEMENTS if not e.startswith(("RED", "Shaper", "TimeFilter", "Queue -> Delay"))], chance.randint(1, 4)))
        texts.append(f"FromDevice(0) -> Strip(14) -> CheckIPHeader -> {inner} -> Unstrip(14) -> ToDevice(1); FromDevice(1) -> ToDevice(0)"
                     if "Encap" not in inner else f"FromDevice(0) -> Strip(14) -> CheckIPHeader -> {inner}"
                     " -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> ToDevice(1); FromDevice(1) -> ToDevice(0)")
    network = line(*texts)
    interesting = {"ip.dst": [0x08080808, 0x01020304], "ip.ttl": [1, 2, 64], "tcp.dst": [80], "udp.dst": [53], "ip.fragment_offset": [0]}
    for protocol in ("tcp", "udp", "icmp"):
        packet = make_packet(protocol, longest=240)
        ways = network.send("a", packet)
        for _ in range(4):
            frame, known = concrete(packet, chance, interesting)
            arrived = replay(network, "a", frame)
            assert not (problem := unexplained(ways, known, arrived)), f"{texts}\n{problem}"


def test_a_field_that_changes_is_shown() -> None:
    answer = unchanged(line("FromDevice(0) -> Strip(14) -> CheckIPHeader -> DecIPTTL -> Unstrip(14) -> ToDevice(1); FromDevice(1) -> ToDevice(0)"), "ip.ttl", "a", "b",
                       parse_traffic([]))
    assert (answer.verdict, answer.text) == ("no", "64 becomes 63 in the example")


def test_long_lists_in_a_rule_are_one_question() -> None:
    hosts = " or ".join(f"src host 10.0.{i // 256}.{i % 256}" for i in range(0, 4000, 2))
    network = line(f"FromDevice(0) -> Strip(14) -> CheckIPHeader -> IPFilter(deny {hosts}, allow all) -> Unstrip(14) -> ToDevice(1); FromDevice(1) -> ToDevice(0)")
    policy = "deny udp src 10.0.1.2 from a to b\nreach udp src 10.0.1.3 from a to b\nreach any from a to b"
    assert [a.check(network).verdict for a in parse_policy(policy, network)] == ["yes"] * 3


OPTIONS = "FromDevice(0) -> Strip(14) -> CheckIPHeader -> c :: IPClassifier(tcp, -); c[0] -> {} -> Unstrip(14) -> ToDevice(1); c[1] -> Discard;" \
          "FromDevice(1) -> ToDevice(0)"


def test_tcp_options_get_through_a_nat_and_not_past_who_writes_over_them() -> None:
    nat = "FromDevice(0) -> Strip(14) -> CheckIPHeader -> rw :: IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop) -> CheckIPHeader -> CheckTCPHeader" \
          " -> Unstrip(14) -> ToDevice(1); FromDevice(1) -> Strip(14) -> CheckIPHeader -> [1] rw; rw[1] -> Unstrip(14) -> ToDevice(0)"
    every = "\n".join(f"option.{name} unchanged from a to b" for name in ("mss", "sack", "timestamps", "wscale", "mptcp")) + "\nallow tcp options from a to b"
    network = line(nat)
    assert [a.check(network).verdict for a in parse_policy(every, network)] == ["yes"] * 6
    # MSS stands first, in bytes 40 to 43 of the packet; the address is written over its value and the next option's kind.
    network = line(OPTIONS.format("StoreIPAddress(9.9.1.1, 42) -> SetTCPChecksum"))
    answers = [a.check(network) for a in parse_policy(every, network)]
    assert [a.verdict for a in answers[:2]] == ["no", "no"]
    assert "becomes 2313" in answers[0].text and answers[1].text == "it is taken out"


def test_what_cannot_be_followed_is_said() -> None:
    """The place where the options end depends on bytes that may be anything: more ways than anybody would look at."""
    text = "FromDevice(0) -> Strip(14) -> CheckIPHeader -> Truncate(20) -> r :: IPReassembler -> Unstrip(14) -> ToDevice(1); FromDevice(1) -> ToDevice(0)"
    answer = deny(line(text), "a", "b", parse_traffic(["udp"]))
    assert answer.verdict in ("undecided", "no")


@pytest.mark.parametrize(("text", "problem"), [
    ("[box.x]\nclick = 'no.click'", "[box.x]: {}/no.click: No such file or directory"), ("[box.x]", "[box.x]: give one of click, routes, iptables, nftables, access_list, macs (files) and text"),
    ("[box.x]\ntext = 'FromDevice(0) -> Discard'\nunknown = ['q.x']", "box 'x': unknown 'q.x': there is no element 'q'"),
    ("[box.x]\ntext = 'FromDevice(0) -> c :: Counter -> Discard'\nunknown = ['c.x']", "Counter has no state 'x' (it has "),
    ("[box.x]\ntext = 'FromDevice(0) -> Discard'\nunknown = 'q'", "[box.x]: unknown: a list of texts is expected"),
    ("[host.x]\naddress = '1.2.3'", "address '1.2.3'"), ("[host.x]\nname = '1.2.3.4'", "[host.x]: expected address or addresses"),
    ("links = ['a b']", "a: there is no box and no host 'a' (there are none)"), ("links = ['a']", "expected two ends"), ("links = 3", "links are a list"),
    ("[host.a]\n[host.b]\n[host.c]\nlinks = 1", "[host.c]: expected address or addresses"), ("[hosts.a]", "'hosts' is not understood"),
    ("links = ['a b', 'a c']\n[host.a]\n[host.b]\n[host.c]", "a is linked twice, to b and in 'a c'"),
    ("links = ['a x:7']\n[host.a]\n[box.x]\ntext = 'FromDevice(0) -> Discard'", "x:7: 'x' has no interface '7' (it has 0)"),
    ("[box.x]\ntext = 'FromDevice(0) -> Discard'\n[host.x]", "'x' is there twice"), ("box = 3", "'box' is not a table"), ("x = ", "Invalid value"),
    ("links = ['a:1 b']\n[host.a]\n[host.b]", "a:1: a host has one interface, without a name"),
])
def test_mistakes_in_a_network_are_told(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "n.toml"
    file.write_text(text)
    with pytest.raises(NetworkError) as error:
        load_network(file)
    assert str(error.value).startswith(f"{file}: ") and problem.format(tmp_path) in str(error.value), str(error.value)


def test_a_configuration_with_errors_says_them() -> None:
    with pytest.raises(ConfigurationError, match="undeclared element 'NoSuch'"):
        Network().add_box("x", "FromDevice(0) -> NoSuch -> ToDevice(0)")


@pytest.mark.parametrize(("text", "problem"), [
    ("fly", "line 1: 'fly' is not understood"), ("\nallow tcp from x to b", "line 2: there is no host 'x' (there are a, b)"),
    ("allow tcp port x from a to b", "port x: a number or a range is expected"), ("allow tcp port 9-3 from a to b", "port 9-3: 0 to 65535, the lower one first"),
    ("allow tcp port 70000 from a to b", "0 to 65535"), ("allow icmp port 3 from a to b", "ICMP has no ports"), ("allow tcp banana from a to b", "'banana' is not understood"),
    ("allow udp to 1.2.3 from a", "to 1.2.3"), ("no spoofing from z", "there is no host 'z'"), ("isolate a", "expected 'isolate HOST HOST'"),
    ("payload unchanged fast from a to b", "'fast' is not understood here"), ("allow tcp from a to a", "there are no two linked hosts"),
    ("tcp from a to b passes", "expected '… passes BOX'"), ("allow tcp port", "'port' needs a value"), ("no spoofing", "expected 'no spoofing from HOST'"),
])
def test_mistakes_in_a_policy_are_told(text: str, problem: str) -> None:
    with pytest.raises(PolicyError) as error:
        parse_policy(text, line(WIRE))
    assert problem in str(error.value), str(error.value)


@pytest.mark.parametrize(("text", "problem"), [
    ("tcp from a to b passes zz", "line 1: there is no box 'zz'"), ("isolate a zz", "line 1: there is no host 'zz'"),
    ("ip.colour unchanged from a to b", "line 1: there is no field 'ip.colour'"),
])
def test_names_that_are_not_there_are_told_when_asked(text: str, problem: str) -> None:
    network = line(WIRE)
    with pytest.raises(PolicyError) as error:
        parse_policy(text, network)[0].check(network)
    assert problem in str(error.value)


WORDS = ["allow", "deny", "all", "tcp", "udp", "any", "from", "to", "a", "b", "port", "80", "8.8.8.8", "!1.2.3.0/24", "unchanged", "payload", "ip.src", "passes", "b0",
         "no", "loops", "spoofing", "isolate", "not", "for", "src", "proto", "-", "#", "99999", "é", "\x00"]


@given(st.lists(st.sampled_from(WORDS), max_size=9))
def test_any_policy_is_understood_or_refused(words: list[str]) -> None:
    network = line(WIRE)
    try:
        for assertion in parse_policy(" ".join(words), network):
            assertion.check(network)
    except (PolicyError, NotDecided):
        pass


@given(st.text(max_size=60))
def test_any_description_of_packets_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(TrafficError):
        parse_traffic(text.split())


@pytest.mark.parametrize(("line", "verdict"), [
    ("after udp from mobile to server: reach udp from server to mobile", "yes"), ("after udp port 53 from mobile to server: deny udp src port 54 from server to mobile", "yes"),
    ("after udp port 53 from mobile to server: deny udp src port 53 from server to mobile", "no"), ("after tcp from mobile to server: reach tcp from server to mobile", "yes"),
    ("after udp from server to mobile: reach udp from mobile to server", "no"), ("not after udp from server to mobile: reach udp from mobile to server", "yes"),
])
def test_what_was_sent_before_is_remembered(line: str, verdict: str) -> None:
    network = load_network(EXAMPLES / "mobile.toml")
    (answer,) = [a.check(network) for a in parse_policy(line, network)]
    assert answer.verdict == verdict
    assert network.before == ()
    # What was asked without it is not changed by it.
    assert deny(network, "server", "mobile", parse_traffic([])).holds


@pytest.mark.parametrize("line", ["after udp from mobile to server", "after udp from mobile to server:", "after udp from mobile: no loops", "after udp: no loops"])
def test_mistakes_about_what_was_before_are_told(line: str) -> None:
    with pytest.raises(PolicyError, match="expected 'after PACKETS from A to B: ASSERTION'"):
        parse_policy(line, load_network(EXAMPLES / "mobile.toml"))


def test_a_network_may_be_json_and_has_a_schema(tmp_path: Path) -> None:
    content = {"links": ["a x:0", "x:1 b mtu 1400"], "host": {"a": {"address": "10.0.0.0/8"}, "b": {}}, "box": {"x": {"text": WIRE}}}
    (tmp_path / "n.json").write_text(json.dumps(content))
    assert load_network(tmp_path / "n.json").mtus == {("x", "1"): 1400, ("b", ""): 1400}
    for text, problem in (("[]", "expected an object"), ("{", "Expecting property name"), ("[" * 100_000, "recursion")):
        (tmp_path / "n.json").write_text(text)
        with pytest.raises(NetworkError, match=problem):
            load_network(tmp_path / "n.json")
    made = schema()
    assert set(made["properties"]) == {"box", "host", "links", "graph"}
    assert set(made["properties"]["box"]["additionalProperties"]["properties"]) >= {"click", "text", "routes", "nftables", "unknown"}
