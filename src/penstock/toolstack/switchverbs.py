"""What the toolstack's process answers about switches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.datapath.llvm.compile import CompileError
from penstock.datapath.source import DatapathError
from penstock.device import DeviceError
from penstock.ring import RingError
from penstock.switch import ModuleError, SwitchError
from penstock.switch.host import SwitchHost, split
from penstock.toolstack.errors import DomainError

__all__ = ["OpenedPort", "SwitchVerbs"]


@dataclass(frozen=True)
class OpenedPort:
    """An answer that carries descriptors; the port is there as long as the connection that asked for it."""

    name: str
    number: int
    descriptors: list[int]
    joining: dict[str, Any] | None
    release: Callable[[], None]


class SwitchVerbs:
    """Verbs with arguments and results that JSON can say. ``name`` is a port's, as in ``vale0:p1``, unless said otherwise."""

    def __init__(self, switches: SwitchHost):
        self.switches = switches

    def call(self, verb: str, arguments: dict[str, Any]) -> Any:
        method: Callable[..., Any] | None = getattr(self, f"do_{verb}", None)
        if method is None:
            raise DomainError(f"the toolstack knows no '{verb}' (another version?)")
        try:
            return method(**arguments)
        except (SwitchError, RingError, ModuleError, DeviceError, DatapathError, CompileError) as error:
            raise DomainError(str(error)) from None

    def do_switch_open(self, name: str, slots: int = 256, rings: int = 1, patient: bool = False, tap_of: str = "") -> OpenedPort:
        switch, port = split(name)
        opened = self.switches.open(name, slots=slots, rings=rings, patient=patient, tap_of=tap_of)
        number = self.switches.find(switch).ports[port].number
        joining = opened.joining.to_json() if opened.joining else None
        return OpenedPort(name, number, opened.descriptors, joining, lambda: self._close(name, number))

    def _close(self, name: str, number: int) -> None:
        """The port may be gone, or be another's."""
        switch, port = split(name)
        there = self.switches.switches.get(switch)
        if there is not None and port in there.ports and there.ports[port].number == number:
            self.switches.detach(name)

    def do_switch_list(self, switch: str = "") -> list[dict[str, Any]]:
        return [dataclasses.asdict(info) for info in self.switches.infos(switch)]

    def do_switch_make(self, switch: str, module: str = "learning", workers: int = 0, trusting: bool = False) -> None:
        made = self.switches.make(switch, module=module, persistent=True, workers=workers, trusting=trusting)
        if made.module.name != module.split()[0]:
            made.set_module(module)

    def do_switch_destroy(self, switch: str) -> None:
        self.switches.destroy(switch)

    def do_switch_attach(self, name: str, host: bool = False, slots: int = 256, method: str = "") -> int:
        return self.switches.attach_interface(name, host=host, slots=slots, method=method)

    def do_switch_tap(self, name: str, slots: int = 256) -> int:
        return self.switches.attach_tap(name, slots=slots)

    def do_switch_detach(self, name: str) -> None:
        self.switches.detach(name)

    def do_switch_limit(self, name: str, bytes_per_s: int, burst_bytes: int = 0) -> None:
        switch, port = split(name)
        self.switches.find(switch).limit(port, bytes_per_s, burst_bytes=burst_bytes)

    def do_switch_allow(self, name: str, addresses: list[str]) -> None:
        switch, port = split(name)
        self.switches.find(switch).allow(port, addresses)

    def do_switch_make_interface(self, interface: str, slots: int = 256) -> None:
        self.switches.make_interface(interface, slots=slots)

    def do_switch_destroy_interface(self, interface: str) -> None:
        self.switches.destroy_interface(interface)

    def do_switch_module(self, switch: str, module: str = "") -> str:
        """Load a module where one is named; gives the name of the one that works."""
        if module:
            self.switches.load_module(switch, module)
        return self.switches.find(switch).module.name

    def do_switch_command(self, switch: str, command: list[str]) -> list[list[str]]:
        """A command for the module itself; rows for people come back."""
        found = self.switches.find(switch)
        return [list(row) for row in found.command(command)]

    def do_switch_report(self, switch: str) -> list[list[str]]:
        return [list(row) for row in self.switches.find(switch).module.report()]
