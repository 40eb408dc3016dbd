"""IP6Print."""

from penstock.elements import HostPacket, Packet, datapath
from penstock.elements.ip6.addresses6 import unparse_ip6
from penstock.elements.printing import PrintElement, timestamp_text

__all__ = ["IP6Print"]


class IP6Print(PrintElement):
    """Print a line for each IPv6 packet on standard error: addresses, payload length, next header and hop limit.

    Arguments:
        LABEL: printed first.
        NBYTES: bytes of content to print, with CONTENTS (1500).
        CONTENTS: print the packet's bytes in hexadecimal.
        TIMESTAMP: print the timestamp. ACTIVE: false prints nothing.

    Handlers:
        active (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> IP6Print(x) -> Discard;
    """

    def configure(self, label: str = "", nbytes: int = 1500, contents: bool = False, *, timestamp: bool = False,
                  active: bool = True) -> None:
        self.setup(active)
        self.label, self.contents, self.timestamp = label, contents, timestamp
        self.shown_bytes = nbytes if nbytes >= 0 else 1 << 16
        self.limit = 128 + (self.shown_bytes if contents else 0)

    def line(self, packet: HostPacket) -> str:
        start = f"{self.label}: " if self.label else ""
        if self.timestamp:
            start += f"{timestamp_text(packet.timestamp_ns)}: "
        ip6 = packet.data[packet.network :] if packet.network is not None and packet.network >= 0 else b""
        if len(ip6) < 40:
            return start + ("truncated-ip6" if packet.network is not None else "(no IPv6 header)")
        source, destination = (unparse_ip6(int.from_bytes(ip6[i : i + 16], "big")) for i in (8, 24))
        text = f"{start}{source} -> {destination} plen {ip6[4] << 8 | ip6[5]}, next {ip6[6]}, hlim {ip6[7]}"
        if self.contents:
            shown = ip6[: self.shown_bytes]
            for at in range(0, len(shown), 20):
                row = shown[at : at + 20]
                text += "\n  " + " ".join(row[i : i + 4].hex() for i in range(0, len(row), 4))
        return text

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.active:
            self.to_host(p, 0, self.limit)
        return p
