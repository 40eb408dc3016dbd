"""PPPoE and PPP: both ends of ours against each other, and each against packets made by scapy and by hand."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Router
from penstock.datapath.memory import Array, Memory, Stateful
from penstock.datapath.source import datapath
from penstock.elements.digest import Digest
from penstock.packet.capture import CaptureReader
from penstock.packet.integers import u8, u32, u64
from penstock.runtime.image import LoadedImage
from penstock.switch.program import CodeProgram
from tests.conftest import CAPTURES
from tests.harness import use_port_elements
from tests.traffic import Sent, udp

SERVER, CLIENT = "02:00:00:00:00:01", "02:00:00:00:00:02"
S, C = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
START = 1_000_000_000_000_000_000
LCP, IPCP, PAP, CHAP = 0xC021, 0x8021, 0xC023, 0xC223


class Line:
    """A router with the elements under test; frames go in and out by hand, time passes when told."""

    def __init__(self, text: str, *, engine: str = "compiled"):
        use_port_elements()
        self.router = Router.from_text(text, engine=engine, simulated_start_ns=START, seed=99)

    def send(self, frame: bytes, feed: str = "feed") -> list[bytes]:
        return self.sends([frame], feed)

    def sends(self, frames: list[bytes], feed: str = "feed") -> list[bytes]:
        source = self.router.by_name[feed]
        for frame in frames:
            source.send(Sent(frame))  # type: ignore[attr-defined]
        source.task.reschedule()  # type: ignore[attr-defined]
        return self.out()

    def out(self, sink: str = "wire") -> list[bytes]:
        for _ in range(3):
            for feeder in self.router.calls.feeders:
                feeder()
            self.router.driver.attention = 0
            self.router.step(1000)
        self.router.drain_host()
        received = self.router.by_name[sink].received  # type: ignore[attr-defined]
        found = [p.data for _, p in received]
        received.clear()
        return found

    def wait(self, seconds: float) -> list[bytes]:
        found: list[bytes] = []
        for _ in range(max(int(seconds / 0.5), 1)):
            self.router.clock.time += 500_000_000
            found += self.out()
        return found


def server(arguments: str = "", *, engine: str = "compiled") -> Line:
    return Line(f"s :: PPPoEServer({SERVER}, 10.0.0.1, 10.0.0.2{arguments}); feed :: Feed -> s; s[0] -> wire :: Sink; down :: Feed -> [1] s; "
                "s[1] -> up :: Sink;", engine=engine)


def discovery(code: int, tags: list[tuple[int, bytes]], *, number: int = 0, to: bytes = S, src: bytes = C) -> bytes:
    body = b"".join(struct.pack(">HH", kind, len(value)) + value for kind, value in tags)
    return to + src + struct.pack(">HBBHH", 0x8863, 0x11, code, number, len(body)) + body


def tags(frame: bytes) -> dict[int, bytes]:
    found, at = {}, 20
    end = 20 + struct.unpack_from(">H", frame, 18)[0]
    while at < end:
        kind, size = struct.unpack_from(">HH", frame, at)
        found[kind] = frame[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def session(protocol: int, content: bytes, *, number: int = 1, to: bytes = S, src: bytes = C) -> bytes:
    return to + src + struct.pack(">HBBHHH", 0x8864, 0x11, 0, number, len(content) + 2, protocol) + content


def control(protocol: int, code: int, identifier: int, data: bytes = b"", **where: object) -> bytes:
    return session(protocol, struct.pack(">BBH", code, identifier, len(data) + 4) + data, **where)  # type: ignore[arg-type]


def read(frame: bytes) -> tuple[int, int, int, bytes]:
    """Protocol, code, identifier and data of a control packet."""
    length, protocol, code, identifier, size = struct.unpack_from(">HHBBH", frame, 18)
    assert frame[12:16] == b"\x88\x64\x11\x00" and length == size + 2 and len(frame) == 20 + length
    return protocol, code, identifier, frame[26:]


def begun(line: Line, *, src: bytes = C, service: bytes = b"") -> tuple[int, list[bytes]]:
    """Discovery; the number of the session, and what the server sends first."""
    (offer,) = line.send(discovery(0x09, [(0x0101, service), (0x0103, b"unique")], to=b"\xff" * 6, src=src))
    assert offer[:12] == src + S and offer[15] == 0x07
    told = tags(offer)
    assert told[0x0103] == b"unique" and told[0x0102] == b"penstock"
    confirmed, *rest = line.send(discovery(0x19, [(0x0101, service), (0x0104, told[0x0104]), (0x0103, b"unique")], src=src))
    assert confirmed[15] == 0x65 and tags(confirmed)[0x0103] == b"unique"
    return struct.unpack_from(">H", confirmed, 16)[0], rest


def linked(line: Line, number: int, rest: list[bytes], *, src: bytes = C) -> list[bytes]:
    """Both sides agree on the link."""
    protocol, code, identifier, options = read(rest[0])
    assert (protocol, code) == (LCP, 1)
    here = {"number": number, "src": src}
    line.send(control(LCP, 2, identifier, options, **here))
    return line.send(control(LCP, 1, 7, bytes.fromhex("010405d4 0506 11223344"), **here))


def test_a_customer_comes_in_with_chap_and_gets_an_address() -> None:
    line = server(", joe secret, DNS 9.9.9.9")
    number, rest = begun(line)
    assert number == 1
    acknowledged, challenge = linked(line, number, rest)
    assert read(rest[0])[3][-5:] == bytes.fromhex("0305c22305")
    assert read(acknowledged) == (LCP, 2, 7, bytes.fromhex("010405d4050611223344"))
    protocol, code, identifier, data = read(challenge)
    assert (protocol, code, data[0]) == (CHAP, 1, 8)
    answer = hashlib.md5(bytes([identifier]) + b"secret" + data[1:9]).digest()
    success, request = line.send(control(CHAP, 2, identifier, b"\x10" + answer + b"joe"))
    assert read(success)[:2] == (CHAP, 3) and read(request)[:2] == (IPCP, 1) and read(request)[3] == bytes([3, 6, 10, 0, 0, 1])
    assert line.send(control(IPCP, 2, read(request)[2], read(request)[3])) == []
    (rejected,) = line.send(control(IPCP, 1, 1, bytes.fromhex("0206002d0f01 0306 00000000 8106 00000000")))
    assert read(rejected) == (IPCP, 4, 1, bytes.fromhex("0206002d0f01"))
    (other,) = line.send(control(IPCP, 1, 2, bytes.fromhex("0306 00000000 8106 00000000")))
    assert read(other) == (IPCP, 3, 2, bytes([3, 6, 10, 0, 0, 2, 129, 6, 9, 9, 9, 9]))
    (agreed,) = line.send(control(IPCP, 1, 3, read(other)[3]))
    assert read(agreed)[1] == 2 and line.router.read("s.active").strip() == "1"
    packet = udp(1, 2, b"up", "10.0.0.2", "1.2.3.4")
    line.sends([session(0x0021, packet) + bytes(6), session(0x0021, udp(1, 2, b"up", "10.0.0.9", "1.2.3.4"))])
    assert line.out("up") == [packet], "padding is cut off, and another source's packet is dropped"
    down = udp(2, 1, b"down", "1.2.3.4", "10.0.0.2")
    assert line.send(down, "down") == [session(0x0021, down, to=C, src=S)]
    assert line.sends([udp(2, 1, b"x", "1.2.3.4", "10.0.0.3"), bytes(1500)], "down") == []
    assert line.router.read("s.sessions").split()[1:5] == ["open", "02-00-00-00-00-02", "10.0.0.2", "joe"]


@pytest.mark.parametrize(("name", "word", "is_right"), [(b"joe", b"secret", True), (b"joe", b"Secret", False), (b"ann", b"tea", True),
                                                        (b"an", b"tea", False), (b"", b"", False), (b"joe", b"tea", False)])
def test_pap_lets_in_who_knows_the_word(name: bytes, word: bytes, is_right: bool) -> None:
    line = server(", joe secret, ann tea, AUTH PAP")
    number, rest = begun(line)
    assert read(rest[0])[3][-4:] == bytes.fromhex("0304c023")
    linked(line, number, rest)
    frames = line.send(control(PAP, 1, 5, bytes([len(name)]) + name + bytes([len(word)]) + word))
    assert read(frames[0]) == (PAP, 2 if is_right else 3, 5, b"\0")
    if is_right:
        assert read(frames[1])[:2] == (IPCP, 1)
    else:
        assert frames[1][15] == 0xA7 and line.router.read("s.refused").strip() == "1" and line.router.read("s.sessions") == ""


def test_who_will_not_say_who_it_is_does_not_get_in() -> None:
    line = server(", joe secret")
    _, rest = begun(line)
    (end,) = line.send(control(LCP, 4, read(rest[0])[2], bytes.fromhex("0305c22305")))
    assert end[15] == 0xA7
    line = server(", joe secret")
    _, rest = begun(line)
    (again,) = line.send(control(LCP, 3, read(rest[0])[2], bytes.fromhex("0304c023")))
    assert read(again)[3][-4:] == bytes.fromhex("0304c023"), "PAP will do"
    line = server(", joe secret, AUTH CHAPONLY")
    _, rest = begun(line)
    (end,) = line.send(control(LCP, 3, read(rest[0])[2], bytes.fromhex("0304c023")))
    assert end[15] == 0xA7
    line = server(", joe secret")
    number, rest = begun(line)
    linked(line, number, rest)
    assert line.send(control(IPCP, 1, 1, bytes([3, 6, 10, 0, 0, 2]))) == [], "not before"
    line.send(session(0x0021, udp(1, 2, b"up", "10.0.0.2", "1.2.3.4")))
    assert line.out("up") == []


def opened(line: Line, *, src: bytes = C) -> int:
    number, rest = begun(line, src=src)
    frames = linked(line, number, rest, src=src)
    request = frames[-1]
    assert read(request)[:2] == (IPCP, 1)
    here = {"number": number, "src": src}
    line.send(control(IPCP, 2, read(request)[2], read(request)[3], **here))
    line.send(control(IPCP, 1, 3, bytes([3, 6, 10, 0, 0, 1 + number]), **here))
    return number


def test_an_open_session_is_asked_whether_it_is_there_and_ended_where_it_is_not() -> None:
    line = server(", ECHO_INTERVAL 10s")
    opened(line)
    (reply,) = line.send(control(LCP, 9, 55, struct.pack(">I", 0) + b"payload"))
    protocol, code, identifier, data = read(reply)
    assert (protocol, code, identifier, data[4:]) == (LCP, 10, 55, b"payload") and data[:4] != bytes(4)
    frames = line.wait(12)
    assert [read(f)[:2] for f in frames] == [(LCP, 9)]
    line.send(control(LCP, 10, read(frames[0])[2], bytes(4)))
    assert line.router.read("s.active").strip() == "1"
    frames = line.wait(45)
    assert frames[-1][15] == 0xA7 and len(frames) == 4 and line.router.read("s.sessions") == ""


def test_either_side_ends_a_session() -> None:
    line = server()
    opened(line)
    acknowledged, end = line.send(control(LCP, 5, 3, b"bye"))
    assert read(acknowledged)[:3] == (LCP, 6, 3) and end[15] == 0xA7 and line.router.read("s.sessions") == ""
    opened(line)
    assert line.send(discovery(0xA7, [], number=1, src=bytes(6))) == [] and line.router.read("s.active").strip() == "1", "not another host"
    line.send(discovery(0xA7, [], number=1))
    assert line.router.read("s.sessions") == ""
    opened(line)
    with pytest.raises(Exception, match="number of no session"):
        line.router.write("s.disconnect", "2")
    line.router.write("s.disconnect", "1")
    assert line.out()[0][15] == 0xA7


def test_requests_are_repeated_and_given_up() -> None:
    line = server()
    _, rest = begun(line)
    frames = line.wait(20)
    assert frames[-1][15] == 0xA7 and {read(f)[:2] for f in frames[:-1]} == {(LCP, 1)} and len(frames) == 11
    assert read(rest[0])[3] == read(frames[0])[3]


def test_sessions_have_their_bounds_and_belong_to_their_hosts() -> None:
    line = server(", CAPACITY 2, SERVICE internet")
    one, two = (bytes([2, 0, 0, 0, 1, n]) for n in (1, 2))
    assert opened(line, src=one) == 1 and opened(line, src=two) == 2
    (offer,) = line.send(discovery(0x09, [(0x0101, b"")], to=b"\xff" * 6))
    cookie = tags(offer)[0x0104]
    (full,) = line.send(discovery(0x19, [(0x0101, b""), (0x0104, cookie)]))
    assert full[15] == 0x65 and full[16:18] == b"\0\0" and 0x0203 in tags(full)
    assert line.send(discovery(0x19, [(0x0101, b""), (0x0104, cookie)], src=one)) == [], "another host's cookie"
    assert line.send(discovery(0x09, [(0x0101, b"television")], to=b"\xff" * 6)) == []
    (wrong,) = line.send(discovery(0x19, [(0x0101, b"television"), (0x0104, cookie)]))
    assert 0x0201 in tags(wrong)
    line.send(session(0x0021, udp(1, 2, b"up", "10.0.0.2", "1.2.3.4"), number=1, src=two))
    assert line.out("up") == []
    assert line.send(udp(1, 2, b"d", "1.2.3.4", "10.0.0.3"), "down")[0][:6] == two


def test_what_is_not_known_is_rejected() -> None:
    line = server()
    opened(line)
    (rejected,) = line.send(session(0x8057, bytes.fromhex("0101000e010a0102030405060708")))
    protocol, code, _, data = read(rejected)
    assert (protocol, code, data) == (LCP, 8, bytes.fromhex("8057 0101000e010a0102030405060708"))
    (rejected,) = line.send(control(LCP, 77, 9, b"what"))
    assert read(rejected)[1] == 7 and read(rejected)[3] == bytes([77, 9, 0, 8]) + b"what"


def pair(more: str = "", who: str = "", *, engine: str = "compiled") -> Line:
    return Line(f"""s :: PPPoEServer({SERVER}, 10.0.0.1, 10.0.0.2{more}); c :: PPPoEClient({CLIENT}{who});
        s[0] -> Queue -> Unqueue -> [0] c; c[0] -> Queue -> Unqueue -> [0] s; feed :: Feed -> [1] c; s[1] -> IPMirror -> [1] s; c[1] -> wire :: Sink; """, engine=engine)


@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
@pytest.mark.parametrize("auth", ["", "PAP", "CHAP"])
def test_both_ends_find_each_other(engine: str, auth: str) -> None:
    line = pair(f", joe secret, ann tea, AUTH {auth}, DNS 9.9.9.9" if auth else ", DNS 9.9.9.9", ", ann, tea" if auth else "", engine=engine)
    line.wait(2)
    for name, value in (("phase", "open"), ("address", "10.0.0.2"), ("gateway", "10.0.0.1"), ("dns", "9.9.9.9"), ("number", "1")):
        assert line.router.read(f"c.{name}").strip() == value, name
    assert line.router.read("s.sessions").split()[4] == ("ann" if auth else "-")
    packet = udp(5, 6, b"there and back", "10.0.0.2", "1.2.3.4")
    assert line.send(packet) == [udp(6, 5, b"there and back", "1.2.3.4", "10.0.0.2")]
    line.router.write("s.disconnect", "1")
    line.out()
    assert line.router.read("c.phase").strip() == "closed" and line.router.read("c.address").strip() == ""
    line.wait(3)
    assert line.router.read("c.phase").strip() == "open" and line.router.read("c.opened").strip() == "2"
    line.router.write("c.active", "false")
    line.wait(2)
    assert line.router.read("c.phase").strip() == "closed" and line.router.read("s.sessions") == ""


def test_a_wrong_password_is_refused_again_and_again() -> None:
    line = pair(", joe secret", ", joe, wrong")
    line.wait(4)
    assert int(line.router.read("c.refused")) >= 2 and line.router.read("s.active").strip() == "0"


class _Root(Stateful):
    """A digest to call from here."""

    is_root = True

    faults: u64

    def __init__(self) -> None:
        self.digest, self.content = Digest(256), Array(u8, 256)

    @datapath(inline=False)
    def release(self, offset: u64) -> None:
        """There are no packets."""

    @datapath(inline=False)
    def run(self, size: u32) -> u64:
        self.digest.begin()
        for k in range(size):
            self.digest.add(u32(self.content[k]))
        self.digest.finish()
        return u64(0)


def test_the_digest_is_md5() -> None:
    root = _Root()
    program = CodeProgram([("root", root)], {"run": 1})
    memory = Memory(program.layout.size)
    program.attach(memory)
    with contextlib.closing(LoadedImage(program.image())) as image:
        run = image.function("run", ctypes.c_uint32, returns=ctypes.c_uint64)
        for size in (0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 200, 247):
            content = bytes((7 * i + size) & 0xFF for i in range(size))
            root.content.view()[:size] = content
            run(memory.address, size)
            assert bytes(root.digest.words.view()) == hashlib.md5(content).digest(), size


FRAMES = st.one_of(
    st.builds(lambda protocol, body, number: session(protocol, body, number=number), st.sampled_from([LCP, IPCP, PAP, CHAP, 0x21, 0x57]),
              st.binary(max_size=80), st.sampled_from([1, 1, 1, 2, 0xFFFF])),
    st.builds(lambda protocol, code, identifier, data: control(protocol, code, identifier, data), st.sampled_from([LCP, IPCP, PAP, CHAP]),
              st.integers(0, 12), st.integers(0, 5), st.binary(max_size=60)),
    st.builds(lambda code, pairs: discovery(code, pairs), st.sampled_from([0x09, 0x07, 0x19, 0x65, 0xA7]),
              st.lists(st.tuples(st.sampled_from([0x0101, 0x0102, 0x0103, 0x0104, 0x0110]), st.binary(max_size=70)), max_size=6)),
    st.binary(max_size=60),
)


@given(st.lists(FRAMES, max_size=20))
def test_nothing_that_comes_does_harm(frames: list[bytes]) -> None:
    for line in _FUZZED():
        line.sends(frames)
        line.out()
        assert line.router.pool.free == line.router.pool.capacity and line.router.driver.faults == 0


def _make_fuzzed() -> Callable[[], list[Line]]:
    lines: list[Line] = []

    def get() -> list[Line]:
        if not lines:
            lines.extend([server(", joe secret"), Line(f"c :: PPPoEClient({SERVER}, joe, secret); feed :: Feed -> c; c[0] -> wire :: Sink; "
                                                       "Idle -> [1] c; c[1] -> Discard;")])
        return lines

    return get


_FUZZED = _make_fuzzed()


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the captures are not there")
@pytest.mark.parametrize(("name", "questions"), [("pcpp__PPPoEDiscovery", 1), ("tcpdump__pppoe", 1)])
def test_questions_of_real_customers_are_answered(name: str, questions: int) -> None:
    line = server()
    with CaptureReader(str(CAPTURES / f"{name}.pcap")) as reader:
        frames = [p.data for p in reader]
    offers = [f for f in line.sends(frames) if f[15] == 0x07]
    asked = [f for f in frames if f[12:14] == b"\x88\x63" and f[15] == 0x09]
    assert len(asked) == len(offers) == questions
    for question, offer in zip(asked, offers):
        assert offer[:6] == question[6:12] and tags(offer).get(0x0103) == tags(question).get(0x0103)
        assert tags(offer)[0x0101] == tags(question)[0x0101]
