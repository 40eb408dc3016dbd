"""ICMPPingResponder and ICMPPingSource."""


from penstock.datapath.checksum import checksum_adjust, checksum_finish
from penstock.elements import Array, ConfigureError, Element, HostPacket, Packet, Timer, boolean, datapath, i64, u16, u32, u64
from penstock.elements.printing import timestamp_text
from penstock.lang.arguments import Bytes, IPAddress, Seconds, UInt16, parse_bool, parse_int, parse_seconds, unparse_ip

__all__ = ["ICMPPingResponder", "ICMPPingSource"]

_HISTORY = 65536


class ICMPPingResponder(Element):
    """Answer ICMP echo requests: addresses exchanged, type 0, checksums right. Others go to output 1, or are dropped.

    The destination annotation is set to the new destination. Packets need their IP header checked before.

    Example:
        ICMPPingSource(1.0.0.1, 1.0.0.2, LIMIT 1, INTERVAL 1ms, STOP true) -> ICMPPingResponder -> IPPrint -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        if ip.protocol != 1 or (ip.fragment & 0x1FFF) != 0 or not p.transport.has(0, 8):
            self.checked_output_push(1, p)
            return None
        icmp = p.icmp
        if icmp.type != 8:
            self.checked_output_push(1, p)
            return None
        src = ip.src
        ip.src = ip.dst
        ip.dst = src
        p.dst_ip = src
        old = p.transport.u16[0]
        icmp.type = 0
        icmp.checksum = checksum_adjust(icmp.checksum, old, p.transport.u16[0])
        p.timestamp = 0
        return p


class ICMPPingSource(Element):
    """Send ICMP echo requests; count and report the replies that come in on the input, where it is used.

    Arguments:
        SRC, DST: addresses.
        INTERVAL: time between requests (1 s).
        IDENTIFIER: of the requests.
        LIMIT: requests to send; negative for no limit.
        DATA: payload.
        ACTIVE: false stops it.
        VERBOSE: report each reply on standard error.
        STOP: stop the driver one INTERVAL after the last request.

    Handlers:
        count, received (read), reset_counts (write), summary (read): as ping prints it.
        rtt_min, rtt_avg, rtt_max (read): seconds.
        src, dst (read), active, limit, interval (read/write).

    Example:
        ICMPPingSource(1.0.0.1, 1.0.0.2, LIMIT 2, INTERVAL 1ms, STOP true) -> IPPrint -> Discard;
    """

    ports = "0-1/1"
    processing = "h/h"
    flow = "x/y"
    may_generate = True

    count: u64
    received: u64
    limit: i64
    active: boolean
    interval_ns: u64
    id: u16
    rtt_total_ns: u64
    rtt_min_ns: u64
    rtt_max_ns: u64

    def configure(self, src: IPAddress, dst: IPAddress, *, interval: Seconds = 1.0, identifier: UInt16 = 0, limit: int = -1,
                  data: Bytes = b"", active: bool = True, verbose: bool = False, stop: bool = False) -> None:
        if interval <= 0:
            raise ConfigureError("INTERVAL: must be > 0")
        if len(data) > 65507:
            raise ConfigureError("DATA: out of range, bound 65507")
        self.src, self.dst, self.identifier, self.content = src, dst, identifier, data
        self.interval_ns, self.limit, self.active = int(interval * 1e9), limit, active
        self.verbose, self.stop = verbose, stop
        self.buffer_bytes = 28 + len(data)
        self.timer = Timer(self)
        #: when each of the last requests went, by sequence number
        self.sent_ns = Array(u64, _HISTORY)

    def started(self) -> None:
        if self.active:
            self.timer.schedule_after(1)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("received", "received")
        self.add_write("reset_counts", self._reset, flags="b")
        self.add_read("src", lambda: unparse_ip(self.src))
        self.add_read("dst", lambda: unparse_ip(self.dst))
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)
        self.add_data("limit", "limit", lambda text: parse_int(text.strip()))
        self.add_read("interval", lambda: f"{self.interval_ns / 1e9:g}")
        self.add_write("interval", lambda text: setattr(self, "interval_ns", max(int(parse_seconds(text.strip()) * 1e9), 1)))
        self.add_read("rtt_min", lambda: timestamp_text(self.rtt_min_ns))
        self.add_read("rtt_max", lambda: timestamp_text(self.rtt_max_ns))
        self.add_read("rtt_avg", lambda: timestamp_text(self.rtt_total_ns // max(self.received, 1)))
        self.add_read("summary", self._summary)

    def _reset(self, text: str) -> None:
        self.count = self.received = self.rtt_total_ns = self.rtt_min_ns = self.rtt_max_ns = 0

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        self.started()

    def _summary(self) -> str:
        lost = 100 * (self.count - min(self.received, self.count)) // max(self.count, 1)
        ms = [ns / 1e6 for ns in (self.rtt_min_ns, self.rtt_total_ns // max(self.received, 1), self.rtt_max_ns)]
        return (f"{self.count} packets transmitted, {self.received} received, {lost}% packet loss\n"
                f"rtt min/avg/max = {ms[0]:.3f}/{ms[1]:.3f}/{ms[2]:.3f} ms\n")

    def host_packet(self, packet: HostPacket) -> None:
        data = packet.data[packet.network or 0 :]
        sequence = int.from_bytes(packet.data[packet.transport or 0 :][6:8], "big")
        print(f"{self.name}: {len(data)} bytes from {unparse_ip(int.from_bytes(data[12:16], 'big'))}: icmp_seq={sequence} "
              f"ttl={data[8]} time={packet.tag / 1e6:.3f} ms", file=self.router.stderr, flush=True)

    @datapath
    def make(self) -> Packet | None:
        p = self.make_packet(28 + len(self.content))
        if p is None:
            return None
        p.set_network(0)
        p.set_transport(20)
        ip = p.ip
        ip.version_length = 0x45
        ip.length = 28 + len(self.content)
        ip.identification = self.id
        self.id += 1
        ip.ttl = 200
        ip.protocol = 1
        ip.src = self.src
        ip.dst = self.dst
        ip.checksum = checksum_finish(p.network.checksum(0, 20))
        icmp = p.icmp
        icmp.type = 8
        icmp.identifier = self.identifier
        icmp.sequence = u32(self.count)
        if len(self.content) > 0:
            p.transport.write(8, self.content)
        icmp.checksum = checksum_finish(p.transport.checksum(0, 8 + len(self.content)))
        p.dst_ip = self.dst
        return p

    @datapath
    def run_timer(self) -> bool:
        if not self.active:
            return False
        if self.limit >= 0 and self.count >= u64(self.limit):
            if self.stop:
                self.stop_driver()
            return False
        p = self.make()
        if p is not None:
            now = self.clock.now()
            p.timestamp = now
            self.sent_ns[u32(self.count) & (_HISTORY - 1)] = now
            self.count += 1
            self.output(0).push(p)
        if self.stop or self.limit < 0 or self.count < u64(self.limit):
            self.timer.schedule_after(self.interval_ns)
        return True

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if p.network.has(0, 20) and p.transport.has(0, 8):
            icmp = p.icmp
            sequence = icmp.sequence
            if p.ip.protocol == 1 and icmp.type == 0 and icmp.identifier == self.identifier and p.ip.src == self.dst:
                sent = self.sent_ns[sequence]
                if sent != 0:
                    self.sent_ns[sequence] = 0
                    rtt = self.clock.now() - sent
                    self.received += 1
                    self.rtt_total_ns += rtt
                    if self.rtt_min_ns == 0 or rtt < self.rtt_min_ns:
                        self.rtt_min_ns = rtt
                    if rtt > self.rtt_max_ns:
                        self.rtt_max_ns = rtt
                    if self.verbose:
                        self.to_host(p, rtt, 64)
        p.kill()
