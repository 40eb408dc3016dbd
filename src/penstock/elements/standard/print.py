"""Print."""

from penstock.elements import ConfigureError, HostPacket, Packet, datapath
from penstock.elements.printing import PrintElement, timestamp_text
from penstock.lang.arguments import parse_bool

__all__ = ["Print"]


class Print(PrintElement):
    """Print a line for each packet on standard error: label, length and content.

    The line is made in Python; the packet itself goes on without waiting for it.

    Arguments:
        LABEL: printed first.
        MAXLENGTH: bytes of content to print; -1 for all. NBYTES is the same.
        CONTENTS: how to print the content: NONE, HEX or ASCII (a Boolean means NONE or HEX).
        TIMESTAMP: print the packet's timestamp.
        PRINTANNO: print the annotations.
        BANDWIDTH, CPU: accepted for compatibility.
        HEADROOM: print headroom and tailroom.
        ACTIVE: false prints nothing.

    Handlers:
        active (read/write).

    Example:
        InfiniteSource(DATA "hello", LIMIT 1, STOP true) -> Print(in) -> Discard;
    """

    def configure(self, label: str = "", maxlength: int = 24, *, contents: str = "HEX", timestamp: bool = False,
                  printanno: bool = False, headroom: bool = False, bandwidth: bool = False, active: bool = True,
                  nbytes: int | None = None, cpu: bool = False) -> None:
        word = contents.upper()
        try:
            self.contents = word if word in ("NONE", "HEX", "ASCII") else ("HEX" if parse_bool(contents) else "NONE")
        except ValueError:
            raise ConfigureError("bad contents value; should be 'NONE', 'HEX', or 'ASCII'") from None
        limit = maxlength if nbytes is None else nbytes
        self.limit = limit if limit >= 0 else 0xFFFFFF
        self.shown_bytes = self.limit if self.contents != "NONE" else 0
        self.label, self.timestamp, self.annotations, self.headroom = label, timestamp, printanno, headroom
        self.setup(active)

    def line(self, packet: HostPacket) -> str:
        parts: list[str] = []
        if self.label:
            parts.append(f"{self.label}: ")
        if self.timestamp:
            parts.append(f"{timestamp_text(packet.timestamp_ns)}: ")
        parts.append(f"{packet.length:4d}")
        if self.headroom:
            parts.append(f" (h{packet.tag & 0xFFFFFFFF} t{packet.tag >> 32})")
        if self.annotations:
            parts.append(f" | {packet.annotations.hex()}")
        data = packet.data[: self.shown_bytes]
        if self.contents == "HEX":
            parts.append(" | ")
            parts.append(" ".join(data[i : i + 4].hex() for i in range(0, len(data), 4)))
        elif self.contents == "ASCII":
            text = "".join(chr(b) if 32 <= b < 127 else "." for b in data)
            parts.append(" | ")
            parts.append(" ".join(text[i : i + 8] for i in range(0, len(text), 8)))
        return "".join(parts)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.active:
            if self.headroom:
                self.to_host(p, p.headroom, self.shown_bytes)
            else:
                self.to_host(p, 0, self.shown_bytes)
        return p
