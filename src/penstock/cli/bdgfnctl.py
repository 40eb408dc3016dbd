"""``bdgfnctl``: the modules ``ips`` and ``macs`` by the original's command."""

from __future__ import annotations

import getopt
import sys

from penstock.toolstack.client import Client
from penstock.toolstack.errors import DomainError

__all__ = ["main", "run"]

_USAGE = """usage: bdgfnctl <ips|macs> <regfn|addif|delif|listif|port> [options]
  regfn    have the switch use the module; -p PORT: where what is not in the table goes (257: nowhere)
  addif    an address (-4, -6 or -m) and where it goes (-d PORT, or -V NAME)
  delif    take an address out
  listif   what is in the table
  port     -p PORT: where what is not in the table goes
  -b, --bridge N    the switch valeN (0)       -p, --port N    -d, --dest N    -V, --vport NAME
  -m, --mac ADDRESS   -4, --ip4 ADDRESS   -6, --ip6 ADDRESS"""
_NO_PORT = 257
_LONG = ["bridge=", "port=", "dest=", "mac=", "ip4=", "ip6=", "vport="]
_NAMES = {"-b": "bridge", "-p": "port", "-d": "dest", "-m": "mac", "-4": "ip4", "-6": "ip6", "-V": "vport"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) < 2 or words[0] not in ("ips", "macs") or words[1] not in ("regfn", "addif", "delif", "listif", "port"):
        print(_USAGE, file=sys.stderr)
        return 2
    module, verb = words[:2]
    try:
        options, rest = getopt.gnu_getopt(words[2:], "b:p:d:m:4:6:V:", _LONG)
        if rest:
            raise getopt.GetoptError(f"'{rest[0]}' is not understood")
    except getopt.GetoptError as error:
        print(f"bdgfnctl: {error.msg}\n{_USAGE}", file=sys.stderr)
        return 2
    given = {_NAMES.get(flag, flag.lstrip("-")): value for flag, value in options}
    try:
        with Client(start=verb == "regfn") as client:
            _do(client, module, verb, given)
    except (DomainError, OSError) as error:
        print(_mark("noterror", 31))
        print(f"bdgfnctl: {error}", file=sys.stderr)
        return 1
    print(_mark("ok", 32))
    return 0


def _mark(word: str, colour: int) -> str:
    return f"\x1b[{colour}m[{word}]\x1b[0m" if sys.stdout.isatty() else f"[{word}]"


def _default(text: str) -> str:
    return "drop" if text == str(_NO_PORT) else text


def _do(client: Client, module: str, verb: str, given: dict[str, str]) -> None:
    switch = f"vale{given.get('bridge', '0')}"
    if verb == "regfn":
        default = _default(given.get("port", str(_NO_PORT)))
        client.switch_make(switch=switch, module=f"{module} default={default}")
        return
    working = client.switch_module(switch=switch)
    if working != module:
        raise DomainError(f"{switch} uses the module {working}: 'bdgfnctl {module} regfn' has it use {module}")
    match verb:
        case "port":
            if "port" not in given:
                raise DomainError("port needs -p")
            client.switch_command(switch=switch, command=["default", _default(given["port"])])
        case "listif":
            for number, (address, port) in enumerate(client.switch_command(switch=switch, command=["list"])):
                print(f"[{number:04d}] {address} -> {int(port):04d}" if port.isdigit() else f"[{number:04d}] {address} -> {port}")
        case _:
            address = next((given[k] for k in ("ip4", "ip6", "mac") if k in given), None)
            if address is None:
                raise DomainError(f"{verb} needs an address: -4, -6 or -m")
            if verb == "delif":
                client.switch_command(switch=switch, command=["delete", address])
                return
            port = given.get("vport") or given.get("dest") or given.get("port")
            if port is None:
                raise DomainError("addif needs a port: -d or -V")
            [[_, number]] = client.switch_command(switch=switch, command=["add", address, _default(port)])
            print(f"[+] {address:<13} -> {number}")


def run() -> None:
    sys.exit(main())
