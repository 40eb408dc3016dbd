"""Many destinations, one database: resumable, with nothing lost and nothing done twice.

A path is in the database when it is whole. Whatever was under way when the process ended is measured again.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from penstock.tracebox.api import trace_many
from penstock.tracebox.nearhops import NearHops
from penstock.tracebox.network import Network
from penstock.tracebox.path import Path
from penstock.tracebox.report import as_dict
from penstock.tracebox.settings import NetworkError, Settings

__all__ = ["Campaign", "CampaignError", "Progress"]

_SCHEMA_VERSION = "1"
_COMMIT_S = 0.5
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS destination (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', error TEXT);
CREATE TABLE IF NOT EXISTS path (
    name TEXT PRIMARY KEY REFERENCES destination, address TEXT, measured_at REAL, reached INTEGER, length INTEGER, duration_s REAL,
    document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hop (
    name TEXT, ttl INTEGER, address TEXT, kind TEXT, round_trip_ms REAL, quoted_bytes INTEGER, packet_bytes INTEGER,
    PRIMARY KEY (name, ttl));
CREATE TABLE IF NOT EXISTS finding (
    name TEXT, kind TEXT, field TEXT, before TEXT, after TEXT, after_hop INTEGER, by_hop INTEGER, confidence TEXT);
CREATE INDEX IF NOT EXISTS finding_of ON finding (name);
"""


class CampaignError(ValueError):
    """The database is not a campaign, or belongs to another one."""


@dataclass(frozen=True)
class Progress:
    """After each path: how many are done, how many there are, and how many failed."""

    done: int
    total: int
    failed: int
    path: Path | None


class Campaign:
    """A campaign in an SQLite file. ``probe`` and ``vantage`` are remembered; a file keeps those it was begun with."""

    def __init__(self, file: str | FilePath, *, probe: str | None = None, vantage: str | None = None):
        self.file = str(file)
        try:
            self._database = sqlite3.connect(self.file, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)
            about = dict(self._database.execute("SELECT name, value FROM about"))
        except sqlite3.Error as error:
            raise CampaignError(f"{self.file}: no campaign ({error})") from None
        if about.get("schema", _SCHEMA_VERSION) != _SCHEMA_VERSION:
            self.close()
            raise CampaignError(f"{self.file}: written by another version (schema {about['schema']})")
        if probe is not None and about.get("probe", probe) != probe:
            self.close()
            raise CampaignError(f"{self.file}: was begun with the probe '{about['probe']}'; another probe takes another file")
        self.probe = about.get("probe") or probe or "options"
        self.vantage = about.get("vantage") or vantage or "here"
        for name, value in (("schema", _SCHEMA_VERSION), ("probe", self.probe), ("vantage", self.vantage)):
            self._database.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, value))

    def add(self, destinations: Iterable[str]) -> int:
        """Add destinations; those that are there already stay as they are. Gives how many there are now."""
        first = self._one("SELECT COALESCE(MAX(position), 0) FROM destination")
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO destination (name, position) VALUES (?, ?)",
                                   ((name, first + i) for i, name in enumerate(destinations, 1)))
        self._database.execute("COMMIT")
        return self.counts()[1]

    def _one(self, query: str) -> int:
        return int(self._database.execute(query).fetchone()[0])

    def counts(self) -> tuple[int, int, int]:
        """Done, all, failed."""
        return (self._one("SELECT COUNT(*) FROM destination WHERE state != 'waiting'"), self._one("SELECT COUNT(*) FROM destination"),
                self._one("SELECT COUNT(*) FROM destination WHERE state = 'failed'"))

    def run(self, *, settings: Settings | None = None, port: int | None = None, wide: bool = False, most_at_once: int = 256,
            router_pps: int = 100, shuffle: bool = True, retry_failed: bool = False, network: Network | None = None) -> Iterator[Progress]:
        """Measure what is still waiting; gives the progress after each path."""
        if retry_failed:
            self._database.execute("UPDATE destination SET state = 'waiting' WHERE state = 'failed'")
        waiting = [row[0] for row in self._database.execute("SELECT name FROM destination WHERE state = 'waiting' ORDER BY position")]
        if shuffle:
            random.shuffle(waiting)
        done, total, failed = self.counts()
        memory = NearHops(router_pps=router_pps)
        failures: list[str] = []

        def fail(name: str, error: NetworkError) -> None:
            failures.append(name)
            self._database.execute("UPDATE destination SET state = 'failed', error = ? WHERE name = ?", (str(error), name))

        self._database.execute("BEGIN")
        committed = time.monotonic()
        try:
            for path in trace_many(waiting, probe=self.probe, port=port, wide=wide, settings=settings, most_at_once=most_at_once,
                                   memory=memory, network=network, on_error=fail):
                self._store(path)
                done += 1
                failed += bool(path.error)
                if time.monotonic() - committed > _COMMIT_S:
                    self._database.execute("COMMIT")
                    self._database.execute("BEGIN")
                    committed = time.monotonic()
                yield Progress(done + len(failures), total, failed + len(failures), path)
        finally:
            self._database.execute("COMMIT")
        if failures:
            yield Progress(done + len(failures), total, failed + len(failures), None)

    def _store(self, path: Path) -> None:
        name = path.name
        execute = self._database.execute
        if path.error:
            execute("UPDATE destination SET state = 'failed', error = ? WHERE name = ?", (path.error, name))
        else:
            execute("UPDATE destination SET state = 'done', error = NULL WHERE name = ?", (name,))
        document = as_dict(path)
        execute("INSERT OR REPLACE INTO path VALUES (?, ?, ?, ?, ?, ?, ?)",
                (name, path.destination, time.time(), path.is_reached, path.length, path.duration_s, json.dumps(document)))
        self._database.executemany("INSERT OR REPLACE INTO hop VALUES (?, ?, ?, ?, ?, ?, ?)", (
            (name, h["ttl"], h["address"], h["kind"], h["round_trip_ms"], h["quoted_bytes"], h["packet_bytes"]) for h in document["hops"]))
        execute("DELETE FROM finding WHERE name = ?", (name,))
        self._database.executemany("INSERT INTO finding VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (
            (name, f.kind, f.field, f.before, f.after, f.after_hop, f.by_hop, f.confidence) for f in path.findings))

    def documents(self) -> Iterator[dict[str, Any]]:
        """Each path as the JSON of ``penstock trace --json``, in the order of the destinations."""
        for (text,) in self._database.execute("SELECT document FROM path JOIN destination USING (name) ORDER BY position"):
            yield json.loads(text)

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the tables destination, path, hop and finding."""
        return self._database.execute(text).fetchall()

    def export(self, file: str) -> int:
        """Write all paths: JSON lines, or with a name that ends in .parquet one row a hop (needs pyarrow). Gives how many rows."""
        if not file.endswith(".parquet"):
            count = 0
            with open(file, "w", encoding="utf-8") as out:
                for document in self.documents():
                    out.write(json.dumps(document) + "\n")
                    count += 1
            return count
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise CampaignError("Parquet files need pyarrow: pip install 'penstock[parquet]'") from None
        columns = ("destination", "address", "reached", "length", "ttl", "router", "kind", "round_trip_ms", "quoted_bytes", "packet_bytes")
        rows = self.query("SELECT path.name, path.address, path.reached != 0, path.length, ttl, hop.address, kind, round_trip_ms, "
                          "quoted_bytes, packet_bytes FROM hop JOIN path USING (name) JOIN destination USING (name) ORDER BY position, ttl")
        kinds = {"reached": pyarrow.bool_(), "round_trip_ms": pyarrow.float64()}
        kinds |= dict.fromkeys(("length", "ttl", "quoted_bytes", "packet_bytes"), pyarrow.int64())
        table = pyarrow.table({
            name: pyarrow.array([bool(row[i]) if name == "reached" else row[i] for row in rows], kinds.get(name, pyarrow.string()))
            for i, name in enumerate(columns)})
        pyarrow.parquet.write_table(table, file)
        return len(rows)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
