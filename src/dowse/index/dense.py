"""Step 5 of 7, index: embeddings kept as int8, compared exactly.

On a pilot int8 cost no measurable quality. One scale for a whole row is enough because only its direction counts:
`unpack` makes rows unit-norm again. The comparison takes one dot product a row: at 200,000 rows of 256 numbers about
15 ms on one core, where an approximate index would take minutes to build. A matrix product is no faster, waits for
threads on a busy machine (0.1 ms became 8 ms at 3,000 rows), and rounds equal rows differently.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dowse.types import Embeddings

_ROWS_AT_ONCE = 8_192
"""Some 12 MB of float32 at 384 dimensions: they stay in the processor's cache."""


def pack(embeddings: Embeddings) -> NDArray[np.int8]:
    """Quantise unit rows of shape (N, D) to int8, each row scaled to its own largest value; zero rows stay zero."""
    largest = np.abs(embeddings).max(axis=1, keepdims=True, initial=0.0)
    scale = np.where(largest > 0, 127.0 / np.where(largest > 0, largest, 1.0), 0.0)
    return np.rint(embeddings * scale).astype(np.int8)


def unpack(packed: NDArray[np.int8]) -> Embeddings:
    """Return float32 unit rows, shape (N, D), from what `pack` made; zero rows stay zero."""
    embeddings = packed.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
    norms[norms == 0] = 1.0
    embeddings /= norms[:, None]
    return embeddings


def nearest(
    embeddings: Embeddings, query: NDArray[np.float32], n: int, allowed: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the row numbers and cosines of the `n` rows nearest to one query, best first; equal ones in row order.

    Args:
        embeddings: unit rows, shape (N, D).
        query: a unit vector, shape (D,).
        n: how many rows at most.
        allowed: which rows may be returned, shape (N,); all where None.
    """
    rows = np.arange(len(embeddings)) if allowed is None else np.flatnonzero(allowed)
    if n < 1 or not len(rows):
        return best(rows, np.empty(len(rows), np.float32), 0)
    return best(rows, np.vecdot(embeddings if allowed is None else embeddings[rows], query), n)


def best(rows: NDArray[np.int64], found: NDArray[np.float32], n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the `n` of some rows with the highest cosines, and these, best first; equal ones in row order."""
    if n < len(rows):
        kept = np.argpartition(-found, n - 1)[:n] if n > 0 else np.empty(0, np.int64)
        rows, found = rows[kept], found[kept]
    order = np.lexsort((rows, -found))
    return rows[order], found[order]


def cosines(packed: NDArray[np.int8], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosines of int8 rows, shape (N, D), to a unit vector, shape (D,); 0 for zero rows.

    Rows become float32 some at a time, so that a large index is not in memory four times over.
    """
    found = np.zeros(len(packed), np.float32)
    for start in range(0, len(packed), _ROWS_AT_ONCE):
        rows = packed[start : start + _ROWS_AT_ONCE].astype(np.float32)
        norms = np.sqrt(np.vecdot(rows, rows))
        norms[norms == 0] = 1.0
        found[start : start + _ROWS_AT_ONCE] = np.vecdot(rows, query) / norms
    return found
