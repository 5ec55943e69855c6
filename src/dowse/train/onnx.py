"""Step 3 of 7, train: a trained bi-encoder → the int8 ONNX folder that search loads.

Reads a sentence-transformers folder and texts to check the export on; writes the format of `dowse.models.biencoder`.
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
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dowse.errors import MissingExtraError, ModelError
from dowse.models.biencoder import FILES, FORMAT, FORMAT_VERSION, BiEncoder
from dowse.records import sha256, write_json
from dowse.types import Embeddings

try:
    import onnx
    import torch
    from onnx import helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling
except ImportError as error:
    raise MissingExtraError("exporting a trained model", "train") from error

_TOP = 10
_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "root")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a bi-encoder is exported, and how well the export must agree with it.

    Attributes:
        dimensions: only the first so many numbers of an embedding are kept, made unit-norm again (for models trained
            with Matryoshka losses); all where None.
        int8: weights as int8; as float32 otherwise.
        max_query_tokens: what is read of a query, special tokens included.
        max_document_tokens: what is read of a document; never more than the model itself reads.
        min_overlap: share of the ten nearest documents that must be the same, mean over the queries.
        min_correlation: Spearman's correlation that the documents' order must have, mean over the queries.
    """

    dimensions: int | None = None
    int8: bool = True
    max_query_tokens: int = 64
    max_document_tokens: int = 256
    min_overlap: float = 0.8
    min_correlation: float = 0.95


class _Embedder(torch.nn.Module):
    """A sentence-transformers model as a function of ids and mask, (B, L) each, to unit rows of shape (B, D)."""

    def __init__(self, model: SentenceTransformer, dimensions: int) -> None:
        super().__init__()
        self.model, self.dimensions = model, dimensions

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embed, truncate and normalise."""
        found = self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]
        return torch.nn.functional.normalize(found[:, : self.dimensions], dim=-1)


def export_biencoder(
    trained: Path,
    folder: Path,
    queries: Sequence[str],
    documents: Sequence[str],
    options: ExportOptions | None = None,
    card: Mapping[str, object] | None = None,
) -> dict[str, float]:
    """Write the ONNX folder of a sentence-transformers folder and return how well both agree.

    Args:
        trained: A sentence-transformers folder with a `tokenizer.json` and mean, CLS or last-token pooling.
        folder: Where `config.json`, `model.onnx` and `tokenizer.json` go; written once the check is passed.
        queries: What to check the export with, at least one.
        documents: Documents as `dowse.models.text` builds them, at least two.
        options: See there.
        card: What is to be known of the training; goes into `config.json`.

    Returns:
        "cosine" (mean over documents, between both embeddings of the same text), "cosine_min", "overlap@10" and
        "spearman" (means over the queries).

    Raises:
        ModelError: The folder is no such model, or rankings by the export do not agree with it.
    """
    if not queries or len(documents) < 2:
        raise ModelError(
            f"{trained}: {len(queries)} queries and {len(documents)} documents to check the export with, "
            "expected at least 1 and 2; give more"
        )
    chosen = options or ExportOptions()
    model = _load(trained)
    whole = int(model.get_embedding_dimension() or 0)
    if not 1 <= (chosen.dimensions or whole) <= whole:
        fault = f"{chosen.dimensions} dimensions were asked for"
        raise ModelError(f"{trained}: {fault}, expected 1 to {whole}; change dimensions")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        scratch = Path(name)
        config = _write(model, trained, scratch, chosen)
        agreement = _agreement(model, BiEncoder.load(scratch), queries, documents, config["max_tokens"])
        _check(trained, agreement, chosen)
        write_json(scratch / "config.json", {**config, "agreement": agreement, "trained": dict(card or {})})
        folder.mkdir(exist_ok=True)
        for file in (*FILES, "config.json"):
            (scratch / file).replace(folder / file)
    return agreement


def _write(model: SentenceTransformer, trained: Path, folder: Path, options: ExportOptions) -> dict[str, Any]:
    """Write the network, the tokenizer and `config.json` into an empty folder; return what the last one holds."""
    dimensions = options.dimensions or int(model.get_embedding_dimension() or 0)
    with _quiet():
        graph = _graph(_Embedder(model, dimensions))
        if options.int8:
            _write_int8(graph, folder / "model.onnx")
        else:
            onnx.save(graph, folder / "model.onnx")
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    own = int(model.max_seq_length or options.max_document_tokens)
    limits = {"query": min(own, options.max_query_tokens), "document": min(own, options.max_document_tokens)}
    config: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "dimensions": dimensions,
        "max_tokens": limits,
        "prompts": {role: model.prompts.get(role) or "" for role in limits},
        "pooling": next((str(module.pooling_mode) for module in model if isinstance(module, Pooling)), "none"),
        "weights": "int8" if options.int8 else "float32",
        "files": {file: sha256(folder / file) for file in FILES},
    }
    write_json(folder / "config.json", config)
    return config


def _load(trained: Path) -> SentenceTransformer:
    """Open the model so that it can be traced: on the CPU, its attention written out."""
    if not (trained / "modules.json").is_file() or not (trained / "tokenizer.json").is_file():
        raise ModelError(
            f"{trained} lacks modules.json or tokenizer.json, expected a sentence-transformers folder; "
            "name one that dowse train retriever wrote"
        )
    try:
        options = {"attn_implementation": "eager", "dtype": torch.float32}
        model = SentenceTransformer(str(trained), device="cpu", model_kwargs=options, local_files_only=True)
    except Exception as error:  # transformers raises whatever its loaders raise
        raise ModelError(
            f"{trained} cannot be loaded ({error}), expected a sentence-transformers folder; train it again"
        ) from error
    return model.eval()


def _graph(embedder: _Embedder) -> onnx.ModelProto:
    """Trace the network with a free number of texts and tokens."""
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        embedder.eval(),
        (ids, mask),
        dynamo=True,
        verbose=False,
        input_names=["input_ids", "attention_mask"],
        output_names=["embeddings"],
        dynamic_shapes={"input_ids": free, "attention_mask": free},
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


def _agreement(
    model: SentenceTransformer,
    exported: BiEncoder,
    queries: Sequence[str],
    documents: Sequence[str],
    limits: Mapping[str, int],
) -> dict[str, float]:
    """Embed everything with both and compare embeddings and rankings."""

    def embed(texts: Sequence[str], role: str) -> Embeddings:
        model.max_seq_length = limits[role]
        encode: Any = model.encode_query if role == "query" else model.encode_document
        rows: Embeddings = encode(list(texts), show_progress_bar=False)[:, : exported.dimensions]
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows

    before, after = embed(documents, "document"), exported.encode_documents(documents)
    expected, found = embed(queries, "query") @ before.T, exported.encode_queries(queries) @ after.T
    top = min(_TOP, len(documents) - 1)
    best = [np.argsort(-scores, axis=1, kind="stable")[:, :top] for scores in (expected, found)]
    overlap = [len(set(a) & set(b)) / top for a, b in zip(*(order.tolist() for order in best), strict=True)]
    cosines = np.sum(before * after, axis=1)
    return {
        "queries": len(queries),
        "documents": len(documents),
        "cosine": round(float(cosines.mean()), 5),
        "cosine_min": round(float(cosines.min()), 5),
        "overlap@10": round(float(np.mean(overlap)), 4),
        "spearman": round(float(np.mean([_spearman(*pair) for pair in zip(expected, found, strict=True)])), 5),
    }


def _spearman(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return Spearman's rank correlation of two score lists of one length, ties in order of position."""
    ranks = np.argsort(np.argsort(-np.stack([a, b]), axis=1, kind="stable"), axis=1, kind="stable")
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def _check(trained: Path, agreement: Mapping[str, float], options: ExportOptions) -> None:
    for name, least in (("overlap@10", options.min_overlap), ("spearman", options.min_correlation)):
        if not agreement[name] >= least:
            raise ModelError(
                f"{trained}: the export's {name} with the model is {agreement[name]}, expected at least {least}; "
                "check the model, or export it with int8=False"
            )


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
