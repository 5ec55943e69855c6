import json
import math
import pickle
import re
import runpy
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CODE, UNIXCODER_TOKENS, write_bert, write_qwen, write_roberta
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from dowse.errors import ConfigError, MissingExtraError, ModelError
from dowse.models import backbones
from dowse.models.backbones import PRESETS, Backbone, choose_backbone, load_backbone

QUERIES = ["find the larger of two numbers", "add"]
DOCUMENTS = [CODE, "x = 1"]
LENGTHS = {"max_query_tokens": 40, "max_document_tokens": 90}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny models gain nothing from threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Write one checkpoint for each preset, named after it."""
    base = tmp_path_factory.mktemp("checkpoints")
    write_bert(base / "minilm")
    write_roberta(base / "codebert")
    write_roberta(base / "graphcodebert", head=True)
    write_roberta(base / "unixcoder", tokens=tuple(UNIXCODER_TOKENS), legacy=False)
    write_qwen(base / "oasis")
    return base


def chosen(preset: str, **changes) -> Backbone:
    return choose_backbone(preset, **(changes if preset == "oasis" else LENGTHS | changes))


def opened(folders: Path, preset: str, **changes) -> SentenceTransformer:
    return load_backbone(folders / preset, chosen(preset, **changes), device="cpu")


@pytest.fixture(scope="module")
def models(folders) -> dict[str, SentenceTransformer]:
    """Load each of them once; no test changes them."""
    return {preset: opened(folders, preset) for preset in PRESETS}


def save(model: SentenceTransformer, folder: Path) -> Path:
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def both(model: SentenceTransformer) -> np.ndarray:
    """Embed the queries and the documents, shape (4, D)."""
    return np.concatenate([model.encode_query(QUERIES), model.encode_document(DOCUMENTS)])


@pytest.mark.parametrize(
    ("preset", "pooling", "normalise", "scale", "tokens", "side", "nodes"),
    [
        ("minilm", "mean", True, 20, (128, 256), "right", 0),
        ("codebert", "pooler", False, 1, (128, 256), "right", 0),
        ("graphcodebert", "pooler", False, 1, (128, 256), "right", 64),
        ("unixcoder", "mean", True, 20, (128, 256), "right", 0),
        ("oasis", "last_token", True, 20, (8192, 8192), "left", 0),
    ],
)
def test_presets_have_the_settings_of_the_papers(preset, pooling, normalise, scale, tokens, side, nodes):
    backbone = PRESETS[preset]
    assert (backbone.pooling, backbone.normalise, backbone.scale) == (pooling, normalise, scale)
    assert (backbone.max_query_tokens, backbone.max_document_tokens) == tokens
    assert (backbone.padding_side, backbone.data_flow_nodes) == (side, nodes)
    assert set(PRESETS) == {"minilm", "codebert", "graphcodebert", "unixcoder", "oasis"}


@pytest.mark.parametrize("preset", ["minilm", "codebert", "oasis"])
def test_a_vector_is_what_transformers_gives_pooled_by_hand(folders, models, preset):
    folder, text = folders / preset, "find the larger"
    encoder = AutoModel.from_pretrained(folder, dtype="float32").eval()
    tokens = AutoTokenizer.from_pretrained(folder)([PRESETS[preset].query_prompt + text], return_tensors="pt")
    with torch.inference_mode():
        output = encoder(**tokens)
    hidden = output.last_hidden_state[0].numpy()
    pooled = {"mean": hidden.mean(axis=0), "last_token": hidden[-1]}.get(PRESETS[preset].pooling)
    expected = output.pooler_output[0].numpy() if pooled is None else pooled / np.linalg.norm(pooled)
    np.testing.assert_allclose(models[preset].encode_query(text), expected, atol=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_of_one_equals_a_batch_of_many(models, preset):
    model = models[preset]
    singly = np.concatenate(
        [*(model.encode_query([text]) for text in QUERIES), *(model.encode_document([text]) for text in DOCUMENTS)]
    )
    np.testing.assert_allclose(both(model), singly, atol=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_saved_model_is_the_same_in_plain_sentence_transformers(folders, preset, tmp_path):
    model = opened(folders, preset, query_prompt="Find: ", document_prompt="Code: ")
    save(model, tmp_path)
    plain = SentenceTransformer(str(tmp_path), device="cpu", trust_remote_code=preset == "graphcodebert")
    np.testing.assert_allclose(both(plain), both(model), atol=1e-6)
    assert plain.prompts == model.prompts == {"query": "Find: ", "document": "Code: "}
    assert plain.tokenizer.padding_side == PRESETS[preset].padding_side
    assert plain.similarity_fn_name == ("cosine" if PRESETS[preset].normalise else "dot")
    assert (plain[0].query_length, plain[0].document_length) == (model[0].query_length, model[0].document_length)
    again = load_backbone(tmp_path, chosen(preset), device="cpu")
    np.testing.assert_allclose(both(again), both(model), atol=1e-6)
    assert again.prompts == model.prompts


@pytest.mark.parametrize("preset", ["minilm", "graphcodebert"])
def test_a_saved_model_needs_no_preset(models, preset, tmp_path):
    again = load_backbone(save(models[preset], tmp_path), device="cpu")
    np.testing.assert_allclose(both(again), both(models[preset]), atol=1e-6)
    assert again.prompts == models[preset].prompts


@pytest.mark.parametrize("preset", PRESETS)
def test_the_gradient_reaches_every_weight_that_is_used(folders, preset):
    model = opened(folders, preset).eval()
    features = model.preprocess(DOCUMENTS, task="document")
    model(features)["sentence_embedding"][:, :3].square().sum().backward()
    idle = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.abs().sum() > 0}
    # A key's bias adds the same to every logit of a row, and a pooler that is not asked is not used.
    assert {name for name in idle if not name.endswith("key.bias") and ".pooler." not in name} == set()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)


def test_oasis_puts_its_instruction_before_queries_only(models):
    model = models["oasis"]
    asked = "Instruct: Given a code search query, retrieve relevant code snippet that answer the query\nQuery: add"
    np.testing.assert_array_equal(model.encode_query(["add"]), model.encode([asked]))
    np.testing.assert_array_equal(model.encode_document(["add"]), model.encode(["add"]))


def test_a_chat_template_does_not_dress_texts_up(models):
    model = models["oasis"]
    assert model.tokenizer.chat_template
    assert model.preprocess(["add"])["input_ids"].tolist() == [model.tokenizer.encode("add", add_special_tokens=False)]


def test_decoders_are_padded_at_the_left_and_stay_so_when_saved_before_use(folders, tmp_path):
    save(opened(folders, "oasis"), tmp_path)
    features = SentenceTransformer(str(tmp_path), device="cpu").preprocess(["add two numbers", "x"])
    assert features["attention_mask"][1].tolist() == sorted(features["attention_mask"][1].tolist())
    assert features["attention_mask"][1][0] == 0


def test_queries_and_documents_are_cut_at_their_own_lengths(folders):
    model = opened(folders, "codebert", max_query_tokens=12, max_document_tokens=30)
    for task, length in (("query", 12), ("document", 30), (None, 30)):
        assert model.preprocess([CODE * 5], task=task)["input_ids"].shape == (1, length)


def test_a_missing_pooler_is_drawn_alike_every_time_and_heads_are_left_out(folders):
    first, second = (opened(folders, "graphcodebert", data_flow_nodes=0) for _ in range(2))
    np.testing.assert_array_equal(both(first), both(second))
    names = {name for name, _ in first[0].model.named_parameters()}
    assert "pooler.dense.weight" in names
    assert not any("lm_head" in name for name in names)


def test_loading_leaves_the_chance_and_the_reports_of_others_alone(folders):
    logging.set_verbosity_info()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    opened(folders, "graphcodebert")
    assert torch.equal(torch.rand(3), expected)
    assert logging.get_verbosity() == logging.INFO
    logging.set_verbosity_warning()


def test_old_pickles_new_pickles_and_safetensors_are_one_model(tmp_path):
    vectors = []
    for name, legacy in (("old", True), ("new", False), ("safe", False)):
        folder = write_roberta(tmp_path / name, legacy=legacy)
        if name == "safe":
            weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
            save_file(weights, folder / "model.safetensors", {"format": "pt"})
            (folder / "pytorch_model.bin").unlink()
        vectors.append(both(load_backbone(folder, choose_backbone("codebert", **LENGTHS), device="cpu")))
    assert np.array_equal(vectors[0], vectors[1])
    assert np.array_equal(vectors[0], vectors[2])


def test_nothing_is_fetched_to_load_to_embed_or_to_save(folders, tmp_path, monkeypatch):
    reached = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: reached.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: reached.append(address))
    for preset in ("codebert", "graphcodebert"):
        opened(folders, preset).save_pretrained(str(tmp_path / preset))
        again = load_backbone(tmp_path / preset, device="cpu")
        again.encode_document(DOCUMENTS)
        again.save_pretrained(str(tmp_path / preset / "again"))
    assert reached == []


def test_weights_are_of_the_type_asked_for(folders):
    model = load_backbone(folders / "oasis", "oasis", device="cpu", dtype="bfloat16")
    assert next(model.parameters()).dtype == torch.bfloat16
    np.testing.assert_allclose(np.linalg.norm(both(model), axis=1), 1, atol=0.01)


def test_a_decoder_without_padding_is_padded_with_its_last_token(folders, models, tmp_path):
    folder = shutil.copytree(folders / "oasis", tmp_path / "decoder")
    says = json.loads((folder / "tokenizer_config.json").read_text())
    says["tokenizer_class"], says["pad_token"] = "PreTrainedTokenizerFast", None
    (folder / "tokenizer_config.json").write_text(json.dumps(says))
    model = load_backbone(folder, "oasis", device="cpu")
    assert model.tokenizer.pad_token == "<|im_end|>"
    np.testing.assert_allclose(both(model), both(models["oasis"]), atol=1e-6)


def rewrite(folder: Path, change) -> None:
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    change(weights)
    torch.save(weights, folder / "pytorch_model.bin")


class Harm:
    """A pickle of it writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def rename_all(weights: dict) -> None:
    for name in list(weights):
        weights[f"encoder.{name}"] = weights.pop(name)


def write_config(folder: Path, **changes) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | changes))


DAMAGES = {
    "has no config.json": lambda folder: (folder / "config.json").unlink(),
    "has no weights": lambda folder: (folder / "pytorch_model.bin").rename(folder / "tf_model.h5"),
    "has no tokenizer": lambda folder: (folder / "merges.txt").unlink(),
    "embeddings.word_embeddings.weight is": lambda folder: write_config(folder, vocab_size=400),
    "encoder.layer.1.output.dense.bias is missing": lambda folder: rewrite(
        folder, lambda weights: weights.pop("encoder.layer.1.output.dense.bias")
    ),
    "encoder.layer.1.attention.output.LayerNorm.bias is not part of it": lambda folder: write_config(
        folder, num_hidden_layers=1
    ),
    "embeddings.LayerNorm.bias is missing": lambda folder: rewrite(folder, rename_all),
    "cannot be loaded": lambda folder: (folder / "pytorch_model.bin").write_bytes(b"no weights"),
    "not a valid JSON file": lambda folder: (folder / "config.json").write_text("no json"),
    "model type `unheard_of`": lambda folder: write_config(folder, model_type="unheard_of"),
    "has positions for 60 tokens": lambda folder: shutil.copytree(
        write_roberta(folder.parent / "short", positions=62), folder, dirs_exist_ok=True
    ),
}


@pytest.mark.parametrize("fault", DAMAGES)
def test_a_folder_that_is_no_whole_model_is_refused(folders, tmp_path, fault):
    folder = shutil.copytree(folders / "codebert", tmp_path / "model")
    DAMAGES[fault](folder)
    with pytest.raises(ModelError, match=f"^{re.escape(str(folder))}: .*{re.escape(fault)}"):
        load_backbone(folder, choose_backbone("codebert", **LENGTHS), device="cpu")


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders / "codebert", tmp_path / "model")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(vocabulary | {"one more": len(vocabulary)}))
    with pytest.raises(ModelError, match="does not fit"):
        load_backbone(folder, choose_backbone("codebert", **LENGTHS), device="cpu")


def test_code_in_a_pickle_is_not_run(folders, tmp_path):
    folder = shutil.copytree(folders / "codebert", tmp_path / "model")
    written = tmp_path / "harm"
    for protocol in (2, 4):
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Harm(written)}, protocol))
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_backbone(folder, choose_backbone("codebert", **LENGTHS), device="cpu")
    torch.save({"weight": Harm(written)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_backbone(folder, choose_backbone("codebert", **LENGTHS), device="cpu")
    assert not written.exists()


def test_code_in_a_folder_is_not_run(folders, models, tmp_path):
    folder = shutil.copytree(folders / "codebert", tmp_path / "model")
    (folder / "harm.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'harm')!r}).touch()\n")
    write_config(folder, model_type="harm", auto_map={"AutoConfig": "harm.Config", "AutoModel": "harm.Model"})
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_backbone(folder, "codebert", device="cpu")
    saved = tmp_path / "saved"
    save(models["minilm"], saved)
    shutil.copy(folder / "harm.py", saved)
    modules = json.loads((saved / "modules.json").read_text())
    (saved / "modules.json").write_text(json.dumps([modules[0] | {"type": "harm.Module"}, *modules[1:]]))
    with pytest.raises(ModelError, match=r"needs code of its own, harm\.Module"):
        load_backbone(saved, device="cpu")
    assert not (tmp_path / "harm").exists()


def test_a_module_without_a_path_is_a_damaged_folder(models, tmp_path):
    save(models["minilm"], tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text())
    del modules[0]["path"]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"cannot be loaded \('path'\)"):
        load_backbone(tmp_path, device="cpu")


def test_a_saved_folder_with_weights_of_another_shape_is_refused(models, tmp_path):
    save(models["minilm"], tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:-1].clone()
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="of another shape than BertModel"):
        load_backbone(tmp_path, device="cpu")


def test_a_preset_that_contradicts_the_folder_or_the_model_is_refused(folders, models, tmp_path):
    save(models["minilm"], tmp_path)
    with pytest.raises(ModelError, match="has mean pooling without data flow, expected last_token pooling"):
        load_backbone(tmp_path, "oasis", device="cpu")
    with pytest.raises(ModelError, match="expected mean pooling with data flow"):
        load_backbone(tmp_path, choose_backbone("minilm", data_flow_nodes=3), device="cpu")
    with pytest.raises(ModelError, match="Qwen2Model has no pooler"):
        opened(folders, "oasis", pooling="pooler")
    for preset in ("minilm", "oasis"):
        with pytest.raises(ModelError, match="no position to spare for data flow, expected a RoBERTa"):
            opened(folders, preset, data_flow_nodes=3)
    with pytest.raises(ModelError, match=r"does not say how to pool.*minilm, codebert"):
        load_backbone(folders / "codebert", device="cpu")
    with pytest.raises(ModelError, match="no such folder"):
        load_backbone(tmp_path / "gone", "codebert", device="cpu")


def test_settings_that_cannot_be_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"preset is 'codeberd'.*did you mean 'codebert'"):
        choose_backbone("codeberd")
    with pytest.raises(ConfigError, match=r"no setting 'poling'.*did you mean 'pooling'"):
        choose_backbone("codebert", poling="mean")
    with pytest.raises(ModelError, match="pooling is 'lasttoken'; did you mean 'last_token'"):
        choose_backbone("codebert", pooling="lasttoken")
    with pytest.raises(ModelError, match="padding_side is 'centre', expected left or right"):
        choose_backbone("codebert", padding_side="centre")
    for field in ("scale", "max_query_tokens", "max_document_tokens"):
        with pytest.raises(ModelError, match=f"{field} is 0, expected more than 0"):
            choose_backbone("codebert", **{field: 0})
    for scale in (math.nan, math.inf):
        with pytest.raises(ModelError, match=f"scale is {scale}, expected more than 0, and finite"):
            choose_backbone("codebert", scale=scale)
    with pytest.raises(ModelError, match="data_flow_nodes is -1, expected 0 or more"):
        choose_backbone("codebert", data_flow_nodes=-1)


def test_a_saved_folder_gets_the_normalisation_a_backbone_asks_for(folders, tmp_path):
    save(opened(folders, "minilm", normalise=False), tmp_path)
    norms = [
        np.linalg.norm(both(load_backbone(tmp_path, backbone, device="cpu")), axis=1)
        for backbone in (None, chosen("minilm"))
    ]
    assert not np.allclose(norms[0], 1)
    np.testing.assert_allclose(norms[1], 1, atol=1e-6)


@pytest.mark.parametrize("library", ["sentence_transformers", "transformers", "torch"])
def test_a_missing_library_names_the_extra(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"'\.\[train\]'"):
        runpy.run_path(backbones.__file__)
