"""Rankings by cosine: what shares words comes first, and equal scores come by position wherever the ranking is cut."""

import numpy as np
import pytest

from dowse.models.ranking import DenseRanking, best_of_rows
from dowse.models.static import default_static


def test_the_shipped_retriever_ranks_what_shares_words_first():
    ranking = DenseRanking(default_static())
    documents = [
        "def close_socket(): socket.close()",
        "def parse_date(text): return date",
        "def sort_users(users): pass",
    ]
    [best, least], scores = ranking.rank(["parse a date", "close the socket"], documents, 3)
    assert best[0] == 1 and least[0] == 0
    assert sorted(best) == [0, 1, 2]
    assert (np.diff(scores) <= 0).all()
    assert ranking.rank(["parse a date"], documents, 1)[0].tolist() == [[1]]
    assert ranking.fingerprint == default_static().fingerprint


@pytest.mark.parametrize("depth", [1, 3, 50, 999, 1_000, 1_001])
def test_equal_scores_come_by_position_whatever_the_depth(depth):
    scores = np.random.default_rng(0).integers(0, 4, (20, 1_000)).astype(np.float32)
    ids, found = best_of_rows(scores, depth)
    expected = [sorted(range(1_000), key=lambda at, row=row: (-row[at], at))[:depth] for row in scores]
    assert ids.tolist() == expected
    assert np.array_equal(found, np.take_along_axis(scores, ids, 1))


def test_what_is_no_number_comes_first():
    ids, scores = best_of_rows(np.array([[0.5, 0.25, np.nan, 1.0]], np.float32), 2)
    assert ids.tolist() == [[2, 3]] and np.isnan(scores[0, 0])
