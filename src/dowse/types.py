"""The records and protocols that several steps share; nothing here imports another part of Dowse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]
"""Unit-norm rows, shape (N, D)."""


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
    """One answer of a search: a document and its score, higher is better."""

    document: Document
    score: float


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


class TreeSearcher(Protocol):
    """Anything that searches one source tree: what a later step lends to the evaluation."""

    def search(self, query: str, top_k: int) -> Sequence[Hit]:
        """Return the best `top_k` documents for a query, best first; `path` is relative to the tree's root."""
        ...

    def documents(self) -> Iterable[Document]:
        """Iterate over every document that can be found."""
        ...
