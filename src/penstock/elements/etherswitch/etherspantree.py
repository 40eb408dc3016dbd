"""EtherSpanTree: the spanning tree protocol for EtherSwitch (IEEE 802.1D-1998, clauses 8 and 9)."""

from __future__ import annotations

from typing import Any, cast

from penstock.elements import Array, ConfigureError, Element, Packet, Struct, Timer, datapath, u8, u16, u32, u64
from penstock.elements.bridgemessage import ACKNOWLEDGED, CHANGE, CHANGED, CONFIG, GROUP, LLC, MESSAGE_BYTES, bridge_text
from penstock.elements.etherswitch.etherswitch import EtherSwitch
from penstock.elements.standard.switch import Suppressor
from penstock.lang.arguments import ElementName, EtherAddress, Seconds

__all__ = ["EtherSpanTree"]

_FRAME_BYTES, _CONFIG_BYTES, _CHANGE_BYTES = 60, 38, 7
_BLOCKING, _LISTENING, _LEARNING, _FORWARDING = range(4)
_STATES = ("blocking", "listening", "learning", "forwarding")
_TICK_NS = 100_000_000
_UNIT_NS = 1_000_000_000 // 256
_NOBODY = 0xFFFF_FFFF


class _Port(Struct):
    """What is known of a port's segment: who its designated bridge is, and whom that takes for the root."""

    root: u64
    bridge: u64
    #: when that ends to be known; 0: this bridge is the designated one, and nothing ends
    until_ns: u64
    #: when the port goes from listening to learning, and from there to forwarding
    turn_ns: u64
    #: no message is sent before
    hold_ns: u64
    cost: u32
    port: u16
    state: u8
    waits: u8
    acknowledges: u8


class EtherSpanTree(Element):
    """Keep the loops of bridged networks open: the spanning tree protocol, IEEE 802.1D.

    Each port of a switch has an input and an output here: bridge messages that come in there go to the input, and what leaves by the
    output must be sent there. The tree blocks and opens the switch's ports by two Suppressors, in front of the switch and behind it.
    A port lets frames in when it forwards, not while it learns. While the topology changes, the switch forgets stations after the
    forward delay.

    Arguments:
        ADDR: the bridge's address, which names it with PRIORITY, and is its messages' source.
        INPUT_SUPPRESSOR, OUTPUT_SUPPRESSOR: the Suppressors, with as many ports.
        SWITCH: the EtherSwitch.
        PRIORITY: the bridge with the lowest one becomes the root (32768). COST: of each port (19, as of 100 Mbit/s).
        HELLO, MAX_AGE, FORWARD_DELAY: 2, 20 and 15 s; the root's count.

    Handlers:
        ports (read): number, state, role, designated bridge and cost of each. root (read): priority, address and cost of the root.
        is_root (read). topology_changes (read). bad (read): frames that are no bridge messages.

    Example:
        in_ :: Suppressor; out :: Suppressor; s :: EtherSwitch; tree :: EtherSpanTree(2:0:0:0:0:1, in_, out, s, FORWARD_DELAY 4, MAX_AGE 6);
        Idle -> [0] in_ [0] -> [0] s [0] -> [0] out [0] -> Discard; Idle -> [1] in_ [1] -> [1] s [1] -> [1] out [1] -> Discard;
        Idle -> [0] tree [0] -> Print -> Discard; Idle -> [1] tree [1] -> Discard; Script(wait 1s, read tree.ports, stop);
    """

    ports = "-/="
    processing = "h/h"

    root: u64
    root_cost: u32
    root_port: u32
    #: the root's times, as its messages say
    hello_ns: u64
    age_ns: u64
    delay_ns: u64
    next_hello_ns: u64
    #: the root says that the topology has changed until then
    changed_until_ns: u64
    #: the change is reported upwards until somebody acknowledges it
    next_report_ns: u64
    is_changing: u8
    reports: u8
    topology_changes: u64
    bad: u64

    def configure(self, addr: EtherAddress, input_suppressor: ElementName, output_suppressor: ElementName, switch: ElementName, *,
                  priority: int = 32768, cost: int = 19, hello: Seconds = 2, max_age: Seconds = 20, forward_delay: Seconds = 15) -> None:
        if not 0 <= priority <= 0xFFFF or not 1 <= cost <= 0xFFFF_FFFF:
            raise ConfigureError("PRIORITY: 0 to 65535, and COST: 1 or more, are expected")
        # IEEE 802.1D-1998, 8.10.2
        if not 1 <= hello <= 10 or not 2 * (hello + 1) <= max_age <= min(40, 2 * (forward_delay - 1)) or not 4 <= forward_delay <= 30:
            raise ConfigureError("2 (HELLO + 1) <= MAX_AGE <= 2 (FORWARD_DELAY - 1) must hold, with HELLO of 1 to 10, MAX_AGE up to 40 and "
                                 "FORWARD_DELAY of 4 to 30 s")
        if not 1 <= self.ninputs <= 255:
            raise ConfigureError("1 to 255 ports are expected")
        self.address, self.cost = addr, cost
        self.identity = priority << 48 | addr
        self.my_hello_ns, self.my_age_ns, self.my_delay_ns = (int(t * 1e9) for t in (hello, max_age, forward_delay))
        self.table = Array(_Port, self.ninputs)
        self.before, self.behind = (self.named(name, Suppressor) for name in (input_suppressor, output_suppressor))
        for element in (self.before, self.behind):
            if element.ninputs != self.ninputs:
                raise ConfigureError(f"'{element.name}' has {element.ninputs} inputs, and {self.ninputs} ports are here")
        self.switch = self.named(switch, EtherSwitch)
        self.timer = Timer(self)

    def initialize(self) -> None:
        self.timeout_ns = int(self.switch.timeout_ns)

    def started(self) -> None:
        self.root, self.root_port, self.root_cost = self.identity, _NOBODY, 0
        self.hello_ns, self.age_ns, self.delay_ns = self.my_hello_ns, self.my_age_ns, self.my_delay_ns
        for i in range(self.ninputs):
            entry = self.table[i]
            entry.root = entry.bridge = self.identity
            entry.port, entry.state, entry.turn_ns = 0x8000 | i + 1, _LISTENING, self.clock.read() + self.my_delay_ns
            self.before.active[i] = self.behind.active[i] = cast(Any, 0)
        self.timer.schedule_after(1)

    def add_handlers(self) -> None:
        self.add_read("ports", lambda: "".join(self._row(i) for i in range(self.ninputs)))
        self.add_read("root", lambda: f"{bridge_text(self.root)} {self.root_cost}")
        self.add_read("is_root", lambda: self.root_port == _NOBODY)
        self.add_data("topology_changes", "topology_changes")
        self.add_data("bad", "bad")

    def _row(self, i: int) -> str:
        entry = self.table[i]
        mine = entry.bridge == self.identity and entry.port == 0x8000 | i + 1
        role = "root" if i == self.root_port else "designated" if mine else "alternate"
        return f"{i} {_STATES[entry.state]} {role} {bridge_text(entry.bridge)} {entry.cost}\n"

    # The tree

    @datapath
    def is_designated(self, i: u32) -> bool:
        return self.table[i].bridge == self.identity and self.table[i].port == 0x8000 | u16(i + 1)

    @datapath
    def designate(self, i: u32) -> None:
        """This bridge speaks for the port's segment."""
        self.table[i].root = self.root
        self.table[i].cost = self.root_cost
        self.table[i].bridge = self.identity
        self.table[i].port = 0x8000 | u16(i + 1)
        self.table[i].until_ns = 0

    @datapath
    def is_less(self, a: tuple[u64, u32, u64, u32], b: tuple[u64, u32, u64, u32]) -> bool:
        """Whether root, cost, bridge and port of ``a`` are better than those of ``b``."""
        if a[0] != b[0]:
            return a[0] < b[0]
        if a[1] != b[1]:
            return a[1] < b[1]
        if a[2] != b[2]:
            return a[2] < b[2]
        return a[3] < b[3]

    @datapath
    def choose(self, now: u64) -> None:
        """Choose the root, the port towards it, and the ports that this bridge speaks for (8.6.8); set the states of all (8.6.11)."""
        best: u64 = self.identity
        cost: u32 = 0
        bridge: u64 = self.identity
        far: u32 = 0
        port: u32 = _NOBODY
        for k in range(self.ninputs):
            i = u32(k)
            if not self.is_designated(i) and self.table[i].root < self.identity:
                if self.is_less((self.table[i].root, self.table[i].cost + self.cost, self.table[i].bridge, u32(self.table[i].port)),
                                (best, cost, bridge, far)):
                    best = self.table[i].root
                    cost = self.table[i].cost + self.cost
                    bridge = self.table[i].bridge
                    far = u32(self.table[i].port)
                    port = i
        was_root = self.root_port == _NOBODY
        self.root = best
        self.root_cost = cost
        self.root_port = port
        for k in range(self.ninputs):
            i = u32(k)
            if i != port:
                mine = self.is_designated(i) or self.table[i].root != best
                if not mine:
                    mine = self.is_less((best, cost, u64(self.identity), 0x8000 | i + 1),
                                        (best, self.table[i].cost, self.table[i].bridge, u32(self.table[i].port)))
                if mine:
                    self.designate(i)
            if i == port or self.is_designated(i):
                if self.table[i].state == _BLOCKING:
                    self.table[i].state = _LISTENING
                    self.table[i].turn_ns = now + self.delay_ns
            elif self.table[i].state != _BLOCKING:
                if self.table[i].state >= _LEARNING:
                    self.change(now)
                self.table[i].state = _BLOCKING
                self.table[i].waits = 0
                self.table[i].acknowledges = 0
                self.let(i, u8(0))
        if port == _NOBODY and not was_root:
            self.hello_ns = self.my_hello_ns
            self.age_ns = self.my_age_ns
            self.delay_ns = self.my_delay_ns
            self.reports = 0
            self.change(now)
            self.speak(now)

    @datapath
    def let(self, i: u32, passes: u8) -> None:
        self.before.active[i] = passes
        self.behind.active[i] = passes

    @datapath
    def change(self, now: u64) -> None:
        """The topology has changed: the root tells everybody, others tell the root (8.6.14)."""
        self.topology_changes += 1
        if self.root_port == _NOBODY:
            self.changed_until_ns = now + self.age_ns + self.delay_ns
        elif self.reports == 0:
            self.reports = 1
            self.next_report_ns = now

    # Messages

    @datapath
    def frame(self, size: u32) -> Packet | None:
        p = self.make_packet(_FRAME_BYTES)
        if p is not None:
            p.set_mac(0)
            p.data.fill(0, u32(_FRAME_BYTES), u8(0))
            p.data.u48[0] = GROUP
            p.data.u48[6] = self.address
            p.data.u16[12] = size
            p.data.u16[14] = LLC
            p.data.u8[16] = 3
            p.timestamp = self.clock.now()
        return p

    @datapath
    def send(self, i: u32, now: u64) -> None:
        """A configuration message out of a port that this bridge speaks for; not more than one a second (8.6.1)."""
        if now < self.table[i].hold_ns:
            self.table[i].waits = 1
            return
        age: u64 = 0
        if self.root_port != _NOBODY:
            left = self.table[self.root_port].until_ns
            age = self.age_ns - min(left - min(left, now), self.age_ns) + 1_000_000_000
            if age >= self.age_ns:
                return
        p = self.frame(u32(_CONFIG_BYTES))
        if p is not None:
            flags: u8 = 0
            if self.is_changing != 0:
                flags |= CHANGED
            if self.table[i].acknowledges != 0:
                flags |= ACKNOWLEDGED
            self.table[i].acknowledges = 0
            self.table[i].waits = 0
            self.table[i].hold_ns = now + 1_000_000_000
            p.data.u8[21] = flags
            p.data.u64[22] = self.root
            p.data.u32[30] = self.root_cost
            p.data.u64[34] = self.identity
            p.data.u16[42] = 0x8000 | u16(i + 1)
            p.data.u16[44] = u16(age // _UNIT_NS)
            p.data.u16[46] = u16(self.age_ns // _UNIT_NS)
            p.data.u16[48] = u16(self.hello_ns // _UNIT_NS)
            p.data.u16[50] = u16(self.delay_ns // _UNIT_NS)
            self.output(i).push(p)

    @datapath
    def speak(self, now: u64) -> None:
        for k in range(self.ninputs):
            if self.is_designated(u32(k)):
                self.send(u32(k), now)

    @datapath
    def hear(self, i: u32, p: Packet, now: u64) -> None:
        """A configuration message (8.7.1)."""
        root, cost, bridge, port = u64(p.data.u64[22]), u32(p.data.u32[30]), u64(p.data.u64[34]), u32(p.data.u16[42])
        flags, age = u32(p.data.u8[21]), u64(p.data.u16[44]) * _UNIT_NS
        most, hello, delay = u64(p.data.u16[46]) * _UNIT_NS, u64(p.data.u16[48]) * _UNIT_NS, u64(p.data.u16[50]) * _UNIT_NS
        # What is older than may be is not true any more; what this bridge has said itself comes back where a cable is a loop.
        if age >= most or (bridge == self.identity and port == 0x8000 | i + 1):
            return
        known = (self.table[i].root, self.table[i].cost, self.table[i].bridge, u32(self.table[i].port))
        if self.is_less((root, cost, bridge, port), known) or (bridge == known[2] and port == known[3]):
            self.table[i].root = root
            self.table[i].cost = cost
            self.table[i].bridge = bridge
            self.table[i].port = u16(port)
            self.table[i].until_ns = now + most - age
            self.choose(now)
            if i == self.root_port:
                self.age_ns = most
                self.hello_ns = max(hello, u64(1_000_000_000))
                self.delay_ns = delay
                self.is_changing = u8(flags & CHANGED)
                if (flags & ACKNOWLEDGED) != 0:
                    self.reports = 0
                self.speak(now)
        elif self.is_designated(i):
            self.send(i, now)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        i = u32(port)
        good = p.data.has(0, 21) and p.data.u48[0] == GROUP and p.data.u16[14] == LLC and p.data.u16[17] == 0
        if good:
            now = self.clock.now()
            kind = u32(p.data.u8[20])
            if kind == CHANGE:
                # 8.7.2
                if self.is_designated(i):
                    self.change(now)
                    self.table[i].acknowledges = 1
                    self.send(i, now)
            elif kind == CONFIG and p.data.has(0, MESSAGE_BYTES):
                self.hear(i, p, now)
            else:
                good = False
        if not good:
            self.bad += 1
        p.kill()

    # Time

    @datapath
    def run_timer(self) -> bool:
        now = self.clock.now()
        lost = False
        for k in range(self.ninputs):
            i = u32(k)
            if self.table[i].until_ns != 0 and now >= self.table[i].until_ns:
                # Nobody speaks for the segment any more (8.7.4).
                self.designate(i)
                lost = True
        if lost:
            self.choose(now)
        for k in range(self.ninputs):
            i = u32(k)
            state = self.table[i].state
            if (state in (_LISTENING, _LEARNING)) and now >= self.table[i].turn_ns:
                self.table[i].turn_ns = now + self.delay_ns
                self.table[i].state = state + 1
                if state == _LEARNING:
                    self.let(i, u8(1))
                    self.change(now)
            if self.table[i].waits != 0 and now >= self.table[i].hold_ns:
                self.send(i, now)
        if self.root_port == _NOBODY:
            self.is_changing = u8(1) if now < self.changed_until_ns else u8(0)
            if now >= self.next_hello_ns:
                self.next_hello_ns = now + self.hello_ns
                self.speak(now)
        elif self.reports != 0 and now >= self.next_report_ns:
            self.next_report_ns = now + self.hello_ns
            p = self.frame(u32(_CHANGE_BYTES))
            if p is not None:
                p.data.u8[20] = CHANGE
                self.output(self.root_port).push(p)
        self.switch.timeout_ns = min(self.timeout_ns, self.delay_ns) if self.is_changing != 0 else self.timeout_ns
        self.timer.schedule_after(_TICK_NS)
        return True
