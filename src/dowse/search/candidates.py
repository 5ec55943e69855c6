"""Step 6 of 7, search: what the words and the embedding of a query bring up in one root.

Ranking looks at a few hundred documents of what may be hundreds of thousands. The inverted index and the static vectors
choose them; the bi-encoder adds its own once it has embedded everything (`retrieve`). `fetched` gives the text of those
that later stages read and hits show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dowse.index.store import Filter, Store
from dowse.search.evidence import REMEMBERED, Candidates, Query, remember
from dowse.types import Document

N_LEXICAL = 200
N_DENSE = 100
"""How many documents the words, and either kind of embedding, bring up in a root."""

LOOKED_UP_AT_ONCE = 2_000
"""Documents; some 50 ms of work."""

MAX_QUERY_TERMS = 64
"""Of a long query the most telling terms are looked up; the rest would cost time and move nothing."""


def as_question(stores: Sequence[Store], text: str, terms: Sequence[str]) -> Query:
    """Weigh a query's terms by how telling they are, on average over the roots, and keep the most telling."""
    idf = np.mean([store.telling(terms) for store in stores], axis=0)
    kept = np.sort(np.argsort(-idf, kind="stable")[:MAX_QUERY_TERMS])
    return Query(text, [terms[i] for i in kept], idf[kept].astype(np.float32))


def brought_up(
    number: int,
    store: Store,
    question: Query,
    embedding: NDArray[np.float32],
    boosts: Sequence[float],
    allowed: Filter | None,
    at_least: int,
) -> Candidates:
    """Return the best documents of a root by words and those nearest by static embedding.

    Args:
        number: the root's, as candidates have it.
        store: its index.
        question: the query.
        embedding: its static embedding, shape (D,).
        boosts: weight of body, symbol and path in BM25.
        allowed: what may be brought up.
        at_least: how many are asked for; each brings up so many where that is more than usual.
    """
    by_words, bm25 = store.search_words(question.terms, max(N_LEXICAL, at_least), boosts, allowed)
    by_vector, _ = store.search_vector(embedding, max(N_DENSE, at_least), allowed)
    scores = dict(zip(by_words.tolist(), bm25.tolist(), strict=True))
    # numpy's set functions load its masked arrays, which takes longer than a search
    both = np.array(sorted({*by_words.tolist(), *by_vector.tolist()}), np.int64)
    return described(number, store, both, scores, embedding)


def described(
    number: int,
    store: Store,
    ids: NDArray[np.int64],
    bm25: Mapping[int, float],
    embedding: NDArray[np.float32],
    retriever: NDArray[np.float32] | None = None,
) -> Candidates:
    """Return what ranking looks at of some documents of a root; those that are gone are left out.

    Args:
        number: the root's, as candidates have it.
        store: its index.
        ids: the documents, shape (n,).
        bm25: scores by id, 0 for all others.
        embedding: the query's static one, shape (D,).
        retriever: cosines by the bi-encoder, shape (n,), where they are known.
    """
    entries = store.entries(ids)
    known = np.array([i in entries for i in ids.tolist()], np.bool_)
    ids = ids[known]
    listed = [entries[i] for i in ids.tolist()]
    paths = sorted({entry.path for entry in listed})
    number_of = {path: at for at, path in enumerate(paths)}
    return Candidates(
        ids=ids,
        roots=np.full(len(ids), number, np.int64),
        entries=listed,
        bm25=np.array([bm25.get(i, 0.0) for i in ids.tolist()], np.float32),
        cosine=store.similarities(embedding, ids),
        files=np.array([number_of[entry.path] for entry in listed], np.int64),
        paths=paths,
        retriever=None if retriever is None else retriever[known],
    )


def fetched(stores: Sequence[Store], places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Document]:
    """Return documents with their text, by the number of their root and their id there; what is gone is left out.

    Args:
        stores: the index of each root, by its number; only those of the places are asked.
        places: numbers of roots, and ids there.
    """
    ids: dict[int, list[int]] = {}
    for number, i in places:
        ids.setdefault(number, []).append(i)
    return {
        (number, i): document
        for number, own in ids.items()
        for i, document in stores[number].fetch(np.array(own, np.int64)).items()
    }


def looked_up_ahead(store: Store, dimensions: int) -> Iterator[None]:
    """Have an index load its embeddings, and look at its documents as ranking would, a slice at a time.

    Some 3 s for 100,000 documents, of which no more are looked at.
    """
    ids = store.ids()[:REMEMBERED]
    store.similarities(np.zeros(dimensions, np.float32), ids[:1])
    yield
    for start in range(0, len(ids), LOOKED_UP_AT_ONCE):
        remember(store.entries(ids[start : start + LOOKED_UP_AT_ONCE]).values())
        yield
