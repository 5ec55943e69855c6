"""Which queries share a batch, and what the loss is told of them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from labelling import row as pair
from labelling import write_pairs

from dowse.train.batches import BatchOptions, Collator, RunSampler
from dowse.train.losses import Relations, negatives_of
from dowse.train.rows import RowOptions, TrainingRows, read_rows


def rows(queries, groups=None, candidates=0):
    """Return rows of one answer a query; those of a group are compared with each other's answers."""
    count = len(queries)
    groups = list(range(count)) if groups is None else groups
    known: dict[str, int] = {}
    compared = []
    for row in range(count):
        mates = [other for other in range(count) if groups[other] == groups[row] and other != row]
        compared.append([row, *mates])
    flat = [document for documents in compared for document in documents]
    return TrainingRows(
        queries=queries,
        sources=["kit"] * count,
        documents=[f"code {number}" for number in range(count)],
        document_ids=np.arange(count),
        query_ids=np.array([known.setdefault(query.lower(), len(known)) for query in queries]),
        offsets=np.cumsum([0, *map(len, compared)]),
        document=np.array(flat),
        label=np.array([1.0 if d == c[0] else 0.25 for c in compared for d in c], np.float32),
        is_positive=np.array([d == c[0] for c in compared for d in c]),
        is_suspect=np.array([d == c[0] + 1 for c in compared for d in c]),
        n_mined=count,
    )


def distinct(count):
    return [f"query {number}" for number in range(count)]


def sampler(found, batch_size, run_length=16, seed=0, **changes):
    return RunSampler(None, found, BatchOptions(batch_size, run_length, **changes), seed)


def test_every_row_is_drawn_once_an_epoch_in_full_batches():
    batches = list(sampler(rows(distinct(1024)), 128))
    assert [len(batch) for batch in batches] == [128] * 8
    assert sorted(row for batch in batches for row in batch) == list(range(1024))


def test_a_batch_is_made_of_runs_of_neighbours():
    batch = next(iter(sampler(rows(distinct(2048)), 256, 64)))
    steps = [after - before for before, after in pairwise(batch)]
    assert sum(step == 1 for step in steps) >= 256 - 256 // 64 - 1
    assert any(step != 1 for step in steps)
    assert sum(abs(step) == 1 for step in np.diff(next(iter(sampler(rows(distinct(2048)), 256, 1))))) < 20


def test_groups_stay_whole_wherever_their_members_lie():
    groups = [number % 40 for number in range(200)]
    found = rows(distinct(200), groups)
    batches = list(sampler(found, 20, 10))
    whole = sum(len({groups[row] for row in batch}) == 4 for batch in batches)
    assert len(batches) == 10 and whole == 10


def test_no_batch_repeats_a_query_and_put_off_rows_come_later():
    queries = [f"Query {number // 3}" if number % 2 else f"query {number // 3}" for number in range(600)]
    found = rows(queries)
    batches = list(sampler(found, 50))
    assert len(batches) == len(sampler(found, 50)) == 12
    assert all(len({queries[row].lower() for row in batch}) == len(batch) for batch in batches)
    drawn = [row for batch in batches for row in batch]
    assert len(set(drawn)) == len(drawn) > 550
    together = [len({queries[row].lower() for row in batch}) for batch in sampler(found, 50, repeat_queries=True)]
    assert min(together) < 50


def test_a_batch_larger_than_the_data_holds_each_query_once():
    assert [sorted(batch) for batch in sampler(rows(["a b", "c d", "A B"]), 100)] in ([[0, 1]], [[1, 2]])


@pytest.mark.parametrize("change", ["seed", "epoch"])
def test_equal_seeds_and_epochs_draw_equal_batches_and_others_draw_others(change):
    found = rows(distinct(1000))
    first, again, other = sampler(found, 100), sampler(found, 100), sampler(found, 100, seed=int(change == "seed"))
    other.set_epoch(int(change == "epoch"))
    assert list(first) == list(again) != list(other)


def test_a_batch_holds_each_document_once_and_says_what_is_known_of_every_pair():
    found = rows(["a", "b", "A", "d"], groups=[0, 0, 1, 1])
    seen = []

    def preprocess(texts, prompt, task, max_length):
        seen.append((texts, prompt, task, max_length))
        return {"input_ids": len(texts)}

    batch = Collator(found, preprocess, 7, 9, ("ask: ", ""))([{"row": 0}, {"row": 1}, {"row": 2}])
    assert seen == [
        (["a", "b", "A"], "ask: ", "query", 7),
        (["code 0", "code 1", "code 2", "code 3"], None, "document", 9),
    ]
    relations = batch["label"]
    assert relations["query_ids"].tolist() == [0, 1, 0]
    assert relations["document_ids"].tolist() == [0, 1, 2, 3]
    labels = np.array([[1, 0.25, np.nan, np.nan], [0.25, 1, np.nan, np.nan], [np.nan, np.nan, 1, 0.25]], np.float32)
    assert np.array_equal(relations["labels"].numpy(), labels, equal_nan=True)
    assert relations["is_positive"].nonzero().tolist() == [[0, 0], [1, 1], [2, 2]]
    assert relations["is_suspect"].nonzero().tolist() == [[0, 1], [2, 3]]
    assert (batch["query_input_ids"], batch["document_input_ids"]) == (3, 4)


def read_nothing(texts, **settings):
    return {"input_ids": torch.zeros(len(texts), 1)}


def test_another_form_of_the_answer_is_no_negative():
    found = rows(["a docstring", "what a commit said", "another"])
    found.document_ids[1] = 0  # the same function as that of the first query
    batch = Collator(found, read_nothing, 7, 9)([{"row": row} for row in range(3)])
    negatives = negatives_of(Relations(**batch["label"])).documents
    assert batch["label"]["document_ids"].tolist() == [0, 0, 2]
    assert batch["label"]["text_ids"].tolist() == [0, 1, 2]
    assert negatives.tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_code_whose_comment_is_the_query_word_by_word_is_no_negative_of_it(tmp_path):
    bare = "def load(path):\n    return open(path).read()\n"
    whole = bare.replace(":\n", ':\n    """Read a file whole."""\n', 1)
    mined = [
        pair("Read a file whole.", whole, text_without_comments=bare, symbol="load"),
        pair("Get what a file holds.", whole, text_without_comments=bare, symbol="load", source="llm"),
        pair("Count the lines.", "def count(path):\n    return len(open(path).readlines())\n", symbol="count"),
    ]
    found = read_rows(write_pairs(tmp_path / "pairs", mined), RowOptions(bare_share=1.0))
    assert "Read a file whole." in found.documents[1] and "Read" not in found.documents[0]
    relations = Relations(**Collator(found, read_nothing, 7, 9)([{"row": row} for row in range(3)])["label"])
    assert negatives_of(relations).documents.tolist() == [
        [False, False, True],
        [False, False, True],
        [True, True, False],
    ]
