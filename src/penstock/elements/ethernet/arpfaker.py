"""ARPFaker."""

import struct

from penstock.elements.standard.timed import TimedSource
from penstock.lang.arguments import EtherAddress, IPAddress, Seconds

__all__ = ["ARPFaker"]


class ARPFaker(TimedSource):
    """Tell a host again and again, by ARP replies, that an IP address has an Ethernet address.

    Arguments:
        DST_IP, DST_ETH: the host that is told. SRC_IP, SRC_ETH: what it is told.
        INTERVAL: time between replies (10 s). LIMIT: replies to make; negative for no limit.
        ACTIVE: false stops it. STOP: stop the driver at the limit.

    Handlers:
        count (read), reset (write), interval, active (read/write).

    Example:
        ARPFaker(1.0.0.1, 1:1:1:1:1:1, 2.0.0.2, 2:2:2:2:2:2, INTERVAL 1ms, LIMIT 1, STOP true) -> ARPPrint -> Discard;
    """

    def configure(self, dst_ip: IPAddress, dst_eth: EtherAddress, src_ip: IPAddress, src_eth: EtherAddress, *, interval: Seconds = 10,
                  limit: int = -1, active: bool = True, stop: bool = False) -> None:
        to, me = dst_eth.to_bytes(6, "big"), src_eth.to_bytes(6, "big")
        frame = to + me + b"\x08\x06" + struct.pack(">HHBBH6sI6sI", 1, 0x800, 6, 4, 2, me, src_ip, to, dst_ip)
        super().configure(interval, frame, limit=limit, active=active, stop=stop)
