"""Retrievers and rankers by name, with a protocol's limits."""

import numpy as np
import pytest
from checkpoints import write_bert, write_roberta
from evaluating import small_task
from labelling import cross_encoder, sentence_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from dowse.errors import ConfigError, ModelError
from dowse.evaluate.cascade import rescore
from dowse.evaluate.encoders import default_retriever, open_encoder, open_ranker
from dowse.evaluate.harness import evaluate
from dowse.evaluate.protocols import OASIS, R2PS, Protocol
from dowse.models.backbones import choose_backbone, load_backbone
from dowse.train.onnx import export_biencoder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sentence_model(tmp_path_factory.mktemp("models") / "tiny")


def test_a_sentence_transformers_folder_ranks_and_reads_no_more_than_a_protocol_says(model):
    whole, cut = open_encoder(str(model), OASIS), open_encoder(str(model), Protocol("cut", 2, 3))
    rows = whole.encode_documents(["sort the list of users", "close"])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0) and rows.dtype == np.float32
    assert whole.fingerprint != cut.fingerprint
    assert whole.fingerprint == open_encoder(str(model), R2PS).fingerprint  # it reads less than 128 tokens anyway
    # Of three tokens two are the model's marks: the first word is all that is read.
    assert cut.encode_documents(["sort the list"]) == pytest.approx(cut.encode_documents(["sort nothing else"]))
    assert not np.allclose(whole.encode_documents(["sort the list"]), whole.encode_documents(["sort of it"]))
    assert len(evaluate(small_task(), whole)["q1"]) == 5


def test_the_limit_binds_a_model_that_a_preset_gave_its_lengths(tmp_path):
    lengths = {"max_query_tokens": 20, "max_document_tokens": 30}
    made = load_backbone(write_bert(tmp_path / "base"), choose_backbone("minilm", **lengths), device="cpu")
    made.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    protocols = (OASIS, R2PS, Protocol("cut", 4, 3))
    whole, r2ps, cut = (open_encoder(str(tmp_path / "model"), protocol) for protocol in protocols)
    # A letter is a token, and two are the model's marks: two letters are read of a query and one of a document.
    assert cut.encode_queries(["sort"]) == pytest.approx(cut.encode_queries(["song"]))
    assert not np.allclose(cut.encode_queries(["sort"]), cut.encode_queries(["send"]))
    assert cut.encode_documents(["sort"]) == pytest.approx(cut.encode_documents(["send"]))
    assert not np.allclose(whole.encode_documents(["sort"]), whole.encode_documents(["send"]))
    assert whole.fingerprint == r2ps.fingerprint != cut.fingerprint
    long = ["merge" * 9]
    assert r2ps.encode_queries(long) == pytest.approx(whole.encode_queries(long)), "a limit lengthens nothing"


def test_a_model_that_reads_data_flow_is_opened_as_it_was_saved(tmp_path):
    lengths = {"max_query_tokens": 40, "max_document_tokens": 90}
    base = write_roberta(tmp_path / "base", head=True)
    made = load_backbone(base, choose_backbone("graphcodebert", **lengths), device="cpu")
    made.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    code = ["def f(a):\n    b = a\n    return b\n"]
    expected = made.encode_document(code, normalize_embeddings=True)
    assert open_encoder(str(tmp_path / "model"), OASIS).encode_documents(code) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ModelError, match="reads data flow, which search does not make; evaluate that folder itself"):
        export_biencoder(tmp_path / "model", tmp_path / "int8", ["a query"], code * 2)


def test_a_table_of_vectors_has_no_length_to_limit(tmp_path):
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "sort": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    table = StaticEmbedding(tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[table], device="cpu").save_pretrained(str(tmp_path / "model"))
    whole, limited = (open_encoder(str(tmp_path / "model"), protocol) for protocol in (OASIS, R2PS))
    assert whole.fingerprint == limited.fingerprint
    assert limited.encode_queries(["sort it"]) == pytest.approx(whole.encode_documents(["sort it"]))


def test_the_static_model_and_the_default_need_no_name():
    assert open_encoder("static", OASIS).dimensions == 256
    assert open_encoder(default_retriever(), OASIS).encode_queries(["sort"]).shape[0] == 1


def test_names_that_lead_nowhere_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such folder, expected a folder of sentence-transformers"):
        open_encoder(str(tmp_path / "gone"), OASIS)
    with pytest.raises(ConfigError, match="a folder without a model"):
        open_encoder(str(tmp_path), OASIS)


def test_a_cross_encoder_is_a_ranker_and_other_folders_are_none(tmp_path, model):
    ranker = open_ranker(str(cross_encoder(tmp_path / "ranker")))
    scores = ranker.score("sort the list", ["close the socket", "sort the list", "count"])
    assert scores.shape == (3,) and scores.dtype == np.float32 and len(set(scores.tolist())) == 3
    run = evaluate(small_task(), open_encoder("static", OASIS))
    assert set(rescore(small_task(), run, ranker, 3).cascade("c")["q1"]) == set(run["q1"])
    with pytest.raises(ConfigError, match=r"holds no config\.json, expected a folder that holds a cross-encoder"):
        open_ranker(str(tmp_path))
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_ranker(str(model))
