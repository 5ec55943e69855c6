"""What models answered, kept by what they were asked: the cache of endpoints, and of embeddings that take long.

One SQLite file of keys and values, shared by any number of processes; a row is committed before `put` returns, so that
killing the process loses nothing. The address of the endpoint is not part of a key: the same model on another port,
or behind another proxy, is asked for nothing again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dowse.errors import ModelError

_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"

_APPLICATION_ID = int.from_bytes(b"dows")
"""By which SQLite tells whose file it is; files made before it was written have none."""

_PATIENCE_S = 30.0
"""How long to wait for another process that writes to the same cache."""


class AnswerCache:
    """Keys and values in a file, or in memory without one; safe to share between threads."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the file.

        Raises:
            ModelError: The file is something else, or cannot be written.
        """
        self._path = path
        self._lock = threading.Lock()
        database = None
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(path or ":memory:", timeout=_PATIENCE_S, check_same_thread=False)
            _prepare(database)
        except (sqlite3.Error, OSError) as error:
            if database is not None:
                database.close()
            raise ModelError(
                f"{path}: cannot be used as a cache ({error}), expected a file that Dowse made or a new path; "
                "name another one"
            ) from None
        self._database = database

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None.

        Raises:
            ModelError: The file cannot be read any more.
        """
        with self._lock, self._usable():
            row = self._database.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Store values for good.

        Raises:
            ModelError: The disk is full, or another process keeps the file to itself.
        """
        with self._lock, self._usable(), self._database:
            self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Say in one sentence why the file could not be read or written."""
        try:
            yield
        except sqlite3.Error as error:
            raise ModelError(
                f"{self._path}: the cache cannot be used ({error}), expected a sound file on a disk with room, and no "
                "other writer for long; what was answered is kept, run it again"
            ) from None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


def _prepare(database: sqlite3.Connection) -> None:
    """Make the table where there is none; nothing is written into a file of another program.

    Raises:
        sqlite3.Error: The file is something else, or cannot be written.
    """
    [identity] = database.execute("PRAGMA application_id").fetchone()
    if identity != _APPLICATION_ID:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        columns = database.execute("SELECT name FROM pragma_table_info('answers')").fetchall()
        is_older = tables == [("answers",)] and columns == [("key",), ("value",)]
        if identity or (tables and not is_older):
            raise sqlite3.DatabaseError("a database of another program")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    if identity != _APPLICATION_ID:
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    database.execute(_SCHEMA)
    database.commit()


def cache_key(*parts: object) -> bytes:
    """Return the SHA-256 of what was asked."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")).digest()
