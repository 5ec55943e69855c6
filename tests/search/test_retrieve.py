import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from biencoders import write_biencoder
from sources import write_files

from dowse import Searcher
from dowse.errors import ConfigError, IndexFormatError
from dowse.models.biencoder import BiEncoder
from dowse.search import retrieve
from dowse.search.only import Only


class Counting:
    """A bi-encoder that counts the documents it embeds."""

    def __init__(self, encoder):
        self._encoder, self.embedded = encoder, 0
        self.dimensions, self.fingerprint = encoder.dimensions, encoder.fingerprint

    def encode_queries(self, queries):
        return self._encoder.encode_queries(queries)

    def encode_documents(self, texts):
        self.embedded += len(texts)
        return self._encoder.encode_documents(texts)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return BiEncoder.load(write_biencoder(tmp_path_factory.mktemp("retriever") / "model"))


@pytest.fixture
def encoder(model):
    return Counting(model)


@pytest.fixture
def searcher(project, index_dir, encoder):
    with opened(project, index_dir, encoder) as searcher:
        yield searcher


def opened(project, index_dir, encoder, **search):
    overrides = {"index": {"directory": str(index_dir)}, "search": {"budget_ms": 600_000} | search}
    plain = Searcher.open([Path(project)], overrides)
    return Searcher(plain.roots, plain.encoder, retriever=encoder)


def places(hits):
    return [hit.document.location for hit in hits]


def test_the_second_stage_says_more_than_the_first_about_the_same_documents(searcher):
    (first, instant), (second, ranked) = searcher.stages("upload again after a failed attempt", top_k=50)
    assert (first, second) == Searcher.STAGES[:2]
    assert sorted(places(instant)) == sorted(places(ranked))
    assert ranked[0].document.symbol == "UploadClient.retry_upload"
    assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)
    assert [hit.score for hit in ranked] != [hit.score for hit in instant]


def test_a_mode_ends_with_its_stage_and_says_which_models_it_lacks(searcher, encoder):
    answers = dict(searcher.stages("retry an upload"))
    assert searcher.search("retry an upload") == searcher.search("retry an upload", mode="balanced")
    assert searcher.search("retry an upload") == answers["retriever"]
    made = encoder.embedded
    assert searcher.search("delete a stored file", mode="instant") and encoder.embedded == made
    assert [searcher.missing(mode) for mode in ("instant", "balanced", "best")] == [[], [], ["ranker"]]
    with pytest.raises(ConfigError, match="mode is 'balance'; did you mean 'balanced'"):
        searcher.search("retry", mode="balance")


def test_a_document_is_embedded_once_however_often_and_by_whomever_it_is_asked_for(
    project, index_dir, searcher, encoder
):
    before = searcher.search("retry an upload", top_k=50)
    made = encoder.embedded
    assert made == len(before) == len(list(searcher.documents()))
    assert places(searcher.search("retry an upload", top_k=50)) == places(before)
    with opened(project, index_dir, encoder) as another:
        assert places(another.search("retry an upload", top_k=50)) == places(before)
    assert encoder.embedded == made


def test_only_the_best_candidates_are_embedded(project, index_dir, encoder):
    with opened(project, index_dir, encoder, n_embedded=3) as searcher:
        searcher.search("retry an upload", top_k=2)
        assert encoder.embedded == 3
        assert len(searcher.search("retry an upload", top_k=50)) == len(list(searcher.documents()))


def test_without_any_time_the_order_is_an_order_all_the_same(searcher, encoder):
    _, candidates = searcher.candidates("retry an upload")
    stores = [root.store for root in searcher.roots]
    vector = encoder.encode_queries(["retry an upload"])[0]
    every = np.arange(len(candidates.ids))
    cosines = retrieve.similarities(encoder, stores, vector, candidates, every, until=time.monotonic())
    assert encoder.embedded == 0 and np.isnan(cosines).all()
    cosines = retrieve.similarities(encoder, stores, vector, candidates, every, until=float("inf"))
    assert np.isfinite(cosines).all()


def test_a_root_without_candidates_is_asked_nothing(searcher, encoder):
    _, candidates = searcher.candidates("retry an upload")
    embedding = encoder.encode_queries(["retry an upload"])[0]
    every = np.arange(len(candidates.ids))
    nothing_to_ask = [searcher.roots[0].store, None]
    cosines = retrieve.similarities(encoder, nothing_to_ask, embedding, candidates, every, until=float("inf"))
    assert np.isfinite(cosines).all()


def test_what_is_gone_between_two_stages_is_left_out_of_the_later_one(project, searcher, index_dir):
    stages = searcher.stages("retry an upload", top_k=50)
    _, instant = next(stages)
    store = searcher.roots[0].store
    (last,) = store.entries(store.ids()[-1:]).values()
    (project / last.path).unlink()
    Searcher.from_path(project, index_dir).close()
    assert last.path not in {hit.document.path for hit in searcher.search("retry", mode="instant")}
    ((_, later),) = stages
    assert {hit.document.path for hit in later} == {hit.document.path for hit in instant} - {last.path}


def test_a_budget_that_is_spent_leaves_every_document_in_the_answer(project, index_dir, encoder):
    with opened(project, index_dir, encoder, budget_ms=1) as searcher:
        assert len(searcher.search("retry an upload", top_k=50)) == len(list(searcher.documents()))


def test_filling_embeds_the_rest_and_then_the_bi_encoder_brings_up_candidates(project, index_dir, encoder, monkeypatch):
    monkeypatch.setattr(retrieve, "TEXTS_KEPT_AT_ONCE", 2)
    with opened(project, index_dir, encoder) as searcher:
        n = len(list(searcher.documents()))
        told = []
        assert searcher.fill(0) == n and encoder.embedded == 0
        assert searcher.fill(progress=lambda done, total: told.append((done, total))) == 0
        assert encoder.embedded == n and told[-1] == (n, n) and told == sorted(told)
        assert searcher.fill() == 0 and encoder.embedded == n
        store = searcher.roots[0].store
        vector = encoder.encode_queries(["format a price in a currency"])[0]
        ids, cosines = retrieve.nearest(encoder, store, vector, 3, None)
        assert len(ids) == 3 and cosines.tolist() == sorted(cosines.tolist(), reverse=True)
        typescript = Only(languages=("typescript",)).filter(searcher.roots[0].path)
        among = store.entries(retrieve.nearest(encoder, store, vector, 50, typescript)[0])
        assert among and {entry.language for entry in among.values()} == {"typescript"}


def test_filling_ends_where_embeddings_cannot_be_kept_and_is_not_done(project, index_dir, encoder):
    with opened(project, index_dir, encoder) as searcher:
        cache = searcher.roots[0].store.cache(encoder)
        with sqlite3.connect(cache.place, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(
                IndexFormatError, match=r"embeddings cannot be kept in .*retriever\.sqlite, expected room"
            ):
                searcher.fill()
        other.close()
        assert encoder.embedded <= retrieve.TEXTS_KEPT_AT_ONCE and not cache.is_settled
        assert searcher.fill() == 0 and cache.is_settled


def test_what_words_and_static_vectors_miss_the_filled_bi_encoder_brings_up(tmp_path, index_dir, encoder, monkeypatch):
    hours = {f"tests/hour{number}.py": f"def hour{number}(n):\n    return 60 * n * {number}\n" for number in range(9)}
    root = write_files(tmp_path / "many", hours | {"src/b.py": "x = '5m'\n"})
    for name in ("N_LEXICAL", "N_DENSE"):
        monkeypatch.setattr(f"dowse.search.candidates.{name}", 1)
    with opened(root, index_dir, encoder) as searcher:
        assert searcher.search("minutes and seconds", top_k=1)[0].document.path != "src/b.py"
        searcher.fill()
        answers = dict(searcher.stages("minutes and seconds", top_k=1))
        assert answers["instant"][0].document.path != "src/b.py"
        assert answers["retriever"][0].document.path == "src/b.py"


def test_a_changed_file_costs_its_changed_documents_and_a_vanished_one_its_room(project, index_dir, encoder):
    with opened(project, index_dir, encoder) as searcher:
        searcher.fill()
    made = encoder.embedded
    path = project / "src/upload/client.py"
    path.write_text(path.read_text().replace("gave up on", "stopped with"))
    (project / "web/cart.ts").unlink()
    with opened(project, index_dir, encoder) as searcher:
        assert searcher.fill() == 0
        assert encoder.embedded == made + 1
        rows = searcher.roots[0].store.cache(encoder)._database.execute("SELECT count(*) FROM embeddings").fetchone()
        assert rows[0] == len(set(searcher.roots[0].store.hashes().tolist()))


def test_two_roots_are_ranked_as_one(project, tmp_path, index_dir, encoder):
    other = write_files(
        tmp_path / "other", {"src/upload/client.py": "def upload_again(attempt):\n    return attempt\n"}
    )
    overrides = {"index": {"directory": str(index_dir)}, "search": {"budget_ms": 600_000}}
    plain = Searcher.open([project, other], overrides)
    with Searcher(plain.roots, plain.encoder, retriever=encoder) as searcher:
        searcher.search("upload again", top_k=3)
        assert searcher.fill() == 0
        hits = searcher.search("upload again", top_k=50)
        found = [(hit.document.repository, hit.document.location) for hit in hits]
        assert len(found) == len(set(found)) == len(list(searcher.documents()))
        assert {repository for repository, _ in found[:4]} == {"project", "other"}


def test_off_means_off(project, index_dir, encoder):
    with opened(project, index_dir, encoder, retriever="off") as searcher:
        assert [name for name, _ in searcher.stages("retry an upload")] == ["instant"]
        assert searcher.fill() == 0 and encoder.embedded == 0
    said = r"\[search\] retriever is 'of', and there is no such folder, .*; did you mean 'off'"
    with opened(project, index_dir, None, retriever="of") as searcher, pytest.raises(ConfigError, match=said):
        searcher.search("retry an upload")
