"""What each module decides, in both engines."""

from __future__ import annotations

import ipaddress

import pytest

from penstock.switch.catalog import make_module, module_classes
from penstock.switch.module import ModuleError
from tests.switch.fabrics import Still
from tests.traffic import ether, ipv4

ENGINES = ("compiled", "interpreter")
A, B, C = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))


def ip4(src: str, dst: str) -> bytes:
    return b"\2\0\0\0\0\x09\2\0\0\0\0\x08\x08\x00" + ipv4(17, bytes(20), src, dst)


def ip6(src: str, dst: str) -> bytes:
    addresses = ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed
    return b"\2\0\0\0\0\x09\2\0\0\0\0\x08\x86\xdd" + b"\x60\0\0\0\0\0\x3b\x40" + addresses


#: ports are p0 to p3, as the test attaches them
CASES: dict[str, list[tuple[bytes, list[int]]]] = {
    "dummy 2": [(b"anything", [2])],
    "my_lookup": [(ip4("1.2.3.4", "10.0.0.3"), [3]), (ip4("1.2.3.4", "10.0.0.1"), [1]), (ip4("9.9.9.9", "10.0.0.200"), []),
                  (ip6("::1", "::2"), []), (b"short", [])],
    "static 02:00:00:00:00:01=1 02:00:00:00:00:02=broadcast default=3": [
        (A + C + b"xx", [1]), (B + C + b"xx", [1, 2, 3]), (C + A + b"xx", [3]), (b"short", [])],
    "macs 02:00:00:00:00:01=1": [(C + A + b"xx", [1]), (A + C + b"xx", []), (b"", [])],
    "patch p0=p2 p1=p3": [(b"anything", [2])],
    "patch p1=p3 p0=p9": [(b"anything", [])],
    "ips 1.2.3.4=1 2001:db8::1=2 02:00:00:00:00:02=3 default=drop": [
        (ip4("1.2.3.4", "9.9.9.9"), [1]), (ip4("9.9.9.9", "1.2.3.4"), [1]), (ip4("9.9.9.9", "1.2.3.5"), []),
        (ip6("2001:db8::1", "::5"), [2]), (ip6("::5", "2001:db8::1"), [2]), (ip6("::5", "::6"), []),
        (B + ip4("1.2.3.4", "1.2.3.4")[6:], [3]), (ip4("1.2.3.4", "9.9.9.9")[:30], []), (ip6("2001:db8::1", "::5")[:50], [])],
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("text", CASES)
def test_frames_go_where_the_module_s_arguments_say(text: str, engine: str) -> None:
    module = make_module(text)
    with Still(module, 4, engine=engine) as still:
        for n in range(4):
            module.port_attached(n, f"p{n}")
        for frame, targets in CASES[text]:
            still.put(0, frame)
            still.turn(8)
            assert [p for p in range(4) if frame in still.take(p)] == targets, frame.hex()
        assert module.faults == 0


def test_entries_are_added_listed_and_deleted_while_it_works() -> None:
    module = make_module("ips")
    with Still(module, 3) as still:
        module.port_attached(1, "left")
        module.port_attached(2, "right")
        assert module.command(["add", "10.0.0.1", "left"]) == [("10.0.0.1", "1")]
        module.command(["add", "fe80::1", "2"])
        module.command(["add", "02:00:00:00:00:07", "drop"])
        module.command(["add", "10.0.0.1", "right"])
        assert sorted(module.command(["list"])) == [("02:00:00:00:00:07", "drop"), ("10.0.0.1", "2"), ("fe80::1", "2")]
        still.put(0, ip4("10.0.0.1", "8.8.8.8"))
        still.turn()
        assert len(still.take(2)) == 1
        module.command(["delete", "10.0.0.1"])
        module.command(["default", "left"])
        still.put(0, ip4("10.0.0.1", "8.8.8.8"))
        still.turn()
        assert len(still.take(1)) == 1
        for words, problem in ((["delete", "10.0.0.1"], "not in the table"), (["add", "10.0.0", "1"], "no address"),
                               (["add", "10.0.0.9", "nowhere"], "is no port"), (["fly"], "knows 'add ADDRESS PORT'")):
            with pytest.raises(ModuleError, match=problem):
                module.command(words)


@pytest.mark.parametrize(("text", "problem"), [
    ("learning soon", "no age in seconds"), ("dummy x", "no port number"), ("dummy 1 2", "takes no arguments"), ("my_lookup 3", "takes no arguments"),
    ("patch a", "PORT=PORT"), ("patch a=a", "joined to itself"), ("patch a=b b=c", "joined to a already"), ("static 1=2", "no Ethernet address"), ("static 02:00:00:00:00:01", "ADDRESS=PORT"), ("ips 300.1.1.1=1", "no address"), ("'", "names no module"),
])
def test_wrong_arguments_are_told(text: str, problem: str) -> None:
    with pytest.raises(ModuleError, match=problem):
        module = make_module(text)
        module.port_attached(0, "p")


def test_every_module_says_what_it_does() -> None:
    assert len(module_classes()) >= 6
    for name, cls in module_classes().items():
        assert cls.__doc__ and cls.__doc__ != cls.__mro__[1].__doc__, name
    assert ether(b"") is not None
