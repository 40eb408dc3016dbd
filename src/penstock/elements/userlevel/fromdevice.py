"""FromDevice."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import ConfigureError, HostSource, Packet, Task, datapath, u32, u64
from penstock.elements.ethernetsource import EthernetSource
from penstock.elements.framefilter import KernelKeptOut, attach_filter
from penstock.elements.hostinterface import HostInterface
from penstock.elements.packetsocket import FrameRing, PacketSocket
from penstock.lang.arguments import UInt32, Word, parse_bool

__all__ = ["FromDevice"]

_LEAST_BYTES, _MAX_BYTES = 2046, 65535
_TO_USER, _CHECKSUM_UNFINISHED, _VLAN_VALID, _TPID_VALID = 1, 8, 0x10, 0x40
_METHODS = ("", "LINUX", "DEFAULT", "PCAP", "TAP")


class FromDevice(EthernetSource):
    """Receive Ethernet frames from a Linux network interface.

    The kernel goes on receiving them too, unless SNIFFER is false. Packets have the kernel's timestamp and packet type, and the MAC header
    position is set. The kernel's ring of received frames is read by packet code itself. With ``METHOD TAP`` the
    interface is a TAP interface that this element makes, and frames are what the kernel sends there.

    Arguments:
        DEVNAME: the interface.
        PROMISC: receive frames to other hosts too.
        SNAPLEN: bytes of each frame that are kept; without it, as many as the interface's own frames have, and 2,046 or more. A peer on the
            same machine may leave cutting to its card: it sends up to 65,535 bytes at once, where that is not turned off.
        OUTBOUND: frames that this host sends count as received.
        BURST: frames a task takes at a time.
        FORCE_IP: IP packets only: the network header position is set, and the Ethernet header removed.
        METHOD: LINUX (a packet socket), or TAP.
        SNIFFER: false keeps the frames from the kernel's own stack, while this element runs (with nftables).
        BPF_FILTER: only frames that this filter takes, in tcpdump's language (libpcap compiles it; the kernel applies it).
        TIMESTAMP, HEADROOM, CAPTURE, PROTOCOL, ENCAP: accepted for compatibility.
        ACTIVE: false waits until the handler ``active`` is written.

    Handlers:
        count (read): frames received. kernel_drops (read): frames that the kernel had no room for.
        encap (read). active (read/write). reset_counts (write).

    Example:
        FromDevice(lo) -> c :: Counter -> Discard;
    """

    slot: u32

    def configure(self, devname: Word, sniffer: bool = True, snaplen: UInt32 | None = None, *, promisc: bool = False,
                  outbound: bool = False, burst: UInt32 = 32, force_ip: bool = False, method: Word = "", headroom: UInt32 = 0,
                  timestamp: bool = True, capture: Word = "", bpf_filter: str = "", protocol: UInt32 = 0, encap: Word = "",
                  active: bool = True) -> None:
        self.is_tap = method.upper() == "TAP"
        if self.is_tap and bpf_filter:
            raise ConfigureError("BPF_FILTER: not with METHOD TAP; put a Classifier behind this element")
        self.kernel_too, self.bpf_filter = sniffer or self.is_tap, bpf_filter
        if method.upper() not in _METHODS:
            raise ConfigureError(f"METHOD: unknown method '{method}' (LINUX, TAP)")
        if not 1 <= burst <= 1024:
            raise ConfigureError("BURST: must be between 1 and 1024")
        self.devname, self.promisc, self.outbound, self.burst = devname, promisc, outbound, burst
        if snaplen is not None and not 14 <= snaplen <= _MAX_BYTES:
            raise ConfigureError(f"SNAPLEN: must be between 14 and {_MAX_BYTES}")
        self.snap_bytes, self.has_snaplen, self.force_ip, self.active = snaplen or _LEAST_BYTES, snaplen is not None, force_ip, active
        self.drops = 0
        self.source = HostSource(1 << 20 if self.is_tap else 64)
        if self.is_tap:
            self.buffer_bytes = 65536
        self.task = Task(self, active=False)

    def initialize(self) -> None:
        if self.is_tap:
            self.tap = HostInterface.get(self.devname, frames=True)
        else:
            self.socket = PacketSocket(self.devname, promisc=self.promisc, outbound=self.outbound)
            if self.bpf_filter:
                attach_filter(self.socket.socket, self.bpf_filter, _MAX_BYTES)
            if not self.has_snaplen:
                self.snap_bytes = min(max(self.socket.longest, _LEAST_BYTES), _MAX_BYTES)
            self.buffer_bytes = self.snap_bytes + 4
            self.frames = FrameRing(self.snap_bytes if self.snap_bytes > _LEAST_BYTES else 0)
            self.ring = self.frames.slots
            self.socket.ring(self.frames, sends=False)
            if not self.kernel_too:
                self.kept_out = KernelKeptOut(self.devname)

    def started(self) -> None:
        assert self._memory is not None
        if self.is_tap:
            self.router.calls.readers[self.tap.descriptor] = self._read_tap
        else:
            self.socket.map_into(self._memory, self.frames)
            self.router.calls.readers[self.socket.socket.fileno()] = self._wake
        self._wake()

    def _wake(self) -> None:
        if self.active:
            self.task.reschedule()

    def _read_tap(self) -> None:
        for _ in range(self.burst):
            if self.source.room_bytes < 1 << 17:
                break
            frame = self.tap.read()
            if frame is None:
                break
            self.source.offer(frame, timestamp_ns=self.clock.read(), mac=0)
        self._wake()

    def cleanup(self) -> None:
        if hasattr(self, "tap"):
            self.router.calls.readers.pop(self.tap.descriptor, None)
            self.tap.release()
            del self.tap
        if hasattr(self, "kept_out"):
            self.kept_out.close()
            del self.kept_out
        if hasattr(self, "socket"):
            self.router.calls.readers.pop(self.socket.socket.fileno(), None)
            self._kernel_drops()
            self.socket.close()
            del self.socket

    def _kernel_drops(self) -> int:
        if hasattr(self, "socket"):
            self.drops += self.socket.dropped()
        return self.drops

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("kernel_drops", self._kernel_drops)
        self.add_read("encap", lambda: "IP" if self.force_ip else "ETHER")
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)
        self.add_write("reset_counts", self._reset, flags="b")

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        self._wake()

    def _reset(self, text: str) -> None:
        self._kernel_drops()
        self.count = self.drops = 0

    @datapath
    def finish_checksum(self, p: Packet) -> None:
        """Do what a host on this machine left to its card: of TCP and UDP, the field has the pseudo header's sum and no more."""
        at: u32 = 12
        if p.data.has(0, 18) and (p.data.u16[12] == 0x8100 or p.data.u16[12] == 0x88A8):
            at = 16
        if not p.data.has(at, 22):
            return
        start: u32 = 0
        length: u32 = 0
        protocol: u32 = 0
        if p.data.u16[at] == 0x0800:
            header: u32 = (u32(p.data.u8[at + 2]) & 15) * 4
            start = at + 2 + header
            length = u32(p.data.u16[at + 4]) - min(header, u32(p.data.u16[at + 4]))
            protocol = p.data.u8[at + 11]
        elif p.data.u16[at] == 0x86DD and p.data.has(at, 42):
            start = at + 42
            length = p.data.u16[at + 6]
            protocol = p.data.u8[at + 8]
        where: u32 = 0
        if protocol == 6 and length >= 20:
            where = start + 16
        elif protocol == 17 and length >= 8:
            where = start + 6
        if where != 0 and p.data.has(start, length):
            value = checksum_finish(p.data.checksum(start, length))
            p.data.u16[where] = 0xFFFF if value == 0 and protocol == 17 else value

    @datapath
    def receive(self) -> Packet | None:
        """The frame in the current slot as a packet; the slot goes back to the kernel."""
        word = self.slot * self.frames.words
        status = self.ring[word]
        length = self.ring[word + 1]
        captured: u32 = self.ring[word + 2]
        start = self.ring[word + 3] & 0xFFFF
        if captured > self.snap_bytes:
            captured = u32(self.snap_bytes)
        if start + captured > self.frames.slot_bytes:
            captured = u32(0)
        p = self.pool.allocate(captured)
        if p is not None:
            p.data.load_from(self.ring, word * 4 + start, 0, captured)
            p.timestamp = u64(self.ring[word + 4]) * 1_000_000_000 + u64(self.ring[word + 5])
            p.extra_length = length - captured
            # sockaddr_ll follows the header: family, protocol, index, hardware type, packet type.
            p.packet_type = (self.ring[word + 10] >> 16) & 0xFF
            if (status & _VLAN_VALID) != 0 and captured >= 12:
                # The kernel took the tag out of the frame: put it back.
                p.push(4)
                p.data.copy(0, p.data, 4, 12)
                p.data.u16[12] = 0x8100 if (status & _TPID_VALID) == 0 else self.ring[word + 6] >> 16
                p.data.u16[14] = self.ring[word + 6] & 0xFFFF
            p.set_mac(0)
            if (status & _CHECKSUM_UNFINISHED) != 0:
                self.finish_checksum(p)
        self.ring[word] = 0
        self.slot = (self.slot + 1) & (self.frames.count - 1)
        return p

    @datapath
    def run_task(self) -> bool:
        if not self.active:
            return False
        moved: u32 = 0
        for _ in range(self.burst):
            if self.is_tap:
                p = self.source.next(self.pool)
                if p is None:
                    break
                moved += 1
                self.deliver(p)
            else:
                if (self.ring[self.slot * self.frames.words] & _TO_USER) == 0:
                    break
                moved += 1
                q = self.receive()
                if q is not None:
                    self.deliver(q)
        if moved > 0:
            self.task.reschedule()
        return moved > 0
