"""FromRing."""

from penstock.elements import BUFFER_BYTES, Task, datapath, u32
from penstock.elements.ethernetsource import EthernetSource
from penstock.lang.arguments import UInt32, Word, parse_bool

__all__ = ["FromRing"]


class FromRing(EthernetSource):
    """Receive packets from an interface of the domain: the ring that a switch, a device or another domain fills.

    In a domain ``FromDevice`` means this element. Packets stay in the ring while no buffer is free. A peer that breaks
    the rules of the ring loses the interface: nothing more is read from it.

    Arguments:
        DEVNAME: the number of the interface (``0`` is the first ``vif``), or its name.
        BURST: packets a task takes at a time.
        FORCE_IP: IP packets only: the network header position is set, and the Ethernet header removed.
        SNIFFER, SNAPLEN, PROMISC, OUTBOUND, METHOD, TIMESTAMP, HEADROOM, CAPTURE, ENCAP: accepted, as FromDevice's.
        ACTIVE: false waits until the handler ``active`` is written.

    Handlers:
        count (read): packets received. broken (read): the peer broke the rules of the ring.
        active (read/write). reset_counts (write).

    Example:
        FromRing(0) -> c :: Counter -> ToRing(0);
    """

    def configure(self, devname: Word, sniffer: bool = True, snaplen: UInt32 = 0, *, promisc: bool = False,
                  outbound: bool = False, burst: UInt32 = 32, force_ip: bool = False, method: Word = "",
                  headroom: UInt32 = 0, timestamp: bool = True, capture: Word = "", encap: Word = "",
                  active: bool = True) -> None:
        self.burst, self.force_ip, self.active = max(1, min(burst, 256)), force_ip, active
        self.buffer_bytes = BUFFER_BYTES
        self.task = Task(self, active=False)
        self.port = self.router.port(devname, reader=self.task)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("broken", lambda: bool(self.port.broken))
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)
        self.add_write("reset_counts", self._reset, flags="b")

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        if self.active:
            self.task.reschedule()

    def _reset(self, text: str) -> None:
        self.count = 0

    @datapath
    def run_task(self) -> bool:
        if not self.active:
            return False
        n = min(self.port.count(), self.burst)
        if n == 0:
            return False
        moved: u32 = 0
        for _ in range(n):
            if self.pool.free == 0:
                break
            p = self.port.get(self.pool)
            if p is None:
                break
            moved += 1
            p.set_mac(0)
            self.deliver(p)
        self.port.give_back()
        if moved == n:
            self.task.reschedule()
        return moved > 0
