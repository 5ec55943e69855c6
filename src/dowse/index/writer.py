"""Step 5 of 7, index: the one writer of a `local` index, and the lock that makes it the only one.

Each `apply` is acknowledged as a whole when it returns, or leaves nothing behind; `local` says in which order the two
stores are written and why a kill in between cannot show.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from dowse.index.database import transaction, translated
from dowse.index.lexical import LexicalIndex
from dowse.index.scan import Stat
from dowse.index.store import LOCK_WAIT_S, BusyError, IndexedFile
from dowse.languages.identifiers import words
from dowse.languages.terms import stemmed

PARTS = ("index.sqlite", "lexical", "writer.lock", "retriever.sqlite")
"""What an index folder holds; a folder with anything else in it is not touched. `cache` fills the last one."""


def discard(folder: Path) -> None:
    """Delete an index, damaged or not, but nothing else that lies in its folder.

    The embeddings of the bi-encoder, minutes of work, stay for the next index: they are kept by what was embedded.

    Raises:
        BusyError: another process is writing it.
    """
    if not any((folder / part).exists() for part in PARTS):
        return
    with locked(folder, LOCK_WAIT_S), translated(folder):
        for part in folder.glob("index.sqlite*"):
            part.unlink()
        shutil.rmtree(folder / "lexical", ignore_errors=True)


@contextmanager
def locked(folder: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock of an index folder; the system frees it when its process dies.

    Raises:
        BusyError: another process is writing and was not done after `wait_s` seconds.
    """
    with translated(folder):
        lock = sqlite3.connect(folder / "writer.lock", timeout=wait_s, isolation_level=None)
    with closing(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):  # nothing is kept in it, so nothing is lost
                (folder / "writer.lock").unlink()
                with locked(folder, wait_s):
                    yield
                return
            if "locked" in str(error):
                raise BusyError(f"another process is updating the index {folder}; try again when it is done") from None
            with translated(folder):
                raise
        yield


class Writer:
    """Puts files into an index and takes them out; made by `LocalStore.writing`."""

    def __init__(self, folder: Path, database: sqlite3.Connection, lexical: LexicalIndex) -> None:
        """Clear away what an earlier writer's death may have left half-way."""
        self._folder, self._database, self._lexical = folder, database, lexical
        with translated(folder):
            n_documents = database.execute("SELECT coalesce(sum(n_documents), 0) FROM files").fetchone()[0]
            if len(lexical) != n_documents or self._leftovers():
                newest = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'files'").fetchone()
                self._lexical.remove_files_from((newest[0] if newest else 0) + 1)
                self._lexical.commit()
                self.finish()
                self._lexical.reload()
            if len(lexical) != n_documents:
                self._restore_words()

    def reset(self, meta: Mapping[str, str]) -> None:
        """Forget everything, and remember what the new index is made with."""
        with translated(self._folder):
            with transaction(self._database, "IMMEDIATE") as execute:
                execute("INSERT OR IGNORE INTO leftovers SELECT id FROM files WHERE n_documents > 0")
                for table in ("files", "documents", "embeddings", "hashes", "meta"):
                    execute(f"DELETE FROM {table}")
                for item in meta.items():
                    execute("INSERT INTO meta VALUES (?, ?)", item)
            self.finish()

    def apply(self, changed: Sequence[IndexedFile]) -> None:
        """Put changed files in the place of their earlier versions, all or nothing."""
        with translated(self._folder), transaction(self._database, "IMMEDIATE") as execute:
            for file in changed:
                self._forget(file.path)
            newest = execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").fetchone()
            first = (newest[0] if newest else 0) + 1  # never an id of old: its words may still be in the inverted index
            for file in changed:
                file_id = execute(
                    "INSERT INTO files VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (file.path, *file.stat, file.content_hash, file.language, file.skipped, first, len(file.spans)),
                ).lastrowid
                if file.spans:
                    self._add(file, int(file_id or 0), first)
                first += len(file.spans)
            self._lexical.commit()

    def touch(self, stats: Mapping[str, Stat]) -> None:
        """Remember new stats of files whose content is what it was."""
        with translated(self._folder), transaction(self._database, "IMMEDIATE") as execute:
            for path, stat in stats.items():
                execute(
                    "UPDATE files SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ? WHERE path = ?", (*stat, path)
                )

    def finish(self, meta: Mapping[str, str] | None = None, removed: Sequence[str] = ()) -> None:
        """Forget removed files and remember some facts, all or nothing; then clear away the words of what is gone."""
        with translated(self._folder):
            with transaction(self._database, "IMMEDIATE") as execute:
                for path in removed:
                    self._forget(path)
                for item in (meta or {}).items():
                    execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", item)
            if leftovers := self._leftovers():
                self._lexical.remove_files(leftovers)
                self._lexical.commit()
                with transaction(self._database, "IMMEDIATE") as execute:
                    execute("DELETE FROM leftovers")

    def _add(self, file: IndexedFile, file_id: int, first: int) -> None:
        ids = range(first, first + len(file.spans))
        self._database.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
            ((i, *span, text) for i, span, text in zip(ids, file.spans, file.texts, strict=True)),
        )
        self._database.execute("INSERT INTO embeddings VALUES (?, ?)", (file_id, file.packed.tobytes()))
        self._database.execute("INSERT INTO hashes VALUES (?, ?)", (file_id, file.hashes.tobytes()))
        named = zip(ids, file.spans, file.bodies, strict=True)
        self._add_words(file_id, file.path, ((i, span.symbol, span.kind, body) for i, span, body in named))

    def _add_words(self, file_id: int, path: str, documents: Iterable[tuple[int, str | None, str, str]]) -> None:
        path_words = stemmed(words(path))
        for document_id, symbol, kind, body in documents:
            self._lexical.add(document_id, file_id, kind, (body, stemmed(words(symbol or "")), path_words))

    def _forget(self, path: str) -> None:
        execute = self._database.execute
        row = execute("SELECT id, first_document, n_documents FROM files WHERE path = ?", (path,)).fetchone()
        if row is None:
            return
        file_id, first, n = row
        execute("DELETE FROM files WHERE id = ?", (file_id,))
        if n:
            execute("DELETE FROM documents WHERE id BETWEEN ? AND ?", (first, first + n - 1))
            execute("DELETE FROM embeddings WHERE file = ?", (file_id,))
            execute("DELETE FROM hashes WHERE file = ?", (file_id,))
            execute("INSERT INTO leftovers VALUES (?)", (file_id,))

    def _leftovers(self) -> list[int]:
        return [row[0] for row in self._database.execute("SELECT file FROM leftovers")]

    def _restore_words(self) -> None:
        """Make the inverted index again from the texts, after it was lost or cut short."""
        self._lexical.remove_all()
        files = "SELECT id, path, first_document, n_documents FROM files WHERE n_documents > 0 ORDER BY first_document"
        for file_id, path, first, n in self._database.execute(files).fetchall():
            rows = self._database.execute(
                "SELECT id, symbol, kind, text FROM documents WHERE id BETWEEN ? AND ?", (first, first + n - 1)
            )
            self._add_words(file_id, path, ((*row[:3], stemmed(words(row[3]))) for row in rows))
        self._lexical.commit()
        self._lexical.reload()
