"""One probe for all TTLs: the same packet but for its TTL and a mark that says which one it is.

Routers that balance load hash addresses, protocol and ports (for ICMP type, code, checksum and identifier too), so those stay
(Augustin et al., "Avoiding traceroute anomalies with Paris traceroute", IMC 2006). The mark stands where neither they nor
the destination look, and in two places, so that a box that rewrites one does not lose the hop: the IPv4 identification, and
TCP's urgent pointer (which says nothing without URG), the sequence number of an echo, or two bytes of payload after UDP.
"""

from __future__ import annotations

import random
from collections import Counter

from penstock.tracebox.constructors import ip, ipv6
from penstock.tracebox.layers import ICMP, IP, SCTP, TCP, UDP, ICMPv6, IPv6, Layer, Raw
from penstock.tracebox.packet import Packet, dissect

__all__ = ["Flow"]

_URG = 0x20


def _updated(checksum: int, old: int, new: int) -> int:
    """The checksum after a 16-bit word has changed (RFC 1624, equation 3)."""
    total = (~checksum & 0xFFFF) + (~old & 0xFFFF) + new
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


class Flow:
    """The probes of one path. ``port`` is the source port (or echo identifier) where the template gives none.

    ``like`` is a recorded probe: port, sequence number and mark are taken from it.
    """

    def __init__(self, template: Packet, source: str, destination: str, *, port: int, chance: random.Random, is_marked: bool = True,
                 destination_port: int | None = None, like: Packet | None = None):
        wide = ":" in destination
        packet = template.copy()
        if not ((packet.layers and isinstance(packet.layers[0], IP)) or any(layer.LABEL == "IPv6" for layer in packet.layers)):
            packet.layers.insert(0, ipv6() if wide else ip())
        elif wide != (packet.network.LABEL == "IPv6"):
            # A probe that only says IP or IPv6 follows the destination.
            first = packet.layers[0]
            if first.given:
                raise ValueError(f"the probe is {first.LABEL}, the destination {destination} is not")
            packet.layers[0] = ipv6() if wide else ip()
            packet.layers = [ICMPv6(bytes(layer.data)) if isinstance(layer, ICMP) and wide else layer for layer in packet.layers]
            for layer in packet.layers:
                if isinstance(layer, ICMPv6) and layer["type"] == 8:
                    layer.put("type", 128)
        network: IP | IPv6 = packet.network
        if "src" not in network.given:
            packet.set_address("src", source)
        packet.set_address("dst", destination)
        self.source, self.destination = packet.source, destination
        transport = packet.transport
        recorded = like.transport if like is not None else None
        if recorded is not None and transport is not None and recorded.LABEL == transport.LABEL:
            for name in ("src", "identifier", "sequence"):
                if name in transport.FIELDS and (name != "sequence" or isinstance(transport, TCP)) and recorded.get(name) is not None:
                    transport.put(name, recorded[name])
                    port = recorded[name] if name != "sequence" else port
        else:
            recorded = None
        self.can_change_port = transport is not None and not ({"src", "identifier"} & transport.given)
        self.port = 0
        self.destination_port = 0
        self.sequence: int | None = None
        if isinstance(transport, (TCP, UDP, SCTP)):
            if "src" not in transport.given:
                transport.put("src", port)
            if destination_port is not None and "dst" not in transport.given:
                transport.put("dst", destination_port)
            self.port, self.destination_port = transport["src"], transport["dst"]
        if isinstance(transport, TCP):
            if "sequence" not in transport.given and (recorded is None or recorded.get("sequence") is None):
                transport.put("sequence", chance.getrandbits(32))
            self.sequence = transport["sequence"]
        if isinstance(transport, (ICMP, ICMPv6)):
            if not transport.given & {"identifier", "gateway", "pointer", "mtu", "length"} and transport["type"] in (8, 128):
                transport.put("identifier", port)
            self.port = transport["identifier"]
        if isinstance(network, IP) and "identification" not in network.given:
            network.put("identification", 1)
        self.protocol = transport.LABEL if transport is not None else ""
        udp_tail = isinstance(transport, UDP) and packet.find(Raw) is None and is_marked
        if udp_tail:
            packet.layers.append(Raw(b"\0\0"))
        self.packet = packet
        self._base = packet.build()
        self._wide = wide
        self._cookie = chance.getrandbits(6)
        recorded_ip = like.find(IP) if like is not None else None
        if recorded_ip is not None and (value := recorded_ip.get("identification")) is not None:
            self._cookie = value & 63
        #: offset of the second mark and of the checksum that covers it, 0 for none
        self._mark_at = self._checksum_at = 0
        self._compensate_at = 0
        self._id_at = 4 if is_marked and isinstance(network, IP) and "identification" not in network.given else 0
        at = self._find_transport()
        if is_marked and at:
            if isinstance(transport, TCP) and "urgent" not in transport.given and not transport["flags"] & _URG:
                self._mark_at, self._checksum_at = at + 18, at + 16
            elif udp_tail:
                self._mark_at, self._checksum_at = len(self._base) - 2, at + 6
            elif isinstance(transport, (ICMP, ICMPv6)) and transport["type"] in (8, 128) and "sequence" not in transport.given:
                self._mark_at, self._checksum_at = at + 6, at + 2
                if len(packet.payload) >= 2 and len(packet.payload) % 2 == 0:
                    self._compensate_at = len(self._base) - 2
            if transport is not None and "checksum" in transport.given:
                self._mark_at = self._checksum_at = 0
        #: probes of different TTLs can be told apart when several are under way
        self.is_marked = bool(self._id_at or self._mark_at)
        #: answers say which TTL they answer
        self.marks_answers = bool(self._mark_at) and self.protocol in ("ICMP", "ICMPv6")
        self._checksums: dict[int, tuple[int, int]] = {}

    def _find_transport(self) -> int:
        """Where the transport header starts in the built packet, 0 for nowhere."""
        transport = self.packet.transport
        if transport is None:
            return 0
        packet = dissect(self._base)
        at = 0
        for layer in packet.layers:
            if isinstance(layer, (TCP, UDP, ICMP, ICMPv6, SCTP)):
                return at
            at += len(layer.data)
        return 0

    def _mark(self, ttl: int, attempt: int) -> int:
        return ttl << 8 | (attempt & 3) << 6 | self._cookie

    def _unmark(self, value: int) -> tuple[int, int] | None:
        return (value >> 8, value >> 6 & 3) if value & 63 == self._cookie and value >> 8 else None

    def _with_port(self, port: int) -> bytearray:
        """The base packet with another source port, its checksum right."""
        packet = self.packet.copy()
        transport = packet.transport
        assert transport is not None
        transport.put("identifier" if isinstance(transport, (ICMP, ICMPv6)) else "src", port)
        return bytearray(packet.build())

    def probe(self, ttl: int, attempt: int = 0, *, port: int | None = None) -> bytes:
        """The probe of a TTL. ``port`` sends it as another flow."""
        data = bytearray(self._base) if port is None else self._with_port(port)
        mark = self._mark(ttl, attempt)
        if not self._wide:
            checksum = data[10] << 8 | data[11]
            old = data[8] << 8 | data[9]
            data[8] = ttl
            checksum = _updated(checksum, old, ttl << 8 | data[9])
            if self._id_at:
                checksum = _updated(checksum, data[4] << 8 | data[5], mark)
                data[4:6] = mark.to_bytes(2)
            if "checksum" not in self.packet.network.given:
                data[10:12] = checksum.to_bytes(2)
        else:
            data[7] = ttl
        if self._mark_at:
            at, sum_at = self._mark_at, self._checksum_at
            checksum = data[sum_at] << 8 | data[sum_at + 1]
            old = data[at] << 8 | data[at + 1]
            data[at : at + 2] = mark.to_bytes(2)
            if self._compensate_at:
                # What the mark adds, the payload takes away: the checksum, which some routers hash, stays.
                place = self._compensate_at
                word = data[place] << 8 | data[place + 1]
                total = word + old + (~mark & 0xFFFF)
                total = (total & 0xFFFF) + (total >> 16)
                total = (total & 0xFFFF) + (total >> 16)
                data[place : place + 2] = total.to_bytes(2)
            else:
                checksum = _updated(checksum, old, mark)
                if self.protocol == "UDP" and checksum == 0:
                    checksum = 0xFFFF
                data[sum_at : sum_at + 2] = checksum.to_bytes(2)
                if port is None:
                    self._checksums[checksum] = (ttl, attempt & 3)
        return bytes(data)

    def identify(self, quote: Packet) -> tuple[int, int] | None:
        """TTL and attempt of the probe that is quoted, by the marks that survived; None where none did."""
        votes: list[tuple[int, int]] = []
        if self._id_at and (network := quote.find(IP)) is not None:
            value = network.get("identification")
            if value is not None and (found := self._unmark(value)):
                votes.append(found)
        transport = quote.transport
        if transport is not None and self._mark_at:
            name = {"TCP": "urgent", "ICMP": "sequence", "ICMPv6": "sequence"}.get(self.protocol)
            value = transport.get(name) if name is not None and name in transport.FIELDS else None
            if self.protocol == "UDP" and len(quote.payload) == 2:
                value = int.from_bytes(quote.payload)
            if value is not None and (found := self._unmark(value)):
                votes.append(found)
            checksum = transport.get("checksum")
            if checksum is not None and (found := self._checksums.get(checksum)):
                votes.append(found)
        return Counter(votes).most_common(1)[0][0] if votes else None

    def likeness(self, quote: Packet) -> int:
        """How many of destination, ports and sequence number the quote shares with the probes."""
        transport = quote.transport
        network: Layer | None = quote.find(IP) or (quote.layers[0] if quote.layers else None)
        points = 0
        if network is not None and "dst" in network.FIELDS and network.get("dst") is not None:
            points += quote.destination == self.destination
        if transport is None:
            return points + (not self.protocol)
        if "src" in transport.FIELDS:
            points += transport.get("src") == self.port
            points += transport.get("dst") == self.destination_port
        elif "identifier" in transport.FIELDS:
            points += 2 * (transport.get("identifier") == self.port)
        if self.sequence is not None and "sequence" in transport.FIELDS:
            points += transport.get("sequence") == self.sequence
        return points

    def answers(self, packet: Packet) -> tuple[bool, int | None, int | None]:
        """Whether a packet of the destination answers these probes; which TTL's, if it says so; and to which port it came."""
        transport = packet.transport
        if transport is None:
            return False, None, None
        if isinstance(transport, (ICMP, ICMPv6)):
            if self.protocol not in ("ICMP", "ICMPv6") or transport.get("type") not in (0, 14, 16, 18, 129):
                return False, None, None
            identifier, sequence = transport.get("identifier"), transport.get("sequence")
            found = self._unmark(sequence) if sequence is not None and self._mark_at else None
            return identifier == self.port, found[0] if found else None, identifier
        if self.protocol != transport.LABEL:
            return False, None, None
        return transport.get("src") == self.destination_port, None, transport.get("dst")
