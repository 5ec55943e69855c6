"""Step 7 of 7, serve: documents as points of a plane in which like lies near like, to look around in.

The plane is the one along which the stored embeddings spread most (their first two principal components, nearly). Of a
large index a sample is drawn, always the same one; nothing is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dowse.index.store import Store
from dowse.types import Embeddings

MAX_POINTS = 5_000
"""More would take longer to send than to look at."""

EDGE_PERCENTILE = 99.0
"""What lies this far out touches the edge; the few beyond are drawn there, so that they do not press the rest flat."""

SUBSPACE = 8
"""Directions followed at once: with more than the two that are wanted, these settle in fewer rounds..."""

ROUNDS = 8
"""...of which so many leave them as they are, to the eye."""


def points(stores: Sequence[Store], n: int) -> list[dict[str, Any]]:
    """Return up to `n` documents of some stores, each store by its share, with x and y from -1 to 1."""
    n = min(n, MAX_POINTS)
    total = sum(map(len, stores))
    drawn = [(store, _sample(store.ids(), max(1, n * len(store) // total))) for store in stores if len(store)]
    embeddings = [store.embeddings(ids) for store, ids in drawn]
    if not embeddings:
        return []
    places = iter(flat(np.concatenate(embeddings)).tolist())
    found = []
    for store, ids in drawn:
        entries = store.entries(ids)
        for document, (x, y) in zip(ids.tolist(), places, strict=False):
            if (entry := entries.get(document)) is None:
                continue
            found.append(
                {
                    "x": round(x, 4),
                    "y": round(y, 4),
                    "repository": store.repository,
                    "path": entry.path,
                    "start_line": entry.start_line,
                    "end_line": entry.end_line,
                    "symbol": entry.symbol,
                    "folder": entry.path.rpartition("/")[0],
                }
            )
    return found


def flat(embeddings: Embeddings) -> NDArray[np.float32]:
    """Project rows of shape (N, D) to shape (N, 2), each column from -1 to 1; the same rows always fall alike.

    The plane is found by subspace iteration, in sums that use one core: an exact decomposition is no better to look at,
    and on a busy machine its threads waited for each other for up to two seconds.
    """
    centred = embeddings - embeddings.mean(axis=0)
    basis = np.random.default_rng(0).standard_normal((centred.shape[1], min(SUBSPACE, centred.shape[1])))
    for _ in range(ROUNDS):
        basis = np.linalg.qr(np.einsum("nd,nk->dk", centred, _along(centred, basis)))[0].astype(np.float32)
    spread = _along(centred, basis)
    _, axes = np.linalg.eigh(np.einsum("nk,nl->kl", spread, spread))  # in ascending order of spread
    first = axes[:, : -min(2, axes.shape[1]) - 1 : -1]
    # an axis may point either way: its largest part decides
    first = first * np.where(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])] < 0, -1.0, 1.0)
    projected = _along(spread, first)
    reach = np.percentile(np.abs(projected), EDGE_PERCENTILE, axis=0)
    placed = np.clip(projected / np.where(reach > 0, reach, 1.0), -1.0, 1.0).astype(np.float32)
    return np.pad(placed, ((0, 0), (0, 2 - placed.shape[1])))


def _along(rows: NDArray[np.float32], axes: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the coordinates of rows (N, D) along axes (D, K), shape (N, K)."""
    coordinates: NDArray[np.float32] = np.einsum("nd,dk->nk", rows, axes.astype(np.float32))
    return coordinates


def _sample(ids: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Draw `n` of the ids, in order, with the same chance for each."""
    if n >= len(ids):
        return ids
    drawn: NDArray[np.int64] = np.sort(np.random.default_rng(0).choice(ids, n, replace=False))
    return drawn
