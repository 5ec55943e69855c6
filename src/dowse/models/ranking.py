"""Models: a corpus ranked by the cosines of an encoder, every document compared. Used by label, train and evaluate.

Hard candidates and hard negatives are drawn from such a ranking. Of documents with equal scores the first come first,
at the last rank that is kept too, so that what is drawn does not depend on how a library sorts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dowse.types import Encoder

_QUERIES_AT_ONCE = 256
_TEXTS_AT_ONCE = 1024

Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]


class DenseRanking:
    """Ranks by the cosine of an encoder's embeddings; satisfies `dowse.types.CorpusRanker`."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.fingerprint = encoder.fingerprint

    def rank(self, queries: Sequence[str], documents: Sequence[str], depth: int) -> Ranked:
        """Return the best documents of each query, (Q, K), and their cosines, (Q, K)."""
        encode = self._encoder.encode_documents
        embedded = np.concatenate([encode(some) for some in _slices(documents, _TEXTS_AT_ONCE)])
        asked = (self._encoder.encode_queries(some) for some in _slices(queries, _QUERIES_AT_ONCE))
        found = [best_of_rows(rows @ embedded.T, depth) for rows in asked]
        return np.concatenate([ids for ids, _ in found]), np.concatenate([scores for _, scores in found])


def best_of_rows(scores: NDArray[np.float32], depth: int) -> Ranked:
    """Return the positions of the best of each row, (Q, K), best first, of equal ones the first, and their scores.

    NaN counts as the best, so that a faulty score is seen and not sorted away: whoever looks at what is returned has
    looked at all of them.
    """
    ordered = -scores
    ordered[np.isnan(ordered)] = -np.inf
    kept = min(depth, scores.shape[1])
    if kept == scores.shape[1]:
        ids = np.argsort(ordered, axis=1, kind="stable")
    else:
        ids = np.empty((len(scores), kept), np.int64)
        bounds = np.partition(ordered, kept - 1, axis=1)[:, kept - 1]
        for best, row, bound in zip(ids, ordered, bounds, strict=True):
            at_most = np.flatnonzero(row <= bound)  # more than are kept where scores are equal to the last
            best[:] = at_most[np.argsort(row[at_most], kind="stable")[:kept]]
    return ids, np.take_along_axis(scores, ids, 1)


def _slices(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]
