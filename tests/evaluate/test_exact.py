"""Exact search against a sort of everything, with ties, and in blocks."""

import numpy as np
import pytest

from dowse.evaluate import exact
from dowse.evaluate.exact import ExactIndex, best_of


@pytest.mark.parametrize("k", [1, 7, 40, 50, 99])
def test_the_best_k_are_those_of_a_full_sort_whatever_the_ties(k):
    scores = np.random.default_rng(0).integers(0, 6, (20, 50)).astype(np.float32)
    for row, best in zip(scores, best_of(scores, k), strict=True):
        assert best.tolist() == sorted(range(50), key=lambda at: (-row[at], at))[:k]


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
