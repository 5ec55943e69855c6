"""Step 4 of 7, evaluate: how long one query takes: embedding it, comparing it with every document, ranking again.

Queries are asked singly, as people ask them, after a first one that warms up. What a comparison costs depends on how
many documents there are and not on what they are, so it is timed on random embeddings of their number and length.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from statistics import median

import numpy as np

from dowse.evaluate.cascade import N_CANDIDATES, texts_for
from dowse.evaluate.runs import Run
from dowse.evaluate.tasks import Task
from dowse.models.ranking import best_of_rows
from dowse.types import Encoder, Ranker

N_QUERIES = 20
"""Queries that are timed; the median of fewer would be the machine's mood."""


def retriever_ms(task: Task, encoder: Encoder) -> float:
    """Return the median milliseconds of a query: embedding it and ranking all documents."""
    chance = np.random.default_rng(0)
    documents = chance.standard_normal((len(task.corpus), encoder.dimensions), dtype=np.float32)

    def ask(query_id: str) -> None:
        best_of_rows(encoder.encode_queries([task.queries[query_id]]) @ documents.T, task.depth)

    return _median_ms(task, ask)


def ranker_ms(task: Task, ranker: Ranker, run: Run, n_candidates: int = N_CANDIDATES) -> float:
    """Return the median milliseconds that a ranker takes for a query's candidates, the first in a run."""
    texts = texts_for(ranker, task)

    def ask(query_id: str) -> None:
        first = run.rankings[query_id].document_ids[:n_candidates]
        ranker.score(task.queries[query_id], [texts[key] for key in first])

    return _median_ms(task, ask)


def _median_ms(task: Task, ask: Callable[[str], None]) -> float:
    asked = list(islice(task.queries, N_QUERIES))
    ask(asked[0])
    taken = []
    for query_id in asked:
        start = time.perf_counter()
        ask(query_id)
        taken.append(1000 * (time.perf_counter() - start))
    return median(taken)
