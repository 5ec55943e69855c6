"""Step 2 of 7, label: candidates whose label is likely too low, by their similarity and by their structure.

After OASIS (Gao et al. 2025, arXiv:2503.08161). Threshold: two Gaussians are fitted to all measured labels; a
candidate beyond the point between their means where the densities cross, or beyond its own positive, is suspect.
Structure: a candidate whose tree edit distance to the positive (`dowse.label.trees`) is within a cut-off.

The densities are weighted by their components' shares, since that is where the likelier origin changes; unweighted is
a switch and lies lower, so it finds more. The fit sees a sample, drawn evenly over the whole run: 200,000 labels place
the crossing to about three digits.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError

try:
    from sklearn.mixture import GaussianMixture  # type: ignore[import-untyped]
except ImportError as error:
    raise MissingExtraError("dowse label", "data") from error

SAMPLED_LABELS = 200_000

MIN_LABELS = 50
"""Two Gaussians have five parameters; below ten labels each the crossing is chance."""

REASONS = ("threshold", "above positive", "ast")

AST_CUTOFF = 0.2
"""Of random pairs of one repository 0.3 % (long Python functions) to 4 % (short Java and Go ones) are as near."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Two Gaussians fitted to the measured labels, the lower one first, and where they cross.

    `threshold` is None where they do not cross between their means.
    """

    means: tuple[float, float]
    deviations: tuple[float, float]
    weights: tuple[float, float]
    is_weighted: bool
    threshold: float | None
    labels: int
    has_positives: bool = True
    """Whether positives were among the labels."""

    def densities(self, labels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return both components' weighted densities at N labels, shape (2, N)."""
        means, deviations, weights = (np.array(of)[:, None] for of in (self.means, self.deviations, self.weights))
        exponents = -((labels[None, :] - means) ** 2) / (2 * deviations**2)
        found: NDArray[np.float64] = weights * np.exp(exponents) / (deviations * math.sqrt(2 * math.pi))
        return found

    def as_record(self) -> dict[str, object]:
        """Return it as the manifest holds it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SuspectOptions:
    """Which strategies find suspects, and how far they go.

    Attributes:
        threshold: suspect labels beyond the crossing of the two Gaussians.
        above_positive: suspect labels above that of the query's own positive.
        weighted: let the Gaussians cross with their weights.
        ast_cutoff: suspect trees so near to the positive's, 0 to 1; 0 leaves trees out.
    """

    threshold: bool = True
    above_positive: bool = True
    weighted: bool = True
    ast_cutoff: float = AST_CUTOFF


class Reservoir:
    """An even sample of a stream of labels, of bounded size, the same for the same stream and seed."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._chance = np.random.default_rng(seed)
        self._keys = np.empty(0)
        self._labels = np.empty(0)

    def add(self, labels: NDArray[np.float32]) -> None:
        """Take note of the next N labels."""
        self._keys = np.concatenate([self._keys, self._chance.random(len(labels))])
        self._labels = np.concatenate([self._labels, labels.astype(np.float64)])
        if len(self._keys) > self._size:
            kept = np.argpartition(self._keys, self._size)[: self._size]
            self._keys, self._labels = self._keys[kept], self._labels[kept]

    @property
    def labels(self) -> NDArray[np.float64]:
        """The sample so far."""
        return self._labels


def fit_mixture(labels: NDArray[np.float64], weighted: bool, seed: int, has_positives: bool = True) -> Mixture | None:
    """Fit two Gaussians to labels; None where there are too few, or too few different ones."""
    if len(labels) < MIN_LABELS or len(np.unique(labels)) < MIN_LABELS // 2:
        return None
    fitted = GaussianMixture(2, random_state=seed, n_init=3).fit(labels[:, None])
    order = np.argsort(fitted.means_[:, 0])
    means = (float(fitted.means_[order[0], 0]), float(fitted.means_[order[1], 0]))
    spread = np.sqrt(fitted.covariances_[order, 0, 0])
    deviations = (float(spread[0]), float(spread[1]))
    weights = (float(fitted.weights_[order[0]]), float(fitted.weights_[order[1]]))
    threshold = crossing(means, deviations, weights if weighted else (0.5, 0.5))
    return Mixture(means, deviations, weights, weighted, threshold, len(labels), has_positives)


def crossing(means: tuple[float, float], deviations: tuple[float, float], weights: tuple[float, float]) -> float | None:
    """Return the point between the means where two weighted normal densities are equal, None where there is none.

    The logarithms of the densities are equal where a x² + b x + c = 0 with
        a = 1 / (2 s1²) − 1 / (2 s2²)
        b = m2 / s2² − m1 / s1²
        c = m1² / (2 s1²) − m2² / (2 s2²) − ln(w1 s2 / (w2 s1))
    for means m, deviations s and weights w; a is 0 where the deviations are equal.

    >>> crossing((0.4, 0.8), (0.1, 0.1), (0.5, 0.5))
    0.6
    """
    (m1, m2), (s1, s2), (w1, w2) = means, deviations, weights
    if not m1 < m2 or min(w1, w2, s1, s2) <= 0:
        return None
    a = 1 / (2 * s1**2) - 1 / (2 * s2**2)
    b = m2 / s2**2 - m1 / s1**2
    c = m1**2 / (2 * s1**2) - m2**2 / (2 * s2**2) - math.log(w1 * s2 / (w2 * s1))
    root = b * b - 4 * a * c
    if root < 0:
        return None
    # In this form neither solution loses its digits where a is small; one of them is the linear equation's for a = 0.
    half = -(b + math.copysign(math.sqrt(root), b)) / 2
    solutions = [c / half] if half else []
    solutions += [half / a] if a else []
    return next((round(x, 12) for x in solutions if m1 <= x <= m2), None)


def reasons_for(
    measured: NDArray[np.float32],
    positive: NDArray[np.float32],
    distance: NDArray[np.float32],
    threshold: float | None,
    options: SuspectOptions,
) -> NDArray[np.bool_]:
    """Return for N candidates which of `REASONS` make them suspect, shape (N, 3).

    Args:
        measured: Labels of the candidates, (N,).
        positive: Label of the positive of each candidate's query, (N,).
        distance: Tree edit distance to that positive, (N,), NaN where it is beyond any cut-off or not known.
        threshold: Where the mixture's components cross, if they do.
        options: Which strategies count.
    """
    found = np.zeros((len(measured), len(REASONS)), dtype=np.bool_)
    if options.threshold and threshold is not None:
        found[:, 0] = measured > np.float32(threshold)
    if options.above_positive:
        found[:, 1] = measured > positive
    if options.ast_cutoff > 0:
        found[:, 2] = distance <= np.float32(options.ast_cutoff)
    return found


def joined(found: NDArray[np.bool_]) -> list[str]:
    """Return each row of `reasons_for` in words.

    >>> joined(np.array([[True, False, True], [False, False, False]]))
    ['threshold, ast', '']
    """
    return [", ".join(reason for reason, holds in zip(REASONS, row, strict=True) if holds) for row in found]
