"""Step 3 of 7, train: a ranker's scores for judged pairs → the probability that a document answers a query.

P(relevant) = 1 / (1 + exp(-(slope * score + offset))), fitted by logistic regression (Platt 1999) on documents that a
retriever brought up. It says what a score is worth among such candidates, and so when nothing answers; the order of
documents is the ranker's own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from dowse.errors import ModelError

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
