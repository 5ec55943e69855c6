"""Step 2 of 7, label: the encoder that a user names, opened. Reads model folders; writes nothing.

A name is an address (an endpoint) or one of those of `dowse.models.named`. Labels by an endpoint, by the static model
or by an exported bi-encoder do without torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dowse.models.named import DEFAULT, STATIC, open_named
from dowse.models.sentence import TorchEncoder
from dowse.models.static import StaticEncoder
from dowse.types import Embeddings

if TYPE_CHECKING:
    from dowse.models.biencoder import BiEncoder
    from dowse.models.endpoint import Endpoint


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
    """An encoder of search under a name."""

    def __init__(self, encoder: BiEncoder | StaticEncoder, name: str) -> None:
        self._encoder = encoder
        self.is_worth_caching = not isinstance(encoder, StaticEncoder)
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


def open_local(name: str, option: str = "--encoder") -> NamedEncoder | TorchEncoder:
    """Open the encoder of a name that an option of the command line gives, as `dowse.models.named` does.

    Raises:
        ConfigError, MissingExtraError, ModelError: As there.
    """
    encoder = open_named(name, option)
    if isinstance(encoder, TorchEncoder):
        return encoder
    kind = "static" if isinstance(encoder, StaticEncoder) else "bi-encoder"
    origin = "as shipped" if name in (STATIC, DEFAULT) else Path(name).resolve().name
    return NamedEncoder(encoder, f"{kind} {origin}")
