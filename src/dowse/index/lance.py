"""Step 5 of 7, index: many repositories in one Lance table, on a disk or in object storage, searched in the engine.

A store is a view of such a table: of one repository (what `dowse index` writes), or of several that are searched as
one. It keeps nothing but what it has looked at since the last version, so any number of processes on any machines may
answer from the same table; `refresh` shows each of them what was written meanwhile.

Words: Lance's inverted index over the same stemmed terms as the local one, with the same BM25, added over three fields.
Vectors: exact while there are few, then an index that `lance_care` builds. What is not in an index yet the engine
scans, so a new file is found at once. Filters are conditions that the engine applies before it ranks.

Ids are the places of rows (Lance's row addresses): they hold for one version. What differs from a local store: the
frequencies of words are those of the whole table, whatever part of it is searched; a path in a view of several
repositories begins with the repository's name; an approximate vector index may miss a neighbour.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dowse.index.cache import EmbeddingCache, Hashes, hash_of
from dowse.index.dense import Rows, unpack
from dowse.index.documents import Span
from dowse.index.lance_care import ensure_indexes, has_vector_index
from dowse.index.lance_conditions import Conditions
from dowse.index.lance_table import FILE, FORMAT_VERSION, HEAD, Table, among, key_of, packed_of, quoted
from dowse.index.lance_words import Frequencies, best_by_words, ranked
from dowse.index.lance_writer import LanceWriter
from dowse.index.scan import Stat, Tree
from dowse.index.store import Entry, Filter, IndexedFile, KnownFile, Ranked, tally
from dowse.types import Document, Embeddings, Encoder

REFRESH_S = 1.0
"""Between two looks for a newer version: in object storage each is a request."""

ROWS_KEPT = 50_000
"""What was looked at of documents is remembered, since queries bring up the same ones: about 40 MB when full."""

PROBES = 32
"""Partitions of the vector index looked at for each query..."""

FILTERED_PROBES = 256
"""...and under a filter, where most of what lies in a partition does not count."""

REFINED = 10
"""So many times the wanted neighbours are compared exactly: of 20,000 clustered vectors the index found 0.82 of the
true ten with 1, 0.997 with 5 and all with 10."""

FILES_AT_ONCE = 200
_SEEN = ("repository", "path", "start_line", "end_line", "language", "symbol", "kind", "hash", "embedding")


class _Seen(NamedTuple):
    entry: Entry
    hash: int
    packed: NDArray[np.int8]


class LanceStore:
    """The index of one repository, or of several as one, in a table of many."""

    def __init__(self, table: Table, repositories: Sequence[str] | None = None, cache_dir: Path | None = None) -> None:
        """Look at a table.

        Args:
            table: for this view alone.
            repositories: names of those to be seen, stored already or not; all that are stored where None.
            cache_dir: where the bi-encoder's embeddings are kept on this machine; in memory where None.
        """
        self.table = table
        self._named = None if repositories is None else list(repositories)
        self._is_single = repositories is not None and len(repositories) == 1
        self.repository = repositories[0] if repositories is not None and self._is_single else ""
        self._cache_dir = cache_dir
        self._caches: dict[str, EmbeddingCache] = {}
        self._looked = 0.0
        self._conditions = Conditions(table, self._named)
        self._frequencies = Frequencies(table)
        self._forget()

    @cached_property
    def repositories(self) -> list[str]:
        """Names of the repositories in this view, sorted."""
        return sorted(self.models() if self._named is None else self._named)

    def models(self) -> dict[str, str]:
        """Return the fingerprint of the model that each repository's index was made with, by name."""
        rows = self.table.scan(["repository", "content_hash"], self._conditions.others(HEAD)).to_pylist()
        return {row["repository"]: row["content_hash"] or "" for row in rows if row["repository"]}

    @property
    def place(self) -> str:
        """The address."""
        return self.table.address

    @property
    def format_version(self) -> int:
        """That of the rows."""
        return FORMAT_VERSION

    @property
    def is_whole(self) -> bool:
        """Always: what is not in the engine's indexes yet, it scans."""
        return True

    def mark_of(self, root: Path) -> str:
        """Return the repository's name: its folder may lie anywhere on any machine."""
        return self.repository

    @contextmanager
    def writing(self, wait_s: float) -> Iterator[LanceWriter]:
        """Begin to write, from the newest state on; others may write at the same time, `lance_table` says how."""
        ensure_indexes(self.table)
        self.reload()
        try:
            yield LanceWriter(self.table, self.repository, self.meta, self.files)
        finally:
            self.reload()

    # ---- versions ----

    def reload(self) -> None:
        """Go to the newest version."""
        self._looked = time.monotonic()
        self.table.newest()
        if self.table.dataset.version != self._version:
            self._forget()

    def refresh(self) -> bool:
        """Go to the newest version, looking for it every `REFRESH_S`; tell whether it is another."""
        if time.monotonic() - self._looked < REFRESH_S:
            return False
        before = self._version
        self.reload()
        return self._version != before

    def _forget(self) -> None:
        self._version = int(self.table.dataset.version)
        self._seen: dict[int, _Seen] = {}
        self._conditions.forget()
        self._frequencies.forget()
        for name in [name for name, what in vars(LanceStore).items() if isinstance(what, cached_property)]:
            self.__dict__.pop(name, None)

    def close(self) -> None:
        """Let go of the caches; the table needs no closing."""
        for cache in self._caches.values():
            cache.close()

    # ---- what is known ----

    def __len__(self) -> int:
        return self._n

    @cached_property
    def _n(self) -> int:
        return self.table.count(self._conditions.documents())

    @cached_property
    def meta(self) -> Mapping[str, str]:
        """What the index was made with; empty for a repository that is not stored, or for several."""
        if not self._is_single:
            return {}
        rows = self.table.scan(["text"], f"key = {key_of(self.repository, '')}")
        found: dict[str, str] = json.loads(rows["text"][0].as_py()) if len(rows) else {}
        return found

    @cached_property
    def files(self) -> Mapping[str, KnownFile]:
        """Every known file by path, read when first asked for."""
        columns = ["path", "repository", "key", *Stat._fields, "content_hash", "language", "skipped", "n_documents"]
        rows = self.table.scan(columns, self._conditions.others(FILE)).to_pylist()
        return {
            self._path(row["repository"], row["path"]): KnownFile(
                row["key"],
                Stat(*(row[name] for name in Stat._fields)),
                row["content_hash"],
                row["language"],
                row["skipped"],
                0,
                row["n_documents"],
            )
            for row in rows
        }

    def tree(self) -> Tree | None:
        """Return the tree as it was last scanned, None if it never was to its end."""
        if "tree" not in self.meta:
            return None
        return Tree.unpacked(self.meta["tree"], {path: known.stat for path, known in self.files.items()})

    def counted(self) -> dict[str, Any]:
        """Return how many documents and files are indexed, and files by language or why they are not."""
        return self._counted  # a server asks with every question

    @cached_property
    def _counted(self) -> dict[str, Any]:
        rows = self.table.scan(["language", "skipped"], self._conditions.others(FILE))
        kinds = rows.group_by(["language", "skipped"]).aggregate([([], "count_all")]).to_pylist()
        return tally(len(self), ((kind["language"], kind["skipped"], kind["count_all"]) for kind in kinds), self.tree())

    # ---- searching ----

    def telling(self, terms: Sequence[str]) -> NDArray[np.float32]:
        """Return the inverse document frequency of each term in the whole table, shape (len(terms),)."""
        return self._frequencies.of(terms)

    def search_words(self, terms: Sequence[str], n: int, boosts: Sequence[float], only: Filter | None = None) -> Ranked:
        """Return ids and BM25 scores of the best `n` documents for terms, best first."""
        return best_by_words(self.table, terms, n, boosts, self._conditions.documents(only, True))

    def search_vector(self, embedding: NDArray[np.float32], n: int, only: Filter | None = None) -> Ranked:
        """Return ids and cosines of the `n` documents nearest to a unit vector of shape (D,), best first."""
        if n < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if not embedding.any():  # all are equally near, and the engine would find none
            found = self.table.scan([], self._conditions.documents(only), limit=n)
            return ranked(found["_rowid"].to_numpy(), np.zeros(len(found), np.float32))
        where = self._conditions.documents(only, True)
        nearest: dict[str, Any] = {"column": "embedding", "q": embedding, "k": n, "metric": "cosine"}
        if has_vector_index(self.table):
            nearest |= {"nprobes": PROBES if where is None else FILTERED_PROBES, "refine_factor": REFINED}
        found = self.table.scan(["_distance"], where, nearest=nearest)
        return ranked(found["_rowid"].to_numpy(), 1 - found["_distance"].to_numpy())

    def occurrences(self, text: str, only: Filter | None = None) -> list[tuple[int, int]]:
        """Return (id, count) for each document that contains a string exactly, in order of id; all text is read."""
        found = self.table.scan(["text"], f"contains(text, {quoted(text)}) AND {self._conditions.documents(only)}")
        counts = (row.count(text) for row in found["text"].to_pylist())
        return sorted(zip(found["_rowid"].to_pylist(), counts, strict=True))

    def similarities(self, embedding: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of some documents, by id, to a unit vector of shape (D,)."""
        return Rows(self._packed(ids)).cosines(embedding, np.arange(len(ids)))

    # ---- documents by id ----

    def entries(self, ids: NDArray[np.int64]) -> dict[int, Entry]:
        """Return what ranking looks at, by document id; ids that are gone are left out."""
        return {i: seen.entry for i, seen in self._look_at(ids).items()}

    def hashes_of(self, ids: NDArray[np.int64]) -> Hashes:
        """Return the hashes of some documents, by id, shape (n,)."""
        seen = self._look_at(ids)
        return np.array([seen[i].hash if i in seen else 0 for i in ids.tolist()], np.int64)

    def fetch(self, ids: NDArray[np.int64]) -> dict[int, Document]:
        """Return documents with their text, by id; ids that are gone are left out."""
        return dict(self._documents(among("_rowid", ids.tolist())))

    def ids_of_file(self, path: str) -> NDArray[np.int64]:
        """Return the ids of a file's documents, in order of lines; empty for a file that is not indexed."""
        owners = [name for name in self.repositories if self._is_single or path.startswith(f"{name}/")]
        found = self._ids_of([key_of(name, path if self._is_single else path[len(name) + 1 :]) for name in owners])
        if not len(found) and not self._is_single and len(self.repositories) == 1:  # hits leave out the only name
            found = self._ids_of([key_of(self.repositories[0], path)])
        return found

    def _ids_of(self, keys: Sequence[int]) -> NDArray[np.int64]:
        rows = self.table.scan(["start_line"], f"{among('key', keys)} AND start_line > 0").sort_by("start_line")
        ids: NDArray[np.int64] = rows["_rowid"].to_numpy().astype(np.int64)
        return ids

    def embedding(self, document_id: int) -> NDArray[np.float32]:
        """Return one document's embedding, shape (D,)."""
        row: NDArray[np.float32] = unpack(self._look_at(np.array([document_id]))[document_id].packed[None])[0]
        return row

    def cache(self, encoder: Encoder) -> EmbeddingCache:
        """Return this machine's cache of an encoder's embeddings, opened once; it may be deleted at any time."""
        if encoder.fingerprint not in self._caches:
            folder = self._cache_dir / f"{hash_of(self.place) & (1 << 63) - 1:x}" if self._cache_dir else None
            part = "" if self._named is None else "\n".join(self.repositories)  # others keep what they embedded
            self._caches[encoder.fingerprint] = EmbeddingCache(folder, encoder.fingerprint, encoder.dimensions, part)
        return self._caches[encoder.fingerprint]

    def documents(self) -> Iterator[Document]:
        """Iterate over every document with its text, by path and line."""
        for paths in self._files_at_once():
            keys = among("key", [self.files[path].id for path in paths])
            found = [document for _, document in self._documents(keys)]
            yield from sorted(found, key=lambda one: (one.repository, one.path, one.start_line))

    def indexed_files(self) -> Iterator[IndexedFile]:
        """Iterate over every file as it went in, by path; `bodies` are left out."""
        columns = ["key", *Span._fields, "text", "embedding"]
        for paths in self._files_at_once():
            keys = [self.files[path].id for path in paths]
            found = self.table.scan(columns, f"{among('key', keys)} AND start_line > 0").sort_by("start_line")
            owners, packed = found["key"].to_numpy(), packed_of(found["embedding"], self.table.dimensions)
            rows = found.select([*Span._fields, "text"]).to_pylist()
            for path in paths:
                known = self.files[path]
                own = np.flatnonzero(owners == known.id)
                texts = [rows[at].pop("text") for at in own.tolist()]
                spans = [Span(**rows[at]) for at in own.tolist()]
                yield IndexedFile(path, *known[1:5], spans, texts, (), packed[own])

    # ---- everything ----

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all documents in order, shape (N,)."""
        return self._ids

    @cached_property
    def _ids(self) -> NDArray[np.int64]:
        return np.sort(self.table.scan([], self._conditions.documents())["_rowid"].to_numpy().astype(np.int64))

    def hashes(self) -> Hashes:
        """Return the hash of what is embedded of every document, in order of id, shape (N,)."""
        return self._hashes

    @cached_property
    def _hashes(self) -> Hashes:
        rows = self.table.scan(["hash"], self._conditions.documents()).sort_by("_rowid")
        hashes: Hashes = rows["hash"].to_numpy()
        return hashes

    def embeddings(self, ids: NDArray[np.int64] | None = None) -> Embeddings:
        """Return the embeddings of some documents, by id, or of all in order of id: unit rows (or zero), (n, D)."""
        return unpack(self._packed(self.ids() if ids is None else ids))

    def _packed(self, ids: NDArray[np.int64]) -> NDArray[np.int8]:
        seen = self._look_at(ids)
        blank = np.zeros(self.table.dimensions, np.int8)
        packed = [seen[i].packed if i in seen else blank for i in ids.tolist()]
        return np.array(packed, np.int8).reshape(len(ids), self.table.dimensions)

    def allowed(self, only: Filter | None) -> NDArray[np.bool_] | None:
        """Return which documents a filter lets through, in order of id, shape (N,); None where it is none."""
        if only is None:
            return None
        return np.isin(self._ids, self.table.scan([], self._conditions.documents(only))["_rowid"].to_numpy())

    # ---- how rows are read ----

    def _path(self, repository: str, path: str) -> str:
        """Return a file's name in this view."""
        return path if self._is_single else f"{repository}/{path}"

    def _look_at(self, ids: NDArray[np.int64]) -> dict[int, _Seen]:
        new = [i for i in ids.tolist() if i not in self._seen]
        if new:
            if len(self._seen) + len(new) > ROWS_KEPT:
                self._seen.clear()
                new = ids.tolist()
            found = self.table.scan(_SEEN, among("_rowid", new))
            packed = packed_of(found["embedding"], self.table.dimensions)
            for row, vector in zip(found.drop_columns("embedding").to_pylist(), packed, strict=True):
                path = self._path(row["repository"], row["path"])
                rest = {name: row[name] for name in Entry._fields[1:-1]}
                entry = Entry(path, **rest, repository="" if self._is_single else row["repository"])
                self._seen[row["_rowid"]] = _Seen(entry, row["hash"], vector)
        return {i: self._seen[i] for i in ids.tolist() if i in self._seen}

    def _documents(self, where: str) -> Iterator[tuple[int, Document]]:
        """Yield id and document of every row that meets a condition and is a document."""
        columns = [*Entry._fields, "text"]
        for row in self.table.scan(columns, f"{where} AND start_line > 0").to_pylist():
            yield row.pop("_rowid"), Document(**row)

    def _files_at_once(self) -> Iterator[list[str]]:
        """Yield the paths of all files in order, some at a time."""
        paths = sorted(self.files)
        for start in range(0, len(paths), FILES_AT_ONCE):
            yield paths[start : start + FILES_AT_ONCE]
