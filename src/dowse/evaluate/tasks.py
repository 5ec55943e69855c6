"""Step 4 of 7, evaluate: what a benchmark is, whatever files it came from: queries, a corpus, qrels.

The loaders beside this module (`cosqa`, `codesearchnet`, `challenge`, `staqc`, `beir`, `codenet`, `mined`) read one
family of files each and return a `Task`; `harness` ranks the corpus for its queries and measures that. A task holds
texts as models are given them: what a protocol does to tokens and docstrings is done by its loader.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from dowse.errors import ConfigError, DataError
from dowse.models.text import enriched
from dowse.types import Document

DEPTH = 1000
"""Documents ranked for a query: both papers cut their MRR there."""


@dataclass(frozen=True, slots=True)
class Task:
    """Queries, the documents that are ranked for them, and which of these answer them.

    Attributes:
        queries: text by query_id; each has at least one relevant document.
        corpus: documents by document_id.
        qrels: relevance by document_id by query_id; 1 or more is relevant.
        languages: programming language by query_id, for tables; may be empty.
        categories: kind of query by query_id, for tables; may be empty.
        pools: parts of the corpus, document_ids by name.
        pool_of: the pool that is ranked for a query; the whole corpus where a query has none.
        excluded: a document that is not ranked for a query, because it is the query itself.
        depth: how many documents are ranked at most.
        joins_words: whether models are given documents with their words joined by single spaces; the corpus keeps its
            lines, for what reads code as code.
    """

    name: str
    queries: Mapping[str, str]
    corpus: Mapping[str, Document]
    qrels: Mapping[str, Mapping[str, int]]
    languages: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pool_of: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    depth: int = DEPTH
    joins_words: bool = False

    def __post_init__(self) -> None:
        """Refuse references that lead nowhere, which would only show as lower figures.

        Raises:
            DataError: There are no queries, or one has no relevant document, or an id is not known.
        """
        if not self.queries:
            raise DataError(f"{self.name}: there is no query, expected at least one; name the benchmark's folder")
        for query_id, judged in self.qrels.items():
            self._known(query_id, self.queries, "query")
            for document_id in judged:
                self._known(document_id, self.corpus, f"document of query {query_id}")
        for query_id in self.queries:
            if not any(relevance > 0 for relevance in self.qrels.get(query_id, {}).values()):
                raise DataError(f"{self.name}: query {query_id} has no relevant document, expected one; leave it out")
        for query_id, pool in self.pool_of.items():
            self._known(pool, self.pools, f"pool of query {query_id}")
        for name, pool_ids in self.pools.items():
            for document_id in pool_ids:
                self._known(document_id, self.corpus, f"document of pool {name}")

    def _known(self, key: str, known: Mapping[str, object], what: str) -> None:
        if key not in known:
            raise DataError(f"{self.name}: {what} {key!r} does not exist, expected one of the task's; correct the file")

    @property
    def texts(self) -> dict[str, str]:
        """Every document as models are given it, by document_id."""
        return {document_id: self._given(enriched(document)) for document_id, document in self.corpus.items()}

    @property
    def codes(self) -> dict[str, str]:
        """Every document as models are given it that read code alone, without path and symbol, by document_id."""
        return {document_id: self._given(document.text) for document_id, document in self.corpus.items()}

    def _given(self, text: str) -> str:
        return " ".join(text.split()) if self.joins_words else text

    def by_pool(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the documents that are ranked together, each once, in their own order, and the queries they are for."""
        asked: dict[str | None, list[str]] = {}
        for query_id in self.queries:
            asked.setdefault(self.pool_of.get(query_id), []).append(query_id)
        for pool, query_ids in asked.items():
            yield list(self.corpus) if pool is None else list(dict.fromkeys(self.pools[pool])), query_ids

    def sample(self, n_queries: int, seed: int = 0) -> Self:
        """Return the task with a seeded sample of its queries, the corpus whole.

        Raises:
            ConfigError: `n_queries` is below 1.
        """
        if n_queries < 1:
            raise ConfigError(f"{n_queries} queries were asked for, expected at least 1; give more")
        kept = list(self.queries)
        if n_queries < len(kept):
            chosen = set(random.Random(seed).sample(kept, n_queries))
            kept = [query_id for query_id in kept if query_id in chosen]
        return replace(
            self,
            queries={query_id: self.queries[query_id] for query_id in kept},
            qrels={query_id: self.qrels[query_id] for query_id in kept},
        )


def bare(text: str, language: str) -> Document:
    """Return code that comes without a place as a document: no path, no symbol, its own lines."""
    return Document("", "", 1, text.count("\n") + 1, language, None, "function", text)
