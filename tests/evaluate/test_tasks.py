"""A task refuses what cannot be measured."""

import pytest
from evaluating import small_task

from dowse.errors import ConfigError, DataError
from dowse.evaluate.tasks import bare
from dowse.types import Document


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"queries": {}, "qrels": {}}, "there is no query"),
        ({"qrels": {"stranger": {"upload": 1}}}, "query 'stranger' does not exist"),
        ({"qrels": {"q1": {"nothing": 1}}}, "document of query q1 'nothing' does not exist"),
        ({"qrels": {"q1": {"upload": 0}}}, "query q1 has no relevant document"),
        ({"pool_of": {"q1": "lost"}}, "pool of query q1 'lost' does not exist"),
        ({"pools": {"p": ["nothing"]}}, "document of pool p 'nothing' does not exist"),
    ],
)
def test_references_that_lead_nowhere_are_refused(change, fault):
    with pytest.raises(DataError, match=fault):
        small_task(**change)


def test_models_are_given_path_and_symbol_where_there_are_any():
    placed = Document("kit", "src/net/client.py", 3, 4, "python", "Client.send", "method", "def send(self): ...")
    task = small_task(corpus=small_task().corpus | {"placed": placed})
    assert task.texts["placed"].endswith("\ndef send(self): ...")
    assert "net/client.py" in task.texts["placed"] and "Client.send" in task.texts["placed"]
    assert task.texts["date"] == task.corpus["date"].text


def test_a_sample_keeps_the_corpus_and_repeats():
    some = small_task().sample(2, seed=1)
    assert len(some.queries) == 2 and some.queries == small_task().sample(2, seed=1).queries
    assert set(some.qrels) == set(some.queries) and len(some.corpus) == 5
    assert small_task().sample(99).queries == small_task().queries
    with pytest.raises(ConfigError, match="expected at least 1"):
        small_task().sample(0)


def test_bare_code_has_no_place():
    document = bare("a\nb", "go")
    assert (document.path, document.symbol, document.start_line, document.end_line) == ("", None, 1, 2)


def test_queries_are_asked_of_their_pool_or_of_the_whole_corpus_each_document_once():
    whole, queries = list(small_task().corpus), list(small_task().queries)
    assert list(small_task().by_pool()) == [(whole, queries)]
    pooled = small_task(pools={"p": [whole[1], whole[0], whole[1]], "empty": []}, pool_of={queries[1]: "p"})
    assert list(pooled.by_pool()) == [(whole, [queries[0], *queries[2:]]), ([whole[1], whole[0]], [queries[1]])]
