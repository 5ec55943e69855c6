"""Step 4 of 7, evaluate: BM25, the baseline of every table: words shared, rare ones counting more.

Words fall apart as in Dowse's own index (`dowse.languages.identifiers`): `getUserName` answers to "user name". k1 and b
are the library's usual 1.5 and 0.75; nothing is tuned.
"""

from __future__ import annotations

import numpy as np

from dowse.errors import MissingExtraError
from dowse.evaluate.harness import Told
from dowse.evaluate.runs import Ranking, Run
from dowse.evaluate.tasks import Task
from dowse.languages.identifiers import unstemmed_terms
from dowse.models.ranking import best_of_rows

K1, B = 1.5, 0.75


def evaluate_bm25(task: Task, *, told: Told | None = None) -> Run:
    """Rank a task's documents by BM25; those that share no word with a query stay unranked.

    Raises:
        MissingExtraError: bm25s is not installed.
    """
    try:
        import bm25s  # type: ignore[import-untyped]  # ships no types
    except ImportError as error:
        raise MissingExtraError("the baseline bm25", "evaluate") from error
    texts = task.texts
    rankings: dict[str, Ranking] = {}
    for pool, query_ids in task.by_pool():
        members = sorted(pool, reverse=True)
        index = bm25s.BM25(k1=K1, b=B)
        index.index([unstemmed_terms(texts[document_id]) or [""] for document_id in members], show_progress=False)
        for query_id in query_ids:
            asked = [term for term in unstemmed_terms(task.queries[query_id]) if term in index.vocab_dict]
            scores = index.get_scores(asked) if asked else np.zeros(len(members), np.float32)
            if query_id in task.excluded:
                scores[[at for at, key in enumerate(members) if key == task.excluded[query_id]]] = 0
            [best], [found] = best_of_rows(scores[None].astype(np.float32), task.depth)
            shares_a_word = found > 0
            rankings[query_id] = Ranking([members[at] for at in best[shares_a_word].tolist()], found[shares_a_word])
            if told:
                told("ranking by BM25", len(rankings), len(task.queries))
    return Run("bm25", {query_id: rankings[query_id] for query_id in task.queries})
