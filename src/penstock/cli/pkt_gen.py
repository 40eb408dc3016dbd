"""``pkt-gen``: netmap's generator and receiver, with its options and its lines."""

from __future__ import annotations

import contextlib
import getopt
import math
import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.cli.endpoint import opened
from penstock.toolstack.errors import DomainError

if TYPE_CHECKING:
    from penstock.ring import PortMemory
    from penstock.switch.traffic import Traffic

__all__ = ["main", "run"]

_USAGE = """usage: pkt-gen -i PORT -f FUNCTION [options]
  -i PORT       vale0:p1 (a port of a switch), eth0, netmap:eth0 or pcap:eth0 (an interface), tap:t0, null
  -f FUNCTION   tx rx ping pong txseq rxseq
  -n COUNT      stop after so many frames         -l BYTES      of a frame (60); -l again: the least, sizes are random
  -b BURST      frames at a time (512)            -R PPS        frames a second at most
  -d ADDR[:PORT[-ADDR:PORT]]   destinations (10.1.0.1)   -s …  sources (10.0.0.1)     -D MAC  -S MAC
  -4 -6         IPv4 (usual) or IPv6              -z -Z         random sources, destinations
  -F N          slots of a frame (1)              -M BYTES      of each of them           -r  random payload
  -T MS         between two reports (1000)        -w SECONDS    before it starts (2)      -W  stop when nothing comes
  -A N          also average and deviation over N reports       -B  count 24 bytes of framing
  -X            print frames                      -P FILE       send the frames of a capture      -N  plain numbers
  -a CPU        run on this CPU                   -v            say more
  -c -p -H -I -C -o -e -m   accepted, without effect: one thread, no virtio headers, rings as they are"""
_FUNCTIONS = ("tx", "rx", "ping", "pong", "txseq", "rxseq")
_NOTHING_S = 1.0
#: how often the ring is looked at in vain before going to sleep
_PATIENCE = 100
#: what the kernel sends meanwhile is a small part of the ring
_DEVICE_NAP_S = 0.0001


class UsageError(Exception):
    """What was asked for makes no sense; the message says why."""


@dataclass
class _Options:
    interface: str = ""
    function: str = "rx"
    count: int = 0
    lengths: list[int] = field(default_factory=list)
    burst: int = 0
    rate_pps: int = 0
    src: str = ""
    dst: str = ""
    src_mac: str = "02:00:00:00:00:01"
    dst_mac: str = "ff:ff:ff:ff:ff:ff"
    family: int = 4
    random_src: bool = False
    random_dst: bool = False
    fragments: int = 1
    fragment_bytes: int = 0
    random_payload: bool = False
    report_ms: int = 1000
    wait_s: float = 2.0
    stop_if_empty: bool = False
    window: int = 0
    framing: bool = False
    dump: bool = False
    capture: str = ""
    plain: bool = False
    cpu: int = -1
    verbose: bool = False

    @property
    def is_device(self) -> bool:
        """Frames go through the kernel."""
        return self.interface != "null" and not self.interface.startswith("vale")


_PLAIN_OPTIONS = {"-i": "interface", "-f": "function", "-s": "src", "-d": "dst", "-S": "src_mac", "-D": "dst_mac", "-P": "capture"}
_NUMBERS = {"-n": "count", "-b": "burst", "-R": "rate_pps", "-F": "fragments", "-M": "fragment_bytes", "-T": "report_ms", "-A": "window",
            "-a": "cpu"}
_FLAGS = {"-z": "random_src", "-Z": "random_dst", "-r": "random_payload", "-W": "stop_if_empty", "-B": "framing", "-X": "dump",
          "-N": "plain", "-v": "verbose"}
_UNITS = {"": 1, "k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6, "g": 10**9, "G": 10**9}


def _number(flag: str, text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", text)
    if not found:
        raise UsageError(f"{flag} {text}: a number is expected")
    return int(float(found[1]) * _UNITS[found[2]])


def _parse(words: list[str]) -> _Options:
    try:
        given, rest = getopt.getopt(words, "hi:f:n:l:b:d:s:D:S:a:c:p:T:w:R:XH:P:zZNF:M:IWvrA:BC:o:46e:m:")
    except getopt.GetoptError as error:
        raise UsageError(error.msg) from None
    if rest:
        raise UsageError(f"'{rest[0]}' is not understood")
    o = _Options()
    for flag, value in given:
        if flag == "-h":
            raise UsageError("")
        if flag in _PLAIN_OPTIONS:
            setattr(o, _PLAIN_OPTIONS[flag], value)
        elif flag in _NUMBERS:
            setattr(o, _NUMBERS[flag], _number(flag, value))
        elif flag in _FLAGS:
            setattr(o, _FLAGS[flag], True)
        elif flag in ("-4", "-6"):
            o.family = int(flag[1])
        elif flag == "-l":
            o.lengths.append(_number(flag, value))
        elif flag == "-w":
            o.wait_s = _number(flag, value)
    if not o.interface:
        raise UsageError("-i PORT is needed")
    if o.function not in _FUNCTIONS:
        raise UsageError(f"-f {o.function}: there are {', '.join(_FUNCTIONS)}")
    if not 1 <= o.fragments <= 63:
        raise UsageError(f"-F {o.fragments}: 1 to 63 slots make a frame")
    return o


# Frames

def _templates(o: _Options) -> list[bytes]:
    from penstock.datapath.ports import BUFFER_BYTES
    from penstock.switch.generator import TEMPLATES
    from penstock.switch.static import ethernet_address
    from penstock.switch.traffic import FrameSpec, Range, frames_of

    if capture := o.capture:
        from itertools import islice

        from penstock.packet.capture import CaptureReader

        with contextlib.closing(CaptureReader(capture)) as reader:
            frames = [p.data[:BUFFER_BYTES] for p in islice(reader, TEMPLATES)]
        if not frames:
            raise UsageError(f"{capture}: no frames in it")
        return frames
    length = o.lengths[0] if o.lengths else 60
    if o.fragment_bytes:
        length = o.fragment_bytes
    if not 14 <= length <= BUFFER_BYTES:
        raise UsageError(f"-l {length}: a slot holds 14 to {BUFFER_BYTES} bytes (more with -F, several slots of that size)")
    src, dst = ("10.0.0.1", "10.1.0.1") if o.family == 4 else ("fd00::1", "fd01::1")
    try:
        spec = FrameSpec(
            length, Range.parse(o.src or src, family=o.family), Range.parse(o.dst or dst, family=o.family),
            ethernet_address(o.src_mac).to_bytes(6, "big"), ethernet_address(o.dst_mac).to_bytes(6, "big"),
            least=min(o.lengths) if len(o.lengths) > 1 else 0, random_src=o.random_src, random_dst=o.random_dst,
            random_payload=o.random_payload)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return frames_of(spec)


# Reports

def norm(value: float, *, plain: bool = False) -> str:
    """As the original writes quantities: three digits after the point, and a unit."""
    if plain:
        return f"{value:.0f} "
    for unit in ("", "K", "M", "G"):
        if value < 1000:
            return f"{value:.3f} {unit}"
        value /= 1000
    return f"{value:.3f} T"


class _Reporter:
    """One line for each period, on the standard error output."""

    def __init__(self, o: _Options):
        self.o = o
        self.last = time.monotonic()
        self.packets = self.bytes = self.events = 0
        self.rates: list[float] = []

    def due(self) -> bool:
        return time.monotonic() - self.last >= self.o.report_ms / 1000

    def report(self, packets: int, size: int, events: int) -> None:
        now = time.monotonic()
        passed = now - self.last
        frames, octets, calls = packets - self.packets, size - self.bytes, events - self.events
        if self.o.framing:
            octets += 24 * frames
        spread = ""
        if self.o.window:
            self.rates = [*self.rates, frames / passed][-self.o.window :]
            mean = sum(self.rates) / len(self.rates)
            deviation = math.sqrt(sum((r - mean) ** 2 for r in self.rates) / len(self.rates))
            spread = f"[avg/std {norm(mean)}/{norm(deviation)}pps] "
        n = self.o.plain
        print(f"{time.time():.6f} main_thread [{os.getpid()}] {norm(frames / passed, plain=n)}pps {spread}({norm(frames, plain=n)}pkts "
              f"{norm(8 * octets / passed, plain=n)}bps in {passed * 1e6:.0f} usec) {frames / max(calls, 1):.2f} avg_batch 0 min_space",
              file=sys.stderr, flush=True)
        self.last, self.packets, self.bytes, self.events = now, packets, size, events

    def end(self, what: str, packets: int, size: int, events: int, seconds: float) -> None:
        if not packets:
            print(f"{what} nothing.")
            return
        each = size // packets
        print(f"{what} {packets} packets {size} bytes {events} events {each} bytes each in {seconds:.2f} seconds.")
        rate, bits, raw = (norm(x / max(seconds, 1e-9), plain=self.o.plain) for x in (packets, 8 * size, 8 * (size + 24 * packets)))
        print(f"Speed: {rate}pps Bandwidth: {bits}bps (raw {raw}bps). Average batch: {packets / max(events, 1):.2f} pkts")


# Functions

def _transmit(o: _Options, traffic: Traffic, reporter: _Reporter, stopped: list[int]) -> None:
    burst, events, g = o.burst or 512, 0, traffic.generator
    started = time.monotonic()
    # Many bursts a call: a call costs a microsecond.
    step, idle = burst if o.rate_pps else max(burst, 4096), 0
    while not stopped and (not o.count or g.sent < o.count):
        want = min(step, o.count - g.sent) if o.count else step
        if o.rate_pps:
            ahead = g.sent / o.rate_pps - (time.monotonic() - started)
            if ahead > 0:
                time.sleep(min(ahead, 0.05))
                if reporter.due():
                    reporter.report(g.sent, g.sent_bytes, events)
                continue
        sent = traffic.send(want, burst=burst)
        events += -(-sent // burst)
        idle = 0 if sent else idle + 1
        if idle and o.is_device:
            # The kernel is busy with what it has: to look in vain would take the processor from it.
            time.sleep(_DEVICE_NAP_S)
        elif idle > _PATIENCE:
            traffic.wait_for_room(0.001)
        elif idle:
            os.sched_yield()
        if reporter.due():
            reporter.report(g.sent, g.sent_bytes, events)
    seconds = time.monotonic() - started
    _drain(traffic)
    reporter.end("Sent", g.sent, g.sent_bytes, events, seconds)


def _drain(traffic: Traffic) -> None:
    """What is in the ring is sent before the port goes."""
    from penstock.datapath.ports import HEAD, TAIL

    words, tx, end = traffic.port.words, traffic.port.layout.tx, time.monotonic() + 1
    while words[tx + HEAD] != words[tx + TAIL] and time.monotonic() < end:
        traffic.send(0)
        time.sleep(0.0005)


def _receive(o: _Options, traffic: Traffic, reporter: _Reporter, stopped: list[int]) -> None:
    g, events, last, started, latest, idle = traffic.generator, 0, time.monotonic(), 0.0, 0.0, 0
    dump = _Dump(traffic.port) if o.dump else None
    while not stopped and (not o.count or g.received < o.count):
        if dump is not None:
            dump.look()
        got = traffic.receive(min(4096, o.count - g.received) if o.count else 4096)
        now = time.monotonic()
        if got:
            events, last, idle = events + 1, now, 0
            started, latest = started or now, now
        elif o.stop_if_empty and started and now - last > _NOTHING_S:
            break
        elif idle < _PATIENCE:
            # To be called costs the other side more than to be looked for costs us.
            idle += 1
            os.sched_yield()
        else:
            traffic.wait(0.05)
        if reporter.due():
            reporter.report(g.received, g.received_bytes, events)
    reporter.end("Received", g.received, g.received_bytes, events, latest - started)
    if o.function == "rxseq" and g.received:
        print(f"Sequence: {g.out_of_order} frames were not the next one.")


class _Dump:
    """Print frames before they are taken."""

    def __init__(self, port: PortMemory):
        self.port, self.seen = port, port.words[port.layout.rx]

    def look(self) -> None:
        from penstock.datapath.ports import BUFFER_BYTES, LENGTHS, TAIL

        words, layout = self.port.words, self.port.layout
        while self.seen != words[layout.rx + TAIL]:
            slot = self.seen % layout.slots
            at = 4 * layout.rx + layout.ring_header_bytes + slot * BUFFER_BYTES
            data = bytes(self.port.bytes[at : at + min(words[layout.rx + LENGTHS + slot] & 0xFFFF, BUFFER_BYTES)])
            print(f"ring {self.port.address:#x} cur {slot:5d} len {len(data):5d}")
            for i in range(0, len(data), 16):
                part = data[i : i + 16]
                text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
                print(f"{i:5d}: {' '.join(f'{b:02x}' for b in part):<47}  {text}")
            self.seen = (self.seen + 1) & 0xFFFFFFFF


def _cycles_per_ns() -> float:
    from penstock.datapath.clock import ns_per_cycle_32

    return (1 << 32) / ns_per_cycle_32()


def _ping(o: _Options, traffic: Traffic, reporter: _Reporter, stopped: list[int]) -> None:
    g, per_ns, counts, shown = traffic.generator, _cycles_per_ns(), [0] * 64, 0
    total = 0
    while not stopped and (not o.count or g.sent < o.count):
        traffic.ping()
        if o.rate_pps:
            time.sleep(1 / o.rate_pps)
        if reporter.due() or (o.count and g.sent >= o.count):
            reporter.last = time.monotonic()
            now = list(g.histogram)
            average = (g.rtt_total - total) / max(g.rtt_count - shown, 1) / per_ns
            print(f"count {g.rtt_count - shown} RTT: min {g.rtt_least / per_ns:.0f} av {average:.0f} ns", flush=True)
            for k in range(0, 64, 4):
                row = [int(now[i]) - counts[i] for i in range(k, k + 4)]
                if any(row):
                    low = round(2**k / per_ns)
                    print(f"{k}: {low} .. {round(2 ** (k + 3) / per_ns)}\n\t {' '.join(f'{n:5d}' for n in row)}")
            counts, shown, total = [int(n) for n in now], g.rtt_count, g.rtt_total
    if g.rtt_count:
        print(f"RTT over {g.rtt_count} packets: min {g.rtt_least / per_ns:.0f} av {g.rtt_total / g.rtt_count / per_ns:.0f} ns")
    else:
        print(f"Sent {g.sent} packets, no answer came.")


def _pong(o: _Options, traffic: Traffic, reporter: _Reporter, stopped: list[int]) -> None:
    g, idle, events, started = traffic.generator, 0, 0, time.monotonic()
    while not stopped and (not o.count or g.received < o.count):
        if traffic.pong():
            idle, events = 0, events + 1
        else:
            idle += 1
            # Spin a little: the next ping comes soon after the last answer.
            if idle > 200:
                traffic.wait(0.05)
                idle = 0
        if reporter.due():
            reporter.report(g.received, g.received_bytes, events)
    seconds = time.monotonic() - started
    _drain(traffic)
    reporter.end("Received", g.received, g.received_bytes, events, seconds)


_DO: dict[str, Any] = {"tx": _transmit, "txseq": _transmit, "rx": _receive, "rxseq": _receive, "ping": _ping, "pong": _pong}


def main(arguments: list[str] | None = None) -> int:
    """Run it; gives the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        o = _parse(words)
        return _run(o)
    except UsageError as error:
        print(f"pkt-gen: {error}\n{_USAGE}" if str(error) else _USAGE, file=sys.stderr if str(error) else sys.stdout)
        return 2 if str(error) else 0
    except (DomainError, OSError) as error:
        print(f"pkt-gen: {error}", file=sys.stderr)
        return 1


def _run(o: _Options) -> int:
    from penstock.packet.capture import CaptureError
    from penstock.switch.traffic import Traffic

    stopped: list[int] = []
    sends = o.function in ("tx", "txseq", "ping")
    try:
        templates = _templates(o) if sends else [b""]
    except CaptureError as error:
        raise UsageError(str(error)) from None
    if o.cpu >= 0:
        os.sched_setaffinity(0, {o.cpu})
    with opened(o.interface) as port:
        before = {number: signal.signal(number, lambda number, _: stopped.append(number)) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if o.wait_s and sends and o.interface != "null":
                time.sleep(o.wait_s)
            with Traffic(port, templates, fragments=o.fragments, numbered=o.function in ("txseq", "rxseq"),
                         loose=o.interface == "null") as traffic:
                _DO[o.function](o, traffic, _Reporter(o), stopped)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return 0


def run() -> None:
    sys.exit(main())
