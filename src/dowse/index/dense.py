"""Step 5 of 7, index: embeddings kept as int8, compared exactly.

One scale for a whole row is enough because only its direction counts: `unpack` makes rows unit-norm again. A scan finds
the nearest in two steps: the query is rounded to int8 as well and compared with every row in whole numbers, and those
rows that rounding could hide among the best are compared again as they are. The answer is that of comparing all of them
exactly, for less than half the time and a quarter of the memory (`docs/log.md`), where an approximate index would take
minutes to build.
"""

from __future__ import annotations

import numpy as np
import simsimd
from numpy.typing import NDArray

from dowse.types import Embeddings

_SCANNED_AT_ONCE = 32_768
"""Rows estimated in one go: what is worked out of them stays in the processor's cache."""

_UNPACKED_AT_ONCE = 8_192
"""Rows compared exactly in one go: a query that is near to everything would otherwise unpack them all."""


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


class Rows:
    """Packed embeddings, ready to be scanned."""

    def __init__(self, packed: NDArray[np.int8]) -> None:
        """Take what `pack` made, shape (N, D); with D = 0, where nothing is known of any, every row is a zero row."""
        self.packed = np.ascontiguousarray(packed)
        self._squares = _squared_distances(np.zeros(packed.shape[1], np.int8), self.packed)
        self._lengths = np.sqrt(np.where(self._squares > 0, self._squares, 1.0)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.packed)

    @property
    def are_zero(self) -> NDArray[np.bool_]:
        """Which rows stand for nothing, shape (N,)."""
        zero: NDArray[np.bool_] = self._squares == 0
        return zero

    def cosines(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of some rows, by number, shape (n,), to a unit vector, shape (D,); 0 for zero rows."""
        found = np.zeros(len(rows), np.float32)
        if not self.packed.size:
            return found
        for start in range(0, len(rows), _UNPACKED_AT_ONCE):
            some = rows[start : start + _UNPACKED_AT_ONCE]
            # a dot product a row: a matrix product waits for threads on a busy machine, and rounds equal rows otherwise
            found[start : start + _UNPACKED_AT_ONCE] = np.vecdot(self.packed[some].astype(np.float32), query)
        found /= self._lengths[rows]
        return found

    def nearest(
        self, query: NDArray[np.float32], n: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the numbers and cosines of the `n` rows nearest to one query, best first; equal ones in row order.

        Args:
            query: a unit vector, shape (D,), or zero, to which all rows are equally near.
            n: how many rows at most.
            allowed: which rows may be returned, shape (N,); all where None.

        Raises:
            ValueError: The query is not finite.
        """
        if not np.isfinite(query).all():
            raise ValueError("the query's embedding is not finite")
        rows = None if allowed is None else np.flatnonzero(allowed)
        n = min(n, len(self) if rows is None else len(rows))
        if n < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if not query.any():
            return (np.arange(n) if rows is None else rows[:n]), np.zeros(n, np.float32)
        rows = self._near(query, n, rows)
        found = self.cosines(query, rows)
        order = np.lexsort((rows, -found))[:n]
        return rows[order], found[order]

    def _near(self, query: NDArray[np.float32], n: int, rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return, in order, those of some rows (of all where None) that may be among the `n` nearest; at least `n`."""
        step = float(np.abs(query).max()) / 127.0
        rounded = np.rint(query / step).astype(np.int8)
        square = float(np.square(rounded, dtype=np.int64).sum())
        # how far an estimate may be off; the last term is for the float32 arithmetic of `cosines`
        error = float(np.linalg.norm(query - step * rounded)) + (len(query) + 8) * 2.0**-23
        least = -np.inf
        near, estimates = np.empty(0, np.int64), np.empty(0)
        for start in range(0, len(self) if rows is None else len(rows), _SCANNED_AT_ONCE):
            stop = start + _SCANNED_AT_ONCE
            some = slice(start, stop) if rows is None else rows[start:stop]
            squares = self._squares[some]
            products = (squares + square - _squared_distances(rounded, self.packed[some])) * (step / 2)
            new = products / self._lengths[some]
            kept = np.flatnonzero(new >= least - 2 * error)
            near = np.concatenate([near, kept + start])
            estimates = np.concatenate([estimates, new[kept]])
            if len(near) > n:
                # the n-th best cosine is at most one error below its estimate, that of a better row one above its own
                least = np.partition(estimates, len(near) - n)[len(near) - n]
                kept = estimates >= least - 2 * error
                near, estimates = near[kept], estimates[kept]
        return near if rows is None else rows[near]


def _squared_distances(row: NDArray[np.int8], rows: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the squared distances of rows, shape (N, D), to one row, shape (D,): whole numbers, exact."""
    if not rows.size:
        return np.zeros(len(rows))
    # dot products follow from these, and the library computes these in half the time of those
    found: NDArray[np.float64] = np.asarray(simsimd.cdist(row[None], rows, metric="sqeuclidean"), np.float64)[0]
    return found
