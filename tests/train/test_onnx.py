import json

import numpy as np
import onnx
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

from dowse.errors import ModelError
from dowse.models.biencoder import BiEncoder
from dowse.train.onnx import ExportOptions, export_biencoder

WORDS = [
    "retry",
    "upload",
    "failed",
    "again",
    "price",
    "format",
    "money",
    "router",
    "path",
    "handler",
    "cache",
    "delete",
]
DIMENSIONS = 32


def write_sentence_transformer(folder, pooling, seed=0):
    """A sentence-transformers folder with a random BERT of one layer, as the library itself saves it."""
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokens = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **tokens)
    set_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=DIMENSIONS, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    bert = folder / "bert"
    BertModel(config).save_pretrained(bert)
    fast.save_pretrained(bert)
    parts = [Transformer(str(bert), max_seq_length=32), Pooling(DIMENSIONS, pooling), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"


def texts(n, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(2, 20))) for _ in range(n)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return write_sentence_transformer(tmp_path_factory.mktemp("trained"), "mean")


def torch_rows(folder, documents):
    model = SentenceTransformer(str(folder), device="cpu")
    return model.encode(documents, show_progress_bar=False)


@pytest.fixture(scope="module")
def int8(trained, tmp_path_factory):
    """The folder of an int8 export, and the agreement that was returned; tracing takes seconds, so it is made once."""
    folder = tmp_path_factory.mktemp("int8") / "out"
    options = ExportOptions(max_query_tokens=8, min_overlap=0.5, min_correlation=0.8)
    return folder, export_biencoder(trained, folder, texts(8, seed=3), texts(40, seed=4), options, {"steps": 7})


def test_an_int8_export_ranks_like_the_model_and_says_how_nearly(trained, int8):
    folder, agreement = int8
    documents = texts(40, seed=4)
    cosines = np.sum(BiEncoder.load(folder).encode_documents(documents) * torch_rows(trained, documents), axis=1)
    assert cosines.min() == pytest.approx(agreement["cosine_min"], abs=1e-3) and cosines.min() > 0.9
    assert agreement["spearman"] > 0.9
    assert set(agreement) == {"queries", "documents", "cosine", "cosine_min", "overlap@10", "spearman"}


def test_an_int8_export_holds_its_settings_and_only_int8_weights(int8):
    folder, agreement = int8
    config = json.loads((folder / "config.json").read_text())
    assert config["agreement"] == agreement and config["trained"] == {"steps": 7}
    assert config["max_tokens"] == {"query": 8, "document": 32} and config["weights"] == "int8"
    tensors = onnx.load(folder / "model.onnx").graph.initializer
    large = {tensor.data_type for tensor in tensors if np.prod(tensor.dims) > 8 * DIMENSIONS}
    assert large == {onnx.TensorProto.INT8}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["out"]


def test_an_export_does_not_say_where_it_was_made(int8):
    network = (int8[0] / "model.onnx").read_bytes()
    assert b"site-packages" not in network and b"dowse/train" not in network


@pytest.mark.parametrize(("pooling", "dimensions"), [("cls", None), ("lasttoken", 8)])
def test_a_float_export_is_the_model_for_each_pooling_and_its_first_numbers_made_unit(tmp_path, pooling, dimensions):
    trained, documents = write_sentence_transformer(tmp_path, pooling), texts(12, seed=1)
    options = ExportOptions(export_dimensions=dimensions, export_int8=False)
    agreement = export_biencoder(trained, tmp_path / "out", texts(3, seed=2), documents, options)
    expected = torch_rows(trained, documents)[:, :dimensions]
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert BiEncoder.load(tmp_path / "out").encode_documents(documents) == pytest.approx(expected, abs=1e-4)
    assert agreement["spearman"] > 0.999 and agreement["overlap@10"] == 1
    assert json.loads((tmp_path / "out" / "config.json").read_text())["pooling"] == pooling


def test_a_model_with_a_length_for_each_task_is_compared_on_what_its_export_reads(tmp_path, trained):
    model = SentenceTransformer(str(trained), device="cpu")
    model[0].query_length, model[0].document_length = 5, 24  # as a preset sets them
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    options = ExportOptions(export_int8=False, max_query_tokens=16, max_document_tokens=6)
    queries, documents = texts(6, seed=5), texts(40, seed=6)
    agreement = export_biencoder(tmp_path / "model", tmp_path / "out", queries, documents, options)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["max_tokens"] == {"query": 5, "document": 6}
    assert agreement["cosine_min"] > 0.999 and agreement["spearman"] > 0.999


def test_an_export_that_does_not_agree_is_refused_and_leaves_nothing(tmp_path, trained):
    options = ExportOptions(export_int8=False, min_overlap=1.01)
    with pytest.raises(ModelError, match=r"the export's overlap@10 with the model is 1.0, expected at least 1.01"):
        export_biencoder(trained, tmp_path / "new" / "out", texts(2, seed=7), texts(12, seed=8), options)
    assert list((tmp_path / "new").iterdir()) == []


def test_what_cannot_be_exported_is_named(tmp_path, trained):
    with pytest.raises(ModelError, match=r"lacks modules.json or tokenizer.json"):
        export_biencoder(tmp_path, tmp_path / "out", ["retry"], ["a", "b"])
    with pytest.raises(ModelError, match=r"33 dimensions were asked for, expected 1 to 32"):
        export_biencoder(trained, tmp_path / "out", ["retry"], ["a", "b"], ExportOptions(export_dimensions=33))
    with pytest.raises(ModelError, match=r"0 queries and 1 documents to check the export with"):
        export_biencoder(trained, tmp_path / "out", [], ["a"])
