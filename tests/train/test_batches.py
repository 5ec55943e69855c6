from itertools import pairwise

import pytest
from datasets import Dataset

from dowse.train.batches import RUN_LENGTH, NeighbourBatchSampler


def sampler(queries: list[str], batch_size: int, seed: int = 0) -> NeighbourBatchSampler:
    return NeighbourBatchSampler(Dataset.from_dict({"query": queries}), batch_size, drop_last=False, seed=seed)


def test_every_row_is_drawn_once_an_epoch_in_full_batches():
    batches = list(sampler([f"query {number}" for number in range(1024)], 128))
    assert [len(batch) for batch in batches] == [128] * 8
    assert sorted(row for batch in batches for row in batch) == list(range(1024))


def test_a_batch_is_made_of_runs_of_neighbours():
    batch = next(iter(sampler([f"query {number}" for number in range(4096)], 256)))
    steps = [after - before for before, after in pairwise(batch)]
    assert sum(step == 1 for step in steps) >= 256 - 256 // RUN_LENGTH - 1
    assert any(step != 1 for step in steps)


def test_no_batch_repeats_a_query_and_put_off_rows_come_later():
    queries = [f"Query {number // 3}" if number % 2 else f"query {number // 3}" for number in range(600)]
    batches = list(sampler(queries, 50))
    assert len(batches) == len(sampler(queries, 50)) == 12
    assert all(len({queries[row].lower() for row in batch}) == len(batch) for batch in batches)
    drawn = [row for batch in batches for row in batch]
    assert len(set(drawn)) == len(drawn) > 550


def test_a_batch_larger_than_the_data_holds_each_query_once():
    assert [sorted(batch) for batch in sampler(["a b", "c d", "A B"], 100)] in ([[0, 1]], [[1, 2]])


@pytest.mark.parametrize("change", ["seed", "epoch"])
def test_equal_seeds_and_epochs_draw_equal_batches_and_others_draw_others(change):
    queries = [f"query {number}" for number in range(1000)]
    first, again, other = (
        sampler(queries, 100),
        sampler(queries, 100),
        sampler(queries, 100, seed=int(change == "seed")),
    )
    other.set_epoch(int(change == "epoch"))
    assert list(first) == list(again) != list(other)
