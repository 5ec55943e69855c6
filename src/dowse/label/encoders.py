"""Step 2 of 7, label: the encoder that a user names, opened. Reads model folders; writes nothing.

Labels by the static model or by an endpoint do without torch. A name is an address (an endpoint), a package with a
model in it, `static` (the model that ships with Dowse) or a folder: of sentence-transformers, or of a static model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dowse.errors import ConfigError
from dowse.models.sentence import PACKAGES, TorchEncoder, packaged
from dowse.models.static import StaticEncoder, default_static
from dowse.types import Embeddings

if TYPE_CHECKING:
    from dowse.models.endpoint import Endpoint

STATIC = "static"


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
