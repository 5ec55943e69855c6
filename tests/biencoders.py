"""A tiny bi-encoder in the shipped format: a real ONNX network whose embedding is the mean of its words' vectors."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel

DIMENSIONS = 8
TOPICS = [
    "retry again failed upload attempt attempts connection",
    "duration seconds minutes time 5m",
    "route router path handler request",
    "money price currency amount format discount",
    "delete remove cache forget",
]
"""Words of one line mean the same to the network: a dimension of their own each line."""
POISON = "bane"
"""The embedding of a text with this word is no number; a ranker knows another such word."""


def write_biencoder(folder: Path, **changes) -> Path:
    """Write the folder; `changes` go into its config.json."""
    folder.mkdir(parents=True)
    vocabulary = {"[UNK]": 0}
    vectors = [np.full(DIMENSIONS, 0.01, np.float32)]
    for topic, words in enumerate(TOPICS):
        for word in words.split():
            vocabulary[word] = len(vectors)
            vectors.append(np.eye(DIMENSIONS, dtype=np.float32)[topic] + np.float32(0.001 * len(vectors)))
    vocabulary[POISON] = len(vectors)
    vectors.append(np.full(DIMENSIONS, np.nan, np.float32))
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.Whitespace()])
    tokenizer.save(str(folder / "tokenizer.json"))
    onnx.save(_network(np.stack(vectors)), folder / "model.onnx")
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.onnx", "tokenizer.json")
    }
    config = {
        "format": "dowse-biencoder",
        "format_version": 1,
        "dimensions": DIMENSIONS,
        "max_tokens": {"query": 16, "document": 64},
        "prompts": {"query": "", "document": ""},
        "pooling": "mean",
        "files": files,
    }
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    return folder


def _network(table: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["weights"]),
        helper.make_node("Mul", ["rows", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["embeddings"], axis=-1, p=2),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", DIMENSIONS])]
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([-1], np.int64), "last"),
        numpy_helper.from_array(np.array([1], np.int64), "middle"),
    ]
    graph = helper.make_graph(nodes, "words", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
