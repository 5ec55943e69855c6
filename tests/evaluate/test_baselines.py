"""BM25 against its formula, in pools, and where nothing is shared."""

import math

import pytest
from evaluating import small_task

from dowse.evaluate.baselines import evaluate_bm25
from dowse.evaluate.harness import measure
from dowse.languages.terms import terms
from dowse.models.bm25 import BM25, K1, B


def test_scores_are_those_of_the_formula():
    task = small_task()
    documents = {key: terms(text) for key, text in task.texts.items()}
    mean_length = sum(map(len, documents.values())) / len(documents)

    def weight(term, document):
        # Lucene's BM25, which is the library's: idf = ln(1 + (N - n + 0.5) / (n + 0.5)).
        n = sum(term in other for other in documents.values())
        idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
        count = document.count(term)
        return idf * count / (count + K1 * (1 - B + B * len(document) / mean_length))

    run = evaluate_bm25(task)
    for query_id, query in task.queries.items():
        wanted = {key: sum(weight(term, doc) for term in terms(query)) for key, doc in documents.items()}
        assert run[query_id] == pytest.approx({key: value for key, value in wanted.items() if value > 0}, rel=1e-5)
    assert measure(task, run).means["mrr@10"] == 1.0


def test_words_are_compared_as_in_the_index():
    bm25 = BM25(["def getUserNames(self): ...", "def parse(text): ..."])
    assert bm25.scores("the name of a user").argmax() == 0 and bm25.scores("names")[1] == 0.0


def test_pools_exclusions_and_words_that_nothing_has():
    task = small_task(
        queries=small_task().queries | {"q4": "zebra"},
        pools={"p": ["upload", "date"]},
        pool_of={"q1": "p"},
        excluded={"q2": "date"},
        depth=1,
    )
    run = evaluate_bm25(task)
    assert list(run["q1"]) == ["upload"] and run["q4"] == {} and "date" not in run["q2"]
    assert all(len(run[key]) <= 1 for key in run)
