"""FromDAGDump and FromNLANRDump: traces of traffic monitors."""

from __future__ import annotations

from penstock.elements import ConfigureError, Packet, datapath
from penstock.elements.userlevel.fromdump import FromDump
from penstock.lang.arguments import Filename
from penstock.packet.monitortraces import DAG_LAYOUTS, DagReader, TshReader
from penstock.packet.tracefile import TraceFile

__all__ = ["FromDAGDump", "FromNLANRDump"]


class _FromMonitor(FromDump):
    """With a second output, what is not IP goes there."""

    ports = "0/1-2"
    processing = "a/ah"

    @datapath
    def accept(self, p: Packet) -> Packet | None:
        kept = FromDump.accept(self, p)
        if kept is None:
            return None
        if self.force_ip and not kept.has_network:
            if self.noutputs > 1:
                self.output(1).push(kept)
            else:
                kept.kill()
            return None
        return kept


class FromDAGDump(_FromMonitor):
    """Read packets from a trace of an Endace DAG card, plain or gzip; ``-`` is standard input.

    As FromDump. With FORCE_IP, what is not IP goes to the second output, where there is one.

    Arguments:
        FILENAME: the file.
        ENCAP: ERF (extensible records), or what the older records of 64 bytes carry: ATM, ETHER, PPP.
        STOP, TIMING, ACTIVE, SAMPLE, FORCE_IP, START, START_AFTER, END, END_AFTER, INTERVAL, END_CALL, BURST: as FromDump's.
        FILEPOS: where in the file to start. MMAP: accepted for compatibility.

    Handlers:
        count, filename, encap, filepos, packet_filepos, filesize (read). active, sampling_prob (read/write).
        extend_interval, stop, reset_counts (write).

    Example:
        FromDAGDump(f.pcap, ENCAP ETHER, ACTIVE false) -> Discard; DriverManager(stop);
    """

    def configure(self, filename: Filename, *, encap: str = "ERF", stop: bool = False, timing: bool = False, active: bool = True,
                  sample: float = 1.0, force_ip: bool = False, start: str = "", start_after: str = "", end: str = "",
                  end_after: str = "", interval: str = "", end_call: str = "", filepos: int = 0, mmap: bool = False,
                  burst: int = 32) -> None:
        super().configure(filename, stop=stop, timing=timing, active=active, sample=sample, force_ip=force_ip, start=start,
                          start_after=start_after, end=end, end_after=end_after, interval=interval, end_call=end_call, filepos=filepos,
                          burst=burst)
        self.layout = encap.upper()
        if self.layout != "ERF" and self.layout not in DAG_LAYOUTS:
            raise ConfigureError(f"ENCAP: '{encap}' is none of ERF, {', '.join(DAG_LAYOUTS)}")
        self.keeps_others = self.noutputs > 1

    def open_trace(self) -> TraceFile:
        return DagReader(self.filename, self.layout)


class FromNLANRDump(_FromMonitor):
    """Read packets from a trace of NLANR's monitors in the format TSH (``.tsh``), plain or gzip; ``-`` is standard input.

    Packets start at their IP header, with network and transport header positions; of each there are 36 bytes. The older formats FR
    and FR+ are not read.

    Arguments:
        FILENAME: the file.
        FORMAT: ``tsh``.
        STOP, TIMING, ACTIVE, SAMPLE, START, START_AFTER, END, END_AFTER, INTERVAL, END_CALL, BURST: as FromDump's.
        FILEPOS: where in the file to start. FORCE_IP, MMAP: accepted for compatibility: all packets are IP.

    Handlers:
        count, filename, encap, filepos, packet_filepos, filesize (read). active, sampling_prob (read/write).
        extend_interval, stop, reset_counts (write).

    Example:
        FromNLANRDump(f.pcap, FORMAT tsh, ACTIVE false) -> Discard; DriverManager(stop);
    """

    def configure(self, filename: Filename, *, format: str = "tsh", stop: bool = False, timing: bool = False, active: bool = True,
                  sample: float = 1.0, force_ip: bool = True, start: str = "", start_after: str = "", end: str = "",
                  end_after: str = "", interval: str = "", end_call: str = "", filepos: int = 0, mmap: bool = False,
                  burst: int = 32) -> None:
        super().configure(filename, stop=stop, timing=timing, active=active, sample=sample, force_ip=True, start=start,
                          start_after=start_after, end=end, end_after=end_after, interval=interval, end_call=end_call, filepos=filepos,
                          burst=burst)
        if format.lower() != "tsh":
            raise ConfigureError(f"FORMAT: '{format}' is not read (tsh is)")
        self.keeps_others = self.noutputs > 1

    def open_trace(self) -> TraceFile:
        return TshReader(self.filename)
