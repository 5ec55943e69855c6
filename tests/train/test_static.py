import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentence_transformers as st
from commands import dowse
from safetensors.numpy import load_file
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from training import label_folder, mine_folder, write_encoder

from dowse.errors import ConfigError, DataError
from dowse.mine import pairs as mined
from dowse.models.static import StaticEncoder
from dowse.train.export import export_model2vec, quantise
from dowse.train.recipes import changed
from dowse.train.static import STATIC_TRAINING, SquareRootBag, StaticOptions, train_static


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return mine_folder(tmp_path_factory.mktemp("mined"))


def options(base: Path, **changes) -> StaticOptions:
    settings = {"epochs": 6, "batch_size": 32, "learning_rate": 0.02}
    return StaticOptions(base, vocabulary=120, dimensions=16, training=changed(STATIC_TRAINING, settings | changes))


@pytest.fixture(scope="module")
def trained(base, pairs, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "model"
    train_static(pairs, output, options(base))
    return output


def hit_rate(encoder: StaticEncoder, pairs: Path) -> float:
    """Return how often a query of the development repository finds its own function first."""
    rows = [row for row in mined.read_rows(pairs) if row["split"] == "dev"]
    documents = [row["text_without_comments"] for row in rows]
    cosines = encoder.encode_queries([row["query"] for row in rows]) @ encoder.encode_documents(documents).T
    return float((cosines.argmax(axis=1) == np.arange(len(rows))).mean())


def test_training_teaches_a_repository_that_was_not_trained_on(base, pairs, trained, tmp_path):
    train_static(pairs, tmp_path / "still", options(base, learning_rate=1e-9, epochs=1))
    untrained = hit_rate(StaticEncoder.load(tmp_path / "still" / "int8"), pairs)
    assert hit_rate(StaticEncoder.load(trained / "int8"), pairs) > max(0.8, untrained)


def test_the_same_seed_gives_the_same_model(base, pairs, trained, tmp_path):
    train_static(pairs, tmp_path / "again", options(base))
    again, first = StaticEncoder.load(tmp_path / "again" / "int8"), StaticEncoder.load(trained / "int8")
    assert again.fingerprint == first.fingerprint
    train_static(pairs, tmp_path / "other", options(base, seed=1))
    assert StaticEncoder.load(tmp_path / "other" / "int8").fingerprint != first.fingerprint


def test_the_trained_folder_loads_in_sentence_transformers_and_embeds_alike_where_no_token_is_repeated(trained):
    texts = ["read the file", "sortImage(merge_table)", "token"]
    theirs = st.SentenceTransformer(str(trained), device="cpu").encode(texts, normalize_embeddings=True)
    ours = StaticEncoder.load(trained / "int8").encode_documents(texts)
    assert (theirs * ours).sum(axis=1).min() > 0.999


def test_the_folder_for_other_tools_holds_the_vectors_that_search_uses(trained, tmp_path):
    export_model2vec(trained / "int8", tmp_path / "model2vec")
    module = StaticEmbedding.load(str(tmp_path / "model2vec"))
    model = st.SentenceTransformer(modules=[module], device="cpu")
    texts = ["read the file", "sortImage(merge_table)"]
    theirs = model.encode(texts, normalize_embeddings=True)
    assert np.allclose(theirs, StaticEncoder.load(trained / "int8").encode_documents(texts), atol=1e-6)


def test_other_tools_count_a_repeated_token_in_full_where_search_takes_the_root(trained, tmp_path):
    export_model2vec(trained / "int8", tmp_path / "model2vec")
    ours = StaticEncoder.load(trained / "int8")
    tools = [
        st.SentenceTransformer(str(trained), device="cpu"),
        st.SentenceTransformer(modules=[StaticEmbedding.load(str(tmp_path / "model2vec"))], device="cpu"),
    ]
    times = [("read", 9), ("file", 4), ("table", 1)]
    text = " ".join(" ".join([word] * count) for word, count in times)
    table = load_file(tmp_path / "model2vec" / "model.safetensors")["embeddings"]
    numbers = Tokenizer.from_file(str(trained / "tokenizer.json")).get_vocab()
    vectors = [table[numbers[word]] for word, _ in times]
    linear = sum(count * vector for (_, count), vector in zip(times, vectors, strict=True))
    roots = sum(np.sqrt(count) * vector for (_, count), vector in zip(times, vectors, strict=True))
    [of_search] = ours.encode_documents([text])
    assert of_search @ roots / np.linalg.norm(roots) > 0.9999
    for tool in tools:
        [other] = tool.encode([text], normalize_embeddings=True)
        assert other @ linear / np.linalg.norm(linear) > 0.999
        assert 0.8 < other @ of_search < 0.99


def test_a_word_that_cannot_be_spelt_has_a_zero_vector_after_training(trained):
    weights = st.SentenceTransformer(str(trained), device="cpu")[0].embedding.weight.detach().numpy()
    assert not weights[0].any() and np.linalg.norm(weights[1:], axis=1).min() > 0


def test_the_card_and_the_manifest_say_how_the_model_was_made(trained, pairs):
    config = json.loads((trained / "int8" / "config.json").read_text())
    manifest = json.loads((trained / "manifest.json").read_text())
    assert config["trained"]["rows"] == {"queries": 160, "questions": 0, "documents": 160, "labels": 0}
    assert config["trained"]["table"]["dimensions"] == 16 == config["dimensions"]
    assert manifest["seed"] == 0 and manifest["config"]["learning_rate"] == 0.02
    assert manifest["config"]["table"] == {"rarity": 2e-3, "vocabulary": 120, "dimensions": 16, "runs": 1}
    assert list(manifest["inputs"]) == [path.as_posix() for path in mined.shards(pairs)]


def test_a_table_of_several_runs_is_their_mean_and_goes_on_where_it_was_stopped(
    base, pairs, trained, tmp_path, monkeypatch
):
    def table(folder: Path) -> np.ndarray:
        return st.SentenceTransformer(str(folder), device="cpu")[0].embedding.weight.detach().numpy()

    train_static(pairs, tmp_path / "other", options(base, seed=1))
    several = replace(options(base), runs=2)
    with monkeypatch.context() as patched:
        patched.setattr("dowse.train.static._save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_static(pairs, tmp_path / "several", several)
    card = train_static(pairs, tmp_path / "several", several)
    np.testing.assert_allclose(table(tmp_path / "several"), (table(trained) + table(tmp_path / "other")) / 2, atol=1e-6)
    assert card["settings"]["seed"] == 0 and card["table"]["runs"] == 2


def test_a_table_of_another_size_does_not_go_on_from_a_checkpoint(base, pairs, trained):
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(table\)"):
        train_static(pairs, trained, replace(options(base), vocabulary=100))


def test_labelled_rows_by_themselves_train_a_table_too_and_longer_vectors_than_the_bases_are_refused(
    base, pairs, tmp_path
):
    labelled = label_folder(pairs, tmp_path / "labelled")
    singly = options(base, group_by_query=False, max_steps=2)
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"query": "read the file", "code": "def one(a):\n    return a + 1\n"}) + "\n")
    card = train_static(labelled, tmp_path / "out", singly, [asked], [asked])
    assert card["questions_in_benchmarks"] == card["rows"]["questions"] == 1
    assert card["rows"]["queries"] > 160 and (tmp_path / "out" / "int8" / "config.json").is_file()
    with pytest.raises(ConfigError, match="dimensions is 33, expected at most the 32 of"):
        train_static(labelled, tmp_path / "wide", replace(singly, dimensions=33))


def test_quantised_rows_are_within_half_a_step_and_zero_rows_stay_zero():
    weights = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32) * np.logspace(-4, 2, 50)[:, None]
    weights[7] = 0
    rows, scales = quantise(weights.astype(np.float32))
    assert rows.dtype == np.int8 and scales.dtype == np.float32
    assert (np.abs(rows * scales[:, None] - weights) <= scales[:, None] * 0.501).all()
    assert not rows[7].any() and (np.abs(rows).max(axis=1)[np.arange(50) != 7] == 127).all()


def test_the_module_pools_as_the_shipped_encoder_does(trained):
    plain = st.SentenceTransformer(str(trained), device="cpu")[0]
    module = SquareRootBag(plain.tokenizer, embedding_weights=plain.embedding.weight.detach())
    texts = ["read read read read the file", "def sortImage(image): return image", "", "token"]
    summed = module(module.preprocess(texts))["sentence_embedding"].detach().numpy()
    norms = np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
    ours = StaticEncoder.load(trained / "int8").encode_documents(texts)
    assert ((summed / norms * ours).sum(axis=1)[[0, 1, 3]] > 0.999).all() and not ours[2].any()


def test_pairs_without_the_needed_columns_are_refused(tmp_path, base):
    pq.write_table(pa.table({"query": ["a"], "split": ["train"]}), tmp_path / "kit.docstrings.parquet")
    (tmp_path / "manifest.json").touch()
    with pytest.raises(DataError, match=r"kit\.docstrings\.parquet: no column .*expected a file made by dowse mine"):
        train_static(tmp_path, tmp_path / "out", options(base))


def test_the_command_refuses_pairs_that_are_missing_in_one_line(base, tmp_path):
    arguments = ["train", "retriever", tmp_path / "none", "-o", tmp_path / "out", "--base", base, "--static"]
    done = dowse(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path / 'none'}: does not exist") and "run: dowse mine" in done.stderr
