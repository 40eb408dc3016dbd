"""KernelTun, KernelTap, FromHost and ToHost: packets from and to this host's own stack."""

from penstock.elements.element import ConfigureError
from penstock.elements.hostinterface import HostInterface
from penstock.elements.hostlink import HostLink
from penstock.lang.arguments import EtherAddress, IPAddress, IPPrefix, UInt32, Word

__all__ = ["FromHost", "KernelTap", "KernelTun", "ToHost"]


class _Interface(HostLink):
    """A TUN or TAP interface."""

    def set_interface(self, name: str, prefix: tuple[int, int] | None, mtu: int, ether: int | None, gateway: int | None = None) -> None:
        if mtu and not 68 <= mtu <= 65535:
            raise ConfigureError("MTU: must be between 68 and 65535")
        address, mask = prefix or (0, 0)
        if gateway is not None and gateway & mask != address & mask:
            raise ConfigureError("GATEWAY: must lie in the network of ADDR")
        self.devname, self.prefix, self.mtu, self.ether, self.gateway = name, prefix, mtu, ether, gateway
        self.set_link()

    def open(self) -> None:
        self.link = HostInterface.get(self.devname, frames=self.frames)
        address, mask = self.prefix or (0, 0)
        self.link.set_up(address=address, mask=mask, mtu=self.mtu, ether=self.ether)
        if self.gateway is not None:
            self.link.add_default_route(self.gateway)

    def shut(self) -> None:
        if hasattr(self, "link"):
            self.router.calls.readers.pop(self.link.descriptor, None)
            self.link.release()
            del self.link

    @property
    def descriptor(self) -> int:
        return self.link.descriptor

    def read(self) -> bytes | None:
        return self.link.read()

    def write(self, data: bytes) -> bool:
        return self.link.write(data)

    def add_handlers(self) -> None:
        self.add_read("dev_name", lambda: self.link.name)
        super().add_handlers()


class KernelTun(_Interface):
    """Exchange IP packets with this host's own stack, by a TUN interface.

    What the host sends to the interface comes out of output 0, with network header and destination annotation set (what is no IP
    goes to output 1, or is dropped); what comes in is received by the host. Needs the right CAP_NET_ADMIN.

    Arguments:
        ADDR: the interface's address and mask, as in 10.0.0.1/24. GATEWAY: an address of that network: the host's default route then
        leads there. DEVNAME (or DEV_NAME): the interface's name; without it the kernel chooses. MTU: its MTU.
        TAP, ETHER: true, and an Ethernet address: a KernelTap is meant. HEADROOM, IGNORE_QUEUE_OVERFLOWS: accepted for compatibility.

    Handlers:
        dev_name (read): the interface. count (read): packets from the host. drops (read): packets that it did not take.

    Example:
        KernelTun(10.77.0.1/24) -> CheckIPHeader -> Discard;
    """

    ports = "0-1/1-2"
    processing = "a/h"
    may_generate = True
    frames = False

    def configure(self, addr: IPPrefix, gateway: IPAddress | None = None, *, tap: bool = False, headroom: UInt32 = 0,
                  ether: EtherAddress | None = None, mtu: UInt32 = 0, ignore_queue_overflows: bool = False, devname: Word = "",
                  dev_name: Word = "") -> None:
        self.frames = tap
        if ether is not None and not tap:
            raise ConfigureError("ETHER: only with TAP true")
        self.set_interface(devname or dev_name, addr, mtu, ether, gateway)


class KernelTap(_Interface):
    """Exchange Ethernet frames with this host's own stack, by a TAP interface.

    Needs the right CAP_NET_ADMIN.

    Arguments:
        ADDR: the interface's address and mask, as in 10.0.0.1/24. GATEWAY: an address of that network: the host's default route then
        leads there. DEVNAME (or DEV_NAME): the interface's name; without it the kernel chooses. ETHER: its Ethernet address. MTU: its
        MTU. HEADROOM, IGNORE_QUEUE_OVERFLOWS: accepted for compatibility.

    Handlers:
        dev_name (read): the interface. count (read): frames from the host. drops (read): frames that it did not take.

    Example:
        KernelTap(10.77.1.1/24) -> Discard;
    """

    ports = "0-1/1-2"
    processing = "a/h"
    may_generate = True

    def configure(self, addr: IPPrefix, gateway: IPAddress | None = None, *, headroom: UInt32 = 0, ether: EtherAddress | None = None,
                  mtu: UInt32 = 0, ignore_queue_overflows: bool = False, devname: Word = "", dev_name: Word = "") -> None:
        self.set_interface(devname or dev_name, addr, mtu, ether, gateway)


class FromHost(_Interface):
    """Receive what this host's own stack sends to an interface of this element's: Ethernet frames, or IP packets.

    Needs the right CAP_NET_ADMIN.

    Arguments:
        DEVNAME: the interface's name. PREFIX: its address and mask. ETHER: its Ethernet address. MTU: its MTU.
        TYPE: TAP (frames, the usual) or IP (packets; output 1 is for what is neither IPv4 nor IPv6). HEADROOM: accepted for
        compatibility.

    Handlers:
        dev_name (read), count (read): packets from the host. drops (read).

    Example:
        FromHost(pkhost0, 10.77.2.1/24) -> Discard;
    """

    ports = "0/1-2"
    processing = "h/h"
    may_generate = True

    def configure(self, devname: Word, prefix: IPPrefix | None = None, *, ether: EtherAddress | None = None, type: Word = "TAP",
                  mtu: UInt32 = 0, headroom: UInt32 = 0) -> None:
        if type.upper() not in ("TAP", "ETHER", "IP", "TUN"):
            raise ConfigureError("TYPE: must be TAP or IP")
        self.frames = type.upper() in ("TAP", "ETHER")
        self.set_interface(devname, prefix, mtu, ether)


class ToHost(_Interface):
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
        self.set_interface(devname, None, 0, None)
