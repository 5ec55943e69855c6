"""Two runs side by side, counted by hand."""

import pytest
from evaluating import bare_task

from dowse.evaluate.compare import compare
from dowse.evaluate.runs import Run

TASK = bare_task({"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1}, "d": {"x": 1}}, ["u", "v"])
FIRST = Run.from_scores("old", {"a": {"x": 2, "u": 1}, "b": {"u": 3, "v": 2, "x": 1}, "c": {"x": 1}, "d": {"x": 1}})
SECOND = Run.from_scores("new", {"a": {"u": 2, "x": 1}, "b": {"x": 3, "u": 2}, "c": {"x": 1}})


def test_wins_losses_and_means_are_counted_by_query():
    found = compare(TASK, FIRST, SECOND, ("mrr@10", "recall@100"))
    mrr, recall = found.metrics
    assert (found.runs, found.n_queries) == (("old", "new"), 4)
    assert (mrr.wins, mrr.losses, mrr.ties) == (1, 2, 1)
    assert mrr.first == pytest.approx((1 + 1 / 3 + 1 + 1) / 4) and mrr.second == pytest.approx((1 / 2 + 1 + 1 + 0) / 4)
    assert mrr.difference.value == pytest.approx(mrr.second - mrr.first)
    assert mrr.difference.low <= mrr.difference.value <= mrr.difference.high
    assert (recall.wins, recall.losses, recall.ties) == (0, 1, 3)


def test_the_queries_that_moved_most_come_with_both_runs_hits():
    found = compare(TASK, FIRST, SECOND, ("mrr@10",), n_moved=1)
    assert [moved.query_id for moved in found.moved] == ["d", "b"]
    lost, won = found.moved
    assert (lost.first, lost.second, lost.second_hits) == (1.0, 0.0, ())
    assert (won.first_hits, won.second_hits, won.relevant) == (("u", "v", "x"), ("x", "u"), ("x",))
    assert won.query == "query b"
    assert [moved.query_id for moved in compare(TASK, FIRST, SECOND, ("mrr@10",)).moved] == ["d", "a", "b"]
    assert compare(TASK, FIRST, SECOND, ("mrr@10",), n_moved=0).moved == ()
