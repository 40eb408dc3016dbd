"""Names of the routers on a path, looked up all at once and for a bounded time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable

from penstock.tracebox.path import Path

__all__ = ["add_names"]

_PATIENCE_S = 2.0
_MOST_AT_ONCE = 64


def add_names(paths: Iterable[Path]) -> None:
    """Give hops their names (reverse DNS). A name server that does not answer costs two seconds in all."""
    hops = [hop for path in paths for hop in path.hops if hop.address]
    found: dict[str, str] = {}
    waiting = [str(a) for a in dict.fromkeys(h.address for h in hops)]
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                address = waiting.pop(0)
            try:
                found[address] = socket.gethostbyaddr(address)[0]
            except (OSError, UnicodeError):
                continue

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(len(waiting), _MOST_AT_ONCE))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PATIENCE_S
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    for hop in hops:
        name = found.get(str(hop.address))
        # A name is a stranger's text: no control characters reach the terminal.
        hop.name = "".join(c for c in name if c.isprintable()) if name else None
