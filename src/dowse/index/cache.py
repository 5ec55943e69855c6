"""Step 5 of 7, index: the bi-encoder's embeddings, kept from one question to the next.

The bi-encoder is too slow to embed a repository before the first question, so its embeddings are made when they are
needed and kept here: `retriever.sqlite` beside the index, int8 rows under a hash of the text that was embedded. A text
that stays the same keeps its embedding through every update and rebuilding of lines around it.

It is a cache and behaves like one: what cannot be read or written is made again, and only who would make it for ever
is told (`add`). Where the file cannot be used at all, or not be written, the cache lives in memory. Any number of
processes share it; each adds what it made. Rows of another model are dropped by the first that adds rows of its own,
rows of texts that are gone by `settle` and `sweep`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse.index.database import connect, transaction
from dowse.index.dense import Rows, pack, unpack
from dowse.types import Embeddings

FILE = "retriever.sqlite"

_WAIT_S = 0.5
"""How long another process may hold the file before this one goes on without."""

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS embeddings (hash INTEGER PRIMARY KEY, packed BLOB NOT NULL);
"""

Hashes = NDArray[np.int64]
"""Hashes of texts, shape (n,)."""


def hash_of(text: str) -> int:
    """Return a signed 64-bit hash of a text: among a million texts two agree once in 40 million indexes."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class EmbeddingCache:
    """Embeddings of one model by the hash of their text."""

    def __init__(self, folder: Path | None, fingerprint: str, dimensions: int, part: str = "") -> None:
        """Open the cache in a folder, made if it is missing.

        Args:
            folder: the index folder; None keeps everything in memory.
            fingerprint: the model's; what another one has left is not seen.
            dimensions: D, the length of the model's embeddings.
            part: name of a part of the index where that is all that is seen here; it forgets nothing, for others keep
                the texts of other parts in the same file.
        """
        self._folder, self._fingerprint, self._dimensions = folder, fingerprint, dimensions
        self._part = part
        self._database = self._open()
        self._held_hashes: Hashes = np.empty(0, np.int64)
        self._held = Rows(np.empty((0, dimensions), np.int8))
        self._version = self._data_version()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def lookup(self, hashes: Hashes) -> tuple[NDArray[np.bool_], Embeddings]:
        """Return which texts have an embedding, shape (n,), and these, shape (n, D), zero where there is none."""
        packed = self._packed(hashes)
        return np.asarray(packed.any(axis=1)), unpack(packed)

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        return "memory" if self._folder is None else str(self._folder / FILE)

    def add(self, hashes: Hashes, embeddings: Embeddings) -> bool:
        """Keep embeddings, shapes (n,) and (n, D), and tell whether they are kept: in memory, if the file is only read.

        They are lost where the disk is full, and where another process keeps the file to itself.
        """
        rows = [(value, row.tobytes()) for value, row in zip(hashes.tolist(), pack(embeddings), strict=True)]
        with suppress(sqlite3.DatabaseError):
            try:
                self._write(rows)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                    raise
                self._go_on_in_memory()
                self._write(rows)
            return True
        return False

    def _write(self, rows: Sequence[tuple[int, bytes]]) -> None:
        with transaction(self._database, "IMMEDIATE"):
            if not self._is_mine():
                self._database.execute("DELETE FROM embeddings")
                self._database.execute("DELETE FROM facts")
                self._database.execute("INSERT INTO facts VALUES ('fingerprint', ?)", (self._fingerprint,))
            self._database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?)", rows)

    def missing(self, hashes: Hashes) -> Hashes:
        """Return the distinct hashes without an embedding, in order of first appearance."""
        known: set[int] = set()
        with suppress(sqlite3.DatabaseError):
            if self._is_mine():
                known = {row[0] for row in self._database.execute("SELECT hash FROM embeddings")}
        return np.array([value for value in dict.fromkeys(hashes.tolist()) if value not in known], np.int64)

    def settle(self, hashes: Hashes) -> None:
        """Say that every text of the index, or part, has been embedded: forget all others and let `nearest` answer."""
        with suppress(sqlite3.DatabaseError), transaction(self._database, "IMMEDIATE"):
            if self._is_mine():
                if not self._part:
                    self._forget_others(hashes)
                self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, 'yes')", (self._settled,))

    @property
    def is_settled(self) -> bool:
        """Whether all texts of the index were embedded at some time; those that changed since may not be yet."""
        with suppress(sqlite3.DatabaseError):
            return self._is_mine() and self._fact(self._settled) == "yes"
        return False

    def is_overfull(self, n_texts: int) -> bool:
        """Tell whether the file is much larger than `n_texts` embeddings need, so that `sweep` is due."""
        if self._part:
            return False
        with suppress(sqlite3.DatabaseError):
            pages, page_bytes = (
                self._database.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size")
            )
            return bool(pages * page_bytes > 1_000_000 + 2 * n_texts * (self._dimensions + 64))
        return False

    def sweep(self, hashes: Hashes) -> None:
        """Forget the embeddings of all other texts, whichever model's they are, and give the room back.

        Unlike its neighbours it must not ask whose the rows are: who takes a repository out of a store does not know
        which bi-encoder has filled the file, and opens it under any model; its texts are to go all the same.
        """
        with suppress(sqlite3.DatabaseError), transaction(self._database, "IMMEDIATE"):
            self._forget_others(hashes)
        with suppress(sqlite3.DatabaseError):
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def nearest(
        self, hashes: Hashes, query: NDArray[np.float32], n: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions in `hashes` and cosines of the `n` texts nearest to a unit vector, best first.

        Args:
            hashes: the texts of the index, shape (N,), the same array until the index changes.
            query: a unit vector, shape (D,).
            n: how many at most; texts without an embedding are never among them.
            allowed: which may be returned, shape (N,); all where None.
        """
        self._hold(hashes)
        usable = ~self._held.are_zero if allowed is None else allowed & ~self._held.are_zero
        return self._held.nearest(query, n, None if usable.all() else usable)

    def _hold(self, hashes: Hashes) -> None:
        """Have the rows of all these texts in memory; only what is new since the last time is read."""
        version = self._data_version()
        if hashes is self._held_hashes and version == self._version:
            return
        rows = np.zeros((len(hashes), self._dimensions), np.int8)
        if len(self._held_hashes) and len(hashes):
            order = np.argsort(self._held_hashes, kind="stable")
            at = np.searchsorted(self._held_hashes, hashes, sorter=order)
            at = order[np.minimum(at, len(order) - 1)]
            same = self._held_hashes[at] == hashes
            rows[same] = self._held.packed[at[same]]
        new = ~rows.any(axis=1)
        rows[new] = self._packed(hashes[new])
        self._held_hashes, self._held, self._version = hashes, Rows(rows), version

    def _packed(self, hashes: Hashes) -> NDArray[np.int8]:
        """Read rows, shape (n, D); zero where there is none."""
        rows = np.zeros((len(hashes), self._dimensions), np.int8)
        with suppress(sqlite3.DatabaseError, ValueError):  # ValueError: a row of another length
            if len(hashes) and self._is_mine():
                query = "SELECT hash, packed FROM embeddings WHERE hash IN (SELECT value FROM json_each(?))"
                found = dict(self._database.execute(query, (json.dumps(hashes.tolist()),)))
                for row, value in zip(rows, hashes.tolist(), strict=True):
                    if value in found:
                        row[:] = np.frombuffer(found[value], np.int8)
        return rows

    @property
    def _settled(self) -> str:
        # not by name: what is forgotten elsewhere is not called by it here
        return f"settled {hash_of(self._part)}" if self._part else "settled"

    def _forget_others(self, hashes: Hashes) -> None:
        self._database.execute(
            "DELETE FROM embeddings WHERE hash NOT IN (SELECT value FROM json_each(?))", (json.dumps(hashes.tolist()),)
        )

    def _is_mine(self) -> bool:
        return self._fact("fingerprint") == self._fingerprint

    def _fact(self, key: str) -> str | None:
        row = self._database.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _data_version(self) -> int:
        """Return a number that changes with what any process writes."""
        with suppress(sqlite3.DatabaseError):
            others = int(self._database.execute("PRAGMA data_version").fetchone()[0])
            return others * 1_000_003 + self._database.total_changes
        return -1

    def _go_on_in_memory(self) -> None:
        """Leave the file as it is, and go on with a copy of what it holds."""
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._database.backup(copy)
        self._database.close()
        self._database, self._version = copy, -1

    def _open(self) -> sqlite3.Connection:
        """Open the file; one that is damaged is made anew, one that cannot be used is replaced by memory."""
        for _ in range(2 if self._folder else 0):
            assert self._folder is not None
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                database = connect(self._folder / FILE, _TABLES, _WAIT_S)
                database.execute("SELECT count(*) FROM facts").fetchone()
                return database
            except (sqlite3.OperationalError, OSError):  # locked, full, not writable
                break
            except sqlite3.DatabaseError:
                for part in ("", "-wal", "-shm"):
                    with suppress(OSError):
                        (self._folder / f"{FILE}{part}").unlink()
        database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for statement in _TABLES.split(";"):
            database.execute(statement)
        return database
