"""Step 2 of 7, label: the first pass over a block: candidates drawn, labels measured, trees compared.

Writes nothing itself; its table holds rows by their position in the block, so that texts are stored once, in the pairs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError
from dowse.label.candidates import POSITIVE, RANDOM, Drawn, Pairs, draw, merged
from dowse.label.settings import LabelSettings
from dowse.label.similarity import CachedEncoder, Embedded, labels
from dowse.label.trees import Trees
from dowse.models.text import document_text
from dowse.types import CorpusRanker

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingExtraError("dowse label", "data") from error

SCALED_BY = 100
"""So many random candidates tell a mean and a deviation to about a tenth of the deviation."""

MEASURED = pa.schema(
    [
        ("query", pa.int32()),
        ("candidate", pa.int32()),
        ("role", pa.int8()),
        ("label", pa.float32()),
        ("distance", pa.float32()),  # NaN where it is not known or beyond the cut-off
    ]
)


def scaled(
    by_code: NDArray[np.float32], by_docstring: NDArray[np.float32], drawn: Drawn, borders: Sequence[tuple[int, int]]
) -> NDArray[np.float32]:
    """Bring labels measured by code, (N,), onto the scale of those measured by docstring, (N,).

    A label keeps its distance from the mean of its repository's random candidates, counted in their standard
    deviations; a repository with few of them, or with equal ones, takes those of the whole block.
    """
    found = by_code.astype(np.float64)
    random = drawn.role == RANDOM
    for first, stop in borders:
        inside = (drawn.query >= first) & (drawn.query < stop)
        known = random & inside if np.count_nonzero(random & inside) >= SCALED_BY else random
        if not known.any():
            continue
        (mean, spread), (other_mean, other_spread) = (
            (float(of[known].mean(dtype=np.float64)), float(of[known].std(dtype=np.float64)))
            for of in (by_code, by_docstring)
        )
        ratio = other_spread / spread if spread > 0 else 1.0
        found[inside] = other_mean + (found[inside] - mean) * ratio
    return np.clip(found, 0, 1).astype(np.float32)


@dataclass(slots=True)
class Measurer:
    """Measures blocks with one encoder."""

    settings: LabelSettings
    embedder: CachedEncoder
    trees: Trees
    retriever: CorpusRanker | None = None

    def measure(
        self, table: Any, borders: Sequence[tuple[int, int]], told: Callable[[int], None]
    ) -> tuple[Any, dict[str, float]]:
        """Return the measured rows of a block (`MEASURED`) and what was counted and timed on the way.

        Args:
            table: The block's pairs.
            borders: First and last + 1 row of each of its repositories.
            told: Is told the number of texts done; there are twice as many as pairs where codes are measured.
        """
        counts: Counter[str] = Counter()
        encoder_s, texts = self.embedder.seconds, self.embedder.texts
        drawn = self._draw(table, borders)
        counts["queries"] = table.num_rows
        counts["short_queries"] = drawn.short
        measured = self._labels(table, borders, drawn, told)
        counts["texts_embedded"] = self.embedder.texts - texts
        started = time.monotonic()
        distance = self._distances(table, drawn, counts)
        figures = dict(counts) | {"encoder_s": self.embedder.seconds - encoder_s, "trees_s": time.monotonic() - started}
        arrays = [drawn.query, drawn.candidate, drawn.role, measured, distance]
        return pa.table([pa.array(column) for column in arrays], schema=MEASURED), figures

    def _draw(self, table: Any, borders: Sequence[tuple[int, int]]) -> Drawn:
        parts = []
        for first, stop in borders:
            rows = table.slice(first, stop - first)
            names = ("pair_id", "query", "code_hash", "source", "path", "symbol")
            pairs = Pairs(*(rows[name].to_pylist() for name in names))
            documents = None
            if self.retriever is not None:
                read = (rows[name].to_pylist() for name in ("path", "symbol", "text_without_comments"))
                documents = [document_text(path, symbol, code) for path, symbol, code in zip(*read, strict=True)]
            parts.append((first, draw(pairs, self.settings.draw, self.retriever, documents)))
        return merged(parts)

    def _labels(
        self, table: Any, borders: Sequence[tuple[int, int]], drawn: Drawn, told: Callable[[int], None]
    ) -> NDArray[np.float32]:
        settings = self.settings
        queries = self.embedder.embed(table["query"].to_pylist(), "query", told)
        codes: Embedded | None = None
        if settings.measures_code:
            codes = self.embedder.embed(table["text_without_comments"].to_pylist(), "document", told)
        if settings.against == "code":
            assert codes is not None
            return labels(queries, drawn.query, codes, drawn.candidate)
        compared = np.where(drawn.role == POSITIVE, drawn.stand_in[drawn.query], drawn.candidate)
        measured = labels(queries, drawn.query, queries, compared)
        if codes is not None:
            by_code = labels(queries, drawn.query, codes, drawn.candidate)
            if settings.positive == "scaled":
                by_code = scaled(by_code, measured, drawn, borders)
            own = drawn.role == POSITIVE
            measured[own] = by_code[own]
        return measured

    def _distances(self, table: Any, drawn: Drawn, counts: Counter[str]) -> NDArray[np.float32]:
        """Return the tree distance of each candidate to its query's positive, NaN where there is none to tell."""
        distance = np.full(len(drawn.query), np.nan, dtype=np.float32)
        if self.settings.suspects.ast_cutoff <= 0:
            return distance
        languages, codes = table["language"].to_pylist(), table["text_without_comments"].to_pylist()
        function = table["code_hash"].combine_chunks().dictionary_encode().indices.to_numpy()
        _, first_rows = np.unique(function, return_index=True)
        shapes = self.trees.shapes([(languages[row], codes[row]) for row in first_rows])
        rows = np.flatnonzero(drawn.role != POSITIVE)
        ends = np.stack([function[drawn.query[rows]], function[drawn.candidate[rows]]], axis=1)
        ends.sort(axis=1)  # the distance is the same both ways
        distinct, place = np.unique(ends, axis=0, return_inverse=True)
        asked = []
        for left, right in distinct.tolist():
            same = languages[first_rows[left]] == languages[first_rows[right]]
            asked.append((shapes[left], shapes[right] if same else None))
        found = self.trees.distances(asked, self.settings.suspects.ast_cutoff)
        counts.update(f"trees_{one.decided.replace(' ', '_')}" for one in found)
        values = np.array([np.nan if one.value is None else one.value for one in found], dtype=np.float32)
        distance[rows] = values[place.ravel()]
        return distance
