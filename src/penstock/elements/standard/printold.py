"""PrintOld."""

from penstock.elements import HostPacket, Packet, datapath, i64, u64
from penstock.elements.printing import PrintElement

__all__ = ["PrintOld"]


class PrintOld(PrintElement):
    """Print a line for each packet that is old: whose timestamp is further back than a threshold.

    Arguments:
        LABEL: printed first. THRESH: milliseconds that a packet may be old (5). MAXLENGTH: bytes of its content to print (24).
        ACTIVE: false prints nothing.

    Handlers:
        active (read/write).

    Example:
        InfiniteSource(DATA "late", LIMIT 1, STOP true) -> SetTimestamp(1.5) -> PrintOld(old, 10) -> Discard;
    """

    def configure(self, label: str = "", thresh: int = 5, maxlength: int = 24, *, active: bool = True) -> None:
        self.label, self.threshold_ns, self.limit = label, thresh * 1_000_000, maxlength if maxlength >= 0 else 0xFFFFFF
        self.setup(active)

    def line(self, packet: HostPacket) -> str:
        content = packet.data[: self.limit]
        words = " ".join(content[i : i + 4].hex() for i in range(0, len(content), 4))
        label = f"{self.label}: " if self.label else ""
        return f"{label}{packet.tag // 1_000_000} ms old, {packet.length} bytes | {words}"

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.active and p.timestamp != 0:
            age: u64 = self.clock.now() - p.timestamp
            if i64(age) > self.threshold_ns:
                self.to_host(p, age)
        return p
