"""Step 1 of 7, mine: pairs whose query a retriever does not find its own function by are left out (an option).

As in CoRNStack (Suresh et al. 2024, arXiv:2412.01007): a pair stays if its function is among the first `max_rank` for
its query and their cosine is at least `min_score`. Departs from the paper: the functions ranked are those of the same
shard (one repository and source), not a sample of the whole corpus; they are the ones a query is confused with. The
versions of a function (equal path and symbol) are no rivals of each other, and the first stands for all of them as a
rival of others. Reads rows, writes nothing; embeddings of one shard are in memory, 1 kB a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dowse.models.named import STATIC, open_named
from dowse.models.text import document_text
from dowse.types import Embeddings, Encoder

if TYPE_CHECKING:
    import pyarrow as pa

Checker = Callable[["Iterable[pa.RecordBatch]"], NDArray[np.bool_]]
"""Marks the rows of one shard that fail, shape (N,)."""

_BLOCK = 512
"""Queries ranked at once: 512 × 100,000 cosines are 200 MB."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """Which retriever judges, and how strictly.

    Attributes:
        retriever: One of the names of `dowse.models.named`.
        max_rank: Among how many first functions a query's own must be.
        min_score: The least cosine of both; the default is meant for the static model.
    """

    retriever: str = STATIC
    max_rank: int = 2
    min_score: float = 0.3


def open_checker(options: Consistency) -> Checker:
    """Open the retriever, so that a mistyped one is told before any work, and return what asks it.

    Raises:
        ConfigError, MissingExtraError, ModelError: As `open_named` does.
    """
    encoder = open_named(options.retriever, "--retriever")
    return lambda batches: inconsistent(batches, encoder, options)


def inconsistent(batches: Iterable[pa.RecordBatch], encoder: Encoder, options: Consistency) -> NDArray[np.bool_]:
    """Mark the rows of one shard that fail, shape (N,)."""
    queries, documents, functions = [], [], []
    known: dict[tuple[str, str], int] = {}
    for batch in batches:
        columns = [batch.column(name).to_pylist() for name in ("query", "text_without_comments", "path", "symbol")]
        queries.append(encoder.encode_queries(columns[0]))
        told = zip(columns[2], columns[3], columns[1], strict=True)
        documents.append(encoder.encode_documents([document_text(*one) for one in told]))
        for path, symbol, code in zip(columns[2], columns[3], batch.column("code_hash").to_pylist(), strict=True):
            named = (path, symbol) if symbol else ("", code)
            functions.append(known.setdefault(named, len(known)))
    if not functions:
        return np.zeros(0, bool)
    return failing(np.concatenate(queries), np.concatenate(documents), np.array(functions), options)


def failing(
    queries: Embeddings, documents: Embeddings, functions: NDArray[Any], options: Consistency
) -> NDArray[np.bool_]:
    """Mark the pairs (row i of both) that fail; a function several queries share counts once in a ranking.

    Args:
        queries: (N, D).
        documents: (N, D).
        functions: What tells functions apart, (N,).
    """
    _, first = np.unique(functions, return_index=True)
    marked = np.zeros(len(queries), bool)
    for at in range(0, len(queries), _BLOCK):
        block = slice(at, at + _BLOCK)
        own = np.einsum("nd,nd->n", queries[block], documents[block])
        others = queries[block] @ documents[first].T
        is_own = functions[block][:, None] == functions[first][None, :]
        better = ((others > own[:, None]) & ~is_own).sum(axis=1)
        marked[block] = (better >= options.max_rank) | (own < options.min_score)
    return marked
