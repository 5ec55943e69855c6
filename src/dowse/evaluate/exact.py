"""Step 4 of 7, evaluate: exact search: the best documents by dot product, every document compared, in blocks.

Nothing is approximated, so that a figure is the model's and not an index's. Of documents with equal scores those with
the later document_id come first, as in trec_eval; the best `depth` are therefore the same on every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dowse.errors import ModelError
from dowse.evaluate.runs import Ranking
from dowse.models.ranking import best_of_rows
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
        self._place: dict[str | None, int] = {document_id: at for at, document_id in enumerate(self._ids)}

    def rank(self, queries: Embeddings, depth: int, excluded: Sequence[str | None] = ()) -> Iterator[Ranking]:
        """Yield the best `depth` documents of each query, shape (Q, D), in the order of the queries.

        Args:
            excluded: For each query a document that is left out, or None; none where this is empty.

        Raises:
            ModelError: A score is no number.
        """
        at_once = max(1, _SCORES_AT_ONCE // max(1, len(self._ids)))
        for start in range(0, len(queries), at_once):
            scores = queries[start : start + at_once] @ self._embeddings.T
            own = excluded[start : start + at_once] or [None] * len(scores)
            left_out = [self._place.get(document_id, -1) for document_id in own]
            for row, place in zip(scores, left_out, strict=True):
                if place >= 0:
                    row[place] = -np.inf  # the last, so that it takes no other's rank
            for best, found, place in zip(*best_of_rows(scores, depth), left_out, strict=True):
                kept = best != place
                if (faulty := kept & ~np.isfinite(found)).any():
                    raise ModelError(
                        f"the retriever's score of document {self._ids[best[faulty][0]]} is {found[faulty][0]}, "
                        "expected a number; train it again, or name another with --retriever"
                    )
                yield Ranking([self._ids[at] for at in best[kept].tolist()], found[kept])
