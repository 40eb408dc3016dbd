"""A hierarchical store of small values with XenStore's semantics: watches, transactions, quotas, permissions.

Follows the public description of XenStore (docs/misc/xenstore.txt of the Xen project). Domain 0 may do everything; other
domains have what a node's permissions say, and quotas.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

__all__ = ["MAX_VALUE_BYTES", "Change", "Quota", "Record", "Store", "StoreError", "Transaction", "Watch"]

MAX_VALUE_BYTES = 2048
_MAX_PATH = 3072
_PATH = re.compile(r"/|(?:/[A-Za-z0-9@_.:+-]+)+")
_PERMISSION = re.compile(r"[nrwb]\d{1,5}")
#: (path, new value or None where the node is gone)
Change = tuple[str, bytes | None]
#: the same with permissions, for the journal
Record = tuple[str, bytes | None, tuple[str, ...]]


class StoreError(Exception):
    """Its message is the name of the error number, as the protocol has it: ENOENT, EACCES, EINVAL, EAGAIN, EQUOTA, E2BIG."""


@dataclass(frozen=True)
class Quota:
    """What one domain (not domain 0) may have."""

    nodes: int = 1000
    watches: int = 128
    transactions: int = 10


@dataclass(frozen=True, slots=True)
class _Node:
    value: bytes
    permissions: tuple[str, ...]
    children: frozenset[str]
    generation: int

    @property
    def owner(self) -> int:
        return int(self.permissions[0][1:])


@dataclass(eq=False)
class Watch:
    """``call(path, token)`` at each change at or below ``path``, by the name that the watcher gave it."""

    domain: int
    path: str
    shown_path: str
    token: str
    call: Callable[[str, str], None]


@dataclass
class Transaction:
    """A view of the store at one moment, with changes of its own; committed whole or not at all."""

    number: int
    domain: int
    seen: dict[str, int] = field(default_factory=dict)
    changed: dict[str, _Node | None] = field(default_factory=dict)
    fired: list[str] = field(default_factory=list)


class Store:
    """The tree. Thread-safe; watchers and ``committed`` are called after the change, outside of the lock.

    ``journal`` is called with the changes before they are acknowledged: (path, value or None, permissions).
    """

    def __init__(self, *, quota: Quota | None = None, journal: Callable[[list[Record]], None] | None = None):
        self.quota = quota or Quota()
        self._journal = journal
        self._nodes: dict[str, _Node] = {"/": _Node(b"", ("n0",), frozenset(), 0)}
        self._generation = itertools.count(1)
        self._numbers = itertools.count(1)
        self._transactions: dict[int, Transaction] = {}
        self._watches: list[Watch] = []
        self._owned: dict[int, int] = {}
        self._lock = threading.RLock()
        #: told of every committed set of changes
        self.committed: list[Callable[[list[Change]], None]] = []

    # Paths and permissions

    @staticmethod
    def absolute(path: str, domain: int) -> str:
        """The full name of a path that may be relative to the domain's own; StoreError for what is no path."""
        full = path if path.startswith(("/", "@")) else f"/local/domain/{domain}/{path}"
        if path.startswith("@"):
            return path
        if len(full) > _MAX_PATH or not _PATH.fullmatch(full):
            raise StoreError("EINVAL")
        return full

    def _look(self, path: str, transaction: Transaction | None) -> _Node | None:
        node = self._nodes.get(path)
        if transaction is None:
            return node
        if path in transaction.changed:
            return transaction.changed[path]
        generation = node.generation if node is not None else -1
        if transaction.seen.setdefault(path, generation) != generation:
            # Somebody else was here since: this transaction can only fail.
            raise StoreError("EAGAIN")
        return node

    def _may(self, node: _Node, domain: int, right: str) -> bool:
        if domain in (0, node.owner):
            return True
        letter = node.permissions[0][0]
        for permission in node.permissions[1:]:
            if int(permission[1:]) == domain:
                letter = permission[0]
                break
        return letter == "b" or letter == right

    def _node(self, path: str, domain: int, right: str, transaction: Transaction | None) -> _Node:
        node = self._look(path, transaction)
        if node is None:
            # Whoever may not read the parent does not learn what there is.
            parent = self._nearest(path, transaction)
            raise StoreError("ENOENT" if self._may(parent, domain, "r") or self._may(parent, domain, right) else "EACCES")
        if not self._may(node, domain, right):
            raise StoreError("EACCES")
        return node

    def _nearest(self, path: str, transaction: Transaction | None) -> _Node:
        while path != "/":
            path = _parent(path)
            if (node := self._look(path, transaction)) is not None:
                return node
        raise AssertionError("the root is always there")

    def transaction(self, number: int, domain: int) -> Transaction | None:
        if number == 0:
            return None
        found = self._transactions.get(number)
        if found is None or found.domain != domain:
            raise StoreError("ENOENT")
        return found

    # Reading

    def read(self, path: str, *, domain: int = 0, transaction: int = 0) -> bytes:
        with self._lock:
            return self._node(self.absolute(path, domain), domain, "r", self.transaction(transaction, domain)).value

    def directory(self, path: str, *, domain: int = 0, transaction: int = 0) -> list[str]:
        with self._lock:
            return sorted(self._node(self.absolute(path, domain), domain, "r", self.transaction(transaction, domain)).children)

    def permissions(self, path: str, *, domain: int = 0, transaction: int = 0) -> tuple[str, ...]:
        with self._lock:
            return self._node(self.absolute(path, domain), domain, "r", self.transaction(transaction, domain)).permissions

    def generation(self, path: str, *, domain: int = 0) -> int:
        with self._lock:
            return self._node(self.absolute(path, domain), domain, "r", None).generation

    def exists(self, path: str) -> bool:
        return path in self._nodes

    # Writing

    def write(self, path: str, value: bytes | str, *, domain: int = 0, transaction: int = 0) -> None:
        """Set a value; the nodes on the way there are made."""
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        if len(data) > MAX_VALUE_BYTES:
            raise StoreError("E2BIG")
        self._change(path, domain, transaction, lambda full, t: self._put(full, data, domain, t))

    def mkdir(self, path: str, *, domain: int = 0, transaction: int = 0) -> None:
        def make(full: str, t: Transaction) -> None:
            node = self._look(full, t)
            if node is None:
                self._put(full, b"", domain, t)
            elif not self._may(node, domain, "w"):
                raise StoreError("EACCES")
            else:
                t.fired.pop()

        self._change(path, domain, transaction, make)

    def remove(self, path: str, *, domain: int = 0, transaction: int = 0) -> None:
        """Remove a node and all below it. One that is not there is no error where its parent is."""
        def drop(full: str, t: Transaction) -> None:
            if full == "/":
                raise StoreError("EINVAL")
            parent = self._look(_parent(full), t)
            node = self._look(full, t)
            if node is None:
                t.fired.pop()
                if parent is None:
                    raise StoreError("ENOENT")
                if not self._may(parent, domain, "w"):
                    raise StoreError("EACCES")
                return
            if not self._may(node, domain, "w"):
                raise StoreError("EACCES")
            assert parent is not None
            self._drop(full, t)
            t.changed[_parent(full)] = self._with(parent, children=parent.children - {_leaf(full)})

        self._change(path, domain, transaction, drop)

    def set_permissions(self, path: str, permissions: tuple[str, ...], *, domain: int = 0, transaction: int = 0) -> None:
        if not permissions or not all(_PERMISSION.fullmatch(p) for p in permissions):
            raise StoreError("EINVAL")

        def change(full: str, t: Transaction) -> None:
            node = self._node(full, domain, "w", t)
            if domain not in (0, node.owner):
                raise StoreError("EACCES")
            if domain != 0 and int(permissions[0][1:]) != node.owner:
                raise StoreError("EACCES")
            t.changed[full] = _Node(node.value, permissions, node.children, next(self._generation))

        self._change(path, domain, transaction, change)

    def _change(self, path: str, domain: int, number: int, work: Callable[[str, Transaction], None]) -> None:
        with self._lock:
            given = self.transaction(number, domain)
            full = self.absolute(path, domain)
            if full.startswith("@"):
                raise StoreError("EINVAL")
            t = given or Transaction(0, domain)
            before = (dict(t.changed), list(t.fired))
            t.fired.append(full)
            try:
                work(full, t)
            except StoreError:
                t.changed, t.fired = before
                raise
            calls = self._commit(t) if given is None else []
        self._call(calls)

    def _with(self, node: _Node, *, value: bytes | None = None, children: frozenset[str] | None = None) -> _Node:
        return _Node(node.value if value is None else value, node.permissions,
                     node.children if children is None else children, next(self._generation))

    def _put(self, full: str, data: bytes, domain: int, t: Transaction) -> None:
        node = self._look(full, t)
        if node is not None:
            if not self._may(node, domain, "w"):
                raise StoreError("EACCES")
            t.changed[full] = self._with(node, value=data)
            return
        missing = [full]
        while (parent := self._look(_parent(missing[-1]), t)) is None:
            missing.append(_parent(missing[-1]))
        if not self._may(parent, domain, "w"):
            raise StoreError("EACCES")
        # A new node is as its parent is, but belongs to who made it.
        permissions = parent.permissions if domain == 0 else (parent.permissions[0][0] + str(domain), *parent.permissions[1:])
        at = _parent(missing[-1])
        t.changed[at] = self._with(parent, children=parent.children | {_leaf(missing[-1])})
        for i in range(len(missing) - 1, -1, -1):
            below = frozenset({_leaf(missing[i - 1])}) if i else frozenset()
            t.changed[missing[i]] = _Node(data if i == 0 else b"", permissions, below, next(self._generation))

    def _drop(self, full: str, t: Transaction) -> None:
        node = self._look(full, t)
        assert node is not None
        for child in node.children:
            self._drop(_join(full, child), t)
        t.changed[full] = None
        if full not in t.fired:
            t.fired.append(full)

    # Transactions

    def begin(self, *, domain: int = 0) -> int:
        with self._lock:
            if domain and sum(t.domain == domain for t in self._transactions.values()) >= self.quota.transactions:
                raise StoreError("EQUOTA")
            number = next(self._numbers)
            self._transactions[number] = Transaction(number, domain)
            return number

    def end(self, number: int, *, commit: bool, domain: int = 0) -> None:
        """Commit or drop. EAGAIN where somebody changed what this transaction has seen: do it again."""
        with self._lock:
            t = self.transaction(number, domain)
            if t is None:
                raise StoreError("EINVAL")
            del self._transactions[number]
            if not commit:
                return
            for path, generation in t.seen.items():
                node = self._nodes.get(path)
                if (node.generation if node is not None else -1) != generation:
                    raise StoreError("EAGAIN")
            calls = self._commit(t)
        self._call(calls)

    def _commit(self, t: Transaction) -> list[Callable[[], None]]:
        owned = dict(self._owned)
        for path, node in t.changed.items():
            old = self._nodes.get(path)
            if old is not None:
                owned[old.owner] = owned.get(old.owner, 0) - 1
            if node is not None:
                owned[node.owner] = owned.get(node.owner, 0) + 1
        if t.domain and owned.get(t.domain, 0) > max(self.quota.nodes, self._owned.get(t.domain, 0)):
            raise StoreError("EQUOTA")
        changes: list[Change] = []
        records: list[Record] = []
        for path, node in t.changed.items():
            old = self._nodes.get(path)
            if node is None:
                if old is not None:
                    records.append((path, None, ()))
            elif old is None or old.value != node.value or old.permissions != node.permissions:
                records.append((path, node.value, node.permissions))
        if self._journal is not None and records:
            self._journal(records)
        self._owned = owned
        for path, node in t.changed.items():
            if node is None:
                self._nodes.pop(path, None)
            else:
                self._nodes[path] = node
        for path in dict.fromkeys(t.fired):
            now = self._nodes.get(path)
            changes.append((path, now.value if now is not None else None))
        return self._calls_for(changes)

    def _calls_for(self, changes: list[Change]) -> list[Callable[[], None]]:
        calls: list[Callable[[], None]] = []
        for path, _ in changes:
            for watch in self._watches:
                if watch.path == "/" or path == watch.path or path.startswith(watch.path + "/"):
                    shown = watch.shown_path + path[len(watch.path) :] if watch.path != "/" else path
                    calls.append(lambda w=watch, s=shown: w.call(s, w.token))  # type: ignore[misc]
        for listener in self.committed:
            calls.append(lambda call=listener: call(changes))  # type: ignore[misc]
        return calls

    @staticmethod
    def _call(calls: list[Callable[[], None]]) -> None:
        for call in calls:
            call()

    # Watches

    def watch(self, path: str, token: str, call: Callable[[str, str], None], *, domain: int = 0) -> Watch:
        """Call at every change there, and once now."""
        with self._lock:
            full = self.absolute(path, domain)
            mine = [w for w in self._watches if w.domain == domain]
            if domain and len(mine) >= self.quota.watches:
                raise StoreError("EQUOTA")
            watch = Watch(domain, full, path, token, call)
            self._watches.append(watch)
        call(path, token)
        return watch

    def unwatch(self, watch: Watch) -> None:
        with self._lock:
            self._watches.remove(watch)

    def announce(self, special: str) -> None:
        """Fire ``@introduceDomain`` or ``@releaseDomain``."""
        with self._lock:
            calls = [(w, w.token) for w in self._watches if w.path == special]
        for watch, token in calls:
            watch.call(special, token)

    # All of it

    def items(self) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
        with self._lock:
            nodes = sorted(self._nodes.items())
        for path, node in nodes:
            yield path, node.value, node.permissions

    def load(self, records: list[Record]) -> None:
        """Replay a journal, without telling anybody."""
        journal, self._journal = self._journal, None
        try:
            for path, value, permissions in records:
                if value is None:
                    self.remove(path)
                else:
                    self.write(path, value)
                    self.set_permissions(path, permissions)
        finally:
            self._journal = journal


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]


def _join(path: str, child: str) -> str:
    return f"/{child}" if path == "/" else f"{path}/{child}"
