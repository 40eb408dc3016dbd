"""KernelTun, KernelTap, FromHost and ToHost: packets from and to this host's own stack."""

from penstock.elements import Element, HostPacket, HostSource, Packet, Task, datapath, u64
from penstock.elements.element import ConfigureError
from penstock.elements.hostinterface import HostInterface
from penstock.elements.signals import upstream_signal
from penstock.lang.arguments import EtherAddress, IPPrefix, UInt32, Word

__all__ = ["FromHost", "KernelTap", "KernelTun", "ToHost"]

_BURST = 32
#: room in the ring before another packet is read
_ROOM_BYTES = 1 << 17


class _HostLink(Element):
    """An interface, whose packets go to output 0; what comes on the input, where there is one, goes to it."""

    frames = True

    count: u64
    sent: u64

    def set_link(self, name: str, prefix: tuple[int, int] | None, mtu: int, ether: int | None) -> None:
        if mtu and not 68 <= mtu <= 65535:
            raise ConfigureError("MTU: must be between 68 and 65535")
        self.devname, self.prefix, self.mtu, self.ether = name, prefix, mtu, ether
        self.drops = 0
        self.source = HostSource()
        self.buffer_bytes = 65536
        self.pulls = self.ninputs > 0 and self.input_codes[0] == "l"
        self.task = Task(self, active=self.pulls)

    def initialize(self) -> None:
        self.link = HostInterface.get(self.devname, frames=self.frames)
        address, mask = self.prefix or (0, 0)
        self.link.set_up(address=address, mask=mask, mtu=self.mtu, ether=self.ether)
        if self.pulls:
            self.signal = upstream_signal(self, 0, self.task)

    def started(self) -> None:
        if self.noutputs:
            self.router.calls.readers[self.link.descriptor] = self._read

    def cleanup(self) -> None:
        if hasattr(self, "link"):
            self.router.calls.readers.pop(self.link.descriptor, None)
            self.link.release()
            del self.link

    def _read(self) -> None:
        for _ in range(_BURST):
            if self.source.room_bytes < _ROOM_BYTES:
                break
            data = self.link.read()
            if data is None:
                break
            self.source.offer(data, timestamp_ns=self.clock.read(), mac=0 if self.frames else None, network=None if self.frames else 0)
        self.task.reschedule()

    def add_handlers(self) -> None:
        self.add_read("dev_name", lambda: self.link.name)
        self.add_data("count", "count")
        self.add_read("drops", lambda: self.drops)

    def host_packet(self, packet: HostPacket) -> None:
        if not self.link.write(packet.data):
            self.drops += 1

    @datapath
    def is_known(self, p: Packet) -> bool:
        """Whether a packet goes to output 0; frames do."""
        if self.frames:
            return True
        if not p.data.has(0, 20):
            return False
        version = p.data.u8[0] >> 4
        if version == 4:
            p.dst_ip = p.ip.dst
        return version == 4 or version == 6

    @datapath
    def run_task(self) -> bool:
        worked = False
        if self.noutputs != 0:
            for _ in range(_BURST):
                p = self.source.next(self.pool)
                if p is None:
                    break
                worked = True
                self.count += 1
                if self.is_known(p):
                    self.output(0).push(p)
                else:
                    self.checked_output_push(1, p)
            if self.source.written != self.source.read:
                self.task.reschedule()
        if self.pulls:
            for _ in range(_BURST):
                q = self.input(0).pull()
                if q is None:
                    break
                worked = True
                self.sent += 1
                self.to_host(q)
                q.kill()
            if self.signal.active():
                self.task.reschedule()
        return worked

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.sent += 1
        self.to_host(p)
        p.kill()


class KernelTun(_HostLink):
    """Exchange IP packets with this host's own stack, by a TUN interface.

    What the host sends to the interface comes out of output 0, with network header and destination annotation set (what is no IP
    goes to output 1, or is dropped); what comes in is received by the host. Needs the right CAP_NET_ADMIN.

    Arguments:
        ADDR: the interface's address and mask, as in 10.0.0.1/24. DEVNAME: its name; without it the kernel chooses. MTU: its MTU.

    Handlers:
        dev_name (read): the interface. count (read): packets from the host. drops (read): packets that it did not take.

    Example:
        KernelTun(10.77.0.1/24) -> CheckIPHeader -> Discard;
    """

    ports = "0-1/1-2"
    processing = "a/h"
    may_generate = True
    frames = False

    def configure(self, addr: IPPrefix, *, devname: Word = "", mtu: UInt32 = 0) -> None:
        self.set_link(devname, addr, mtu, None)


class KernelTap(_HostLink):
    """Exchange Ethernet frames with this host's own stack, by a TAP interface.

    Needs the right CAP_NET_ADMIN.

    Arguments:
        ADDR: the interface's address and mask, as in 10.0.0.1/24. DEVNAME: its name; without it the kernel chooses.
        ETHER: its Ethernet address. MTU: its MTU.

    Handlers:
        dev_name (read): the interface. count (read): frames from the host. drops (read): frames that it did not take.

    Example:
        KernelTap(10.77.1.1/24) -> Discard;
    """

    ports = "0-1/1-2"
    processing = "a/h"
    may_generate = True

    def configure(self, addr: IPPrefix, *, devname: Word = "", ether: EtherAddress | None = None, mtu: UInt32 = 0) -> None:
        self.set_link(devname, addr, mtu, ether)


class FromHost(_HostLink):
    """Receive what this host's own stack sends to an interface of this element's: Ethernet frames, or IP packets.

    Needs the right CAP_NET_ADMIN.

    Arguments:
        DEVNAME: the interface's name. PREFIX: its address and mask. ETHER: its Ethernet address. MTU: its MTU.
        TYPE: TAP (frames, the usual) or IP (packets; output 1 is for what is neither IPv4 nor IPv6).

    Handlers:
        dev_name (read), count (read): packets from the host. drops (read).

    Example:
        FromHost(pkhost0, 10.77.2.1/24) -> Discard;
    """

    ports = "0/1-2"
    processing = "h/h"
    may_generate = True

    def configure(self, devname: Word, prefix: IPPrefix | None = None, *, ether: EtherAddress | None = None, type: Word = "TAP",
                  mtu: UInt32 = 0) -> None:
        if type.upper() not in ("TAP", "ETHER", "IP", "TUN"):
            raise ConfigureError("TYPE: must be TAP or IP")
        self.frames = type.upper() in ("TAP", "ETHER")
        self.set_link(devname, prefix, mtu, ether)


class ToHost(_HostLink):
    """Have this host's own stack receive packets, by the interface of a FromHost of the same name.

    Arguments:
        DEVNAME: the interface's name. TYPE: TAP (frames, the usual) or IP, as the FromHost's.

    Handlers:
        dev_name (read), drops (read): packets that the host did not take.

    Example:
        FromHost(pkhost1, 10.77.3.1/24) -> Discard; InfiniteSource(LIMIT 1) -> ToHost(pkhost1);
    """

    ports = "1/0"
    processing = "h/h"

    def configure(self, devname: Word, *, type: Word = "TAP") -> None:
        if type.upper() not in ("TAP", "ETHER", "IP", "TUN"):
            raise ConfigureError("TYPE: must be TAP or IP")
        self.frames = type.upper() in ("TAP", "ETHER")
        self.set_link(devname, None, 0, None)
