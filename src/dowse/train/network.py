"""Step 3 of 7, train: a network of torch → one ONNX file, its weights as float32 or as int8.

Works offline and on the CPU. Left out: networks above 2 GB, which one ONNX file cannot hold.

How weights become int8 was measured on MiniLM-L6 (cosine between int8 and float32 embeddings of the same code, mean):

    MatMul, one scale a matrix                    .931, and .793 with 7 bits
    MatMul, one scale a column, 8 bits            .991
    MatMul, one scale a column, 7 bits            .992  <- taken: 8 bits overflow on processors without VNNI
    embedding table, one scale a table or a row   .9996 and .9997  <- the row

What is lost is lost by the activations, which are scaled anew for every text.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError, ModelError

try:
    import onnx
    import torch
    from onnx import helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]
except ImportError as error:
    raise MissingExtraError("exporting a trained model", "train") from error

_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "root")


def write_network(network: torch.nn.Module, inputs: Sequence[str], output: str, path: Path, *, int8: bool) -> None:
    """Write a network of token ids, with a free number of texts and tokens.

    Args:
        network: Takes int64 tensors of shape (B, L), named as `inputs`: the first the ids, the second the mask.
        inputs: Their names in the file.
        output: The name of what it returns.
        path: Where the file goes.
        int8: Whether weights are int8.
    """
    with _quiet():
        graph = _graph(network, inputs, output)
        if int8:
            _write_int8(graph, path)
        else:
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
    return graph


def _write_int8(graph: onnx.ModelProto, path: Path) -> None:
    _tables_to_int8(graph)
    quantize_dynamic(
        graph, path, op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
    )


def _tables_to_int8(graph: onnx.ModelProto) -> None:
    """Replace each float table that rows are looked up in by int8 rows and a scale for each row."""
    held = {tensor.name: tensor for tensor in graph.graph.initializer}
    nodes = []
    for node in graph.graph.node:
        table = held.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != onnx.TensorProto.FLOAT or len(table.dims) != 2:
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
            helper.make_node("Gather", [names["rows"], ids], [f"{found}.int8"], axis=0),
            helper.make_node("Cast", [f"{found}.int8"], [f"{found}.float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [names["scales"], ids], [f"{found}.scale"], axis=0),
            helper.make_node("Mul", [f"{found}.float", f"{found}.scale"], [found]),
        ]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
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
