"""``penstock handlers``: the handlers of a configuration, or of a router that runs with a ControlSocket."""

from __future__ import annotations

import argparse
import socket
import sys

from penstock.cli.configuration import add_configuration, install, load

__all__ = ["ControlClient", "add_arguments", "main"]


_TIMEOUT_S = 10


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    parser.add_argument("-c", "--connect", metavar="ADDRESS", help="a running router: HOST:PORT, PORT, or a Unix socket's path")
    parser.add_argument("-r", "--read", action="append", default=[], metavar="E.H", help="read this handler (with --connect)")
    parser.add_argument("-w", "--write", action="append", default=[], metavar="E.H=VALUE", help="write it (with --connect)")


class ControlClient:
    """A client of Click's control protocol, version 1.3. ConnectionError where the other side breaks it."""

    def __init__(self, address: str):
        if "/" in address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(_TIMEOUT_S)
            self._socket.connect(address)
        else:
            host, _, port = address.rpartition(":")
            self._socket = socket.create_connection((host or "127.0.0.1", int(port)), timeout=_TIMEOUT_S)
        self._file = self._socket.makefile("rb")
        if not self._line().startswith("Click::ControlSocket/"):
            raise ConnectionError("that is not a ControlSocket")

    def _line(self) -> str:
        line = self._file.readline(65536)
        if not line.endswith(b"\n"):
            raise ConnectionError("the router closed the connection")
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def _reply(self) -> tuple[int, list[str]]:
        lines: list[str] = []
        while True:
            line = self._line()
            if len(line) < 4 or not line[:3].isdigit():
                raise ConnectionError(f"unexpected reply '{line[:40]}'")
            lines.append(line[4:])
            if line[3] == " ":
                return int(line[:3]), lines

    def read(self, handler: str) -> str:
        """The value; ValueError with the router's words where it refuses."""
        self._socket.sendall(f"READ {handler}\r\n".encode())
        code, lines = self._reply()
        if code >= 300:
            raise ValueError("\n".join(lines))
        head = self._line()
        if not head.startswith("DATA ") or not head[5:].isdigit():
            raise ConnectionError(f"unexpected reply '{head[:40]}'")
        return self._file.read(int(head[5:])).decode("utf-8", "replace")

    def write(self, handler: str, value: str) -> None:
        data = value.encode()
        self._socket.sendall(f"WRITEDATA {handler} {len(data)}\r\n".encode() + data)
        code, lines = self._reply()
        if code >= 300:
            raise ValueError("\n".join(lines))

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def _connected(args: argparse.Namespace) -> int:
    try:
        client = ControlClient(args.connect)
    except (OSError, ValueError) as error:
        print(f"penstock handlers: {args.connect}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 1
    status = 0
    try:
        for word in args.write:
            handler, _, value = word.partition("=")
            client.write(handler, value)
        names = args.read or ([] if args.write else _listed(client))
        for name in names:
            if args.read:
                value = client.read(name)
                print(value, end="" if value.endswith("\n") else "\n")
            else:
                print(name)
    except (OSError, ValueError) as error:
        print(f"penstock handlers: {error}", file=sys.stderr)
        status = 1
    finally:
        client.close()
    return status


def _listed(client: ControlClient) -> list[str]:
    names: list[str] = []
    for element in client.read("list").split("\n")[1:]:
        if element:
            names += [f"{element}.{line}" for line in client.read(f"{element}.handlers").splitlines()]
    return names


def main(name: str, args: argparse.Namespace) -> int:
    if args.connect:
        return _connected(args)
    if args.read or args.write:
        print("penstock handlers: --read and --write need --connect (or use 'penstock run --handler')", file=sys.stderr)
        return 2
    router = install(load(args))
    if router is None:
        return 1
    with router:
        for element in router.elements:
            for handler in element.handlers.values():
                if handler.visible:
                    print(f"{element.name}.{handler.name}\t{handler.mode}")
    return 0
