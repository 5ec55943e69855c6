import numpy as np
import pytest

from dowse.models.cascade import AVERAGE, REPLACE, Combination, cascaded, scored


def test_the_first_k_go_by_their_new_score_and_the_rest_follow_in_their_order():
    before = np.array([9, 8, 7, 5, 4], np.float32)
    order, scores = cascaded(before, np.array([0.1, 0.3, 0.2], np.float32), REPLACE)
    assert order.tolist() == [1, 2, 0, 3, 4]
    assert scores.tolist() == pytest.approx([0.3, 0.2, 0.1, -0.9, -1.9]) and scores.dtype == np.float32
    order, scores = cascaded(before[:2], np.array([0.0, 2.0], np.float32), AVERAGE)
    assert order.tolist() == [1, 0] and scores.tolist() == [5.0, 4.5]


def test_of_equal_scores_the_first_order_stays_and_nothing_scored_changes_nothing():
    before = np.array([3, 2, 1], np.float32)
    assert cascaded(before, np.full(3, 0.5, np.float32), REPLACE)[0].tolist() == [0, 1, 2]
    order, scores = cascaded(before, np.zeros(0, np.float32), Combination(0.3))
    assert order.tolist() == [0, 1, 2] and scores.tolist() == [3, 2, 1]
    assert [len(found) for found in cascaded(np.zeros(0, np.float32), np.zeros(0, np.float32), REPLACE)] == [0, 0]


def test_a_ranker_is_not_asked_about_nothing():
    class Unasked:
        fingerprint = "unasked"

        def score(self, query, texts):
            raise AssertionError("was asked")

    assert scored(Unasked(), "retry", []).shape == (0,)
