"""FTPPortMapper: FTP's active mode through address translation."""

from __future__ import annotations

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import NONE, ConfigureError, Element, Packet, abstraction, datapath, u32, u64
from penstock.elements.rewriter_patterns import parse_input
from penstock.elements.tcppayload import tcp_payload_bytes
from penstock.elements.tcpudp.iprewriter import IPRewriter, TCPRewriter
from penstock.lang.arguments import ArgumentError, ElementName, Raw
from penstock.lang.text import split_words

__all__ = ["FTPPortMapper"]

#: ``PORT`` and a blank, six numbers of up to three digits, five commas, and the end of the line
_COMMAND_BYTES, _LONGEST_BYTES = 5, 30
_NUMBERS = 6


class FTPPortMapper(Element):
    """Let FTP clients behind an address translation use active mode: what they say of their own address is translated, too.

    Takes what clients send to FTP servers, in front of the rewriter of these connections. A PORT command (RFC 959, section 4.1.2)
    names an address and a port to which the server shall connect, from the port below the one that it listens on. For that
    connection a mapping is made in the other rewriter, and the command gets the address and port that the mapping shows outside. The
    command becomes longer or shorter by that; the first rewriter moves the connection's sequence numbers from there on, but for those
    of selective acknowledgements. A command is taken where it is a packet's whole data, and names the client itself.

    Arguments:
        CONTROL_REWRITER: the TCPRewriter of the connections to servers. DATA_REWRITER: the TCPRewriter or IPRewriter of theirs.
        DATA_PATTERN FOUTPUT ROUTPUT: the pattern by which the client's end is mapped: as an input specification, or a pattern's name.

    Handlers:
        count (read): commands that were rewritten. failures (read): those for which there was no mapping or no room.

    Example:
        data :: IPRewriter(drop, drop); control :: TCPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop);
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader
        -> FTPPortMapper(control, data, pattern 1.0.0.1 20000-30000 - - 0 1) -> [0] control; Idle -> [1] control;
        control[0] -> IPPrint -> Discard; control[1] -> Discard; Idle -> [0] data; Idle -> [1] data;
        data[0] -> Discard; data[1] -> Discard;
    """

    configure_phase = 60

    count: u64
    failures: u64
    asked_ip: u32
    asked_port: u32

    def configure(self, control_rewriter: ElementName, data_rewriter: ElementName, data_pattern: Raw) -> None:
        self.control = self.named(control_rewriter, TCPRewriter)
        self.data = self.named(data_rewriter, IPRewriter)
        if 6 not in self.data.protocols:
            raise ConfigureError(f"'{data_rewriter}' does not rewrite TCP")
        try:
            words = split_words(data_pattern)
            self.spec = parse_input(data_pattern, self.router.context, self.data.noutputs)
        except ArgumentError as error:
            raise ConfigureError(f"DATA_PATTERN: {error}") from None
        if self.spec.kind != "pattern":
            raise ConfigureError(f"DATA_PATTERN: a pattern is expected, not '{words[0]}'")

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("failures", "failures")

    @datapath
    def asks(self, p: Packet, at: u32, size: u32) -> bool:
        """Whether the payload is a PORT command, which then is noted."""
        if size < _COMMAND_BYTES + 13 or size > _LONGEST_BYTES:
            return False
        if (p.transport.u32[at] & 0xDFDF_DFDF) != 0x504F5254 or p.transport.u8[at + 4] != 0x20:
            return False
        total: u64 = 0
        value: u32 = 0
        digits: u32 = 0
        commas: u32 = 0
        for k in range(_LONGEST_BYTES - _COMMAND_BYTES):
            i = u32(k) + _COMMAND_BYTES
            if i + 2 > size:
                return False
            c: u32 = p.transport.u8[at + i]
            if c >= 48 and c <= 57:
                value = value * 10 + (c - 48)
                digits += 1
                if value > 255:
                    return False
            elif digits != 0 and (c == 44 or c == 13):
                total = (total << 8) | value
                value = 0
                digits = 0
                if c == 13:
                    if commas != _NUMBERS - 1 or i + 2 != size or p.transport.u8[at + i + 1] != 10:
                        return False
                    self.asked_ip = u32(total >> 16)
                    self.asked_port = u32(total) & 0xFFFF
                    return self.asked_port != 0
                commas += 1
            else:
                return False
        return False

    @abstraction(of=asks)
    def may_ask(self, p: Packet, at: u32, size: u32) -> bool:
        """Any payload may be a command, with any address and port."""
        self.asked_ip = self.random.next()
        self.asked_port = self.random.next() & 0xFFFF
        return (self.random.next() & 1) != 0

    @datapath
    def number_bytes(self, value: u32) -> u32:
        """Digits of a number below 256."""
        if value >= 100:
            return u32(3)
        return u32(2) if value >= 10 else u32(1)

    @datapath
    def write_number(self, p: Packet, at: u32, value: u32) -> u32:
        """The number, and where it ends."""
        end: u32 = at
        if value >= 100:
            p.transport.u8[end] = 48 + value // 100
            end += 1
        if value >= 10:
            p.transport.u8[end] = 48 + value // 10 % 10
            end += 1
        p.transport.u8[end] = 48 + value % 10
        return end + 1

    @datapath
    def mapped(self, client: u32, server: u32, port: u32) -> u32:
        """The data connection's mapping, as the client's end sees it."""
        ports = (self.asked_port << 16) | ((port - 1) & 0xFFFF)
        i = self.data.table.find((client, server, ports, 6))
        if i != NONE:
            return i
        return self.data.install(self.spec, client, server, ports, u32(6))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.network.has(0, 20) or p.ip.protocol != 6 or (p.ip.fragment & 0x3FFF) != 0 or not p.transport.has(0, 20):
            return p
        head = u32(p.tcp.offset) * 4
        size = tcp_payload_bytes(p)
        if size == 0 or head < 20 or not p.transport.has(0, head + size):
            return p
        if not self.asks(p, head, size):
            return p
        # Only for itself may a client ask for connections: a mapping for somebody else's port would be a hole (RFC 2577, section 3).
        known = self.control.table.find((p.ip.src, p.ip.dst, p.transport.u32[0], 6))
        if known == NONE or self.asked_ip != p.ip.src:
            self.failures += 1
            return p
        i = self.mapped(self.asked_ip, p.ip.dst, p.transport.u32[0] & 0xFFFF)
        if i == NONE:
            self.failures += 1
            return p
        ip: u32 = self.data.table.slots[i].value.src
        port: u32 = self.data.table.slots[i].value.ports >> 16
        longer: u32 = _COMMAND_BYTES + _NUMBERS - 1 + 2
        for shift in (24, 16, 8, 0):
            longer += self.number_bytes((ip >> shift) & 0xFF)
        longer += self.number_bytes(port >> 8) + self.number_bytes(port & 0xFF)
        whole = u32(p.transport_offset) + head + longer
        if whole > p.length:
            if whole - p.length > p.tailroom:
                self.failures += 1
                return p
            p.put(whole - p.length)
        at: u32 = head + _COMMAND_BYTES
        for shift in (24, 16, 8, 0):
            at = self.write_number(p, at, (ip >> shift) & 0xFF)
            p.transport.u8[at] = 44
            at += 1
        at = self.write_number(p, at, port >> 8)
        p.transport.u8[at] = 44
        at = self.write_number(p, at + 1, port & 0xFF)
        p.transport.u8[at] = 13
        p.transport.u8[at + 1] = 10
        if p.length > whole:
            p.take(p.length - whole)
        header = u32(p.ip.header_length) * 4
        p.ip.length = header + head + longer
        p.ip.checksum = 0
        p.ip.checksum = checksum_finish(p.network.checksum(0, header))
        p.tcp.checksum = 0
        p.tcp.checksum = checksum_finish(
            p.transport.checksum(0, head + longer, pseudo_header_sum(p.ip.src, p.ip.dst, u32(6), head + longer)))
        self.control.move_sequence(known, p.tcp.sequence, longer - size)
        self.count += 1
        return p
