"""A tiny ranker in the shipped format: a real ONNX network whose logit is the cosine of a pair's summed word vectors.

Words of one topic mean the same to it (`biencoders.TOPICS`), so its order depends on query and document together.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from biencoders import TOPICS
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing

POISON = "poison"
"""A word whose vector is no number."""

SPECIAL = ("[UNK]", "[CLS]", "[SEP]")
DIMENSIONS = len(TOPICS) + 1


def write_crossencoder(folder: Path, extra_words=(), topics=TOPICS, **changes) -> Path:
    """Write the folder; `changes` go into its config.json, `extra_words` are known to the tokenizer alone."""
    folder.mkdir(parents=True)
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, POISON))}
    unknown = np.full(DIMENSIONS, 0.001, np.float32)
    query_mark = 0.5 * np.eye(DIMENSIONS, dtype=np.float32)[-1]  # a query of no topic is like no document
    vectors = [unknown, query_mark, unknown, np.full(DIMENSIONS, np.nan, np.float32)]
    for topic, words in enumerate(topics):
        for word in words.split():
            vocabulary[word] = len(vectors)
            vectors.append(np.eye(DIMENSIONS, dtype=np.float32)[topic])
    for word in extra_words:
        vocabulary[word] = len(vocabulary)
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.Whitespace()])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    onnx.save(_network(np.stack(vectors)), folder / "ranker.onnx")
    config = {
        "format": 1,
        "kind": "ranker",
        "max_tokens": 48,
        "max_query_tokens": 16,
        "input": "code",
        "calibration": {"slope": 12.0, "offset": -6.0},
        "files": hashes(folder),
    }
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """Return what config.json records of the two files."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("ranker.onnx", "tokenizer.json")
    }


def _network(table: np.ndarray) -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0)]
    nodes.append(helper.make_node("Sub", ["attention_mask", "token_type_ids"], ["query_ids"]))
    for side, ids in (("query", "query_ids"), ("document", "token_type_ids")):
        nodes += [
            helper.make_node("Cast", [ids], [f"{side}_mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", [f"{side}_mask", "last"], [f"{side}_weights"]),
            helper.make_node("Mul", ["rows", f"{side}_weights"], [f"{side}_rows"]),
            helper.make_node("ReduceSum", [f"{side}_rows", "middle"], [f"{side}_sum"], keepdims=0),
            helper.make_node("LpNormalization", [f"{side}_sum"], [side], axis=-1, p=2),
        ]
    nodes += [
        helper.make_node("Mul", ["query", "document"], ["products"]),
        helper.make_node("ReduceSum", ["products", "middle"], ["logits"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch"])]
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([-1], np.int64), "last"),
        numpy_helper.from_array(np.array([1], np.int64), "middle"),
    ]
    graph = helper.make_graph(nodes, "pairs", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
