"""Step 4 of 7, evaluate: exact search: the best documents by dot product, every document compared, in blocks.

Nothing is approximated, so that a figure is the model's and not an index's. Of documents with equal scores those with
the later document_id come first, as in trec_eval; the best `depth` are therefore the same on every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dowse.evaluate.runs import Ranking
from dowse.types import Embeddings

_SCORES_AT_ONCE = 1 << 24
"""Scores in memory: 64 MB. Larger blocks were no faster."""


class ExactIndex:
    """N documents, their ids and embeddings."""

    def __init__(self, document_ids: Sequence[str], embeddings: Embeddings) -> None:
        """Take N ids and their embeddings, float32 of shape (N, D)."""
        order = sorted(range(len(document_ids)), key=document_ids.__getitem__, reverse=True)
        self._ids = [document_ids[at] for at in order]
        self._embeddings = np.ascontiguousarray(embeddings[order])
        self._place = {document_id: at for at, document_id in enumerate(self._ids)}

    def rank(self, queries: Embeddings, depth: int, excluded: Sequence[str | None] = ()) -> Iterator[Ranking]:
        """Yield the best `depth` documents of each query, shape (Q, D), in the order of the queries.

        Args:
            excluded: For each query a document that is left out, or None; none where this is empty.
        """
        at_once = max(1, _SCORES_AT_ONCE // max(1, len(self._ids)))
        for start in range(0, len(queries), at_once):
            scores = queries[start : start + at_once] @ self._embeddings.T
            for row, own in zip(scores, excluded[start : start + at_once] or [None] * len(scores), strict=True):
                if own is not None and own in self._place:
                    row[self._place[own]] = -np.inf
            for row, best in zip(scores, best_of(scores, depth), strict=True):
                kept = best[np.isfinite(row[best])]
                yield Ranking([self._ids[at] for at in kept.tolist()], row[kept])


def best_of(scores: NDArray[np.float32], k: int) -> Iterator[NDArray[np.int64]]:
    """Yield, for each row of scores (Q, N), the positions of the best k, best first, of equal ones the first."""
    n = scores.shape[1]
    if k >= n:
        yield from np.argsort(-scores, axis=1, kind="stable")
        return
    bounds = np.partition(scores, n - k, axis=1)[:, n - k]
    for row, bound in zip(scores, bounds, strict=True):
        at_least = np.flatnonzero(row >= bound)  # more than k where scores are equal to the last
        yield at_least[np.argsort(-row[at_least], kind="stable")[:k]]
