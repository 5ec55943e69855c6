"""Step 3 of 7, train: lists of the dev split as a cascade gets them, to measure, check and calibrate a ranker on.

The retriever that negatives are drawn by ranks the documents of the split for some of its queries; the ranker is asked
about the first of each. A list without the answer stays without: the retriever has missed it, and so has the cascade,
which the library's evaluator counts so only when told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

from dowse.errors import DataError
from dowse.train.corpus import Corpus, read_corpus
from dowse.train.rankings import freeze
from dowse.train.rows import RowOptions
from dowse.types import CorpusRanker

N_LISTS = 200
"""Queries asked: the standard error of their MRR is .03, and an int8 export answers about all of them in a minute."""

N_CANDIDATES = 20
"""Documents of each, as many as search hands to a ranker."""


_NOTHING = "nothing was found"
"""Stands in a list without documents, which the library does not take; it answers nothing, and nobody reads it."""


class JudgedList(NamedTuple):
    """A query's first documents by a retriever, best first, (K,), none where it found none; which answer it, (K,)."""

    query: str
    documents: list[str]
    is_relevant: NDArray[np.bool_]


def judged_lists(
    folder: Path, ranker: CorpusRanker, options: RowOptions, *, as_code: bool, split: str = "dev"
) -> list[JudgedList]:
    """Return lists of a split, an even sample of its queries; none where it has none.

    Args:
        folder: Labels or pairs.
        ranker: The retriever.
        options: How rows are read; all of the split's are.
        as_code: Documents are code alone.
        split: Whose.
    """
    try:
        corpus = read_corpus(folder, replace(options, split=split, max_queries=0))
    except DataError:
        return []
    asked = range(0, len(corpus), -(-len(corpus) // N_LISTS))
    queries = [corpus.rows.queries[row] for row in asked]
    ranking = freeze(ranker, queries, corpus.rows.documents, N_CANDIDATES)
    return [
        _judged(corpus, row, ranked[ranked >= 0], as_code) for row, ranked in zip(asked, ranking.documents, strict=True)
    ]


def evaluator_of(lists: Sequence[JudgedList]) -> CrossEncoderRerankingEvaluator | None:
    """Return the library's evaluator of a cascade over some lists, missed answers counted; None without lists."""
    if not lists:
        return None
    samples: list[dict[str, str | list[str]]] = [
        {
            "query": query,
            "documents": documents or [_NOTHING],
            "positive": [text for text, answers in zip(documents, is_relevant, strict=True) if answers] or [""],
        }
        for query, documents, is_relevant in lists
    ]
    return CrossEncoderRerankingEvaluator(
        samples, at_k=10, always_rerank_positives=False, name="dev", write_csv=False, show_progress_bar=False
    )


def _judged(corpus: Corpus, row: int, ranked: NDArray[np.int64], as_code: bool) -> JudgedList:
    texts = corpus.texts(ranked.tolist(), as_code)
    return JudgedList(corpus.rows.queries[row], texts, corpus.is_answer(row, ranked))
