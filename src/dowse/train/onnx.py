"""Step 3 of 7, train: a trained bi-encoder → the int8 ONNX folder that search loads.

Reads a sentence-transformers folder and texts to check the export on; writes the format of `dowse.models.biencoder`.
Works offline and on the CPU; `dowse.train.network` says how weights become int8.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from dowse.config import check_ranges, check_values
from dowse.errors import MissingExtraError, ModelError
from dowse.models.biencoder import FILES, FORMAT, FORMAT_VERSION, ROLES, BiEncoder, Role
from dowse.models.sentence import limit_tokens
from dowse.records import sha256, write_json
from dowse.types import Embeddings

try:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from dowse.train.network import EXAMPLES, spearman, write_network
except ImportError as error:
    raise MissingExtraError("dowse train", "train") from error

INPUTS = ("input_ids", "attention_mask")
_TOP = 10


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a bi-encoder is exported, and how well the export must agree with it.

    Attributes:
        export_dimensions: of an embedding only the first so many numbers are exported, made unit-norm again, as
            `matryoshka` trains them; all unless set.
        export_int8: export weights as int8; as float32 otherwise.
        max_query_tokens: what is read of a query, special tokens included; never more than the model itself reads.
        max_document_tokens: what is read of a document; never more than the model itself reads.
        min_overlap: share of the ten nearest documents that must be the same, mean over the queries.
        min_correlation: Spearman's correlation that the documents' order must have, mean over the queries.
    """

    export_dimensions: int | None = None
    export_int8: bool = True
    max_query_tokens: int = 64
    max_document_tokens: int = 256
    min_overlap: float = 0.8
    min_correlation: float = 0.95

    def __post_init__(self) -> None:
        """Refuse a value of another kind, or out of its range."""
        check_values(self)
        check_ranges(self, export_dimensions=(1, inf), max_query_tokens=(1, inf), max_document_tokens=(1, inf))


class Embedder(torch.nn.Module):
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
    model = load_traceable(trained)
    dimensions = exported_dimensions(model, trained, chosen)
    # From here on the model reads what its export will, or both would be compared on texts of different lengths.
    limits = dict(zip(ROLES, limit_tokens(model, chosen.max_query_tokens, chosen.max_document_tokens), strict=True))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        scratch = Path(name)
        config = _write(model, trained, scratch, chosen.export_int8, dimensions, limits, documents)
        agreement = _agreement(model, BiEncoder.load(scratch), queries, documents)
        _check_agreement(trained, agreement, chosen)
        write_json(scratch / "config.json", {**config, "agreement": agreement, "trained": dict(card or {})})
        folder.mkdir(exist_ok=True)
        for file in (*FILES, "config.json"):
            (scratch / file).replace(folder / file)
    return agreement


def exported_dimensions(model: SentenceTransformer, folder: Path, options: ExportOptions) -> int:
    """Return how many numbers of a model's embeddings an export keeps.

    Raises:
        ModelError: The model of this folder has fewer.
    """
    whole = int(model.get_embedding_dimension() or 0)
    kept = whole if options.export_dimensions is None else options.export_dimensions
    if kept > whole:
        raise ModelError(f"{folder}: {kept} dimensions were asked for, expected 1 to {whole}; change export_dimensions")
    return kept


def _write(
    model: SentenceTransformer,
    trained: Path,
    folder: Path,
    int8: bool,
    dimensions: int,
    limits: Mapping[Role, int | None],
    documents: Sequence[str],
) -> dict[str, Any]:
    """Write the network, the tokenizer and `config.json` into an empty folder; return what the last one holds."""
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    read = [tokens.ids[: limits["document"]] for tokens in tokenizer.encode_batch(list(documents[:EXAMPLES]))]
    rows = [np.array([ids], np.int64) for ids in read if ids]
    examples = [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in rows]
    path, network = folder / "model.onnx", Embedder(model, dimensions)
    write_network(network, INPUTS, "embeddings", path, int8=int8, examples=examples)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "dimensions": dimensions,
        "max_tokens": dict(limits),
        "prompts": {role: model.prompts.get(role) or "" for role in limits},
        "pooling": next((str(module.pooling_mode) for module in model if isinstance(module, Pooling)), "none"),
        "weights": "int8" if int8 else "float32",
        "files": {file: sha256(folder / file) for file in FILES},
    }
    write_json(folder / "config.json", config)
    return config


def load_traceable(trained: Path) -> SentenceTransformer:
    """Open the model so that it can be traced: on the CPU, its attention written out.

    Raises:
        ModelError: It is none that search can run, or cannot be loaded.
    """
    if not (trained / "modules.json").is_file() or not (trained / "tokenizer.json").is_file():
        raise ModelError(
            f"{trained} lacks modules.json or tokenizer.json, expected a sentence-transformers folder; "
            "name one that dowse train retriever wrote"
        )
    if "DataFlowTransformer" in (trained / "modules.json").read_text(encoding="utf-8"):
        fault = f"{trained} reads data flow, which search does not make"
        raise ModelError(f"{fault}; evaluate that folder itself, or train from another base")
    try:
        options = {"attn_implementation": "eager", "dtype": torch.float32}
        model = SentenceTransformer(str(trained), device="cpu", model_kwargs=options, local_files_only=True)
    except Exception as error:  # transformers raises whatever its loaders raise
        raise ModelError(
            f"{trained} cannot be loaded ({error}), expected a sentence-transformers folder; train it again"
        ) from error
    return model.eval()


def _agreement(
    model: SentenceTransformer, exported: BiEncoder, queries: Sequence[str], documents: Sequence[str]
) -> dict[str, float]:
    """Embed everything with both and compare embeddings and rankings."""

    def embed(encode: Any, texts: Sequence[str]) -> Embeddings:
        rows: Embeddings = encode(list(texts), show_progress_bar=False)[:, : exported.dimensions]
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows

    before, after = embed(model.encode_document, documents), exported.encode_documents(documents)
    expected = embed(model.encode_query, queries) @ before.T
    found = exported.encode_queries(queries) @ after.T
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
        "spearman": round(float(np.mean([spearman(*pair) for pair in zip(expected, found, strict=True)])), 5),
    }


def _check_agreement(trained: Path, agreement: Mapping[str, float], options: ExportOptions) -> None:
    for name, least in (("overlap@10", options.min_overlap), ("spearman", options.min_correlation)):
        if not agreement[name] >= least:
            raise ModelError(
                f"{trained}: the export's {name} with the model is {agreement[name]}, expected at least {least}; "
                "train it longer, or keep the model as it is, unexported, with --no-export"
            )
