"""Step 3 of 7, train: a trained static model → the int8 folder that search loads, and to that of other tools.

Reads a sentence-transformers folder with a StaticEmbedding (`tokenizer.json`, `model.safetensors`) and writes the
format of `dowse.models.static`; `export_model2vec` reads that and writes a folder that model2vec and similar tools load
as it is, with the same token vectors. Such tools sum them token by token, where search takes the root of a token's
count: a text that repeats a token has another embedding there, and a worse one (rows "linear" and "roots" of
`benchmarks/static_retriever.py`). One scale a row is enough for int8: rows differ in length by a factor of hundreds
(rare words are long, "self" is short), but within a row all numbers are of one size.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError
from dowse.models.static import FILES, FORMAT_VERSION

try:
    from safetensors.numpy import load_file, save_file
except ImportError as error:
    raise MissingExtraError("dowse train", "train") from error


def quantise(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 rows (V, D) in -127..127 and scales (V,) with rows * scales ≈ weights; zero rows stay zero."""
    scales = np.abs(weights).max(axis=1) / 127
    rows = np.rint(weights / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    return rows, scales.astype(np.float32)


def export_static(trained: Path, folder: Path, card: Mapping[str, object]) -> None:
    """Write the int8 model folder of a trained sentence-transformers folder; `card` goes into its `config.json`."""
    weights = load_file(trained / "model.safetensors")["embedding.weight"].astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    rows, scales = quantise(weights)
    np.save(folder / "embeddings.npy", rows)
    np.save(folder / "scales.npy", scales)
    shutil.copyfile(trained / "tokenizer.json", folder / "tokenizer.json")
    config = {
        "format": "dowse-static",
        "format_version": FORMAT_VERSION,
        "vocabulary": len(rows),
        "dimensions": rows.shape[1],
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES},
        "trained": dict(card),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def export_model2vec(static: Path, folder: Path) -> None:
    """Write a static model's vectors as a folder for model2vec (`StaticModel.from_pretrained`) and similar tools."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.load(static / "embeddings.npy") * np.load(static / "scales.npy")[:, None]
    save_file({"embeddings": weights.astype(np.float32)}, folder / "model.safetensors")
    shutil.copyfile(static / "tokenizer.json", folder / "tokenizer.json")
    config = {"model_type": "model2vec", "hidden_dim": weights.shape[1], "normalize": True}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
