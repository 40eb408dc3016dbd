"""Conversations between hosts through a network, with what hosts check: TCP's SYN, SYN/ACK and ACK (RFC 9293, section 3.10), a
request and its answer by UDP, echo and its reply by ICMP (RFC 792)."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.verify import terms
from penstock.verify.hosts import LONGEST, make_packet
from penstock.verify.intervals import Intervals
from penstock.verify.network import Network, Way
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.terms import Value
from penstock.verify.traffic import Traffic

__all__ = ["STAGES", "Conversation", "connect", "request"]

_SYN, _SYN_ACK, _ACK = 0x02, 0x12, 0x10
#: how far conversations come, in order
STAGES = ("SYN", "request", "echo", "SYN/ACK", "answer", "reply", "ACK", "data", "done")


@dataclass(slots=True)
class Conversation:
    """One way that a conversation can go. ``stage``: how far it came (the name of the packet that was lost or refused, or done).

    ``conditions`` are those that hosts ask for and that need not hold: the conversation comes about exactly when they do.
    """

    stage: str
    first: SymbolicPacket
    ways: list[Way] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def works(self) -> bool:
        return self.stage == "done"

    @property
    def path(self) -> Path:
        return self.ways[-1].path


def connect(network: Network, client: str, server: str, traffic: Traffic | None = None) -> list[Conversation]:
    """Every way of a handshake of ``client`` with ``server``; ``traffic`` narrows down the first packet."""
    asked = traffic or Traffic("tcp", text="tcp")
    made = asked.without_length().packet("tcp", source=network.addresses(client), name="syn",
                        given={"tcp.flags": _SYN, "tcp.acknowledgement": 0, "ip.fragment_offset": 0, "ip.flags": 2})
    if made is None:
        return []
    syn, path = made
    found: list[Conversation] = []
    for first in network.send(client, syn, path):
        if (refused := _refused(network, "SYN", first, server)) is not None:
            found.append(Conversation("SYN", syn, [first], reason=refused))
            continue
        found += _answered(network, client, server, syn, first)
    return [_filled(network, client, server, asked.length.high, c) if c.works else c for c in found] if asked.length else found


def _filled(network: Network, client: str, server: str, length_bytes: int, opened: Conversation) -> Conversation:
    """The connection, with a segment of that length each way, which must not be fragmented."""
    syn, (_, second, third) = opened.first, opened.ways
    mine = _reply(second.packet, "segment", _ACK, terms.add(syn.field("tcp", "sequence"), 1, 32),
                  terms.add(second.packet.field("tcp", "sequence"), 1, 32), longest=length_bytes)
    theirs = _reply(third.packet, "answering segment", _ACK, third.packet.field("tcp", "acknowledgement"),
                    third.packet.field("tcp", "sequence"), longest=length_bytes)
    for sender, receiver, segment in ((client, server, mine), (server, client, theirs)):
        last = opened.ways[-1]
        path = last.path.copy()
        exactly = Intervals(((length_bytes, length_bytes),))
        if not path.confine(segment.field("ip", "length"), exactly, Place(text="the length as asked")):
            return Conversation("data", syn, opened.ways, reason=f"a segment has no {length_bytes} bytes")
        ways = network.send(sender, segment, path, last.state)
        arriving = [way for way in ways if way.kind == "delivered" and way.node == receiver]
        if not arriving:
            lost = next((way for way in ways if way.kind != "delivered"), ways[0])
            told = any(way.kind == "delivered" and way.node == sender for way in ways)
            reason = _lost(f"a segment of {length_bytes} bytes from {sender}", lost, receiver)
            reason += ", and the sender is told" if told else ""
            return Conversation("data", syn, [*opened.ways, lost], opened.conditions, reason)
        opened.ways.append(arriving[0])
    return opened


def request(network: Network, client: str, server: str, traffic: Traffic) -> list[Conversation]:
    """Every way of a request of ``client`` and what ``server`` answers: by UDP, or ICMP's echo and its reply."""
    protocol = traffic.protocol
    what, back = ("request", "answer") if protocol == "udp" else ("echo", "reply")
    # Whether it may be fragmented is said in the question, or it may.
    flags = dict(traffic.fields).get("ip.flags")
    fixed: dict[str, Value] = {"ip.fragment_offset": 0, "ip.flags": flags.high if flags is not None and flags.low == flags.high else 0}
    if protocol == "icmp":
        fixed |= {"icmp.type": 8, "icmp.code": 0}
    made = traffic.packet(protocol, source=network.addresses(client), name=what, given=fixed)
    if made is None:
        return []
    sent, path = made
    found: list[Conversation] = []
    for first in network.send(client, sent, path):
        if (refused := _refused(network, what, first, server)) is not None:
            found.append(Conversation(what, sent, [first], reason=refused))
            continue
        got = first.packet
        fields = {**fixed, **_back(got)}
        if protocol == "icmp":
            fields |= {"icmp.type": 0, "icmp.identifier": got.field("icmp", "identifier"), "icmp.sequence": got.field("icmp", "sequence")}
        else:
            fields |= {"udp.src": got.field("udp", "dst"), "udp.dst": got.field("udp", "src")}
        for second in network.send(server, make_packet(protocol, fields, name=back), first.path, first.state):
            found.append(_judged(client, what, back, sent, first, second, protocol))
    return found


def _judged(client: str, what: str, back: str, sent: SymbolicPacket, first: Way, second: Way, protocol: str) -> Conversation:
    """What the client makes of the answer."""
    if second.kind != "delivered" or second.node != client:
        return Conversation(back, sent, [first, second], reason=_lost(f"the {back}", second, client))
    second.path = second.path.copy()
    checks = [
        ("it comes from the address that was asked", second.packet.field("ip", "src"), sent.field("ip", "dst")),
        ("it is sent to the client's address", second.packet.field("ip", "dst"), sent.field("ip", "src")),
    ]
    if protocol == "udp":
        checks += [("it comes from the port that was asked", second.packet.field("udp", "src"), sent.field("udp", "dst")),
                   ("it is sent to the client's port", second.packet.field("udp", "dst"), sent.field("udp", "src"))]
    else:
        checks += [(f"its {name} is the echo's", second.packet.field("icmp", name), sent.field("icmp", name))
                   for name in ("identifier", "sequence")]
    conditions, failed = _expect(second.path, checks, client)
    if failed:
        return Conversation(back, sent, [first, second], reason=f"the client refuses the {back}: {failed}")
    return Conversation("done", sent, [first, second], conditions)


def _back(to: SymbolicPacket) -> dict[str, Value]:
    return {"ip.src": to.field("ip", "dst"), "ip.dst": to.field("ip", "src"), "ip.ttl": 64}


def _refused(network: Network, what: str, way: Way, server: str) -> str | None:
    """Why the first packet does not reach whom it is for; None where it does, which is supposed from here on."""
    if way.kind != "delivered" or way.node != server:
        return _lost(f"the {what}", way, server)
    way.path = way.path.copy()
    mine = Place(server, text="packets for its own addresses")
    if not way.path.confine(way.packet.field("ip", "dst"), network.addresses(server), mine):
        return f"the {what} is not for an address of {server}"
    return None


def _reply(to: SymbolicPacket, name: str, flags: int, sequence: Value, acknowledgement: Value, *,
           longest: int = LONGEST) -> SymbolicPacket:
    return make_packet("tcp", {
        **_back(to), "ip.flags": 2, "ip.fragment_offset": 0, "tcp.src": to.field("tcp", "dst"), "tcp.dst": to.field("tcp", "src"),
        "tcp.flags": flags, "tcp.sequence": sequence, "tcp.acknowledgement": acknowledgement,
    }, name=name, longest=longest)


def _answered(network: Network, client: str, server: str, syn: SymbolicPacket, first: Way) -> list[Conversation]:
    got = first.packet
    theirs = terms.Var("syn/ack.tcp.sequence", 32)
    answer = _reply(got, "syn/ack", _SYN_ACK, theirs, terms.add(got.field("tcp", "sequence"), 1, 32))
    found: list[Conversation] = []
    for second in network.send(server, answer, first.path, first.state):
        if second.kind != "delivered" or second.node != client:
            found.append(Conversation("SYN/ACK", syn, [first, second], reason=_lost("the SYN/ACK", second, client)))
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
            found.append(Conversation("SYN/ACK", syn, [first, second], reason=f"the client refuses the SYN/ACK: {failed}"))
            continue
        found += _established(network, client, server, syn, first, second, theirs, conditions)
    return found


def _established(network: Network, client: str, server: str, syn: SymbolicPacket, first: Way, second: Way, theirs: Value,
                 conditions: list[str]) -> list[Conversation]:
    last = _reply(second.packet, "ack", _ACK, terms.add(syn.field("tcp", "sequence"), 1, 32),
                  terms.add(second.packet.field("tcp", "sequence"), 1, 32))
    found: list[Conversation] = []
    for third in network.send(client, last, second.path, second.state):
        ways = [first, second, third]
        if third.kind != "delivered" or third.node != server:
            found.append(Conversation("ACK", syn, ways, conditions, _lost("the ACK", third, server)))
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
            found.append(Conversation("ACK", syn, ways, conditions, f"the server refuses the ACK: {failed}"))
        else:
            found.append(Conversation("done", syn, ways, [*conditions, *more]))
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
