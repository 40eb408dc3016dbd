"""``click``: the userlevel driver's command line, option for option."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from penstock import __version__

__all__ = ["main"]

_USAGE = """\
Usage: click [OPTION]... [ROUTERFILE]

Options:
  -f, --file FILE               Read router configuration from FILE.
  -e, --expression EXPR         Use EXPR as router configuration.
  -j, --threads N               Run parts with queues between them in N threads.
  -p, --port PORT               Listen for control connections on TCP port ('PORT+': or one of the next ten).
  -u, --unix-socket FILE        Listen for control connections on Unix socket.
      --socket FD               Add a file descriptor control connection.
  -R, --allow-reconfigure       Provide a writable 'hotconfig' handler.
  -h, --handler ELEMENT.H       Call ELEMENT's read handler H after running and print result to standard output.
  -x, --exit-handler ELEMENT.H  Use value of ELEMENT's read handler H as the exit code.
  -o, --output FILE             Write flat configuration to FILE.
  -q, --quit                    Do not run driver.
  -t, --time                    Print information on how long driver took.
  -w, --no-warnings             Do not print warnings.
  -a, --affinity[=N]            Pin threads to CPUs, the first one to CPU N (default 0).
      --simtime[=T]             Run in simulated time, from T (default 1000000000).
  -C, --clickpath PATH          Use PATH for CLICKPATH.
      --help                    Print this message and exit.
  -v, --version                 Print version number and exit.
"""
#: long name -> (short name, argument: "" none, "=" required, "?" optional)
_OPTIONS = {
    "file": ("f", "="), "expression": ("e", "="), "threads": ("j", "="), "port": ("p", "="), "unix-socket": ("u", "="),
    "socket": ("", "="), "allow-reconfigure": ("R", ""), "handler": ("h", "="), "exit-handler": ("x", "="),
    "output": ("o", "="), "quit": ("q", ""), "time": ("t", ""), "no-warnings": ("w", ""), "warnings": ("", ""),
    "affinity": ("a", "?"), "no-affinity": ("", ""), "simtime": ("", "?"), "clickpath": ("C", "="), "help": ("", ""),
    "version": ("v", ""),
}
_SHORT = {short: name for name, (short, _) in _OPTIONS.items() if short}


class _UsageError(Exception):
    pass


@dataclass
class _Request:
    """What the command line asks for."""

    file: str | None = None
    expression: str | None = None
    handlers: list[str] = field(default_factory=list)
    exit_handler: str | None = None
    output: str | None = None
    quit: bool = False
    time: bool = False
    warnings: bool = True
    ports: list[str] = field(default_factory=list)
    unix_sockets: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    reconfigure: bool = False
    affinity: int | None = None
    threads: int = 1
    simulated_start_ns: int | None = None
    clickpath: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    show: str = ""


def _long_option(name: str) -> str:
    if name in _OPTIONS:
        return name
    matches = [n for n in _OPTIONS if n.startswith(name)]
    if len(matches) != 1:
        raise _UsageError(f"option '--{name}' is ambiguous" if matches else f"unrecognized option '--{name}'")
    return matches[0]


def _parse(arguments: list[str]) -> _Request:
    request = _Request()
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            for other in rest:
                _positional(request, other)
            break
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            name = _long_option(name)
            kind = _OPTIONS[name][1]
            if kind == "=" and not equals:
                if not rest:
                    raise _UsageError(f"option '--{name}' requires an argument")
                value = rest.pop(0)
            if kind == "" and equals:
                raise _UsageError(f"option '--{name}' doesn't allow an argument")
            _apply(request, name, value)
        elif argument.startswith("-") and len(argument) > 1:
            letters = argument[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter not in _SHORT:
                    raise _UsageError(f"unrecognized option '-{letter}'")
                name = _SHORT[letter]
                value = ""
                if _OPTIONS[name][1] == "=":
                    value, letters = letters, ""
                    if not value:
                        if not rest:
                            raise _UsageError(f"option '-{letter}' requires an argument")
                        value = rest.pop(0)
                elif _OPTIONS[name][1] == "?" and letters.lstrip("=").isdigit():
                    value, letters = letters.lstrip("="), ""
                _apply(request, name, value)
        else:
            _positional(request, argument)
    return request


def _positional(request: _Request, argument: str) -> None:
    name, equals, value = argument.partition("=")
    if equals and name.replace("_", "a").isalnum() and not os.path.exists(argument):
        request.variables[name] = value
    elif request.file is not None or request.expression is not None:
        raise _UsageError("router configuration specified twice")
    else:
        request.file = argument


def _apply(request: _Request, name: str, value: str) -> None:
    match name:
        case "file" | "expression":
            if request.file is not None or request.expression is not None:
                raise _UsageError("router configuration specified twice")
            setattr(request, name, value)
        case "handler":
            request.handlers.append(value)
        case "exit-handler":
            if request.exit_handler is not None:
                raise _UsageError("--exit-handler specified twice")
            request.exit_handler = value
        case "output":
            if request.output is not None:
                raise _UsageError("output file specified twice")
            request.output = value
        case "quit":
            request.quit = True
        case "time":
            request.time = True
        case "no-warnings":
            request.warnings = False
        case "warnings":
            request.warnings = True
        case "port":
            request.ports.append(value)
        case "unix-socket":
            request.unix_sockets.append(value)
        case "socket":
            request.sockets.append(value)
        case "allow-reconfigure":
            request.reconfigure = True
        case "threads":
            if not value.isdigit() or int(value) < 1:
                raise _UsageError("number of threads must be positive")
            request.threads = int(value)
        case "affinity":
            request.affinity = int(value or "0")
        case "no-affinity":
            request.affinity = None
        case "simtime":
            try:
                request.simulated_start_ns = int(float(value or "1000000000") * 1e9)
            except (ValueError, OverflowError):
                raise _UsageError(f"bad time '{value}'") from None
        case "clickpath":
            request.clickpath = value
        case "help" | "version":
            request.show = name


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    try:
        request = _parse(sys.argv[1:] if arguments is None else arguments)
    except _UsageError as error:
        print(f"click: {error}\nTry 'click --help' for more information.", file=sys.stderr)
        return 1
    if request.show == "help":
        print("'Click' runs a Click router at user level. It installs a router, reporting any errors to\n"
              "standard error, and then generally runs until interrupted.\n\n" + _USAGE, end="")
        return 0
    if request.show == "version":
        print(f"click (Click) 2.1 (Penstock {__version__})")
        return 0
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return _run(request)


def _library_path(request: _Request) -> tuple[Path, ...]:
    text = request.clickpath if request.clickpath is not None else os.environ.get("CLICKPATH", "")
    return tuple(Path(folder) / "conf" for folder in text.split(":") if folder)


def _run(request: _Request) -> int:
    from penstock.elements import catalog
    from penstock.lang.load import flatten, read_configuration
    from penstock.lang.source import ConfigurationError, Diagnostics
    from penstock.runtime.driver import wake_on_signals
    from penstock.runtime.image import ImageCache
    from penstock.runtime.router import Router

    diagnostics = Diagnostics()

    def report() -> None:
        for line in diagnostics.click_lines(warnings=request.warnings):
            print(line, file=sys.stderr)
        diagnostics.entries.clear()

    if request.expression is not None:
        text, shown = request.expression, "config"
    else:
        text, shown = read_configuration(request.file or "-", diagnostics)
    flat = None
    if not diagnostics.errors:
        flat = flatten(text, file=shown, known_classes=catalog.is_known, class_names=catalog.class_names,
                       variables=request.variables, library_path=_library_path(request), diagnostics=diagnostics)
    if flat is None or diagnostics.errors:
        report()
        return 1
    if not flat.elements:
        report()
        if request.warnings:
            print(f"warning: {shown}: configuration has no elements, exiting", file=sys.stderr)
        return 0
    if request.affinity is not None:
        os.sched_setaffinity(0, {request.affinity})
    try:
        router = Router(flat, diagnostics=diagnostics, cache=ImageCache(), simulated_start_ns=request.simulated_start_ns,
                        control=_control_elements(request), allow_hotconfig=request.reconfigure, threads=request.threads)
    except ConfigurationError:
        report()
        print("Router could not be initialized!", file=sys.stderr)
        return 1
    router.source_text = text
    report()
    try:
        if request.output is not None:
            _write_flat(request.output, router.configuration.text())
        before = os.times()
        if not request.quit:
            undo = wake_on_signals(router)
            try:
                router.run()
            finally:
                undo()
            while router.successor is not None:
                old, router = router, router.successor
                old.close()
                undo = wake_on_signals(router)
                try:
                    router.run()
                finally:
                    undo()
        router.drain_host()
        if request.time:
            after = os.times()
            print(f"{after.user - before.user:.3f}u {after.system - before.system:.3f}s "
                  f"{_clock_text(after.elapsed - before.elapsed)}", file=sys.stderr)
        status = 0
        if request.handlers:
            status = _print_handlers(router, request.handlers)
        if request.exit_handler is not None:
            status = _exit_status(router, request.exit_handler)
        return status
    finally:
        router.close()
        _flush_output()


def _flush_output() -> None:
    """Whoever read our output may have gone away: then there is nobody to tell."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _clock_text(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:05.2f}"


def _control_elements(request: _Request) -> list[tuple[str, str]]:
    """Configuration of the ControlSockets that the options ask for."""
    wanted: list[tuple[str, str]] = []
    for port in request.ports:
        plus = port.endswith("+")
        wanted.append(("ControlSocket", f"tcp, {port.rstrip('+')}{'+' if plus else ''}"))
    wanted += [("ControlSocket", f"unix, {name}") for name in request.unix_sockets]
    wanted += [("ControlSocket", f"socket, {number}") for number in request.sockets]
    return wanted


def _write_flat(name: str, text: str) -> None:
    if name == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        Path(name).write_text(text)
    except OSError as error:
        print(f"{name}: {error.strerror}", file=sys.stderr)


def _print_handlers(router: object, patterns: list[str]) -> int:
    from penstock.runtime.router import Router

    assert isinstance(router, Router)
    names: list[str] = []
    status = 0
    many = len(patterns) > 1
    for pattern in patterns:
        try:
            found = router.handlers.matching(pattern)
        except LookupError as error:
            message = str(error).replace("no element named", "no element")
            print(message, file=sys.stderr)
            status = 1
            continue
        many = many or found != [pattern]
        names += found
    for name in names:
        try:
            value = router.handlers.read(name)
        except (LookupError, ValueError) as error:
            print(error, file=sys.stderr)
            status = 1
            continue
        if many:
            sys.stdout.write(f"{name}:\n{value}" + ("\n\n" if not value.endswith("\n") else "\n"))
        else:
            sys.stdout.write(value + ("" if value.endswith("\n") else "\n"))
    return status


def _exit_status(router: object, handler: str) -> int:
    from penstock.lang.arguments import ArgumentError, parse_bool
    from penstock.runtime.router import Router

    assert isinstance(router, Router)
    try:
        value = router.handlers.read(handler).strip()
    except LookupError as error:
        print(error, file=sys.stderr)
        return 1
    if value.lstrip("-").isdigit():
        return int(value) & 0xFF
    try:
        return 0 if parse_bool(value) else 1
    except ArgumentError:
        return 255


def run() -> None:
    """The entry point of the installed command."""
    sys.exit(main())


if __name__ == "__main__":
    run()
