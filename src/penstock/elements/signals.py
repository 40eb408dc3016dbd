"""Finding notifiers: which queues an element must listen to before it pulls or pushes (Click's notifier search)."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.datapath.sched import Notifier, Task
from penstock.datapath.source import datapath
from penstock.elements.element import Element
from penstock.lang.ports import flow_reaches

__all__ = ["Signal", "downstream_signal", "upstream_signal"]


@dataclass(frozen=True)
class Signal:
    """The OR of several notifiers; ``busy`` where something without a notifier may always have packets."""

    notifiers: tuple[Notifier, ...]
    busy: bool
    #: whose rise wakes, too, but which say nothing: behind an element that keeps packets back
    beyond: tuple[Notifier, ...] = ()

    @datapath
    def active(self) -> bool:
        if self.busy:
            return True
        on = False
        for notifier in self.notifiers:
            on = on or notifier.active
        return on


def _search(element: Element, port: int, *, upstream: bool) -> Signal:
    found: dict[int, Notifier] = {}
    beyond: dict[int, Notifier] = {}
    busy = False
    seen: set[tuple[int, int]] = set()
    work = [(element, port, False)]
    while work:
        here, here_port, is_beyond = work.pop()
        peers = here.upstream(here_port) if upstream else here.downstream(here_port)
        for peer, peer_port in peers:
            if (peer.index, peer_port) in seen:
                continue
            seen.add((peer.index, peer_port))
            notifier = peer.empty_notifier(peer_port) if upstream else peer.full_notifier(peer_port)
            if notifier is not None:
                (beyond if is_beyond else found)[id(notifier)] = notifier
                continue
            held = peer.held_notifier(peer_port) if upstream else None
            if held is not None:
                (beyond if is_beyond else found)[id(held)] = held
            if upstream:
                nexts = [i for i in range(peer.ninputs) if flow_reaches(peer.flow, i, peer_port)]
                boundary = any(peer.input_codes[i] == "h" for i in nexts)
            else:
                nexts = [o for o in range(peer.noutputs) if flow_reaches(peer.flow, peer_port, o)]
                boundary = any(peer.output_codes[o] == "l" for o in nexts)
            if boundary or (not nexts and (peer.may_generate or not upstream)):
                busy = busy or not (is_beyond or held)
            elif nexts:
                work += [(peer, n, is_beyond or held is not None) for n in nexts]
    return Signal(tuple(found.values()), busy, tuple(beyond.values()))


def upstream_signal(element: Element, port: int, task: Task | None) -> Signal:
    """The signal that input ``port`` may have packets; ``task`` is woken when it rises."""
    signal = _search(element, port, upstream=True)
    if task is not None:
        for notifier in (*signal.notifiers, *signal.beyond):
            notifier.listeners.append(task)
    return signal


def downstream_signal(element: Element, port: int, task: Task) -> Signal:
    """The signal that what output ``port`` leads to has room; ``task`` is woken when it rises."""
    signal = _search(element, port, upstream=False)
    for notifier in signal.notifiers:
        notifier.listeners.append(task)
    return signal
