"""FastUDPSource and FastUDPSourceIP6: frames of one flow at a rate, for measurements."""

import struct

from penstock.elements import ConfigureError
from penstock.elements.standard.rated import RatedSource
from penstock.lang.arguments import EtherAddress, IP6Address, IPAddress, Port, UInt32
from penstock.packet.build import ipv4_header, udp_datagram

__all__ = ["FastUDPSource", "FastUDPSourceIP6"]

_ETHER_BYTES, _MIN_FRAME_BYTES, _MAX_FRAME_BYTES = 14, 60, 65535


class FastUDPSource(RatedSource):
    """Make Ethernet frames with the same UDP packet at a rate.

    Arguments:
        RATE: packets a second. LIMIT: packets to make; negative for no limit.
        LENGTH: bytes of a frame, its Ethernet header included (60 at least).
        SRCETH, SRCIP, SPORT, DSTETH, DSTIP, DPORT: addresses and ports.
        CHECKSUM: false leaves the UDP checksum 0. ACTIVE: false stops it. STOP: stop the driver at the limit.

    Handlers:
        count (read), reset (write), rate, limit, active (read/write).

    Example:
        FastUDPSource(1000, 3, 60, 0:0:0:0:0:1, 1.0.0.1, 1234, 0:0:0:0:0:2, 2.0.0.2, 1234, STOP true) -> Print -> Discard;
    """

    def configure(self, rate: float, limit: int, length: UInt32, srceth: EtherAddress, srcip: IPAddress, sport: Port,
                  dsteth: EtherAddress, dstip: IPAddress, dport: Port, checksum: bool = True, *, active: bool = True,
                  stop: bool = False) -> None:
        if not _MIN_FRAME_BYTES <= length <= _MAX_FRAME_BYTES:
            raise ConfigureError(f"LENGTH: must be between {_MIN_FRAME_BYTES} and {_MAX_FRAME_BYTES}")
        size = length - _ETHER_BYTES
        head = ipv4_header(srcip, dstip, 17, size - 20, ttl=250)
        udp = udp_datagram(sport, dport, bytes(size - 28), struct.pack(">II", srcip, dstip), checksum=checksum)
        ether = dsteth.to_bytes(6, "big") + srceth.to_bytes(6, "big") + b"\x08\x00"
        super().configure(ether + head + udp, rate, limit, active, stop=stop)


class FastUDPSourceIP6(RatedSource):
    """Make Ethernet frames with the same UDP packet over IPv6 at a rate.

    Arguments:
        RATE: packets a second. LIMIT: packets to make; negative for no limit.
        LENGTH: bytes of a frame, its Ethernet header included (62 at least).
        SRCETH, SRCIP6, SPORT, DSTETH, DSTIP6, DPORT: addresses and ports.
        CHECKSUM: false leaves the UDP checksum 0. ACTIVE: false stops it. STOP: stop the driver at the limit.

    Handlers:
        count (read), reset (write), rate, limit, active (read/write).

    Example:
        FastUDPSourceIP6(1000, 3, 80, 0:0:0:0:0:1, 3ffe::1, 1234, 0:0:0:0:0:2, 3ffe::2, 1234, STOP true) -> Print -> Discard;
    """

    def configure(self, rate: float, limit: int, length: UInt32, srceth: EtherAddress, srcip6: IP6Address, sport: Port,
                  dsteth: EtherAddress, dstip6: IP6Address, dport: Port, checksum: bool = True, *, active: bool = True,
                  stop: bool = False) -> None:
        if not _ETHER_BYTES + 48 <= length <= _MAX_FRAME_BYTES:
            raise ConfigureError(f"LENGTH: must be between {_ETHER_BYTES + 48} and {_MAX_FRAME_BYTES}")
        size = length - _ETHER_BYTES - 40
        addresses = srcip6.to_bytes(16, "big") + dstip6.to_bytes(16, "big")
        head = struct.pack(">IHBB", 6 << 28, size, 17, 250) + addresses
        udp = udp_datagram(sport, dport, bytes(size - 8), addresses, checksum=checksum)
        ether = dsteth.to_bytes(6, "big") + srceth.to_bytes(6, "big") + b"\x86\xdd"
        super().configure(ether + head + udp, rate, limit, active, stop=stop)
