"""What the modules with a table that people fill have in common."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from penstock.datapath.containers import NONE, Table
from penstock.datapath.frames import Frame
from penstock.datapath.memory import Struct
from penstock.datapath.source import datapath
from penstock.packet.integers import u32, u48
from penstock.switch.module import BROADCAST, DROP, MAX_PORTS, Module, ModuleError

__all__ = ["EtherTable", "StaticModule", "To", "ethernet_address", "format_ethernet"]

_WORDS = {"broadcast": BROADCAST, "drop": DROP}


class To(Struct):
    port: u32


def ethernet_address(text: str) -> int:
    parts = text.replace("-", ":").split(":")
    try:
        values = [int(p, 16) for p in parts]
    except ValueError:
        values = []
    if len(values) != 6 or any(not 0 <= v <= 255 for v in values):
        raise ModuleError(f"'{text}' is no Ethernet address (as in 02:00:00:00:00:01)")
    return int.from_bytes(bytes(values), "big")


def format_ethernet(value: int) -> str:
    return ":".join(f"{b:02x}" for b in value.to_bytes(6, "big"))


class StaticModule(Module):
    """Addresses to ports, by hand: ``add ADDRESS PORT``, ``delete ADDRESS``, ``list``, ``default PORT``.

    A port is a name or a number, or ``broadcast``, or ``drop``. Arguments: ``ADDRESS=PORT …`` and ``default=PORT`` (numbers).
    """

    is_parallel = True

    default: u32

    def __init__(self) -> None:
        self.default = DROP
        self.ports: dict[str, int] = {}
        self.first: list[tuple[str, str]] = []

    def tables(self) -> list[tuple[str, Table]]:
        """Every table, by what it holds: ``ether``, ``ip`` or ``ip6``."""
        raise NotImplementedError

    def configure(self, arguments: Sequence[str]) -> None:
        for argument in arguments:
            address, equals, port = argument.rpartition("=")
            if not equals:
                raise ModuleError(f"'{argument}': ADDRESS=PORT or default=PORT is expected")
            if address == "default":
                self.default = self._port(port)
            else:
                self._place(address)
                self.first.append((address, port))

    @datapath
    def port_of(self, table: Table, key: tuple[int, ...]) -> u32:
        """The port that stands there; NONE where none does."""
        i = table.find(key)
        if i == NONE:
            return u32(NONE)
        return u32(table.slots[i].value.port)

    def port_attached(self, number: int, name: str) -> None:
        self.ports[name] = number
        for address, port in self.first:
            self._add(address, port)
        self.first.clear()

    def port_detached(self, number: int) -> None:
        """Its entries stay: they are orders, not observations."""
        self.ports = {name: n for name, n in self.ports.items() if n != number}

    def _port(self, text: str) -> int:
        if text in _WORDS:
            return _WORDS[text]
        if text in self.ports:
            return self.ports[text]
        if text.isdigit() and int(text) < MAX_PORTS:
            return int(text)
        raise ModuleError(f"'{text}' is no port (there are {', '.join(self.ports) or 'none'}; or a number, broadcast, drop)")

    def _place(self, text: str) -> tuple[Table, tuple[int, ...]]:
        """The table for an address, and its key."""
        tables = dict(self.tables())
        if "ether" in tables and text.count(":") == 5 and "::" not in text:
            return tables["ether"], (ethernet_address(text),)
        if "ip" in tables:
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                raise ModuleError(f"'{text}' is no address") from None
            if address.version == 4:
                return tables["ip"], (int(address),)
            return tables["ip6"], (int(address) >> 64, int(address) & 0xFFFF_FFFF_FFFF_FFFF)
        return tables["ether"], (ethernet_address(text),)

    def _add(self, address: str, port: str) -> int:
        table, key = self._place(address)
        number = self._port(port)
        at = table.index_of(key)
        if at is not None:
            table.slots[at].value.port = number
        elif table.put(key, {"port": number}) is None:
            raise ModuleError(f"the table is full ({table.capacity} addresses)")
        return number

    def entries(self) -> Iterator[tuple[str, int]]:
        """(address, port), in the order in which they came."""
        for kind, table in self.tables():
            for key, value in table.items():
                yield _format(kind, key), int(value.port)

    def command(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        match list(words):
            case ["add", address, port]:
                return [(address, str(self._add(address, port)))]
            case ["delete", address]:
                table, key = self._place(address)
                at = table.index_of(key)
                if at is None:
                    raise ModuleError(f"{address} is not in the table")
                table.drop(at)
                return []
            case ["list"]:
                return self.report()[1:]
            case ["default", port]:
                self.default = self._port(port)
                return []
        raise ModuleError(f"the module {self.name} knows 'add ADDRESS PORT', 'delete ADDRESS', 'list' and 'default PORT'")

    def report(self) -> list[tuple[str, ...]]:
        names = {number: word for word, number in _WORDS.items()}
        return [("address", "port"), *((address, names.get(port, str(port))) for address, port in self.entries())]


class EtherTable(StaticModule):
    """Ethernet addresses to ports; ``field`` is the one of the Ethernet header that is looked up."""

    field: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.by_ether = Table((u48,), To, 16384)

    def tables(self) -> list[tuple[str, Table]]:
        return [("ether", self.by_ether)]

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        if not frame.data.has(0, 14):
            return u32(DROP)
        to = self.port_of(self.by_ether, (getattr(frame.ether, self.field),))
        return self.default if to == NONE else to


def _format(kind: str, key: tuple[Any, ...]) -> str:
    if kind == "ether":
        return format_ethernet(key[0])
    if kind == "ip":
        return str(ipaddress.IPv4Address(key[0]))
    return str(ipaddress.IPv6Address(key[0] << 64 | key[1]))
