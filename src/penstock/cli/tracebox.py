"""``tracebox``: the original's command line and output."""

from __future__ import annotations

import getopt
import os
import sys
from contextlib import ExitStack

__all__ = ["main", "run"]

_HELP = """\
usage: tracebox [OPTIONS] [DESTINATION] [ARGUMENTS]

  -p PROBE      what to send, like 'IP / TCP / mss(9000)'
  -u            a UDP probe              -6            over IPv6
  -d PORT       destination port (80)    -i DEVICE     leave by it, or pcap:OUT:IN
  -m N, -M N    last and first TTL (64, 1)
  -n            no names of routers      -v            values of changed fields
  -j            JSON                     -t SECONDS    for a TTL to answer (1)
  -s FILE       run a Lua script         -l TEXT       run a line of Lua
  -f FILE       write a capture of all that is sent and received
  -w            warnings                 -D            print the filter that replies pass
  -S            don't ask for root       -V            version
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        options, rest = getopt.gnu_getopt(words, "Sl:i:M:m:s:p:d:f:hnv6uwjt:VDCc:")
    except getopt.GetoptError as error:
        print(f"tracebox: {error}; 'tracebox -h' lists the options", file=sys.stderr)
        return 2
    given = dict(options)
    if "-h" in given:
        print(_HELP, end="")
        return 0
    if "-V" in given:
        from penstock import __version__

        print(f"tracebox {__version__} (penstock)")
        return 0
    if "-C" in given or "-c" in given:
        print("tracebox: captures are not uploaded anywhere (-c, -C); -f FILE writes one", file=sys.stderr)
        return 2
    if "-p" in given and ("-s" in given or "-l" in given):
        print("tracebox: -p and -s exclude each other", file=sys.stderr)
        return 2
    script = given.get("-s") or given.get("-l")
    if not rest and not script:
        print(_HELP, end="", file=sys.stderr)
        return 2
    if os.geteuid() != 0 and "-S" not in given and not given.get("-i", "").startswith("pcap:"):
        print("tracebox: needs root, or -S and the capability CAP_NET_RAW", file=sys.stderr)
        return 1
    return _trace(given, rest)


def _number(given: dict[str, str], option: str, default: float) -> float:
    try:
        return float(given.get(option, default))
    except ValueError:
        raise ValueError(f"{option} takes a number, not '{given[option]}'") from None


def _trace(given: dict[str, str], rest: list[str]) -> int:
    from penstock.packet.capture import CaptureWriter
    from penstock.tracebox.api import resolve, trace
    from penstock.tracebox.classic import classic_json, hop_line, title_line
    from penstock.tracebox.names import add_names
    from penstock.tracebox.settings import NetworkError, Settings

    wide = "-6" in given
    try:
        # Three tries of a TTL take one time to answer and a half in all: they overlap.
        settings = Settings(hops_max=int(_number(given, "-m", 64)), hops_min=int(_number(given, "-M", 1)),
                            silence_s=_number(given, "-t", 1.0) * 1.5, interface=given.get("-i"))
        port = int(_number(given, "-d", 80))
        if "-s" in given or "-l" in given:
            return _script(given, rest, settings)
        probe = given.get("-p") or ("IPv6" if wide else "IP") + (" / UDP" if "-u" in given else " / TCP")
        with ExitStack() as stack:
            capture = None
            if "-f" in given:
                capture = CaptureWriter(given["-f"], link_type=101, snap_bytes=65535)
                stack.callback(capture.close)
            if "-D" in given:
                print(f"icmp or icmp6 or src host {resolve(rest[0], wide=wide)}")
            path = trace(rest[0], probe=probe, port=port, wide=wide, settings=settings, capture=capture)
        if "-n" not in given:
            add_names([path])
        if "-j" in given:
            print(classic_json(path, values="-v" in given))
        else:
            print(title_line(path))
            for hop in path.hops:
                print(hop_line(hop, values="-v" in given))
        if path.error or "-w" in given:
            for note in filter(None, [path.error, *path.notes]):
                print(f"tracebox: {note}", file=sys.stderr)
        return 1 if path.error else 0
    except (NetworkError, ValueError) as error:
        print(f"tracebox: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"tracebox: {error.filename or 'error'}: {error.strerror}", file=sys.stderr)
        return 1


def _script(given: dict[str, str], rest: list[str], settings: object) -> int:
    from penstock.tracebox.api import resolve
    from penstock.tracebox.lua import ScriptError, Scripts
    from penstock.tracebox.settings import NetworkError, Settings

    assert isinstance(settings, Settings)
    text, name = given.get("-l", ""), "line"
    if "-s" in given:
        name = given["-s"]
        with open(name, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
        if text.startswith("#!"):
            text = "--" + text
    destination = None
    if rest:
        try:
            destination = resolve(rest[0], wide="-6" in given)
        except NetworkError:
            # The first argument may be for the script alone.
            destination = None
    try:
        scripts = Scripts(settings=settings, destination=destination, arguments=tuple(rest), numeric="-n" in given, values="-v" in given)
        scripts.run(text, name)
    except ScriptError as error:
        print(f"tracebox: {error}", file=sys.stderr)
        return 1
    return 0


def run() -> None:
    """The entry point of the installed command."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
