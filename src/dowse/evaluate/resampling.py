"""Step 4 of 7, evaluate: how sure a figure is: bootstrap intervals of a mean, and paired tests of two runs.

Queries are what is drawn anew: another sample of questions, the same models. All draws are seeded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError

CONFIDENCE = 0.95
RESAMPLES = 2_000
"""Enough for two digits of a 95 % interval, and for p-values down to 0.001."""

_VALUES_AT_ONCE = 1 << 23


class Mean(NamedTuple):
    """The mean of n queries and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


class Difference(NamedTuple):
    """A mean difference, its 95 % bootstrap interval, and the two-sided p-values of two tests."""

    value: float
    low: float
    high: float
    p_bootstrap: float
    p_permutation: float


def means(values: NDArray[np.float64], seed: int = 0) -> list[Mean]:
    """Return the mean of each row of (M, Q) over its Q queries, with its percentile bootstrap interval.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    n = values.shape[1]
    drawn = _bootstrap(values, seed)
    low, high = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=1)
    rows = zip(values.mean(axis=1).tolist(), low.tolist(), high.tolist(), strict=True)
    return [Mean(mean, bottom, top, n) for mean, bottom, top in rows]


def difference(first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0) -> Difference:
    """Compare two runs on the same Q queries, both of shape (Q,): the mean of `second` minus `first`.

    The bootstrap test asks how often resampled differences, moved to a mean of 0, are as far from it as the one found;
    the permutation test how often that happens when each query's two values change places at random.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.stats import permutation_test  # type: ignore[import-untyped]  # ships no types
    except ImportError as error:
        raise MissingExtraError("dowse compare", "evaluate") from error
    apart = second - first
    found = float(apart.mean())
    if not apart.any():
        return Difference(0.0, 0.0, 0.0, 1.0, 1.0)
    drawn = _bootstrap(apart[None], seed)[0]
    low, high = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    # The found sample counts as one of those drawn: a p-value is never 0.
    as_far = (np.abs(drawn - found) >= abs(found) - 1e-12).sum()
    permuted = permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(b - a, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _VALUES_AT_ONCE // len(first)),
        rng=np.random.default_rng(seed),
    )
    p_bootstrap = (int(as_far) + 1) / (RESAMPLES + 1)
    return Difference(found, float(low), float(high), p_bootstrap, float(permuted.pvalue))


def _bootstrap(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return `RESAMPLES` resampled means of each row of (M, Q), shape (M, RESAMPLES); rows share their draws."""
    chance = np.random.default_rng(seed)
    n_rows, n = values.shape
    drawn = np.empty((n_rows, RESAMPLES))
    at_once = max(1, _VALUES_AT_ONCE // n)
    for start in range(0, RESAMPLES, at_once):
        stop = min(start + at_once, RESAMPLES)
        # How often each query is drawn, times its value: a product of matrices, many times faster than picking values.
        times = np.stack([np.bincount(row, minlength=n) for row in chance.integers(0, n, (stop - start, n))])
        drawn[:, start:stop] = values @ times.T / n
    return drawn
