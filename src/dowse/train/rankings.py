"""Step 3 of 7, train: a frozen ranking of the training corpus, which a ranker's hard negatives are drawn from.

The retriever that ranks is never trained here. It may be dense (`dowse.models.ranking`), lexical (BM25) or anything
else that is handed in, such as Dowse's own search. What it said is kept beside the checkpoints, so that a run that is
continued draws from the very same ranking and embeds nothing again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse.errors import ModelError
from dowse.models.bm25 import BM25, K1, B, bm25s
from dowse.models.ranking import Ranked, best_of_rows
from dowse.records import appearing
from dowse.types import CorpusRanker


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best K documents of each of Q queries.

    Attributes:
        documents: (Q, K) int64, best first; -1 where there are no more.
        scores: (Q, K) float32, finite where there is a document.
    """

    documents: NDArray[np.int64]
    scores: NDArray[np.float32]


class LexicalRanking:
    """Ranks by BM25 over the parts of identifiers; satisfies `dowse.types.CorpusRanker`."""

    fingerprint = f"bm25 k1={K1} b={B}"

    def __init__(self) -> None:
        """Look for the library before the corpus is read.

        Raises:
            MissingExtraError: bm25s is not installed.
        """
        bm25s()

    def rank(self, queries: Sequence[str], documents: Sequence[str], depth: int) -> Ranked:
        """Return the best documents of each query, (Q, K), and their scores, (Q, K); none without a common word."""
        index = BM25(documents)
        ids, scores = [], []
        for query in queries:
            best, found = best_of_rows(index.scores(query)[None], depth)
            ids.append(np.where(found > 0, best, -1))
            scores.append(found)
        return np.concatenate(ids), np.concatenate(scores)


def freeze(
    ranker: CorpusRanker, queries: Sequence[str], documents: Sequence[str], depth: int, kept: Path | None = None
) -> Ranking:
    """Rank a corpus for its queries.

    Args:
        ranker: The retriever.
        queries: Q texts.
        documents: N texts.
        depth: Ranks that are kept; all N where there are fewer.
        kept: A file for the ranking. One of the same texts and retriever is read instead of ranking again.

    Raises:
        ModelError: A score is no number, or the ranking is not one of these documents.
    """
    depth = min(depth, len(documents))
    stated = hashlib.sha256(
        json.dumps([ranker.fingerprint, depth, list(queries), list(documents)]).encode()
    ).hexdigest()
    if kept and kept.is_file():
        with np.load(kept) as stored:
            if str(stored["stated"]) == stated:
                return Ranking(stored["documents"], stored["scores"])
    ids, scores = ranker.rank(queries, documents, depth)
    if ids.shape != scores.shape or len(ids) != len(queries) or ids.min() < -1 or ids.max() >= len(documents):
        raise ModelError(
            f"the retriever ranked {ids.shape} of {len(documents)} documents for {len(queries)} queries, expected "
            "their positions, best first; check --retriever"
        )
    faulty = ~np.isfinite(scores) & (ids >= 0)
    if faulty.any():
        row = int(faulty.any(axis=1).argmax())
        raise ModelError(
            f"the retriever's score for query {queries[row][:60]!r} is {scores[row][faulty[row]][0]}, expected a "
            "number; train it again, or name another with --retriever"
        )
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        # The processes that torchrun starts all write here.
        with appearing(kept) as scratch, scratch.open("wb") as file:
            np.savez(file, documents=ids, scores=scores, stated=np.array(stated))
    return Ranking(ids, scores)
