"""Step 6 of 7, search: weights that turn the evidence for each candidate into one score and one order.

No weight is typed in: `benchmarks/fit_fusion.py` fits them and writes `weights.json`, one set for queries that name a
symbol and one for prose.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse.search.evidence import FEATURES, Candidates, Query, evidence


@dataclass(frozen=True, slots=True)
class Weights:
    """Fitted weights.

    Attributes:
        boosts: weight of body, symbol and path in BM25.
        features: one weight for each of FEATURES, by kind of query; shape (len(FEATURES),).
        repeat: taken off the score for each better hit of the same file, so that hits come from several files.
    """

    boosts: tuple[float, float, float]
    features: dict[str, NDArray[np.float32]]
    repeat: float


@cache
def fitted_weights() -> Weights:
    """Load the weights that ship."""
    kept = json.loads((Path(__file__).parent / "weights.json").read_text(encoding="utf-8"))
    features = {
        kind: np.array([weights[name] for name in FEATURES], np.float32) for kind, weights in kept["features"].items()
    }
    return Weights(tuple(kept["boosts"]), features, kept["repeat"])


def fuse(query: Query, candidates: Candidates, weights: Weights) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the order of the candidates, best first, and their scores in that order; equal ones by path and line."""
    scores = evidence(query, candidates) @ weights.features[query.kind]
    order = np.lexsort((candidates.ids, -scores))
    seen: dict[int, int] = {}
    repeats = np.zeros(len(order), np.float32)
    for position, at in enumerate(order):
        file = int(candidates.files[at])
        repeats[position] = seen.get(file, 0)
        seen[file] = seen.get(file, 0) + 1
    final = scores[order] - weights.repeat * repeats
    settled = np.argsort(-final, kind="stable")
    return order[settled], final[settled]
