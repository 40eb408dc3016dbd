"""IPAddrRewriter and IPAddrPairRewriter: network address translation without ports."""

from penstock.elements import NONE, Packet, datapath, u32
from penstock.elements.rewriting import Rewriter
from penstock.lang.arguments import Raw, Seconds, UInt32

__all__ = ["IPAddrPairRewriter", "IPAddrRewriter"]


class IPAddrPairRewriter(Rewriter):
    """Rewrite source and destination addresses of IP packets by pair of addresses; replies are rewritten back.

    Checksums stay right, those of TCP and UDP too.

    Arguments:
        INPUTSPEC, ...: one for each input: ``drop``; ``pass [OUTPUT]``; ``keep FOUTPUT ROUTPUT``;
            ``pattern SADDR DADDR FOUTPUT ROUTPUT``. ``-`` keeps the packet's own address; SADDR may be a range.
        MAPPING_CAPACITY: flows that are remembered (65536).
        TIMEOUT: how long (2 h). GUARANTEE: time in which a flow is not given up for another one (5 s).
        DST_ANNO: set the destination annotation. REAP_INTERVAL, REAP_TIME: accepted for compatibility.

    Handlers:
        nmappings, table_size, size, mapping_failures, capacity, table (read), clear (write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.1, 1024, 2.0.0.2, 53) -> CheckIPHeader
        -> rw :: IPAddrPairRewriter(pattern 1.0.0.1 - 0 1, drop); rw[0] -> IPPrint -> Discard;
        rw[1] -> Discard; Idle -> [1] rw;
    """

    with_ports = False

    def configure(self, *inputs: Raw, mapping_capacity: UInt32 = 65536, timeout: Seconds = 7200, guarantee: Seconds = 5,
                  reap_interval: Seconds = 900, reap_time: Seconds = 900, dst_anno: bool = True) -> None:
        self.setup(inputs, mapping_capacity, guarantee=guarantee, first=timeout, streaming=timeout, done=timeout,
                   dst_anno=dst_anno)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        ip = p.ip
        src = ip.src
        dst = ip.dst
        i = self.table.find((src, dst, u32(0), u32(0)))
        if i != NONE:
            self.rewrite(p, i)
        else:
            self.unknown(port, p, src, dst, u32(0), u32(0))


class IPAddrRewriter(Rewriter):
    """Rewrite the source address of IP packets; the destination address of replies is rewritten back.

    Checksums stay right, those of TCP and UDP too.

    Arguments:
        INPUTSPEC, ...: one for each input: ``drop``; ``pass [OUTPUT]``; ``keep FOUTPUT ROUTPUT``;
            ``pattern SADDR FOUTPUT ROUTPUT``. SADDR may be a range of addresses.
        MAPPING_CAPACITY: addresses that are remembered (65536).
        TIMEOUT: how long (2 h). GUARANTEE: time in which one is not given up for another one (5 s).
        DST_ANNO: set the destination annotation. REAP_INTERVAL, REAP_TIME: accepted for compatibility.

    Handlers:
        nmappings, table_size, size, mapping_failures, capacity, table (read), clear (write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.1, 1024, 2.0.0.2, 53) -> CheckIPHeader
        -> rw :: IPAddrRewriter(pattern 1.0.0.1-1.0.0.20 0 1, drop); rw[0] -> IPPrint -> Discard;
        rw[1] -> Discard; Idle -> [1] rw;
    """

    with_ports = False
    with_destination = False

    def configure(self, *inputs: Raw, mapping_capacity: UInt32 = 65536, timeout: Seconds = 7200, guarantee: Seconds = 5,
                  reap_interval: Seconds = 900, reap_time: Seconds = 900, dst_anno: bool = True) -> None:
        self.setup(inputs, mapping_capacity, guarantee=guarantee, first=timeout, streaming=timeout, done=timeout,
                   dst_anno=dst_anno)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        src = p.ip.src
        i = self.table.find((src, u32(0), u32(0), u32(0)))
        if i == NONE:
            i = self.table.find((u32(0), p.ip.dst, u32(0), u32(0)))
        if i != NONE:
            self.rewrite(p, i)
        else:
            self.unknown(port, p, src, u32(0), u32(0), u32(0))
