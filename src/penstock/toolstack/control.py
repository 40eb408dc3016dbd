"""ClickOS's control protocol: configurations and handlers of domains as entries of the store.

Below ``/local/domain/<id>/data/clickos`` each configuration has ``config_name``, ``config/<chunk>``, ``status``,
``control/read/<element>/<handler>`` and ``elements/<element>/<handler>``. Writing a configuration installs it, writing
the empty string removes it; ``status`` follows. Two older places are heard too: ``/local/domain/<id>/clickos`` and
``/local/domain/<id>/control/click/startup_config``.
"""

from __future__ import annotations

import queue
import re
import threading
from typing import Any

from penstock.toolstack.client import Client
from penstock.toolstack.errors import DomainError
from penstock.toolstack.store.tree import MAX_VALUE_BYTES, Change, Store, StoreError

__all__ = ["Control"]

_HOME = re.compile(r"/local/domain/(\d+)/(?:data/clickos|clickos)/(\d+)/(.+)")
_STARTUP = re.compile(r"/local/domain/(\d+)/control/click/startup_config")
_SHUTDOWN = re.compile(r"/local/domain/(\d+)/(?:control|data/clickos)/shutdown")
_CHUNK_BYTES = 992
_POLL_S = 5.0


class Control:
    """Keeps the store and the domains of a toolstack in step, both ways."""

    def __init__(self, store: Store, client: Client, events: Client):
        self.store, self.client, self.events = store, client, events
        self._work: queue.Queue[list[Change] | None] = queue.Queue()
        self._mine = threading.local()
        self._ended = threading.Event()
        #: what is installed: (domain, configuration) -> text
        self._installed: dict[tuple[int, int], str] = {}
        self._known: dict[int, str] = {}
        store.committed.append(self._hear)
        since, _ = events.changes(since=0)
        self._sync()
        self._threads = [threading.Thread(target=self._serve, name="penstock-control", daemon=True),
                         threading.Thread(target=self._follow, args=(since,), name="penstock-follow", daemon=True)]
        for thread in self._threads:
            thread.start()

    # From the store to the domains

    def _hear(self, changes: list[Change]) -> None:
        """Called for every commit; what this class wrote itself is not heard (a guest must ignore its own echo)."""
        if not getattr(self._mine, "writing", False):
            relevant = [c for c in changes if c[0].startswith("/local/domain/") and not c[0].startswith("/local/domain/0/")]
            if relevant:
                self._work.put(relevant)

    def _serve(self) -> None:
        while (changes := self._work.get()) is not None:
            configurations: set[tuple[int, int, str]] = set()
            for path, value in changes:
                try:
                    self._one(path, value, configurations)
                except (DomainError, StoreError) as error:
                    self._say(path, str(error))
            for domain, number, base in sorted(configurations):
                self._configure(domain, number, base)

    def _one(self, path: str, value: bytes | None, configurations: set[tuple[int, int, str]]) -> None:
        if (found := _SHUTDOWN.fullmatch(path)) is not None:
            if value:
                self.client.shutdown_domain(name=found[1], how=value.decode("utf-8", "replace"))
            return
        if (found := _STARTUP.fullmatch(path)) is not None:
            configurations.add((int(found[1]), 0, path))
            return
        found = _HOME.fullmatch(path)
        if found is None:
            return
        domain, number, rest = int(found[1]), int(found[2]), found[3]
        base = path[: -len(rest) - 1]
        what, _, name = rest.partition("/")
        if what == "config" and (name.isdigit() or not name):
            configurations.add((domain, number, base))
        elif rest == "status" and value in (b"Running", b"Halted"):
            self._status(domain, number, base, value.decode())
        elif rest.startswith("control/read/") and value is not None:
            self._read(domain, number, base, rest.removeprefix("control/read/"))
        elif what == "elements" and value is not None and not name.endswith("/lock"):
            element, _, handler = name.rpartition("/")
            if element:
                self.client.write(name=str(domain), handler=f"{element}.{handler}", value=_text(value), number=number)

    def _text_of(self, base: str) -> str | None:
        """The chunks of a configuration, until one is missing; None where there are none."""
        if base.endswith("/startup_config"):
            return _text(self.store.read(base)) if self.store.exists(base) else None
        chunks: list[bytes] = []
        while self.store.exists(f"{base}/config/{len(chunks)}"):
            chunks.append(self.store.read(f"{base}/config/{len(chunks)}"))
        return _text(b"".join(chunks)) if chunks else None

    def _configure(self, domain: int, number: int, base: str) -> None:
        """Install what was written there, in the place of what was there."""
        text = self._text_of(base)
        before = self._installed.get((domain, number))
        if text == before:
            return
        try:
            if before is not None:
                self._installed.pop((domain, number), None)
                self.client.remove(name=str(domain), number=number)
            if not text:
                self._write_status(domain, number, "")
                return
            self.client.start(name=str(domain), path="", text=text, number=number)
            self._installed[domain, number] = text
            self._write_status(domain, number, "Running")
        except DomainError as error:
            self._write_status(domain, number, "Error")
            self._say(base, str(error))

    def _status(self, domain: int, number: int, base: str, wanted: str) -> None:
        """``Halted`` halts a running configuration, ``Running`` starts one that is not running."""
        there = {c["number"]: c["status"] for c in self.client.list(name=str(domain))[0]["configurations"]}
        if wanted == "Halted" and there.get(number) == "Running":
            self.client.stop(name=str(domain), number=number)
            self._installed.pop((domain, number), None)
        elif wanted == "Running" and there.get(number) != "Running":
            self._installed.pop((domain, number), None)
            self._configure(domain, number, base)

    def _read(self, domain: int, number: int, base: str, name: str) -> None:
        element, _, handler = name.rpartition("/")
        try:
            value = self.client.read(name=str(domain), handler=f"{element}.{handler}", number=number)
        except DomainError as error:
            value = f"error: {error}"
        self._write(f"{base}/elements/{name}", value[:MAX_VALUE_BYTES])
        self._write(f"{base}/elements/{name}/lock", "0")

    def _write(self, path: str, value: str) -> None:
        self._mine.writing = True
        try:
            self.store.write(path, value)
        finally:
            self._mine.writing = False

    def _write_status(self, domain: int, number: int, status: str) -> None:
        self._write(f"/local/domain/{domain}/data/clickos/{number}/status", status)

    def _say(self, path: str, problem: str) -> None:
        """Where a person looks for it."""
        found = re.match(r"/local/domain/(\d+)/", path)
        if found is not None and int(found[1]) in self._known:
            self._write(f"/local/domain/{found[1]}/data/clickos/error", problem[:MAX_VALUE_BYTES])

    # From the domains to the store

    def _follow(self, since: int) -> None:
        while not self._ended.is_set():
            try:
                since, changes = self.events.changes(since=since, wait_s=_POLL_S)
            except (DomainError, OSError):
                if not self._ended.wait(0.5):
                    self._reconnect()
                continue
            if changes:
                self._sync()

    def _reconnect(self) -> None:
        try:
            self.client.reconnect()
            self.events.reconnect()
            self._sync()
        except (DomainError, OSError):
            return

    def _sync(self) -> None:
        """Make the store say what there is; used at the start, and whenever something happened."""
        infos = {info["id"]: info for info in self.client.list()}
        for gone in [n for n in self._in_store() if n not in infos]:
            self._forget(gone)
        for number, info in infos.items():
            if number not in self._known:
                self._introduce(number, info)
            elif self._known[number] != info["name"]:
                self._write(f"/local/domain/{number}/name", info["name"])
                self._write(f"/vm/{info['uuid']}/name", info["name"])
            self._known[number] = info["name"]
            for configuration in info["configurations"]:
                self._show(number, configuration)

    def _in_store(self) -> list[int]:
        if not self.store.exists("/local/domain"):
            return []
        return [int(n) for n in self.store.directory("/local/domain") if n.isdigit() and n != "0"]

    def _show(self, domain: int, configuration: dict[str, Any]) -> None:
        base = f"/local/domain/{domain}/data/clickos/{configuration['number']}"
        if not self.store.exists(f"{base}/status") or self.store.read(f"{base}/status").decode() != configuration["status"]:
            self._write(f"{base}/status", configuration["status"])
        if not self.store.exists(f"{base}/config_name"):
            self._write(f"{base}/config_name", configuration["name"])
        if not self.store.exists(f"{base}/config/0"):
            text = configuration["text"]
            data = text.encode("utf-8", "surrogateescape")
            for i in range(0, len(data), _CHUNK_BYTES):
                self._write(f"{base}/config/{i // _CHUNK_BYTES}", _text(data[i : i + _CHUNK_BYTES]))
            self._installed[domain, configuration["number"]] = text

    def _introduce(self, number: int, info: dict[str, Any]) -> None:
        """The entries that the original toolstack makes for a new domain."""
        home, vm = f"/local/domain/{number}", f"/vm/{info['uuid']}"
        entries = {f"{home}/name": info["name"], f"{home}/domid": str(number), f"{home}/vm": vm, f"{vm}/uuid": info["uuid"],
                   f"{vm}/name": info["name"], f"{home}/control/shutdown": "", f"{home}/data/clickos": ""}
        for i, vif in enumerate(info["vifs"]):
            front, back = f"{home}/device/vif/{i}", f"/local/domain/0/backend/vif/{number}/{i}"
            entries |= {f"{front}/backend": back, f"{front}/backend-id": "0", f"{front}/state": "4", f"{front}/handle": str(i),
                        f"{front}/mac": vif["mac"], f"{back}/frontend": front, f"{back}/frontend-id": str(number),
                        f"{back}/online": "1", f"{back}/bridge": vif["bridge"], f"{back}/hotplug-status": "connected",
                        f"{back}/handle": str(i), f"{back}/mac": vif["mac"], f"{back}/state": "4"}
        if self.store.exists(f"{home}/vm") and self.store.read(f"{home}/vm").decode() != vm:
            # The number was another domain's, before the toolstack came to a sudden end.
            self._forget(number)
        for path, value in entries.items():
            if not self.store.exists(path) or path.endswith("/name"):
                self._write(path, value)
        # The domain owns its own part of the store.
        self._mine.writing = True
        try:
            self.store.set_permissions(f"{home}/data", (f"n{number}",))
            self.store.set_permissions(f"{home}/data/clickos", (f"n{number}",))
        finally:
            self._mine.writing = False
        self.store.announce("@introduceDomain")

    def _forget(self, number: int) -> None:
        self._known.pop(number, None)
        for key in [k for k in self._installed if k[0] == number]:
            del self._installed[key]
        self._mine.writing = True
        try:
            home = f"/local/domain/{number}"
            if self.store.exists(f"{home}/vm"):
                self.store.remove(_text(self.store.read(f"{home}/vm")))
            self.store.remove(home)
            if self.store.exists(f"/local/domain/0/backend/vif/{number}"):
                self.store.remove(f"/local/domain/0/backend/vif/{number}")
        except StoreError:
            pass
        finally:
            self._mine.writing = False
        self.store.announce("@releaseDomain")

    def close(self) -> None:
        self._ended.set()
        self._work.put(None)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
