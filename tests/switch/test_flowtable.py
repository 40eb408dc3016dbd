"""The flow table against a search through a list, and its words against ovs-ofctl's."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.switch.catalog import make_module
from penstock.switch.flowrules import Actions, parse_flow, parse_match, write_actions, write_match
from penstock.switch.module import ModuleError
from tests.switch.fabrics import Still
from tests.traffic import checksum, tcp, udp

ENGINES = ("compiled", "interpreter")
NAMES = ("p0", "p1", "p2", "p3")
MACS = [f"02:00:00:00:00:0{n}" for n in range(4)]


def port(text: str) -> int:
    if text in NAMES or text.isdigit():
        return int(text.removeprefix("p"))
    raise ModuleError(f"'{text}' is no port")


def table(*flows: str, engine: str = "compiled") -> tuple[Any, Any]:
    module: Any = make_module("flow-table")
    still = Still(module, 4, engine=engine)
    for number, name in enumerate(NAMES):
        module.port_attached(number, name)
    for flow in flows:
        module.command(["add-flow", flow])
    return module, still


def went(still: Any, frame: bytes, source: int = 0) -> list[tuple[int, bytes]]:
    still.put(source, frame)
    still.turn(6)
    return [(p, f) for p in range(4) for f in still.take(p)]


def ethernet(payload: bytes, *, kind: int = 0x0800, src: int = 1, dst: int = 2, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else struct.pack(">HH", 0x8100, vlan)
    return bytes([2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src]) + tag + kind.to_bytes(2, "big") + payload


def is_sound(packet: bytes) -> bool:
    """IPv4 with TCP or UDP: both checksums are right."""
    n = (packet[0] & 15) * 4
    pseudo = packet[12:20] + struct.pack(">HH", packet[9], len(packet) - n)
    return checksum(packet[:n]) == 0 and checksum(pseudo + packet[n:]) == 0


def random_flow(r: random.Random) -> str:
    parts = [f"priority={r.choice([1, 5, 5, 100, 65535])}"]
    if r.random() < 0.3:
        parts.append(f"in_port={r.choice(NAMES)}")
    if r.random() < 0.3:
        parts.append(f"dl_dst={r.choice(MACS)}" + r.choice(["", "/ff:ff:ff:ff:ff:fe"]))
    if r.random() < 0.2:
        parts.append(f"dl_vlan={r.choice([5, 6])}")
    if r.random() < 0.7:
        parts.append(r.choice(["ip", "tcp", "udp", "dl_type=0x0806"]))
        if parts[-1] in ("tcp", "udp", "ip"):
            if r.random() < 0.6:
                parts.append(f"nw_dst=10.0.{r.randrange(3)}.0/{r.choice([8, 23, 24])}")
            if r.random() < 0.4:
                parts.append(f"nw_src=10.0.{r.randrange(3)}.{r.randrange(3)}")
            if r.random() < 0.4 and parts[1] != "ip":
                parts.append(f"tp_dst={r.choice([80, 443])}")
    return ",".join(parts) + f",actions={r.choice(['output:1', 'output:2', 'output:3', 'drop', 'flood'])}"


def random_frame(r: random.Random) -> tuple[bytes, dict[str, int]]:
    """A frame, and the fields that flows see in it."""
    src, dst, vlan = r.randrange(4), r.randrange(4), r.choice([None, None, 5, 6])
    fields = {"dl_dst": 0x0200_0000_0000 | dst, "dl_src": 0x0200_0000_0000 | src, "vlan_tci": 0 if vlan is None else 0x1000 | vlan}
    if r.random() < 0.15:
        return ethernet(bytes(6) + b"\0\1" + bytes(20), kind=0x0806, src=src, dst=dst, vlan=vlan), {**fields, "dl_type": 0x0806, "nw_proto": 1}
    a, b = f"10.0.{r.randrange(3)}.{r.randrange(3)}", f"10.0.{r.randrange(3)}.{r.randrange(3)}"
    sport, dport, protocol = r.randrange(1, 9), r.choice([80, 443, 8080]), r.choice([6, 17])
    packet = tcp(sport, dport, b"x", src=a, dst=b) if protocol == 6 else udp(sport, dport, b"x", a, b)
    number = [int.from_bytes(bytes(map(int, x.split("."))), "big") for x in (a, b)]
    return ethernet(packet, src=src, dst=dst, vlan=vlan), {**fields, "dl_type": 0x0800, "nw_proto": protocol, "nw_src": number[0], "nw_dst": number[1],
                                                          "tp_src": sport, "tp_dst": dport}


def key_of(fields: dict[str, int], source: int) -> tuple[int, ...]:
    text = ",".join(f"{name}={value}" for name, value in fields.items() if not name.startswith(("dl_src", "dl_dst", "nw_src", "nw_dst")))
    words = list(parse_match(f"in_port={source},{text}", port)[0])
    words[0] |= fields["dl_dst"] << 16
    words[1] |= fields["dl_src"] << 16
    words[2] |= fields.get("nw_src", 0) << 32 | fields.get("nw_dst", 0)
    return tuple(words)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(6))
def test_the_flow_of_the_highest_priority_decides(engine: str, seed: int) -> None:
    r = random.Random(seed)
    module, still = table(engine=engine)
    rules: dict[Any, Any] = {}
    with still:
        for step in range(120 if engine == "compiled" else 40):
            if step % 4 == 0:
                text = random_flow(r)
                module.command(["add-flow", text])
                rule = parse_flow(text, port)
                rules[rule.priority, rule.match, rule.mask] = rule
            if step % 25 == 24:
                gone = r.choice(list(rules))
                same = [k for k in rules if k[1:] == gone[1:]]
                deleted = module.command(["del-flows", write_match(gone[1], gone[2])])
                inside = [k for k in rules if all(m & o == m and (w ^ v) & m == 0 for m, o, w, v in zip(gone[2], k[2], k[1], gone[1]))]
                assert deleted == [(f"{len(inside)} flows deleted",)] and set(same) <= set(inside)
                for k in inside:
                    del rules[k]
            frame, fields = random_frame(r)
            source = r.randrange(4)
            key = key_of(fields, source)
            matching = [rule for rule in rules.values() if all((k ^ m) & w == 0 for k, m, w in zip(key, rule.match, rule.mask))]
            top = max((rule.priority for rule in matching), default=0)
            outputs = {rule.actions.output for rule in matching if rule.priority == top}
            got = [p for p, f in went(still, frame, source) if f == frame]
            choices = [[p for p in range(4) if p != source] if out == 4096 else [out] if out is not None and out != source else [] for out in outputs] or [[]]
            assert got in choices
        assert module.faults == 0 and still.fabric.faults == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_frames_are_rewritten_and_their_checksums_stay_right(engine: str) -> None:
    module, still = table(
        "tcp,actions=mod_nw_src:9.8.7.6,mod_nw_dst:1.2.3.4,mod_tp_src:1111,mod_tp_dst:2222,mod_dl_src:02:00:00:00:00:aa,output:1",
        "udp,tp_dst=53,actions=mod_nw_dst:1.2.3.4,mod_tp_dst:5353,output:2", "udp,tp_dst=9,actions=push_vlan:7,output:3",
        "priority=40000,dl_vlan=5,actions=strip_vlan,output:1", "priority=40000,dl_vlan=6,actions=strip_vlan,push_vlan:9,output:1", engine=engine)
    with still:
        [(to, frame)] = went(still, ethernet(tcp(5, 80, b"hello" * 20, src="10.0.0.1", dst="10.0.0.2")))
        assert to == 1 and is_sound(frame[14:]) and frame[26:34] == bytes([9, 8, 7, 6, 1, 2, 3, 4]) and frame[34:38] == struct.pack(">HH", 1111, 2222)
        assert frame[6:12] == bytes([2, 0, 0, 0, 0, 0xAA])
        [(to, frame)] = went(still, ethernet(udp(5, 53, b"query", "10.0.0.1", "10.0.0.2")))
        assert to == 2 and is_sound(frame[14:]) and frame[36:38] == struct.pack(">H", 5353)
        plain = ethernet(udp(5, 9, bytes(range(200)), "10.0.0.1", "10.0.0.2"))
        [(to, frame)] = went(still, plain)
        assert to == 3 and frame == plain[:12] + b"\x81\x00\x00\x07" + plain[12:]
        for vlan, tag in ((5, b""), (6, b"\x81\x00\x00\x09")):
            [(to, frame)] = went(still, plain[:12] + struct.pack(">HH", 0x8100, vlan) + plain[12:])
            assert to == 1 and frame == plain[:12] + tag + plain[12:]
        # No room for a tag: dropped, not cut.
        assert went(still, ethernet(udp(5, 9, bytes(2112 - 14 - 28), "10.0.0.1", "10.0.0.2"))) == []
        assert module.faults == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_misses_go_to_the_controller_and_come_back_from_it(engine: str) -> None:
    module, still = table("arp,actions=flood", engine=engine)
    with still:
        frame = ethernet(udp(5, 9, b"data", "10.0.0.1", "10.0.0.2"))
        assert went(still, frame) == [] and module.misses == 1
        module.command(["controller", "p3"])
        [(to, up)] = went(still, frame)
        assert to == 3 and up == bytes(12) + b"\x88\xb5\x00\x00" + frame
        assert went(still, up[:14] + b"\x00\x02" + frame, source=3) == [(2, frame)]
        assert sorted(p for p, _ in went(still, up[:14] + b"\x10\x00" + frame, source=3)) == [0, 1, 2]
        assert went(still, frame, source=3) == [] and went(still, up[:20], source=3) == []
        module.port_detached(3)
        assert went(still, frame) == []


def test_flows_grow_old_and_say_how_much_they_saw() -> None:
    module, still = table("udp,idle_timeout=10,cookie=0x7,actions=output:1", "priority=9,tcp,hard_timeout=10,actions=output:p2", "actions=output:3")
    with still:
        frame, other = ethernet(udp(5, 9, b"data", "10.0.0.1", "10.0.0.2")), ethernet(tcp(5, 9))
        for _ in range(3):
            assert went(still, frame) == [(1, frame)]
            still.fabric.now_s = int(still.fabric.now_s) + 6
        dumped = [row[0] for row in module.command(["dump-flows"])]
        assert dumped == [
            "cookie=0x7, duration=18s, n_packets=3, n_bytes=138, idle_timeout=10, priority=32768,dl_type=0x0800,nw_proto=17 actions=output:1",
            "cookie=0x0, duration=18s, n_packets=0, n_bytes=0, priority=32768 actions=output:3"]
        still.fabric.now_s = int(still.fabric.now_s) + 6
        assert went(still, frame) == [(3, frame)] and went(still, other) == [(3, other)]
        assert module.flows.entries == 2 or module.flows.entries == 1
        assert [row[0].partition("priority")[2] for row in module.report()[1:]] == ["=32768 actions=output:3"]


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz_=,/:.0123456789 -", max_size=60))
def test_any_words_give_a_flow_or_a_clear_error(text: str) -> None:
    for words in (text, f"{text},actions=drop", f"ip,actions={text}"):
        try:
            rule = parse_flow(words, port)
        except ModuleError as error:
            assert str(error)
        else:
            assert len(rule.match) == len(rule.mask) == 8 and all(m & ~w == 0 for m, w in zip(rule.match, rule.mask))


@pytest.mark.parametrize("text", [
    "in_port=1,dl_dst=02:00:00:00:00:01,dl_type=0x0800,nw_src=10.0.0.0/8,nw_proto=6,tp_dst=80", "dl_vlan=5", "dl_type=0x86dd,ipv6_src=2001:db8::/32",
    "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", "tp_src=1024/0xfc00", "nw_tos=8", "",
])
def test_what_is_written_is_read_the_same(text: str) -> None:
    match, mask, _ = parse_match(text, port)
    assert parse_match(write_match(match, mask), port)[:2] == (match, mask)


def test_actions_are_written_as_they_are_read() -> None:
    text = "mod_dl_src:02:00:00:00:00:01,mod_nw_dst:1.2.3.4,mod_tp_dst:80,strip_vlan,push_vlan:9,output:2"
    assert write_actions(parse_flow(f"actions={text}", port).actions) == text
    assert write_actions(Actions()) == "drop" and write_actions(parse_flow("actions=flood", port).actions) == "flood"


@pytest.mark.parametrize(("words", "problem"), [
    ("add-flow ip", "needs actions="), ("add-flow colour=red,actions=drop", "'colour' is no field"), ("add-flow nw_src=10.0.0.999,actions=drop", "IPv4 address or prefix"),
    ("add-flow tp_dst=70000,actions=drop", "0 to 65535"), ("add-flow actions=explode", "'explode' is no action"), ("add-flow actions=mod_tp_dst:5", "nothing leaves"),
    ("add-flow actions=output:nowhere", "is no port"), ("fly", "knows 'add-flow FLOW'"), ("controller nowhere", "is no port"), ("add-flow dl_vlan=4096,actions=drop", "0 to 4095"),
])
def test_wrong_orders_are_told(words: str, problem: str) -> None:
    module, still = table()
    with still:
        with pytest.raises(ModuleError, match=problem):
            module.command(words.split())
        assert module.flows.entries == 0
