"""Step 3 of 7, train: which queries share a batch, and what the model and the loss are handed for it.

Search looks for one function among those of one repository, so the negatives worth learning from are neighbours: rows
lie by repository and file, as they were mined, and a batch is made of runs of them, which beat rows drawn singly on
the development packages. Queries that were labelled as a group stay together whatever their order, so that their
documents are encoded once and all their labels fall into the batch. What is drawn depends on the rows and the seed and
not on the loss: all arms of an ablation see the same batches in the same order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch import Tensor

from dowse.config import check_ranges, check_values
from dowse.train.rows import TrainingRows


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How batches are drawn.

    Attributes:
        batch_size: Queries in a batch, of one process.
        run_length: Neighbours that stay together; 1 shuffles queries singly.
        repeat_queries: Let copies of a query share a batch, as the released OASIS recipe does.
    """

    batch_size: int = 64
    run_length: int = 16
    repeat_queries: bool = False

    def __post_init__(self) -> None:
        """Refuse a value of another kind, or out of its range."""
        check_values(self)
        check_ranges(self, batch_size=(1, inf), run_length=(1, inf))


class RunSampler(DefaultBatchSampler):
    """Yields batches of row numbers, anew in every epoch; equal seeds draw equal batches.

    A query stands in a batch once. Rows that the last batch cannot hold (it would repeat a query, or be short) sit out
    the epoch, unless copies of queries left the epoch a batch short.
    """

    def __init__(self, dataset: Any, rows: TrainingRows, options: BatchOptions, seed: int, epoch: int = 0) -> None:
        """Take what is drawn from, and the epoch to begin with, which the library tells of all later ones only."""
        super().__init__(dataset, options.batch_size, drop_last=True, seed=seed)
        self.epoch = epoch
        self._options = options
        self._asked = np.arange(len(rows)) if options.repeat_queries else rows.query_ids
        groups = rows.groups() if options.run_length > 1 else np.arange(len(rows))
        self._order = np.argsort(groups, kind="stable")
        self._starts = np.flatnonzero(np.diff(groups[self._order], prepend=-1)).tolist()

    def __len__(self) -> int:
        return max(1, len(self._order) // self._options.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        batch: dict[int, int] = {}
        waiting: list[int] = []
        left = len(self)
        for row in self._rows_in_runs():
            if self._asked[row] in batch:
                waiting.append(row)
                continue
            batch[self._asked[row]] = row
            if len(batch) == self._options.batch_size:
                yield list(batch.values())
                left -= 1
                batch = {self._asked[again]: again for again in waiting}
                waiting = [again for again in waiting if batch[self._asked[again]] != again]
        if left and batch:
            yield list(batch.values())

    def _rows_in_runs(self) -> list[int]:
        """Return all rows, run by run in random order, groups whole; where runs begin differs from epoch to epoch."""
        chance = random.Random(self.seed + self.epoch)
        first = chance.randrange(len(self._starts))
        ends = [*self._starts[1:], len(self._order)]
        runs: list[list[int]] = [[]]
        for at in (*range(first, len(ends)), *range(first)):
            if len(runs[-1]) >= self._options.run_length:
                runs.append([])
            runs[-1] += self._order[self._starts[at] : ends[at]].tolist()
        chance.shuffle(runs)
        return [row for run in runs for row in run]


class Collator:
    """Turns row numbers into what the model reads of the queries and documents, and the `Relations` between them.

    Args:
        rows: What is trained on.
        preprocess: The model's, from texts to tensors.
        max_query_tokens: Longer queries are cut.
        max_document_tokens: Longer documents are cut.
        prompts: Before queries and before documents.
    """

    valid_label_columns = ("label",)

    def __init__(
        self,
        rows: TrainingRows,
        preprocess: Callable[..., dict[str, Any]],
        max_query_tokens: int,
        max_document_tokens: int,
        prompts: tuple[str, str] = ("", ""),
    ) -> None:
        self._rows = rows
        self._preprocess = preprocess
        self._max_tokens = (max_query_tokens, max_document_tokens)
        self._prompts = prompts

    def __call__(self, features: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Return `query_…` and `document_…` tensors and, as `label`, the fields of `Relations` by name."""
        rows = self._rows
        chosen = [feature["row"] for feature in features]
        spans = [rows.span(row) for row in chosen]
        numbers = np.concatenate([rows.document[span] for span in spans])
        documents, column = np.unique(numbers, return_inverse=True)
        query = np.repeat(np.arange(len(chosen)), [span.stop - span.start for span in spans])
        labels = np.full((len(chosen), len(documents)), np.nan, np.float32)
        flags = np.zeros((2, *labels.shape), bool)
        labels[query, column] = np.concatenate([rows.label[span] for span in spans])
        flags[0, query, column] = np.concatenate([rows.is_positive[span] for span in spans])
        flags[1, query, column] = np.concatenate([rows.is_suspect[span] for span in spans])
        relations: dict[str, Tensor] = {
            "query_ids": torch.from_numpy(rows.query_ids[chosen]),
            "document_ids": torch.from_numpy(rows.document_ids[documents]),
            "text_ids": torch.from_numpy(documents),
            "labels": torch.from_numpy(labels),
            "is_positive": torch.from_numpy(flags[0]),
            "is_suspect": torch.from_numpy(flags[1]),
        }
        texts = ([rows.queries[row] for row in chosen], [rows.documents[number] for number in documents.tolist()])
        batch: dict[str, Any] = {"label": relations, "return_loss": True}
        sides = zip(("query", "document"), texts, self._prompts, self._max_tokens, strict=True)
        for name, side, prompt, max_tokens in sides:
            read = self._preprocess(side, prompt=prompt or None, task=name, max_length=max_tokens)
            batch |= {f"{name}_{key}": value for key, value in read.items()}
        return batch
