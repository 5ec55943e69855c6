"""Step 5 of 7, index: one folder that remembers files, documents, embeddings and words.

SQLite is the truth: what its commit acknowledges is kept through a kill at any moment, and one transaction covers a
file's stat, documents and embeddings. The inverted index beside it is derived; it is written in an order that a kill
cannot turn into a wrong answer:

    1. words of new documents go into the inverted index      unknown to SQLite yet, so no reader shows them
    2. SQLite commits the new files and forgets the old ones  the acknowledgement
    3. words of the old documents leave the inverted index    unknown to SQLite by now, so no reader shows them

The next writer clears away what a kill left between these steps, and makes the inverted index again from SQLite where
it is lost. One writer at a time (a lock the system frees when its process dies), any number of readers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dowse.errors import IndexFormatError
from dowse.index.cache import EmbeddingCache, Hashes
from dowse.index.database import connect, transaction, translated
from dowse.index.dense import Rows, unpack
from dowse.index.documents import Span
from dowse.index.globs import Globs
from dowse.index.lexical import LexicalIndex
from dowse.index.scan import Stat, Tree
from dowse.index.store import Entry, Filter, IndexedFile, KnownFile, tally
from dowse.index.writer import PARTS, Writer, locked
from dowse.types import Document, Embeddings, Encoder

FORMAT_VERSION = 3
"""Raised whenever what lies in the folder changes its meaning; another version is built anew."""

ENTRIES_KEPT = 200_000
"""What was looked up of documents is remembered, since queries bring up the same ones: about 70 MB when full."""

FILTERS_KEPT = 32
"""Filters of which the files are remembered: a path that is being typed is another one at every pause."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    content_hash TEXT NOT NULL, language TEXT NOT NULL, skipped TEXT,
    first_document INTEGER NOT NULL, n_documents INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, start_line INTEGER NOT NULL, end_line INTEGER NOT NULL,
    symbol TEXT, kind TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS embeddings (file INTEGER PRIMARY KEY, packed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS hashes (file INTEGER PRIMARY KEY, packed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS leftovers (file INTEGER PRIMARY KEY);
"""

_ROWS = [[int, str, int, int, int, int, str, str, skipped, int, int] for skipped in (type(None), str)]
"""Types of the columns of `files`; a file has no more documents than characters."""


class LocalStore:
    """The index of one root, in one folder; readers see the last acknowledged state at `reload`."""

    def __init__(self, folder: Path, repository: str) -> None:
        """Open the index in `folder`, made empty if there is none.

        Raises:
            IndexFormatError: the folder holds something else, is damaged, or cannot be written.
        """
        self.folder, self.repository = folder, repository
        with translated(self.folder):
            if folder.is_dir() and any(not path.name.startswith(PARTS) for path in folder.iterdir()):
                raise IndexFormatError(
                    f"{folder} holds files that are not a Dowse index; choose another place with --index-dir"
                )
            self._open()
        self.reload()

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._caches: dict[str, EmbeddingCache] = {}
        self.database = connect(self._file, _TABLES)
        self.lexical = LexicalIndex(self.folder / "lexical")
        self._inode = self._file.stat().st_ino

    @property
    def _file(self) -> Path:
        return self.folder / "index.sqlite"

    @property
    def repositories(self) -> list[str]:
        """The one repository."""
        return [self.repository]

    def models(self) -> dict[str, str]:
        """Return the fingerprint of the model that the index was made with."""
        return {self.repository: self.meta.get("fingerprint", "")}

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def format_version(self) -> int:
        """`FORMAT_VERSION`."""
        return FORMAT_VERSION

    def mark_of(self, root: Path) -> str:
        """Return the root's path: an index is of one folder of this machine."""
        return ascii(str(root))  # its name may hold bytes that are not UTF-8

    @contextmanager
    def writing(self, wait_s: float) -> Iterator[Writer]:
        """Be the one writer of the index; the lock is freed by the system when its process dies.

        Raises:
            BusyError: another process is writing and was not done after `wait_s` seconds.
        """
        with locked(self.folder, wait_s):
            self.refresh()
            self.lexical.reload()  # a writer that was killed may have left words that SQLite knows nothing of
            try:
                yield Writer(self.folder, self.database, self.lexical)
            finally:
                self.lexical.end_writing()
                self.reload()

    # ---- reading ---------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """See what was acknowledged since the last look, all of it of one moment."""
        with translated(self.folder):
            # before all else, so that what others write from here on shows as news at the next look
            self._version = self.database.execute("PRAGMA data_version").fetchone()[0]
            self.lexical.reload()
            with transaction(self.database, "DEFERRED") as execute:
                self.meta: dict[str, str] = dict(execute("SELECT key, value FROM meta"))
                rows = execute("SELECT * FROM files ORDER BY first_document, id")
                self.files = dict(map(_known_file, rows))
                self._rows: Rows | None = None
                self._hashes: Hashes | None = None
                self._counted: dict[str, Any] | None = None
                self._ids: NDArray[np.int64] | None = None
                self._entries: dict[int, Entry] = {}
                self._filtered: dict[Filter, list[int]] = {}
            indexed = [(path, known) for path, known in self.files.items() if known.n_documents]
            self._paths = [path for path, _ in indexed]
            self._known = [known for _, known in indexed]
            self._firsts = np.array([known.first_document for known in self._known], np.int64)
            self._counts = np.array([known.n_documents for known in self._known], np.int64)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def tree(self) -> Tree | None:
        """Return the tree as it was last scanned, None if it never was to its end."""
        if "tree" not in self.meta:
            return None
        with translated(self.folder):
            return Tree.unpacked(self.meta["tree"], {path: known.stat for path, known in self.files.items()})

    def counted(self) -> dict[str, Any]:
        """Return how many documents and files are indexed, and files by language or why they are not."""
        if self._counted is None:  # a server asks with every question
            kinds = ((known.language, known.skipped, 1) for known in self.files.values())
            self._counted = tally(len(self), kinds, self.tree())
        return self._counted

    def embeddings(self, ids: NDArray[np.int64] | None = None) -> Embeddings:
        """Return the embeddings of some documents, by id, or of all in order of id: float32 unit rows, shape (n, D)."""
        packed = self._packed_rows().packed
        return unpack(packed if ids is None else packed[np.searchsorted(self.ids(), ids)])

    def _packed_rows(self) -> Rows:
        if self._rows is None:
            with translated(self.folder):
                packed = dict(self.database.execute("SELECT file, packed FROM embeddings"))
                first = next((known for known in self._known if known.id in packed), None)
                d = len(packed[first.id]) // first.n_documents if first else 0
                # a file that another process changed since `reload` has none: its documents are gone, and not found
                rows = b"".join(packed.get(known.id, bytes(known.n_documents * d)) for known in self._known)
                self._rows = Rows(np.frombuffer(rows, np.int8).reshape(len(self), d))
        return self._rows

    @property
    def is_whole(self) -> bool:
        """Whether the inverted index has the words of every document and of no other."""
        return len(self.lexical) == len(self)

    def refresh(self) -> bool:
        """Reload if another process has written since the last look, or removed the index; tell whether it had."""
        with translated(self.folder):
            # A file that was deleted and made anew is another one, and of the old one no news would ever come.
            is_another = not self._file.exists() or self._file.stat().st_ino != self._inode
            if is_another:
                self.close()
                self._open()
            version = self.database.execute("PRAGMA data_version").fetchone()[0]
        changed: bool = is_another or version != self._version
        if changed:
            self.reload()
        return changed

    def telling(self, terms: Sequence[str]) -> NDArray[np.float32]:
        """Return the inverse document frequency of each term, shape (len(terms),)."""
        with translated(self.folder):
            return self.lexical.inverse_document_frequency(terms)

    def search_words(
        self, terms: Sequence[str], n: int, boosts: Sequence[float], only: Filter | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and BM25 scores of the best `n` documents for terms (`terms.query_terms`), best first."""
        with translated(self.folder):
            kinds = None if only is None or only.kinds is None else sorted(only.kinds)
            ids, scores = self.lexical.search(terms, n, boosts, self._file_ids(only), kinds)
        known = self._is_known(ids)
        return ids[known], scores[known]

    def search_vector(
        self, embedding: NDArray[np.float32], n: int, only: Filter | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and cosines of the `n` documents nearest to a unit vector of shape (D,), best first."""
        rows, cosines = self._packed_rows().nearest(embedding, n, self.allowed(only))
        return self.ids()[rows], cosines

    def allowed(self, only: Filter | None) -> NDArray[np.bool_] | None:
        """Return which documents a filter lets through, in order of id, shape (N,); None where it is none."""
        if only is None:
            return None
        allowed: NDArray[np.bool_] = np.ones(len(self), np.bool_)
        if (files := self._file_ids(only)) is not None:
            allowed = np.repeat(np.isin([known.id for known in self._known], np.asarray(files, np.int64)), self._counts)
        if only.kinds is not None:
            allowed &= np.isin(self.ids(), self._ids_of_kinds(only.kinds))
        return allowed

    def hashes(self) -> Hashes:
        """Return the hash of what is embedded of every document (`models.text`), in order of id, shape (N,)."""
        if self._hashes is None:
            with translated(self.folder):
                packed = dict(self.database.execute("SELECT file, packed FROM hashes"))
            # as above: what another process removed since `reload` has none, and nothing has the hash 0 by chance
            rows = b"".join(packed.get(known.id, bytes(known.n_documents * 8)) for known in self._known)
            self._hashes = np.frombuffer(rows, np.int64)
        return self._hashes

    def hashes_of(self, ids: NDArray[np.int64]) -> Hashes:
        """Return the hashes of some documents, by id, shape (n,)."""
        return self.hashes()[np.searchsorted(self.ids(), ids)]

    def cache(self, encoder: Encoder) -> EmbeddingCache:
        """Return the cache of an encoder's embeddings, opened once."""
        if encoder.fingerprint not in self._caches:
            self._caches[encoder.fingerprint] = EmbeddingCache(self.folder, encoder.fingerprint, encoder.dimensions)
        return self._caches[encoder.fingerprint]

    def similarities(self, embedding: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of some documents, by id, to a unit vector of shape (D,)."""
        return self._packed_rows().cosines(embedding, np.searchsorted(self.ids(), ids))

    def entries(self, ids: NDArray[np.int64]) -> dict[int, Entry]:
        """Return what ranking looks at, by document id; ids that are gone are left out."""
        new = np.array([i for i in ids.tolist() if i not in self._entries], np.int64)
        if len(new):
            if len(self._entries) + len(new) > ENTRIES_KEPT:
                self._entries.clear()
                new = ids
            self._entries.update((i, Entry(*place, *rest)) for i, place, rest in self._look_up(new, "symbol, kind"))
        return {i: self._entries[i] for i in ids.tolist() if i in self._entries}

    def fetch(self, ids: NDArray[np.int64]) -> dict[int, Document]:
        """Return documents with their text, by id, in order of id; ids that are gone are left out."""
        found = self._look_up(ids, "symbol, kind, text")
        return {i: Document(self.repository, *place, *rest) for i, place, rest in found}

    def _look_up(self, ids: NDArray[np.int64], columns: str) -> Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]]:
        """Yield id, (path, first line, last line, language) and some columns of each document that is known."""
        ids = ids[self._is_known(ids)]
        files = np.searchsorted(self._firsts, ids, side="right") - 1
        with translated(self.folder):
            rows = self.database.execute(
                f"SELECT id, start_line, end_line, {columns} FROM documents"
                " WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
                (json.dumps(ids.tolist()),),
            ).fetchall()
        file_of = dict(zip(ids.tolist(), files.tolist(), strict=True))
        for i, start_line, end_line, *rest in rows:
            at = file_of[i]
            yield i, (self._paths[at], start_line, end_line, self._known[at].language), tuple(rest)

    def occurrences(self, text: str, only: Filter | None = None) -> list[tuple[int, int]]:
        """Return (id, count) for each document that contains a string exactly, in order of id."""
        with translated(self.folder):
            rows = self.database.execute(
                "SELECT id, (length(text) - length(replace(text, ?1, ''))) / length(?1) FROM documents"
                " WHERE instr(text, ?1) > 0 ORDER BY id",
                (text,),
            ).fetchall()
        entries = self.entries(np.array([row[0] for row in rows], np.int64))
        files = None if (allowed := self._file_ids(only)) is None else set(allowed)
        kinds = None if only is None else only.kinds
        return [
            (i, count)
            for i, count in rows
            if i in entries
            and (files is None or self.files[entries[i].path].id in files)
            and (kinds is None or entries[i].kind in kinds)
        ]

    def ids_of_file(self, path: str) -> NDArray[np.int64]:
        """Return the ids of a file's documents, in order of lines; empty for a file that is not indexed."""
        known = self.files.get(path)
        first, n = (known.first_document, known.n_documents) if known else (0, 0)
        return np.arange(first, first + n)

    def embedding(self, document_id: int) -> NDArray[np.float32]:
        """Return one document's embedding, shape (D,)."""
        at = int(np.searchsorted(self.ids(), document_id))
        row: NDArray[np.float32] = unpack(self._packed_rows().packed[at : at + 1])[0]
        return row

    def documents(self) -> Iterator[Document]:
        """Iterate over every document with its text, by path and line."""
        for path in sorted(self._paths):
            yield from self.fetch(self.ids_of_file(path)).values()

    def indexed_files(self) -> Iterator[IndexedFile]:
        """Iterate over every file as it went in, by path; `bodies` are left out."""
        for path in sorted(self.files):
            known = self.files[path]
            found = list(self.fetch(self.ids_of_file(path)).values())
            spans = [Span(one.start_line, one.end_line, one.symbol, one.kind) for one in found]
            with translated(self.folder):
                row = self.database.execute("SELECT packed FROM embeddings WHERE file = ?", (known.id,)).fetchone()
            packed = np.frombuffer(row[0] if row else b"", np.int8).reshape(len(found), -1 if found else 0)
            yield IndexedFile(path, *known[1:5], spans, [one.text for one in found], (), packed)

    def close(self) -> None:
        """Let go of the files."""
        for cache in self._caches.values():
            cache.close()
        self.lexical.close()
        self.database.close()

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all documents in order, shape (N,)."""
        if self._ids is None:
            before = np.cumsum(self._counts) - self._counts
            self._ids = np.arange(len(self)) + np.repeat(self._firsts - before, self._counts)
            self._ids.flags.writeable = False
        return self._ids

    def _is_known(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which ids belong to acknowledged files: the inverted index may be ahead, or lag behind a removal."""
        if not len(self._firsts):
            return np.zeros(len(ids), np.bool_)
        at = np.searchsorted(self._firsts, ids, side="right") - 1
        return (at >= 0) & (ids < self._firsts[at] + self._counts[at])

    def _file_ids(self, only: Filter | None) -> list[int] | None:
        """Return the ids of the files that a filter lets through, None where it lets all through."""
        if only is None or (only.languages is None and only.paths is None):
            return None
        if only in self._filtered:
            return self._filtered[only]
        if len(self._filtered) >= FILTERS_KEPT:
            self._filtered.clear()
        globs = None if only.paths is None else Globs(only.paths)
        self._filtered[only] = [
            known.id
            for path, known in self.files.items()
            if (only.languages is None or known.language.lower() in only.languages)
            and (globs is None or globs.let_through(path))
        ]
        return self._filtered[only]

    def _ids_of_kinds(self, kinds: frozenset[str]) -> NDArray[np.int64]:
        with translated(self.folder):
            rows = self.database.execute(
                "SELECT id FROM documents WHERE kind IN (SELECT value FROM json_each(?))", (json.dumps(sorted(kinds)),)
            )
            return np.fromiter((row[0] for row in rows), np.int64)


def _known_file(row: tuple[Any, ...]) -> tuple[str, KnownFile]:
    """Return one row of `files` as path and the rest; SQLite does not notice damage within a value."""
    if list(map(type, row)) not in _ROWS or not 0 <= row[10] <= row[2] + 1:
        raise ValueError(f"what is said of the file {row[1]!r} cannot be")
    return row[1], KnownFile(row[0], Stat(*row[2:6]), *row[6:])
