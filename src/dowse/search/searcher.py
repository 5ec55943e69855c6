"""Step 6 of 7, search: opens the indexes of some roots and answers queries over all of them.

The path of a query: its words and its embedding each bring up candidates, in every root; what is known of the
candidates becomes evidence (`evidence`), which is fused into one order (`fuse`) and returned as hits with their text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dowse.config import Overrides, Settings, index_folder, load_settings, suggestion
from dowse.errors import ConfigError
from dowse.index.lexical import query_terms
from dowse.index.local import Filter, LocalStore
from dowse.index.scan import checked_root
from dowse.index.update import Freshness, Progress, bring_up_to_date, look, skipped_by_reason
from dowse.index.writer import discard
from dowse.languages import LANGUAGES
from dowse.models.static import StaticEncoder, default_static
from dowse.search.evidence import Candidates, Query, pooled
from dowse.search.fuse import Weights, fitted_weights, fuse
from dowse.types import Document, Hit

N_LEXICAL = 200
N_DENSE = 100
"""How many candidates the words and the embeddings each bring up in a root."""

KINDS = ("function", "method", "class", "block", "text")

MAX_QUERY_CHARS = 10_000
"""Longer queries are cut: no question is longer, and a pasted file says early what it is about."""

MAX_QUERY_TERMS = 64
"""Of a long query the most telling terms are looked up; the rest would cost time and move nothing."""


@dataclass(frozen=True, slots=True)
class Only:
    """What hits must be: of one of these languages, paths (gitignore-style globs) and kinds; all where empty.

    Raises:
        ConfigError: a language or kind is not known.
    """

    languages: Sequence[str] = ()
    paths: Sequence[str] = ()
    kinds: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what could only ever find nothing."""
        for said, known, what in ((self.languages, LANGUAGES, "language"), (self.kinds, KINDS, "kind")):
            for name in said:
                if name.lower() not in known:
                    raise ConfigError(f"{what} {name!r} is not known{suggestion(name.lower(), known)}")
        if self.paths and all(not path.strip("!") or path.startswith("!") for path in self.paths):
            raise ConfigError(
                f"--path {self.paths[0]!r} matches nothing; give a glob such as 'src/**' before exceptions"
            )

    def filter(self, store: LocalStore, root: Path) -> Filter | None:
        """Return the same as ids of a store's files, None where nothing is left out.

        Raises:
            ConfigError: a path is no valid glob.
        """
        if not (self.languages or self.paths or self.kinds):
            return None
        import pathspec  # takes longer to import than an unfiltered search to answer

        languages = frozenset(name.lower() for name in self.languages)
        own = [path.removeprefix("./").replace(f"{root}/", "/", 1) for path in self.paths]
        try:
            globs = pathspec.GitIgnoreSpec.from_lines(own) if own else None
        except ValueError as error:
            raise ConfigError(
                f"--path {' '.join(self.paths)} is no glob ({error}); give for instance 'src/**'"
            ) from None
        return Filter(
            [
                known.id
                for path, known in store.files.items()
                if (not languages or known.language.lower() in languages) and (globs is None or globs.match_file(path))
            ],
            frozenset(kind.lower() for kind in self.kinds) or None,
        )


EVERYTHING = Only()


@dataclass(slots=True)
class Root:
    """One searched folder: its index, and how fresh that is."""

    path: Path
    store: LocalStore
    freshness: Freshness
    settings: Settings

    def status(self) -> dict[str, Any]:
        """Return what is indexed of this root, how fresh it is and what was left out and why."""
        indexed = [known.language for known in self.store.files.values() if not known.skipped]
        return {
            "repository": self.store.repository,
            "path": str(self.path),
            "index": str(self.store.folder),
            "documents": len(self.store),
            "files": len(indexed),
            "languages": dict(Counter(indexed).most_common()),
            "skipped": skipped_by_reason(self.store),
            "fresh": self.freshness.fresh,
            "checked_at": datetime.fromtimestamp(self.freshness.checked, UTC).isoformat(timespec="seconds"),
            "note": self.freshness.note,
        }


class Searcher:
    """Answers queries over the indexes of one or several roots."""

    def __init__(self, roots: Sequence[Root], encoder: StaticEncoder, weights: Weights | None = None) -> None:
        self.roots, self.encoder = list(roots), encoder
        self.weights = weights or fitted_weights()

    @classmethod
    def from_path(cls, path: str | Path, index_dir: str | Path | None = None) -> Self:
        """Open the index of a folder, bringing it up to date first; build it if there is none.

        Raises:
            ConfigError: the folder does not exist, or holds nothing that can be indexed.
            IndexFormatError: the index cannot be opened or, being new, not be written.
        """
        return cls.open([Path(path)], {"index": {"directory": None if index_dir is None else str(index_dir)}})

    @classmethod
    def open(
        cls,
        paths: Sequence[Path],
        overrides: Overrides | None = None,
        progress: Progress | None = None,
        rebuild: bool = False,
        look_only: bool = False,
    ) -> Self:
        """Open the indexes of several folders as one.

        Args:
            paths: the folders; one given twice, or within another one given, is searched once.
            overrides: settings by table, before those of the folders and of the user.
            progress: told how many files are done and to do.
            rebuild: forget what is indexed and begin anew.
            look_only: do not bring the indexes up to date, only say how far behind they are.

        Raises:
            ConfigError: as `from_path`.
            IndexFormatError: as `from_path`.
        """
        encoder = default_static()
        roots = []
        for path, name in _named(dict.fromkeys(checked_root(path) for path in paths)).items():
            settings = load_settings(path, overrides)
            folder = index_folder(path, settings.index)
            if look_only and not folder.is_dir():
                raise ConfigError(f"{path} is not indexed yet; index it with: dowse index {path}")
            if rebuild:
                discard(folder)
            store = LocalStore(folder, name)
            if look_only:
                freshness = look(store, path, settings.index, encoder)
            else:
                freshness = bring_up_to_date(store, path, settings.index, encoder, progress)
            roots.append(Root(path, store, freshness, settings))
        return cls(roots, encoder)

    @property
    def settings(self) -> Settings:
        """The settings of the first root."""
        return self.roots[0].settings

    def status(self) -> dict[str, Any]:
        """Return what is indexed, how fresh it is and what was left out and why, as JSON has it."""
        roots = [root.status() for root in self.roots]
        skipped: Counter[str] = Counter()
        for root in roots:
            skipped.update(root["skipped"])
        return {
            "fresh": all(root["fresh"] for root in roots),
            "checked_at": min(root["checked_at"] for root in roots),
            "documents": sum(root["documents"] for root in roots),
            "files": sum(root["files"] for root in roots),
            "skipped": dict(skipped.most_common()),
            "notes": [root["note"] for root in roots if root["note"]],
            "roots": roots,
        }

    def close(self) -> None:
        """Let go of the indexes."""
        for root in self.roots:
            root.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def search(self, query: str, top_k: int = 10, only: Only = EVERYTHING) -> list[Hit]:
        """Return the best `top_k` documents for a query, best first.

        Raises:
            ConfigError: the query has no letter or digit, or `top_k` is below 1.
        """
        _check(top_k)
        question, candidates = self.candidates(query, only, top_k)
        order, scores = fuse(question, candidates, self.weights)
        ranked = zip(candidates.roots[order].tolist(), candidates.ids[order].tolist(), scores.tolist(), strict=True)
        return self._hits(ranked, top_k)

    def candidates(self, query: str, only: Only = EVERYTHING, top_k: int | None = None) -> tuple[Query, Candidates]:
        """Return a query as ranking sees it, and what its words and its embedding bring up in every root.

        Each brings up `N_LEXICAL` and `N_DENSE` documents, or `top_k` where that is more.

        Raises:
            ConfigError: the query has no letter or digit.
        """
        self._refresh()
        asked = query[:MAX_QUERY_CHARS]
        found = query_terms(asked)
        if not found:
            raise ConfigError(f"the query {query[:40]!r} has no letter or digit; ask with words, for instance: retry")
        vector = self.encoder.encode_queries([asked])[0]
        question = self._question(asked, found)
        at_least = 0 if top_k is None else top_k
        return question, pooled(
            [self._brought_up(at, question, vector, only, at_least) for at in range(len(self.roots))]
        )

    def similar(self, path: str, line: int, top_k: int = 10, only: Only = EVERYTHING) -> list[Hit]:
        """Return the documents nearest to the one that holds a line of a file, best first; itself left out.

        Raises:
            ConfigError: the file is not indexed, or has no such line.
        """
        _check(top_k)
        self._refresh()
        owner, source = self._at(path, line)
        embedding = self.roots[owner].store.embedding(source)
        ranked = []
        for number, root in enumerate(self.roots):
            ids, cosines = root.store.search_vector(embedding, top_k + 1, only.filter(root.store, root.path))
            near = zip(ids.tolist(), cosines.tolist(), strict=True)
            ranked += [(-cosine, number, i) for i, cosine in near if (number, i) != (owner, source)]
        return self._hits(((number, i, -cosine) for cosine, number, i in sorted(ranked)), top_k)

    def literal(self, text: str, top_k: int = 10, only: Only = EVERYTHING) -> list[Hit]:
        """Return documents that contain a string exactly, those with most occurrences first; the score counts them.

        Raises:
            ConfigError: the string is empty.
        """
        if not text:
            raise ConfigError("the string to look for is empty; give at least one character")
        _check(top_k)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ConfigError(f"{text!a} is not UTF-8, as all indexed text is; give other bytes") from None
        self._refresh()
        found = []
        for number, root in enumerate(self.roots):
            for i, count in root.store.occurrences(text, only.filter(root.store, root.path)):
                found.append((-count, number, i))
        return self._hits(((number, i, float(-count)) for count, number, i in sorted(found)), top_k)

    def documents(self) -> Iterator[Document]:
        """Iterate over every indexed document, by root, path and line."""
        self._refresh()
        for root in self.roots:
            yield from root.store.documents()

    def _refresh(self) -> None:
        """See what other processes wrote since the last question."""
        for root in self.roots:
            root.store.refresh()

    def _question(self, text: str, found: list[str]) -> Query:
        """Weigh the terms by how telling they are, on average over the roots, and keep the most telling."""
        idf = np.mean([root.store.telling(found) for root in self.roots], axis=0)
        kept = np.sort(np.argsort(-idf, kind="stable")[:MAX_QUERY_TERMS])
        return Query(text, [found[i] for i in kept], idf[kept].astype(np.float32))

    def _brought_up(
        self, root: int, query: Query, vector: NDArray[np.float32], only: Only, at_least: int
    ) -> Candidates:
        store = self.roots[root].store
        allowed = only.filter(store, self.roots[root].path)
        by_words, bm25 = store.search_words(query.terms, max(N_LEXICAL, at_least), self.weights.boosts, allowed)
        by_vector, _ = store.search_vector(vector, max(N_DENSE, at_least), allowed)
        ids = np.union1d(by_words, by_vector)
        entries = store.entries(ids)
        ids = np.array([i for i in ids.tolist() if i in entries], np.int64)
        scores = dict(zip(by_words.tolist(), bm25.tolist(), strict=True))
        listed = [entries[i] for i in ids.tolist()]
        paths, files = np.unique([entry.path for entry in listed], return_inverse=True)
        return Candidates(
            ids=ids,
            roots=np.full(len(ids), root, np.int64),
            entries=listed,
            bm25=np.array([scores.get(i, 0.0) for i in ids.tolist()], np.float32),
            cosine=store.similarities(vector, ids),
            files=files.astype(np.int64),
            paths=paths.tolist(),
        )

    def _hits(self, ranked: Iterable[tuple[int, int, float]], top_k: int) -> list[Hit]:
        """Fetch the documents of the first (root, id, score) triples; what is gone by now is passed over."""
        hits: list[Hit] = []
        ordered = iter(ranked)
        while len(hits) < top_k and (some := list(islice(ordered, top_k - len(hits)))):
            found = {
                (number, i): document
                for number in {number for number, _, _ in some}
                for i, document in self.roots[number]
                .store.fetch(np.array([i for at, i, _ in some if at == number]))
                .items()
            }
            hits += [Hit(found[number, i], score) for number, i, score in some if (number, i) in found]
        return hits

    def _at(self, path: str, line: int) -> tuple[int, int]:
        """Return the root and document id that hold a line of a file, named as a person or a hit would name it."""
        place = Path(path).resolve()
        spellings = [
            (n, place.relative_to(r.path).as_posix()) for n, r in enumerate(self.roots) if place.is_relative_to(r.path)
        ]
        for n, root in enumerate(self.roots):
            spellings += [(n, path.removeprefix(f"{root.store.repository}/")), (n, path)]
        for number, spelling in spellings:
            store = self.roots[number].store
            entries = store.entries(store.ids_of_file(spelling))
            if not entries:
                continue
            last = max(entry.end_line for entry in entries.values())
            if not 1 <= line <= last:
                raise ConfigError(f"{path} has no code at line {line}, its last is {last}; give FILE:LINE within it")
            return number, next(i for i, entry in entries.items() if entry.end_line >= line)  # or what follows a blank
        raise ConfigError(f"{path} is not indexed; give a path relative to the searched root, as hits print it")


def _named(paths: Iterable[Path]) -> dict[Path, str]:
    """Name roots by their folder, by more of their path where that is shared; roots within others are left out."""
    given = list(paths)
    outermost = [path for path in given if not any(other != path and path.is_relative_to(other) for other in given)]
    shared = Counter(path.name for path in outermost)
    names = {path: path.name if shared[path.name] == 1 else "/".join(path.parts[-2:]) for path in outermost}
    if len(set(names.values())) < len(names):
        return {path: str(path) for path in outermost}
    return names


def _check(top_k: int) -> None:
    if top_k < 1:
        raise ConfigError(f"top_k is {top_k}, expected at least 1")
