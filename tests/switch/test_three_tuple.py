"""Stacks on ports beside the host's own: who gets what, and who may send what."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

import pytest

from penstock.switch.catalog import make_module
from penstock.switch.module import ModuleError
from tests.switch.fabrics import Still
from tests.traffic import checksum, ipv4, tcp, udp

HOST, UPLINK, WEB, DNS = range(4)
NAMES = ("host", "up", "web", "dns")
H = b"\2\0\0\0\0\x01"
X = b"\2\0\0\0\0\x02"


def ether4(src: str, sport: int, dst: str, dport: int, *, protocol: str = "tcp", to: bytes = X) -> bytes:
    packet = tcp(sport, dport, b"data", src=src, dst=dst) if protocol == "tcp" else udp(sport, dport, b"data", src, dst)
    return to + b"\2\0\0\0\0\x09\x08\x00" + packet


def ether6(src: str, sport: int, dst: str, dport: int) -> bytes:
    a, b = (ipaddress.IPv6Address(x).packed for x in (src, dst))
    body = struct.pack(">HHHH", sport, dport, 12, 0) + b"data"
    total = checksum(a + b + struct.pack(">IHH", 12, 0, 17) + body)
    return X + b"\2\0\0\0\0\x09\x86\xdd" + struct.pack(">IHBB", 6 << 28, 12, 17, 64) + a + b + body[:6] + total.to_bytes(2, "big") + body[8:]


def arp(sender: str, target: str, *, ether: bytes = H) -> bytes:
    return b"\xff" * 6 + ether + b"\x08\x06\0\1\x08\0\6\4\0\1" + ether + ipaddress.IPv4Address(sender).packed + bytes(6) + ipaddress.IPv4Address(target).packed


@pytest.fixture(params=["compiled", "interpreter"])
def still(request: pytest.FixtureRequest) -> Any:
    module = make_module("three-tuple host=host uplink=up")
    with Still(module, 4, engine=request.param) as made:
        for number, name in enumerate(NAMES):
            module.port_attached(number, name)
        for words in ("claim 10.0.0.1 tcp 80 web", "claim 10.0.0.5 udp 53 dns", "claim 2001:db8::1 udp 53 dns"):
            module.command(words.split())
        yield made


def went(still: Any, source: int, frame: bytes) -> list[int]:
    still.put(source, frame)
    still.turn(8)
    return [p for p in range(4) if still.take(p)]


def test_claimed_tuples_go_to_their_stack_and_the_rest_to_the_host(still: Any) -> None:
    assert went(still, UPLINK, ether4("9.9.9.9", 1000, "10.0.0.1", 80)) == [WEB]
    assert went(still, UPLINK, ether4("9.9.9.9", 1000, "10.0.0.1", 81)) == [HOST]
    assert went(still, UPLINK, ether4("9.9.9.9", 1000, "10.0.0.1", 80, protocol="udp")) == [HOST]
    assert went(still, UPLINK, ether4("9.9.9.9", 1000, "10.0.0.5", 53, protocol="udp")) == [DNS]
    assert went(still, UPLINK, ether6("2001:db8::9", 1000, "2001:db8::1", 53)) == [DNS]
    assert went(still, HOST, ether4("10.0.0.2", 1000, "10.0.0.1", 80)) == [WEB]
    assert went(still, HOST, ether4("10.0.0.2", 1000, "9.9.9.9", 80)) == [UPLINK]
    # Stacks talk to one another, to the host by its Ethernet address, and out.
    assert went(still, WEB, ether4("10.0.0.1", 80, "10.0.0.5", 9, protocol="tcp", to=b"\2\0\0\0\0\x09")) == [HOST]
    assert went(still, WEB, ether4("10.0.0.1", 80, "9.9.9.9", 1000)) == [UPLINK]
    assert went(still, UPLINK, X + X + b"\x88\xcc" + bytes(50)) == [HOST]


def test_nobody_sends_from_a_tuple_of_another(still: Any) -> None:
    module = still.program.module
    for source, frame in ((WEB, ether4("10.0.0.1", 81, "9.9.9.9", 1)), (WEB, ether4("10.0.0.5", 53, "9.9.9.9", 1, protocol="udp")),
                          (DNS, ether4("10.0.0.1", 80, "9.9.9.9", 1)), (DNS, ether6("2001:db8::2", 53, "2001:db8::9", 1)),
                          (WEB, arp("10.0.0.5", "9.9.9.9")), (WEB, X + X + b"\x08\x00" + ipv4(1, bytes(8), "10.0.0.5", "9.9.9.9"))):
        before = int(module.spoofed)
        assert went(still, source, frame) == [] and module.spoofed == before + 1, frame.hex()
    assert went(still, WEB, X + X + b"\x08\x00" + ipv4(1, bytes(8), "10.0.0.1", "9.9.9.9")) == [UPLINK]


def test_questions_about_addresses_go_to_who_has_them(still: Any) -> None:
    assert went(still, HOST, arp("10.0.0.2", "10.0.0.1")) == [WEB]
    assert went(still, UPLINK, arp("10.0.0.9", "10.0.0.5")) == [DNS]
    assert went(still, WEB, arp("10.0.0.1", "10.0.0.77")) == [HOST, UPLINK, DNS]


def test_an_address_of_the_host_is_shared_by_its_stack_and_others_with_its_ethernet_address(still: Any) -> None:
    module = still.program.module
    module.command(["claim", "127.0.0.1", "tcp", "80", "web"])
    module.command(["claim", "127.0.0.1", "udp", "53", "dns"])
    assert went(still, HOST, arp("127.0.0.1", "10.0.0.9")) == [UPLINK, WEB, DNS]
    assert went(still, UPLINK, arp("10.0.0.9", "127.0.0.1", ether=X)) == [HOST, WEB, DNS], "all have it"
    for stack in (WEB, DNS):
        assert went(still, stack, arp("127.0.0.1", "10.0.0.9")) == [p for p in (HOST, UPLINK, WEB, DNS) if p != stack]
        assert went(still, stack, arp("127.0.0.1", "10.0.0.9", ether=X)) == [], "nobody draws the host's traffic away"
    assert went(still, UPLINK, ether4("9.9.9.9", 1000, "127.0.0.1", 80, to=H)) == [WEB]
    assert went(still, UPLINK, ether4("9.9.9.9", 1000, "127.0.0.1", 22, to=H)) == [HOST]
    assert went(still, DNS, ether4("127.0.0.1", 80, "9.9.9.9", 1)) == [], "an address that is shared, a port number that is not"
    module.command(["release", "127.0.0.1", "udp", "53"])
    assert went(still, DNS, arp("127.0.0.1", "10.0.0.9")) == []
    assert went(still, WEB, arp("127.0.0.1", "10.0.0.9")) == [HOST, UPLINK, DNS]
    module.port_detached(WEB)
    assert went(still, UPLINK, ether4("9.9.9.9", 1000, "127.0.0.1", 80, to=H)) == [HOST]
    assert not list(module.speakers.items())[2:] and len(list(module.addresses.items())) == 2


def test_damaged_frames_are_dropped_and_counted(still: Any) -> None:
    module = still.program.module
    good = ether4("9.9.9.9", 1000, "10.0.0.1", 80)
    for at in (24, 40, 50):
        bad = bytearray(good)
        bad[at] ^= 0x40
        assert went(still, UPLINK, bytes(bad)) == []
    for cut in (20, 33, 40):
        assert went(still, UPLINK, good[:cut]) == []
    assert module.damaged >= 4 and module.faults == 0
    unsummed = bytearray(ether4("9.9.9.9", 1000, "10.0.0.5", 53, protocol="udp"))
    unsummed[40:42] = b"\0\0"
    assert went(still, UPLINK, bytes(unsummed)) == [DNS]


def test_claims_collide_with_claims_and_with_sockets_and_go_with_their_port() -> None:
    module = make_module("three-tuple")
    with Still(module, 3):
        for number, name in enumerate(("host", "a", "b")):
            module.port_attached(number, name)
        module.command(["claim", "10.0.0.1", "tcp", "80", "a"])
        for words, problem in (("claim 10.0.0.1 tcp 80 b", "claimed already, by port 1"), ("claim 10.0.0.1 tcp 81 b", "the address is the one of port 1"),
                               ("claim 10.0.0.1 tcp 80 z", "is no port"), ("claim 10.0.0 tcp 80 a", "is no address"),
                               ("claim 10.0.0.2 sctp 80 a", "tcp or udp"), ("claim 10.0.0.2 tcp 0 a", "no port number"), ("release 10.0.0.3 tcp 1", "not claimed")):
            with pytest.raises(ModuleError, match=problem):
                module.command(words.split())
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            with pytest.raises(ModuleError, match="in use by a socket of this host"):
                module.command(["claim", "127.0.0.1", "tcp", str(listener.getsockname()[1]), "a"])
        assert module.report()[1:] == [("10.0.0.1", "tcp", "80", "a")]
        module.command(["release", "10.0.0.1", "tcp", "80"])
        module.command(["claim", "10.0.0.1", "tcp", "80", "b"])
        module.port_detached(2)
        assert module.command(["list"]) == []
