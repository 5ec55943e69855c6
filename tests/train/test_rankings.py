"""Frozen rankings of a corpus: dense, lexical, kept, and faulty."""

import numpy as np
import pytest
from evaluating import WordEncoder

from dowse.errors import ModelError
from dowse.models.ranking import DenseRanking
from dowse.train.rankings import LexicalRanking, freeze

DOCUMENTS = [
    "def retry_upload(path): session put path again after failure",
    "def parse_date(text): split the date into day month year",
    "def sort_users(users): return sorted users by name",
    "def close_socket(socket): shut the socket",
]
QUERIES = ["parse a date into year month day", "sort users by name", "zzz"]


def test_dense_ranks_are_those_of_all_cosines():
    encoder = WordEncoder()
    cosines = encoder.encode_queries(QUERIES) @ encoder.encode_documents(DOCUMENTS).T
    expected = np.argsort(-cosines, axis=1, kind="stable")
    for depth in (1, 2, 4, 9):
        found = freeze(DenseRanking(encoder), QUERIES, DOCUMENTS, depth)
        assert found.documents.tolist() == expected[:, :depth].tolist()
        assert found.scores == pytest.approx(np.take_along_axis(cosines, found.documents, 1))


def test_lexical_ranks_hold_only_documents_with_a_common_word():
    found = freeze(LexicalRanking(), QUERIES, DOCUMENTS, 3)
    assert found.documents[:2, 0].tolist() == [1, 2]
    assert found.documents[2].tolist() == [-1, -1, -1]
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_a_kept_ranking_is_read_again_for_the_same_texts_alone(tmp_path):
    encoder, kept = WordEncoder(), tmp_path / "run" / "ranking.npz"
    first = freeze(DenseRanking(encoder), QUERIES, DOCUMENTS, 2, kept)
    embedded = encoder.embedded
    again = freeze(DenseRanking(encoder), QUERIES, DOCUMENTS, 2, kept)
    assert encoder.embedded == embedded
    assert np.array_equal(first.documents, again.documents) and np.array_equal(first.scores, again.scores)
    other = freeze(DenseRanking(encoder), QUERIES, DOCUMENTS[::-1], 2, kept)
    assert encoder.embedded > embedded and not np.array_equal(first.documents, other.documents)


def test_processes_that_keep_one_ranking_do_not_take_each_others_file(tmp_path, monkeypatch):
    kept, save = tmp_path / "run" / "ranking.npz", np.savez

    def saved(place, **arrays):
        save(place, **arrays)
        monkeypatch.setattr(np, "savez", save)
        freeze(DenseRanking(WordEncoder()), QUERIES, DOCUMENTS, 2, kept)  # another process, which is done first

    monkeypatch.setattr(np, "savez", saved)
    found = freeze(DenseRanking(WordEncoder()), QUERIES, DOCUMENTS, 2, kept)
    assert list(kept.parent.iterdir()) == [kept]
    assert np.array_equal(np.load(kept)["documents"], found.documents)


@pytest.mark.parametrize("depth", [1, 4])
def test_a_score_that_is_no_number_is_named_with_its_query(depth):
    class Broken(WordEncoder):
        def encode_queries(self, queries):
            rows = self.encode_documents(queries)
            rows[[query.startswith("sort") for query in queries]] = np.nan
            return rows

    with pytest.raises(ModelError, match="the retriever's score for query 'sort users by name' is nan, expected a num"):
        freeze(DenseRanking(Broken()), QUERIES, DOCUMENTS, depth)


def test_a_ranking_of_other_documents_is_refused():
    class Foreign:
        fingerprint = "foreign"

        def rank(self, queries, documents, depth):
            return np.full((len(queries), 1), len(documents)), np.ones((len(queries), 1), np.float32)

    with pytest.raises(ModelError, match=r"ranked \(3, 1\) of 4 documents for 3 queries, expected their positions"):
        freeze(Foreign(), QUERIES, DOCUMENTS, 1)
