"""``penstockd``: the store, spoken to in XenStore's protocol, and the control of domains through it.

The domains are in another process, which goes on forwarding while this one is down; when it comes back it finds them again.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from penstock.toolstack.client import Client, run_folder
from penstock.toolstack.control import Control
from penstock.toolstack.errors import DomainError
from penstock.toolstack.store import StoreServer, open_store

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="penstockd", description="The store, and the control of domains through it.")
    parser.add_argument("--store", type=Path, metavar="SOCKET", help="where XenStore's clients find it (XENSTORED_PATH)")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="where the store is kept")
    parser.add_argument("--socket", type=Path, help="the socket of the toolstack, which is started where none runs")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        run_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        store, journal = open_store(options.journal or run_folder() / "store.journal")
        with Client(options.socket, until_empty=False) as client, Client(options.socket) as events:
            control = Control(store, client, events)
            server = StoreServer(store, options.store or run_folder() / "xenstored.socket")
            print(f"penstockd: store at {server.path}", flush=True)
            ended.wait()
            server.close()
            control.close()
        journal.close()
    except (DomainError, OSError, ValueError) as error:
        print(f"penstockd: {error}", file=sys.stderr)
        return 1
    return 0


def run() -> None:
    sys.exit(main())


if __name__ == "__main__":
    run()
