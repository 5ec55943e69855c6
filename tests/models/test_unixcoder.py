import json

import numpy as np
import pytest
import torch
from checkpoints import CODE, UNIXCODER_TOKENS, write_roberta
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, RobertaModel

from dowse.errors import ModelError
from dowse.models.backbones import choose_backbone, load_backbone
from dowse.models.unixcoder import with_mode

LENGTHS = {"max_query_tokens": 20, "max_document_tokens": 30}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny models gain nothing from threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_roberta(tmp_path_factory.mktemp("unixcoder") / "base", tokens=tuple(UNIXCODER_TOKENS))


@pytest.fixture(scope="module")
def model(folder) -> SentenceTransformer:
    return load_backbone(folder, choose_backbone("unixcoder", **LENGTHS), device="cpu")


def pieces(model: SentenceTransformer, text: str, task: str = "document") -> list[str]:
    return model.tokenizer.convert_ids_to_tokens(model.preprocess([text], task=task)["input_ids"][0])


def test_every_text_opens_with_the_mode(model):
    assert pieces(model, "q(a)") == ["<s>", "<encoder-only>", "</s>", "q", "(", "a", ")", "</s>"]
    assert pieces(model, "") == ["<s>", "<encoder-only>", "</s>", "</s>"]


def test_the_mode_and_the_end_stay_when_a_text_is_cut(model):
    for task, length in (("query", 20), ("document", 30)):
        cut = pieces(model, CODE * 9, task)
        assert (cut[:3], cut[-1], len(cut)) == (["<s>", "<encoder-only>", "</s>"], "</s>", length)


def test_a_mode_that_stands_in_the_text_is_text(model):
    assert pieces(model, "<encoder-only>").count("<encoder-only>") == 1


def test_a_vector_is_the_unit_mean_of_all_tokens_with_padding_left_out(folder, model):
    encoder, tokenizer = RobertaModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = ["add(a)", CODE]
    for row, text in zip(model.encode_document(texts), texts, strict=True):
        inside = tokenizer.encode(text, add_special_tokens=False)[: LENGTHS["max_document_tokens"] - 4]
        ids = [0, tokenizer.convert_tokens_to_ids("<encoder-only>"), 2, *inside, 2]
        with torch.inference_mode():
            hidden = encoder(torch.tensor([ids])).last_hidden_state[0].numpy()
        total = np.zeros(hidden.shape[1])
        for token in hidden:
            total += token
        np.testing.assert_allclose(row, total / np.linalg.norm(total), atol=1e-6)


def test_a_saved_model_opens_with_the_mode_in_plain_sentence_transformers(model, tmp_path):
    model.save_pretrained(str(tmp_path), create_model_card=False)
    plain = SentenceTransformer(str(tmp_path), device="cpu")
    assert pieces(plain, "add(a)") == pieces(model, "add(a)")
    assert plain.tokenizer.model_max_length == model.tokenizer.model_max_length == 30
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert all(module["type"].startswith("sentence_transformers.") for module in modules)


def test_another_mode_is_read_likewise(folder):
    model = load_backbone(folder, choose_backbone("unixcoder", mode_token="<decoder-only>", **LENGTHS), device="cpu")
    assert pieces(model, "a")[1] == "<decoder-only>"


def test_a_vocabulary_without_the_mode_is_refused(tmp_path):
    folder = write_roberta(tmp_path / "codebert")
    with pytest.raises(ModelError, match="has no token '<encoder-only>', expected that of a UniXcoder"):
        load_backbone(folder, choose_backbone("unixcoder", **LENGTHS), device="cpu")


def test_the_tokens_that_open_a_text_count_as_special(folder):
    tokenizer = with_mode(AutoTokenizer.from_pretrained(folder), "<encoder-only>", folder)
    assert tokenizer.num_special_tokens_to_add() == 4
    assert tokenizer("q", return_special_tokens_mask=True)["special_tokens_mask"] == [1, 1, 1, 0, 1]
