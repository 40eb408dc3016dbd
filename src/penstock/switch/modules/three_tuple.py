"""three-tuple: one host's addresses shared by several network stacks, as in mSwitch's paper (section 5.2)."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence

from penstock.datapath.checksum import pseudo_header_sum
from penstock.datapath.containers import NONE, Table
from penstock.datapath.frames import Frame
from penstock.datapath.memory import Struct
from penstock.datapath.source import datapath
from penstock.packet.headers import ARP, IP, IP6
from penstock.packet.integers import boolean, u32, u64
from penstock.switch.module import BROADCAST, DROP, MAX_PORTS, Module, ModuleError

__all__ = ["ThreeTuple"]

_PROTOCOLS = {"tcp": (6, socket.SOCK_STREAM), "udp": (17, socket.SOCK_DGRAM)}
_NOBODY = MAX_PORTS + 1
#: keys hold IPv4 addresses as IPv4-mapped ones (RFC 4291, section 2.5.5.2)
_MAPPED = 0xFFFF << 32


class _Claim(Struct):
    port: u32


class _Owner(Struct):
    port: u32
    #: the host has the address as well: not 0
    shared: u32


class ThreeTuple(Module):
    """A stack on a port claims (address, protocol, port number); what nobody claimed goes to the host's stack.

    ``three-tuple [host=PORT] [uplink=PORT]``, and commands ``claim ADDRESS tcp|udp NUMBER PORT``, ``release ADDRESS
    tcp|udp NUMBER``, ``list``, ``host PORT``, ``uplink PORT``. A claim that another one, or a socket of this host, has
    already is refused. What a stack sends must come from a tuple that it claimed: nobody takes another's place. Checksums
    (IPv4, TCP, UDP) are verified; fragments, which have no port numbers, go to the host. Several stacks can claim port numbers
    at an address that is the host's own: they answer for it with the host's Ethernet address.
    """

    name = "three-tuple"

    #: MAX_PORTS + 1: there is none
    host: u32
    uplink: u32
    #: frames from tuples that their sender did not claim; with a wrong checksum
    spoofed: u64
    damaged: u64
    host_ether: u64

    def __init__(self) -> None:
        self.host = self.uplink = _NOBODY
        self.claims = Table((u64, u64, u32), _Claim, 16384)
        #: which stack answers for an address, in ARP and neighbour discovery; and who else may send from it
        self.addresses = Table((u64, u64), _Owner, 4096)
        self.speakers = Table((u64, u64, u32), _Claim, 16384)
        self.ports: dict[str, int] = {}
        self.first: list[tuple[str, str]] = []

    def configure(self, arguments: Sequence[str]) -> None:
        for argument in arguments:
            word, equals, port = argument.partition("=")
            if word not in ("host", "uplink") or not equals:
                raise ModuleError(f"'{argument}': host=PORT or uplink=PORT is expected")
            self.first.append((word, port))

    # Packet code

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        if not frame.data.has(0, 14):
            return u32(DROP)
        if source == self.host:
            self.host_ether = frame.ether.src
        kind = frame.ether.type
        if kind == 0x0800:
            return self.ip4(frame, source)
        if kind == 0x86DD:
            return self.ip6(frame, source)
        if kind == 0x0806 and frame.data.has(14, 28):
            arp = frame.data.header(ARP, 14)
            is_host = frame.ether.src == self.host_ether and arp.sender_ether == self.host_ether
            return self.resolve(source, is_host, u64(0), _MAPPED | u64(arp.sender_ip), u64(0), _MAPPED | u64(arp.target_ip))
        return self.elsewhere(frame, source, False)

    @datapath
    def resolve(self, source: u32, is_host: boolean, high: u64, low: u64, target_high: u64, target_low: u64) -> u32:
        """A question or answer about addresses: to who has the one asked for; a stack speaks for its own ones alone.

        For an address of the host's (``is_host``: the Ethernet address in it is the host's) only with the host's Ethernet address.
        """
        if source != self.host and source != self.uplink:
            allowed = self.speakers.find((high, low, source)) != NONE
            mine = self.addresses.find((high, low))
            if mine != NONE and not is_host:
                if self.addresses.slots[mine].value.shared != 0:
                    allowed = False
            if not allowed:
                self.spoofed += 1
                return u32(DROP)
        theirs = self.addresses.find((target_high, target_low))
        if theirs != NONE:
            if self.addresses.slots[theirs].value.shared == 0:
                return u32(self.addresses.slots[theirs].value.port)
        return u32(BROADCAST)

    @datapath
    def ip4(self, frame: Frame, source: u32) -> u32:
        if not frame.data.has(14, 20):
            return u32(DROP)
        ip = frame.data.header(IP, 14)
        header = u32(ip.header_length) * 4
        length = u32(ip.length)
        if ip.version != 4 or header < 20 or length < header or not frame.data.has(14, length):
            return self.bad()
        if frame.data.checksum(14, header) != 0xFFFF:
            return self.bad()
        protocol = u32(ip.protocol)
        src, dst = u32(ip.src), u32(ip.dst)
        if (ip.fragment & 0x3FFF) != 0 or (protocol != 6 and protocol != 17):
            return self.unclaimed(frame, source, protocol == 1, u64(0), _MAPPED | u64(src))
        pseudo = pseudo_header_sum(src, dst, protocol, length - header)
        return self.transport(frame, source, 14 + header, length - header, protocol, pseudo, u64(0), _MAPPED | u64(src),
                              u64(0), _MAPPED | u64(dst))

    @datapath
    def ip6(self, frame: Frame, source: u32) -> u32:
        if not frame.data.has(14, 40):
            return u32(DROP)
        ip = frame.data.header(IP6, 14)
        length = u32(ip.length)
        if ip.version != 6 or not frame.data.has(54, length):
            return self.bad()
        protocol = u32(ip.next_header)
        src_high, src_low = u64(ip.src >> 64), u64(ip.src)
        dst_high, dst_low = u64(ip.dst >> 64), u64(ip.dst)
        if protocol != 6 and protocol != 17:
            if protocol == 58 and length >= 24:
                kind = frame.data.u8[54]
                if kind == 135 or kind == 136:
                    is_host = frame.ether.src == self.host_ether
                    return self.resolve(source, is_host, src_high, src_low, frame.data.u64[62], frame.data.u64[70])
            return self.unclaimed(frame, source, protocol == 58, src_high, src_low)
        pseudo = frame.data.checksum(22, 32, protocol + length)
        return self.transport(frame, source, u32(54), length, protocol, pseudo, src_high, src_low, dst_high, dst_low)

    @datapath
    def transport(self, frame: Frame, source: u32, at: u32, length: u32, protocol: u32, pseudo: u32, src_high: u64, src_low: u64,
                  dst_high: u64, dst_low: u64) -> u32:
        if length < (20 if protocol == 6 else 8):
            return self.bad()
        unsummed = protocol == 17 and src_high == 0 and src_low >> 32 == 0xFFFF and frame.data.u16[at + 6] == 0
        if not unsummed and frame.data.checksum(at, length, pseudo) != 0xFFFF:
            return self.bad()
        if source != self.host and source != self.uplink:
            mine = self.claims.find((src_high, src_low, protocol << 16 | frame.data.u16[at]))
            if mine == NONE or self.claims.slots[mine].value.port != source:
                self.spoofed += 1
                return u32(DROP)
        i = self.claims.find((dst_high, dst_low, protocol << 16 | frame.data.u16[at + 2]))
        if i != NONE:
            return u32(self.claims.slots[i].value.port)
        return self.elsewhere(frame, source, True)

    @datapath
    def unclaimed(self, frame: Frame, source: u32, icmp: bool, high: u64, low: u64) -> u32:
        """No port numbers: a stack may send ICMP from an address of its own, and nothing else."""
        if source != self.host and source != self.uplink:
            if not icmp or self.speakers.find((high, low, source)) == NONE:
                self.spoofed += 1
                return u32(DROP)
        return self.elsewhere(frame, source, True)

    @datapath
    def elsewhere(self, frame: Frame, source: u32, routed: bool) -> u32:
        """To the host; from the host, or to anybody but the host, out."""
        if source == self.uplink:
            return u32(self.host)
        if source == self.host:
            return u32(self.uplink)
        if self.uplink != _NOBODY and routed and frame.ether.dst != self.host_ether:
            return u32(self.uplink)
        return u32(self.host)

    @datapath(rare=True)
    def bad(self) -> u32:
        self.damaged += 1
        return u32(DROP)

    # Orders

    def port_attached(self, number: int, name: str) -> None:
        self.ports[name] = number
        for word, port in list(self.first):
            if port == name or port.isdigit():
                self.command([word, port])
                self.first.remove((word, port))

    def port_detached(self, number: int) -> None:
        """Claims go with their port."""
        self.ports = {name: n for name, n in self.ports.items() if n != number}
        gone = {key[:2] for key, value in self.speakers.items() if value.port == number}
        for table in (self.claims, self.speakers):
            for i in table.indices():
                if table.slots[i].value.port == number:
                    table.drop(i)
        for address in gone:
            self._forget(address)
        for word in ("host", "uplink"):
            if getattr(self, word) == number:
                setattr(self, word, _NOBODY)

    def _port(self, text: str) -> int:
        if text in self.ports:
            return self.ports[text]
        if text.isdigit() and int(text) in self.ports.values():
            return int(text)
        raise ModuleError(f"'{text}' is no port (there are {', '.join(self.ports) or 'none'})")

    def command(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        match list(words):
            case ["claim", address, protocol, number, port]:
                self._claim(_tuple(address, protocol, number), self._port(port))
                return []
            case ["release", address, protocol, number]:
                self._release(_tuple(address, protocol, number))
                return []
            case ["host" | "uplink" as word, port]:
                setattr(self, word, self._port(port))
                return []
            case ["list"]:
                return self.report()[1:]
        raise ModuleError("three-tuple knows 'claim ADDRESS tcp|udp NUMBER PORT', 'release ADDRESS tcp|udp NUMBER', 'list', "
                          "'host PORT' and 'uplink PORT'")

    def _claim(self, key: tuple[int, int, int], port: int) -> None:
        at = self.claims.index_of(key)
        if at is not None:
            raise ModuleError(f"{_text(key)} is claimed already, by port {int(self.claims.slots[at].value.port)}")
        owner = self.addresses.index_of(key[:2])
        shared = _is_of_host(key)
        if owner is not None and not shared and self.addresses.slots[owner].value.port != port:
            raise ModuleError(f"{_text(key)}: the address is the one of port {int(self.addresses.slots[owner].value.port)}")
        places: list[tuple[Table, tuple[int, ...], dict[str, int]]] = [(self.claims, key, {"port": port})]
        if self.speakers.index_of((*key[:2], port)) is None:
            places.append((self.speakers, (*key[:2], port), {"port": port}))
        if owner is None:
            places.append((self.addresses, key[:2], {"port": port, "shared": int(shared)}))
        if any(table.put(at, value) is None for table, at, value in places):
            raise ModuleError("there is no room for more claims")

    def _release(self, key: tuple[int, int, int]) -> None:
        at = self.claims.index_of(key)
        if at is None:
            raise ModuleError(f"{_text(key)} is not claimed")
        port = int(self.claims.slots[at].value.port)
        self.claims.drop(at)
        if not any(k[:2] == key[:2] and v.port == port for k, v in self.claims.items()):
            speaker = self.speakers.index_of((*key[:2], port))
            if speaker is not None:
                self.speakers.drop(speaker)
        self._forget(key[:2])

    def _forget(self, address: tuple[int, ...]) -> None:
        """An address that nobody has a claim at is nobody's."""
        owner = self.addresses.index_of(address[:2])
        if owner is not None and not any(k[:2] == address[:2] for k, _ in self.claims.items()):
            self.addresses.drop(owner)

    def report(self) -> list[tuple[str, ...]]:
        names = {n: name for name, n in self.ports.items()}
        rows = [(_address(*k[:2]), _protocol(k[2]), str(k[2] & 0xFFFF), names.get(int(v.port), "?")) for k, v in self.claims.items()]
        return [("address", "protocol", "number", "port"), *sorted(rows)]


def _tuple(address: str, protocol: str, number: str) -> tuple[int, int, int]:
    try:
        value = ipaddress.ip_address(address)
    except ValueError:
        raise ModuleError(f"'{address}' is no address") from None
    if protocol not in _PROTOCOLS:
        raise ModuleError(f"'{protocol}': tcp or udp is expected")
    if not number.isdigit() or not 0 < int(number) < 65536:
        raise ModuleError(f"'{number}' is no port number (1 to 65535)")
    whole = int(value) if value.version == 6 else _MAPPED | int(value)
    return whole >> 64, whole & 0xFFFF_FFFF_FFFF_FFFF, _PROTOCOLS[protocol][0] << 16 | int(number)


def _address(high: int, low: int) -> str:
    return str(ipaddress.IPv4Address(low ^ _MAPPED)) if not high and low >> 32 == 0xFFFF else str(ipaddress.IPv6Address(high << 64 | low))


def _protocol(key: int) -> str:
    return next(name for name, (number, _) in _PROTOCOLS.items() if number == key >> 16)


def _text(key: tuple[int, int, int]) -> str:
    return f"{_address(*key[:2])} {_protocol(key[2])} {key[2] & 0xFFFF}"


def _is_of_host(key: tuple[int, int, int]) -> bool:
    """Whether the address is one of this host's; raises ModuleError where a socket of this host has the tuple."""
    kind = next(kind for number, kind in _PROTOCOLS.values() if number == key[2] >> 16)
    family = socket.AF_INET6 if ':' in _address(*key[:2]) else socket.AF_INET
    with socket.socket(family, kind) as probe:
        try:
            probe.bind((_address(*key[:2]), key[2] & 0xFFFF))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ModuleError(f"{_text(key)} is in use by a socket of this host") from None
            return False
    return True
