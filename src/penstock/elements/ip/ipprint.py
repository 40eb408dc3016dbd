"""IPPrint."""

from penstock.elements import ConfigureError, HostPacket, Packet, datapath
from penstock.elements.printing import PrintElement, timestamp_text
from penstock.lang.arguments import ArgumentError, Filename, parse_bool, unparse_ip

__all__ = ["IPPrint"]

_ICMP_NAMES = {
    0: "echo-reply", 3: "unreachable", 4: "source-quench", 5: "redirect", 8: "echo", 9: "router-advertisement",
    10: "router-solicitation", 11: "time-exceeded", 12: "parameter-problem", 13: "timestamp", 14: "timestamp-reply",
    15: "info-request", 16: "info-reply", 17: "mask-request", 18: "mask-reply",
}


class IPPrint(PrintElement):
    """Print a line for each IP packet on standard error, in the style of tcpdump.

    Arguments:
        LABEL: printed first.
        CONTENTS: print the content: NONE, HEX or ASCII.
        PAYLOAD: print the content behind the transport header: NONE, HEX or ASCII.
        MAXLENGTH: bytes of content or payload to print (1500); NBYTES is the same.
        ID, TTL, TOS, LENGTH: print these fields of the IP header.
        TIMESTAMP: print the timestamp.
        PAINT, AGGREGATE: print these annotations.
        SWAP, BANDWIDTH: accepted for compatibility.
        OUTFILE: write to this file instead of standard error.
        ACTIVE: false prints nothing.

    Handlers:
        active (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPPrint(x) -> Discard;
    """

    def configure(self, label: str = "", *, contents: str = "NONE", payload: str = "NONE", maxlength: int = 1500,
                  nbytes: int | None = None, id: bool = False, ttl: bool = False, tos: bool = False, length: bool = False,
                  timestamp: bool = True, paint: bool = False, aggregate: bool = False, swap: bool = False,
                  outfile: Filename = "", active: bool = True, bandwidth: bool = False) -> None:
        self.setup(active, outfile)
        self.contents, self.payload = self._style(contents, "CONTENTS"), self._style(payload, "PAYLOAD")
        if self.contents and self.payload:
            raise ConfigureError("specify at most one of PAYLOAD and CONTENTS")
        shown = maxlength if nbytes is None else nbytes
        self.shown_bytes = shown if shown >= 0 else 1 << 20
        self.label, self.id, self.ttl, self.tos, self.length = label, id, ttl, tos, length
        self.timestamp, self.paint, self.aggregate = timestamp, paint, aggregate
        self.limit = 256 + (self.shown_bytes if self.contents or self.payload else 0)

    @staticmethod
    def _style(text: str, name: str) -> str:
        word = text.upper()
        if word in ("NONE", "HEX", "ASCII"):
            return "" if word == "NONE" else word
        try:
            return "HEX" if parse_bool(text) else ""
        except ArgumentError:
            raise ConfigureError(f"bad {name} value; should be 'NONE', 'HEX', or 'ASCII'") from None

    def line(self, packet: HostPacket) -> str:
        parts: list[str] = []
        if self.label:
            parts.append(f"{self.label}: ")
        if self.timestamp:
            parts.append(f"{timestamp_text(packet.timestamp_ns)}: ")
        if self.aggregate:
            parts.append(f"#{packet.anno(20, 4)}")
        if self.paint:
            parts.append(f"{'.' if self.aggregate else 'paint '}{packet.anno(16)}")
        if self.aggregate or self.paint:
            parts.append(": ")
        ip = packet.data[packet.network :] if packet.network is not None and packet.network >= 0 else b""
        if len(ip) < 20:
            parts.append("truncated-ip" if packet.network is not None else "(no IP header)")
            return "".join(parts)
        for wanted, word, value in ((self.id, "id", ip[4] << 8 | ip[5]), (self.ttl, "ttl", ip[8]), (self.tos, "tos", ip[1]),
                                    (self.length, "length", ip[2] << 8 | ip[3])):
            if wanted:
                parts.append(f"{word} {value} ")
        parts.append(self._packet(ip))
        parts.append(self._content(packet, ip))
        return "".join(parts)

    def _packet(self, ip: bytes) -> str:
        src, dst = unparse_ip(int.from_bytes(ip[12:16], "big")), unparse_ip(int.from_bytes(ip[16:20], "big"))
        total, header_bytes, protocol = ip[2] << 8 | ip[3], (ip[0] & 15) * 4, ip[9]
        fragment = ip[6] << 8 | ip[7]
        text = ""
        if fragment & 0x1FFF == 0:
            rest = ip[header_bytes:]
            if protocol == 6:
                text = self._tcp(rest, src, dst, total - header_bytes, total)
            elif protocol == 17:
                text = self._udp(rest, src, dst)
            elif protocol == 1:
                text = self._icmp(rest, src, dst)
            else:
                text = f"{src} > {dst}: ip-proto-{protocol}"
        else:
            text = f"{src} > {dst}:"
        if fragment & 0x3FFF:
            more = "+" if fragment & 0x2000 else ""
            text += f" (frag {ip[4] << 8 | ip[5]}:{total - header_bytes}@{(fragment & 0x1FFF) * 8}{more})"
        return text

    @staticmethod
    def _tcp(tcp: bytes, src: str, dst: str, length: int, total: int) -> str:
        if len(tcp) < 18:
            return f"{src} > {dst}: truncated-tcp"
        flags = tcp[13]
        letters = "".join(c for bit, c in ((2, "S"), (1, "F"), (4, "R"), (8, "P")) if flags & bit) or "."
        sequence, acknowledged = int.from_bytes(tcp[4:8], "big"), int.from_bytes(tcp[8:12], "big")
        payload = length - (tcp[12] >> 4) * 4
        end = (sequence + payload + bool(flags & 2) + bool(flags & 1)) & 0xFFFFFFFF
        text = f"{src}.{tcp[0] << 8 | tcp[1]} > {dst}.{tcp[2] << 8 | tcp[3]}: {letters} "
        text += f"{sequence}:{end}({payload},{length},{total})"
        if flags & 16:
            text += f" ack {acknowledged}"
        return text + f" win {tcp[14] << 8 | tcp[15]}"

    @staticmethod
    def _udp(udp: bytes, src: str, dst: str) -> str:
        if len(udp) < 6:
            return f"{src} > {dst}: truncated-udp"
        return f"{src}.{udp[0] << 8 | udp[1]} > {dst}.{udp[2] << 8 | udp[3]}: udp {udp[4] << 8 | udp[5]}"

    @staticmethod
    def _icmp(icmp: bytes, src: str, dst: str) -> str:
        if len(icmp) < 4:
            return f"{src} > {dst}: truncated-icmp"
        name = _ICMP_NAMES.get(icmp[0], f"type-{icmp[0]}")
        text = f"{src} > {dst}: icmp {name}"
        if icmp[0] in (0, 8) and len(icmp) >= 8:
            return f"{text} ({icmp[4] << 8 | icmp[5]}, {icmp[6] << 8 | icmp[7]})"
        return f"{text}" if icmp[0] in (0, 8) else f"{text} code {icmp[1]}"

    def _content(self, packet: HostPacket, ip: bytes) -> str:
        style = self.contents or self.payload
        if not style:
            return ""
        data = packet.data
        if self.payload:
            start = packet.transport
            if start is not None and ip[9] == 6 and len(data) > start + 12:
                start += (data[start + 12] >> 4) * 4
            elif start is not None and ip[9] in (1, 17):
                start += 8
            data = data[start:] if start is not None else b""
        data = data[: self.shown_bytes]
        lines: list[str] = []
        for at in range(0, len(data), 16):
            row = data[at : at + 16]
            if style == "HEX":
                lines.append(f"  {at:4d}: " + " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2)))
            else:
                lines.append(f"  {at:4d}: " + "".join(chr(b) if 32 <= b < 127 else "." for b in row))
        return "".join(f"\n{line}" for line in lines)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.active:
            self.to_host(p, 0, self.limit)
        return p
