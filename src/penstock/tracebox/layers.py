"""The layers that a probe is made of, and that a quoted packet is taken apart into.

A layer is its bytes, with fields over them. A quoted packet may break off anywhere: a field whose bits were not quoted
has no value (None), which is not the same as zero. The layouts of fixed headers are those of packet/headers.py; the
labels are the names that tracebox prints.
"""

from __future__ import annotations

import ipaddress
from typing import Any, ClassVar

from penstock.packet import headers
from penstock.packet.headers import Field, Header
from penstock.packet.integers import IntType

__all__ = [
    "ICMP", "IP", "SCTP", "TCP", "UDP", "Extension", "ICMPv6", "IPOption", "IPv6", "Layer", "Raw", "TCPOption", "Value",
]

Value = int | bytes


class Layer:
    """Some bytes of a packet. ``data`` is what there is of them, ``size_bytes`` how many there should be."""

    #: the layer's name in tracebox's output
    LABEL: ClassVar[str] = "RawLayer"
    #: field name -> its place
    FIELDS: ClassVar[dict[str, Field]] = {}
    #: field name -> its name in tracebox's output
    LABELS: ClassVar[dict[str, str]] = {}
    #: fields that are written as addresses, or in hexadecimal
    ADDRESSES: ClassVar[frozenset[str]] = frozenset({"src", "dst"})
    HEXADECIMAL: ClassVar[frozenset[str]] = frozenset({"checksum", "identification"})
    FIXED_BYTES: ClassVar[int] = 0
    #: name of what follows the fixed fields, where it is compared as bytes
    REST: ClassVar[str | None] = None
    #: field name -> first byte, byte after the last, shift, mask
    _PLACES: ClassVar[dict[str, tuple[int, int, int, int]]] = {}

    def __init_subclass__(cls) -> None:
        cls._PLACES = {
            name: (f.bit // 8, (f.bit + f.type.bits + 7) // 8, -(f.bit + f.type.bits) % 8, (1 << f.type.bits) - 1)
            for name, f in cls.FIELDS.items()
        }

    def __init__(self, data: bytes | None = None, *, size_bytes: int | None = None, **values: int):
        self.data = bytearray(self.FIXED_BYTES) if data is None else bytearray(data)
        self.size_bytes = len(self.data) if size_bytes is None else size_bytes
        #: what the maker of the probe has set: never filled in, never used to tell probes apart
        self.given: set[str] = set()
        if values:
            for name, value in values.items():
                self[name] = value

    @property
    def identity(self) -> str:
        """What makes two layers the same layer, in two packets."""
        return self.LABEL

    @property
    def label(self) -> str:
        return self.LABEL

    def get(self, name: str) -> int | None:
        """The field's value, or None where it was not quoted."""
        start, stop, shift, mask = self._PLACES[name]
        if stop > len(self.data):
            return None
        return int.from_bytes(self.data[start:stop]) >> shift & mask

    def __getitem__(self, name: str) -> int:
        value = self.get(name)
        if value is None:
            raise KeyError(f"{self.LABEL}: {name} is not there")
        return value

    def put(self, name: str, value: int) -> None:
        """Set a field without marking it as chosen."""
        start, stop, shift, mask = self._PLACES[name]
        if value < 0 or value > mask:
            raise ValueError(f"{self.label}: {name} has {mask.bit_length()} bits, {value} does not fit")
        word = int.from_bytes(self.data[start:stop]) & ~(mask << shift)
        self.data[start:stop] = (word | value << shift).to_bytes(stop - start)

    def __setitem__(self, name: str, value: int) -> None:
        self.put(name, value)
        self.given.add(name)

    def values(self) -> dict[str, Value]:
        """Every field that was quoted; what follows the fixed fields is bytes."""
        found: dict[str, Value] = {}
        data, length = self.data, len(self.data)
        for name in self.LABELS:
            start, stop, shift, mask = self._PLACES[name]
            if stop <= length:
                found[name] = int.from_bytes(data[start:stop]) >> shift & mask
        if self.REST is not None and len(self.data) > self.FIXED_BYTES:
            found["rest"] = bytes(self.data[self.FIXED_BYTES :])
        return found

    def field_label(self, name: str) -> str:
        return self.REST or "" if name == "rest" else self.LABELS[name]

    def show(self, name: str, value: Value) -> str:
        """The value as tracebox writes it."""
        if isinstance(value, bytes):
            return value.hex() or "nothing"
        if name in self.ADDRESSES:
            # Ports have the same names.
            bits = self.FIELDS[name].type.bits
            return str(ipaddress.IPv6Address(value) if bits == 128 else ipaddress.IPv4Address(value) if bits == 32 else value)
        return hex(value) if name in self.HEXADECIMAL else str(value)

    def copy(self) -> Layer:
        other = type(self)(bytes(self.data), size_bytes=self.size_bytes)
        other.given = set(self.given)
        return other

    def __repr__(self) -> str:
        parts = [f"{n}={self.show(n, v)}" for n, v in self.values().items()]
        return f"{self.label}({', '.join(parts)})"

    def __truediv__(self, other: Layer) -> Any:
        from penstock.tracebox.packet import Packet

        return Packet([self]) / other


def _fixed(header: type[Header], labels: dict[str, str]) -> dict[str, Field]:
    return {name: header.FIELDS[name] for name in labels}


class IP(Layer):
    """IPv4 (RFC 791)."""

    LABEL = "IP"
    LABELS: ClassVar = {
        "header_length": "HeaderLength", "dscp": "DiffServicesCP", "ecn": "ExpCongestionNot", "length": "TotalLength",
        "identification": "Identification", "flags": "Flags", "fragment_offset": "FragmentOffset", "ttl": "TTL",
        "protocol": "Protocol", "checksum": "CheckSum", "src": "SourceIP", "dst": "DestinationIP",
    }
    FIELDS = _fixed(headers.IP, {**LABELS, "version": ""})
    FIXED_BYTES = headers.IP.SIZE


class IPv6(Layer):
    """IPv6 (RFC 8200)."""

    LABEL = "IPv6"
    LABELS: ClassVar = {
        "traffic_class": "TrafficClass", "flow_label": "FlowLabel", "length": "PayloadLength", "next_header": "NextHeader",
        "hop_limit": "HopLimit", "src": "SourceIP", "dst": "DestinationIP",
    }
    FIELDS = _fixed(headers.IP6, {**LABELS, "version": ""})
    FIXED_BYTES = headers.IP6.SIZE


class TCP(Layer):
    """TCP (RFC 9293)."""

    LABEL = "TCP"
    LABELS: ClassVar = {
        "src": "SrcPort", "dst": "DstPort", "sequence": "SeqNumber", "acknowledgement": "AckNumber", "offset": "DataOffset",
        "reserved": "Reserved", "flags": "Flags", "window": "WindowsSize", "checksum": "CheckSum", "urgent": "UrgPointer",
    }
    FIELDS = _fixed(headers.TCP, LABELS)
    FIXED_BYTES = headers.TCP.SIZE


class UDP(Layer):
    """UDP (RFC 768)."""

    LABEL = "UDP"
    LABELS: ClassVar = {"src": "SrcPort", "dst": "DstPort", "length": "Length", "checksum": "CheckSum"}
    FIELDS = _fixed(headers.UDP, LABELS)
    FIXED_BYTES = headers.UDP.SIZE


class ICMP(Layer):
    """ICMP (RFC 792)."""

    LABEL = "ICMP"
    LABELS: ClassVar = {
        "type": "Type", "code": "Code", "checksum": "CheckSum", "identifier": "Identifier", "sequence": "SequenceNumber",
    }
    FIELDS = {**_fixed(headers.ICMP, {**LABELS, "gateway": "", "pointer": "", "mtu": ""}), "length": Field("length", IntType(8), 40)}
    FIXED_BYTES = 8


class ICMPv6(Layer):
    """ICMPv6 (RFC 4443)."""

    LABEL = "ICMPv6"
    LABELS = ICMP.LABELS
    FIELDS = {**ICMP.FIELDS, "mtu": Field("mtu", IntType(32), 32), "length": Field("length", IntType(8), 32)}
    FIXED_BYTES = 8


class SCTP(Layer):
    """SCTP's common header (RFC 9260); chunks follow as payload."""

    LABEL = "SCTP"
    LABELS: ClassVar = {"src": "SrcPort", "dst": "DstPort", "tag": "VerificationTag", "checksum": "CheckSum"}
    FIELDS = {
        "src": Field("src", IntType(16), 0), "dst": Field("dst", IntType(16), 16), "tag": Field("tag", IntType(32), 32),
        "checksum": Field("checksum", IntType(32), 64),
    }
    FIXED_BYTES = 12


class Raw(Layer):
    """Payload."""

    REST = "Data"

    def show(self, name: str, value: Value) -> str:
        if isinstance(value, bytes) and value and all(32 <= b < 127 or b in b"\r\n\t" for b in value):
            return repr(value.decode())
        return super().show(name, value)


class Extension(Layer):
    """An extension header of IPv6; ``protocol`` is its number (0, 43, 44, 60, …)."""

    REST = "Data"
    FIXED_BYTES = 2
    FIELDS = {"next_header": Field("next_header", IntType(8), 0)}
    NAMES: ClassVar = {
        0: "IPv6HopByHopHeader", 43: "IPv6SegmentRoutingHeader", 44: "IPv6FragmentationHeader", 51: "IPv6AuthenticationHeader",
        60: "IPv6DestinationOptionsHeader",
    }

    def __init__(self, data: bytes | None = None, *, size_bytes: int | None = None, protocol: int = 60):
        super().__init__(data, size_bytes=size_bytes)
        self.protocol = protocol

    @property
    def label(self) -> str:
        return self.NAMES.get(self.protocol, "IPv6Extension")

    @property
    def identity(self) -> str:
        return f"extension {self.protocol}"

    def copy(self) -> Extension:
        return Extension(bytes(self.data), size_bytes=self.size_bytes, protocol=self.protocol)


class _Option(Layer):
    """An option: a byte that says which, mostly one with its length, and what it says."""

    REST = "Data"
    #: kind -> (label, fields after kind and length: (name, label, bits, first bit))
    KNOWN: ClassVar[dict[int, tuple[str, tuple[tuple[str, str, int, int], ...]]]] = {}
    NAME: ClassVar[str]

    @property
    def kind(self) -> int:
        return self.data[0]

    @property
    def identity(self) -> str:
        # MPTCP's messages share a kind, and have subtypes.
        subtype = f" {self.data[2] >> 4}" if self.label.startswith("TCPOptionMPTCP") and len(self.data) > 2 else ""
        return f"{self.NAME} {self.kind}{subtype}"

    @property
    def label(self) -> str:
        if self.NAME == "TCPOption" and self.kind == 30 and len(self.data) > 2 and self.data[2] >> 4 == 1:
            return "TCPOptionMPTCPJoin"
        known = self.KNOWN.get(self.kind)
        return self.NAME + known[0] if known else self.NAME

    def _fields(self) -> tuple[tuple[str, str, int, int], ...]:
        known = self.KNOWN.get(self.kind)
        return known[1] if known else ()

    def values(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        covered = 16
        for name, _, bits, bit in self._fields():
            end = bit + bits
            if end <= len(self.data) * 8:
                word = int.from_bytes(self.data[bit // 8 : (end + 7) // 8])
                found[name] = word >> (-end % 8) & ((1 << bits) - 1)
            covered = max(covered, end)
        if len(self.data) * 8 > covered:
            found["rest"] = bytes(self.data[covered // 8 :])
        return found

    def get(self, name: str) -> int | None:
        value = self.values().get(name)
        return value if isinstance(value, int) else None

    def field_label(self, name: str) -> str:
        return "Data" if name == "rest" else next(label for n, label, _, _ in self._fields() if n == name)

    def show(self, name: str, value: Value) -> str:
        return value.hex() if isinstance(value, bytes) else str(value)


class TCPOption(_Option):
    """An option of TCP (RFC 9293 section 3.2, and the registry)."""

    NAME = "TCPOption"
    KNOWN = {
        0: ("Pad", ()), 1: ("Pad", ()),
        2: ("MaxSegSize", (("mss", "MaxSegSize", 16, 16),)),
        3: ("WindowScale", (("shift", "Shift", 8, 16),)),
        4: ("SACKPermitted", ()), 5: ("SACK", ()),
        8: ("Timestamp", (("value", "Value", 32, 16), ("echo", "EchoReply", 32, 48))),
        19: ("MD5", ()), 29: ("AO", ()),
        30: ("MPTCPCapable", (("subtype", "SubType", 4, 16), ("version", "Version", 4, 20), ("bits", "Flags", 8, 24),
                              ("sender_key", "SenderKey", 64, 32))),
        34: ("FastOpen", ()), 237: ("EDO", ()), 253: ("Experiment", ()), 254: ("Experiment", ()),
    }


class IPOption(_Option):
    """An option of IPv4 (RFC 791 section 3.1)."""

    NAME = "IPOption"
    KNOWN = {
        0: ("Pad", ()), 1: ("Pad", ()), 7: ("RR", (("pointer", "Pointer", 8, 16),)), 82: ("Traceroute", ()),
        131: ("LSRR", (("pointer", "Pointer", 8, 16),)), 137: ("SSRR", (("pointer", "Pointer", 8, 16),)), 148: ("RouterAlert", ()),
    }
