"""Packets that are made to look like others, and packets that say when they were sent: their checksums stay right."""

import struct

import pytest

from tests.harness import run_packets
from tests.traffic import Sent, checksum, tcp, udp

SPLIT = "feed :: Feed -> w :: IPClassifier(src host 10.0.0.1, -); c :: {}; w[0] -> [0] c [0] -> s :: Sink; w[1] -> [1] c [1] -> [1] s;"


def _ip(data: bytes) -> Sent:
    return Sent(data, network=0, transport=20)


def _whole(packet: bytes) -> bool:
    """Both checksums are right."""
    pseudo = packet[12:20] + struct.pack(">HH", packet[9], len(packet) - 20)
    return checksum(packet[:20]) == 0 and checksum(pseudo + packet[20:]) == 0


def test_flow_identities_are_copied() -> None:
    first = tcp(1024, 80, b"x" * 7)
    packets = [_ip(tcp(5, 6, src="9.9.9.9")), _ip(first), _ip(tcp(5, 6, b"later", src="9.9.9.9", dst="8.8.8.8")), _ip(udp(1, 2, src="9.9.9.9"))]
    outcome = run_packets(SPLIT.format("CopyFlowID"), packets)
    assert outcome.out() == [first]
    before, copied, other = outcome.out(port=1)
    # Nothing was seen yet, and what is not TCP is left alone.
    assert before == packets[0].data and other == packets[3].data
    assert copied[12:24] == first[12:24] and copied[24:36] == packets[2].data[24:36] and copied[40:] == b"later"
    assert _whole(copied)


@pytest.mark.parametrize(("seen", "highest"), [([5, 9, 7], 9), ([0xFFFFFFF0, 16, 0xFFFFFFFF], 16)])
def test_the_highest_sequence_number_is_copied(seen: list[int], highest: int) -> None:
    packets = [_ip(tcp(1, 2, sequence=n)) for n in seen] + [_ip(tcp(5, 6, b"data", src="9.9.9.9", sequence=77))]
    (copied,) = run_packets(SPLIT.format("CopyTCPSeq"), packets).out(port=1)
    assert struct.unpack(">I", copied[24:28]) == (highest,) and _whole(copied)


def test_packets_say_when_they_were_sent_and_how_long_they_took() -> None:
    sent = [_ip(udp(1, 2, b"head" + bytes(12) + b"tail")), _ip(udp(1, 2, b"too short")), _ip(udp(1, 2, b"head" + bytes(12)))]
    text = ("feed :: Feed -> a :: StoreUDPTimeSeqRecord(OFFSET 4) -> t :: Tee; t[0] -> s :: Sink;"
            "t[1] -> SetTimestamp -> Queue -> DelayShaper(1.25) -> Unqueue -> StoreUDPTimeSeqRecord(OFFSET 4, DELTA true) -> [1] s;")
    outcome = run_packets(text, sent, rounds=400)
    first, short, second = outcome.out()
    assert short == sent[1].data and outcome.handlers["a.count"] == "2"
    assert first[28:32] == b"head" and first[44:] == b"tail" and _whole(first) and _whole(second)
    assert [struct.unpack(">I", p[32:36])[0] for p in (first, second)] == [0, 1]
    late = outcome.out(port=1)
    assert len(late) == 3
    for packet in (late[0], late[2]):
        seconds, micros = struct.unpack(">II", packet[36:44])
        assert seconds == 1 and 250_000 <= micros < 260_000 and _whole(packet)
