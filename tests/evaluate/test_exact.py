"""Exact search against a sort of everything, with ties, and in blocks."""

import numpy as np
import pytest
from evaluating import WordEncoder, small_task

from dowse.errors import ModelError
from dowse.evaluate import exact
from dowse.evaluate.exact import ExactIndex
from dowse.evaluate.harness import evaluate


@pytest.mark.parametrize("k", [1, 7, 40, 50, 99])
def test_the_best_k_are_those_of_a_full_sort_whatever_the_ties(k):
    scores = np.random.default_rng(0).integers(0, 6, (20, 50)).astype(np.float32)
    ids = [f"{at:02}" for at in range(50)]
    for row, best in zip(scores, ExactIndex(ids, scores.T).rank(np.eye(20, dtype=np.float32), k), strict=True):
        assert best.document_ids == sorted(ids, key=lambda key: (row[int(key)], key), reverse=True)[:k]


def test_blocks_and_one_piece_give_the_same(monkeypatch):
    chance = np.random.default_rng(1)
    documents = chance.integers(-2, 3, (30, 8)).astype(np.float32)
    queries = chance.integers(-2, 3, (11, 8)).astype(np.float32)
    ids = [f"d{number}" for number in range(30)]
    whole = [ranking.document_ids for ranking in ExactIndex(ids, documents).rank(queries, 12)]
    monkeypatch.setattr(exact, "_SCORES_AT_ONCE", 64)
    assert [ranking.document_ids for ranking in ExactIndex(ids, documents).rank(queries, 12)] == whole
    for query, found in zip(queries, whole, strict=True):
        scores = documents @ query
        by_score = sorted(range(30), key=lambda at: (scores[at], ids[at]), reverse=True)[:12]
        assert found == [ids[at] for at in by_score]


def test_what_is_left_out_never_comes():
    index = ExactIndex(["a", "b"], np.eye(2, dtype=np.float32))
    rankings = list(index.rank(np.ones((3, 2), np.float32), 5, ["a", None, "elsewhere"]))
    assert [ranking.document_ids for ranking in rankings] == [["b"], ["b", "a"], ["b", "a"]]


@pytest.mark.parametrize("depth", [1, 9])
def test_a_score_that_is_no_number_is_an_error_and_no_low_figure(depth):
    embeddings = np.eye(3, dtype=np.float32)
    embeddings[1] = np.nan
    index = ExactIndex(["a", "b", "c"], embeddings)
    with pytest.raises(ModelError, match="score of document b is nan, expected a number"):
        list(index.rank(np.eye(3, dtype=np.float32), depth))
    queries = np.eye(3, dtype=np.float32)[[0, 2]]
    rankings = list(index.rank(queries, depth, ["b", "b"]))
    assert [ranking.document_ids[0] for ranking in rankings] == ["a", "c"], "what is left out may be anything"


def test_a_retriever_that_gives_no_numbers_is_not_measured():
    class Broken(WordEncoder):
        def encode_documents(self, texts):
            rows = super().encode_documents(texts)
            rows[0] = np.nan
            return rows

    with pytest.raises(ModelError, match="is nan, expected a number; train it again"):
        evaluate(small_task(), Broken())
