"""Step 4 of 7, evaluate: the cascade of R2PS: a ranker scores the retriever's first k anew, the rest keep their order.

Of a query, the ranker sees the k documents that the retriever put first. Their new score is the ranker's (`replace`),
or the mean of both (`average`, which the paper used on CoSQA), or a mixture

    score = alpha * ranker + (1 - alpha) * retriever.

A positive that the retriever did not bring up among its first k is not helped: it stays where it was, and counts as it
stands there (Dong et al., arXiv:2305.04508). All k stay before the rest, whatever their scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dowse.errors import ConfigError, ModelError
from dowse.evaluate.harness import Told
from dowse.evaluate.runs import Ranking, Run
from dowse.evaluate.tasks import Task
from dowse.types import Ranker

N_CANDIDATES = 10
"""The paper's k: beyond it its figures hardly rise, and the time does."""


@dataclass(frozen=True, slots=True)
class Combination:
    """How the two scores become one: `alpha` is the ranker's share.

    Raises:
        ConfigError: alpha is not within 0 to 1.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"the ranker's share is {self.alpha}, expected 0 to 1; check --combine")

    @classmethod
    def named(cls, said: str) -> Combination:
        """Return the combination that a user names: replace, average, or the ranker's share.

        >>> Combination.named("average"), Combination.named("0.8")
        (Combination(alpha=0.5), Combination(alpha=0.8))
        """
        try:
            return cls({"replace": 1.0, "average": 0.5}[said] if said in ("replace", "average") else float(said))
        except ValueError:
            raise ConfigError(f"--combine is {said!r}, expected replace, average or a number from 0 to 1") from None

    def of(self, retriever: NDArray[np.float32], ranker: NDArray[np.float32]) -> NDArray[np.float32]:
        """Combine two score arrays of shape (K,)."""
        mixed: NDArray[np.float32] = self.alpha * ranker + (1 - self.alpha) * retriever
        return mixed.astype(np.float32)


REPLACE, AVERAGE = Combination(1.0), Combination(0.5)


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
    task: Task, run: Run, ranker: Ranker, n_candidates: int = N_CANDIDATES, *, told: Told | None = None
) -> Scored:
    """Let a ranker score the first documents of each query.

    Raises:
        ConfigError: `n_candidates` is below 1.
        ModelError: The ranker gives another number of scores than it was given texts, or one that is no number.
    """
    if n_candidates < 1:
        raise ConfigError(f"{n_candidates} documents for the ranker, expected at least 1; check --candidates")
    texts = task.texts
    scores: dict[str, NDArray[np.float32]] = {}
    for query_id, ranking in run.rankings.items():
        first = ranking.document_ids[:n_candidates]
        scores[query_id] = _scored(ranker, task.queries[query_id], [texts[key] for key in first])
        if told:
            told("ranking again", len(scores), len(run))
    return Scored(run, scores)


def k_curve(scored: Scored, ks: Sequence[int], combination: Combination = REPLACE) -> dict[int, Run]:
    """Return a cascade for each k: how much do more candidates bring?"""
    return {k: scored.cascade(f"{scored.run.name}, k={k}", combination, k) for k in ks}


def _scored(ranker: Ranker, query: str, texts: list[str]) -> NDArray[np.float32]:
    if not texts:
        return np.zeros(0, np.float32)
    found = np.asarray(ranker.score(query, texts), np.float32)
    if found.shape != (len(texts),) or not all(map(math.isfinite, found.tolist())):
        raise ModelError(
            f"the ranker answered {len(texts)} texts with {found.shape} scores, expected as many finite ones; retrain "
            "it with: dowse train ranker"
        )
    return found


def _reordered(ranking: Ranking, scores: NDArray[np.float32], combination: Combination) -> Ranking:
    k = len(scores)
    first = combination.of(ranking.scores[:k], scores)
    order = np.argsort(-first, kind="stable")  # of equal scores, the retriever's order stays
    rest = ranking.scores[k:]
    if k and rest.size:
        rest = rest - (rest[0] - first[order[-1]]) - np.float32(1)
    ids = [ranking.document_ids[at] for at in order.tolist()] + list(ranking.document_ids[k:])
    return Ranking(ids, np.concatenate([first[order], rest]).astype(np.float32))
