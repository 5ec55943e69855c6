"""Step 3 of 7, train: batches of lists for a ranker: a query, its answer and its negatives, and what is learnt of them.

A batch is B queries with M documents each, of which the first is the answer. All pairs of a batch go through the
network together, sorted by length. What is to be learnt is a share for each document of a list (`listwise_softmax`):
all of it for the answer, unless order labels or a teacher say how nearly the others answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch import Tensor, nn

from dowse.config import check_ranges, check_values
from dowse.errors import ModelError
from dowse.train.corpus import Corpus
from dowse.train.losses import listwise_softmax
from dowse.train.negatives import NegativeSampler
from dowse.train.reading import PairReader

_ENCODE_AT_ONCE = 128
"""Pairs that go through the network together, alike in length: padding to the longest of a batch doubles the work."""


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """What is learnt of a list.

    Attributes:
        scale: 1/τ, by which scores are multiplied in the softmax.
        graded_share: λ: a query's labelled negatives join its list, and so much of the target is shared out among them
            and the answer by their labels; the rest is the answer's. 0 as in the papers.
        label_scale: Sharpness of `graded_share`, softmax(label_scale · label).
        distill_share: How much of the target is a teacher's softmax over the list, where there is a teacher.
    """

    scale: float = 20.0
    graded_share: float = 0.0
    label_scale: float = 10.0
    distill_share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a value of another kind, or out of its range."""
        check_values(self)
        check_ranges(self, scale=(1e-6, inf), graded_share=(0, 1), label_scale=(0, inf), distill_share=(0, 1))


class ListSampler(DefaultBatchSampler):
    """Yields batches of numbers that say query and epoch: `epoch * Q + row`; equal seeds draw equal batches.

    The epoch travels with the query, so that whoever draws its negatives needs nothing else. Queries that the last
    batch cannot fill sit out the epoch; the released script wraps round there.
    """

    def __init__(self, dataset: Any, n_queries: int, batch_size: int, seed: int, epoch: int = 0) -> None:
        """Take how many there are, and the epoch to begin with, which the library tells of all later ones only."""
        super().__init__(dataset, batch_size, drop_last=True, seed=seed)
        self.epoch = epoch
        self._n_queries, self._size = n_queries, min(batch_size, n_queries)

    def __len__(self) -> int:
        return self._n_queries // self._size

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self._n_queries)
        for start in range(0, len(self) * self._size, self._size):
            yield (self.epoch * self._n_queries + order[start : start + self._size]).tolist()


class ListCollator:
    """Turns numbers of `ListSampler` into pairs as the model reads them, and the targets of each list."""

    valid_label_columns = ("label",)

    def __init__(
        self,
        corpus: Corpus,
        sampler: NegativeSampler,
        reader: PairReader,
        options: TargetOptions,
        *,
        in_batch: bool,
        bare_share: float,
        seed: int,
    ) -> None:
        """Take what lists are made from.

        Args:
            corpus: Queries and documents.
            sampler: Draws the negatives.
            reader: Tokenizes.
            options: See there.
            in_batch: The answers to the other queries of the batch are negatives.
            bare_share: Share of the lists that are read as code alone, anew in every epoch.
            seed: Where chance begins.
        """
        self._corpus, self._sampler, self._reader, self._options = corpus, sampler, reader, options
        self._in_batch, self._bare_share, self._seed = in_batch, bare_share, seed

    def __call__(self, features: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """Return `pairs`, tensors (P, L), and as `label` where each pair stands, targets and weights, (B, M)."""
        epochs, rows = zip(*(divmod(feature["row"], len(self._corpus)) for feature in features), strict=True)
        answers = np.array([self._corpus.positives(row)[0] for row in rows])
        lists = [self._list(row, epoch, answers) for row, epoch in zip(rows, epochs, strict=True)]
        shape = len(lists), max(len(documents) for documents, _, _ in lists)
        weights, targets = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        queries: list[str] = []
        documents: list[str] = []
        for at, (row, epoch, (numbers, weight, target)) in enumerate(zip(rows, epochs, lists, strict=True)):
            weights[at, : len(weight)], targets[at, : len(target)] = weight, target
            as_code = np.random.default_rng((self._seed, epoch, row, 1)).random() < self._bare_share
            documents += self._corpus.texts(numbers.tolist(), bool(as_code))
            queries += [self._corpus.rows.queries[row]] * len(numbers)
        label = {
            "place": torch.from_numpy(_places(lists, shape[1])),
            "targets": torch.from_numpy(targets),
            "weights": torch.from_numpy(weights),
        }
        return {"pairs": self._reader(queries, documents), "label": label, "return_loss": True}

    def _list(
        self, row: int, epoch: int, answers: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Return a query's documents, its answer first, with their weights and targets, each of shape (M,)."""
        options, corpus = self._options, self._corpus
        answer = corpus.positives(row)[:1]
        drawn = self._sampler.draw(row, epoch)
        if self._in_batch:
            drawn = self._sampler.weighed(row, np.unique(answers[~corpus.is_answer(row, answers)]))
        labelled = np.zeros(0, np.int64)
        shares = np.ones(1, np.float32)
        if options.graded_share:
            labelled, shares = self._graded(row)
            fresh = ~corpus.is_same(drawn.documents, labelled)
            drawn = drawn._replace(documents=drawn.documents[fresh], weights=drawn.weights[fresh])
        documents = np.concatenate([answer, labelled, drawn.documents])
        targets = np.zeros(len(documents), np.float32)
        targets[: len(shares)] = shares
        return documents, np.concatenate([np.ones(len(shares), np.float32), drawn.weights]), targets

    def _graded(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return a query's labelled negatives, (K,), and the target shares of its answer and of these, (1 + K,)."""
        options = self._options
        documents, labels, is_suspect = self._corpus.labelled(row)
        kept = ~is_suspect & ~self._corpus.is_answer(row, documents)
        own = self._corpus.label_of_answer(row)
        graded = options.label_scale * np.concatenate([[own], labels[kept]])
        soft = np.exp(graded - graded.max())
        shares = options.graded_share * soft / soft.sum()
        shares[0] += 1 - options.graded_share
        return documents[kept], shares.astype(np.float32)


class RankerLoss(nn.Module):
    """The loss of a batch of lists, in the form that the library's trainer calls."""

    def __init__(self, model: Any, options: TargetOptions, teacher: Any = None) -> None:
        super().__init__()
        self.model, self.options = model, options
        self._teacher = [teacher] if teacher is not None else []  # in a list: no weights of this module

    def forward(self, features: list[dict[str, Tensor]], label: Mapping[str, Tensor], **_: Any) -> Tensor:
        """Return the loss, a scalar.

        Args:
            features: What the model reads of the P pairs of a batch.
            label: `place` (P,), where each pair stands in the flattened (B, M), and `targets` and `weights`, (B, M).

        Raises:
            ModelError: The loss is not finite.
        """
        targets, weights = label["targets"], label["weights"]
        scores = self._scores(self.model, features[0], label)
        if self._teacher:
            with torch.no_grad():
                taught = self._scores(self._teacher[0], features[0], label) * self.options.scale + weights.log()
            share = self.options.distill_share
            targets = (1 - share) * targets + share * taught.softmax(dim=1)
        loss = listwise_softmax(scores, targets, weights, self.options.scale)
        if not torch.isfinite(loss):
            raise ModelError(
                f"the ranker's loss is {loss.item()}, expected a finite number; lower the learning rate, or train "
                "without bf16"
            )
        return loss

    def _scores(self, model: Any, pairs: dict[str, Tensor], label: Mapping[str, Tensor]) -> Tensor:
        """Return the scores (B, M) in float32, 0 where there is no document; pairs of like length go together."""
        order = pairs["attention_mask"].sum(dim=1).argsort(stable=True)
        found = []
        for some in order.split(_ENCODE_AT_ONCE):
            used = pairs["attention_mask"][some].any(dim=0)
            found.append(model({key: value[some][:, used] for key, value in pairs.items()})["scores"].squeeze(1))
        scores = torch.cat(found).float()
        table = scores.new_zeros(label["weights"].numel())
        return table.index_put((label["place"][order],), scores).view_as(label["weights"])


def _places(lists: Sequence[tuple[NDArray[np.int64], Any, Any]], width: int) -> NDArray[np.int64]:
    """Return where each pair of some lists stands in a flattened table of that width, (P,)."""
    return np.concatenate([at * width + np.arange(len(documents)) for at, (documents, _, _) in enumerate(lists)])
