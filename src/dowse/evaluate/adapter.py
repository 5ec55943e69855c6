"""Step 4 of 7, evaluate: a Dowse model as the `mteb` library wants it, so that its code tasks evaluate ours.

    import mteb
    from dowse.evaluate.adapter import MtebEncoder

    tasks = mteb.get_tasks(tasks=["CosQA"])
    mteb.evaluate(MtebEncoder(encoder, "dowse/static"), tasks)

Neither imported nor needed by Dowse: the adapter satisfies the library's documented protocol by its methods. Texts
arrive in batches, and a `prompt_type` says which side they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dowse.types import Embeddings, Encoder

QUERY = "query"


class MtebEncoder:
    """Wraps any encoder; similarity is the dot product of unit rows, which is the cosine."""

    def __init__(self, encoder: Encoder, name: str) -> None:
        """Take an encoder and the name it is listed under, "owner/model"."""
        self._encoder = encoder
        self._name = name

    @property
    def mteb_model_meta(self) -> Any:
        """What the library lists a model under, with its revision.

        Raises:
            ImportError: mteb is not installed, which is what asks for this.
        """
        from mteb.models import ModelMeta  # type: ignore[import-not-found]  # no dependency of Dowse

        return ModelMeta.create_empty({"name": self._name, "revision": self._encoder.fingerprint[:12]})

    def encode(self, inputs: Iterable[Mapping[str, Sequence[str]]], *, prompt_type: Any = None, **_: Any) -> Embeddings:
        """Embed batches of texts as float32 unit rows of shape (N, D), as queries or as documents.

        Args:
            inputs: Batches, each with the texts under "text".
            prompt_type: "query", "document" or None, as text or as the library's own enumeration.
        """
        side = getattr(prompt_type, "value", prompt_type)
        encode = self._encoder.encode_queries if side == QUERY else self._encoder.encode_documents
        rows = [encode(list(batch["text"])) for batch in inputs]
        return np.concatenate(rows) if rows else np.zeros((0, self._encoder.dimensions), np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Embeddings:
        """Return the cosines of every row of one (N, D) with every row of the other (M, D), shape (N, M)."""
        rows: Embeddings = np.asarray(embeddings1, np.float32) @ np.asarray(embeddings2, np.float32).T
        return rows

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Embeddings:
        """Return the cosines of rows in the same place, shape (N,)."""
        first, second = np.asarray(embeddings1, np.float32), np.asarray(embeddings2, np.float32)
        rows: Embeddings = np.einsum("nd,nd->n", first, second)
        return rows
