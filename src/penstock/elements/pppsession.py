"""The Point-to-Point Protocol in packet code: link, authentication and address of many sessions over Ethernet.

RFC 1661 (PPP and its link control), RFC 1332 (IPCP), RFC 1877 (name servers), RFC 1334 (PAP), RFC 1994 (CHAP with MD5), RFC 2516
(over Ethernet). Each session has the state that negotiation needs, in a slot of its own; nothing is allocated while packets flow.
"""

from __future__ import annotations

from penstock.datapath.memory import Array, Struct
from penstock.datapath.packet import Packet
from penstock.datapath.sched import Timer
from penstock.datapath.source import abstraction, datapath
from penstock.elements.digest import Digest
from penstock.elements.element import ConfigureError, Element
from penstock.packet.integers import u8, u16, u32, u64

__all__ = ["AUTHENTICATING", "CLOSED", "DISCOVERY", "LINK", "NETWORK", "OPEN", "PHASES", "REQUESTED", "PPPElement"]

CLOSED, DISCOVERY, REQUESTED, LINK, AUTHENTICATING, NETWORK, OPEN = range(7)
PHASES = ("closed", "discovery", "requested", "link", "authenticating", "network", "open")
IP, IPCP, LCP, PAP, CHAP = 0x0021, 0x8021, 0xC021, 0xC023, 0xC223
_REQUEST, _ACK, _NAK, _REJECT, _TERMINATE, _TERMINATED, _CODE_REJECT, _PROTOCOL_REJECT, _ECHO, _ECHOED = range(1, 11)
#: bits of what a side still asks for: maximum-receive-unit, magic number, authentication; address, name servers
_MRU, _MAGIC, _AUTH, _ADDRESS, _DNS, _DNS2 = 1, 2, 4, 8, 16, 32
_OURS, _THEIRS = 1, 2
#: where, in a frame: PPPoE's header, PPP's protocol, a control packet, its options
_PPPOE, _PROTOCOL, _CONTROL, _OPTIONS = 14, 20, 22, 26
_FRAME_BYTES = 320
_SECOND_NS = 1_000_000_000
_MAX_REQUESTS = 10
_MTU_BYTES = 1492
_COPIED_BYTES = 64


class Session(Struct):
    """One session; ``ether`` 0 where there is none."""

    ether: u64
    number: u16
    phase: u8
    identifier: u8
    asks: u8
    #: whose request was acknowledged: ours (1), theirs (2)
    done: u8
    tries: u8
    auth: u16
    user: u16
    magic: u32
    address: u32
    gateway: u32
    dns: u32
    dns2: u32
    challenge: u64
    sent_ns: u64
    heard_ns: u64
    packets: u64
    bytes: u64
    back_packets: u64
    back_bytes: u64


class PPPElement(Element):
    """What both ends of sessions do. ``is_server`` says which one this is."""

    is_server = True
    #: the protocol by which a server asks its customers who they are (0: not at all), and whether PAP will do where CHAP is not known
    auth = 0
    takes_pap = False

    opened: u64
    refused: u64
    drops: u64

    def setup(self, ether: int, capacity: int, users: list[tuple[bytes, bytes]], *, echo_s: float) -> None:
        if not 1 <= capacity <= 65_000:
            raise ConfigureError("CAPACITY: 1 to 65000 sessions are expected")
        if any(not 1 <= len(word) <= 64 for user in users for word in user):
            raise ConfigureError("names and passwords have 1 to 64 bytes")
        self.ether, self.capacity, self.n_users = ether, capacity, len(users)
        self.sessions = Array(Session, capacity)
        names, secrets = (b"".join(user[k] for user in users) for k in (0, 1))
        self.names, self.secrets = Array(u8, max(len(names), 1), names or b"\0"), Array(u8, max(len(secrets), 1), secrets or b"\0")
        self.name_ends, self.secret_ends = (Array(u32, len(users) + 1, [sum(len(u[k]) for u in users[:n]) for n in range(len(users) + 1)])
                                            for k in (0, 1))
        self.digest = Digest(256)
        self.echo_ns = int(echo_s * 1e9)
        self.buffer_bytes = _FRAME_BYTES
        self.timer = Timer(self)

    def started(self) -> None:
        self.timer.schedule_after(_SECOND_NS)

    # Frames

    @datapath
    def finish(self, p: Packet, i: u32, protocol: u32, code: u32, identifier: u32, end: u32) -> None:
        """Send a control packet whose content is in place up to byte ``end`` of the frame."""
        s = self.sessions[i]
        p.data.u48[0] = s.ether
        p.data.u48[6] = self.ether
        p.data.u16[12] = 0x8864
        p.data.u16[14] = 0x1100
        p.data.u16[16] = s.number
        p.data.u16[18] = end - _PROTOCOL
        p.data.u16[_PROTOCOL] = protocol
        p.data.u8[_CONTROL] = code
        p.data.u8[_CONTROL + 1] = identifier
        p.data.u16[_CONTROL + 2] = end - _CONTROL
        p.take(p.length - end)
        p.timestamp = self.clock.now()
        self.output(0).push(p)

    @datapath
    def option32(self, p: Packet, at: u32, kind: u32, value: u32) -> u32:
        p.data.u8[at] = kind
        p.data.u8[at + 1] = 6
        p.data.u32[at + 2] = value
        return at + 6

    @datapath
    def send_request(self, i: u32) -> None:
        """What this side asks for in its phase."""
        s = self.sessions[i]
        p = self.make_packet(u32(_FRAME_BYTES))
        if p is not None:
            s.identifier += 1
            s.sent_ns = self.clock.now()
            at: u32 = _OPTIONS
            if s.phase == LINK:
                if (s.asks & _MRU) != 0:
                    p.data.u16[at] = 0x0104
                    p.data.u16[at + 2] = _MTU_BYTES
                    at += 4
                if (s.asks & _MAGIC) != 0:
                    at = self.option32(p, at, u32(5), u32(s.magic))
                if (s.asks & _AUTH) != 0:
                    p.data.u8[at] = 3
                    p.data.u8[at + 1] = 5 if s.auth == CHAP else 4
                    p.data.u16[at + 2] = s.auth
                    p.data.u8[at + 4] = 5
                    at += 5 if s.auth == CHAP else 4
                self.finish(p, i, u32(LCP), u32(_REQUEST), u32(s.identifier), at)
            else:
                if (s.asks & _ADDRESS) != 0:
                    at = self.option32(p, at, u32(3), u32(s.gateway) if self.is_server else u32(s.address))
                if (s.asks & _DNS) != 0:
                    at = self.option32(p, at, u32(129), u32(s.dns))
                if (s.asks & _DNS2) != 0:
                    at = self.option32(p, at, u32(131), u32(s.dns2))
                self.finish(p, i, u32(IPCP), u32(_REQUEST), u32(s.identifier), at)

    # Phases

    @datapath
    def begin_link(self, i: u32) -> None:
        s = self.sessions[i]
        s.phase = LINK
        s.done = 0
        s.tries = 0
        s.magic = self.random.next() | 1
        s.asks = _MRU | _MAGIC
        s.auth = 0
        if self.is_server and self.auth != 0:
            s.asks = _MRU | _MAGIC | _AUTH
            s.auth = self.auth
        s.heard_ns = self.clock.now()
        self.send_request(i)

    @datapath
    def begin_network(self, i: u32) -> None:
        s = self.sessions[i]
        s.phase = NETWORK
        s.done = 0
        s.tries = 0
        s.asks = _ADDRESS if self.is_server else _ADDRESS | _DNS | _DNS2
        self.send_request(i)

    @datapath
    def advance(self, i: u32) -> None:
        """Both sides agree: the next phase."""
        s = self.sessions[i]
        if s.done != _OURS | _THEIRS:
            return
        if s.phase == LINK:
            if s.auth == 0:
                self.begin_network(i)
            else:
                s.phase = AUTHENTICATING
                s.tries = 0
                self.authenticate(i)
        elif s.phase == NETWORK:
            s.phase = OPEN
            self.opened += 1

    @datapath
    def authenticate(self, i: u32) -> None:
        """The server challenges, or the client says who it is."""
        s = self.sessions[i]
        s.sent_ns = self.clock.now()
        if self.is_server and s.auth == CHAP:
            p = self.make_packet(u32(_FRAME_BYTES))
            if p is not None:
                if s.tries == 0:
                    s.challenge = u64(self.random.next()) << 32 | u64(self.random.next())
                    s.identifier += 1
                p.data.u8[_OPTIONS] = 8
                p.data.u64[_OPTIONS + 1] = s.challenge
                self.finish(p, i, u32(CHAP), u32(1), u32(s.identifier), u32(_OPTIONS + 9))
        elif not self.is_server and self.n_users > 0 and s.auth == PAP:
            q = self.make_packet(u32(_FRAME_BYTES))
            if q is not None:
                s.identifier += 1
                at = self.write_word(q, u32(_OPTIONS), self.names, u32(0), u32(self.name_ends[1]))
                at = self.write_word(q, at, self.secrets, u32(0), u32(self.secret_ends[1]))
                self.finish(q, i, u32(PAP), u32(1), u32(s.identifier), at)

    @datapath
    def write_word(self, p: Packet, at: u32, content: Array[u8], start: u32, end: u32) -> u32:
        """Length and bytes."""
        p.data.u8[at] = end - start
        for k in range(end - start):
            p.data.u8[at + 1 + k] = content[start + k]
        return at + 1 + (end - start)

    @datapath
    def close(self, i: u32) -> None:
        """End a session, and say so (RFC 2516, section 5.5)."""
        s = self.sessions[i]
        if s.phase >= LINK:
            p = self.make_packet(u32(20))
            if p is not None:
                p.data.u48[0] = s.ether
                p.data.u48[6] = self.ether
                p.data.u16[12] = 0x8863
                p.data.u16[14] = 0x11A7
                p.data.u16[16] = s.number
                p.timestamp = self.clock.now()
                self.output(0).push(p)
        s.phase = CLOSED
        s.ether = 0
        s.sent_ns = self.clock.now()

    # Configuration

    @datapath
    def opinion(self, p: Packet, i: u32, protocol: u32, at: u32) -> u32:
        """Of an option of the other side's: acknowledge, another value, or reject."""
        s = self.sessions[i]
        kind, size = u32(p.data.u8[at]), u32(p.data.u8[at + 1])
        if protocol == LCP:
            if kind == 1 and size == 4:
                return u32(_ACK) if p.data.u16[at + 2] >= 64 else u32(_NAK)
            if kind == 2 and size == 6:
                return u32(_ACK)
            if kind == 5 and size == 6:
                return u32(_NAK) if p.data.u32[at + 2] == s.magic else u32(_ACK)
            if kind == 3 and size >= 4 and not self.is_server and self.n_users > 0:
                if (p.data.u16[at + 2] == PAP and size == 4) or (p.data.u16[at + 2] == CHAP and size == 5 and p.data.u8[at + 4] == 5):
                    s.auth = p.data.u16[at + 2]
                    return u32(_ACK)
                return u32(_NAK)
            return u32(_REJECT)
        if kind == 3 and size == 6:
            if self.is_server:
                return u32(_ACK) if p.data.u32[at + 2] == s.address else u32(_NAK)
            s.gateway = p.data.u32[at + 2]
            return u32(_ACK) if s.gateway != 0 else u32(_REJECT)
        if self.is_server and size == 6:
            if kind == 129 and s.dns != 0:
                return u32(_ACK) if p.data.u32[at + 2] == s.dns else u32(_NAK)
            if kind == 131 and s.dns2 != 0:
                return u32(_ACK) if p.data.u32[at + 2] == s.dns2 else u32(_NAK)
        return u32(_REJECT)

    @datapath
    def write_option(self, q: Packet, to: u32, p: Packet, at: u32, i: u32, protocol: u32, verdict: u32) -> u32:
        """An option of the other side's in our answer: as it was, or with the value that we would take."""
        s = self.sessions[i]
        kind, size = u32(p.data.u8[at]), u32(p.data.u8[at + 1])
        if verdict == _NAK:
            if protocol == LCP and kind == 1:
                q.data.u16[to] = 0x0104
                q.data.u16[to + 2] = _MTU_BYTES
                return to + 4
            if protocol == LCP and kind == 5:
                return self.option32(q, to, kind, self.random.next() | 1)
            if protocol == LCP:
                q.data.u16[to] = 0x0305
                q.data.u16[to + 2] = CHAP
                q.data.u8[to + 4] = 5
                return to + 5
            value: u32 = s.address
            if kind == 129:
                value = s.dns
            elif kind == 131:
                value = s.dns2
            return self.option32(q, to, kind, value)
        for k in range(size):
            q.data.u8[to + k] = p.data.u8[at + k]
        return to + size

    @datapath
    def judge(self, p: Packet, i: u32, protocol: u32, end: u32) -> None:
        """Answer a Configure-Request: the worst opinion about any option decides (RFC 1661, section 5)."""
        worst: u32 = _ACK
        at: u32 = _OPTIONS
        for _ in range(64):
            if at + 2 > end:
                break
            if p.data.u8[at + 1] < 2 or at + p.data.u8[at + 1] > end:
                return
            worst = max(worst, self.opinion(p, i, protocol, at))
            at += p.data.u8[at + 1]
        q = self.make_packet(u32(_FRAME_BYTES))
        if q is None:
            return
        to: u32 = _OPTIONS
        at = _OPTIONS
        for _ in range(64):
            if at + 2 > end:
                break
            if to + p.data.u8[at + 1] + 6 > _FRAME_BYTES:
                break
            if self.opinion(p, i, protocol, at) == worst:
                to = self.write_option(q, to, p, at, i, protocol, worst)
            at += p.data.u8[at + 1]
        self.finish(q, i, protocol, worst, u32(p.data.u8[_CONTROL + 1]), to)
        if worst == _ACK:
            self.sessions[i].done |= _THEIRS
            self.advance(i)

    @datapath
    def adjust(self, p: Packet, i: u32, protocol: u32, end: u32, code: u32) -> None:
        """The other side wants other values, or does not know an option: ask again."""
        s = self.sessions[i]
        at: u32 = _OPTIONS
        for _ in range(64):
            if at + 2 > end or p.data.u8[at + 1] < 2 or at + p.data.u8[at + 1] > end:
                break
            kind, size = u32(p.data.u8[at]), u32(p.data.u8[at + 1])
            if protocol == LCP:
                if kind == 1:
                    s.asks &= 0xFF ^ _MRU
                elif kind == 5:
                    s.magic = self.random.next() | 1
                    if code == _REJECT:
                        s.asks &= 0xFF ^ _MAGIC
                elif kind == 3:
                    if code == _NAK and self.takes_pap and size == 4 and p.data.u16[at + 2] == PAP:
                        s.auth = PAP
                    else:
                        # Who will not say who it is does not get in.
                        self.refused += 1
                        self.close(i)
                        return
            elif kind == 3:
                if code == _NAK and size == 6 and not self.is_server:
                    s.address = p.data.u32[at + 2]
                elif code == _REJECT:
                    s.asks &= 0xFF ^ _ADDRESS
            elif kind == 129:
                if code == _NAK and size == 6:
                    s.dns = p.data.u32[at + 2]
                else:
                    s.asks &= 0xFF ^ _DNS
            elif kind == 131:
                if code == _NAK and size == 6:
                    s.dns2 = p.data.u32[at + 2]
                else:
                    s.asks &= 0xFF ^ _DNS2
            at += size
        s.tries += 1
        self.send_request(i)

    @datapath
    def answer(self, p: Packet, i: u32, protocol: u32, code: u32, identifier: u32, skip: u32, size: u32) -> None:
        """A control packet with a copy of what came, from byte ``skip`` of the frame on."""
        q = self.make_packet(u32(_FRAME_BYTES))
        if q is not None:
            count: u32 = min(size, u32(_COPIED_BYTES))
            for k in range(count):
                q.data.u8[_OPTIONS + k] = p.data.u8[skip + k]
            if code == _ECHOED and count >= 4:
                q.data.u32[_OPTIONS] = self.sessions[i].magic
            self.finish(q, i, protocol, code, identifier, u32(_OPTIONS) + count)

    @datapath
    def control(self, p: Packet, i: u32, protocol: u32, size: u32) -> None:
        """A packet of LCP or IPCP."""
        s = self.sessions[i]
        length: u32 = p.data.u16[_CONTROL + 2]
        if length < 4 or length > size:
            return
        code, identifier, end = u32(p.data.u8[_CONTROL]), u32(p.data.u8[_CONTROL + 1]), u32(_CONTROL) + length
        expected = LINK if protocol == LCP else NETWORK
        if code == _REQUEST:
            if protocol == LCP and s.phase > LINK:
                # The other side begins anew.
                self.begin_link(i)
            if s.phase == expected or (protocol == IPCP and s.phase == OPEN):
                self.judge(p, i, protocol, end)
        elif code == _ACK:
            if identifier == s.identifier and s.phase == expected:
                s.done |= _OURS
                self.advance(i)
        elif code in (_NAK, _REJECT):
            if identifier == s.identifier and s.phase == expected:
                self.adjust(p, i, protocol, end, code)
        elif code == _TERMINATE:
            self.answer(p, i, protocol, u32(_TERMINATED), identifier, u32(_OPTIONS), u32(0))
            self.close(i)
        elif code == _TERMINATED:
            self.close(i)
        elif protocol == LCP and code == _ECHO:
            self.answer(p, i, protocol, u32(_ECHOED), identifier, u32(_OPTIONS), length - 4)
        elif protocol == LCP and code == _PROTOCOL_REJECT:
            if length >= 6 and p.data.u16[_OPTIONS] == IPCP:
                self.close(i)
        elif code != _CODE_REJECT and (protocol != LCP or code > 11):
            s.identifier += 1
            self.answer(p, i, protocol, u32(_CODE_REJECT), u32(s.identifier), u32(_CONTROL), length)

    # Authentication

    @datapath
    def same_word(self, p: Packet, at: u32, size: u32, content: Array[u8], start: u32, end: u32) -> bool:
        if size != end - start:
            return False
        differs: u32 = 0
        for k in range(size):
            differs |= u32(p.data.u8[at + k]) ^ u32(content[start + k])
        return differs == 0

    @datapath
    def find_user(self, p: Packet, at: u32, size: u32) -> u32:
        """The number of a user, or how many there are."""
        for n in range(self.n_users):
            if self.same_word(p, at, size, self.names, u32(self.name_ends[n]), u32(self.name_ends[n + 1])):
                return u32(n)
        return u32(self.n_users)

    @datapath
    def admit(self, i: u32, user: u32, protocol: u32, good: u32, bad: u32, identifier: u32, is_right: bool) -> None:
        s = self.sessions[i]
        q = self.make_packet(u32(_FRAME_BYTES))
        if q is not None:
            end: u32 = _OPTIONS
            if protocol == PAP:
                end += 1
            self.finish(q, i, protocol, good if is_right else bad, identifier, end)
        if is_right:
            if s.phase == AUTHENTICATING:
                s.user = user
                self.begin_network(i)
        else:
            self.refused += 1
            self.close(i)

    @datapath
    def authentication_header(self, p: Packet, i: u32, protocol: u32, size: u32) -> tuple[u32, u32, u32]:
        """Code, identifier and length of a packet of the protocol that was agreed on; length 0 where it is not that, or not whole."""
        length: u32 = p.data.u16[_CONTROL + 2]
        s = self.sessions[i]
        if length < 4 or length > size or s.auth != protocol or s.phase < AUTHENTICATING:
            length = 0
        return u32(p.data.u8[_CONTROL]), u32(p.data.u8[_CONTROL + 1]), length

    @datapath
    def pap(self, p: Packet, i: u32, size: u32) -> None:
        s = self.sessions[i]
        code, identifier, length = self.authentication_header(p, i, u32(PAP), size)
        if length == 0:
            return
        if not self.is_server:
            if identifier == s.identifier and s.phase == AUTHENTICATING:
                self.told(i, code == 2)
            return
        end: u32 = u32(_CONTROL) + length
        if code != 1 or length < 6:
            return
        name: u32 = p.data.u8[_OPTIONS]
        at: u32 = _OPTIONS + 1 + name
        if at >= end:
            return
        word: u32 = p.data.u8[at]
        if at + 1 + word > end:
            return
        user = self.find_user(p, u32(_OPTIONS + 1), name)
        right = False
        if user < self.n_users:
            right = self.same_word(p, at + 1, word, self.secrets, u32(self.secret_ends[user]), u32(self.secret_ends[user + 1]))
        self.admit(i, user, u32(PAP), u32(2), u32(3), identifier, right)

    @datapath
    def hash_answer(self, identifier: u32, user: u32) -> None:
        """The beginning of a CHAP answer's digest: identifier and secret (RFC 1994, section 4.1)."""
        self.digest.begin()
        self.digest.add(identifier)
        start, end = u32(self.secret_ends[user]), u32(self.secret_ends[user + 1])
        for k in range(end - start):
            self.digest.add(u32(self.secrets[start + k]))

    @datapath
    def answer_is(self, p: Packet, at: u32) -> bool:
        """Whether the digest stands at ``at``."""
        self.digest.finish()
        differs: u32 = 0
        for k in range(16):
            differs |= u32(p.data.u8[at + k]) ^ self.digest.byte(u32(k))
        return differs == 0

    @abstraction(of=answer_is)
    def answer_may_be(self, p: Packet, at: u32) -> bool:
        """Who knows the secret answers rightly, who does not does not."""
        return (self.random.next() & 1) != 0

    @datapath
    def chap(self, p: Packet, i: u32, size: u32) -> None:
        s = self.sessions[i]
        code, identifier, length = self.authentication_header(p, i, u32(CHAP), size)
        if length == 0:
            return
        if self.is_server:
            if code == 2 and identifier == s.identifier and s.phase == AUTHENTICATING and length >= 21 and p.data.u8[_OPTIONS] == 16:
                user = self.find_user(p, u32(_OPTIONS + 17), length - 21)
                right = False
                if user < self.n_users:
                    self.hash_answer(identifier, user)
                    for k in range(8):
                        self.digest.add(u32(s.challenge >> (56 - 8 * k)) & 0xFF)
                    right = self.answer_is(p, u32(_OPTIONS + 1))
                self.admit(i, user, u32(CHAP), u32(3), u32(4), identifier, right)
        elif code == 1 and length >= 5:
            value: u32 = p.data.u8[_OPTIONS]
            if self.n_users > 0 and length >= 5 + value:
                self.answer_challenge(p, i, identifier, value)
        elif (code == 3 or code == 4) and s.phase == AUTHENTICATING:
            self.told(i, code == 3)

    @datapath
    def answer_challenge(self, p: Packet, i: u32, identifier: u32, value: u32) -> None:
        q = self.make_packet(u32(_FRAME_BYTES))
        if q is not None:
            self.hash_answer(identifier, u32(0))
            for k in range(value):
                self.digest.add(u32(p.data.u8[_OPTIONS + 1 + k]))
            self.digest.finish()
            q.data.u8[_OPTIONS] = 16
            for k in range(16):
                q.data.u8[_OPTIONS + 1 + k] = self.digest.byte(u32(k))
            size: u32 = self.name_ends[1]
            for k in range(size):
                q.data.u8[_OPTIONS + 17 + k] = self.names[k]
            self.finish(q, i, u32(CHAP), u32(2), identifier, u32(_OPTIONS + 17) + size)

    @datapath
    def told(self, i: u32, is_right: bool) -> None:
        """What the server says of who we are."""
        if is_right:
            self.begin_network(i)
        else:
            self.refused += 1
            self.close(i)

    # Packets of a session

    @datapath
    def session_frame(self, p: Packet, i: u32) -> None:
        """A frame of session ``i``, whose headers are there."""
        s = self.sessions[i]
        length: u32 = p.data.u16[18]
        if length < 2 or not p.data.has(_PROTOCOL, length):
            self.drops += 1
            p.kill()
            return
        s.heard_ns = self.clock.now()
        protocol: u32 = p.data.u16[_PROTOCOL]
        size: u32 = length - 2
        if protocol == IP:
            self.inward(p, i, size)
            return
        if size >= 4 and s.phase >= LINK:
            if protocol in (LCP, IPCP):
                self.control(p, i, protocol, size)
            elif protocol == PAP:
                self.pap(p, i, size)
            elif protocol == CHAP:
                self.chap(p, i, size)
            else:
                s.identifier += 1
                self.answer(p, i, u32(LCP), u32(_PROTOCOL_REJECT), u32(s.identifier), u32(_PROTOCOL), length)
        p.kill()

    @datapath
    def inward(self, p: Packet, i: u32, size: u32) -> None:
        """An IP packet of the other side's: the server takes those from its client's address alone."""
        s = self.sessions[i]
        good = s.phase == OPEN and size >= 20
        if good and self.is_server:
            good = p.data.u32[_CONTROL + 12] == s.address
        if not good:
            self.drops += 1
            p.kill()
            return
        s.packets += 1
        s.bytes += size
        p.pull(_CONTROL)
        p.take(p.length - size)
        p.set_network(0)
        p.set_transport((p.data.u8[0] & 15) * 4)
        p.dst_ip = p.data.u32[16]
        self.output(1).push(p)

    @datapath
    def outward(self, p: Packet, i: u32) -> None:
        """An IP packet for the other side."""
        s = self.sessions[i]
        if s.phase != OPEN or p.length > _MTU_BYTES:
            self.drops += 1
            p.kill()
            return
        size = p.length
        s.back_packets += 1
        s.back_bytes += size
        p.push(_CONTROL)
        p.set_mac(0)
        p.data.u48[0] = s.ether
        p.data.u48[6] = self.ether
        p.data.u16[12] = 0x8864
        p.data.u16[14] = 0x1100
        p.data.u16[16] = s.number
        p.data.u16[18] = size + 2
        p.data.u16[_PROTOCOL] = IP
        self.output(0).push(p)

    # Time

    @datapath
    def attend(self, i: u32, now: u64) -> None:
        """Once a second: ask again, see whether the other side is there, give up."""
        s = self.sessions[i]
        if s.phase >= LINK and s.phase < OPEN:
            if now - s.sent_ns >= _SECOND_NS:
                s.tries += 1
                if s.tries > _MAX_REQUESTS:
                    self.close(i)
                elif s.phase == AUTHENTICATING:
                    self.authenticate(i)
                else:
                    self.send_request(i)
        elif s.phase == OPEN and self.echo_ns != 0 and now - s.heard_ns >= self.echo_ns:
            if now - s.heard_ns >= 4 * self.echo_ns:
                self.close(i)
            elif now - s.sent_ns >= self.echo_ns:
                s.sent_ns = now
                p = self.make_packet(u32(_FRAME_BYTES))
                if p is not None:
                    s.identifier += 1
                    p.data.u32[_OPTIONS] = s.magic
                    self.finish(p, i, u32(LCP), u32(_ECHO), u32(s.identifier), u32(_OPTIONS + 4))
