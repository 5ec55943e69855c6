"""Step 3 of 7, train: which rows share a batch, and so are each other's negatives.

Search looks for one function among those of one repository, so the negatives worth learning from are neighbours: rows
lie by repository and file, as they were mined, and a batch is made of runs of them, which beat rows drawn singly on
the development packages. A query stands in a batch once: the document of its copy would be taken for a wrong answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sentence_transformers.base.sampler import DefaultBatchSampler

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

RUN_LENGTH = 64


class NeighbourBatchSampler(DefaultBatchSampler):
    """Draws batches of runs of neighbouring rows, anew in every epoch; equal seeds draw equal batches.

    Rows that the last batch cannot hold (it would repeat a query, or be short) sit out the epoch.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self._queries = [query.lower() for query in dataset["query"]]

    def __len__(self) -> int:
        return max(1, len(self._queries) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        batch: dict[str, int] = {}
        waiting: list[int] = []
        left = len(self)
        for row in self._rows_in_runs():
            if self._queries[row] in batch:
                waiting.append(row)
                continue
            batch[self._queries[row]] = row
            if len(batch) == self.batch_size:
                yield list(batch.values())
                left -= 1
                batch = {self._queries[again]: again for again in waiting}
                waiting = [again for again in waiting if batch[self._queries[again]] != again]
        if left and batch:
            yield list(batch.values())

    def _rows_in_runs(self) -> list[int]:
        """Return all rows, run by run in random order; where the runs begin differs from epoch to epoch."""
        chance = random.Random(self.seed + self.epoch)
        shift = chance.randrange(len(self._queries))
        rows = [*range(shift, len(self._queries)), *range(shift)]
        runs = [rows[start : start + RUN_LENGTH] for start in range(0, len(rows), RUN_LENGTH)]
        chance.shuffle(runs)
        return [row for run in runs for row in run]
