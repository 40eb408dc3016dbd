"""``penstock vm`` and ``cosmos``: domains, by the commands of the original toolstack and what a user of xl expects."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.toolstack.client import Client
from penstock.toolstack.errors import DomainError, NoToolstack

__all__ = ["COMMANDS", "add_arguments", "cosmos", "main"]

_Options = argparse.Namespace


def _create(client: Client, o: _Options, phases: _Phases) -> None:
    path = o.defconfig or o.file
    if path is None:
        raise DomainError("create needs a domain file")
    made = client.create(path=os.path.abspath(path), paused=o.paused)
    phases.mark("Created domain", made["phases"])
    if made["ignored"]:
        print(f"{path}: not used here: {', '.join(made['ignored'])}", file=sys.stderr)
    for remark in made["remarks"]:
        print(f"{made['name']}: {remark}", file=sys.stderr)
    if not o.quiet:
        print(f"{made['name']}: domain {made['id']} is {made['state']} ({made['isolation']})")


def _start(client: Client, o: _Options, phases: _Phases) -> None:
    print(f"Domain ID for {o.domain}: {_info(client, o.domain)['id']}", file=sys.stderr)
    print(f"Location of click script: {o.script}", file=sys.stderr)
    if not Path(o.script).is_file():
        raise DomainError(f"{o.script}: no such file")
    number = client.start(name=o.domain, path=os.path.abspath(o.script), number=o.config)
    phases.mark("Started configuration", _last_install(client, o.domain) if phases.wanted else {})
    print(f"[ {o.domain} ][ {number} ]: installed new router.", file=sys.stderr)


def _last_install(client: Client, domain: str) -> dict[str, float]:
    phases: dict[str, float] = client.phases(name=domain)
    return {what: phases[what] for what in ("image ready", "configuration installed") if what in phases}


def _swap(client: Client, o: _Options, phases: _Phases) -> None:
    client.swap(name=o.domain, path=os.path.abspath(o.script), number=o.config or 0)
    phases.mark("Swapped configuration")


def _stop(client: Client, o: _Options, phases: _Phases) -> None:
    client.stop(name=o.domain, number=o.config)


def _remove(client: Client, o: _Options, phases: _Phases) -> None:
    client.remove(name=o.domain, number=o.config)


def _destroy(client: Client, o: _Options, phases: _Phases) -> None:
    client.destroy(name=o.domain)
    phases.mark("Destroyed domain")


def _list(client: Client | None, o: _Options, phases: _Phases) -> None:
    infos = client.list(name=o.domain or "") if client is not None else []
    if o.json or o.names:
        print(json.dumps(infos, indent=2) if o.json else "\n".join(i["name"] for i in infos))
        return
    print(f"{'Name':<32} {'ID':>5} {'Mem':>5} {'VCPUs':>5} {'State':<8} {'Time(s)':>9}  {'Isolation':<9} Configurations")
    for info in infos:
        configurations = " ".join(f"{c['number']}:{c['status']}" for c in info["configurations"]) or "-"
        print(f"{info['name']:<32} {info['id']:>5} {info['memory_mib']:>5} {info['vcpus']:>5} {info['state']:<8} "
              f"{info['cpu_s']:>9.1f}  {info['isolation']:<9} {configurations}")


def _console(client: Client, o: _Options, phases: _Phases) -> None:
    since = 0
    while True:
        for number, _, text in client.console(name=o.domain, since=since, wait_s=5.0 if o.follow and since else 0.0):
            since = number + 1
            print(text, flush=True)
        if not o.follow:
            return
        since = max(since, 1) if since else since
        if not since:
            time.sleep(0.2)


def _pause(client: Client, o: _Options, phases: _Phases) -> None:
    client.pause(name=o.domain)


def _unpause(client: Client, o: _Options, phases: _Phases) -> None:
    client.unpause(name=o.domain)


def _read(client: Client, o: _Options, phases: _Phases) -> None:
    value = client.read(name=o.domain, handler=f"{o.element}.{o.handler}", number=o.config)
    phases.mark("Read handler")
    print(f"read({o.element}/{o.handler}) => {value}")


def _write(client: Client, o: _Options, phases: _Phases) -> None:
    client.write(name=o.domain, handler=f"{o.element}.{o.handler}", value=o.value, number=o.config)
    phases.mark("Wrote handler")
    print(f"write({o.element}/{o.handler}, {o.value})")


def _handlers(client: Client, o: _Options, phases: _Phases) -> None:
    print("\n".join(client.handlers(name=o.domain, number=o.config)))


def _rename(client: Client, o: _Options, phases: _Phases) -> None:
    client.rename(name=o.domain, new_name=o.new_name)


def _top(client: Client, o: _Options, phases: _Phases) -> None:
    """CPU shares over an interval; on a terminal again and again."""
    live = sys.stdout.isatty() and not o.once
    before, at = {i["id"]: i["cpu_s"] for i in client.list()}, time.monotonic()
    while True:
        time.sleep(o.interval)
        infos, now = client.list(), time.monotonic()
        if live:
            sys.stdout.write("\x1b[H\x1b[2J")
        print(f"{'Name':<32} {'ID':>5} {'State':<8} {'CPU%':>6} {'CPU(s)':>9} {'Mem(MiB)':>9}")
        rows = [(100 * (i["cpu_s"] - before.get(i["id"], i["cpu_s"])) / (now - at), i) for i in infos]
        for share, info in sorted(rows, key=lambda row: -row[0]):
            print(f"{info['name']:<32} {info['id']:>5} {info['state']:<8} {share:>6.1f} {info['cpu_s']:>9.1f} {info['memory_mib']:>9}")
        sys.stdout.flush()
        if not live:
            return
        before, at = {i["id"]: i["cpu_s"] for i in infos}, now


def _snapshot(client: Client, o: _Options, phases: _Phases) -> None:
    size = client.snapshot(name=o.domain, path=os.path.abspath(o.file), destroy=o.command == "suspend")
    phases.mark("Saved domain")
    if not o.quiet:
        print(f"{o.file}: {size} bytes")


def _restore(client: Client, o: _Options, phases: _Phases) -> None:
    made = client.restore(path=os.path.abspath(o.file), name=o.name or "", paused=o.paused)
    phases.mark("Restored domain")
    if not o.quiet:
        print(f"{made['name']}: domain {made['id']} is {made['state']} ({made['isolation']})")


def _clone(client: Client, o: _Options, phases: _Phases) -> None:
    made = client.clone(name=o.domain, new_name=o.new_name, paused=o.paused)
    phases.mark("Cloned domain")
    print(f"{made['name']}: domain {made['id']} is {made['state']} ({made['isolation']})")


def _migrate(client: Client, o: _Options, phases: _Phases) -> None:
    command = ["sh", "-c", o.host] if o.ssh == "" else [*shlex.split(o.ssh), o.host, "cosmos", "migrate-receive"]
    report = client.migrate(name=o.domain, command=command)
    phases.mark("Moved domain")
    print(f"{o.domain}: moved to {o.host}: {report['silence_ms']:.1f} ms of silence, {report['bytes_sent']} bytes")


def _move_flows(client: Client, o: _Options, phases: _Phases) -> None:
    moved = client.move_flows(name=o.domain, target=o.target, element=o.element, source_prefix=o.prefix)
    phases.mark("Moved flows")
    print(f"{moved} flows moved from {o.domain} to {o.target}")


def _migrate_receive(client: Client, o: _Options, phases: _Phases) -> None:
    client.relay_migration(sys.stdin.buffer, sys.stdout.buffer)


def _log(client: Client, o: _Options, phases: _Phases) -> None:
    print("\n".join(client.log()))


def _shutdown(client: Client, o: _Options, phases: _Phases) -> None:
    client.shutdown()


def _schema(client: Client | None, o: _Options, phases: _Phases) -> None:
    from penstock.toolstack.domainfile import schema

    print(json.dumps(schema(), indent=2))


def _completion(client: Client | None, o: _Options, phases: _Phases) -> None:
    """A script for bash; domain names are asked for when they are needed."""
    named = " ".join(sorted(n for n, c in COMMANDS.items() if any(a.startswith("domain") for a in c.arguments)))
    print(f"""# cosmos and penstock vm: eval "$(cosmos completion)"
_penstock_vm() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" at=$1
    if [ "$COMP_CWORD" -eq "$at" ]; then
        COMPREPLY=($(compgen -W "{' '.join(COMMANDS)}" -- "$word"))
    elif [ "$COMP_CWORD" -eq $((at + 1)) ] && [[ " {named} " == *" ${{COMP_WORDS[at]}} "* ]]; then
        COMPREPLY=($(compgen -W "$(cosmos list --names 2>/dev/null)" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
_cosmos() {{ _penstock_vm 1; }}
_penstock() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}"
    if [ "${{COMP_WORDS[1]}}" = vm ] && [ "$COMP_CWORD" -ge 2 ]; then _penstock_vm 2; else COMPREPLY=($(compgen -f -- "$word")); fi
}}
complete -o filenames -F _cosmos cosmos
complete -o filenames -F _penstock penstock""")


class _Command:
    """``needs`` says what to do without a toolstack: ``start`` one, refuse (``running``), or go on (``none``)."""

    def __init__(self, do: Callable[..., None], help_text: str, *arguments: str, needs: str = "running"):
        self.do, self.help, self.arguments, self.needs = do, help_text, arguments, needs


#: name -> what it does; arguments by the names in _ARGUMENTS
COMMANDS: dict[str, _Command] = {
    "create": _Command(_create, "make and start a domain from its file", "file?", "-f", "-q", "-p", needs="start"),
    "start": _Command(_start, "install and run a Click configuration in a domain", "domain", "script", "-c"),
    "swap": _Command(_swap, "replace a running configuration, keeping its state", "domain", "script", "-c"),
    "stop": _Command(_stop, "halt a configuration", "domain", "config"),
    "remove": _Command(_remove, "take a configuration out of its domain", "domain", "config"),
    "destroy": _Command(_destroy, "end a domain", "domain", "--force"),
    "list": _Command(_list, "the domains, or one of them", "domain?", "--json", "--names", needs="none"),
    "ps": _Command(_list, "the same as list", "domain?", "--json", "--names", needs="none"),
    "console": _Command(_console, "what a domain's elements printed, and what happened to it", "domain", "--follow"),
    "pause": _Command(_pause, "have a domain stand still", "domain"),
    "unpause": _Command(_unpause, "have a paused domain go on", "domain"),
    "read": _Command(_read, "read a handler", "domain", "element", "handler", "-c"),
    "write": _Command(_write, "write a handler", "domain", "element", "handler", "value", "-c"),
    "handlers": _Command(_handlers, "list the handlers of a domain", "domain", "-c"),
    "rename": _Command(_rename, "give a domain another name", "domain", "new_name"),
    "top": _Command(_top, "who uses the processor", "--interval", "--once"),
    "snapshot": _Command(_snapshot, "write a domain's state to a file", "domain", "file", "-q"),
    "suspend": _Command(_snapshot, "write a domain's state to a file, and end it", "domain", "file", "-q"),
    "restore": _Command(_restore, "make a domain from its saved state", "file", "--name", "-q", "-p", needs="start"),
    "resume": _Command(_restore, "the same as restore", "file", "--name", "-q", "-p", needs="start"),
    "clone": _Command(_clone, "make a second domain with the state of a running one", "domain", "new_name", "-p"),
    "migrate": _Command(_migrate, "move a running domain to another toolstack, over ssh", "domain", "host", "-s"),
    "migrate-receive": _Command(_migrate_receive, "what migrate runs at the other end", needs="start"),
    "move-flows": _Command(_move_flows, "move the flows of an element from some sources to another domain", "domain", "target", "element",
                           "prefix"),
    "log": _Command(_log, "what happened to all domains"),
    "completion": _Command(_completion, "a script that makes bash complete commands and the names of domains", needs="none"),
    "schema": _Command(_schema, "the JSON schema of domain files in TOML", needs="none"),
    "shutdown": _Command(_shutdown, "end the toolstack and all its domains"),
}
_ARGUMENTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "domain": (("domain",), {"help": "its name or id"}),
    "domain?": (("domain",), {"nargs": "?", "help": "its name or id"}),
    "file": (("file",), {"help": "the file"}),
    "file?": (("file",), {"nargs": "?", "help": "the domain file (xl's format, or .toml)"}),
    "script": (("script",), {"help": "a Click configuration"}),
    "config": (("config",), {"type": int, "help": "the number of the configuration"}),
    "element": (("element",), {"help": "an element's name"}),
    "handler": (("handler",), {"help": "a handler's name"}),
    "value": (("value",), {"nargs": "?", "default": "", "help": "the value"}),
    "new_name": (("new_name",), {"help": "the new name"}),
    "target": (("target",), {"help": "the other domain"}),
    "prefix": (("prefix",), {"help": "an IPv4 prefix of source addresses"}),
    "host": (("host",), {"help": "where to (with -s '': the command to talk to)"}),
    "-s": (("-s", "--ssh"), {"default": "ssh", "metavar": "COMMAND", "help": "instead of ssh; empty: HOST is the whole command"}),
    "-f": (("-f", "--defconfig"), {"metavar": "FILE", "help": "the domain file"}),
    "-q": (("-q", "--quiet"), {"action": "store_true", "help": "print nothing"}),
    "-p": (("-p", "--paused"), {"action": "store_true", "help": "paused at first"}),
    "-c": (("-c", "--config"), {"type": int, "metavar": "N", "help": "which configuration, where there are several"}),
    "--force": (("-f", "--force"), {"action": "store_true", "help": "without waiting for the domain"}),
    "--json": (("--json",), {"action": "store_true", "help": "as JSON"}),
    "--names": (("--names",), {"action": "store_true", "help": "the names alone"}),
    "--follow": (("-f", "--follow"), {"action": "store_true", "help": "go on as more comes"}),
    "--name": (("-n", "--name"), {"help": "under another name, with addresses of its own"}),
    "--interval": (("-i", "--interval"), {"type": float, "default": 1.0, "metavar": "S", "help": "seconds between two looks"}),
    "--once": (("--once",), {"action": "store_true", "help": "one look"}),
}


class _Phases:
    """Where the time went, for ``-t``."""

    def __init__(self, wanted: bool):
        self.wanted, self._last = wanted, time.perf_counter()

    def mark(self, what: str, parts: Mapping[str, float] | None = None) -> None:
        """``parts`` are what the toolstack says of the time in between."""
        now = time.perf_counter()
        if self.wanted:
            print(f"{what} in {now - self._last:f} s", file=sys.stderr)
            for part, seconds in (parts or {}).items():
                print(f"  {part} in {seconds:f} s", file=sys.stderr)
        self._last = now


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is done")
    parser.add_argument("-t", "--time", action="store_true", help="say where the time went")
    parser.add_argument("--socket", type=Path, help="the toolstack's socket, where it is not the usual one")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for word, command in COMMANDS.items():
        one = commands.add_parser(word, help=command.help, description=command.help.capitalize() + ".")
        for argument in command.arguments:
            flags, options = _ARGUMENTS[argument]
            one.add_argument(*flags, **options)


def main(name: str, options: argparse.Namespace) -> int:
    command = COMMANDS[options.command]
    phases = _Phases(options.time)
    try:
        if command.needs == "none":
            client = None
            if command.do is _list:
                with contextlib.suppress(NoToolstack):
                    client = Client(options.socket, start=False)
            command.do(client, options, phases)
            return 0
        with Client(options.socket, start=command.needs == "start") as client:
            phases.mark("Reached the toolstack")
            if options.verbose:
                print(f"toolstack at {client.path}", file=sys.stderr)
            command.do(client, options, phases)
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except (DomainError, OSError) as error:
        print(f"{'penstock vm' if name == 'vm' else name}: {error}", file=sys.stderr)
        return 1
    return 0


def _info(client: Client, domain: str) -> dict[str, Any]:
    found: Sequence[dict[str, Any]] = client.list(name=domain)
    return found[0]


def cosmos(arguments: list[str] | None = None) -> int:
    """The original toolstack's command: the same commands under its name."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="cosmos", description="Domains: virtual machines that run Click configurations.")
    add_arguments("cosmos", parser)
    if not words:
        parser.print_help()
        return 1
    if words == ["help"]:
        parser.print_help()
        return 0
    try:
        return main("cosmos", parser.parse_args(words))
    except KeyboardInterrupt:
        return 130


def run_cosmos() -> None:
    sys.exit(cosmos())
