"""Step 3 of 7, train: a ranker's scores for judged pairs → the probability that a document answers a query.

P(relevant) = 1 / (1 + exp(-(slope * score + offset))), fitted by logistic regression (Platt 1999) on documents that a
retriever brought up. It says what a score is worth among such candidates, and so when nothing answers; the order of
documents is the ranker's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from dowse.errors import ModelError

_BINS = 10
"""Of probabilities, equally wide, in which what was said is held against what was so."""

_PRIOR = 100.0
"""How weakly the slope is held back: enough to keep it finite where answers and others do not overlap."""

_LEAST_SLOPE = 1e-3
"""Of a ranker that tells nothing apart. Its probabilities are then nearly one and the same, and its order still its."""


class Calibration(NamedTuple):
    """Turns a score into a probability."""

    slope: float
    offset: float


def calibrate(scores: NDArray[np.float64], is_relevant: NDArray[np.bool_]) -> Calibration:
    """Fit a calibration on N judged scores, (N,) each.

    Raises:
        ModelError: A score is no number, or all documents are relevant, or none is.
    """
    if not np.isfinite(scores).all():
        raise ModelError(
            f"the ranker's score is no number for {int((~np.isfinite(scores)).sum())} of {len(scores)} documents, "
            "expected finite ones to calibrate it on; train it again at a lower learning rate"
        )
    n_relevant = int(is_relevant.sum())
    if not 0 < n_relevant < len(scores):
        raise ModelError(
            f"{n_relevant} of {len(scores)} documents answer their query, expected some of both kinds to calibrate a "
            "ranker on; mine more repositories for the dev split, or name a better --retriever"
        )
    fitted = LogisticRegression(C=_PRIOR).fit(scores[:, None], is_relevant)
    slope = float(fitted.coef_[0, 0])
    if slope >= _LEAST_SLOPE:
        return Calibration(slope, float(fitted.intercept_[0]))
    rate = n_relevant / len(scores)
    return Calibration(_LEAST_SLOPE, float(np.log(rate / (1 - rate)) - _LEAST_SLOPE * scores.mean()))


def calibration_error(
    scores: Sequence[NDArray[np.float64]], is_relevant: Sequence[NDArray[np.bool_]]
) -> dict[str, float]:
    """Return how far off probabilities are that were fitted on every other list, on the lists between.

    Args:
        scores: Of each list, (K,).
        is_relevant: Which documents of it answer, (K,).

    Returns:
        "lists" and "documents" held out; "brier", the mean squared error of the probabilities; "brier of the rate",
        that of the share of relevant documents as the probability of each; "expected_calibration_error", the mean gap
        between what is said and what is so in ten equally wide bins, weighted by their documents. Nothing where one
        half of the lists allows no calibration.
    """
    try:
        fitted = calibrate(np.concatenate(scores[::2]), np.concatenate(is_relevant[::2]))
        held, so = np.concatenate(scores[1::2]), np.concatenate(is_relevant[1::2]).astype(np.float64)
    except (ModelError, ValueError):  # of one kind alone, or no list at all
        return {}
    said = 1 / (1 + np.exp(-(fitted.slope * held + fitted.offset)))
    bins = np.minimum((said * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.abs(np.bincount(bins, said - so, _BINS))
    rate = float(np.concatenate(is_relevant[::2]).mean())
    return {
        "lists": len(scores[1::2]),
        "documents": len(held),
        "brier": round(float(np.mean((said - so) ** 2)), 5),
        "brier of the rate": round(float(np.mean((rate - so) ** 2)), 5),
        "expected_calibration_error": round(float(gaps.sum() / len(held)), 5),
    }
