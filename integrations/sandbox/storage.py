"""Data that survives a restart: JSON records in one SQLite file, or in memory."""

import json
import sqlite3
import threading
from typing import Any

Record = dict[str, Any]


class Storage:
    """Records by kind and key. Thread-safe; each call is one transaction.

    `path`: the SQLite file, created if missing; None keeps everything in memory.
    """

    def __init__(self, path: str | None) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False)
        # With WAL a commit survives kill -9 without an fsync; only a power cut can lose it.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS record (kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key))"
        )

    def load(self, kind: str) -> list[Record]:
        """All records of one kind, oldest first."""
        with self._lock:
            rows = self._database.execute("SELECT body FROM record WHERE kind = ? ORDER BY rowid", (kind,))
            return [json.loads(body) for (body,) in rows]

    def save(self, kind: str, records: dict[str, Record]) -> None:
        """Inserts or replaces all of these records, or none."""
        rows = [(kind, key, json.dumps(record)) for key, record in records.items()]
        with self._lock, self._database:
            self._database.executemany(
                "INSERT INTO record VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
                rows,
            )

    def clear(self, kind: str) -> None:
        """Deletes all records of one kind."""
        with self._lock, self._database:
            self._database.execute("DELETE FROM record WHERE kind = ?", (kind,))

    def close(self) -> None:
        with self._lock:
            self._database.close()
