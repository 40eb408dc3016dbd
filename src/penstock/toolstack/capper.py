"""Caps: no more of a processor than a domain's file allows, by having it stand still for the rest."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from penstock.isolation.errors import MachineError
from penstock.toolstack.domain import Domain

__all__ = ["Capper"]

_PERIOD_S = 0.01
#: what an idle domain may save up, in periods
_BURST = 2.0


@dataclass
class _Account:
    used_s: float
    at: float
    left_s: float = 0.0
    stopped: bool = False


class Capper:
    """Looks at the capped domains a hundred times a second; without any it does not run."""

    def __init__(self) -> None:
        self._domains: dict[int, Domain] = {}
        self._accounts: dict[int, _Account] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False

    def add(self, domain: Domain) -> None:
        with self._changed:
            self._domains[domain.id] = domain
            self._accounts[domain.id] = _Account(domain.cpu_s, time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-caps", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, domain: Domain) -> None:
        with self._changed:
            self._domains.pop(domain.id, None)
            self._accounts.pop(domain.id, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._domains or self._ended)
                if self._ended:
                    return
                pairs = [(d, self._accounts[n]) for n, d in self._domains.items()]
            for domain, account in pairs:
                if not domain.ended:
                    self._settle(domain, account)
            time.sleep(_PERIOD_S)

    def _settle(self, domain: Domain, account: _Account) -> None:
        share = domain.spec.cap / 100
        used, now = domain.cpu_s, time.monotonic()
        account.left_s = min(account.left_s + share * (now - account.at) - (used - account.used_s), _BURST * _PERIOD_S * share)
        account.used_s, account.at = used, now
        try:
            if account.left_s < 0:
                domain.machine.throttle(True)
                account.stopped = True
            elif account.stopped:
                domain.machine.throttle(False)
                account.stopped = False
        except MachineError:
            # It does not come back from its packet code: the watchdog sees to that.
            return

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
