"""Questions about a network, and their answers with the packets, an example and the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.verify import terms
from penstock.verify.conversation import STAGES, connect, request
from penstock.verify.describe import deciding_rule, number_text
from penstock.verify.example import Contradiction, bytes_of, find_example, plain_example
from penstock.verify.intervals import Intervals
from penstock.verify.network import Network, NetworkError, Way
from penstock.verify.options import OPTIONS, find_option
from penstock.verify.packet import HEADER_TYPES, SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.substitution import evaluate
from penstock.verify.terms import Value, Var
from penstock.verify.traffic import Traffic

__all__ = [
    "Answer", "Witness", "after", "converse", "deny", "isolated", "no_loops", "no_spoofing", "reach", "reach_all", "sees",
    "unchanged", "waypoint",
]

#: so many boxes are worth to look at all addresses at once, and that NumPy is loaded for it
_MANY_BOXES = 8


@dataclass(slots=True)
class Witness:
    """One concrete packet that shows an answer: what was sent, what came of it, and the way."""

    source: str
    way: Way
    sent: bytes
    numbers: dict[Var, int]
    #: whether nothing has to be sent before it
    is_first: bool = True

    @property
    def arrived(self) -> bytes:
        return bytes_of(self.way.packet, self.numbers)


@dataclass(slots=True)
class Answer:
    """``verdict``: yes, no, conditional (only where the ``conditions`` hold) or undecided; ``text`` says why in words.

    ``ways`` are those that decided it.
    """

    question: str
    verdict: str
    text: str
    ways: list[Way] = field(default_factory=list)
    witness: Witness | None = None
    conditions: list[str] = field(default_factory=list)
    #: what the answer leaves out of account, and which code an abstraction stood for
    assumptions: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return self.verdict == "yes"


@dataclass(slots=True)
class _Sent:
    source: str
    packet: SymbolicPacket
    ways: list[Way]


def _all_ways(network: Network, source: str, traffic: Traffic, *, any_source: bool = False) -> list[_Sent]:
    """What becomes of such packets; asked once, however many questions are about them."""
    key = (source, traffic.protocol, traffic.fields, traffic.options, any_source)
    found: list[_Sent] | None = network.asked.get(key)
    if found is None:
        found = []
        for protocol in traffic.protocols:
            made = traffic.packet(protocol, source=None if any_source else network.addresses(source))
            if made is not None:
                found.append(_Sent(source, made[0], network.send(source, *made)))
        network.asked[key] = found
    return found


def _simplicity(way: Way) -> tuple[int, int]:
    return len(way.path.facts), sum(len(str(fact)) for fact in way.path.facts)


def _witness(sent: _Sent, ways: list[Way]) -> tuple[Witness | None, Way | None]:
    """An example of the simplest way that has one; and a way for which it could not be told whether it has."""
    doubtful: Way | None = None
    order = sorted(ways, key=_simplicity)
    for way in order:
        if (numbers := plain_example(way.path, [sent.packet, way.packet])) is not None:
            return Witness(sent.source, way, bytes_of(sent.packet, numbers), numbers), None
    for way in order:
        try:
            numbers = find_example(way.path, [sent.packet, way.packet])
        except Contradiction:
            continue
        if numbers is not None:
            return Witness(sent.source, way, bytes_of(sent.packet, numbers), numbers), doubtful
        doubtful = doubtful or way
    return None, doubtful


def _answer(question: str, network: Network, sent: list[_Sent], matching: Any, *, good: bool, found: str, none: str) -> Answer:
    """Whether there are ways that match: a yes is one, where ``good``, else a no."""
    undecided: list[Way] = []
    for item in sent:
        ways = [w for w in item.ways if matching(w)]
        witness, doubtful = _witness(item, ways)
        if witness is not None:
            return Answer(question, "yes" if good else "no", found, ways, witness, assumptions=assumptions(network))
        undecided += [doubtful] if doubtful else []
        undecided += [w for w in item.ways if w.kind == "undecided"]
    if undecided:
        reason = undecided[0].reason or "no example was found, and no contradiction either"
        return Answer(question, "undecided", f"{reason}, at {undecided[0].place}", undecided, assumptions=assumptions(network))
    ends = [w for item in sent for w in item.ways]
    text = _why_not(none, ends) if ends and good else none
    return Answer(question, "no" if good else "yes", text, ends, assumptions=assumptions(network))


def _why_not(text: str, ways: list[Way]) -> str:
    """Where the packets end instead, the most common place first."""
    places: dict[str, int] = {}
    for way in ways:
        end = f"{'arrive at' if way.kind == 'delivered' else way.kind + ' at' if way.kind != 'left' else 'leave'} {way.place}"
        if why := (deciding_rule(way.trail.steps) if way.trail else "") or way.place.text:
            end += f": {why}"
        places[end] = places.get(end, 0) + 1
    listing = "; ".join(sorted(places, key=lambda p: -places[p])[:3])
    return f"{text}: they {listing.replace('dropped at', 'are dropped at').replace('left at', 'leave')}"


def assumptions(network: Network) -> list[str]:
    found = ["tables, queues and the packet pool have room; counters do not matter; flows do not get in each other's way"]
    abstract = sorted({name for box in network.boxes.values() for name in box.program.abstracted})
    if abstract:
        found.append("by their abstraction: " + ", ".join(abstract))
    unknown = sorted(f"{name}/{element} :: {kind}" for name, box in network.boxes.items() for element, kind in box.opaque.items())
    if unknown:
        found.append("not known, and may do anything with packets: " + ", ".join(unknown))
    return found


# Questions

def reach(network: Network, source: str, target: str, traffic: Traffic) -> Answer:
    """Whether some of these packets get from one host to another."""
    network.host(target)
    question = f"can {traffic.text} get from {source} to {target}?"
    return _answer(question, network, _all_ways(network, source, traffic), lambda w: w.kind == "delivered" and w.node == target,
                   good=True, found=f"such packets arrive at {target}", none=f"none arrives at {target}")


def reach_all(network: Network, source: str, target: str, traffic: Traffic) -> Answer:
    """Whether all of these packets get from one host to another."""
    network.host(target)
    question = f"does all {traffic.text} get from {source} to {target}?"
    made = _answer(question, network, _all_ways(network, source, traffic), lambda w: w.kind != "delivered" or w.node != target,
                   good=False, found="", none=f"all of it arrives at {target}")
    if made.witness is not None:
        made.text = _why_not("not all of it", [made.witness.way])
    return made


def deny(network: Network, source: str, target: str, traffic: Traffic) -> Answer:
    """Whether none of these packets gets from one host to another (any other host: ``target`` is ``any``)."""
    if target != "any":
        network.host(target)
    question = f"is {traffic.text} kept from getting from {source} to {target}?"
    return _answer(question, network, _all_ways(network, source, traffic),
                   lambda w: (w.kind == "delivered" and (w.node == target or target == "any")) or (target == "any" and w.kind == "left"),
                   good=False, found="such packets get there", none="none gets there")


def isolated(network: Network, one: str, other: str) -> Answer:
    """Whether two hosts cannot send each other anything."""
    everything = Traffic()
    made = deny(network, one, other, everything)
    if made.holds:
        made = deny(network, other, one, everything)
    made.question = f"are {one} and {other} isolated from each other?"
    return made


def after(network: Network, source: str, target: str, traffic: Traffic, ask: Callable[[Network], Answer]) -> Answer:
    """A question that is asked when such packets have got from one host to another (by TCP: when a connection is open)."""
    network.host(target)
    if traffic.protocol == "tcp":
        opened = [(c.ways[-1].path, c.ways[-1].state) for c in connect(network, source, target, traffic) if c.works]
    else:
        made = [traffic.packet(protocol, source=network.addresses(source), name="before") for protocol in traffic.protocols]
        ways = [way for one in made if one is not None for way in network.send(source, *one)]
        opened = [(way.path, way.state) for way in ways if way.kind == "delivered" and way.node == target]
    if not opened:
        question = f"what if {traffic.text} got from {source} to {target}?"
        return Answer(question, "no", f"none of what is to come first arrives at {target}", assumptions=assumptions(network))
    answer = ask(replace(network, before=tuple(opened), asked={}))
    if answer.witness is not None:
        answer.witness.is_first = False
    return answer


def no_loops(network: Network) -> Answer:
    """Whether no packet that a host can send goes round."""
    if len(network.boxes) >= _MANY_BOXES and (made := _no_loops_by_classes(network)) is not None:
        return made
    undecided: Answer | None = None
    for name in network.hosts:
        if (name, "") not in network.links:
            continue
        sent = _all_ways(network, name, Traffic(), any_source=True)
        made = _answer("are there no loops?", network, sent, lambda w: w.kind == "loop", good=False,
                       found=f"packets of {name} go round", none="no packet goes round")
        if made.verdict == "no":
            return made
        undecided = undecided or (made if made.verdict == "undecided" else None)
    return undecided or Answer("are there no loops?", "yes", "no packet goes round", assumptions=assumptions(network))


def _no_loops_by_classes(network: Network) -> Answer | None:
    """The same for networks that decide by the destination only, for all hosts at once; None for others."""
    from penstock.verify.classes import NotPlain, forwarding_classes

    try:
        loops = forwarding_classes(network).loops
    except NotPlain:
        return None
    if not loops:
        return Answer("are there no loops?", "yes", "no packet goes round", assumptions=assumptions(network))
    loop = loops[0]
    traffic = Traffic(fields=(("ip.dst", Intervals(((loop.addresses.low, loop.addresses.low),))),))
    sent = _all_ways(network, loop.source, traffic, any_source=True)
    return _answer("are there no loops?", network, sent, lambda w: w.kind == "loop", good=False,
                   found=f"packets of {loop.source} go round: {' → '.join([*loop.boxes, loop.boxes[0]])}", none="no packet goes round")


def no_spoofing(network: Network, tenant: str) -> Answer:
    """Whether nothing leaves a host for another one with an address that is not its own."""
    own = network.addresses(tenant)
    question = f"is there no spoofing from {tenant}?"
    sent = _all_ways(network, tenant, Traffic(), any_source=True)
    foreign = Place(text="an address that is not its own")
    outside: list[_Sent] = []
    for item in sent:
        address = item.packet.field("ip", "src")
        ways = [replace(way, path=way.path.copy()) for way in item.ways]
        kept = [w for w in ways if w.kind == "undecided" or w.path.confine(address, own.complement(32), foreign)]
        outside.append(_Sent(item.source, item.packet, kept))
    return _answer(question, network, outside, lambda w: w.kind in ("delivered", "left") and w.node != tenant, good=False,
                   found=f"packets of {tenant} get out with an address that is not its own", none="none gets out")


def waypoint(network: Network, box: str, source: str, target: str, traffic: Traffic) -> Answer:
    """Whether all of these packets that get from one host to another pass a box."""
    network.host(target)
    if box not in network.boxes:
        raise NetworkError(f"there is no box '{box}' (there are {', '.join(network.boxes)})")
    question = f"does {traffic.text} from {source} to {target} pass {box}?"
    return _answer(question, network, _all_ways(network, source, traffic),
                   lambda w: w.kind == "delivered" and w.node == target and all(name != box for name, _ in w.steps),
                   good=False, found=f"some get to {target} without", none=f"all that arrive pass {box}")


def sees(network: Network, box: str, element: str, source: str, traffic: Traffic) -> Answer:
    """Whether some of these packets come to an element of a box."""
    if box not in network.boxes:
        raise NetworkError(f"there is no box '{box}' (there are {', '.join(network.boxes)})")
    if element not in network.boxes[box].router.by_name:
        raise NetworkError(f"there is no element '{element}' in {box}")
    question = f"does {traffic.text} from {source} come to {box}/{element}?"
    return _answer(question, network, _all_ways(network, source, traffic),
                   lambda w: any(name == box and step.element == element for name, step in w.steps),
                   good=True, found=f"such packets come to {box}/{element}", none=f"none comes to {box}/{element}")


def unchanged(network: Network, what: str, source: str, target: str, traffic: Traffic) -> Answer:
    """Whether a field (``ip.src``), or the ``payload``, is at the target what it was at the source, for all packets that arrive."""
    network.host(target)
    header, _, name = what.partition(".")
    if header == "option":
        traffic = replace(traffic, protocol="tcp", options=True)
    known = OPTIONS if header == "option" else HEADER_TYPES[header].FIELDS if header in HEADER_TYPES else ()
    if what != "payload" and name not in known:
        options = ", ".join(f"option.{o}" for o in OPTIONS)
        raise NetworkError(f"there is no field '{what}' (there are payload, {options}, and such as ip.src, tcp.sequence)")
    question = f"is {what} of {traffic.text} unchanged from {source} to {target}?"
    arrives = False
    undecided: list[Way] = []
    for item in _all_ways(network, source, traffic):
        for sent_way in item.ways:
            way = replace(sent_way, path=sent_way.path.copy())
            if way.kind == "undecided":
                undecided.append(way)
            if way.kind != "delivered" or way.node != target:
                continue
            arrives = True
            try:
                condition = _same(what, item.packet, way.packet, way.path)
            except LookupError:
                continue
            answer = way.path.decide(condition)
            if answer:
                continue
            if answer is None and not way.path.assume(condition, False, Place(text=f"{what} is another one")):
                continue
            witness, _ = _witness(item, [way])
            if witness is None:
                undecided.append(way)
                continue
            return Answer(question, "no", _change(what, item.packet, way.packet, witness), [way], witness, assumptions=assumptions(network))
    if undecided:
        return Answer(question, "undecided", undecided[0].reason or "no example was found, and no contradiction either", undecided,
                      assumptions=assumptions(network))
    text = f"it is the same in every packet that arrives at {target}" if arrives else f"nothing arrives at {target}"
    return Answer(question, "yes", text, assumptions=assumptions(network))


def _same(what: str, sent: SymbolicPacket, got: SymbolicPacket, path: Path) -> Value:
    if what == "payload":
        rest, there = sent.rest, got.rest
        assert rest is not None
        same = there is not None and there.name == rest.name and path.simpler(there.length) == path.simpler(rest.length)
        return int(same and there is not None and all(cell is there.byte(at) for at, cell in got.cells.items() if at >= there.start))
    before, after = _value(what, sent), _value(what, got)
    if before is None or after is None:
        return 0
    a, b = path.simpler(before), path.simpler(after)
    bits = next((v.bits for v in (a, b) if isinstance(v, terms.Term)), 64)
    return path.simpler(terms.compare("eq", a, b, bits))


def _value(what: str, packet: SymbolicPacket) -> Value | None:
    """A field, or an option that may have been taken out."""
    header, _, name = what.partition(".")
    return find_option(packet, name) if header == "option" else packet.field(header, name)


def _change(what: str, sent: SymbolicPacket, got: SymbolicPacket, witness: Witness) -> str:
    if what == "payload":
        return "it is another one"
    before, after = _value(what, sent), _value(what, got)
    if before is None or after is None:
        return "it is taken out"
    first, last = (number_text(what, evaluate(value, witness.numbers)) for value in (before, after))
    return f"{first} becomes {last} in the example"


def converse(network: Network, client: str, server: str, traffic: Traffic) -> Answer:
    """Whether a host can open a TCP connection to another one, or gets an answer from it by UDP or ICMP's echo."""
    network.host(server)
    question = f"can {client} talk to {server} by {traffic.text}?"
    tried = connect(network, client, server, traffic) if traffic.protocol == "tcp" else request(network, client, server, traffic)
    works = sorted((c for c in tried if c.works), key=lambda c: (len(c.conditions), len(c.path.facts)))
    ways = [way for c in tried for way in c.ways]
    for conversation in list(works):
        try:
            numbers = find_example(conversation.path, [conversation.first, *(w.packet for w in conversation.ways)])
        except Contradiction:
            works.remove(conversation)
            continue
        if numbers is not None:
            plain = "SYN, SYN/ACK and ACK get through" if traffic.protocol == "tcp" else "it is answered"
            text = "only where " + " and ".join(conversation.conditions) if conversation.conditions else plain
            witness = Witness(client, conversation.ways[0], bytes_of(conversation.first, numbers), numbers)
            return Answer(question, "conditional" if conversation.conditions else "yes", text, conversation.ways, witness,
                          conversation.conditions, assumptions(network))
    undecided = [c for c in tried if c.ways[-1].kind == "undecided"]
    if works or undecided:
        reason = undecided[0].ways[-1].reason if undecided else "no example was found"
        return Answer(question, "undecided", reason, ways, assumptions=assumptions(network))
    farthest = max(tried, key=lambda c: STAGES.index(c.stage)).reason if tried else "the client has no such packets"
    return Answer(question, "no", farthest, ways, assumptions=assumptions(network))
