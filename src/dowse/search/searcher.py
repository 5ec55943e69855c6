"""Step 6 of 7, search: opens the indexes of some roots and answers queries over all of them.

The path of a query: its words and its embedding each bring up candidates, in every root; what is known of the
candidates becomes evidence (`evidence`), which is fused into one order (`fuse`) and returned as hits with their text.
That is the first stage. In the second the bi-encoder looks at the best of them (`retrieve`), and with what it says they
are fused anew. In the third the ranker reads the best of those together with the query (`rerank`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dowse.config import MODES, Overrides, SearchSettings, Settings, suggestion
from dowse.errors import ConfigError
from dowse.index.store import Filter, Store
from dowse.languages.terms import query_terms
from dowse.models.cascade import Combination
from dowse.models.static import StaticEncoder, default_static
from dowse.search import retrieve
from dowse.search.candidates import N_DENSE, as_question, brought_up, described, fetched, looked_up_ahead
from dowse.search.evidence import Candidates, Query, pooled
from dowse.search.fuse import Found, Weights, fitted_weights, found_in, score, settle
from dowse.search.models import goes_on, mode_of, ranker_named, retriever_named
from dowse.search.only import EVERYTHING, Only
from dowse.search.rerank import Wanted, rerank
from dowse.search.roots import Root, open_roots, overall
from dowse.types import CalibratedRanker, Document, Encoder, Hit, Progress

MAX_QUERY_CHARS = 10_000
"""Longer queries are cut: no question is longer, and a pasted file says early what it is about."""


class Searcher:
    """Answers queries over the indexes of one or several roots.

    For one thread at a time, as are together all searchers that `open` made: they share the static model.
    """

    STAGES: ClassVar[tuple[str, ...]] = ("instant", "retriever", "ranker")
    """The names of what `stages` yields; the first one always, the others where there are such models. Each of
    `MODES` ends with one of them."""

    def __init__(
        self,
        roots: Sequence[Root],
        encoder: StaticEncoder,
        weights: Weights | None = None,
        retriever: Encoder | None = None,
        ranker: CalibratedRanker | None = None,
    ) -> None:
        """Search some opened roots.

        Args:
            roots: what to search, at least one.
            encoder: the static model that their indexes were made with.
            weights: of the first stage; those that ship where None.
            retriever: the bi-encoder of the second stage; what settings say where None, and none if they say "off".
            ranker: the same for the third stage.

        Raises:
            ConfigError: there is no root, or the settings of the first combine the scores in a way that is not known.
        """
        if not roots:
            raise ConfigError("there are no roots to search, expected at least one; open a folder first")
        self.roots, self.encoder = list(roots), encoder
        self.weights = weights or fitted_weights()
        self._retriever, self._ranker = retriever, ranker
        self._combination = Combination.named(self.settings.search.combine)

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
        return cls(open_roots(paths, encoder, overrides, progress, rebuild, look_only), encoder)

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
        """The bi-encoder, loaded when it is first asked for; None where it is off or not installed, in any mode."""
        said = self.settings.search.retriever
        return None if said == "off" else self._retriever or retriever_named(said)

    @property
    def ranker(self) -> CalibratedRanker | None:
        """The ranker, loaded when it is first asked for; None where it is off or not installed, in any mode."""
        said = self.settings.search.ranker
        return None if said == "off" else self._ranker or ranker_named(said)

    def search(
        self, query: str, top_k: int | None = None, only: Only = EVERYTHING, mode: str | None = None
    ) -> list[Hit]:
        """Return the best `top_k` documents for a query, best first.

        Args:
            query: what the code does, or a name in it.
            top_k: how many hits at most; as settings say where None.
            only: what they must be.
            mode: how far to go, one of `MODES`; as settings say where None.

        Raises:
            ConfigError: the query has no letter or digit, `top_k` is below 1, there is no such mode, or a probability
                is asked for and there is no ranker or the mode does without.
            ModelError: a model's files are damaged, or what it says is no number.
        """
        *_, (_, hits) = self.stages(query, top_k, only, mode)
        return hits

    def missing(self, mode: str) -> list[str]:
        """Return the names of the stages that a mode asks for and that are off or have no model."""
        later = self._wanted_stages(mode)[1:]
        return [name for name in later if (self.retriever if name == "retriever" else self.ranker) is None]

    @staticmethod
    def has_later_stages(settings: SearchSettings, mode: str | None = None) -> bool:
        """Whether a mode, that of the settings where None, goes on after the first stage; loads no model."""
        return goes_on(settings, mode)

    def stages(
        self, query: str, top_k: int | None = None, only: Only = EVERYTHING, mode: str | None = None
    ) -> Iterator[tuple[str, list[Hit]]]:
        """Yield what each of `STAGES` answers as soon as it is known, under its name; the last one is the best.

        A later stage is left out where there was no time for it. The ranker alone knows probabilities: the answers
        before it are not held to `only.min_score`.

        Another question may be asked between two stages. It may see what others wrote to the indexes meanwhile, and the
        later stages then leave out documents that are gone; an index that was built anew they take for the old one.

        Raises:
            ConfigError: as `search`.
            ModelError: as `search`; the stages before have answered by then.
        """
        top_k = self._checked(top_k)
        wanted = self._wanted_stages(mode)
        if only.min_score and ("ranker" not in wanted or self.ranker is None):
            raise ConfigError(
                f"a least probability, {only.min_score:g}, needs the ranker, and it is off, not installed or no part "
                "of this mode; choose the mode best and name the ranker's folder as `ranker`"
            )
        question, candidates = self.candidates(query, only, top_k)
        scores = score(question, candidates, self.weights)
        settled = settle(candidates, scores, self.weights)
        yield self.STAGES[0], self._hits(found_in(candidates, *settled), top_k)
        # loaded before the clock starts: the budget is for embedding and reading only
        retriever = self.retriever if "retriever" in wanted else None
        ranker = self.ranker if "ranker" in wanted else None
        left_s = self.settings.search.budget_ms / 1000
        if retriever is not None and left_s > 0:
            started = time.monotonic()
            until = started + (left_s if ranker is None else left_s / 2)
            candidates = self._looked_at(retriever, question, candidates, scores, only, top_k, until)
            weights = fitted_weights(self.STAGES[1])
            settled = settle(candidates, score(question, candidates, weights), weights)
            hits = self._hits(found_in(candidates, *settled), top_k)
            left_s -= time.monotonic() - started
            yield self.STAGES[1], hits
        if ranker is not None:
            reading = self._reading(top_k, only, left_s)
            ranked = list(found_in(candidates, *settled))
            read = rerank(ranker, self._stores, question.text, ranked, reading)
            if read is not None:
                yield self.STAGES[2], self._hits(read, top_k)

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

    def warm(self) -> Iterator[None]:
        """Load what questions look at, a slice at a time, so that the first ones are answered like those after them."""
        for root in self.roots:
            yield from looked_up_ahead(root.store, self.encoder.dimensions)

    def candidates(self, query: str, only: Only = EVERYTHING, top_k: int | None = None) -> tuple[Query, Candidates]:
        """Return a query as ranking sees it, and what its words and its embedding bring up in every root.

        Each brings up `N_LEXICAL` and `N_DENSE` documents, or `top_k` where that is more.

        Raises:
            ConfigError: the query has no letter or digit.
        """
        self._refresh()
        asked = query[:MAX_QUERY_CHARS]
        terms = query_terms(asked)
        if not terms:
            raise ConfigError(f"the query {query[:40]!r} has no letter or digit; ask with words, for instance: retry")
        embedding = self.encoder.encode_queries([asked])[0]
        question = as_question(self._stores, asked, terms)
        at_least = 0 if top_k is None else top_k
        return question, pooled(
            [
                brought_up(
                    number, store, question, embedding, self.weights.boosts, self._filter(number, only), at_least
                )
                for number, store in enumerate(self._stores)
            ]
        )

    def _looked_at(
        self,
        retriever: Encoder,
        question: Query,
        candidates: Candidates,
        scores: NDArray[np.float32],
        only: Only,
        top_k: int,
        until: float,
    ) -> Candidates:
        """Return the candidates with what the bi-encoder says of the best, and with those that it brings up itself."""
        embedding = retriever.encode_queries([question.text])[0]
        static = self.encoder.encode_queries([question.text])[0]
        best = np.lexsort((candidates.ids, -scores))[: max(self.settings.search.n_embedded, top_k)]
        cosines = retrieve.similarities(retriever, self._stores, embedding, candidates, best, until)
        pools = [replace(candidates, retriever=cosines)]
        for number, store in enumerate(self._stores):
            allowed = self._filter(number, only)
            ids, found = retrieve.nearest(retriever, store, embedding, max(N_DENSE, top_k), allowed)
            new = ~np.isin(ids, candidates.ids[candidates.roots == number])
            if new.any():
                pools.append(described(number, store, ids[new], {}, static, found[new]))
        return pooled(pools)

    def similar(self, path: str, line: int, top_k: int | None = None, only: Only = EVERYTHING) -> list[Hit]:
        """Return the documents nearest to the one that holds a line of a file, best first; itself left out.

        Raises:
            ConfigError: the file is not indexed, or has no such line, or a probability is asked for.
        """
        if only.min_score:
            raise ConfigError("code like other code has no probability; leave out the least one, or ask with words")
        top_k = self._checked(top_k)
        self._refresh()
        owner, source = self._at(path, line)
        embedding = self._stores[owner].embedding(source)
        ranked = []
        for number, store in enumerate(self._stores):
            ids, cosines = store.search_vector(embedding, top_k + 1, self._filter(number, only))
            near = zip(ids.tolist(), cosines.tolist(), strict=True)
            ranked += [(-cosine, number, i) for i, cosine in near if (number, i) != (owner, source)]
        return self._hits((Found(number, i, -cosine) for cosine, number, i in sorted(ranked)), top_k)

    def literal(self, text: str, top_k: int | None = None, only: Only = EVERYTHING) -> list[Hit]:
        """Return documents that contain a string exactly, those with most occurrences first; the score counts them.

        Raises:
            ConfigError: the string is empty, or a probability is asked for.
        """
        if only.min_score:
            raise ConfigError("an exact string has no probability; leave out the least one, or ask with words")
        if not text:
            raise ConfigError("the string to look for is empty; give at least one character")
        top_k = self._checked(top_k)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ConfigError(f"{text!a} is not UTF-8, as all indexed text is; give other bytes") from None
        self._refresh()
        found = []
        for number, store in enumerate(self._stores):
            for i, count in store.occurrences(text, self._filter(number, only)):
                found.append((-count, number, i))
        return self._hits((Found(number, i, float(-count)) for count, number, i in sorted(found)), top_k)

    def documents(self) -> Iterator[Document]:
        """Iterate over every indexed document, by root, path and line."""
        self._refresh()
        for store in self._stores:
            yield from store.documents()

    @property
    def _stores(self) -> list[Store]:
        return [root.store for root in self.roots]

    def _refresh(self) -> None:
        """See what other processes wrote since the last question."""
        for store in self._stores:
            store.refresh()

    def _checked(self, top_k: int | None) -> int:
        """Return how many hits are asked for."""
        wanted = self.settings.search.top_k if top_k is None else top_k
        if wanted < 1:
            raise ConfigError(f"top_k is {wanted}, expected at least 1")
        return wanted

    def _filter(self, number: int, only: Only) -> Filter | None:
        return only.filter(self.roots[number].path)

    def _wanted_stages(self, mode: str | None) -> tuple[str, ...]:
        """Return the stages up to the one that a mode ends with."""
        mode = mode_of(self.settings.search, mode, self._retriever is not None, self._ranker is not None)
        if mode not in MODES:
            raise ConfigError(f"mode is {mode!r}{suggestion(mode, MODES)}")
        return self.STAGES[: 1 + MODES.index(mode)]

    def _reading(self, top_k: int, only: Only, left_s: float) -> Wanted:
        n = self.settings.search.n_candidates
        return Wanted(
            top_k=top_k,
            n=max(n, top_k) if only.min_score else n,  # what is not read is no hit then
            until=time.monotonic() + left_s,
            combination=self._combination,
            min_score=only.min_score,
        )

    def _hits(self, ranked: Iterable[Found], top_k: int) -> list[Hit]:
        """Fetch the first documents of what was found; what is gone by now is passed over."""
        hits: list[Hit] = []
        ordered = iter(ranked)
        while len(hits) < top_k and (some := list(islice(ordered, top_k - len(hits)))):
            known = fetched(self._stores, [one.place for one in some])
            hits += [Hit(known[one.place], one.score, one.probability) for one in some if one.place in known]
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
