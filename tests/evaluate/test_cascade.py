"""The cascade: the first k re-scored, the rest in their order, missed positives missed."""

from dataclasses import replace

import numpy as np
import pytest
from evaluating import LetterRanker, WordEncoder, small_task

from dowse.errors import ConfigError, ModelError
from dowse.evaluate.cascade import Scored, k_curve, rescore
from dowse.evaluate.harness import evaluate, measure
from dowse.evaluate.runs import Ranking, Run
from dowse.models.cascade import AVERAGE, REPLACE, Combination, cascaded, scaled

RUN = Run.from_scores("r", {"q3": {"upload": 0.9, "date": 0.8, "sort": 0.7, "merge": 0.6, "close": 0.5}})
"""`sort` answers q3 and stands third."""


def test_the_rankers_score_replaces_the_retrievers_among_the_first_k():
    scored = rescore(small_task(), RUN, LetterRanker(), 3)
    found = scored.cascade("c")
    assert list(found["q3"]) == ["sort", "upload", "date", "merge", "close"]
    assert scored.scores["q3"].tolist() == pytest.approx([0.0, 0.0, 0.75])
    values = list(found["q3"].values())
    assert values == sorted(values, reverse=True) and len(set(values[2:])) == 3


def test_a_positive_below_the_first_k_is_missed_and_stays_where_it_was():
    found = rescore(small_task(), RUN, LetterRanker(), 2).cascade("c")
    assert list(found["q3"]) == ["upload", "date", "sort", "merge", "close"]
    assert measure(small_task(), found, ("mrr@10",)).per_query["mrr@10"]["q3"] == pytest.approx(1 / 3)


def test_average_and_shares_are_the_formula():
    retriever, ranker = np.array([0.9, 0.1], np.float32), np.array([0.2, 0.6], np.float32)
    assert REPLACE.of(retriever, ranker).tolist() == ranker.tolist()
    assert AVERAGE.of(retriever, ranker) == pytest.approx((retriever + ranker) / 2)
    assert Combination(0.25).of(retriever, ranker) == pytest.approx(0.25 * ranker + 0.75 * retriever)
    assert Combination(0.0).of(retriever, ranker) == pytest.approx(retriever)
    averaged = rescore(small_task(), RUN, LetterRanker(), 3).cascade("c", AVERAGE)["q3"]
    assert [averaged[name] for name in ("upload", "date", "sort")] == pytest.approx([0.5, 0.25, 0.75 / 2], abs=1e-6)


def test_a_share_orders_as_it_does_in_search():
    """Search hands its ranker the first n of what was found, scaled; evaluation those of a run."""
    chance = np.random.default_rng(0)
    for _ in range(50):
        before, said = np.sort(chance.normal(size=9))[::-1].astype(np.float32), chance.random(4).astype(np.float32)
        names = [f"d{at}" for at in range(9)]
        for share in (0.0, 0.3, 0.5, 1.0):
            run = Run("r", {"q1": Ranking(names, before)})
            measured = Scored(run, {"q1": said}).cascade("c", Combination(share))["q1"]
            order, scores = cascaded(scaled(7 * before + 3, 4), said, Combination(share))
            assert list(measured) == [names[at] for at in order.tolist()]
            assert list(measured.values())[:4] == pytest.approx(scores[:4].tolist(), abs=1e-5)


def test_combinations_are_named_and_refused():
    assert Combination.named("replace") == REPLACE and Combination.named("average") == AVERAGE
    for wrong in ("both", "1.5", "-0.1", "nan"):
        with pytest.raises(ConfigError, match="--combine"):
            Combination.named(wrong)


def test_the_curve_over_k_is_what_each_k_gives_by_itself():
    task = small_task()
    run = evaluate(task, WordEncoder())
    curve = k_curve(rescore(task, run, LetterRanker(), 4), (1, 2, 4))
    for k, found in curve.items():
        alone = rescore(task, run, LetterRanker(), k).cascade("c")
        assert [list(found[key]) for key in found] == [list(alone[key]) for key in alone]
    assert list(curve[1]["q1"]) == list(run["q1"])


def test_more_candidates_than_documents_and_none_at_all():
    found = rescore(small_task(), Run.from_scores("r", {"q3": {"sort": 1.0}, "q1": {}}), LetterRanker(), 10)
    assert list(found.cascade("c")["q3"]) == ["sort"] and found.cascade("c")["q1"] == {}
    with pytest.raises(ConfigError, match="expected at least 1"):
        rescore(small_task(), RUN, LetterRanker(), 0)
    with pytest.raises(ConfigError, match="expected at least 1"):
        found.cascade("c", k=0)


@pytest.mark.parametrize("answer", [[1.0], [1.0, float("nan"), 2.0], [[1.0], [2.0], [3.0]]])
def test_a_ranker_that_answers_nonsense_is_stopped(answer):
    class Broken:
        fingerprint = "broken"

        def score(self, query, texts):
            return np.array(answer, np.float32)

    with pytest.raises(ModelError, match="answered 3 texts with"):
        rescore(small_task(), RUN, Broken(), 3)


def test_a_ranker_of_code_alone_is_given_neither_path_nor_symbol():
    class Reading(LetterRanker):
        def __init__(self, reads=None):
            self.given = []
            if reads is not None:
                self.input = reads

        def score(self, query, texts):
            self.given += texts
            return super().score(query, texts)

    task = small_task()
    placed = replace(task.corpus["upload"], path="net/upload.py", symbol="retry")
    task = replace(task, corpus=dict(task.corpus) | {"upload": placed})
    for reads, head in (("code", ""), ("enriched", "net/upload.py retry\n"), (None, "net/upload.py retry\n")):
        ranker = Reading(reads)
        rescore(task, RUN, ranker, 1)
        assert ranker.given == [head + task.corpus["upload"].text]
