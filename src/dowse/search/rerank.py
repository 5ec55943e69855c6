"""Step 6 of 7, search: the ranker reads the best candidates together with the query, and their order is settled anew.

It reads a few at a time, best first, and ends when time is up (how many there is time for is known by how long the
first ones took), or when what it has not read can no longer come among the hits asked for, however well it answers.
Those it has read go by both scores (`models.cascade`), those before it scaled to 0 for the last candidate and 1 for the
first; the others follow in the order they had.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dowse.index.store import Store
from dowse.models.cascade import AVERAGE, Combination, cascaded, scaled, scored
from dowse.models.text import enriched
from dowse.search.candidates import fetched
from dowse.search.fuse import Found
from dowse.types import CalibratedRanker, Document

PAIRS_AT_ONCE = 4
"""Read between two looks at the clock: a core each on a usual machine, a tenth of a second on a slow one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of the ranker.

    Attributes:
        top_k: hits that will be shown.
        n: how many candidates it may read.
        until: when to stop reading, by time.monotonic(); a reading that has begun is finished.
        combination: its share in the new order.
        min_score: hits are at least so probable, 0 to 1. Above 0 only what was read is a hit, and the first few are
            read whatever the time.
    """

    top_k: int
    n: int
    until: float
    combination: Combination = AVERAGE
    min_score: float = 0.0


class Counted:
    """A ranker that counts in `read` what it reads; satisfies `dowse.types.CalibratedRanker`."""

    def __init__(self, ranker: CalibratedRanker) -> None:
        """Take the ranker."""
        self._ranker, self.read = ranker, 0
        self.input, self.fingerprint = ranker.input, ranker.fingerprint

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the probability that each of N texts answers a query, float32 of shape (N,).

        Raises:
            ModelError: As the ranker.
        """
        self.read += len(texts)
        return self._ranker.score(query, texts)


def rerank(
    ranker: CalibratedRanker, stores: Sequence[Store], query: str, ranked: Sequence[Found], wanted: Wanted
) -> list[Found] | None:
    """Return what was found in its new order, None where there was nothing to read or no time for it.

    Args:
        ranker: the model.
        stores: the index of each root, by its number.
        query: what was asked.
        ranked: what was found, best first.
        wanted: what is wanted, and until when.

    Raises:
        ModelError: a score is no number.
    """
    texts = _texts(ranker, stores, ranked[: wanted.n])
    kept = [found for at, found in enumerate(ranked) if at in texts or at >= wanted.n]
    before = scaled(np.array([found.score for found in kept], np.float32), len(texts))
    read = probabilities(ranker, query, list(texts.values()), before, wanted)
    if not len(read) and not wanted.min_score:
        return None
    order, scores = cascaded(before, read, wanted.combination)
    said = [*read.tolist(), *[None] * (len(kept) - len(read))]
    new = [
        Found(kept[at].root, kept[at].id, score, said[at])
        for at, score in zip(order.tolist(), scores.tolist(), strict=True)
    ]
    if not wanted.min_score:
        return new
    return [found for found in new if found.probability is not None and found.probability >= wanted.min_score]


def text_of(ranker: CalibratedRanker, document: Document) -> str:
    """Return what a ranker reads of a document."""
    return document.text if ranker.input == "code" else enriched(document)


def probabilities(
    ranker: CalibratedRanker, query: str, texts: Sequence[str], before: NDArray[np.float32], wanted: Wanted
) -> NDArray[np.float32]:
    """Return the ranker's scores of as many of the first texts as there is time and need for, shape (k,).

    Args:
        ranker: the model.
        query: what was asked.
        texts: n documents, best first.
        before: their scaled scores, never rising, shape (n,) or more.
        wanted: what is wanted, and until when.

    Raises:
        ModelError: a score is no number.
    """
    read = np.empty(0, np.float32)
    started, pace_s = time.monotonic(), 0.0
    while len(read) < len(texts):
        some = texts[len(read) : len(read) + PAIRS_AT_ONCE]
        is_due = time.monotonic() + pace_s * len(some) < wanted.until
        if not is_due and (len(read) or not wanted.min_score):
            break
        read = np.concatenate([read, scored(ranker, query, some)])
        pace_s = (time.monotonic() - started) / len(read)
        if _is_settled(read, before, wanted):
            break
    return read


def _is_settled(read: NDArray[np.float32], before: NDArray[np.float32], wanted: Wanted) -> bool:
    """Tell whether the hits stay what they are even if the next candidate, the best of the rest, is sure to answer."""
    k = len(read)
    hits = wanted.combination.of(before[:k], read)[read >= wanted.min_score]
    if len(hits) < wanted.top_k or k >= len(before):
        return False
    best_of_the_rest = wanted.combination.of(before[k : k + 1], np.ones(1, np.float32))
    return bool(np.sort(hits)[-wanted.top_k] >= best_of_the_rest[0])


def _texts(ranker: CalibratedRanker, stores: Sequence[Store], found: Sequence[Found]) -> dict[int, str]:
    """Fetch what is read of some documents, by their position; what is gone by now is left out."""
    known = fetched(stores, [one.place for one in found])
    return {at: text_of(ranker, known[one.place]) for at, one in enumerate(found) if one.place in known}
