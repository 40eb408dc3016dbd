"""``vale-ctl``: VALE's own command, with its options and its lines."""

from __future__ import annotations

import getopt
import sys
from typing import Any

from penstock.toolstack.client import Client
from penstock.toolstack.errors import DomainError, NoToolstack

__all__ = ["main", "run"]

_USAGE = """usage: vale-ctl [options]
  (no option)         list the ports of all switches
  -a valeX:if         attach an interface           -d valeX:if   detach it
  -h valeX:if         attach an interface, and a port for the host's stack (a TAP interface named if-host)
  -n if               make an interface of the host that stays   -r if   destroy it
  -l valeX:port       the numbers of the switch and of the port
  -g valeX:port       rings and slots
  -C x[,y[,z[,w]]]    with -a, -h, -n: slots of the rings (the first number counts; rings are one each way)
  -m id, -v           accepted
  --2014              list in the older format: bdg_ctl [149] bridge:0 port:0 vale0:eth0"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit status (the original's list ended with 1 where all was well)."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        options, rest = getopt.getopt(words, "d:a:h:g:l:n:r:C:p:P:m:v", ["2014", "help"])
    except getopt.GetoptError as error:
        print(f"vale-ctl: {error.msg}\n{_USAGE}", file=sys.stderr)
        return 2
    given = dict(options)
    if "--help" in given or rest:
        print(_USAGE, file=sys.stdout if "--help" in given else sys.stderr)
        return 0 if "--help" in given else 2
    verbs = [flag for flag, _ in options if flag in _VERBS]
    if len(verbs) > 1:
        print(f"vale-ctl: {' and '.join(verbs)}: one thing at a time", file=sys.stderr)
        return 2
    if not verbs:
        return _list("--2014" in given)
    flag = verbs[0]
    what, needs_start = _VERBS[flag]
    try:
        slots = _slots(given.get("-C", ""))
        with Client(start=needs_start) as client:
            _do(client, flag, given[flag], slots, verbose="-v" in given)
    except (DomainError, OSError) as error:
        print(f"failed to {what} {given[flag]}: {error}", file=sys.stderr)
        return 1
    return 0


_VERBS = {"-a": ("attach", True), "-h": ("attach", True), "-d": ("detach", False), "-n": ("create", True), "-r": ("destroy", False),
          "-l": ("list", False), "-g": ("get info of", False), "-p": ("start polling on", False), "-P": ("stop polling on", False)}


def _slots(text: str) -> int:
    """The first number of ``-C``, rounded up to a power of two as the original does."""
    if not text:
        return 256
    first = text.split(",")[0]
    if not first.isdigit() or not int(first):
        raise DomainError(f"-C {text}: numbers of slots are expected")
    return max(16, min(4096, 1 << (int(first) - 1).bit_length()))


def _do(client: Client, flag: str, name: str, slots: int, *, verbose: bool) -> None:
    match flag:
        case "-a" | "-h":
            number = client.switch_attach(name=name, host=flag == "-h", slots=slots)
            if verbose:
                print(f"port_index: {number}")
        case "-d":
            client.switch_detach(name=name)
        case "-n":
            client.switch_make_interface(interface=name, slots=slots)
        case "-r":
            client.switch_destroy_interface(interface=name)
        case "-l":
            port = _find(client, name)
            print(f"bridge_idx: {port['switch_number']}\nport_idx:   {port['counters']['number']}")
        case "-g":
            port = _find(client, name)
            slots, rings = port["slots"], port["rings"]
            print(f"memsize:  {rings * _port_bytes(slots)}\ntx_slots: {slots}\nrx_slots: {slots}\ntx_rings: {rings}\nrx_rings: {rings}\n"
                  f"mem_id:   {port['counters']['number'] + 1}")
        case _:
            raise DomainError("each device has threads of its own here: there is nothing to poll")


def _port_bytes(slots: int) -> int:
    from penstock.datapath.ports import PortLayout

    return PortLayout(slots).port_bytes


def _find(client: Client, name: str) -> dict[str, Any]:
    switch, _, wanted = name.partition(":")
    for info in client.switch_list(switch=switch):
        for port in info["ports"]:
            if port["counters"]["name"] == wanted:
                found: dict[str, Any] = port
                return found
    raise DomainError(f"{switch} has no port '{wanted}'")


def _list(old: bool) -> int:
    try:
        with Client(start=False) as client:
            infos = client.switch_list()
    except NoToolstack:
        infos = []
    except DomainError as error:
        print(f"vale-ctl: {error}", file=sys.stderr)
        return 1
    for info in infos:
        for port in info["ports"]:
            name, number = f"{info['name']}:{port['counters']['name']}", port["counters"]["number"]
            if old:
                print(f"bdg_ctl [149] bridge:{info['number']} port:{number} {name}")
            else:
                print(f"{name} bridge_idx {info['number']} port_idx {number}")
    return 0


def run() -> None:
    sys.exit(main())
