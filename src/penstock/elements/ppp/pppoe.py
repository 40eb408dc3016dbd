"""PPPoEServer and PPPoEClient: sessions over Ethernet (RFC 2516), as an access concentrator and as its customer."""

from typing import Any

from penstock.elements import Array, ConfigureError, HandlerError, Packet, boolean, datapath, u8, u32, u64, u128
from penstock.elements.pppsession import AUTHENTICATING, CHAP, CLOSED, DISCOVERY, LINK, OPEN, PAP, PHASES, REQUESTED, PPPElement
from penstock.lang.arguments import ArgumentError, EtherAddress, IPAddress, Raw, Seconds, UInt32, Word, unparse_ether, unparse_ip
from penstock.lang.text import split_words, unquote

__all__ = ["PPPoEClient", "PPPoEServer"]

_PADI, _PADO, _PADR, _PADS, _PADT = 0x09, 0x07, 0x19, 0x65, 0xA7
_SERVICE, _NAME, _UNIQUE, _COOKIE, _RELAY, _SERVICE_ERROR, _SYSTEM_ERROR = 0x0101, 0x0102, 0x0103, 0x0104, 0x0110, 0x0201, 0x0203
_BROADCAST = 0xFFFF_FFFF_FFFF
_TAGS = 20
_FRAME_BYTES = 320
_SECOND_NS = 1_000_000_000
_MANY = 0x9E3779B97F4A7C15


class PPPoESession(PPPElement):
    """Discovery frames: tags, and what both ends write."""

    ports = "2/2"
    processing = "h/h"
    flow = "xy/xy"

    @datapath
    def find_tag(self, p: Packet, kind: u32) -> tuple[u32, u32]:
        """Where a tag's value is, and its bytes; 0 and 0 where there is none."""
        end: u32 = _TAGS + u32(p.data.u16[18])
        at: u32 = _TAGS
        for _ in range(32):
            if at + 4 > end:
                break
            size: u32 = p.data.u16[at + 2]
            if at + 4 + size > end:
                break
            if p.data.u16[at] == kind:
                return at + 4, size
            at += 4 + size
        return u32(0), u32(0)

    @datapath
    def copy_tag(self, q: Packet, to: u32, p: Packet, kind: u32) -> u32:
        """A tag of the other side's in our answer, where there is one that fits."""
        at, size = self.find_tag(p, kind)
        if at == 0 or to + 4 + size > _FRAME_BYTES:
            return to
        q.data.u16[to] = kind
        q.data.u16[to + 2] = size
        for k in range(size):
            q.data.u8[to + 4 + k] = p.data.u8[at + k]
        return to + 4 + size

    @datapath
    def write_tag(self, q: Packet, to: u32, kind: u32, content: Array[u8], size: u32) -> u32:
        q.data.u16[to] = kind
        q.data.u16[to + 2] = size
        for k in range(size):
            q.data.u8[to + 4 + k] = content[k]
        return to + 4 + size

    @datapath
    def tag_is(self, p: Packet, kind: u32, content: Array[u8], size: u32) -> bool:
        at, there = self.find_tag(p, kind)
        if at == 0 or there != size:
            return False
        for k in range(size):
            if p.data.u8[at + k] != content[k]:
                return False
        return True

    @datapath
    def send_discovery(self, q: Packet, to: u64, code: u32, number: u32, end: u32) -> None:
        q.data.u48[0] = to
        q.data.u48[6] = self.ether
        q.data.u16[12] = 0x8863
        q.data.u16[14] = 0x1100 | code
        q.data.u16[16] = number
        q.data.u16[18] = end - _TAGS
        q.take(q.length - end)
        q.timestamp = self.clock.now()
        self.output(0).push(q)

    @datapath
    def discovery_code(self, p: Packet) -> u32:
        """The code of a discovery frame that is whole; 0 for anything else."""
        if not p.data.has(0, _TAGS) or p.data.u16[12] != 0x8863 or p.data.u8[14] != 0x11 or not p.data.has(_TAGS, p.data.u16[18]):
            return u32(0)
        return u32(p.data.u8[15])


def _users(texts: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    for text in texts:
        words = [unquote(w).encode("latin-1", "replace") for w in split_words(text)]
        if len(words) != 2:
            # The password is not repeated in what may be written to a log.
            raise ConfigureError(f"user {len(found) + 1}: expected NAME PASSWORD")
        found.append((words[0], words[1]))
    return found


class PPPoEServer(PPPoESession):
    """Be an access concentrator: answer PPPoE discovery, negotiate PPP with each customer, and give it an IPv4 address.

    Input 0 takes Ethernet frames of PPPoE (types 0x8863 and 0x8864), input 1 IP packets for customers, by their destination; output 0 has
    Ethernet frames, output 1 the IP packets of customers. Session N has the Nth address from FIRST on; packets from another source
    than a session's address are dropped, and so are packets longer than 1492 bytes. Where both ends are in one configuration a Queue
    stands between them: an answer must not come while its question is being sent. With users, customers say who they are with
    CHAP (MD5) or PAP. Other network protocols than IPv4 are rejected.

    Arguments:
        ETHER, LOCAL, FIRST: Ethernet and IP address of this end, and the first address for customers.
        USER, ...: NAME PASSWORD of each customer who may come in; without any, all may.
        NAME: of the concentrator (penstock). SERVICE: the name of the service that is offered (any).
        AUTH: CHAP (the usual one; a customer who does not know it may use PAP), PAP, or CHAPONLY.
        CAPACITY: sessions at most (1024). DNS, DNS2: name servers for customers.
        ECHO_INTERVAL: a silent session is asked whether it is there after that time (30 s; 0: never), and ended after four times that.

    Handlers:
        sessions (read): number, phase, Ethernet address, address, user, packets and bytes of the customer's and for it.
        active (read): sessions that are open. opened, refused, drops (read). disconnect (write): end the session of that number.

    Example:
        s :: PPPoEServer(2:0:0:0:0:1, 10.0.0.1, 10.0.0.2, joe secret, DNS 9.9.9.9);
        c :: PPPoEClient(2:0:0:0:0:2, joe, secret); s[0] -> Queue -> Unqueue -> c; c[0] -> Queue -> Unqueue -> s;
        Idle -> [1] s; s[1] -> IPPrint -> Discard;
        ICMPPingSource(10.0.0.2, 10.0.0.9, INTERVAL 20ms, LIMIT 100) -> [1] c; c[1] -> Discard; Script(wait 0.3s, read c.address, stop);
    """

    is_server = True

    secret: u64

    def configure(self, ether: EtherAddress, local: IPAddress, first: IPAddress, *users: Raw, name: str = "penstock",
                  service: str = "", auth: Word = "CHAP", capacity: UInt32 = 1024, dns: IPAddress = 0, dns2: IPAddress = 0,
                  echo_interval: Seconds = 30) -> None:
        found = _users(users)
        if auth.upper() not in ("CHAP", "PAP", "CHAPONLY"):
            raise ConfigureError("AUTH: expected CHAP, PAP or CHAPONLY")
        self.setup(ether, capacity, found, echo_s=echo_interval)
        self.auth = 0 if not found else PAP if auth.upper() == "PAP" else CHAP
        self.takes_pap = auth.upper() != "CHAPONLY"
        self.local, self.first, self.dns, self.dns2 = local, first, dns, dns2
        words = [word.encode("latin-1", "replace") for word in (name, service)]
        if not words[0] or any(len(word) > 64 for word in words):
            raise ConfigureError("NAME, SERVICE: at most 64 bytes")
        self.concentrator, self.service = (Array(u8, max(len(word), 1), word or b"\0") for word in words)
        self.name_bytes, self.service_bytes = (len(word) for word in words)
        self.user_names = [user.decode("latin-1") for user, _ in found]

    def started(self) -> None:
        super().started()
        self.draw()

    def add_handlers(self) -> None:
        self.add_read("sessions", self._rows)
        self.add_read("active", lambda: sum(s.phase == OPEN for s in self._used()))
        for name in ("opened", "refused", "drops"):
            self.add_data(name, name)
        self.add_write("disconnect", self._disconnect)

    def _used(self) -> list[Any]:
        return [s for s in (self.sessions[i] for i in range(self.capacity)) if s.ether]

    def _rows(self) -> str:
        rows: list[str] = []
        for i in range(self.capacity):
            s = self.sessions[i]
            if s.ether:
                user = self.user_names[s.user] if self.user_names and s.phase > AUTHENTICATING else "-"
                rows.append(f"{s.number} {PHASES[s.phase]} {unparse_ether(s.ether)} {unparse_ip(s.address)} {user} {s.packets} {s.bytes} "
                            f"{s.back_packets} {s.back_bytes}\n")
        return "".join(rows)

    def _disconnect(self, text: str) -> None:
        if not text.strip().isdigit() or not 1 <= int(text) <= self.capacity or not self.sessions[int(text) - 1].ether:
            raise HandlerError(f"'{text.strip()}' is the number of no session")
        self.close(int(text) - 1)

    @datapath
    def draw(self) -> None:
        self.secret = u64(self.random.next()) << 32 | u64(self.random.next())

    @datapath
    def cookie(self, ether: u64) -> u64:
        """What only this server can have told the owner of that address (RFC 2516, section 5.2): who asks for a session lives there."""
        mixed = u128(ether ^ self.secret) * u128(_MANY)
        mixed = u128(u64(mixed) ^ u64(mixed >> 64) ^ self.secret) * u128(_MANY)
        return u64(mixed) ^ u64(mixed >> 64)

    @datapath
    def serves(self, p: Packet) -> bool:
        """Whether the service that is asked for is this one; an empty name is any."""
        at, size = self.find_tag(p, u32(_SERVICE))
        if at == 0:
            return False
        return size == 0 or self.service_bytes == 0 or self.tag_is(p, u32(_SERVICE), self.service, u32(self.service_bytes))

    @datapath
    def offer(self, p: Packet) -> None:
        q = self.make_packet(u32(_FRAME_BYTES))
        if q is not None:
            host: u64 = p.data.u48[6]
            at = self.write_tag(q, u32(_TAGS), u32(_NAME), self.concentrator, u32(self.name_bytes))
            if self.service_bytes != 0:
                at = self.write_tag(q, at, u32(_SERVICE), self.service, u32(self.service_bytes))
            else:
                at = self.copy_tag(q, at, p, u32(_SERVICE))
            q.data.u16[at] = _COOKIE
            q.data.u16[at + 2] = 8
            q.data.u64[at + 4] = self.cookie(host)
            at = self.copy_tag(q, at + 12, p, u32(_UNIQUE))
            at = self.copy_tag(q, at, p, u32(_RELAY))
            self.send_discovery(q, host, u32(_PADO), u32(0), at)

    @datapath
    def slot_for(self, ether: u64) -> u32:
        """A session that this host is about to begin already, else a free one, else how many there can be."""
        free: u32 = self.capacity
        for i in range(self.capacity):
            s = self.sessions[i]
            if s.ether == ether and s.phase <= LINK:
                return u32(i)
            if s.ether == 0 and free == self.capacity:
                free = i
        return free

    @datapath
    def confirm(self, p: Packet) -> None:
        """PADR: a session for who has our cookie."""
        host: u64 = p.data.u48[6]
        at, size = self.find_tag(p, u32(_COOKIE))
        if at == 0 or size != 8 or p.data.u64[at] != self.cookie(host):
            self.drops += 1
            return
        q = self.make_packet(u32(_FRAME_BYTES))
        if q is None:
            return
        good = self.serves(p)
        i: u32 = self.slot_for(host) if good else u32(self.capacity)
        end = self.copy_tag(q, u32(_TAGS), p, u32(_SERVICE))
        end = self.copy_tag(q, end, p, u32(_UNIQUE))
        end = self.copy_tag(q, end, p, u32(_RELAY))
        if i == self.capacity:
            self.refused += 1
            q.data.u16[end] = _SYSTEM_ERROR if good else _SERVICE_ERROR
            q.data.u16[end + 2] = 0
            self.send_discovery(q, host, u32(_PADS), u32(0), end + 4)
            return
        s = self.sessions[i]
        s.ether = host
        s.number = i + 1
        s.address = self.first + i
        s.gateway = self.local
        s.dns = self.dns
        s.dns2 = self.dns2
        s.packets = 0
        s.bytes = 0
        s.back_packets = 0
        s.back_bytes = 0
        self.send_discovery(q, host, u32(_PADS), i + 1, end)
        self.begin_link(i)

    @datapath
    def session_of(self, p: Packet) -> u32:
        """The session that a frame says it is of, where it comes from its host; else how many there can be."""
        i: u32 = u32(p.data.u16[16]) - 1
        if i < self.capacity:
            s = self.sessions[i]
            if s.ether != 0 and s.ether == p.data.u48[6]:
                return i
        return u32(self.capacity)

    @datapath
    def frame(self, p: Packet) -> None:
        code = self.discovery_code(p)
        if code == _PADI:
            if self.serves(p) and (p.data.u48[6] >> 40) & 1 == 0:
                self.offer(p)
            p.kill()
        elif code == _PADR:
            self.confirm(p)
            p.kill()
        elif code == _PADT:
            i = self.session_of(p)
            if i < self.capacity:
                self.sessions[i].phase = CLOSED
                self.sessions[i].ether = 0
            p.kill()
        elif p.data.has(0, 22) and p.data.u16[12] == 0x8864 and p.data.u16[14] == 0x1100:
            k = self.session_of(p)
            if k < self.capacity:
                self.session_frame(p, k)
            else:
                self.drops += 1
                p.kill()
        else:
            self.drops += 1
            p.kill()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if port == 0:
            self.frame(p)
        else:
            i: u32 = self.capacity
            if p.data.has(0, 20):
                i = p.data.u32[16] - self.first
            if i < self.capacity:
                self.outward(p, i)
            else:
                self.drops += 1
                p.kill()

    @datapath
    def run_timer(self) -> bool:
        now = self.clock.now()
        for i in range(self.capacity):
            if self.sessions[i].ether != 0:
                self.attend(u32(i), now)
        self.timer.schedule_after(_SECOND_NS)
        return True


class PPPoEClient(PPPoESession):
    """Be a customer of an access concentrator: find one, open a PPP session, and learn an IPv4 address.

    Input 0 takes Ethernet frames of PPPoE, input 1 IP packets to send; output 0 has Ethernet frames, output 1 the IP packets that came.
    A session that ends is begun anew. IP packets before it is open, and longer ones than 1492 bytes, are dropped.

    Arguments:
        ETHER: the Ethernet address of this end. USER, PASSWORD: who it is, where it is asked (CHAP with MD5, or PAP).
        NAME, SERVICE: of the concentrator and the service that are wanted (any).
        ADDRESS: the IP address that is asked for (any). ECHO_INTERVAL: as PPPoEServer has it (30 s).
        ACTIVE: false waits for the handler.

    Handlers:
        phase, address, gateway, dns, dns2, number (read): of the session. opened, refused, drops (read).
        active (read/write): whether a session is wanted.

    Example:
        PPPoEClient(2:0:0:0:0:2, joe, secret)[0] -> Print -> Discard; Idle -> [0] PPPoEClient@1; Idle -> [1] PPPoEClient@1;
        PPPoEClient@1[1] -> Discard; Script(wait 10ms, stop);
    """

    is_server = False

    active: boolean

    def configure(self, ether: EtherAddress, user: str = "", password: str = "", *, name: str = "", service: str = "",
                  address: IPAddress = 0, echo_interval: Seconds = 30, active: bool = True) -> None:
        if bool(user) != bool(password):
            raise ConfigureError("USER and PASSWORD go together")
        who = [(user.encode("latin-1", "replace"), password.encode("latin-1", "replace"))] if user else []
        self.setup(ether, 1, who, echo_s=echo_interval)
        self.auth, self.takes_pap, self.wanted, self.active = 0, False, address, active
        words = [word.encode("latin-1", "replace") for word in (name, service)]
        if any(len(word) > 64 for word in words):
            raise ConfigureError("NAME, SERVICE: at most 64 bytes")
        self.concentrator, self.service = (Array(u8, max(len(word), 1), word or b"\0") for word in words)
        self.name_bytes, self.service_bytes = (len(word) for word in words)
        self.unique = Array(u8, 8)

    def started(self) -> None:
        self.draw()
        self.timer.schedule_after(1)

    def add_handlers(self) -> None:
        s = self.sessions[0]
        self.add_read("phase", lambda: PHASES[s.phase])
        for name in ("address", "gateway", "dns", "dns2"):
            self.add_read(name, lambda name=name: unparse_ip(getattr(s, name)) if s.phase == OPEN else "")
        self.add_read("number", lambda: s.number)
        for name in ("opened", "refused", "drops"):
            self.add_data(name, name)
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)

    def _set_active(self, text: str) -> None:
        from penstock.lang.arguments import parse_bool

        try:
            self.active = parse_bool(text.strip())
        except ArgumentError as error:
            raise HandlerError(str(error)) from None
        if not self.active:
            self.close(0)

    @datapath
    def draw(self) -> None:
        """What tells the answers to this client from those to others on its host (RFC 2516, appendix A)."""
        for k in range(8):
            self.unique[k] = self.random.next() & 0xFF

    @datapath
    def seek(self) -> None:
        """PADI: who is there?"""
        s = self.sessions[0]
        q = self.make_packet(u32(_FRAME_BYTES))
        if q is not None:
            s.phase = DISCOVERY
            s.ether = 0
            s.address = self.wanted
            s.dns = 0
            s.dns2 = 0
            s.sent_ns = self.clock.now()
            at = self.write_tag(q, u32(_TAGS), u32(_SERVICE), self.service, u32(self.service_bytes))
            at = self.write_tag(q, at, u32(_UNIQUE), self.unique, u32(8))
            self.send_discovery(q, u64(_BROADCAST), u32(_PADI), u32(0), at)

    @datapath
    def request(self, p: Packet) -> None:
        """PADR to the first one that offers what is wanted."""
        s = self.sessions[0]
        q = self.make_packet(u32(_FRAME_BYTES))
        if q is not None:
            s.phase = REQUESTED
            s.ether = p.data.u48[6]
            s.sent_ns = self.clock.now()
            at = self.write_tag(q, u32(_TAGS), u32(_SERVICE), self.service, u32(self.service_bytes))
            at = self.write_tag(q, at, u32(_UNIQUE), self.unique, u32(8))
            at = self.copy_tag(q, at, p, u32(_COOKIE))
            at = self.copy_tag(q, at, p, u32(_RELAY))
            self.send_discovery(q, u64(s.ether), u32(_PADR), u32(0), at)

    @datapath
    def discovery(self, p: Packet, code: u32) -> None:
        s = self.sessions[0]
        if code == _PADT:
            if s.phase >= LINK and s.ether == p.data.u48[6] and s.number == p.data.u16[16]:
                s.phase = CLOSED
                s.ether = 0
                s.sent_ns = self.clock.now()
            return
        if not self.tag_is(p, u32(_UNIQUE), self.unique, u32(8)):
            return
        if code == _PADO and s.phase == DISCOVERY:
            if self.name_bytes == 0 or self.tag_is(p, u32(_NAME), self.concentrator, u32(self.name_bytes)):
                self.request(p)
        elif code == _PADS and s.phase == REQUESTED and s.ether == p.data.u48[6]:
            if p.data.u16[16] == 0:
                self.refused += 1
                s.phase = CLOSED
            else:
                s.number = p.data.u16[16]
                s.gateway = 0
                s.packets = 0
                s.bytes = 0
                s.back_packets = 0
                s.back_bytes = 0
                self.begin_link(u32(0))

    @datapath
    def push(self, port: int, p: Packet) -> None:
        s = self.sessions[0]
        if port == 1:
            if p.data.has(0, 20):
                self.outward(p, u32(0))
            else:
                self.drops += 1
                p.kill()
            return
        code = self.discovery_code(p)
        if code != 0:
            if p.data.u48[0] == self.ether:
                self.discovery(p, code)
            p.kill()
        elif p.data.has(0, 22) and p.data.u16[12] == 0x8864 and p.data.u16[14] == 0x1100 and s.phase >= LINK and (
                p.data.u48[6] == s.ether and p.data.u16[16] == s.number):
            self.session_frame(p, u32(0))
        else:
            self.drops += 1
            p.kill()

    @datapath
    def run_timer(self) -> bool:
        s = self.sessions[0]
        now = self.clock.now()
        if self.active:
            if s.phase < LINK:
                if s.sent_ns == 0 or now - s.sent_ns >= _SECOND_NS:
                    self.seek()
            else:
                self.attend(u32(0), now)
        self.timer.schedule_after(_SECOND_NS)
        return True
