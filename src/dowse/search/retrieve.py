"""Step 6 of 7, search: what the bi-encoder says of candidates, embedding no more than time allows.

A repository is not embedded before it is searched. A question embeds the best candidates of the first stage, best
first, until its budget is spent; what it embedded is kept (`index.cache`) and costs nothing the next time. `fill`
embeds the rest when there is time, and from then on the bi-encoder brings up candidates of its own.

By default 50 are embedded: what a first question has time for. With the model that ships NDCG@10 on the annotated
repositories is .879 where it looks at the first 20, .880 at 50, .881 at 100 and .882 at all (`results/README.md`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dowse.cluster import with_model
from dowse.errors import IndexFormatError
from dowse.index.cache import EmbeddingCache, Hashes, hash_of
from dowse.index.dense import pack, unpack
from dowse.index.store import Filter, Store
from dowse.models.text import enriched
from dowse.search.candidates import fetched
from dowse.search.evidence import Candidates
from dowse.types import Embeddings, Encoder, Progress

TEXTS_AT_ONCE = 4
"""Embedded between two looks at the clock: a core each on a usual machine, a tenth of a second on a slow one."""

TEXTS_KEPT_AT_ONCE = 32
"""Embedded by `fill` between two writings: what a kill may lose."""


def similarities(
    encoder: Encoder,
    stores: Sequence[Store],
    embedding: NDArray[np.float32],
    candidates: Candidates,
    best: NDArray[np.int64],
    until: float,
) -> NDArray[np.float32]:
    """Return the cosine of each candidate with the query, shape (n,), NaN where it is not known.

    Known are those embedded before, and as many of the best as can be embedded in time; not those that are gone by now.

    Args:
        encoder: the bi-encoder.
        stores: the index of each root, by its number.
        embedding: the query's, shape (D,).
        candidates: n candidates.
        best: positions of those that are worth embedding, best first.
        until: when to stop embedding, by time.monotonic().
    """
    cosines = np.full(len(candidates.ids), np.nan, np.float32)
    for number in sorted(set(candidates.roots.tolist())):
        own = np.flatnonzero(candidates.roots == number)
        there = stores[number].entries(candidates.ids[own])
        own = own[np.array([i in there for i in candidates.ids[own].tolist()], np.bool_)]
        known, embeddings = stores[number].cache(encoder).lookup(stores[number].hashes_of(candidates.ids[own]))
        cosines[own[known]] = np.vecdot(embeddings[known], embedding)
    todo = [at for at in best.tolist() if np.isnan(cosines[at])]
    made: dict[int, list[tuple[int, NDArray[np.float32]]]] = {}
    while todo and time.monotonic() < until:
        some, todo = todo[:TEXTS_AT_ONCE], todo[TEXTS_AT_ONCE:]
        texts = _texts(stores, candidates, some)
        # as they will be read from the cache, or the same question would be answered otherwise the next time
        rows = unpack(pack(encoder.encode_documents(list(texts.values()))))
        for (at, text), row in zip(texts.items(), rows, strict=True):
            cosines[at] = np.vecdot(row, embedding)
            made.setdefault(int(candidates.roots[at]), []).append((hash_of(text), row))
    for number, rows_made in made.items():
        _keep(stores[number], encoder, rows_made)
    return cosines


def nearest(
    encoder: Encoder, store: Store, embedding: NDArray[np.float32], n: int, only: Filter | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return ids and cosines of the `n` documents nearest to a query's embedding, none before `fill` is done."""
    cache = store.cache(encoder)
    if not cache.is_settled:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    rows, cosines = cache.nearest(store.hashes(), embedding, n, store.allowed(only))
    return store.ids()[rows], cosines


def fill(store: Store, encoder: Encoder, until: float | None = None, progress: Progress | None = None) -> int:
    """Embed what is not embedded yet of an index, until the time is up; return how many documents are left.

    Args:
        store: the index, fresh.
        encoder: the bi-encoder; one that is open on a cluster as well embeds there.
        until: when to stop, by time.monotonic(); at the end where None.
        progress: told how many documents are embedded and how many there are.

    Raises:
        IndexFormatError: the embeddings cannot be kept.
    """
    cache, ids, hashes = store.cache(encoder), store.ids(), store.hashes()
    first = dict(zip(hashes[::-1].tolist(), ids[::-1].tolist(), strict=True))
    missing = [first[value] for value in cache.missing(hashes).tolist()]
    total, left = len(ids), len(missing)

    def texts() -> Iterator[list[str]]:
        for start in range(0, len(missing), TEXTS_KEPT_AT_ONCE):
            if until is not None and time.monotonic() >= until:
                return
            some = np.array(missing[start : start + TEXTS_KEPT_AT_ONCE], np.int64)
            yield [enriched(document) for document in store.fetch(some).values()]

    for made, embeddings in with_model(encoder, _embedded, texts()):
        if not cache.add(made, embeddings):
            raise IndexFormatError(
                f"embeddings cannot be kept in {cache.place}, expected room and no other process that holds it long"
                "; free some space or try again later, what was kept before stays"
            )
        left -= min(left, TEXTS_KEPT_AT_ONCE)
        if progress is not None:
            progress(total - left, total)
    if not left and (missing or not cache.is_settled):
        cache.settle(hashes)
    return left


def _embedded(encoder: Encoder, texts: Sequence[str]) -> tuple[Hashes, Embeddings]:
    return np.array([hash_of(text) for text in texts], np.int64), encoder.encode_documents(texts)


def _texts(stores: Sequence[Store], candidates: Candidates, positions: Sequence[int]) -> dict[int, str]:
    """Fetch what is embedded of some candidates, by their position; what is gone by now is left out."""
    places = {at: (int(candidates.roots[at]), int(candidates.ids[at])) for at in positions}
    known = fetched(stores, places.values())
    return {at: enriched(known[place]) for at, place in places.items() if place in known}


def _keep(store: Store, encoder: Encoder, made: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
    cache: EmbeddingCache = store.cache(encoder)
    embeddings: Embeddings = np.stack([row for _, row in made])
    cache.add(np.array([value for value, _ in made], np.int64), embeddings)
    if cache.is_overfull(len(store)):
        cache.sweep(store.hashes())
