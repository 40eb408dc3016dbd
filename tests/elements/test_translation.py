"""Between IPv4 and IPv6: headers as scapy makes them, checksums that it finds right, and state for whole conversations."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoReply,
        ICMPv6EchoRequest,
        ICMPv6PacketTooBig,
        ICMPv6ParamProblem,
        ICMPv6TimeExceeded,
        IPerror6,
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
    )
    from scapy.layers.inet6 import (
        UDPerror as UDPerror6,
    )

from tests.conftest import needs_root
from tests.harness import run_packets
from tests.traffic import Sent

FROM46 = "CheckIPHeader -> ProtocolTranslator46"
FROM64 = "CheckIP6Header -> ProtocolTranslator64"


def through(text: str, *packets: Any) -> list[bytes]:
    return run_packets(f"feed :: Feed -> {text} -> s :: Sink", [Sent(bytes(p)) for p in packets]).out()


def mapped(address: str) -> str:
    return "64:ff9b::" + address


def is_right(packet: Any, kind: type) -> bool:
    """Whether scapy would put in the same lengths and checksums."""
    again = kind(bytes(packet))
    layer = again
    while layer:
        for name in ("chksum", "cksum", "len", "plen"):
            if name in layer.fields and not type(layer).__name__.endswith("error"):
                delattr(layer, name)
        if type(layer).__name__ in ("IPerror", "IPerror6"):
            break
        layer = layer.payload
    return bytes(again) == bytes(packet)


@pytest.mark.parametrize("body", [
    TCP(sport=5, dport=80, seq=7, flags="S", options=[("MSS", 1460)]) / b"hello", UDP(sport=5, dport=53) / b"odd", UDP(sport=5, dport=53), TCP(sport=1, dport=2, flags="FA"),
])
def test_packets_are_those_that_scapy_makes(body: Any) -> None:
    four = IP(src="10.0.0.1", dst="192.0.2.33", ttl=33, tos=0x28, id=9) / body
    six = IPv6(src=mapped("10.0.0.1"), dst=mapped("192.0.2.33"), hlim=33, tc=0x28) / body
    assert through(FROM46, four) == [bytes(six)]
    (back,) = through(FROM64, six)
    packet = IP(back)
    assert is_right(packet, IP) and bytes(packet.payload) == bytes(IP(bytes(four)).payload)
    assert (packet.src, packet.dst, packet.ttl, packet.tos) == ("10.0.0.1", "192.0.2.33", 33, 0x28)


@pytest.mark.parametrize(("prefix", "address"), [
    ("2001:db8::/32", "2001:db8:c000:221::"), ("2001:db8:100::/40", "2001:db8:1c0:2:21::"), ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"), ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"), ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
])
def test_addresses_stand_where_rfc_6052_has_them(prefix: str, address: str) -> None:
    (got,) = through(f"CheckIPHeader -> ProtocolTranslator46({prefix})", IP(src="10.0.0.1", dst="192.0.2.33") / UDP())
    assert IPv6(got).dst == IPv6(bytes(IPv6(dst=address))).dst
    (back,) = through(f"CheckIPHeader -> ProtocolTranslator46({prefix}) -> CheckIP6Header -> ProtocolTranslator64({prefix})", IP(src="10.0.0.1", dst="192.0.2.33") / UDP())
    assert (IP(back).src, IP(back).dst) == ("10.0.0.1", "192.0.2.33")


def test_echoes_are_translated_with_their_checksums() -> None:
    for four, six in ((ICMP(type=8, id=7, seq=3), ICMPv6EchoRequest(id=7, seq=3)), (ICMP(type=0, id=7, seq=3), ICMPv6EchoReply(id=7, seq=3))):
        one, other = IP(src="10.0.0.1", dst="1.2.3.4") / four / b"data", IPv6(src=mapped("10.0.0.1"), dst=mapped("1.2.3.4"), hlim=64) / six / b"data"
        assert through(FROM46, one) == [bytes(other)]
        assert bytes(IP(through(FROM64, other)[0]).payload) == bytes(IP(bytes(one)).payload)


@pytest.mark.parametrize(("error", "kind", "fields"), [
    (ICMP(type=3, code=3), ICMPv6DestUnreach, {"code": 4}), (ICMP(type=3, code=1), ICMPv6DestUnreach, {"code": 0}), (ICMP(type=3, code=13), ICMPv6DestUnreach, {"code": 1}),
    (ICMP(type=3, code=4, nexthopmtu=1400), ICMPv6PacketTooBig, {"mtu": 1420}), (ICMP(type=11, code=0), ICMPv6TimeExceeded, {"code": 0}),
    (ICMP(type=3, code=2), ICMPv6ParamProblem, {"code": 1, "ptr": 6}), (ICMP(type=12, code=0, ptr=8), ICMPv6ParamProblem, {"code": 0, "ptr": 7}),
])
def test_errors_are_translated_with_what_they_quote(error: Any, kind: Any, fields: dict[str, int]) -> None:
    quoted = IP(src="192.0.2.1", dst="10.0.0.1", ttl=1) / UDP(sport=9, dport=10) / b"12345"
    (got,) = through(FROM46, IP(src="10.9.9.9", dst="192.0.2.1") / error / quoted)
    packet = IPv6(got)
    assert is_right(packet, IPv6)
    assert {name: getattr(packet[kind], name) for name in fields} == fields
    inner = packet[IPerror6]
    assert (inner.src, inner.dst, inner.nh, inner.plen) == (IPv6(bytes(IPv6(dst=mapped("192.0.2.1")))).dst, IPv6(bytes(IPv6(dst=mapped("10.0.0.1")))).dst, 17, 13)
    assert packet[UDPerror6].sport == 9
    (back,) = through(FROM64, packet)
    again = IP(back)
    assert is_right(again, IP) and again[ICMP].type == error.type
    assert (again[IPerror].src, again[IPerror].dst, again[IPerror].len, again[UDPerror].dport) == ("192.0.2.1", "10.0.0.1", 33, 10)


@pytest.mark.parametrize(("extension", "goes"), [
    (IPv6ExtHdrHopByHop(), True), (IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt(), True), (IPv6ExtHdrRouting(segleft=0), True), (IPv6ExtHdrRouting(segleft=1, addresses=["::1"]), False),
])
def test_extension_headers_are_left_out(extension: Any, goes: bool) -> None:
    six = IPv6(src=mapped("10.0.0.1"), dst=mapped("1.2.3.4")) / extension / UDP(sport=3, dport=4) / b"x"
    got = through(FROM64, six)
    assert [IP(p)[UDP].dport for p in got] == ([4] if goes else [])
    assert all(is_right(IP(p), IP) for p in got)


def test_fragments_stay_fragments() -> None:
    body = bytes(UDP(sport=1, dport=2, chksum=0x1234) / bytes(56))
    four = [IP(src="10.0.0.1", dst="1.2.3.4", proto=17, id=77, flags=1, frag=0) / body[:32], IP(src="10.0.0.1", dst="1.2.3.4", proto=17, id=77, frag=4) / body[32:]]
    first, second = (IPv6(p) for p in through(FROM46, *four))
    assert [(f[IPv6ExtHdrFragment].nh, f[IPv6ExtHdrFragment].offset, f[IPv6ExtHdrFragment].m, f[IPv6ExtHdrFragment].id) for f in (first, second)] == [(17, 0, 1, 77), (17, 4, 0, 77)]
    back = [IP(p) for p in through(FROM64, first, second)]
    assert [(int(p.flags), p.frag, p.id, bytes(p.payload)) for p in back] == [(1, 0, 77, bytes(IP(bytes(four[0])).payload)), (0, 4, 77, body[32:])]


def test_udp_without_a_checksum_gets_one() -> None:
    (got,) = through(FROM46, IP(src="10.0.0.1", dst="1.2.3.4") / UDP(sport=1, dport=2, chksum=0) / b"abc")
    assert is_right(IPv6(got), IPv6) and IPv6(got)[UDP].chksum != 0


@pytest.mark.parametrize("packet", [
    IP(src="10.0.0.1", dst="1.2.3.4") / ICMP(type=13), IP(src="10.0.0.1", dst="1.2.3.4", flags=1) / ICMP(type=8), IP(src="10.0.0.1", dst="1.2.3.4") / ICMP(type=3, code=3) / b"short",
])
def test_what_has_no_counterpart_is_dropped_and_counted(packet: Any) -> None:
    done = run_packets("feed :: Feed -> CheckIPHeader -> t :: ProtocolTranslator46 -> s :: Sink", [Sent(bytes(packet))])
    assert done.out() == [] and done.handlers["t.drops"] == "1"
    done = run_packets("feed :: Feed -> CheckIP6Header -> t :: ProtocolTranslator64 -> s :: Sink", [Sent(bytes(IPv6(src="2001:db8::1", dst=mapped("1.2.3.4")) / UDP()))])
    assert done.out() == [] and done.handlers["t.drops"] == "1"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=120), st.booleans(), st.sampled_from([0, 1, 6, 17, 43, 44, 58, 60]))
def test_no_packet_is_too_strange(content: bytes, four: bool, kind: int) -> None:
    packet = IP(src="10.0.0.1", dst="1.2.3.4", proto=kind) / content if four else IPv6(src=mapped("10.0.0.1"), dst=mapped("1.2.3.4"), nh=kind) / content
    for got in through(FROM46 if four else FROM64, packet):
        assert int.from_bytes(got[4:6], "big") == len(got) - 40 if four else int.from_bytes(got[2:4], "big") == len(got)


# With state

CLIENT, SERVER = "2001:db8::1", "198.51.100.7"


def boxed(*packets: tuple[int, Any], options: str = "") -> Any:
    """Packets into the inputs of a NAT64 (0: IPv6, 1: IPv4), told apart by their version."""
    text = ("feed :: Feed -> v :: Classifier(0/60%f0, 0/40%f0); v[0] -> CheckIP6Header -> n :: NAT64(192.0.2.1" + options + "); v[1] -> CheckIPHeader -> [1] n; "
            "n[0] -> s :: Sink; n[1] -> t :: Sink")
    return run_packets(text, [Sent(bytes(p)) for _, p in packets])


def test_a_conversation_goes_out_from_the_pool_and_comes_back() -> None:
    done = boxed((0, IPv6(src=CLIENT, dst=mapped(SERVER)) / UDP(sport=4000, dport=53) / b"ask"), options=", MIN_PORT 5000, MAX_PORT 5000")
    (out,) = done.out()
    packet = IP(out)
    assert (packet.src, packet.dst, packet[UDP].sport, packet[UDP].dport) == ("192.0.2.1", SERVER, 5000, 53) and is_right(packet, IP)
    assert done.handlers["n.bindings"] == f"udp [{CLIENT}]:4000 192.0.2.1:5000\n" and done.handlers["n.count"] == "1"
    done = boxed((0, IPv6(src=CLIENT, dst=mapped(SERVER)) / TCP(sport=4000, dport=80, flags="S", seq=3)), (1, IP(src=SERVER, dst="192.0.2.1") / TCP(sport=80, dport=5000, flags="SA", seq=9, ack=4)),
                 (1, IP(src=SERVER, dst="192.0.2.1") / TCP(sport=80, dport=5001, flags="SA")), options=", MIN_PORT 5000, MAX_PORT 5000")
    (back,) = done.out("t")
    packet = IPv6(back)
    assert (packet.src, packet.dst, packet[TCP].dport, packet[TCP].ack) == (IPv6(bytes(IPv6(dst=mapped(SERVER)))).dst, CLIENT, 4000, 4) and is_right(packet, IPv6)
    assert done.handlers["n.drops"] == "1"


def test_one_client_keeps_its_port_towards_all_servers_and_another_gets_another() -> None:
    done = boxed(*[(0, IPv6(src=client, dst=mapped(server)) / UDP(sport=port, dport=53)) for client, server, port in (
        (CLIENT, SERVER, 4000), (CLIENT, "198.51.100.8", 4000), (CLIENT, SERVER, 4001), ("2001:db8::2", SERVER, 4000))], options=", MIN_PORT 5000, MAX_PORT 5002")
    ports = [IP(p)[UDP].sport for p in done.out()]
    assert ports[0] == ports[1] and len(set(ports)) == 3 and done.handlers["n.count"] == "3"
    full = boxed(*[(0, IPv6(src=CLIENT, dst=mapped(SERVER)) / UDP(sport=4000 + i, dport=53)) for i in range(3)], options=", MIN_PORT 5000, MAX_PORT 5001")
    assert len(full.out()) == 2 and full.handlers["n.failures"] == "1"


def test_pings_and_errors_find_their_client() -> None:
    ask = IPv6(src=CLIENT, dst=mapped(SERVER)) / ICMPv6EchoRequest(id=77, seq=2) / b"ping"
    quoted = IP(src="192.0.2.1", dst=SERVER) / UDP(sport=5000, dport=53) / b"ask"
    done = boxed((0, ask), (1, IP(src=SERVER, dst="192.0.2.1") / ICMP(type=0, id=5000, seq=2) / b"ping"), (0, IPv6(src=CLIENT, dst=mapped(SERVER)) / UDP(sport=4000, dport=53) / b"ask"),
                 (1, IP(src="203.0.113.9", dst="192.0.2.1") / ICMP(type=11) / quoted), options=", MIN_PORT 5000, MAX_PORT 5000")
    echo = IP(done.out()[0])
    assert (echo[ICMP].type, echo[ICMP].id) == (8, 5000) and is_right(echo, IP)
    reply, error = (IPv6(p) for p in done.out("t"))
    assert (reply.dst, reply[ICMPv6EchoReply].id) == (CLIENT, 77) and is_right(reply, IPv6)
    assert (error.src, error.dst) == (IPv6(bytes(IPv6(dst=mapped("203.0.113.9")))).dst, CLIENT) and is_right(error, IPv6)
    assert (error[IPerror6].src, error[UDPerror6].sport) == (CLIENT, 4000)


def test_an_error_of_a_client_reaches_the_server() -> None:
    quoted = IPv6(src=mapped(SERVER), dst=CLIENT) / UDP(sport=53, dport=4000) / b"answer"
    done = boxed((0, IPv6(src=CLIENT, dst=mapped(SERVER)) / UDP(sport=4000, dport=53)), (0, IPv6(src=CLIENT, dst=mapped(SERVER)) / ICMPv6DestUnreach(code=4) / quoted),
                 options=", MIN_PORT 5000, MAX_PORT 5000")
    error = IP(done.out()[1])
    assert (error.src, error.dst, error[ICMP].type, error[ICMP].code) == ("192.0.2.1", SERVER, 3, 3) and is_right(error, IP)
    assert (error[IPerror].dst, error[UDPerror].dport) == ("192.0.2.1", 5000)


@pytest.mark.parametrize(("arguments", "problem"), [
    ("192.0.2.1, 2001:db8::/33", "must have a length of 32, 40, 48, 56, 64 or 96"), ("192.0.2.9-192.0.2.1", "POOL: 1 to 65536 addresses"), ("x", "POOL: invalid IP address"),
    ("192.0.2.1, MIN_PORT 0", "MIN_PORT"), ("192.0.2.1, 2001:db8::1/96", "has bits behind its length"), ("192.0.2.1, CAPACITY 0", "CAPACITY"),
])
def test_mistakes_are_told(arguments: str, problem: str) -> None:
    from penstock.lang.source import ConfigurationError

    with pytest.raises(ConfigurationError) as error:
        run_packets(f"feed :: Feed -> n :: NAT64({arguments}) -> Discard; Idle -> [1] n; n[1] -> Discard", [])
    assert problem in "\n".join(error.value.diagnostics.pretty_lines())


CONFIGURATION = """
FromDevice(p64c) -> six :: Classifier(12/86dd, -); six[1] -> Discard;
FromDevice(p64s) -> four :: Classifier(12/0800, -); four[1] -> Discard;
n :: NAT64(192.0.2.1);
six -> Strip(14) -> CheckIP6Header -> DecIP6HLIM -> n -> EtherEncap(0x0800, 02:00:00:00:00:11, 02:00:00:00:00:22) -> Queue -> ToDevice(p64s);
four -> Strip(14) -> CheckIPHeader -> DecIPTTL -> [1] n; n[1] -> EtherEncap(0x86dd, 02:00:00:00:00:11, 02:00:00:00:00:21) -> Queue -> ToDevice(p64c);
"""
SERVE = """
import socket
with socket.create_server(("198.51.100.7", 8080)) as server:
    print("ready", flush=True)
    connection, peer = server.accept()
    with connection:
        print(peer[0], flush=True)
        content = b""
        while len(content) < 300000:
            content += connection.recv(65536)
        connection.sendall(content[::-1])
"""
CALL = """
import socket
content = bytes(range(250)) * 1200
with socket.create_connection(("64:ff9b::198.51.100.7", 8080), timeout=20) as s:
    s.sendall(content)
    got = b""
    while len(got) < len(content):
        got += s.recv(65536)
assert got == content[::-1]
print("right")
"""


@needs_root()
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
def test_the_kernel_s_tcp_talks_through_it_and_is_pinged(tmp_path: Path) -> None:
    """A client with IPv6 alone and a server with IPv4 alone."""
    (tmp_path / "nat64.click").write_text(CONFIGURATION)

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def within(name: str, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(["ip", "netns", "exec", name, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    ends = (("penstock-64c", "p64c", "02:00:00:00:00:21", ["2001:db8::1/64"], "fe80::1"), ("penstock-64s", "p64s", "02:00:00:00:00:22", ["198.51.100.7/24"], "198.51.100.1"))
    running: list[subprocess.Popen[str]] = []
    try:
        for name, device, mac, addresses, gateway in ends:
            ip("netns", "add", name)
            ip("link", "add", device, "type", "veth", "peer", "name", "e0", "netns", name)
            ip("link", "set", device, "up")
            ip("-n", name, "link", "set", "e0", "address", mac, "up")
            for address in addresses:
                ip("-n", name, "addr", "add", address, "dev", "e0", *(["nodad"] if ":" in address else []))
            ip("-n", name, "neigh", "add", gateway, "lladdr", "02:00:00:00:00:11", "dev", "e0", "nud", "permanent")
            ip("-n", name, "route", "add", "default", "via", gateway, "dev", "e0")
            # What is sent here has its checksum in it only where the device does not promise to do that.
            subprocess.run(["ip", "netns", "exec", name, "ethtool", "-K", "e0", "tx", "off", "tso", "off", "gso", "off"], check=False, capture_output=True)
        click = subprocess.Popen([sys.executable, "-m", "penstock.cli.main", "run", str(tmp_path / "nat64.click")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        server = within("penstock-64s", sys.executable, "-u", "-c", SERVE)
        running += [click, server]
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        client = within("penstock-64c", sys.executable, "-c", CALL)
        running.append(client)
        said, _ = client.communicate(timeout=40)
        assert said == "right\n"
        assert server.stdout.readline() == "192.0.2.1\n"
        if shutil.which("ping") is not None:
            ping = subprocess.run(["ip", "netns", "exec", "penstock-64c", "ping", "-6", "-c", "2", "-i", "0.2", "-W", "3", "64:ff9b::198.51.100.7"], capture_output=True, text=True)
            assert " 0% packet loss" in ping.stdout, ping.stdout + ping.stderr
    finally:
        for process in running:
            process.kill()
            process.communicate()
        for name, *_ in ends:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
