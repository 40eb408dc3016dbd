"""ips: IP addresses to ports, as the original's module of that name, and for IPv6 too."""

from penstock.datapath.containers import NONE, Table
from penstock.datapath.frames import Frame
from penstock.datapath.source import datapath
from penstock.packet.headers import IP, IP6
from penstock.packet.integers import u32, u48, u64, u128
from penstock.switch.module import DROP
from penstock.switch.static import StaticModule, To

__all__ = ["Ips"]


class Ips(StaticModule):
    """A static Ethernet destination first, then the IP source, then the IP destination; else the default port (drop)."""

    name = "ips"

    def __init__(self) -> None:
        super().__init__()
        self.by_ether = Table((u48,), To, 4096)
        self.by_ip = Table((u32,), To, 65536)
        self.by_ip6 = Table((u64, u64), To, 65536)

    def tables(self) -> list[tuple[str, Table]]:
        return [("ether", self.by_ether), ("ip", self.by_ip), ("ip6", self.by_ip6)]

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        if not frame.data.has(0, 14):
            return u32(DROP)
        to: u32 = NONE
        if self.by_ether.entries != 0:
            to = self.port_of(self.by_ether, (frame.ether.dst,))
        if to == NONE:
            if frame.ether.type == 0x0800 and frame.data.has(14, 20):
                ip = frame.data.header(IP, 14)
                to = self.port_of(self.by_ip, (ip.src,))
                if to == NONE:
                    to = self.port_of(self.by_ip, (ip.dst,))
            elif frame.ether.type == 0x86DD and frame.data.has(14, 40):
                ip6 = frame.data.header(IP6, 14)
                to = self.port_of_ip6(ip6.src)
                if to == NONE:
                    to = self.port_of_ip6(ip6.dst)
        return self.default if to == NONE else to

    @datapath
    def port_of_ip6(self, address: u128) -> u32:
        return self.port_of(self.by_ip6, (u64(address >> 64), u64(address)))
