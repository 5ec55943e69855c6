"""Step 5 of 7, index: what search and the update ask of a store, whichever engine is behind it.

Two stores are there: `local` (one folder, SQLite and tantivy, the default) and `lance` (many repositories in one Lance
table on a disk or in object storage). Both hold the same records and answer the same questions; `docs/scale.md` says
where their answers differ. A store answers from one moment: ids and everything else hold until `reload` or `refresh`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dowse.errors import IndexFormatError
from dowse.index.cache import EmbeddingCache, Hashes, hash_of
from dowse.index.documents import Span
from dowse.index.scan import Stat, Tree
from dowse.models.text import document_text
from dowse.types import Document, Embeddings, Encoder

LOCK_WAIT_S = 0.2
"""How long to wait for another writer by default: long enough for a small update, short enough for a person."""


class BusyError(IndexFormatError):
    """Another process is writing what this one needs."""


def tally(documents: int, kinds: Iterable[tuple[str, str | None, int]], tree: Tree | None) -> dict[str, Any]:
    """Return what `Store.counted` does, each kind of file by language and reason, most frequent first.

    Args:
        documents: how many there are.
        kinds: language, why it was skipped (None if it was not), and how many files there are of this kind.
        tree: as last scanned; it knows what was left out without being read.
    """
    languages: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for language, reason, n in kinds:
        if reason is None:
            languages[language] += n
        else:
            skipped[reason] += n
    if tree is not None:
        skipped.update(tree.skipped.values())
        if tree.ignored:
            skipped["ignored"] = tree.ignored
    return {
        "documents": documents,
        "files": languages.total(),
        "languages": dict(languages.most_common()),
        "skipped": dict(skipped.most_common()),
    }


Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Ids of documents and their scores, best first, shapes (n,)."""


class KnownFile(NamedTuple):
    """What the index remembers of one file; `skipped` is why it has no documents, None if it was indexed.

    `id` is the store's own name of the file, `first_document` the first of its consecutive ids where a store has such.
    """

    id: int
    stat: Stat
    content_hash: str
    language: str
    skipped: str | None
    first_document: int
    n_documents: int


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One file as it goes into the index.

    Attributes:
        skipped: why it has no documents, None if it is indexed.
        spans: lines, symbol and kind of its n documents.
        texts: what stands in those lines.
        bodies: the texts' terms, as `terms.stemmed` returns them.
        packed: the documents' embeddings, int8 of shape (n, D), from `dense.pack`.
    """

    path: str
    stat: Stat
    content_hash: str
    language: str
    skipped: str | None = None
    spans: Sequence[Span] = ()
    texts: Sequence[str] = ()
    bodies: Sequence[str] = ()
    packed: NDArray[np.int8] = field(default_factory=lambda: np.empty((0, 0), np.int8))

    @property
    def hashes(self) -> Hashes:
        """The hash of what is embedded (`models.text`) of each document, int64 of shape (n,)."""
        pieces = zip(self.spans, self.texts, strict=True)
        return np.array([hash_of(document_text(self.path, span.symbol, text)) for span, text in pieces], np.int64)


class Filter(NamedTuple):
    """What may be found, all where None: names of languages in lower case, gitignore-style globs, kinds."""

    languages: frozenset[str] | None = None
    paths: tuple[str, ...] | None = None
    kinds: frozenset[str] | None = None


class Entry(NamedTuple):
    """What ranking looks at of one document; the text is fetched for hits only.

    `repository` is the name that `path` begins with, in a view of several; "" where it begins with none.
    """

    path: str
    start_line: int
    end_line: int
    language: str
    symbol: str | None
    kind: str
    repository: str = ""

    @property
    def own_path(self) -> str:
        """The path within its repository."""
        return self.path.removeprefix(f"{self.repository}/") if self.repository else self.path


class StoreWriter(Protocol):
    """Puts files into a store and takes them out; each step is acknowledged as a whole when it returns, or not at all.

    All raise BusyError while others write what it needs, and IndexFormatError where nothing can be written.
    """

    def reset(self, meta: Mapping[str, str]) -> None:
        """Forget every file of the repository, and remember what the new index is made with."""

    def apply(self, changed: Sequence[IndexedFile]) -> None:
        """Put changed files in the place of their earlier versions."""

    def touch(self, stats: Mapping[str, Stat]) -> None:
        """Remember new stats of files whose content is what it was."""

    def finish(self, meta: Mapping[str, str] | None = None, removed: Sequence[str] = ()) -> None:
        """Forget removed files and remember some facts; then tidy up."""


class Store(Protocol):
    """The index of one repository, or of several that are searched as one."""

    repository: str
    """Name of the repository, as hits carry it; empty where there are several."""

    @property
    def place(self) -> str:
        """Where it lies, for people: a folder or an address."""

    @property
    def format_version(self) -> int:
        """Raised whenever what lies in the store changes its meaning; another version is built anew."""

    @property
    def repositories(self) -> Sequence[str]:
        """Names of the repositories in it, sorted."""

    def models(self) -> Mapping[str, str]:
        """Return the fingerprint of the model that each repository's index was made with, by name."""

    @property
    def files(self) -> Mapping[str, KnownFile]:
        """Every known file by path; another object after a change."""

    @property
    def meta(self) -> Mapping[str, str]:
        """What the index was made with."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing derived is missing, so that an unchanged tree leaves nothing to do."""

    def __len__(self) -> int:
        """Return the number of documents."""

    def mark_of(self, root: Path) -> str:
        """Return what ties this index to a root: an index with another mark is built anew."""

    def counted(self) -> dict[str, Any]:
        """Return how many "documents" and "files" are indexed, "languages" of files, and "skipped" ones by reason."""

    def tree(self) -> Tree | None:
        """Return the tree as it was last scanned, None if it never was to its end."""

    def writing(self, wait_s: float) -> AbstractContextManager[StoreWriter]:
        """Begin to write, from the newest state; raises BusyError where another may not be waited for any longer."""

    def reload(self) -> None:
        """See what was acknowledged since the last look."""

    def refresh(self) -> bool:
        """Reload if others have written since the last look; tell whether they had."""

    def close(self) -> None:
        """Let go of everything."""

    def telling(self, terms: Sequence[str]) -> NDArray[np.float32]:
        """Return the inverse document frequency of each term, shape (len(terms),)."""

    def search_words(self, terms: Sequence[str], n: int, boosts: Sequence[float], only: Filter | None = None) -> Ranked:
        """Return ids and BM25 scores of the best `n` documents for terms (`terms.query_terms`), best first."""

    def search_vector(self, embedding: NDArray[np.float32], n: int, only: Filter | None = None) -> Ranked:
        """Return ids and cosines of the `n` documents nearest to a unit vector of shape (D,), best first."""

    def similarities(self, embedding: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of some documents, by id, to a unit vector of shape (D,)."""

    def entries(self, ids: NDArray[np.int64]) -> dict[int, Entry]:
        """Return what ranking looks at, by document id; ids that are gone are left out."""

    def fetch(self, ids: NDArray[np.int64]) -> dict[int, Document]:
        """Return documents with their text, by id; ids that are gone are left out."""

    def occurrences(self, text: str, only: Filter | None = None) -> list[tuple[int, int]]:
        """Return (id, count) for each document that contains a string exactly, in order of id."""

    def ids_of_file(self, path: str) -> NDArray[np.int64]:
        """Return the ids of a file's documents, in order of lines; empty for a file that is not indexed."""

    def embedding(self, document_id: int) -> NDArray[np.float32]:
        """Return one document's embedding, shape (D,)."""

    def hashes_of(self, ids: NDArray[np.int64]) -> Hashes:
        """Return the hash of what is embedded (`models.text`) of some documents, by id, shape (n,)."""

    def cache(self, encoder: Encoder) -> EmbeddingCache:
        """Return the cache of an encoder's embeddings, opened once."""

    def documents(self) -> Iterator[Document]:
        """Iterate over every document with its text, by path and line."""

    def indexed_files(self) -> Iterator[IndexedFile]:
        """Iterate over every file as it went in, by path; `bodies` are left out."""

    # What follows reads all N documents: for one repository, not for a store of millions.

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all documents in order, shape (N,)."""

    def hashes(self) -> Hashes:
        """Return `hashes_of` all documents, in order of id, shape (N,); the same array until the index changes."""

    def embeddings(self, ids: NDArray[np.int64] | None = None) -> Embeddings:
        """Return the embeddings of some documents, by id, or of all in order of id: float32 unit rows, shape (n, D)."""

    def allowed(self, only: Filter | None) -> NDArray[np.bool_] | None:
        """Return which documents a filter lets through, in order of id, shape (N,); None where it is none."""
