"""Step 3 of 7, train: which documents a ranker learns to put below the answer (ranking-based hard negative sampling).

With a frozen retriever's ranking, the candidates of a query are those in a window of ranks, or of scores
rho_1 < s_dual(q, c) < rho_2, and m of them are drawn without replacement with

    p_i = exp(s_dual(q, c_i) / tau') / Σ_j exp(s_dual(q, c_j) / tau')            (Dong et al. 2023, arXiv:2305.04508)

anew in every epoch. `sampling_scale` is 1/tau': 0 draws evenly, as the paper does, and the larger it is the more the
best ranked are drawn. Departs from the released script, whose window is exactly m wide (so nothing is drawn), begins
at rank 0 (so the answer itself is a negative) and is the same in every epoch; `negatives = "released"` does as it did.

What is drawn depends on seed, epoch and query alone, whoever draws it: a run that goes on draws as one that was not
stopped, and so does every worker process.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dowse.config import check_ranges, check_values
from dowse.errors import ConfigError
from dowse.train.corpus import Corpus
from dowse.train.rankings import Ranking

Negatives = Literal["ranking", "released", "random", "in_batch"]
FalseNegatives = Literal["mask", "weight", "keep"]

SPARE_RANKS = 32
"""Ranked beyond a window: room for the answer and its copies, which are taken out before ranks are counted."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How negatives are drawn.

    Attributes:
        negatives: `ranking` (drawn from what a retriever ranks high), `released` (the first m ranks, the answer among
            them, in every epoch), `random` from the whole corpus, or `in_batch` (the answers to the other queries of
            the batch).
        n_negatives: m, how many negatives a query has; fewer where the window of ranks holds fewer.
        first_rank: First rank that negatives are drawn from, counted from 1 without the answer and its copies.
        last_rank: Last rank that negatives are drawn from, counted as for `first_rank`; the corpus may end before.
        min_score: ρ₁, the least that a negative scores with the retriever; no bound unless set.
        max_score: ρ₂, the most that a negative scores with the retriever; no bound unless set.
        sampling_scale: 1/τ′, how sharply the best ranked are preferred as negatives; 0 draws evenly.
        false_negatives: What becomes of a drawn document whose label says that it may answer the query too: `mask`
            leaves it out, `weight` lets it count 1 - label, `keep` takes it as any other.
        max_label: A document labelled above this, or marked as suspect, is handled as `false_negatives` says, in
            whatever form it is drawn; the answers to the other queries of a batch too.

    Raises:
        ConfigError: A value is of another kind, or the window is empty.
    """

    negatives: Negatives = "ranking"
    n_negatives: int = 31
    first_rank: int = 1
    last_rank: int = 100
    min_score: float | None = None
    max_score: float | None = None
    sampling_scale: float = 0.0
    false_negatives: FalseNegatives = "mask"
    max_label: float = 1.0

    def __post_init__(self) -> None:
        check_values(self)
        check_ranges(self, sampling_scale=(0, inf), max_label=(0, inf))
        if self.n_negatives < 1 or not 1 <= self.first_rank <= self.last_rank:
            raise ConfigError(
                f"{self.n_negatives} negatives from ranks {self.first_rank} to {self.last_rank}, expected at least 1 "
                "from a window that begins at 1 or later and does not end before; correct the window"
            )
        if self.min_score is not None and self.max_score is not None and not self.min_score < self.max_score:
            raise ConfigError(
                f"scores from {self.min_score} to {self.max_score} hold nothing, expected the first to be the lower; "
                "correct min_score and max_score"
            )

    @property
    def depth(self) -> int:
        """Ranks that are needed of a ranking; 0 where none is."""
        if self.negatives == "ranking":
            return self.last_rank + SPARE_RANKS
        return self.n_negatives if self.negatives == "released" else 0


class Drawn(NamedTuple):
    """K negatives of one query, positions int64 of shape (K,), and their weights in the loss, float32 of shape (K,)."""

    documents: NDArray[np.int64]
    weights: NDArray[np.float32]


class NegativeSampler:
    """Draws the negatives of any query in any epoch."""

    def __init__(self, corpus: Corpus, ranking: Ranking | None, options: SamplingOptions, seed: int) -> None:
        """Take what is drawn from.

        Args:
            corpus: The queries and documents.
            ranking: Needed where the options have a `depth`.
            options: See there.
            seed: Where chance begins.

        Raises:
            ConfigError: The window begins beyond the corpus, or no query has a document in it.
        """
        self._corpus, self._ranking, self._options, self._seed = corpus, ranking, options, seed
        n_documents = len(corpus.codes)
        if options.depth and ranking is None:
            raise ConfigError(f"negatives {options.negatives!r} need a ranking; name what ranks with --retriever")
        if options.negatives == "ranking" and options.first_rank >= n_documents:
            raise ConfigError(
                f"the window begins at rank {options.first_rank}, expected less than the {n_documents} documents of "
                "the corpus; begin at a lower rank"
            )
        self.n_without = self._count_without()
        self.false_share = self._share_of_false()

    def draw(self, row: int, epoch: int) -> Drawn:
        """Draw the negatives of a query; none where negatives are those of the batch, or its window is empty."""
        options = self._options
        if options.negatives == "in_batch":
            return _as_they_are(np.zeros(0, np.int64))
        if options.negatives == "released":
            assert self._ranking is not None
            ranked = self._ranking.documents[row, : options.n_negatives]
            return _as_they_are(ranked[ranked >= 0])
        chance = np.random.default_rng((self._seed, epoch, row))
        if options.negatives == "random":
            found, scores = self._anything(row, chance), None
        else:
            found, scores = self._window(row)
        found, weights, scores = self._without_false(row, found, scores)
        if len(found) > options.n_negatives:
            # The largest of log p + Gumbel noise are a draw without replacement with probabilities p.
            keys = chance.gumbel(size=len(found)) + (0 if scores is None else options.sampling_scale * scores)
            chosen = np.sort(np.argpartition(-keys, options.n_negatives)[: options.n_negatives])
            found, weights = found[chosen], weights[chosen]
        return Drawn(found, weights)

    def weighed(self, row: int, documents: NDArray[np.int64]) -> Drawn:
        """Return documents that others drew as negatives of a query, its false ones handled as the options say."""
        found, weights, _ = self._without_false(row, documents, None)
        return Drawn(found, weights)

    def _window(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the documents in a query's window, best first, and their scores."""
        assert self._ranking is not None
        options = self._options
        ranked, scores = self._ranking.documents[row], self._ranking.scores[row]
        kept = ranked >= 0
        ranked, scores = ranked[kept], scores[kept]
        others = ~self._corpus.is_answer(row, ranked)
        window = slice(options.first_rank - 1, options.last_rank)
        ranked, scores = ranked[others][window], scores[others][window]
        within = np.ones(len(ranked), bool)
        if options.min_score is not None:
            within &= scores > options.min_score
        if options.max_score is not None:
            within &= scores < options.max_score
        return ranked[within], scores[within]

    def _anything(self, row: int, chance: np.random.Generator) -> NDArray[np.int64]:
        n_documents = len(self._corpus.codes)
        some = chance.choice(n_documents, min(n_documents, self._options.n_negatives + SPARE_RANKS), replace=False)
        return some[~self._corpus.is_answer(row, some)]

    def _without_false(
        self, row: int, found: NDArray[np.int64], scores: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32] | None]:
        """Leave out the documents that may answer the query by their label, or give them less weight.

        A label is of the function, so that its other forms (without comments, say) are handled as the one labelled.
        """
        weights = np.ones(len(found), np.float32)
        labelled, labels, false = self._false(row)
        if self._options.false_negatives == "keep" or not false.any():
            return found, weights, scores
        if self._options.false_negatives == "mask":
            kept = ~self._corpus.is_same(found, labelled[false])
            return found[kept], weights[kept], scores if scores is None else scores[kept]
        functions = self._corpus.rows.document_ids
        for function, label in zip(functions[labelled[false]], labels[false], strict=True):
            same = functions[found] == function
            weights[same] = np.minimum(weights[same], 1 - label)
        return found, weights, scores

    def _false(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Return a query's labelled documents, (K,), their labels, (K,), and which of them may answer it, (K,)."""
        labelled, labels, is_suspect = self._corpus.labelled(row)
        return labelled, labels, is_suspect | (labels > self._options.max_label)

    def _share_of_false(self) -> float:
        """Return the share of the documents negatives are drawn from that is left out, or weighed less, by labels.

        Those of the first epoch where they are random; 0 where they are the batch's, or labels change nothing.
        """
        options = self._options
        if options.false_negatives == "keep" or options.negatives not in ("ranking", "random"):
            return 0.0
        n_false = n_found = 0
        for row in range(len(self._corpus)):
            chance = np.random.default_rng((self._seed, 0, row))
            found = self._window(row)[0] if options.negatives == "ranking" else self._anything(row, chance)
            labelled, _, false = self._false(row)
            n_found += len(found)
            n_false += int(self._corpus.is_same(found, labelled[false]).sum()) if false.any() else 0
        return n_false / max(1, n_found)

    def _count_without(self) -> int:
        """Return how many queries have no document in their window.

        Raises:
            ConfigError: None has one.
        """
        if self._options.negatives != "ranking":
            return 0
        without = sum(not len(self._window(row)[0]) for row in range(len(self._corpus)))
        if without == len(self._corpus):
            options = self._options
            raise ConfigError(
                f"no query has a document at ranks {options.first_rank} to {options.last_rank} with a score between "
                f"{options.min_score} and {options.max_score}, expected some to draw from; widen the window"
            )
        return without


def _as_they_are(documents: NDArray[np.int64]) -> Drawn:
    return Drawn(documents, np.ones(len(documents), np.float32))
