"""What packet code may do with a packet: the interface, for readers, editors and type checkers.

Nothing here runs: the front end knows these names and gives them their meaning (frontend/packets.py).
Every access is checked against the packet's length; one past the end ends the packet and counts a fault.
"""

# ruff: noqa: E704

from __future__ import annotations

from typing import Any, TypeVar

from penstock.packet.headers import ARP, ICMP, IP, IP6, TCP, UDP, Ether, Header

__all__ = ["Cursor", "Packet", "adopt", "cycles", "fence", "meta", "offset_of", "set_meta", "take", "zero_meta"]

H = TypeVar("H", bound=Header)


class _Words:
    """Numbers at byte offsets, most significant byte first."""

    def __getitem__(self, offset: int) -> int: ...  # type: ignore[empty-body]
    def __setitem__(self, offset: int, value: int) -> None: ...


class Cursor:
    """A place in a packet: where the data, or a header, starts."""

    u8: _Words
    u16: _Words
    u32: _Words
    u48: _Words
    u64: _Words
    u128: _Words

    def has(self, offset: int, length: int) -> bool:
        """Whether ``length`` bytes at ``offset`` lie within the packet (and the header is set)."""
        raise NotImplementedError

    def header(self, kind: type[H], offset: int = 0) -> H:
        """View the bytes at ``offset`` as a header; its fixed part must lie within the packet."""
        raise NotImplementedError

    def checksum(self, offset: int, length: int, start: int = 0) -> int:
        """The folded ones'-complement sum of ``length`` bytes (RFC 1071), added to ``start``."""
        raise NotImplementedError

    def write(self, offset: int, content: bytes) -> None:
        """Store bytes that are known when the configuration is installed."""

    def fill(self, offset: int, length: int, byte: int) -> None: ...

    def copy(self, offset: int, source: Cursor, source_offset: int, length: int) -> None:
        """Copy ``length`` bytes from ``source``; the regions may overlap."""

    def store_to(self, array: Any, index: int, offset: int, length: int) -> None:
        """Copy ``length`` bytes from here to byte ``index`` of an Array in state."""

    def load_from(self, array: Any, index: int, offset: int, length: int) -> None:
        """Copy ``length`` bytes from byte ``index`` of an Array in state to here."""


class Packet:
    """One packet. Owned by the code that holds it, which passes it on, stores it or kills it, once."""

    length: int
    headroom: int
    tailroom: int
    timestamp: int  #: nanoseconds since the epoch
    packet_type: int
    device: int
    extra_length: int
    data: Cursor
    mac: Cursor
    network: Cursor
    transport: Cursor
    has_mac: bool
    has_network: bool
    has_transport: bool
    #: where headers lie, in bytes from the start of the data (negative: stripped off)
    mac_offset: int
    network_offset: int
    transport_offset: int
    #: bytes from the header to the end of the packet, 0 where it is not set
    network_length: int
    transport_length: int
    #: bytes from network to transport header
    network_header_length: int
    ether: Ether
    arp: ARP
    ip: IP
    ip6: IP6
    tcp: TCP
    udp: UDP
    icmp: ICMP
    #: annotations: by byte offset in the machine's order, and by Click's names
    anno8: _Words
    anno16: _Words
    anno32: _Words
    anno64: _Words
    dst_ip: int
    dst_ip6: int
    paint: int
    aggregate: int
    vlan_tci: int
    icmp_param_prob: int
    fix_ip_src: int
    extra_packets: int
    first_timestamp: int
    #: the slot for the next packet of a list
    next: Packet | None

    def pull(self, length: int) -> None:
        """Remove ``length`` bytes from the front."""

    def push(self, length: int) -> None:
        """Add ``length`` bytes at the front; their content is what was there before."""

    def take(self, length: int) -> None:
        """Remove ``length`` bytes from the end."""

    def put(self, length: int) -> None:
        """Add ``length`` zero bytes at the end."""

    def set_mac(self, offset: int) -> None: ...
    def set_network(self, offset: int) -> None: ...
    def set_transport(self, offset: int) -> None: ...
    def clear_mac(self) -> None: ...
    def clear_network(self) -> None: ...
    def clear_transport(self) -> None: ...
    def kill(self) -> None: ...
    def clone(self) -> Packet | None:
        """A copy of this packet, or None where the pool is empty."""
        raise NotImplementedError


def datapath_only(name: str) -> Any:
    raise RuntimeError(f"{name}() exists in packet code only")


def take(slot: Any) -> Packet | None:
    """The packet that a slot of state owns; the slot is empty afterwards."""
    return datapath_only("take")  # type: ignore[no-any-return]


def adopt(offset: int) -> Packet | None:
    """The packet in the pool slot at ``offset`` (0: None). For the pool and rings only."""
    return datapath_only("adopt")  # type: ignore[no-any-return]


def offset_of(packet: Packet) -> int:
    """Give the packet away as the number of its slot; :func:`adopt` gets it back."""
    return datapath_only("offset_of")  # type: ignore[no-any-return]


def meta(packet: Packet, name: str) -> int:
    """A raw metadata field (packet/layout.py)."""
    return datapath_only("meta")  # type: ignore[no-any-return]


def set_meta(packet: Packet, name: str, value: int) -> None:
    datapath_only("set_meta")


def zero_meta(packet: Packet) -> None:
    datapath_only("zero_meta")


def cycles() -> int:
    """The processor's time stamp counter."""
    return datapath_only("cycles")  # type: ignore[no-any-return]


def upcall() -> None:
    """Let the host read what was written for it, now."""
    datapath_only("upcall")


def fence(full: bool = False) -> None:
    """Keep the order of accesses to memory that others see; ``full`` also of a store before and a load after it."""
    datapath_only("fence")


def dispatch(index: int, targets: Any) -> bool:
    """Call entry point number ``index`` of ``targets``."""
    return datapath_only("dispatch")  # type: ignore[no-any-return]
