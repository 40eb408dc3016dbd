"""The prober: many paths at once in one loop, every TTL of a path in flight at once.

A path is done when each TTL below the destination has answered or has been silent for long enough. Where the destination is
follows from its answers where they say which TTL they answer; a SYN/ACK does not, so it is one hop behind the last router
if the TTLs of both replies agree, and otherwise a few probes from ports of their own find it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

from penstock.tracebox.diff import compare
from penstock.tracebox.flow import Flow
from penstock.tracebox.network import Network
from penstock.tracebox.path import Hop, Path
from penstock.tracebox.replies import Reply, parse_reply
from penstock.tracebox.settings import NetworkError, Settings

__all__ = ["PORTS_PER_PATH", "Prober", "Target"]

#: source ports that a path may use: its own, and those of the probes that find the destination
PORTS_PER_PATH = 5
_CHECKS = PORTS_PER_PATH - 1
_MS = 1_000_000
#: a TTL that was not answered is tried anew no sooner than this, nor later than this share of what silence may cost
_SOONEST_NS, _LATEST_SHARE = 60 * _MS, 0.33
#: a router that limits its errors lets one pass a second (Linux: icmp_ratelimit), so the last try comes after one
_LAST_TRY_SHARE = 0.7
_LOOP_TURNS = 3


def _initial_ttl(left: int) -> int:
    """What a host started from, as 64, 128 and 255 are what they start from."""
    return 64 if left <= 64 else 128 if left <= 128 else 255


class Target:
    """One path under way."""

    def __init__(self, path: Path, flow: Flow, settings: Settings, *, first_ttl: int, window: int, known: dict[int, str] | None = None):
        self.path, self.flow, self.settings = path, flow, settings
        self.first = first_ttl
        self.top = min(settings.hops_max, first_ttl + window - 1)
        #: TTLs further out are tried when one so near to the last has answered; a window that others' paths gave is long enough
        self.foresight = 4 if window >= settings.window else 1
        #: what was found; ``known`` routers of near TTLs are taken on trust
        self.hops: dict[int, Hop] = {ttl: Hop(ttl, address, "remembered") for ttl, address in (known or {}).items()}
        self.sent: dict[int, list[tuple[int, bytes]]] = {}
        self.given_up: set[int] = set()
        self.longest_ns = 0
        self.started_ns = 0
        #: TTLs that the destination is known to have answered
        self.reached: set[int] = set()
        self.answer: Reply | None = None
        self.answered_ns = 0
        #: a TTL that ends the path (unreachable, prohibited, …)
        self.stopped: int | None = None
        #: TTLs that probes of their own ports were sent to, in the order of the ports, and when
        self.checks: list[int] = []
        self.checked_ns = 0
        self.check_floor = 0
        self.failed_checks = 0
        self.due_ns = 0
        self.is_done = False
        self.one_by_one = settings.one_by_one or not flow.is_marked

    # how long to wait

    def _retry_ns(self) -> int:
        latest = int(self.settings.silence_s * _LATEST_SHARE * 1e9)
        if not self.longest_ns:
            return latest
        return min(max(self.longest_ns * 3 // 2 + 30 * _MS, _SOONEST_NS), latest)

    def _next_try_ns(self, tries: list[tuple[int, bytes]]) -> int:
        """When a TTL that was tried so often is tried again, or given up."""
        first, last = tries[0][0], tries[-1][0]
        silence = int(self.settings.silence_s * 1e9)
        if len(tries) >= self.settings.tries:
            return max(first + silence if not self.one_by_one else 0, last + self._retry_ns())
        if len(tries) == self.settings.tries - 1 and len(tries) > 1:
            return max(first + int(silence * _LAST_TRY_SHARE), last + self._retry_ns())
        return last + self._retry_ns() * (1 if len(tries) == 1 else 2)

    # where the destination is

    @property
    def last_router(self) -> int:
        return max((t for t, h in self.hops.items() if h.kind in ("router", "remembered")), default=self.first - 1)

    def distance(self, now: int) -> int | None:
        """How far the destination is, None as long as that is not known."""
        if self.stopped is not None and (not self.reached or self.stopped <= min(self.reached)):
            return self.stopped
        if self.reached:
            return min(self.reached)
        if self.answer is None:
            return None
        last = self.last_router
        if self.failed_checks >= 2 or not self.flow.can_change_port:
            return last + 1 if now > self.answered_ns + self._retry_ns() // 2 else None
        back = _initial_ttl(self.answer.ttl) - self.answer.ttl
        if last == 0:
            return 1 if back == 0 and self.first == 1 else None
        # No hop below may still be missing: an answer that came first may be that of a proxy.
        if not all(t in self.hops for t in range(self.first, last)):
            return None
        for ttl in range(last, self.first - 1, -1):
            reply = self.hops[ttl].reply
            if reply is not None:
                return last + 1 if back == _initial_ttl(reply.ttl) - reply.ttl + last + 1 - ttl else None
        return None

    # what to send

    def step(self, now: int) -> list[tuple[int, int]]:
        """What to send now, as (TTL, port or 0); sets :attr:`due_ns`, when to ask again, or :attr:`is_done`."""
        wanted: list[tuple[int, int]] = []
        due = now + int(self.settings.silence_s * 1e9)
        distance = self.distance(now)
        if distance is None and self.answer is not None:
            wanted, due = self._check(now, due)
        if distance is not None:
            end = distance - (distance in self.hops or (self.answer is not None and distance not in self.sent))
            self.top = max(self.top, min(end, self.settings.hops_max))
        else:
            due = min(due, self._widen(now))
            end = self.top
        pending = False
        for ttl in range(self.first, end + 1):
            if ttl in self.hops or ttl in self.given_up or (self.settings.ttls is not None and ttl not in self.settings.ttls):
                continue
            if distance is not None and ttl == distance and self.answer is not None:
                continue
            tries = self.sent.setdefault(ttl, [])
            if distance is None and self.answer is not None and tries and ttl > self.last_router:
                # The destination has answered these; which of them it was, the checks will tell.
                pending = True
                continue
            when = self._next_try_ns(tries) if tries else now
            if when <= now:
                if len(tries) >= self.settings.tries:
                    self.given_up.add(ttl)
                    continue
                wanted.append((ttl, 0))
                due = min(due, self._next_try_ns([*tries, (now, b"")]))
            else:
                due = min(due, when)
            pending = True
            if self.one_by_one:
                break
        if not pending and (distance is not None or (self.answer is None and self.top >= self.settings.hops_max)):
            self.is_done = True
        self.due_ns = due
        return wanted

    def _widen(self, now: int) -> int:
        """Try TTLs further out when the near ones have answered, and all of them when the destination keeps silent.

        Gives the time when that is to be asked again.
        """
        highest = max(self.hops, default=self.first)
        limit = self.settings.hops_max
        if self.one_by_one:
            # The next TTL's turn comes when this one has answered or has been given up.
            only = self.settings.ttls
            if all(t in self.hops or t in self.given_up or (only is not None and t not in only) for t in range(self.first, self.top + 1)):
                self.top = min(limit, self.top + 1)
            return now + 1_000 * _MS
        if highest + self.foresight > self.top:
            self.top = min(limit, highest + 8)
        if self.answer is None:
            # Before anybody has answered, _retry_ns() is long already.
            patience = self._retry_ns() if not self.longest_ns else 2 * self._retry_ns() + self.longest_ns
            if now < self.started_ns + patience:
                return self.started_ns + patience
            self.top = limit
        return now + 1_000 * _MS

    def _check(self, now: int, due: int) -> tuple[list[tuple[int, int]], int]:
        """Probes from other ports, whose answers say which TTL they answer."""
        grace = self.answered_ns + max(self.longest_ns // 4, 15 * _MS)
        if now < grace:
            return [], min(due, grace)
        base = max(self.last_router, self.check_floor)
        if self.checks:
            expires = self.checked_ns + self._retry_ns()
            if now < expires:
                return [], min(due, expires)
            self.failed_checks += 1
            self.checks.clear()
            if self.failed_checks >= 2:
                return [], now
        self.checks = list(range(base + 1, min(base + _CHECKS, 255) + 1))
        self.checked_ns = now
        wanted = [(ttl, self.flow.port + i) for i, ttl in enumerate(self.checks, 1)]
        return wanted, min(due, now + self._retry_ns())

    # what came back

    def _checked_ttl(self, port: int | None) -> int | None:
        """The TTL of the check that a source port belongs to."""
        offset = port - self.flow.port - 1 if port is not None else -1
        return self.checks[offset] if 0 <= offset < len(self.checks) else None

    def take_answer(self, reply: Reply, now: int) -> None:
        """A packet from the destination's address."""
        belongs, ttl, port = self.flow.answers(reply.packet)
        if not belongs:
            return
        if ttl is None and port is not None and port != self.flow.port:
            checked = self._checked_ttl(port)
            if checked is not None:
                self.reached.add(checked)
            return
        if self.answer is None:
            self.answer, self.answered_ns = reply, now
        if ttl is not None:
            self.reached.add(ttl)
            self._note_hop(ttl, Hop(ttl, reply.source, "destination", reply=reply), now)

    def take_error(self, reply: Reply, now: int, port: int | None, found: tuple[int, int] | None) -> None:
        """An ICMP error that quotes a probe from ``port``; ``found`` is which one, by its marks."""
        checked = self._checked_ttl(port)
        if checked is not None:
            if reply.kind == "time exceeded":
                self.check_floor = max(self.check_floor, checked)
            elif reply.source == self.path.destination:
                self.reached.add(checked)
            return
        if found is None:
            waiting = [t for t, tries in self.sent.items() if tries and t not in self.hops and t not in self.given_up]
            if len(waiting) != 1 and not self.one_by_one:
                return
            if not waiting:
                return
            found = (max(waiting) if self.one_by_one else waiting[0], 0)
        ttl, attempt = found
        tries = self.sent.get(ttl)
        if not tries or ttl in self.hops:
            return
        at, sent = tries[min(attempt, len(tries) - 1)]
        if not sent:
            # It waits in the queue still: whoever quotes it, has it from an older capture.
            return
        hop = Hop(ttl, reply.source, "router", now - at, compare(sent, reply.quote), reply, sent, len(tries))
        if reply.kind in ("unreachable", "packet too big", "parameter problem"):
            hop.kind = "destination" if reply.source == self.path.destination else "stop"
            hop.note = reply.text or reply.kind
            if hop.kind == "destination":
                self.reached.add(ttl)
                if self.answer is None:
                    self.answer, self.answered_ns = reply, now
            else:
                self.stopped = ttl if self.stopped is None else min(ttl, self.stopped)
        elif reply.kind != "time exceeded":
            return
        elif reply.source == self.path.destination:
            hop.note = "time exceeded from the destination's own address"
        self._note_hop(ttl, hop, now)

    def _note_hop(self, ttl: int, hop: Hop, now: int) -> None:
        if ttl in self.hops:
            return
        tries = self.sent.get(ttl)
        if tries:
            hop.tries = len(tries)
            if hop.round_trip_ns is None:
                hop.round_trip_ns = now - tries[-1][0]
            self.longest_ns = max(self.longest_ns, hop.round_trip_ns)
            hop.sent = hop.sent or tries[0][1]
        self.hops[ttl] = hop
        self._look_for_loop(ttl)

    def _look_for_loop(self, ttl: int) -> None:
        """Three turns of the same addresses are a forwarding loop: no use in going on."""
        # One address again and again may as well be a router that hides others.
        for period in (2, 3, 4):
            hops = [self.hops.get(ttl - i) for i in range(period * _LOOP_TURNS)]
            turn = [h.address for h in hops if h is not None and h.kind == "router"]
            if len(turn) == len(hops) and turn == turn[:period] * _LOOP_TURNS and len(set(turn)) == period:
                self.stopped = ttl if self.stopped is None else self.stopped
                note = f"forwarding loop between {' and '.join(sorted(map(str, turn[:period])))}"
                if note not in self.path.notes:
                    self.path.notes.append(note)
                return

    def finish(self, now: int) -> Path:
        """Write down what was found."""
        path = self.path
        path.duration_s = (now - self.started_ns) / 1e9
        distance = self.distance(now + (1 << 40))
        path.answer = self.answer
        path.is_reached = self.answer is not None or any(h.kind == "destination" for h in self.hops.values())
        end = distance if distance is not None else max(self.hops, default=0)
        if distance is None:
            end = self.settings.hops_max if not self.answer and not path.error else max(end, 1)
        for ttl in range(self.first, min(end, self.settings.hops_max) + 1):
            hop = self.hops.get(ttl)
            if hop is None:
                tries = self.sent.get(ttl, [])
                hop = Hop(ttl, tries=len(tries))
                if ttl == distance and self.answer is not None:
                    hop.kind, hop.address, hop.reply = "destination", self.answer.source, self.answer
                    if tries:
                        hop.sent = tries[0][1]
                        if self.answered_ns >= tries[0][0]:
                            hop.round_trip_ns = self.answered_ns - tries[0][0]
            path.hops.append(hop)
        self._explain_silence()
        return path

    def _explain_silence(self) -> None:
        hops = self.path.hops
        heard = max((i for i, h in enumerate(hops) if h.address), default=-1)
        for i, hop in enumerate(hops):
            if hop.kind == "silent":
                hop.note = "sends no time exceeded, or limits them: later hops answer" if i < heard else ""
            elif hop.tries >= 3 and hop.kind == "router":
                hop.note = hop.note or "answered late: it limits its errors, or packets are lost"
        if not self.path.is_reached and heard + 1 < len(hops) and not self.path.error and self.stopped is None:
            behind = f"hop {hops[heard].ttl} ({hops[heard].address})" if heard >= 0 else "this host"
            self.path.notes.append(f"nothing answers behind {behind}: filtered, or nobody is there")


class Prober:
    """Runs targets on a network. Iterating over :meth:`run` gives each path as it is done."""

    def __init__(self, network: Network, *, pace_pps: int = 4000, most_at_once: int = 256):
        self.network = network
        self.most_at_once = most_at_once
        self._gap_ns = 1_000_000_000 // pace_pps
        self._next_send_ns = 0
        self._queue: deque[tuple[Target, int, int]] = deque()
        self._by_port: dict[int, Target] = {}
        self._by_destination: dict[str, list[Target]] = {}
        self._alarms: list[tuple[int, int, Target]] = []
        self._serial = 0
        self._finished: list[Target] = []

    def _start(self, target: Target, now: int) -> None:
        for i in range(PORTS_PER_PATH):
            self._by_port[target.flow.port + i] = target
        self._by_destination.setdefault(target.flow.destination, []).append(target)
        target.started_ns = now
        self._advance(target, now)

    def _advance(self, target: Target, now: int) -> None:
        if target.is_done:
            return
        wanted = target.step(now)
        if target.is_done:
            self._finished.append(target)
            return
        for ttl, port in wanted:
            if not port:
                # Its time is noted when it leaves; the place in the queue counts as a try at once.
                target.sent[ttl].append((now, b""))
            self._queue.append((target, ttl, port))
        self._serial += 1
        heapq.heappush(self._alarms, (target.due_ns, self._serial, target))

    def _send(self, now: int) -> None:
        """Send what the pace allows by now."""
        # poll() waits whole milliseconds: what the pace allows in two may leave at once.
        self._next_send_ns = max(self._next_send_ns, now - max(2 * _MS, self._gap_ns))
        while self._queue and self._next_send_ns <= now:
            target, ttl, port = self._queue.popleft()
            if target.is_done:
                continue
            distance = target.distance(now) if target.answer is not None else target.stopped
            if not port and distance is not None and ttl > distance:
                target.sent.pop(ttl, None)
                continue
            tries = target.sent.get(ttl, [])
            data = target.flow.probe(ttl, max(len(tries) - 1, 0), port=port or None)
            if not port:
                tries[-1] = (self.network.now_ns(), data)
            try:
                self.network.send(data, target.flow.destination)
            except OSError as error:
                self._failed(target, error)
                continue
            self._next_send_ns += self._gap_ns

    def _failed(self, target: Target, error: OSError) -> None:
        said = str(error) if isinstance(error, NetworkError) else (error.strerror or str(error)).lower()
        if not target.path.error:
            target.path.error = f"sending stopped: {said}"
        target.is_done = True
        self._finished.append(target)

    def _answered(self, reply: Reply, at: int) -> list[Target]:
        """Give a packet to the targets that it may answer."""
        # An answer that does not say which TTL it answers is good once; only checks have something to add.
        targets = [t for t in self._by_destination.get(reply.source, ())
                   if not t.is_done and (t.answer is None or t.checks or t.flow.marks_answers)]
        for target in targets:
            target.take_answer(reply, at)
        return targets

    def _quoted(self, reply: Reply, at: int) -> list[Target]:
        """Give an error to the target whose probe it quotes."""
        quote = reply.quoted
        if quote is None:
            return []
        port = quote.source_port
        candidates = [self._by_port[port]] if port is not None and port in self._by_port else []
        if quote.network.get("dst") is not None:
            candidates += self._by_destination.get(quote.destination, ())
        for target in dict.fromkeys(candidates):
            offset_port = port is not None and 0 < port - target.flow.port < PORTS_PER_PATH
            likeness = target.flow.likeness(quote) + offset_port
            found = target.flow.identify(quote)
            if likeness >= (1 if found is not None or not target.flow.protocol else 2 if offset_port else 3):
                if target.is_done:
                    return []
                target.take_error(reply, at, port, found)
                return [target]
        return []

    def run(self, targets: Iterable[Target]) -> Iterator[Path]:
        """Probe all targets; gives paths in the order in which they are done."""
        waiting = iter(targets)
        active: set[Target] = set()
        more = True
        while more or active:
            now = self.network.now_ns()
            while more and len(active) < self.most_at_once and len(self._queue) < 64:
                target = next(waiting, None)
                if target is None:
                    more = False
                    break
                active.add(target)
                self._start(target, now)
            self._send(now)
            touched: set[Target] = set()
            for at, data in self.network.receive(self._wait_s(now, more and len(active) < self.most_at_once)):
                reply = parse_reply(data, at)
                if reply is not None:
                    touched.update((self._answered if reply.kind == "answer" else self._quoted)(reply, at))
            now = self.network.now_ns()
            for target in touched:
                self._advance(target, now)
            while self._alarms and self._alarms[0][0] <= now:
                due, _, target = heapq.heappop(self._alarms)
                if due >= target.due_ns:
                    self._advance(target, now)
            for target in self._finished:
                active.discard(target)
                self._forget(target)
                yield target.finish(self.network.now_ns())
            self._finished.clear()

    def _wait_s(self, now: int, hungry: bool) -> float:
        when = self._alarms[0][0] if self._alarms else now + 100 * _MS
        if self._queue:
            when = min(when, self._next_send_ns)
        elif hungry:
            return 0.0
        return max(when - now, 0) / 1e9

    def _forget(self, target: Target) -> None:
        for i in range(PORTS_PER_PATH):
            self._by_port.pop(target.flow.port + i, None)
        same = self._by_destination.get(target.flow.destination, [])
        if target in same:
            same.remove(target)
