"""``penstock tap vale0:p1 | wireshark -k -i -``: a port's frames as a capture."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from penstock.toolstack.errors import DomainError

__all__ = ["add_arguments", "main"]

_SNAP_BYTES = 65535


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", help="the port, as in vale0:p1")
    parser.add_argument("-w", "--write", default="-", metavar="FILE", help="where to (-: the standard output; .pcap is the older format, "
                                                                          ".gz compresses)")
    parser.add_argument("-c", "--count", type=int, default=0, metavar="N", help="stop after N frames")
    parser.add_argument("--slots", type=int, default=4096, metavar="N", help="frames that may wait (4096)")
    parser.add_argument("--socket", type=Path, help="the toolstack's socket, where it is not the usual one")


def main(name: str, options: argparse.Namespace) -> int:
    from penstock.packet.capture import CaptureWriter
    from penstock.ring import RingError
    from penstock.toolstack.openport import RemotePort

    if options.write == "-" and sys.stdout.isatty():
        print("penstock tap: the capture would go to the terminal (penstock tap PORT -w FILE, or | wireshark -k -i -)", file=sys.stderr)
        return 2
    switch, _, tapped = options.port.partition(":")
    stopped: list[int] = []
    count = 0
    try:
        with RemotePort(f"{switch}:{tapped}.tap{os.getpid()}", slots=options.slots, tap_of=tapped, path=options.socket) as port:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: stopped.append(number))
            next_generation = not options.write.removesuffix(".gz").endswith(".pcap")
            writer = CaptureWriter(options.write, snap_bytes=_SNAP_BYTES, nanoseconds=True, next_generation=next_generation)
            try:
                writer.flush()
                while not stopped and (not options.count or count < options.count) and port.is_there:
                    frame = port.receive(0.1)
                    while frame is not None:
                        writer.write(frame, time.time_ns())
                        count += 1
                        frame = None if options.count and count >= options.count else port.receive()
                    writer.flush()
            finally:
                writer.close()
    except BrokenPipeError:
        raise
    except (DomainError, RingError, OSError) as error:
        print(f"penstock tap: {error}", file=sys.stderr)
        return 1
    print(f"{count} frames", file=sys.stderr)
    return 0
