"""Step 6 of 7, search: opens the indexes of some roots and answers queries over all of them.

The path of a query: its words and its embedding each bring up candidates, in every root; what is known of the
candidates becomes evidence (`evidence`), which is fused into one order (`fuse`) and returned as hits with their text.
That is the first stage. In the second the bi-encoder looks at the best of them (`retrieve`), and with what it says they
are fused anew.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dowse.config import Overrides, Settings, index_folder, load_settings
from dowse.errors import ConfigError
from dowse.index.lexical import query_terms
from dowse.index.local import Filter, LocalStore
from dowse.index.scan import checked_root
from dowse.index.update import Freshness, Progress, bring_up_to_date, look, skipped_by_reason
from dowse.index.writer import discard
from dowse.models.static import StaticEncoder, default_static
from dowse.search import retrieve
from dowse.search.candidates import N_DENSE, as_question, brought_up, described
from dowse.search.evidence import Candidates, Query, pooled
from dowse.search.fuse import Weights, fitted_weights, score, settle
from dowse.search.only import EVERYTHING, KINDS, Only
from dowse.types import Document, Encoder, Hit

__all__ = ["EVERYTHING", "KINDS", "Only", "Root", "Searcher", "overall"]

MAX_QUERY_CHARS = 10_000
"""Longer queries are cut: no question is longer, and a pasted file says early what it is about."""


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

    STAGES: ClassVar[tuple[str, ...]] = ("instant", "retriever")
    """The names of what `stages` yields; only the first one where there is no bi-encoder."""

    def __init__(
        self,
        roots: Sequence[Root],
        encoder: StaticEncoder,
        weights: Weights | None = None,
        retriever: Encoder | None = None,
    ) -> None:
        """Search some opened roots.

        Args:
            roots: what to search.
            encoder: the static model that their indexes were made with.
            weights: of the first stage; those that ship where None.
            retriever: the bi-encoder of the second stage; the one that ships where None, unless settings say "off".
        """
        self.roots, self.encoder = list(roots), encoder
        self.weights = weights or fitted_weights()
        self._retriever = retriever

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
        return overall([root.status() for root in self.roots])

    def close(self) -> None:
        """Let go of the indexes."""
        for root in self.roots:
            root.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def retriever(self) -> Encoder | None:
        """The bi-encoder, loaded when it is first asked for; None where it is off or not installed."""
        if self.settings.search.retriever == "off":
            return None
        if self._retriever is None:
            from dowse.models.biencoder import default_biencoder  # its runtime takes longer to import than a search

            self._retriever = default_biencoder()
        return self._retriever

    def search(
        self, query: str, top_k: int = 10, only: Only = EVERYTHING, stages: Sequence[str] | None = None
    ) -> list[Hit]:
        """Return the best `top_k` documents for a query, best first.

        Args:
            query: what the code does, or a name in it.
            top_k: how many hits at most.
            only: what they must be.
            stages: the names of the stages to go through, some first ones of `STAGES`; all where None.

        Raises:
            ConfigError: the query has no letter or digit, `top_k` is below 1, or there is no such stage.
        """
        wanted = tuple(self.STAGES if stages is None else stages)
        if not wanted or wanted != self.STAGES[: len(wanted)]:
            raise ConfigError(f"stages are {wanted}, expected {self.STAGES} or its beginning; leave out the others")
        return list(islice(self.stages(query, top_k, only), len(wanted)))[-1][1]

    def stages(self, query: str, top_k: int = 10, only: Only = EVERYTHING) -> Iterator[tuple[str, list[Hit]]]:
        """Yield what each of `STAGES` answers as soon as it is known, under its name; the last one is the best.

        Raises:
            ConfigError: as `search`.
            ModelError: the bi-encoder's files are damaged; the first stage has answered by then.
        """
        _check(top_k)
        question, candidates = self.candidates(query, only, top_k)
        scores = score(question, candidates, self.weights)
        yield self.STAGES[0], self._ranked(candidates, scores, self.weights, top_k)
        if (retriever := self.retriever) is None:
            return
        looked_at = self._looked_at(retriever, question, candidates, scores, only, top_k)
        weights = fitted_weights(self.STAGES[1])
        yield self.STAGES[1], self._ranked(looked_at, score(question, looked_at, weights), weights, top_k)

    def fill(self, budget_s: float | None = None, progress: Progress | None = None) -> int:
        """Embed documents ahead of the questions, until all are or the time is up; return how many are left.

        Once none is left, the bi-encoder brings up candidates of its own. May be called again and again.

        Args:
            budget_s: how long to go on, by a batch of texts at most; to the end where None.
            progress: told how many documents are embedded and how many there are.
        """
        self._refresh()
        if (retriever := self.retriever) is None:
            return 0
        until = None if budget_s is None else time.monotonic() + budget_s
        return sum(retrieve.fill(root.store, retriever, until, progress) for root in self.roots)

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
        stores = [root.store for root in self.roots]
        question = as_question(stores, asked, found)
        at_least = 0 if top_k is None else top_k
        return question, pooled(
            [
                brought_up(
                    number, root.store, question, vector, self.weights.boosts, self._filter(number, only), at_least
                )
                for number, root in enumerate(self.roots)
            ]
        )

    def _looked_at(
        self,
        retriever: Encoder,
        query: Query,
        candidates: Candidates,
        scores: NDArray[np.float32],
        only: Only,
        top_k: int,
    ) -> Candidates:
        """Return the candidates with what the bi-encoder says of the best, and with those that it brings up itself."""
        settings = self.settings.search
        until = time.monotonic() + settings.budget_ms / 1000
        vector = retriever.encode_queries([query.text])[0]
        static = self.encoder.encode_queries([query.text])[0]
        stores = [root.store for root in self.roots]
        best = np.lexsort((candidates.ids, -scores))[: max(settings.n_candidates, top_k)]
        cosines = retrieve.similarities(retriever, stores, vector, candidates, best, until)
        pools = [replace(candidates, retriever=cosines)]
        for number, store in enumerate(stores):
            allowed = self._filter(number, only)
            ids, found = retrieve.nearest(retriever, store, vector, max(N_DENSE, top_k), allowed)
            new = ~np.isin(ids, candidates.ids[candidates.roots == number])
            if new.any():
                pools.append(described(number, store, ids[new], {}, static, found[new]))
        return pooled(pools)

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
            ids, cosines = root.store.search_vector(embedding, top_k + 1, self._filter(number, only))
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
            for i, count in root.store.occurrences(text, self._filter(number, only)):
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

    def _filter(self, number: int, only: Only) -> Filter | None:
        return only.filter(self.roots[number].store, self.roots[number].path)

    def _ranked(self, candidates: Candidates, scores: NDArray[np.float32], weights: Weights, top_k: int) -> list[Hit]:
        order, scores = settle(candidates, scores, weights)
        ranked = zip(candidates.roots[order].tolist(), candidates.ids[order].tolist(), scores.tolist(), strict=True)
        return self._hits(ranked, top_k)

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


def overall(roots: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the status of several roots, at least one, as that of one index; each own one stands under "roots"."""
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
        "roots": list(roots),
    }


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
