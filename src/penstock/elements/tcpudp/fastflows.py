"""FastUDPFlows and FastTCPFlows: frames of many flows at a rate, for measurements."""

import struct

from penstock.datapath.checksum import checksum_adjust
from penstock.elements import ConfigureError, Packet, datapath, u32, u64
from penstock.elements.standard.rated import RatedSource
from penstock.lang.arguments import EtherAddress, IPAddress, UInt32
from penstock.packet.build import ipv4_header, tcp_segment, udp_datagram

__all__ = ["FastTCPFlows", "FastUDPFlows"]

_ETHER_BYTES, _MIN_FRAME_BYTES, _MAX_FRAME_BYTES = 14, 60, 65535
_FIRST_PORT = 1024
_PORTS = 65536 - _FIRST_PORT


class _Flows(RatedSource):
    """Frames that differ in their source port alone: FLOWSIZE frames of a flow, then the next one's."""

    current: u32
    in_flow: u32

    def set_flows(self, rate: float, limit: int, length: int, frame: bytes, flows: int, flowsize: int, active: bool, stop: bool,
                  checksum_at: int) -> None:
        if not _MIN_FRAME_BYTES <= length <= _MAX_FRAME_BYTES:
            raise ConfigureError(f"LENGTH: must be between {_MIN_FRAME_BYTES} and {_MAX_FRAME_BYTES}")
        if not 1 <= flows <= _PORTS:
            raise ConfigureError(f"FLOWS: must be between 1 and {_PORTS}")
        if flowsize < 1:
            raise ConfigureError("FLOWSIZE: must be at least 1")
        self.flows, self.flowsize, self.checksum_at = flows, flowsize, checksum_at
        self.has_checksum = frame[checksum_at : checksum_at + 2] != b"\0\0"
        super().configure(frame, rate, limit, active, stop=stop)

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_data("flow", "current")

    @datapath
    def make(self) -> Packet | None:
        p = self.copy_content()
        if p is None:
            return None
        p.timestamp = self.clock.now()
        port = _FIRST_PORT + self.current
        p.data.u16[34] = port
        if self.has_checksum:
            p.data.u16[self.checksum_at] = checksum_adjust(p.data.u16[self.checksum_at], u32(_FIRST_PORT), port)
        self.mark(p)
        self.in_flow += 1
        if self.in_flow >= self.flowsize:
            self.in_flow = 0
            self.current = 0 if self.current + 1 >= self.flows else self.current + 1
        return p

    @datapath
    def mark(self, p: Packet) -> None:
        p.set_mac(0)


class FastUDPFlows(_Flows):
    """Make Ethernet frames of UDP flows at a rate. Flows differ in their source port, 1024 and up.

    Arguments:
        RATE: packets a second. LIMIT: packets to make; negative for no limit.
        LENGTH: bytes of a frame, its Ethernet header included (60 at least).
        SRCETH, SRCIP, DSTETH, DSTIP: addresses. FLOWS: flows. FLOWSIZE: packets of a flow before the next one's turn.
        CHECKSUM: false leaves the UDP checksum 0. ACTIVE: false stops it. STOP: stop the driver at the limit.

    Handlers:
        count, flow (read), reset (write), rate, limit, active (read/write).

    Example:
        FastUDPFlows(1000, 4, 60, 0:0:0:0:0:1, 1.0.0.1, 0:0:0:0:0:2, 2.0.0.2, 2, 2, STOP true) -> Print -> Discard;
    """

    def configure(self, rate: float, limit: int, length: UInt32, srceth: EtherAddress, srcip: IPAddress, dsteth: EtherAddress,
                  dstip: IPAddress, flows: UInt32, flowsize: UInt32, checksum: bool = True, active: bool = True, *,
                  stop: bool = False) -> None:
        size = max(length, _MIN_FRAME_BYTES) - _ETHER_BYTES
        udp = udp_datagram(_FIRST_PORT, 1234, bytes(size - 28), struct.pack(">II", srcip, dstip), checksum=checksum)
        ether = dsteth.to_bytes(6, "big") + srceth.to_bytes(6, "big") + b"\x08\x00"
        frame = ether + ipv4_header(srcip, dstip, 17, size - 20, ttl=250) + udp
        self.set_flows(rate, limit, length, frame, flows, flowsize, active, stop, 40)


class FastTCPFlows(_Flows):
    """Make Ethernet frames of TCP flows at a rate: a SYN first, a FIN last, ACKs between. Flows differ in their source port.

    Arguments:
        RATE: packets a second. LIMIT: packets to make; negative for no limit.
        LENGTH: bytes of a frame, its Ethernet header included (60 at least).
        SRCETH, SRCIP, DSTETH, DSTIP: addresses. FLOWS: flows. FLOWSIZE: packets of a flow, 3 at least.
        ACTIVE: false stops it. STOP: stop the driver at the limit.

    Handlers:
        count, flow (read), reset (write), rate, limit, active (read/write).

    Example:
        FastTCPFlows(1000, 6, 60, 0:0:0:0:0:1, 1.0.0.1, 0:0:0:0:0:2, 2.0.0.2, 2, 3, STOP true) -> Print -> Discard;
    """

    sent: u64

    def configure(self, rate: float, limit: int, length: UInt32, srceth: EtherAddress, srcip: IPAddress, dsteth: EtherAddress,
                  dstip: IPAddress, flows: UInt32, flowsize: UInt32, active: bool = True, *, stop: bool = False) -> None:
        if flowsize < 3:
            raise ConfigureError("FLOWSIZE: must be at least 3 (SYN, ACK, FIN)")
        size = max(length, _MIN_FRAME_BYTES) - _ETHER_BYTES
        tcp = tcp_segment(_FIRST_PORT, 80, 1, 1, 0x10, 65535, bytes(size - 40), struct.pack(">II", srcip, dstip))
        ether = dsteth.to_bytes(6, "big") + srceth.to_bytes(6, "big") + b"\x08\x00"
        frame = ether + ipv4_header(srcip, dstip, 6, size - 20, ttl=250) + tcp
        self.set_flows(rate, limit, length, frame, flows, flowsize, active, stop, 50)

    @datapath
    def mark(self, p: Packet) -> None:
        p.set_mac(0)
        flags: u32 = 0x10
        if self.in_flow == 0:
            flags = 0x02
        elif self.in_flow + 1 >= self.flowsize:
            flags = 0x11
        old = p.data.u16[46]
        p.data.u16[46] = (old & 0xFF00) | flags
        p.data.u16[50] = checksum_adjust(p.data.u16[50], old, p.data.u16[46])
