"""Models: the cascade of R2PS: a ranker scores the first k of a ranking anew, the rest keep their order behind them.

Used by search and by evaluation. The new score is the ranker's (`replace`), or the mean of both (`average`, which the
paper used on CoSQA), or a mixture (Dong et al., arXiv:2305.04508)

    score = alpha * ranker + (1 - alpha) * retriever.

Departs from the paper: the retriever's score is not mixed as it is but scaled to 0 for the last of the k and 1 for the
first (`scaled`), so that a share means the same whatever ranks: a cosine, or the evidence of search, which has no
bounds. The ranker's is a probability where it was exported, and within -1 and 1 where it was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dowse.errors import ConfigError, ModelError
from dowse.types import Ranker


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
            raise ConfigError(
                f"the ranker's share is {self.alpha}, expected 0 to 1; correct --combine or [search] combine"
            )

    @classmethod
    def named(cls, said: str) -> Combination:
        """Return the combination that a user names: replace, average, or the ranker's share.

        >>> Combination.named("average"), Combination.named("0.8")
        (Combination(alpha=0.5), Combination(alpha=0.8))

        Raises:
            ConfigError: It is none of these.
        """
        try:
            return cls({"replace": 1.0, "average": 0.5}[said] if said in ("replace", "average") else float(said))
        except ValueError:
            raise ConfigError(
                f"combine is {said!r}, expected replace, average or a number from 0 to 1; correct --combine or "
                "[search] combine"
            ) from None

    def of(self, retriever: NDArray[np.float32], ranker: NDArray[np.float32]) -> NDArray[np.float32]:
        """Combine two score arrays of shape (K,), the retriever's being `scaled`."""
        mixed: NDArray[np.float32] = self.alpha * ranker + (1 - self.alpha) * retriever
        return mixed.astype(np.float32)


REPLACE, AVERAGE = Combination(1.0), Combination(0.5)


def scored(ranker: Ranker, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return a ranker's scores of N texts, float32 of shape (N,); a ranker is not asked about none.

    Raises:
        ModelError: The ranker gives another number of scores than it was given texts, or one that is no number.
    """
    if not texts:
        return np.zeros(0, np.float32)
    found = np.asarray(ranker.score(query, texts), np.float32)
    if found.shape != (len(texts),) or not np.isfinite(found).all():
        raise ModelError(
            f"the ranker answered {len(texts)} texts with {found.shape} scores, expected as many finite ones; retrain "
            "it with: dowse train ranker"
        )
    return found


def scaled(scores: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return scores, which never rise, so that the first is 1 and the n-th 0; all n are 0 where they are equal."""
    if not n:
        return scores
    low, high = scores[n - 1], scores[0]
    between: NDArray[np.float32] = (scores - low) / (high - low if high > low else np.float32(1))
    return between


def cascaded(
    before: NDArray[np.float32], ranker: NDArray[np.float32], combination: Combination
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the positions of N documents in their new order, and their scores in it, float32; both of shape (N,).

    The scores order these documents and are comparable with nothing: those behind the first k are moved under the
    lowest of them, and of equal ones the retriever's order stays.

    Args:
        before: the retriever's scores, never rising, `scaled` over all that the ranker may read, shape (N,).
        ranker: the ranker's scores of the first k, shape (k,).
        combination: how both become one.
    """
    k = len(ranker)
    first = combination.of(before[:k], ranker)
    order = np.argsort(-first, kind="stable")
    rest = before[k:]
    if k and rest.size:
        rest = rest - (rest[0] - first[order[-1]]) - np.float32(1)
    positions = np.concatenate([order, np.arange(k, len(before))]).astype(np.int64)
    return positions, np.concatenate([first[order], rest]).astype(np.float32)
