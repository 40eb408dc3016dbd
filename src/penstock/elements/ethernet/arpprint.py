"""ARPPrint."""

from penstock.elements import HostPacket, Packet, datapath
from penstock.elements.printing import PrintElement, timestamp_text
from penstock.lang.arguments import Filename, unparse_ether, unparse_ip

__all__ = ["ARPPrint"]


class ARPPrint(PrintElement):
    """Print a line for each ARP packet: who asks for whom, who answers what.

    The ARP header is where the network header position says; where none is set, at the start of the packet,
    behind an Ethernet header with the ARP type if there is one.

    Arguments:
        LABEL: printed first.
        TIMESTAMP: print the packet's timestamp.
        ETHER: print the Ethernet addresses of the ARP header too.
        OUTFILE: write to this file instead of standard error.
        ACTIVE: false prints nothing.

    Handlers:
        active (read/write).

    Example:
        FromDump(f.pcap, STOP true) -> ARPPrint(arp) -> Discard;
    """

    def configure(self, label: str = "", *, timestamp: bool = True, ether: bool = False, outfile: Filename = "",
                  active: bool = True) -> None:
        self.setup(active, outfile)
        self.label, self.timestamp, self.ether = label, timestamp, ether

    def line(self, packet: HostPacket) -> str:
        parts = []
        if self.label:
            parts.append(f"{self.label}: ")
        if self.timestamp:
            parts.append(f"{timestamp_text(packet.timestamp_ns)}: ")
        data = packet.data
        start = packet.network if packet.network is not None else (14 if data[12:14] == b"\x08\x06" else 0)
        arp = data[start : start + 28] if start >= 0 else b""
        if len(arp) < 28:
            return "".join(parts) + "truncated arp"
        sender, target = int.from_bytes(arp[8:14], "big"), int.from_bytes(arp[18:24], "big")
        sender_ip, target_ip = unparse_ip(int.from_bytes(arp[14:18], "big")), unparse_ip(int.from_bytes(arp[24:28], "big"))
        operation = int.from_bytes(arp[6:8], "big")
        ethers = f" (sha {unparse_ether(sender)} tha {unparse_ether(target)})" if self.ether else ""
        if operation == 1:
            parts.append(f"arp who-has {target_ip} tell {sender_ip}{ethers}")
        elif operation == 2:
            parts.append(f"arp reply {sender_ip} is-at {unparse_ether(sender)}{ethers}")
        else:
            parts.append(f"arp operation {operation} from {sender_ip} to {target_ip}{ethers}")
        return "".join(parts)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.active:
            self.to_host(p, 0, 128)
        return p
