"""Policies: one assertion a line, in words an operator writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from penstock.verify import questions
from penstock.verify.network import Network, NetworkError
from penstock.verify.questions import Answer
from penstock.verify.traffic import Traffic, TrafficError, parse_traffic

__all__ = ["GRAMMAR", "Assertion", "PolicyError", "parse_policy"]

GRAMMAR = """\
allow PACKETS from A to B            tcp: a connection can be opened; udp, icmp: there is an answer; any: some get there
reach PACKETS from A to B            some get there, whether there is an answer or not
allow all PACKETS from A to B        every one gets there
deny PACKETS [from A] [to B]         none gets there
FIELD unchanged from A to B [for PACKETS]     FIELD is payload, ip.src, tcp.dst, option.mss …
PACKETS from A to B passes BOX       none gets there without
BOX/ELEMENT sees PACKETS from A      some come to that element
isolate A B                          neither can send the other anything
no spoofing from A                   nothing gets out of A with an address that is not its own
no loops
after PACKETS from A to B: ASSERTION when they have got there (tcp: when a connection is open), and boxes remember it
not ASSERTION                        it does not hold, and that is known
PACKETS is any, tcp, udp or icmp, then: src PREFIX, to PREFIX, port N[-M], src port N[-M], proto N, length N[-M], df, no-df, fragments,
options; allow tcp length N: a connection opens, and carries segments of that length each way. !PREFIX is all others."""


class PolicyError(ValueError):
    """A line that cannot be understood; the message names it."""


@dataclass(frozen=True)
class Assertion:
    """One line of a policy."""

    text: str
    line: int
    ask: Callable[[Network], Answer]

    def check(self, network: Network) -> Answer:
        """Raises PolicyError where the line names what the network does not have."""
        try:
            return self.ask(network)
        except NetworkError as error:
            raise PolicyError(f"line {self.line}: {error}") from None


def parse_policy(text: str, network: Network) -> list[Assertion]:
    """The assertions of a policy. Raises PolicyError with the line of the first mistake."""
    found: list[Assertion] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#")[0].strip()
        if not line:
            continue
        try:
            found.append(Assertion(line, number, _assertion(line.split(), network)))
        except (TrafficError, PolicyError) as error:
            raise PolicyError(f"line {number}: {error}") from None
    return found


def _assertion(words: list[str], network: Network) -> Callable[[Network], Answer]:
    if words[0] == "not" and len(words) > 1:
        return _negated(_assertion(words[1:], network))
    if words[0] == "after":
        return _after(words[1:], network)
    if words == ["no", "loops"]:
        return questions.no_loops
    if words[:2] == ["no", "spoofing"]:
        tenant = _ends(words[2:], network)
        if tenant[0] == "any" or tenant[2]:
            raise PolicyError("expected 'no spoofing from HOST'")
        return lambda n: questions.no_spoofing(n, tenant[0])
    if words[0] == "isolate":
        if len(words) != 3:
            raise PolicyError("expected 'isolate HOST HOST'")
        return lambda n: questions.isolated(n, words[1], words[2])
    if len(words) > 1 and words[1] == "unchanged":
        rest, about = _split(words[2:], "for")
        source, target, left = _ends(rest, network)
        return _each(source, target, left, network, lambda n, a, b: questions.unchanged(n, words[0], a, b, parse_traffic(about)))
    if len(words) > 1 and words[1] == "sees":
        name, slash, element = words[0].partition("/")
        source, target, left = _ends(words[2:], network)
        if not slash or source == "any" or target != "any":
            raise PolicyError("expected 'BOX/ELEMENT sees PACKETS from HOST'")
        traffic = parse_traffic(left)
        return lambda n: questions.sees(n, name, element, source, traffic)
    if "passes" in words:
        rest, box = _split(words, "passes")
        source, target, left = _ends(rest, network)
        if len(box) != 1:
            raise PolicyError("expected '… passes BOX'")
        return _each(source, target, [], network, lambda n, a, b: questions.waypoint(n, box[0], a, b, parse_traffic(left)))
    if words[0] in ("allow", "deny", "reach"):
        everything = words[0] == "allow" and words[1:2] == ["all"]
        source, target, left = _ends(words[2 if everything else 1:], network)
        traffic = parse_traffic(left)
        if words[0] == "deny":
            return _deny(source, target, traffic, network)
        if everything:
            return _each(source, target, [], network, lambda n, a, b: questions.reach_all(n, a, b, traffic))
        ask = questions.converse if traffic.protocol != "any" and words[0] == "allow" else questions.reach
        return _each(source, target, [], network, lambda n, a, b: ask(n, a, b, traffic))
    raise PolicyError(f"'{' '.join(words)}' is not understood; a line is one of:\n{GRAMMAR}")


def _negated(ask: Callable[[Network], Answer]) -> Callable[[Network], Answer]:
    def answer(network: Network) -> Answer:
        made = ask(network)
        opposite = {"yes": "no", "no": "yes", "conditional": "yes"}
        made.verdict = opposite.get(made.verdict, made.verdict)
        made.question = f"not: {made.question}"
        return made

    return answer


def _after(words: list[str], network: Network) -> Callable[[Network], Answer]:
    """``PACKETS from A to B: ASSERTION``."""
    at = next((i for i, word in enumerate(words) if word.endswith(":")), None)
    if at is None or at + 1 == len(words):
        raise PolicyError("expected 'after PACKETS from A to B: ASSERTION'")
    source, target, left = _ends([*words[:at], words[at][:-1]], network)
    if "any" in (source, target):
        raise PolicyError("expected 'after PACKETS from A to B: ASSERTION', with one host each")
    traffic, then = parse_traffic(left), _assertion(words[at + 1:], network)
    return lambda n: questions.after(n, source, target, traffic, then)


def _split(words: list[str], at: str) -> tuple[list[str], list[str]]:
    if at not in words:
        return words, []
    i = words.index(at)
    return words[:i], words[i + 1:]


def _ends(words: list[str], network: Network) -> tuple[str, str, list[str]]:
    """Where from and where to (``any`` where it is not said), and the other words. ``to`` may also be an address of the packets."""
    left = list(words)
    ends = {"from": "any", "to": "any"}
    for word in ends:
        places = [i for i, w in enumerate(left[:-1]) if w == word and (left[i + 1] in network.hosts or left[i + 1] == "any")]
        if places:
            ends[word] = left[places[-1] + 1]
            del left[places[-1]:places[-1] + 2]
        elif word == "from" and word in left:
            name = left[left.index(word) + 1:left.index(word) + 2]
            raise PolicyError(f"there is no host '{name[0] if name else ''}' (there are {', '.join(network.hosts) or 'none'})")
    return ends["from"], ends["to"], left


def _pairs(source: str, target: str, network: Network) -> Iterator[tuple[str, str]]:
    for a in [source] if source != "any" else list(network.hosts):
        for b in [target] if target != "any" else list(network.hosts):
            if a != b and (a, "") in network.links:
                yield a, b


def _each(source: str, target: str, left: list[str], network: Network, ask: Callable[[Network, str, str], Answer],
          ) -> Callable[[Network], Answer]:
    """For each pair of hosts; the first answer that is no yes is the answer to all."""
    if left:
        raise PolicyError(f"'{' '.join(left)}' is not understood here")
    pairs = list(_pairs(source, target, network))
    if not pairs:
        raise PolicyError(f"there are no two linked hosts for 'from {source} to {target}'")

    def answer(n: Network) -> Answer:
        made = ask(n, *pairs[0])
        for a, b in pairs[1:]:
            if made.verdict == "no":
                break
            other = ask(n, a, b)
            made = other if not other.holds else made
        return made

    return answer


def _deny(source: str, target: str, traffic: Traffic, network: Network) -> Callable[[Network], Answer]:
    if target != "any":
        return _each(source, target, [], network, lambda n, a, b: questions.deny(n, a, b, traffic))
    senders = [source] if source != "any" else [h for h in network.hosts if (h, "") in network.links]

    def answer(n: Network) -> Answer:
        answers = [questions.deny(n, a, "any", traffic) for a in senders]
        return next((a for a in answers if not a.holds), answers[0])

    return answer
