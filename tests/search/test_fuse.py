"""How evidence becomes an order: files by all of it, the documents of a file by what is said of each."""

from dataclasses import replace

import numpy as np
import pytest
from sources import write_files

from dowse import Searcher
from dowse.search.evidence import RETRIEVER_FEATURES
from dowse.search.fuse import fitted_weights, ordered_within, score, settle

METHOD = '''
    def {name}(self, connection=None):
        """{said}"""
        for number, waiting in enumerate(self.waiting):
            if waiting is connection or number > self.size:
                self.log.append((number, waiting))
                continue
            self.counts[number] = self.counts.get(number, 0) + 1
        while self.log and len(self.log) > self.size:
            self.log.pop(0)
        return self.counts
'''
SAID = {
    "acquire": "Wait until a free one may be borrowed.",
    "release": "Give a borrowed one back.",
    "close_all": "Shut every idle one down.",
    "resize": "Change how many there may be.",
    "describe": "Tell operators what happened lately.",
}
MODULE = '''class ConnectionPool:
    """Keeps idle connections to the database and hands them out again."""

    size = 10
''' + "".join(METHOD.format(name=name, said=said) for name, said in SAID.items())


def files_in_order(candidates, order):
    return candidates.files[order].tolist()


@pytest.mark.parametrize(
    "query", ["upload a file again after it failed", "applyDiscount", "parse settings of a server"]
)
def test_the_order_of_files_is_that_of_all_evidence(project, index_dir, query):
    weights = fitted_weights()
    with Searcher.from_path(project, index_dir) as searcher:
        question, candidates = searcher.candidates(query)
    alone = replace(weights, within=None)
    before, scores_before = settle(candidates, score(question, candidates, alone), alone)
    after, scores_after = settle(candidates, score(question, candidates, weights), weights)
    assert files_in_order(candidates, after) == files_in_order(candidates, before)
    assert scores_after.tolist() == scores_before.tolist()
    if question.kind == "symbol":
        assert after.tolist() == before.tolist()


def test_documents_of_a_file_keep_its_scores_and_equal_ones_their_order():
    scores = np.array([5.0, 9.0, 7.0, 1.0], np.float32)
    files = np.array([0, 0, 0, 1])
    assert ordered_within(scores, np.array([2.0, 1.0, 3.0, 0.0], np.float32), files).tolist() == [7, 5, 9, 1]
    assert ordered_within(scores, np.zeros(4, np.float32), files).tolist() == scores.tolist()
    assert ordered_within(scores[:0], scores[:0], files[:0]).tolist() == []


@pytest.mark.parametrize(
    ("query", "symbol"),
    [
        ("keeps idle connections to the database", "ConnectionPool"),
        ("tell operators what happened lately", "ConnectionPool.describe"),
        ("shut every idle one down", "ConnectionPool.close_all"),
    ],
)
def test_of_a_file_the_function_or_class_that_is_asked_for_comes_first(tmp_path, query, symbol):
    project = write_files(tmp_path / "project", {"db/pool.py": MODULE, "db/other.py": "def other():\n    return 1\n"})
    with Searcher.from_path(project, index_dir=tmp_path / "index") as searcher:
        assert searcher.search(query)[0].document.symbol == symbol


def test_every_stage_has_a_weight_for_each_of_its_features():
    for stage in ("instant", "retriever"):
        weights = fitted_weights(stage)
        assert weights.within.shape == weights.features["prose"].shape and weights.within.any()
    assert fitted_weights("retriever").within.shape == (len(RETRIEVER_FEATURES),)
