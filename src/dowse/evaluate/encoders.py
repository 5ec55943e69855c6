"""Step 4 of 7, evaluate: the retriever and the ranker that a user names, opened, reading no more than a protocol says.

A retriever's names are those of `dowse.models.named`. A ranker's are `default` (the one that ships with Dowse) and a
folder: of a sentence-transformers cross-encoder, or of a ranker that `dowse train` exported. Torch is imported when a
sentence-transformers folder is opened, and not before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse.errors import ConfigError
from dowse.evaluate.protocols import Protocol
from dowse.models.biencoder import default_biencoder
from dowse.models.crossencoder import CrossEncoder, default_crossencoder
from dowse.models.named import DEFAULT, STATIC, open_named
from dowse.models.sentence import CrossScorer
from dowse.types import Encoder, Ranker


class CrossRanker:
    """A sentence-transformers cross-encoder folder as a ranker; satisfies `dowse.types.Ranker`."""

    def __init__(self, folder: Path) -> None:
        """Load the model on the fastest device there is.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ModelError: The folder cannot be loaded, or gives more than one score.
        """
        self._scorer = CrossScorer(folder)
        self.fingerprint = self._scorer.fingerprint
        self.input = _trained_on(folder)

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Score N document texts for a query, float32 of shape (N,), higher is better."""
        return np.asarray(self._scorer.scores([(query, text) for text in texts]), np.float32)


def _trained_on(folder: Path) -> str:
    """Return what the documents of a ranker's training were; `enriched` where it was not Dowse that trained it."""
    try:
        card = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        return str(card["settings"]["ranker_input"])
    except (OSError, ValueError, KeyError, TypeError):
        return "enriched"


def open_ranker(name: str) -> Ranker:
    """Open the ranker that ships with Dowse, or that in a folder: exported for search, or of sentence-transformers.

    Raises:
        ConfigError: There is no ranker there.
        MissingExtraError: sentence-transformers is not installed.
        ModelError: It cannot be loaded.
    """
    folder = Path(name)
    if name == DEFAULT and (shipped := default_crossencoder()) is not None:
        return shipped
    if (folder / "ranker.onnx").is_file():
        return CrossEncoder.load(folder)
    if name == DEFAULT or not (folder / "config.json").is_file():
        fault = "this installation ships none" if name == DEFAULT else "holds no config.json"
        raise ConfigError(
            f"ranker {name!r}: {fault}, expected a folder that holds a cross-encoder with one score; train one with: "
            "dowse train ranker"
        )
    return CrossRanker(folder)


def default_retriever() -> str:
    """Return the name of the best retriever that ships with this installation."""
    return STATIC if default_biencoder() is None else DEFAULT


def open_encoder(name: str, protocol: Protocol) -> Encoder:
    """Open the retriever of a name, as `open_named` does, reading no more than a protocol says where that can be told.

    Raises:
        ConfigError, MissingExtraError, ModelError: As there.
    """
    return open_named(name, "--retriever", protocol.max_query_tokens, protocol.max_document_tokens)
