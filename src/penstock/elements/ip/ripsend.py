"""RIPSend."""

import struct

from penstock.elements import ConfigureError
from penstock.elements.standard.timed import TimedSource
from penstock.lang.arguments import IPAddress, IPPrefix, Seconds, UInt32
from penstock.packet.build import ipv4_header, udp_datagram

__all__ = ["RIPSend"]

_PORT, _INFINITY = 520, 16


class RIPSend(TimedSource):
    """Announce a route by RIP version 2 (RFC 2453): a response every INTERVAL, as an IPv4 packet.

    Arguments:
        SRC: this router's address. DST: where to (224.0.0.9, all RIP routers).
        PREFIX: the route. METRIC: its cost, 1 to 16.
        INTERVAL: time between announcements (30 s). LIMIT: announcements to make; negative for no limit.
        ACTIVE: false stops it. STOP: stop the driver at the limit.

    Handlers:
        count (read), reset (write), interval, active (read/write).

    Example:
        RIPSend(1.0.0.1, 224.0.0.9, 10.0.0.0/8, 1, INTERVAL 1ms, LIMIT 1, STOP true) -> IPPrint -> Discard;
    """

    def configure(self, src: IPAddress, dst: IPAddress, prefix: IPPrefix, metric: UInt32 = 1, *, interval: Seconds = 30,
                  limit: int = -1, active: bool = True, stop: bool = False) -> None:
        if not 1 <= metric <= _INFINITY:
            raise ConfigureError("METRIC: must be between 1 and 16")
        address, mask = prefix
        rip = struct.pack(">BBHHHIIII", 2, 2, 0, 2, 0, address & mask, mask, 0, metric)
        udp = udp_datagram(_PORT, _PORT, rip, struct.pack(">II", src, dst))
        head = ipv4_header(src, dst, 17, len(udp), tos=0xC0, ttl=1)
        super().configure(interval, head + udp, limit=limit, active=active, stop=stop)
