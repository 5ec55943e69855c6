"""Step 6 of 7, search: weights that turn the evidence for each candidate into one score and one order.

No weight is typed in: `benchmarks/fit_fusion.py` fits them and writes `weights.json`, one set for each stage, and in
it one for queries that name a symbol and one for prose. They are fitted on questions that ask for files; which document
of a file speaks for it has weights of its own (`benchmarks/fit_documents.py`). What an order holds, `Found`, the later
stages hand on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dowse.search.evidence import FEATURES, RETRIEVER_FEATURES, Candidates, Query, evidence


@dataclass(frozen=True, slots=True)
class Weights:
    """Fitted weights of one stage.

    Attributes:
        boosts: weight of body, symbol and path in BM25, the same for all stages.
        features: one weight for each feature, by kind of query; shape (F,), of `FEATURES` for the first stage and
            `RETRIEVER_FEATURES` for the second.
        repeat: taken off the score for each better hit of the same file, so that hits come from several files.
        within: weights of the same features, (F,), that put the documents of one file in order where prose is asked
            for; None where their scores do.
    """

    boosts: tuple[float, float, float]
    features: dict[str, NDArray[np.float32]]
    repeat: float
    within: NDArray[np.float32] | None = None


@cache
def fitted_weights(stage: str = "instant") -> Weights:
    """Load the weights that ship for a stage, "instant" or "retriever"."""
    kept = json.loads((Path(__file__).parent / "weights.json").read_text(encoding="utf-8"))
    names = FEATURES if stage == "instant" else RETRIEVER_FEATURES
    features = {
        kind: np.array([weights[name] for name in names], np.float32)
        for kind, weights in kept["stages"][stage]["features"].items()
    }
    within = np.array([kept["within"].get(name, 0.0) for name in names], np.float32)
    return Weights(tuple(kept["boosts"]), features, kept["stages"][stage]["repeat"], within)


def score(question: Query, candidates: Candidates, weights: Weights) -> NDArray[np.float32]:
    """Return the score of each candidate by itself, shape (n,), higher is better.

    A file has the scores that all evidence gives its documents; which of these has which is for `within` to say.
    """
    features = evidence(question, candidates)
    scores: NDArray[np.float32] = features @ weights.features[question.kind]
    if weights.within is None or question.kind == "symbol":
        return scores
    return ordered_within(scores, features @ weights.within, candidates.files)


def ordered_within(
    scores: NDArray[np.float32], own: NDArray[np.float32], files: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the scores with those of each file given to its documents in the order of their own, equal ones as before.

    >>> scores, own = np.array([3.0, 1.0, 2.0, 9.0], np.float32), np.array([0.0, 1.0, 5.0, 0.0], np.float32)
    >>> ordered_within(scores, own, np.array([7, 7, 7, 8])).tolist()
    [1.0, 2.0, 3.0, 9.0]
    """
    given = np.empty_like(scores)
    given[np.lexsort((-scores, -own, files))] = scores[np.lexsort((-scores, files))]
    return given


def earlier(values: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return, for each of n values, how often it stood before; shape (n,).

    >>> earlier(np.array([7, 3, 7, 7])).tolist()
    [0.0, 0.0, 1.0, 2.0]
    """
    together = np.argsort(values, kind="stable")
    grouped = values[together]
    first = np.searchsorted(grouped, grouped)
    counts = np.empty(len(values), np.float32)
    counts[together] = np.arange(len(values)) - first
    return counts


def settle(
    candidates: Candidates, scores: NDArray[np.float32], weights: Weights
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the order of the candidates, best first, and their scores in that order; equal ones by root and id.

    Here a file that was named already steps back.
    """
    order = np.lexsort((candidates.ids, candidates.roots, -scores))
    final = scores[order] - weights.repeat * earlier(candidates.files[order])
    settled = np.argsort(-final, kind="stable")
    return order[settled], final[settled]


class Found(NamedTuple):
    """A document that was found: its root's number, its id there, its score, and what the ranker says of it."""

    root: int
    id: int
    score: float
    probability: float | None = None

    @property
    def place(self) -> tuple[int, int]:
        """The root's number and the id."""
        return self.root, self.id


def found_in(candidates: Candidates, order: NDArray[np.int64], scores: NDArray[np.float32]) -> Iterator[Found]:
    """Iterate over candidates in an order; of some hundreds, a page takes ten."""
    places = zip(candidates.roots[order].tolist(), candidates.ids[order].tolist(), scores.tolist(), strict=True)
    return starmap(Found, places)
