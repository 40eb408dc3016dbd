"""IPRewriter, TCPRewriter and UDPRewriter: network address and port translation (NAPT)."""

from penstock.elements import NONE, Packet, datapath
from penstock.elements.rewriting import Rewriter
from penstock.lang.arguments import Raw, Seconds, UInt32

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


class TCPRewriter(IPRewriter):
    """IPRewriter for TCP alone.

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
