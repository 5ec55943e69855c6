"""Step 4 of 7, evaluate: the baseline of every table, BM25, as a run of a task."""

from __future__ import annotations

from dowse.evaluate.runs import Ranking, Run
from dowse.evaluate.tasks import Task
from dowse.models.bm25 import BM25
from dowse.models.ranking import best_of_rows
from dowse.types import StageProgress


def evaluate_bm25(task: Task, *, told: StageProgress | None = None) -> Run:
    """Rank a task's documents by BM25; those that share no word with a query stay unranked.

    Raises:
        MissingExtraError: bm25s is not installed.
    """
    texts = task.texts
    rankings: dict[str, Ranking] = {}
    for pool, query_ids in task.by_pool():
        members = sorted(pool, reverse=True)
        index = BM25(texts[document_id] for document_id in members)
        for query_id in query_ids:
            scores = index.scores(task.queries[query_id])
            if query_id in task.excluded:
                scores[[at for at, key in enumerate(members) if key == task.excluded[query_id]]] = 0
            [best], [found] = best_of_rows(scores[None], task.depth)
            shares_a_word = found > 0
            rankings[query_id] = Ranking([members[at] for at in best[shares_a_word].tolist()], found[shares_a_word])
            if told:
                told("ranking by BM25", len(rankings), len(task.queries))
    return Run("bm25", {query_id: rankings[query_id] for query_id in task.queries})
