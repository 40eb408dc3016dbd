"""ToDevice."""

from penstock.elements import ConfigureError, Element, HostPacket, Packet, Task, datapath, u32, u64
from penstock.elements.hostinterface import HostInterface
from penstock.elements.packetsocket import HEADER_BYTES, FrameRing, PacketSocket
from penstock.elements.signals import upstream_signal
from penstock.lang.arguments import UInt32, Word

__all__ = ["ToDevice"]

_USUAL_BYTES = 1900
_SEND_REQUEST = 1
_METHODS = ("", "LINUX", "DEFAULT", "PCAP", "TAP")


class ToDevice(Element):
    """Send Ethernet frames on a Linux network interface.

    Packet code writes the kernel's ring itself; while that is full nothing is pulled. Frames longer than the ring's
    slots are dropped. Sent packets go to output 0 and dropped ones to output 1 where these are used. With
    ``METHOD TAP`` the interface is a TAP interface that this element makes, and the kernel receives the frames.

    Arguments:
        DEVNAME: the interface.
        BURST: frames a task sends at a time.
        METHOD: LINUX (a packet socket), or TAP.
        IGNORE_QUEUE_OVERFLOWS, ENCAP, DEBUG: accepted for compatibility.

    Handlers:
        count (read): frames sent. drops (read): frames too long or refused. reset_counts (write).

    Example:
        InfiniteSource(LIMIT 1) -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> Queue -> ToDevice(lo);
    """

    ports = "1/0-2"
    processing = "l/h"
    takes_state = False

    count: u64
    drops: u64
    slot: u32
    filled: u32

    def configure(self, devname: Word, *, burst: UInt32 = 32, method: Word = "", ignore_queue_overflows: bool = False,
                  encap: Word = "", debug: bool = False) -> None:
        self.is_tap = method.upper() == "TAP"
        if method.upper() not in _METHODS:
            raise ConfigureError(f"METHOD: unknown method '{method}' (LINUX, TAP)")
        if not 1 <= burst <= 1024:
            raise ConfigureError("BURST: must be between 1 and 1024")
        self.devname, self.burst = devname, burst
        self.task = Task(self)

    def initialize(self) -> None:
        if self.is_tap:
            self.tap = HostInterface.get(self.devname, frames=True)
        else:
            self.socket = PacketSocket(self.devname)
            self.frames = FrameRing(self.socket.longest if self.socket.longest > _USUAL_BYTES else 0)
            self.ring = self.frames.slots
            self.longest = self.frames.slot_bytes - HEADER_BYTES
            self.socket.ring(self.frames, sends=True)
        self.signal = upstream_signal(self, 0, self.task)

    def started(self) -> None:
        assert self._memory is not None
        if not self.is_tap:
            self.socket.map_into(self._memory, self.frames)
            self.router.calls.after_run.append(self._kick)

    def cleanup(self) -> None:
        if hasattr(self, "tap"):
            self.tap.release()
            del self.tap
        if hasattr(self, "socket"):
            if self._memory is not None and self.filled:
                self._kick()
            self.socket.close()
            del self.socket

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")
        self.add_write("reset_counts", self._reset, flags="b")

    def _reset(self, text: str) -> None:
        self.count = self.drops = 0

    def _kick(self) -> None:
        """Frames were put into the ring: have the kernel send them, and look whether there is room again."""
        if self.filled:
            self.filled = 0
            try:
                self.socket.kick()
            except OSError as error:
                self.router.complain(f"{self.devname}: {error.strerror}", self)
            self.task.reschedule()

    def host_packet(self, packet: HostPacket) -> None:
        if not self.tap.write(packet.data):
            self.drops += 1

    @datapath
    def sent(self, p: Packet) -> None:
        self.count += 1
        self.checked_output_push(0, p)

    @datapath
    def send(self, p: Packet) -> None:
        if self.is_tap:
            self.to_host(p)
            self.sent(p)
            return
        if p.length > self.longest or p.length < 14:
            self.drops += 1
            self.checked_output_push(1, p)
            return
        word = self.slot * self.frames.words
        n = p.length
        p.data.store_to(self.ring, word * 4 + HEADER_BYTES, 0, n)
        self.ring[word + 1] = n
        self.ring[word] = _SEND_REQUEST
        self.slot = (self.slot + 1) & (self.frames.count - 1)
        self.filled = 1
        self.sent(p)

    @datapath
    def run_task(self) -> bool:
        moved: u32 = 0
        full = False
        for _ in range(self.burst):
            if not self.is_tap:
                if self.ring[self.slot * self.frames.words] != 0:
                    full = True
                    break
            p = self.input(0).pull()
            if p is None:
                break
            moved += 1
            self.send(p)
        if full:
            # The host sends, and wakes this task.
            self.filled = 1
            self.driver.attention = 1
        elif moved > 0 or self.signal.active():
            self.task.reschedule()
        return moved > 0
