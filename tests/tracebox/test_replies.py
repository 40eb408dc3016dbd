"""Replies come from strangers: random bytes, lying lengths and truncated quotes give a reply or nothing, never an exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.tracebox.constructors import READY
from penstock.tracebox.diff import compare
from penstock.tracebox.inference import infer
from penstock.tracebox.language import parse_probe
from penstock.tracebox.packet import dissect
from penstock.tracebox.path import Hop, Path
from penstock.tracebox.replies import parse_reply
from penstock.tracebox.report import as_dict, explanation, table, verdicts
from tests.tracebox.simulated import error_from

PROBE = parse_probe("ip{src='192.0.2.1', dst='192.0.2.9'} / tcp{src=4000} / mss(1460) / SACKP / TS / WSCALE / raw('payload')").build()
PROBE6 = parse_probe("ipv6{src='2001:db8::1', dst='2001:db8::9'} / tcp{src=4000} / mss(1460)").build()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_reply_or_nothing(data: bytes) -> None:
    for start in (b"", b"\x45\0", b"\x60\0"):
        reply = parse_reply(start + data)
        if reply is not None:
            compare(PROBE, reply.quote)
            assert dissect(reply.data) is not None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_error_never_breaks_the_report(data: st.DataObject) -> None:
    wide = data.draw(st.booleans())
    probe = PROBE6 if wide else PROBE
    extensions = data.draw(st.binary(max_size=40))
    error = bytearray(error_from("2001:db8::5" if wide else "10.0.0.5", probe, quote_bytes=data.draw(st.one_of(st.none(), st.integers(0, 60))), extensions=extensions))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=12)):
        if 28 <= place < len(error):
            error[place] = value
    cut = data.draw(st.integers(0, len(error)))
    reply = parse_reply(bytes(error[:cut] if data.draw(st.booleans()) else error))
    if reply is None:
        return
    comparison = compare(probe, reply.quote)
    path = Path("192.0.2.9", "there", "192.0.2.1", "probe", 30, hops=[
        Hop(1, reply.source, "router", 1000, compare(probe, probe), reply, probe, 1),
        Hop(2, reply.source, "router", 1000, comparison, reply, probe, 1)])
    infer(path)
    for lines in (verdicts(path), table(path, all_fields=True), explanation(path)):
        assert all("\n" not in line for line in lines)
    as_dict(path)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(PROBE)))
def test_a_cut_quote_shows_no_change(length: int) -> None:
    comparison = compare(PROBE, PROBE[:length])
    assert comparison.changes == []
    assert comparison.is_partial == (length < len(PROBE)) or length < 4


@settings(max_examples=200, deadline=None)
@given(st.integers(20, len(PROBE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_found_exactly_where_it_is(place: int, value: int) -> None:
    changed = bytearray(PROBE)
    changed[place] = value
    comparison = compare(PROBE, bytes(changed))
    assert bool(comparison.changes) == (changed != PROBE)


def test_extensions_of_old_routers_are_found_behind_128_bytes() -> None:
    from penstock.packet.checksum import internet_checksum

    body = (8).to_bytes(2) + b"\1\1" + (300 << 12 | 0x1FF).to_bytes(4)
    checksum = internet_checksum(b"\x20\0\0\0" + body)
    error = bytearray(error_from("10.0.0.5", PROBE.ljust(128, b"\0")))
    error[28 + 128 :] = b"\x20\0" + checksum.to_bytes(2) + body
    error[2:4] = len(error).to_bytes(2)
    reply = parse_reply(bytes(error))
    assert reply is not None
    assert [e.text for e in reply.extensions] == ["MPLS label 300, class 0, bottom, TTL 255"]
    assert len(reply.quote) == 128


def test_interface_information_is_read() -> None:
    body = b"\0\0\0\3" + b"\0\1\0\0" + bytes((10, 0, 0, 1)) + b"\x08eth0\0\0\0"
    extension = (len(body) + 4).to_bytes(2) + bytes((2, 0x0E)) + body
    reply = parse_reply(error_from("10.0.0.5", PROBE, extensions=extension))
    assert reply is not None
    assert [e.text for e in reply.extensions] == ["came in by interface 3, 10.0.0.1, eth0"]


def test_every_ready_layer_has_a_text() -> None:
    for make in READY.values():
        assert repr(make())
