"""Step 2 of 7, label: similarity_label = (1 + cos) / 2 under a labelling encoder.

Embeds each distinct text once: within a block by counting, across blocks and runs by a cache of one SQLite file, its
keys the hash of encoder, side and text. Texts go to the encoder in fixed groups, each stored before the next begins, so
that a run that was killed and goes on makes the same groups again, and hence the same labels to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dowse.cluster import with_model
from dowse.label.encoders import LabellingEncoder
from dowse.models.answers import AnswerCache, cache_key
from dowse.types import Embeddings, Encoder

Side = Literal["query", "document"]

TEXTS_AT_ONCE = 1024
"""Texts between two writes to the cache: a few seconds of work at most are lost by a kill."""

_ROWS_AT_ONCE = 8192


class Embedded(NamedTuple):
    """Embeddings of the distinct ones among N texts, (M, D), and for each text its row, (N,)."""

    embeddings: Embeddings
    row: NDArray[np.int64]


class CachedEncoder:
    """Embeds texts through a cache and counts what that took."""

    def __init__(self, encoder: LabellingEncoder | Encoder, cache: AnswerCache | None) -> None:
        """Take an encoder and a cache, which is left aside where the encoder says that it needs none."""
        self.encoder = encoder
        self.seconds = 0.0
        """Spent inside the encoder."""
        self.texts = 0
        """Given to the encoder."""
        self._cache = cache if getattr(encoder, "is_worth_caching", True) else None

    def embed(self, texts: Sequence[str], side: Side, told: Callable[[int], None] = lambda _: None) -> Embedded:
        """Embed texts as queries or as documents, each distinct one once.

        Args:
            told: how many further texts are done.

        Raises:
            ModelError: The encoder is an endpoint and fails.
        """
        place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct = list(place)
        rows = np.fromiter((place[text] for text in texts), np.int64, len(texts))
        keys = [cache_key(self.encoder.fingerprint, side, text) for text in distinct]
        stored = {row: found for row, key in enumerate(keys) if (found := self._get(key)) is not None}
        told(len(stored))
        missing = [row for row in range(len(distinct)) if row not in stored]
        parts: list[tuple[list[int], Embeddings]] = []
        groups = [missing[start : start + TEXTS_AT_ONCE] for start in range(0, len(missing), TEXTS_AT_ONCE)]
        for group, part in zip(
            groups, self._encoded([[distinct[row] for row in group] for group in groups], side), strict=True
        ):
            parts.append((group, part))
            if self._cache is not None:
                pairs = zip(group, parts[-1][1], strict=True)
                self._cache.put([(keys[row], embedding.tobytes()) for row, embedding in pairs])
            told(len(group))
        if stored:
            kept = np.stack([np.frombuffer(value, dtype="<f4") for value in stored.values()])
            parts.append((list(stored), kept))
        embeddings = np.empty((len(distinct), parts[0][1].shape[1] if parts else 0), dtype=np.float32)
        for group, part in parts:
            embeddings[group] = part
        return Embedded(embeddings, rows)

    def _get(self, key: bytes) -> bytes | None:
        return None if self._cache is None else self._cache.get(key)

    def _encoded(self, groups: Sequence[Sequence[str]], side: Side) -> Iterator[Embeddings]:
        """Yield the embeddings of each group of texts, made here or on the encoder's cluster."""
        made = with_model(self.encoder, _as_queries if side == "query" else _as_documents, groups)
        for group in groups:
            started = time.monotonic()
            embeddings = next(made)
            self.seconds += time.monotonic() - started
            self.texts += len(group)
            yield embeddings


def _as_queries(encoder: LabellingEncoder | Encoder, texts: Sequence[str]) -> Embeddings:
    return encoder.encode_queries(texts)


def _as_documents(encoder: LabellingEncoder | Encoder, texts: Sequence[str]) -> Embeddings:
    return encoder.encode_documents(texts)


def labels(
    queries: Embedded, asked: NDArray[np.int32], candidates: Embedded, compared: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return (1 + cos) / 2 of text `asked[i]` among the queries and text `compared[i]` among the candidates, (N,).

    An embedding that is zero, of a text without a known word, has cosine 0 with everything: label 0.5.
    """
    found = np.empty(len(asked), dtype=np.float32)
    for start in range(0, len(asked), _ROWS_AT_ONCE):
        stop = start + _ROWS_AT_ONCE
        left = queries.embeddings[queries.row[asked[start:stop]]]
        right = candidates.embeddings[candidates.row[compared[start:stop]]]
        found[start:stop] = (1 + np.einsum("nd,nd->n", left, right)) / 2
    return np.clip(found, 0, 1)
