"""A whole searcher on a task: the corpus as files, Dowse's own search over them."""

from contextlib import contextmanager

from evaluating import small_task

from dowse.evaluate.harness import measure
from dowse.evaluate.tasks import bare
from dowse.evaluate.trees import evaluate_searcher
from dowse.search.searcher import Searcher
from dowse.types import Document


@contextmanager
def opened(tree, index):
    with Searcher.open([tree], {"index": {"directory": str(index)}}) as searcher:
        yield searcher


LINES = "".join(f"def step_{n}(upload):\n    return upload.retry({n}) + {n}\n\n\n" for n in range(90))
CORPUS = small_task().corpus | {
    "long": bare(LINES, "python"),
    "placed": Document("kit", "../src/dates/iso.go", 1, 1, "go", None, "function", "func ParseDate(text string) int"),
}


def test_documents_are_found_once_each_however_often_they_are_cut():
    task = small_task(corpus=CORPUS)
    run, unindexed = evaluate_searcher(task, opened)
    assert unindexed == 0 and set(run) == set(task.queries)
    assert "long" in run["q1"] and set(run["q1"]) <= set(CORPUS)
    assert measure(task, run).means["mrr@10"] > 0.7
    values = list(run["q1"].values())
    assert values == sorted(values, reverse=True)


def test_pools_depth_exclusions_and_queries_without_words():
    task = small_task(
        queries=small_task().queries | {"q4": "?!"},
        pools={"p": ["upload", "date"]},
        pool_of={"q1": "p"},
        excluded={"q2": "date"},
    )
    told = []
    run, _ = evaluate_searcher(task, opened, depth=2, told=lambda *news: told.append(news))
    assert set(run["q1"]) <= {"upload", "date"} and run["q4"] == {}
    assert "date" not in run["q2"] and all(len(run[key]) <= 2 for key in run)
    assert told[-1] == ("searching", 4, 4)


def test_what_is_not_indexed_is_counted():
    task = small_task(corpus=small_task().corpus | {"page": bare("a page of prose", "unknown")})
    assert evaluate_searcher(task, opened)[1] == 1
