"""Runs in TREC format: written, read, refused."""

import numpy as np
import pytest

from dowse.errors import DataError
from dowse.evaluate.runs import Ranking, Run, read_run, write_run


def test_equal_scores_are_ordered_by_id_from_the_end_as_in_trec_eval():
    run = Run.from_scores("r", {"q": {"a": 1.0, "c": 2.0, "b": 1.0}})
    assert list(run["q"]) == ["c", "b", "a"]
    assert run["q"] == {"c": 2.0, "b": 1.0, "a": 1.0}


def test_a_run_is_the_same_after_writing_and_reading(tmp_path):
    scores = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    run = Run.from_scores(
        "my run", {"q1": {f"d{n}": float(s) for n, s in enumerate(scores)}, "q2": {"https://x/a.py#L1-L2": 0.1}}
    )
    write_run(run, tmp_path / "deep" / "run.trec")
    again = read_run(tmp_path / "deep" / "run.trec")
    assert {key: again[key] for key in again} == {key: run[key] for key in run}
    assert [list(again[key]) for key in again] == [list(run[key]) for key in run]
    assert again.name == "my_run" and len(again) == 2
    first = (tmp_path / "deep" / "run.trec").read_text().splitlines()[0].split()
    assert first[:2] == ["q1", "Q0"] and first[3] == "1" and len(first) == 6


def test_a_run_keeps_its_order_where_scores_are_equal(tmp_path):
    scores = np.array([0.9, 0.5, 0.5, 0.5, np.nextafter(np.float32(0.5), np.float32(0)), 0, 0, -1], np.float32)
    ids = ["d1", "d2", "d3", "d9", "d8", "d4", "d5", "d7"]
    write_run(Run("r", {"q": Ranking(ids, scores)}), tmp_path / "run")
    again = read_run(tmp_path / "run").rankings["q"]
    assert list(again.document_ids) == ids
    np.testing.assert_allclose(again.scores, scores, atol=1e-6)
    assert (again.scores[[0, 1, 5, 7]] == scores[[0, 1, 5, 7]]).all(), "scores change where they are equal only"


def test_an_id_with_white_space_cannot_be_written(tmp_path):
    run = Run("r", {"q": Ranking(["a b"], np.ones(1, np.float32))})
    with pytest.raises(DataError, match="id 'a b' has white space"):
        write_run(run, tmp_path / "run.trec")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("q Q0 d 1 0.5\n", "line 1: 'q Q0 d 1 0.5' is not of a TREC run"),
        ("q Q0 d 1 high r\n", "is not of a TREC run"),
        ("\nq Q0 d 1 nan r\n", "line 2: has a score that is no number"),
        ("q Q0 d 1 2 r\nq Q0 d 2 1 r\n", "line 2: ranks a document twice"),
        ("\n", "is empty"),
    ],
)
def test_a_faulty_run_is_named_with_its_line(tmp_path, text, fault):
    (tmp_path / "run").write_text(text)
    with pytest.raises(DataError, match=fault):
        read_run(tmp_path / "run")


def test_a_run_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.trec cannot be read"):
        read_run(tmp_path / "gone.trec")
