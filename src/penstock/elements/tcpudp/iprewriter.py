"""IPRewriter, TCPRewriter and UDPRewriter: network address and port translation (NAPT)."""

from functools import partial

from penstock.datapath.checksum import checksum_apply, fold, word_delta
from penstock.elements import NONE, HandlerError, Packet, datapath, u32
from penstock.elements.rewriting import Flow, Rewriter
from penstock.lang.arguments import ArgumentError, Raw, Seconds, UInt32, parse_int, parse_ip, unparse_ip

__all__ = ["IPRewriter", "TCPRewriter", "UDPRewriter"]


class IPRewriter(Rewriter):
    """Rewrite addresses and ports of TCP and UDP packets by flow; replies are rewritten back.

    A packet of a known flow, in either direction and on any input, gets the flow's addresses and ports. For another
    one its input's specification says what happens. Checksums stay right. Packets of other protocols and fragments
    pass on inputs with ``pass``, and are dropped on others.

    When MAPPING_CAPACITY flows are known, a new one replaces one that is past its guarantee, of some that are
    looked at the one nearest to its end; where there is none, the packet is dropped and counted.

    Arguments:
        INPUTSPEC, ...: one for each input: ``drop``; ``pass [OUTPUT]``; ``keep FOUTPUT ROUTPUT``;
            ``pattern SADDR SPORT DADDR DPORT FOUTPUT ROUTPUT``; or a name of IPRewriterPatterns, FOUTPUT and ROUTPUT.
            ``-`` keeps the packet's own value; SADDR may be a range of addresses; SPORT a range of ports: ``L-H`` (the
            packet's own where that can be), ``L-H#`` (in sequence) or ``L-H?`` (at random).
        MAPPING_CAPACITY: flows that are remembered (65536).
        TCP_TIMEOUT, TCP_NODATA_TIMEOUT, TCP_DONE_TIMEOUT: how long a TCP flow is remembered while it works (24 h), before
            there is a reply (5 min), and after FIN or RST (4 min).
        UDP_TIMEOUT, UDP_STREAMING_TIMEOUT: likewise for UDP before and after a reply (5 min).
        TIMEOUT, STREAMING_TIMEOUT: other names of UDP_TIMEOUT and UDP_STREAMING_TIMEOUT.
        GUARANTEE, TCP_GUARANTEE, UDP_GUARANTEE: time in which a flow is not given up for another one (5 s).
        REAP_INTERVAL, REAP_TIME: accepted for compatibility; expired flows are looked for all the time.
        DST_ANNO: set the destination annotation.

    Handlers:
        nmappings, table_size, size (read): flows. mapping_failures, capacity (read).
        table, tcp_table, udp_table (read): the flows. clear (write): forget all.
        tcp_lookup, udp_lookup (read): for ``SADDR SPORT DADDR DPORT`` as parameter, what packets of that flow become.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.1, 1024, 2.0.0.2, 53) -> CheckIPHeader
        -> rw :: IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop); rw[0] -> IPPrint -> Discard;
        rw[1] -> Discard; Idle -> [1] rw;
    """

    protocols: tuple[int, ...] = (6, 17)

    def configure(self, *inputs: Raw, mapping_capacity: UInt32 = 65536, tcp_timeout: Seconds = 86400,
                  tcp_nodata_timeout: Seconds = 300, tcp_done_timeout: Seconds = 240, udp_timeout: Seconds = 300,
                  udp_streaming_timeout: Seconds | None = None, timeout: Seconds | None = None, guarantee: Seconds = 5,
                  tcp_guarantee: Seconds | None = None, udp_guarantee: Seconds | None = None,
                  streaming_timeout: Seconds | None = None, reap_interval: Seconds = 900, reap_time: Seconds = 900,
                  dst_anno: bool = True) -> None:
        first = udp_timeout if timeout is None else timeout
        streaming = streaming_timeout if streaming_timeout is not None else udp_streaming_timeout
        self.setup(inputs, mapping_capacity, guarantee=guarantee if udp_guarantee is None else udp_guarantee, first=first,
                   streaming=first if streaming is None else streaming, done=tcp_done_timeout,
                   tcp_guarantee=guarantee if tcp_guarantee is None else tcp_guarantee, tcp_first=tcp_nodata_timeout,
                   tcp_streaming=tcp_timeout, dst_anno=dst_anno)

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("tcp_table", lambda: self._table(6))
        self.add_read("udp_table", lambda: self._table(17))
        for number, name in ((6, "tcp_lookup"), (17, "udp_lookup")):
            if number in self.protocols:
                self.add_read(name, partial(self._lookup, number), parameter=True)

    def _lookup(self, protocol: int, text: str) -> str:
        words = text.split()
        if len(words) != 4:
            raise HandlerError("expected SADDR SPORT DADDR DPORT")
        try:
            src, dst = (parse_ip(words[i], self.router.context) for i in (0, 2))
            ports = parse_int(words[1], 0, 0xFFFF) << 16 | parse_int(words[3], 0, 0xFFFF)
        except ArgumentError as error:
            raise HandlerError(str(error)) from None
        i = self.table.find((src, dst, ports, protocol))
        if i == NONE:
            raise HandlerError("no such flow")
        flow = self.table.slots[i].value
        return f"{unparse_ip(flow.src)} {flow.ports >> 16} {unparse_ip(flow.dst)} {flow.ports & 0xFFFF}"

    @datapath
    def push(self, port: int, p: Packet) -> None:
        ip = p.ip
        protocol = ip.protocol
        if protocol not in self.protocols or (ip.fragment & 0x1FFF) != 0 or not p.transport.has(0, 8):
            self.untouched(port, p)
            return
        src = ip.src
        dst = ip.dst
        ports = p.transport.u32[0]
        i = self.table.find((src, dst, ports, protocol))
        if i != NONE:
            self.rewrite(p, i)
        else:
            self.unknown(port, p, src, dst, ports, protocol)


class UDPRewriter(IPRewriter):
    """IPRewriter for UDP alone.

    Arguments:
        INPUTSPEC, ...: as IPRewriter's, and so is every other argument.

    Handlers:
        nmappings, table_size, size, mapping_failures, capacity, table, tcp_table, udp_table (read), clear (write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.1, 1024, 2.0.0.2, 53) -> CheckIPHeader
        -> rw :: UDPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop); rw[0] -> IPPrint -> Discard;
        rw[1] -> Discard; Idle -> [1] rw;
    """

    protocols = (17,)


class _MovedFlow(Flow):
    """By how much sequence numbers are moved: before ``turn``, and from there on. Bytes were put in or taken out there."""

    turn: u32
    moved_before: u32
    moved: u32


class TCPRewriter(IPRewriter):
    """IPRewriter for TCP alone; other elements may lengthen or shorten what a flow carries (FTPPortMapper).

    Arguments:
        INPUTSPEC, ...: as IPRewriter's, and so is every other argument.

    Handlers:
        nmappings, table_size, size, mapping_failures, capacity, table, tcp_table, udp_table (read), clear (write).

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader
        -> rw :: TCPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, pass 1); rw[0] -> IPPrint -> Discard;
        rw[1] -> Discard; Idle -> [1] rw;
    """

    protocols = (6,)
    flow_kind = _MovedFlow

    @datapath
    def fill(self, i: u32, peer: u32, old: tuple[int, int, int], new: tuple[int, int, int], output: u32, forward: bool) -> None:
        IPRewriter.fill(self, i, peer, old, new, output, forward)
        flow = self.table.slots[i].value
        flow.turn = 0
        flow.moved_before = 0
        flow.moved = 0

    @datapath
    def move_sequence(self, i: u32, sequence: u32, by: u32) -> None:
        """What the flow's direction ``i`` sends behind this sequence number comes ``by`` bytes later (modulo 2^32) than it was sent.

        The same packet once more changes nothing.
        """
        flow = self.table.slots[i].value
        if by != 0 and flow.turn != sequence + 1:
            flow.moved_before = flow.moved
            flow.moved = flow.moved + by
            flow.turn = sequence + 1

    @datapath
    def rewrite(self, p: Packet, i: u32) -> None:
        if p.transport.has(0, 18):
            flow = self.table.slots[i].value
            peer = self.table.slots[flow.peer].value
            if (flow.moved | flow.moved_before | peer.moved | peer.moved_before) != 0:
                self.move(p, i)
        IPRewriter.rewrite(self, p, i)

    @datapath
    def move(self, p: Packet, i: u32) -> None:
        flow = self.table.slots[i].value
        peer = self.table.slots[flow.peer].value
        sequence: u32 = p.tcp.sequence
        acknowledged: u32 = p.tcp.acknowledgement
        later: u32 = sequence + (u32(flow.moved) if sequence - flow.turn < 0x8000_0000 else u32(flow.moved_before))
        sent: u32 = acknowledged
        if (p.tcp.flags & 16) != 0:
            # What the peer has sent, as it counts: before or behind the place where its numbers were moved.
            sent = acknowledged - peer.moved
            if sent - peer.turn >= 0x8000_0000:
                sent = acknowledged - peer.moved_before
        p.tcp.sequence = later
        p.tcp.acknowledgement = sent
        p.tcp.checksum = checksum_apply(p.tcp.checksum, fold(word_delta(sequence, later) + word_delta(acknowledged, sent)))
