"""Whether TCP connections come about: SYN, SYN/ACK and ACK through a network, with what hosts check (RFC 9293, section 3.10)."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.verify import terms
from penstock.verify.network import Network, Way
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.terms import Value
from penstock.verify.traffic import Traffic

__all__ = ["Handshake", "connect"]

_SYN, _SYN_ACK, _ACK = 0x02, 0x12, 0x10


@dataclass(slots=True)
class Handshake:
    """One way that the opening of a connection can go. ``stage``: how far it came (SYN, SYN/ACK, ACK, done).

    ``conditions`` are those that hosts ask for and that need not hold: the connection comes about exactly when they do.
    """

    stage: str
    syn: SymbolicPacket
    ways: list[Way] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def works(self) -> bool:
        return self.stage == "done"

    @property
    def path(self) -> Path:
        return self.ways[-1].path


def connect(network: Network, client: str, server: str, traffic: Traffic | None = None) -> list[Handshake]:
    """Every way of a handshake of ``client`` with ``server``; ``traffic`` narrows down the first packet."""
    asked = traffic or Traffic("tcp", text="tcp")
    made = asked.packet("tcp", source=network.addresses(client), name="syn",
                        given={"tcp.flags": _SYN, "tcp.acknowledgement": 0, "ip.fragment_offset": 0, "ip.flags": 2})
    if made is None:
        return []
    syn, path = made
    found: list[Handshake] = []
    for first in network.send(client, syn, path):
        if first.kind != "delivered" or first.node != server:
            found.append(Handshake("SYN", syn, [first], reason=_lost("the SYN", first, server)))
            continue
        first.path = first.path.copy()
        mine = Place(server, text="packets for its own addresses")
        if not first.path.confine(first.packet.field("ip", "dst"), network.addresses(server), mine):
            found.append(Handshake("SYN", syn, [first], reason=f"the SYN is not for an address of {server}"))
            continue
        found += _answered(network, client, server, syn, first)
    return found


def _reply(to: SymbolicPacket, name: str, flags: int, sequence: Value, acknowledgement: Value) -> SymbolicPacket:
    from penstock.verify.hosts import make_packet

    return make_packet("tcp", {
        "ip.src": to.field("ip", "dst"), "ip.dst": to.field("ip", "src"), "ip.ttl": 64, "ip.flags": 2, "ip.fragment_offset": 0,
        "tcp.src": to.field("tcp", "dst"), "tcp.dst": to.field("tcp", "src"), "tcp.flags": flags,
        "tcp.sequence": sequence, "tcp.acknowledgement": acknowledgement,
    }, name=name)


def _answered(network: Network, client: str, server: str, syn: SymbolicPacket, first: Way) -> list[Handshake]:
    got = first.packet
    theirs = terms.Var("syn/ack.tcp.sequence", 32)
    answer = _reply(got, "syn/ack", _SYN_ACK, theirs, terms.add(got.field("tcp", "sequence"), 1, 32))
    found: list[Handshake] = []
    for second in network.send(server, answer, first.path, first.state):
        if second.kind != "delivered" or second.node != client:
            found.append(Handshake("SYN/ACK", syn, [first, second], reason=_lost("the SYN/ACK", second, client)))
            continue
        checks = [
            ("it comes from the address that the client called", second.packet.field("ip", "src"), syn.field("ip", "dst")),
            ("it is sent to the client's address", second.packet.field("ip", "dst"), syn.field("ip", "src")),
            ("it comes from the port that the client called", second.packet.field("tcp", "src"), syn.field("tcp", "dst")),
            ("it is sent to the client's port", second.packet.field("tcp", "dst"), syn.field("tcp", "src")),
            ("it acknowledges the client's sequence number plus 1", second.packet.field("tcp", "acknowledgement"),
             terms.add(syn.field("tcp", "sequence"), 1, 32)),
        ]
        second.path = second.path.copy()
        conditions, failed = _expect(second.path, checks, client)
        if failed:
            found.append(Handshake("SYN/ACK", syn, [first, second], reason=f"the client refuses the SYN/ACK: {failed}"))
            continue
        found += _established(network, client, server, syn, first, second, theirs, conditions)
    return found


def _established(network: Network, client: str, server: str, syn: SymbolicPacket, first: Way, second: Way, theirs: Value,
                 conditions: list[str]) -> list[Handshake]:
    last = _reply(second.packet, "ack", _ACK, terms.add(syn.field("tcp", "sequence"), 1, 32),
                  terms.add(second.packet.field("tcp", "sequence"), 1, 32))
    found: list[Handshake] = []
    for third in network.send(client, last, second.path, second.state):
        ways = [first, second, third]
        if third.kind != "delivered" or third.node != server:
            found.append(Handshake("ACK", syn, ways, conditions, _lost("the ACK", third, server)))
            continue
        got, before = third.packet, first.packet
        third.path = third.path.copy()
        more, failed = _expect(third.path, [
            ("it comes from where the SYN came from", got.field("ip", "src"), before.field("ip", "src")),
            ("it is sent to where the SYN was sent to", got.field("ip", "dst"), before.field("ip", "dst")),
            ("it comes from the SYN's port", got.field("tcp", "src"), before.field("tcp", "src")),
            ("it goes on where the SYN ended", got.field("tcp", "sequence"), terms.add(before.field("tcp", "sequence"), 1, 32)),
            ("it acknowledges the server's sequence number plus 1", got.field("tcp", "acknowledgement"), terms.add(theirs, 1, 32)),
        ], server)
        if failed:
            found.append(Handshake("ACK", syn, ways, conditions, f"the server refuses the ACK: {failed}"))
        else:
            found.append(Handshake("done", syn, ways, [*conditions, *more]))
    return found


def _expect(path: Path, checks: list[tuple[str, Value, Value]], host: str) -> tuple[list[str], str]:
    """What a host checks: the conditions that need not hold, supposed from here on, and the first that cannot hold."""
    conditions: list[str] = []
    for text, got, wanted in checks:
        bits = next((v.bits for v in (got, wanted) if isinstance(v, terms.Term)), 32)
        condition = path.simpler(terms.compare("eq", path.simpler(got), path.simpler(wanted), bits))
        answer = path.decide(condition)
        if answer is None:
            if not path.assume(condition, True, Place(host, text=text)):
                answer = False
            else:
                conditions.append(f"{condition} ({text})")
                continue
        if not answer:
            return conditions, f"not so that {text}: it has {got}, not {wanted}"
    return conditions, ""


def _lost(what: str, way: Way, target: str) -> str:
    if way.kind == "delivered":
        return f"{what} arrives at {way.node}, not at {target}"
    if way.kind == "left":
        return f"{what} leaves {way.node} through '{way.interface}', which is linked to nothing"
    reason = f": {way.reason}" if way.reason else ""
    return f"{what} is {'lost in a loop' if way.kind == 'loop' else way.kind} at {way.place}{reason}"
