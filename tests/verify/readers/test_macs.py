"""Tables of Ethernet addresses switch as the switch that they come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.verify.box import Box
from penstock.verify.hosts import make_packet
from penstock.verify.intervals import Intervals
from penstock.verify.path import Path, Place
from penstock.verify.readers.errors import TableError
from penstock.verify.readers.macs import parse_macs, switch_configuration

LINUX = """02:00:00:00:00:01 dev p1 master br0
02:00:00:00:00:02 dev p2 vlan 1 master br0
33:33:00:00:00:01 dev p1 self permanent
02:00:00:00:00:0a dev p3 master br0 permanent
"""
CISCO = """          Mac Address Table
-------------------------------------------
Vlan    Mac Address       Type        Ports
----    -----------       --------    -----
 All    0100.0ccc.cccc    STATIC      CPU
  10    0200.0000.0001    DYNAMIC     p1
  10    0200.0000.0002    DYNAMIC     p2
Total Mac Addresses for this criterion: 3
"""


@pytest.mark.parametrize("text", [LINUX, CISCO, "02:00:00:00:00:01 p1\n2-0-0-0-0-2 p2 # there\n"])
def test_tables_of_others_are_read(text: str) -> None:
    assert parse_macs(text) == {"020000000001": "p1", "020000000002": "p2"}


@pytest.mark.parametrize(("address", "port", "out"), [
    (0x020000000002, "p1", {"p2"}), (0x020000000001, "p1", set()), (0x020000000001, "p3", {"p1"}), (0x020000000009, "p1", {"p2", "p3"}), (0xFFFFFFFFFFFF, "p3", {"p1", "p2"}),
])
def test_a_frame_goes_where_its_address_is_known_to_be_and_never_back(address: int, port: str, out: set[str]) -> None:
    box = Box(switch_configuration(parse_macs(LINUX), ["p3"]))
    packet, path = make_packet("udp"), Path()
    path.confine(packet.field("ether", "dst"), Intervals(((address, address),)), Place())
    assert {e.interface for e in box.run(port, packet, path) if e.kind == "exit"} == out


@pytest.mark.parametrize(("text", "problem"), [
    ("", "no addresses"), ("02:00:00:00:00:01", "it ends too early"), ("02:00:00:00:00 p1", "no address of six bytes"), ("02:00:00:00:00:01 a b", "expected 'ADDRESS PORT'"),
    ("02:00:00:00:00:01 a\n02:00:00:00:00:01 b", "line 2: .*behind a too"), (CISCO.replace("  10    0200.0000.0002", "  20    0200.0000.0002"), r"several VLANs \(10, 20\)"),
])
def test_mistakes_are_told_with_their_line(text: str, problem: str) -> None:
    with pytest.raises(TableError, match=problem):
        parse_macs(text)


@given(st.text(alphabet="0123456789abcdef:.- \nvlandev", max_size=60))
def test_any_table_is_read_or_refused(text: str) -> None:
    try:
        found = parse_macs(text)
    except TableError:
        return
    assert all(len(address) == 12 for address in found)
