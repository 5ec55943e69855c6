"""Step 5 of 7, index: what words say about the documents of a Lance table, and how telling the words are.

The terms are those of the local index (`lexical`), stemmed already, so the engine only splits them at spaces. It scores
with the same BM25 and the same constants, and adds the fields; the local engine rounds the length of a document, this
one does not, which moves scores by about 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from lance.query import BooleanQuery, MatchQuery, Occur
from numpy.typing import NDArray

from dowse.index.lance_table import TERM_COLUMNS, Table
from dowse.index.store import Ranked

K1, B = 1.2, 0.75
"""BM25's constants, the same in both engines."""

AVERAGED = 1_000
"""Documents whose lengths are averaged: 3 % off at most, which moves an inverse document frequency by less than 1 %."""


def ranked(ids: NDArray[np.uint64], scores: NDArray[np.float32]) -> Ranked:
    """Return what the engine found best first, equal ones by id."""
    own = ids.astype(np.int64)
    order = np.lexsort((own, -scores))
    return own[order], scores[order].astype(np.float32)


def best_by_words(table: Table, terms: Sequence[str], n: int, boosts: Sequence[float], where: str | None) -> Ranked:
    """Return ids and BM25 scores of the best `n` documents for distinct terms, best first.

    Args:
        table: what is searched.
        terms: from `terms.query_terms`.
        n: how many documents at most.
        boosts: weight of each of `TERM_COLUMNS`; fields add up.
        where: only documents that meet this condition.
    """
    clauses = [
        (Occur.SHOULD, MatchQuery(" ".join(terms), column, boost=float(boost)))
        for column, boost in zip(TERM_COLUMNS, boosts, strict=True)
        if boost > 0
    ]
    if not terms or not clauses or n < 1:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    found = table.scan(["_score"], where, full_text_query=BooleanQuery(clauses), limit=n)
    return ranked(found["_rowid"].to_numpy(), found["_score"].to_numpy())


class Frequencies:
    """Inverse document frequencies in the whole table, remembered for one version of it.

    The engine does not tell how many documents hold a term, and counting them takes as long as there are many. But it
    scores the best one, whose length and number of the term are known, and BM25 has only one factor more.
    """

    def __init__(self, table: Table) -> None:
        """Know nothing yet."""
        self._table = table
        self._known: dict[str, float] = {}
        self._n, self._n_measured, self._mean_length = 0, 0, 0.0

    def forget(self) -> None:
        """Begin anew, at another version; how long documents are is looked at again when there are many more."""
        self._known.clear()

    def of(self, terms: Sequence[str]) -> NDArray[np.float32]:
        """Return ln(1 + (N − n + ½) / (n + ½)) for each term, n counted in the body; shape (len(terms),)."""
        if not self._known:
            self._measure()
        for term in terms:
            if term not in self._known:
                self._known[term] = self._look_up(term)
        return np.array([self._known[term] for term in terms], np.float32)

    def _look_up(self, term: str) -> float:
        columns, asked = ["body", "n_terms", "_score"], MatchQuery(term, "body")
        # fast_search: rows in no index yet are few and would have to be scanned
        best = self._table.scan(columns, full_text_query=asked, limit=1, fast_search=True)
        if not len(best):
            return math.log1p((self._n + 0.5) / 0.5)
        count = best["body"][0].as_py().split(" ").count(term)
        length = best["n_terms"][0].as_py() / self._mean_length
        return float(best["_score"][0].as_py() / (count * (K1 + 1) / (count + K1 * (1 - B + B * length))))

    def _measure(self) -> None:
        self._n = self._table.count("start_line > 0")
        if not 0.9 < (self._n + 1) / (self._n_measured + 1) < 1.1:
            self._n_measured = self._n
            rows = self._table.count()
            places = np.unique(np.linspace(0, rows - 1, min(rows, AVERAGED)).astype(np.int64))
            lengths = self._table.dataset.take(places.tolist(), ["n_terms"])["n_terms"].drop_null().to_numpy()
            self._mean_length = float(lengths.mean()) if len(lengths) else 1.0
