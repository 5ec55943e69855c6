"""Step 3 of 7, train: a network of torch → one ONNX file, its weights as float32 or as int8.

Works offline and on the CPU. Left out: networks above 2 GB, which one ONNX file cannot hold.

How weights become int8 was measured on MiniLM-L6 (cosine between int8 and float32 embeddings of the same code, mean):

    MatMul, one scale a matrix                    .931, and .793 with 7 bits
    MatMul, one scale a column, 8 bits            .991
    MatMul, one scale a column, 7 bits            .992  <- taken: 8 bits overflow on processors without VNNI
    embedding table, one scale a table or a row   .9996 and .9997  <- the row

These had one scale for all tokens of a text, as the runtime's own quantiser has. On other code (.9932 by that), for a
tenth more time of a text:

    tokens, one scale each                        .9967
    and channels evened between both sides        .9980  <- taken
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError, ModelError

try:
    import onnx
    import onnxruntime  # type: ignore[import-untyped]
    import torch
    from onnx import helper, numpy_helper
except ImportError as error:
    raise MissingExtraError("exporting a trained model", "train") from error

Examples = Sequence[Mapping[str, NDArray[np.int64]]]
"""The inputs of a network by their names, each of shape (B, L)."""

EXAMPLES = 64
"""Texts are enough to know what the channels of a network reach."""

_LARGEST_WEIGHT = 63
_CONSTANTS: dict[str, NDArray[Any]] = {
    "axis": np.array([-1], np.int64),
    "step": np.array(1 / 127, np.float32),
    "least": np.array(1e-10, np.float32),
    "one": np.array(1, np.float32),
    "zero": np.array(128, np.uint8),
}
"""What the arithmetic of int8 needs beside weights, for all products of a network."""

_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "root")


def write_network(
    network: torch.nn.Module,
    inputs: Sequence[str],
    output: str,
    path: Path,
    *,
    int8: bool,
    examples: Examples = (),
) -> None:
    """Write a network of token ids, with a free number of texts and tokens.

    Args:
        network: Takes int64 tensors of shape (B, L), named as `inputs`: the first the ids, the second the mask.
        inputs: Their names in the file.
        output: The name of what it returns.
        path: Where the file goes.
        int8: Whether weights are int8.
        examples: What the network is to be good at, by which int8 numbers are divided among its channels.
    """
    with _quiet():
        graph = _graph(network, inputs, output)
        if int8:
            _tables_to_int8(graph)
            _products_to_int8(graph, examples)
        onnx.save(graph, path)


def spearman(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return Spearman's rank correlation of two score lists of one length, ties in order of position."""
    ranks = np.argsort(np.argsort(-np.stack([a, b]), axis=1, kind="stable"), axis=1, kind="stable")
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def _graph(network: torch.nn.Module, inputs: Sequence[str], output: str) -> onnx.ModelProto:
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        network.eval(),
        (ids, mask, *(torch.zeros_like(ids) for _ in inputs[2:])),
        dynamo=True,
        verbose=False,
        input_names=list(inputs),
        output_names=[output],
        dynamic_shapes=dict.fromkeys(inputs, free),
    )
    if program is None:  # torch's signature allows it, for exports into a file
        raise ModelError("torch returned no ONNX program, expected one; is this torch too old?")
    graph = program.model_proto
    del graph.graph.value_info[:]  # torch's shapes contradict those that the quantiser works out
    for described in (graph, graph.graph, *graph.graph.node, *graph.functions):
        del described.metadata_props[:]  # stack traces, with the paths of the machine that exports
    return graph


def _products_to_int8(graph: onnx.ModelProto, examples: Examples) -> None:
    """Replace each product of tokens with constant weights by one of int8 numbers.

    x W ≈ scale of the token · (q(x / even) Q(even · W)) · scale of the column, where `even` divides what the numbers of
    a channel spread by between tokens and weights (Xiao et al. 2023, arXiv:2211.10438, equation 4 with α = 0.5).
    """
    held = {tensor.name: tensor for tensor in graph.graph.initializer}
    products = [node for node in graph.graph.node if node.op_type == "MatMul" and _is_table(held.get(node.input[1]))]
    weights: dict[str, list[NDArray[np.float32]]] = {}  # by the tokens that they are multiplied with
    for node in products:
        weights.setdefault(node.input[0], []).append(numpy_helper.to_array(held[node.input[1]]))
    reached = _reached(graph, weights, examples)
    even = {tokens: _evening(reached.get(tokens), tables) for tokens, tables in weights.items()}
    replaced = {node.output[0]: node for node in products}
    nodes: list[onnx.NodeProto] = []
    added = [numpy_helper.from_array(value, f"int8.{name}") for name, value in _CONSTANTS.items()]
    added += [numpy_helper.from_array(1 / divided, f"{tokens}.uneven") for tokens, divided in even.items()]
    for node in graph.graph.node:
        found = node.output[0]
        if found not in replaced:
            nodes.append(node)
            continue
        tokens, table = node.input
        if tokens in weights:  # its first product
            nodes += _tokens_to_int8(tokens)
            del weights[tokens]
        columns = even[tokens][:, None] * numpy_helper.to_array(held[table])
        scales = np.abs(columns).max(axis=0) / _LARGEST_WEIGHT
        rounded = np.rint(columns / np.where(scales > 0, scales, 1)).astype(np.int8)
        added += [
            numpy_helper.from_array(rounded, f"{found}.weights"),
            numpy_helper.from_array(scales, f"{found}.scales"),
        ]
        nodes += [
            helper.make_node("MatMulInteger", [f"{tokens}.int8", f"{found}.weights", "int8.zero"], [f"{found}.int32"]),
            helper.make_node("Cast", [f"{found}.int32"], [f"{found}.float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{found}.float", f"{found}.scales"], [f"{found}.columns"]),
            helper.make_node("Mul", [f"{found}.columns", f"{tokens}.scale"], [found]),
        ]
    _replace(graph, nodes, added)


def _tokens_to_int8(tokens: str) -> list[onnx.NodeProto]:
    """Return what rounds each token's numbers to 127 steps of a scale of its own, on both sides of zero."""
    return [
        helper.make_node("Mul", [tokens, f"{tokens}.uneven"], [f"{tokens}.even"]),
        helper.make_node("Abs", [f"{tokens}.even"], [f"{tokens}.sizes"]),
        helper.make_node("ReduceMax", [f"{tokens}.sizes", "int8.axis"], [f"{tokens}.largest"], keepdims=1),
        helper.make_node("Mul", [f"{tokens}.largest", "int8.step"], [f"{tokens}.steps"]),
        helper.make_node("Max", [f"{tokens}.steps", "int8.least"], [f"{tokens}.scale"]),
        helper.make_node("Div", [f"{tokens}.even", f"{tokens}.scale"], [f"{tokens}.scaled"]),
        helper.make_node("QuantizeLinear", [f"{tokens}.scaled", "int8.one", "int8.zero"], [f"{tokens}.int8"]),
    ]


def _evening(reached: NDArray[np.float32] | None, weights: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return what to divide each channel of the tokens by, shape (K,): 1 where it is not known what they reach."""
    if reached is None:
        return np.ones(len(weights[0]), np.float32)
    largest = np.max([np.abs(table).max(axis=1) for table in weights], axis=0)
    found: NDArray[np.float32] = np.sqrt(np.maximum(reached, 1e-5) / np.maximum(largest, 1e-5))
    return found


def _reached(graph: onnx.ModelProto, names: Collection[str], examples: Examples) -> dict[str, NDArray[np.float32]]:
    """Run a network and return the largest size of each channel, shape (K,), of some of its inner values."""
    if not examples:
        return {}
    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    read = [given.name for given in session.get_inputs()]
    found: dict[str, NDArray[np.float32]] = {}
    for example in examples:
        values = session.run(list(names), {name: example[name] for name in read})
        for name, value in zip(names, values, strict=True):
            sizes = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            found[name] = np.maximum(found.get(name, 0), sizes)
    return found


def _is_table(tensor: onnx.TensorProto | None) -> bool:
    return tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2


def _tables_to_int8(graph: onnx.ModelProto) -> None:
    """Replace each float table that rows are looked up in by int8 rows and a scale for each row."""
    held = {tensor.name: tensor for tensor in graph.graph.initializer}
    nodes = []
    for node in graph.graph.node:
        table = held.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or not _is_table(table):
            nodes.append(node)
            continue
        weights: NDArray[np.float32] = numpy_helper.to_array(table)
        scales = np.abs(weights).max(axis=1, keepdims=True) / 127
        rows = np.rint(weights / np.where(scales > 0, scales, 1)).astype(np.int8)
        names = {part: f"{table.name}.{part}" for part in ("rows", "scales")}
        if names["rows"] not in held:
            added = [numpy_helper.from_array(rows, names["rows"]), numpy_helper.from_array(scales, names["scales"])]
            graph.graph.initializer.extend(added)
            held[names["rows"]] = added[0]
        found, ids = node.output[0], node.input[1]
        nodes += [
            helper.make_node("Gather", [names["rows"], ids], [f"{found}.row_int8"], axis=0),
            helper.make_node("Cast", [f"{found}.row_int8"], [f"{found}.row"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [names["scales"], ids], [f"{found}.row_scale"], axis=0),
            helper.make_node("Mul", [f"{found}.row", f"{found}.row_scale"], [found]),
        ]
    _replace(graph, nodes, [])


def _replace(graph: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], added: Sequence[onnx.TensorProto]) -> None:
    """Give a graph other nodes and further constants, and take out the constants that none of them reads."""
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in [*graph.graph.initializer, *added] if tensor.name in used]
    for repeated, values in ((graph.graph.node, nodes), (graph.graph.initializer, kept)):
        del repeated[:]
        repeated.extend(values)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about its own insides from the user."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
