"""The records and protocols that several steps share; nothing here imports another part of Dowse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]
"""Unit-norm rows, shape (N, D)."""

Progress = Callable[[int, int], None]
"""Is told how many of how many are done."""

StageProgress = Callable[[str, float, float], None]
"""Is told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Document:
    """One retrievable piece of code.

    `path` is relative to the searched root and `/`-separated; lines are 1-based and inclusive. `kind` is one of
    "function", "method", "class", "block" (what lies between definitions) or "text" (a window of lines of a file
    that no grammar cuts). `symbol` is the qualified name, for instance "Stack.push", several joined by ", " where
    tiny neighbours were merged, and None where nothing is defined.
    """

    repository: str
    path: str
    start_line: int
    end_line: int
    language: str
    symbol: str | None
    kind: str
    text: str

    @property
    def location(self) -> str:
        """`path:start-end`, as printed."""
        return f"{self.path}:{self.start_line}-{self.end_line}"


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search: a document and its score, higher is better.

    Scores order the hits of one query. `probability` (0 to 1) is the ranker's, that the document answers the query: it
    can be compared between queries, and is None where the ranker has not read the document.
    """

    document: Document
    score: float
    probability: float | None = None


class Encoder(Protocol):
    """Anything that turns text into unit-norm embeddings and can be recognised again."""

    @property
    def dimensions(self) -> int:
        """D, the length of one embedding."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of weights and settings: equal fingerprints mean comparable embeddings."""
        ...

    def encode_queries(self, queries: Sequence[str]) -> Embeddings:
        """Embed N queries as float32 unit rows of shape (N, D)."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed N document texts as float32 unit rows of shape (N, D)."""
        ...


class Ranker(Protocol):
    """Anything that reads a query and a document together: slower than an encoder, and better."""

    @property
    def fingerprint(self) -> str:
        """A hash of weights and settings: equal fingerprints mean equal scores."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Score N document texts for a query, float32 of shape (N,), higher is better."""
        ...


class CalibratedRanker(Ranker, Protocol):
    """A ranker as the search uses it: its scores are probabilities, 0 to 1, that a document answers the query."""

    @property
    def input(self) -> Literal["code", "enriched"]:
        """What it reads of a document: the code alone, or path and symbol before it."""
        ...


class TreeSearcher(Protocol):
    """Anything that searches one source tree: what a later step lends to the evaluation."""

    def search(self, query: str, top_k: int) -> Sequence[Hit]:
        """Return the best `top_k` documents for a query, best first; `path` is relative to the tree's root."""
        ...

    def documents(self) -> Iterable[Document]:
        """Iterate over every document that can be found."""
        ...


class CorpusRanker(Protocol):
    """Anything that ranks a whole corpus for many queries: what a ranker's negatives are drawn from."""

    @property
    def fingerprint(self) -> str:
        """A hash of weights and settings: equal fingerprints mean equal rankings."""
        ...

    def rank(
        self, queries: Sequence[str], documents: Sequence[str], depth: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rank N documents for each of Q queries.

        Returns:
            Positions of the best documents, int64 of shape (Q, K) with K at most `depth`, best first and -1 where a
            query has no more of them, and their scores, float32 of shape (Q, K), higher is better.
        """
        ...
