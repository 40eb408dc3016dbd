"""EtherSwitch."""

from penstock.elements import NONE, ConfigureError, Packet, Struct, Table, datapath, u32, u48, u64
from penstock.elements.flooding import FloodingElement
from penstock.lang.arguments import Seconds, UInt32, parse_seconds, unparse_ether

__all__ = ["EtherSwitch", "ListenEtherSwitch"]

_MULTICAST = 1 << 40


class _Station(Struct):
    port: u32
    heard_ns: u64


class EtherSwitch(FloodingElement):
    """A learning Ethernet bridge: each frame goes where its destination was last heard, or to all other outputs.

    Arguments:
        TIMEOUT: seconds until an address is forgotten (300); 0: never.
        CAPACITY: addresses (65536).

    Handlers:
        table (read): addresses and ports. timeout (read/write).

    Example:
        s :: EtherSwitch; FromDump(f.pcap, STOP true) -> [0] s; Idle -> [1] s; s[0] -> Discard; s[1] -> Discard;
    """

    ports = "2-/="
    processing = "h/h"
    takes_state = True

    timeout_ns: u64

    def configure(self, *, timeout: Seconds = 300, capacity: UInt32 = 65536) -> None:
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self._set_timeout(timeout)
        self.stations = Table((u48,), _Station, capacity)

    def _set_timeout(self, seconds: float) -> None:
        self.timeout_ns = int(seconds * 1e9) if seconds > 0 else (1 << 63)

    def add_handlers(self) -> None:
        self.add_read("table", lambda: "".join(sorted(f"{unparse_ether(k[0])} {v.port}\n" for k, v in self.stations.items())))
        self.add_read("timeout", lambda: f"{self.timeout_ns / 1e9:g}" if self.timeout_ns < 1 << 63 else "0")
        self.add_write("timeout", lambda text: self._set_timeout(parse_seconds(text.strip())))

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.switch(port, p)

    @datapath
    def switch(self, port: int, p: Packet) -> None:
        if not p.data.has(0, 14):
            p.kill()
            return
        now = self.clock.now()
        src: u64 = p.data.u48[6]
        dst: u64 = p.data.u48[0]
        if (src & _MULTICAST) == 0:
            i = self.stations.find((src,))
            if i == NONE:
                i = self.stations.insert((src,))
            if i != NONE:
                self.stations.slots[i].value.port = u32(port)
                self.stations.slots[i].value.heard_ns = now
        if (dst & _MULTICAST) == 0:
            k = self.stations.find((dst,))
            if k != NONE:
                if now - self.stations.slots[k].value.heard_ns <= self.timeout_ns:
                    to = self.stations.slots[k].value.port
                    if to == port or to >= self.noutputs:
                        p.kill()
                    else:
                        self.output(u32(to)).push(p)
                    return
                self.stations.remove(k)
        self.flood(port, p)


class ListenEtherSwitch(EtherSwitch):
    """EtherSwitch with one more output, which gets a copy of every frame.

    Arguments:
        TIMEOUT: seconds until an address is forgotten (300); 0: never.
        CAPACITY: addresses (65536).

    Handlers:
        table (read): addresses and ports. timeout (read/write).

    Example:
        s :: ListenEtherSwitch; FromDump(f.pcap, STOP true) -> [0] s; Idle -> [1] s; s[0] -> Discard; s[1] -> Discard;
        s[2] -> Print -> Discard;
    """

    ports = "2-/=+"
    listeners = 1

    @datapath
    def push(self, port: int, p: Packet) -> None:
        q = p.clone()
        if q is not None:
            self.output(self.noutputs - 1).push(q)
        self.switch(port, p)
