"""Step 4 of 7, evaluate: the cascade of R2PS: a ranker scores the retriever's first k anew, the rest keep their order.

Of a query, the ranker sees the k documents that the retriever put first; how their scores become one is said in
`models.cascade`, as in search. A positive that the retriever did not bring up among its first k is not helped: it stays
where it was, and counts as it stands there (Dong et al., arXiv:2305.04508). All k stay before the rest, whatever their
scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dowse.cluster import with_model
from dowse.errors import ConfigError
from dowse.evaluate.runs import Ranking, Run
from dowse.evaluate.tasks import Task
from dowse.models.cascade import REPLACE, Combination, cascaded, scaled, scored
from dowse.types import Ranker, StageProgress

N_CANDIDATES = 10
"""The paper's k: beyond it its figures hardly rise, and the time does."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a ranker said about the first k documents of each query, in the retriever's order, float32 of shape (k,)."""

    run: Run
    scores: dict[str, NDArray[np.float32]]

    def cascade(self, name: str, combination: Combination = REPLACE, k: int | None = None) -> Run:
        """Return the run with the first k of each query in their new order; all that were scored where k is None.

        The scores of a cascade order its own documents and are comparable with nothing: those below the first k are
        moved under the lowest of them.

        Raises:
            ConfigError: k is below 1.
        """
        if k is not None and k < 1:
            raise ConfigError(f"{k} documents for the ranker, expected at least 1; check --candidates")
        return Run(
            name,
            {
                query_id: _reordered(ranking, self.scores[query_id][:k], combination)
                for query_id, ranking in self.run.rankings.items()
            },
        )


def rescore(
    task: Task, run: Run, ranker: Ranker, n_candidates: int = N_CANDIDATES, *, told: StageProgress | None = None
) -> Scored:
    """Let a ranker score the first documents of each query.

    Raises:
        ConfigError: `n_candidates` is below 1.
        ModelError: The ranker gives another number of scores than it was given texts, or one that is no number.
    """
    if n_candidates < 1:
        raise ConfigError(f"{n_candidates} documents for the ranker, expected at least 1; check --candidates")
    texts = texts_for(ranker, task)
    asked = (
        (task.queries[query_id], [texts[key] for key in ranking.document_ids[:n_candidates]])
        for query_id, ranking in run.rankings.items()
    )
    scores: dict[str, NDArray[np.float32]] = {}
    for query_id, found in zip(run.rankings, with_model(ranker, _scores, asked), strict=True):
        scores[query_id] = found
        if told:
            told("ranking again", len(scores), len(run))
    return Scored(run, scores)


def texts_for(ranker: Ranker, task: Task) -> Mapping[str, str]:
    """Return the documents as a ranker was trained to read them: one of Dowse's says so, others read path and all."""
    return task.codes if getattr(ranker, "input", "enriched") == "code" else task.texts


def _scores(ranker: Ranker, asked: tuple[str, list[str]]) -> NDArray[np.float32]:
    return scored(ranker, *asked)


def k_curve(scored: Scored, ks: Sequence[int], combination: Combination = REPLACE) -> dict[int, Run]:
    """Return a cascade for each k: how much do more candidates bring?"""
    return {k: scored.cascade(f"{scored.run.name}, k={k}", combination, k) for k in ks}


def _reordered(ranking: Ranking, scores: NDArray[np.float32], combination: Combination) -> Ranking:
    order, combined = cascaded(scaled(ranking.scores, len(scores)), scores, combination)
    return Ranking([ranking.document_ids[at] for at in order.tolist()], combined)
