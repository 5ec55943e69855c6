"""Step 4 of 7, evaluate: two runs on the same questions: which is better, how sure is that, and where do they differ?

Per metric: the mean difference with its bootstrap interval, two paired tests, wins and losses. Per query: those that
moved most, with both runs' hits side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dowse.evaluate.harness import METRICS, score
from dowse.evaluate.resampling import Difference, difference
from dowse.evaluate.runs import Run
from dowse.evaluate.tasks import Task

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of two runs: both means, what the second is better by, and the queries it wins and loses."""

    metric: str
    first: float
    second: float
    difference: Difference
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True, slots=True)
class Moved:
    """One query that scores differently: its values, and the first document_ids of both runs."""

    query_id: str
    query: str
    first: float
    second: float
    relevant: tuple[str, ...]
    first_hits: tuple[str, ...]
    second_hits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on a task; `moved` is by the first metric, what the second lost before what it won."""

    task: str
    runs: tuple[str, str]
    n_queries: int
    metrics: tuple[Compared, ...]
    moved: tuple[Moved, ...]


def compare(
    task: Task,
    first: Run,
    second: Run,
    metrics: Sequence[str] = METRICS,
    *,
    n_moved: int = 10,
    n_hits: int = 5,
    seed: int = 0,
) -> Comparison:
    """Compare two runs on the queries of a task; a query that a run does not answer scores 0 there.

    Args:
        n_moved: How many of the queries that lost most, and as many of those that won most, are shown.
        n_hits: Hits of each that are shown.
        seed: Where the tests' chance begins.

    Raises:
        ConfigError: A metric is not known.
        MissingExtraError: ir-measures or scipy is not installed.
    """
    values = [score(task.qrels, run, metrics) for run in (first, second)]
    rows = tuple(_compared(name, values[0][name], values[1][name], task, seed) for name in metrics)
    before, after = values[0][metrics[0]], values[1][metrics[0]]
    apart = sorted((after[query_id] - before[query_id], query_id) for query_id in task.queries)
    lost = [query_id for change, query_id in apart[:n_moved] if change < -_SAME]
    won = [query_id for change, query_id in reversed(apart[-n_moved:] if n_moved else []) if change > _SAME]
    moved = tuple(
        Moved(
            query_id,
            task.queries[query_id],
            before[query_id],
            after[query_id],
            tuple(key for key, relevance in task.qrels[query_id].items() if relevance > 0),
            _hits(first, query_id, n_hits),
            _hits(second, query_id, n_hits),
        )
        for query_id in lost + won
    )
    return Comparison(task.name, (first.name, second.name), len(task.queries), rows, moved)


def _compared(name: str, first: Mapping[str, float], second: Mapping[str, float], task: Task, seed: int) -> Compared:
    before = np.array([first[query_id] for query_id in task.queries])
    after = np.array([second[query_id] for query_id in task.queries])
    apart = after - before
    wins, losses = int((apart > _SAME).sum()), int((apart < -_SAME).sum())
    found = difference(before, after, seed)
    return Compared(name, float(before.mean()), float(after.mean()), found, wins, losses, len(apart) - wins - losses)


def _hits(run: Run, query_id: str, n: int) -> tuple[str, ...]:
    return tuple(run.rankings[query_id].document_ids[:n]) if query_id in run.rankings else ()
