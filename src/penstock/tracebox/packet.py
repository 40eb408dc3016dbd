"""A packet as layers: put together with ``/``, made into bytes, taken apart again, however short it was quoted."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from typing import TypeVar

from penstock.packet.checksum import internet_checksum
from penstock.tracebox.layers import ICMP, IP, SCTP, TCP, UDP, Extension, ICMPv6, IPOption, IPv6, Layer, Raw, TCPOption

__all__ = ["Packet", "crc32c", "dissect"]

L = TypeVar("L", bound=Layer)
_PROTOCOLS: dict[int, type[Layer]] = {1: ICMP, 6: TCP, 17: UDP, 58: ICMPv6, 132: SCTP}
_EXTENSIONS = (0, 43, 44, 51, 60)
_EDO = 237


class Packet:
    """Layers, outermost first. ``packet / layer`` adds one to this very packet and gives it, as in tracebox."""

    def __init__(self, layers: Iterable[Layer] = ()):
        self.layers: list[Layer] = list(layers)

    def __truediv__(self, other: Layer | Packet | bytes | str) -> Packet:
        if isinstance(other, Packet):
            self.layers += [layer.copy() for layer in other.layers]
        elif isinstance(other, Layer):
            self.layers.append(other.copy())
        else:
            self.layers.append(Raw(other.encode() if isinstance(other, str) else other))
        return self

    __add__ = __truediv__

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def find(self, kind: type[L]) -> L | None:
        """The first layer of a kind."""
        return next((layer for layer in self.layers if isinstance(layer, kind)), None)

    def find_all(self, kind: type[L]) -> list[L]:
        return [layer for layer in self.layers if isinstance(layer, kind)]

    @property
    def network(self) -> IP | IPv6:
        """The IP header. Raises ValueError where there is none."""
        layer = self.find(IP) or self.find(IPv6)
        if layer is None:
            raise ValueError("the packet has no IP header")
        return layer

    @property
    def transport(self) -> TCP | UDP | ICMP | ICMPv6 | SCTP | None:
        return next((layer for layer in self.layers if isinstance(layer, (TCP, UDP, ICMP, ICMPv6, SCTP))), None)

    @property
    def source_port(self) -> int | None:
        """The source port, or the identifier that an echo has in its place; None where there is none, or it was not quoted."""
        transport = self.transport
        if transport is None:
            return None
        return transport.get("src" if "src" in transport.FIELDS else "identifier")

    @property
    def payload(self) -> bytes:
        return b"".join(bytes(layer.data) for layer in self.find_all(Raw))

    @property
    def source(self) -> str:
        return self.network.show("src", self.network["src"])

    @property
    def destination(self) -> str:
        return self.network.show("dst", self.network["dst"])

    def copy(self) -> Packet:
        return Packet(layer.copy() for layer in self.layers)

    def __repr__(self) -> str:
        return " / ".join(map(repr, self.layers))

    def build(self) -> bytes:
        """The packet's bytes. Lengths, protocol numbers, offsets and checksums that were not chosen are filled in.

        Options are padded to four bytes. Raises ValueError for what no header can say (too many options, too long).
        """
        parts: list[tuple[Layer, bytearray]] = []
        for layer in self.layers:
            if isinstance(layer, (IPOption, TCPOption)) and parts:
                parts[-1][1].extend(layer.data)
            else:
                parts.append((layer, bytearray(layer.data)))
        tail = b""
        following: Layer | None = None
        for layer, data in reversed(parts):
            if isinstance(layer, (IP, TCP)):
                data.extend(bytes(-len(data) % 4))
            head = type(layer)(bytes(data)) if not isinstance(layer, Extension) else layer.copy()
            self._fill(layer, head, len(data), tail, following)
            tail = bytes(head.data) + tail
            following = layer
        return tail

    def _fill(self, layer: Layer, head: Layer, head_bytes: int, tail: bytes, following: Layer | None) -> None:
        def fill(name: str, value: int) -> None:
            if name not in layer.given:
                try:
                    head.put(name, value)
                except ValueError:
                    raise ValueError(f"the probe is too long for {layer.label} ({name} {value})") from None

        if isinstance(layer, IP):
            fill("version", 4)
            fill("header_length", head_bytes // 4)
            fill("length", head_bytes + len(tail))
            fill("protocol", _number_of(following))
            if "checksum" not in layer.given:
                head.put("checksum", 0)
                fill("checksum", internet_checksum(bytes(head.data)))
        elif isinstance(layer, IPv6):
            fill("version", 6)
            fill("length", len(tail))
            fill("next_header", _number_of(following, wide=True))
        elif isinstance(layer, Extension):
            head.put("next_header", _number_of(following, wide=True))
        elif isinstance(layer, TCP):
            options = [o for o in self.layers if isinstance(o, TCPOption)]
            edo = next((i for i, o in enumerate(options) if o.kind == _EDO), None)
            if edo is None:
                fill("offset", head_bytes // 4)
            else:
                # What follows the option lies in the extended area (draft-ietf-tcpm-tcp-edo section 5).
                fill("offset", (20 + sum(len(o.data) for o in options[: edo + 1]) + 3) // 4)
            self._checksum(layer, head, tail, 6)
        elif isinstance(layer, UDP):
            fill("length", head_bytes + len(tail))
            self._checksum(layer, head, tail, 17)
        elif isinstance(layer, ICMPv6):
            self._checksum(layer, head, tail, 58)
        elif isinstance(layer, ICMP):
            if "checksum" not in layer.given:
                head.put("checksum", 0)
                head.put("checksum", internet_checksum(bytes(head.data) + tail))
        elif isinstance(layer, SCTP) and "checksum" not in layer.given:
            head.put("checksum", 0)
            head.put("checksum", int.from_bytes(crc32c(bytes(head.data) + tail).to_bytes(4, "little")))

    def _checksum(self, layer: Layer, head: Layer, tail: bytes, protocol: int) -> None:
        if "checksum" in layer.given:
            return
        head.put("checksum", 0)
        body = bytes(head.data) + tail
        value = internet_checksum(self.pseudo_header(protocol, len(body)) + body)
        # RFC 768: a computed zero is sent as all ones.
        head.put("checksum", 0xFFFF if protocol == 17 and value == 0 else value)

    def pseudo_header(self, protocol: int, length: int) -> bytes:
        """RFC 9293 section 3.1 and RFC 8200 section 8.1."""
        network = self.find(IP) or self.find(IPv6)
        if network is None:
            return b""
        if isinstance(network, IP):
            return bytes(network.data[12:20]) + struct.pack(">HH", protocol, length & 0xFFFF)
        return bytes(network.data[8:40]) + struct.pack(">II", length, protocol)

    def set_address(self, name: str, address: str) -> None:
        """Set ``src`` or ``dst`` of the IP header."""
        self.network[name] = int(ipaddress.ip_address(address))


def _number_of(layer: Layer | None, *, wide: bool = False) -> int:
    if isinstance(layer, Extension):
        return layer.protocol
    for number, kind in _PROTOCOLS.items():
        if isinstance(layer, kind):
            return number
    if isinstance(layer, IP):
        return 4
    if isinstance(layer, IPv6):
        return 41
    # 255 is reserved (IANA), 59 says that nothing follows (RFC 8200).
    return 59 if wide and layer is None else 255


def _options(data: bytes, kind: type[IPOption] | type[TCPOption]) -> list[Layer]:
    """Options, however malformed: one that breaks off, or claims too much, takes the rest."""
    found: list[Layer] = []
    at = 0
    while at < len(data):
        if data[at] == 0:
            # RFC 9293: the end of the list; what follows is padding.
            found.append(kind(data[at:]))
            break
        if data[at] == 1:
            found.append(kind(data[at : at + 1]))
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) and data[at + 1] >= 2 else len(data) - at
        found.append(kind(data[at : at + size], size_bytes=max(size, 2)))
        at += size
    return found


def dissect(data: bytes, *, transport_only: int | None = None) -> Packet:
    """Take an IP packet apart; what is cut off leaves short layers. Never fails: what is no packet is Raw.

    ``transport_only`` takes apart what starts with that protocol's header instead.
    """
    packet = Packet()
    layers = packet.layers
    protocol = transport_only
    rest = data
    if protocol is None:
        version = data[0] >> 4 if data else 0
        if version == 4:
            size = max((data[0] & 15) * 4, 20)
            layers.append(IP(data[:20], size_bytes=20))
            layers += _options(data[20:size], IPOption)
            rest = data[size:]
            protocol = data[9] if len(data) > 9 else None
            if len(data) >= 8 and (data[6] & 0x1F or data[7]):
                # A later fragment carries no transport header.
                protocol = None
        elif version == 6:
            layers.append(IPv6(data[:40], size_bytes=40))
            rest = data[40:]
            protocol = data[6] if len(data) > 6 else None
            while protocol in _EXTENSIONS and len(rest) >= 2:
                size = 8 if protocol == 44 else (rest[1] + 2) * 4 if protocol == 51 else (rest[1] + 1) * 8
                fragment = protocol == 44 and len(rest) >= 4 and (rest[2] or rest[3] & 0xF8)
                layers.append(Extension(rest[:size], size_bytes=size, protocol=protocol))
                protocol = None if fragment else rest[0]
                rest = rest[size:]
    kind = _PROTOCOLS.get(protocol) if protocol is not None else None
    if kind is not None and rest:
        size = kind.FIXED_BYTES
        layers.append(kind(rest[:size], size_bytes=size))
        if kind is TCP and len(rest) > 12:
            header_bytes = max((rest[12] >> 4) * 4, 20)
            layers += _options(rest[20:header_bytes], TCPOption)
            size = header_bytes
        rest = rest[size:]
    if rest:
        layers.append(Raw(rest))
    return packet


def _crc_table() -> list[int]:
    table = []
    for i in range(256):
        value = i
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _crc_table()


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260 appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC32C[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF
