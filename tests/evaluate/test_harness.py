"""Ranking and measuring: figures worked on paper, agreement with trec_eval, caching, pools."""

import json
import math
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import pytrec_eval
from evaluating import WordEncoder, bare_task, small_task

from dowse.errors import ConfigError, ModelError
from dowse.evaluate.harness import METRICS, evaluate, measure, score
from dowse.evaluate.runs import Run


def ranked(*ids):
    return {document_id: float(len(ids) - at) for at, document_id in enumerate(ids)}


def test_figures_are_those_worked_on_paper():
    task = bare_task({"a": {"x": 1}, "b": {"x": 1, "y": 1}, "c": {"z": 1}}, ["u", "v", "w"])
    run = {"a": ranked("u", "x"), "b": ranked("y", "u", "x"), "c": ranked("u", "v", "w")}
    figures = measure(task, run, ("mrr@10", "mrr@1", "map", "recall@1", "recall@100", "ndcg@10", "precision@1"))
    assert figures.means == pytest.approx(
        {
            "mrr@10": (1 / 2 + 1 + 0) / 3,
            "mrr@1": 1 / 3,
            "map": (1 / 2 + (1 + 2 / 3) / 2 + 0) / 3,
            "recall@1": (0 + 1 / 2 + 0) / 3,
            "recall@100": (1 + 1 + 0) / 3,
            "ndcg@10": (1 / math.log2(3) + (1 + 1 / 2) / (1 + 1 / math.log2(3)) + 0) / 3,
            "precision@1": 1 / 3,
        }
    )
    assert figures.per_query["mrr@10"] == pytest.approx({"a": 0.5, "b": 1.0, "c": 0.0})
    assert (figures.n_queries, figures.n_documents) == (3, 6)


def test_graded_relevance_gains_what_it_says_and_a_judged_zero_gains_nothing():
    task = bare_task({"a": {"x": 3, "y": 1, "z": 0}}, ["u"])
    run = {"a": ranked("u", "y", "z", "x")}
    found = measure(task, run, ("ndcg@10", "judged-ndcg@10", "mrr@10")).means
    ideal = 3 + 1 / math.log2(3)
    assert found["ndcg@10"] == pytest.approx((1 / math.log2(3) + 3 / math.log2(5)) / ideal)
    assert found["judged-ndcg@10"] == pytest.approx((1 + 3 / 2) / ideal)
    assert found["mrr@10"] == pytest.approx(1 / 2)


def test_a_query_that_is_not_answered_scores_zero_and_one_that_is_not_asked_is_passed_over():
    task = bare_task({"a": {"x": 1}, "b": {"x": 1}})
    figures = measure(task, {"a": ranked("x"), "stranger": ranked("x")}, ("mrr@10",))
    assert figures.per_query["mrr@10"] == {"a": 1.0, "b": 0.0}
    assert figures.means == {"mrr@10": 0.5}


@pytest.mark.parametrize("seed", range(4))
def test_metrics_agree_with_trec_eval_on_random_runs_with_ties_and_missing_queries(seed):
    chance = random.Random(seed)
    documents = [f"d{number}" for number in range(60)]
    qrels = {f"q{n}": {d: chance.randint(0, 2) for d in chance.sample(documents, 8)} for n in range(30)}
    for judged in qrels.values():
        judged[chance.choice(sorted(judged))] = 1
    run = {
        key: {d: chance.randint(0, 5) / 4 for d in chance.sample(documents, chance.randint(1, 60))}
        for key in chance.sample(sorted(qrels), 25)
    }
    theirs = pytrec_eval.RelevanceEvaluator(
        qrels, {"map", "ndcg_cut_10", "recall_20", "recip_rank", "P_5", "success_5"}
    ).evaluate(run)
    names = {
        "map": "map",
        "ndcg@10": "ndcg_cut_10",
        "recall@20": "recall_20",
        "mrr": "recip_rank",
        "precision@5": "P_5",
        "success@5": "success_5",
    }
    ours = score(qrels, Run.from_scores("random", run), tuple(names))
    for own, their in names.items():
        assert ours[own] == pytest.approx({key: theirs[key][their] if key in theirs else 0.0 for key in qrels})
    cut = score(qrels, Run.from_scores("random", run), ("mrr@3", "mrr@1000"))
    assert cut["mrr@1000"] == pytest.approx(ours["mrr"])
    assert cut["mrr@3"] == pytest.approx({key: value if value > 1 / 4 else 0.0 for key, value in ours["mrr"].items()})


def test_means_are_given_by_language_and_by_kind_of_query_with_intervals_around_them():
    task = small_task()
    run = {"q1": ranked("upload"), "q2": ranked("sort", "date"), "q3": ranked("sort"), "q4": ranked("date")}
    figures = measure(task, run, ("mrr@10",))
    assert {name: group["mrr@10"].value for name, group in figures.by_language.items()} == {"go": 0.5, "python": 0.75}
    assert {name: group["mrr@10"].n for name, group in figures.by_category.items()} == {"semantic": 2, "symbol": 2}
    mean = figures.overall["mrr@10"]
    assert 0 <= mean.low < mean.value < mean.high <= 1
    assert measure(task, run, ("mrr@10",)) == figures
    assert measure(task, run, ("mrr@10",), seed=1).overall["mrr@10"].value == mean.value


def test_a_metric_that_does_not_exist_is_named():
    for wrong in ("mrr@0", "recall", "accuracy", "mrr@10 "):
        with pytest.raises(ConfigError, match="expected one such as mrr@1000"):
            measure(small_task(), {}, (wrong,))


def test_ranking_is_by_the_dot_product_over_every_document():
    task, encoder = small_task(), WordEncoder()
    run = evaluate(task, encoder)
    documents = encoder.encode_documents([document.text for document in task.corpus.values()])
    for query_id, query in task.queries.items():
        wanted = dict(zip(task.corpus, (documents @ encoder.encode_queries([query])[0]).tolist(), strict=True))
        assert run[query_id] == pytest.approx(wanted)
        assert list(run[query_id]) == sorted(wanted, key=lambda key: (wanted[key], key), reverse=True)
    assert measure(task, run).means["mrr@10"] > 0.7


def test_pools_depth_and_a_query_that_is_itself_a_document():
    task = small_task(
        pools={"first": ["upload", "date"], "second": ["sort", "merge", "close"]},
        pool_of={"q1": "first", "q2": "first", "q3": "second"},
        excluded={"q1": "date"},
        depth=2,
    )
    run = evaluate(task, WordEncoder())
    assert list(run["q1"]) == ["upload"]
    assert sorted(run["q2"]) == ["date", "upload"]
    assert len(run["q3"]) == 2 and set(run["q3"]) <= {"sort", "merge", "close"}
    assert len(run["q4"]) == 2
    assert list(run) == ["q1", "q2", "q3", "q4"]


def test_embeddings_are_kept_by_content_and_encoder(tmp_path):
    cache = tmp_path / "embeddings.sqlite"
    first, again, other = WordEncoder(), WordEncoder(), WordEncoder("words-2")
    run = evaluate(small_task(), first, cache=cache)
    assert first.embedded == 9
    assert evaluate(small_task(), again, cache=cache).rankings.keys() == run.rankings.keys() and again.embedded == 0
    assert {key: evaluate(small_task(), again, cache=cache)[key] for key in run} == {key: run[key] for key in run}
    evaluate(small_task(), other, cache=cache)
    assert other.embedded == 9
    (tmp_path / "other").write_text("not a cache")
    with pytest.raises(ModelError, match="cannot be used as a cache"):
        evaluate(small_task(), first, cache=tmp_path / "other")


def test_progress_is_told_up_to_the_end():
    told = []
    evaluate(small_task(), WordEncoder(), told=lambda *news: told.append(news))
    assert {stage: done / total for stage, done, total in told} == {
        "embedding documents": 1,
        "embedding queries": 1,
        "ranking": 1,
    }


def test_a_text_without_direction_is_ranked_by_its_id_alone():
    class Blind(WordEncoder):
        def encode_queries(self, texts):
            return np.zeros((len(texts), self.dimensions), np.float32)

    run = evaluate(small_task(), Blind())
    assert list(run["q1"]) == sorted(small_task().corpus, reverse=True)


def test_evaluating_loads_no_torch():
    script = (
        "import sys, json\nimport dowse.evaluate.cosqa, dowse.evaluate.mined, dowse.evaluate.suite\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert {"torch", "transformers", "sentence_transformers"} & set(json.loads(done.stdout)) == set()


def test_every_default_metric_is_measured():
    assert tuple(measure(small_task(), evaluate(small_task(), WordEncoder())).means) == METRICS
