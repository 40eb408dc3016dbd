"""What the elements that check headers share: counting, reporting and diverting bad packets."""

from __future__ import annotations

from typing import ClassVar

from penstock.datapath.host import HostPacket
from penstock.datapath.memory import Array
from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import Element
from penstock.packet.integers import u64

__all__ = ["HeaderCheck"]


class HeaderCheck(Element):
    """Good packets go on; a bad one is counted, reported (the first, or all with VERBOSE) and goes to output 1."""

    ports = "1/1-2"
    processing = "a/ah"

    #: the header's name, and the reasons to find it bad, for people
    what: ClassVar[str] = ""
    reasons: ClassVar[tuple[str, ...]] = ()

    drops: u64

    def configure(self, *, checksum: bool = True, verbose: bool = False, details: bool = False) -> None:
        self.setup(verbose, details)
        self.checks_checksum = checksum

    def setup(self, verbose: bool, details: bool) -> None:
        self.verbose, self.details = verbose, details
        self.drops_by_reason = Array(u64, len(self.reasons))

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")
        if self.details:
            self.add_read("drop_details", lambda: "".join(
                f"{n:15d}  {reason}\n" for n, reason in zip(self.drops_by_reason, self.reasons)))

    def host_packet(self, packet: HostPacket) -> None:
        print(f"{self.name}: {self.what} header check failed: {self.reasons[packet.tag]}", file=self.router.stderr, flush=True)

    @datapath
    def bad(self, p: Packet, reason: int) -> None:
        if self.verbose or self.drops == 0:
            self.to_host(p, reason, 0)
        self.drops += 1
        if self.details:
            self.drops_by_reason[reason] += 1
        self.checked_output_push(1, p)
