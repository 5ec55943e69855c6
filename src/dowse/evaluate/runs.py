"""Step 4 of 7, evaluate: a run, which is what a searcher answered: documents in order, with scores, for each query.

Read and written as TREC runs (`query Q0 document rank score name`, a line a document), so that any other tool can score
what Dowse ranked, and Dowse what any other tool did. The order is by score, and of equal scores by document_id from the
end of the alphabet, as trec_eval has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dowse.errors import DataError

_BLANK = re.compile(r"\s")


class Ranking(NamedTuple):
    """K document_ids, best first, and their scores, float32 of shape (K,), none above the one before."""

    document_ids: Sequence[str]
    scores: NDArray[np.float32]


class Run(Mapping[str, Mapping[str, float]]):
    """{query_id: {document_id: score}}, the documents of a query best first."""

    def __init__(self, name: str, rankings: Mapping[str, Ranking]) -> None:
        """Take rankings that are in order already; `from_scores` puts them in order."""
        self.name = name
        self.rankings = rankings

    @classmethod
    def from_scores(cls, name: str, scores: Mapping[str, Mapping[str, float]]) -> Self:
        """Put documents in order by their scores."""
        return cls(name, {query_id: _ordered(found) for query_id, found in scores.items()})

    def __getitem__(self, query_id: str) -> dict[str, float]:
        """Return the scores of a query's documents, best first."""
        ranking = self.rankings[query_id]
        return dict(zip(ranking.document_ids, ranking.scores.tolist(), strict=True))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the query_ids."""
        return iter(self.rankings)

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.rankings)


def write_run(run: Run, path: Path) -> None:
    """Write a run in TREC format.

    Whoever reads it orders by score: where a run has several documents at one score, those after the first are written
    with the next lower ones, so that its order stays.

    Raises:
        DataError: An id has white space, which the format cannot hold.
    """
    name = _BLANK.sub("_", run.name) or "run"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for query_id, ranking in run.rankings.items():
            for wrong in (key for key in (query_id, *ranking.document_ids) if _BLANK.search(key) or not key):
                raise DataError(f"id {wrong!r} has white space or is empty, which a TREC run cannot hold; rename it")
            pairs = zip(ranking.document_ids, _strictly_falling(ranking.scores).tolist(), strict=True)
            file.writelines(
                f"{query_id} Q0 {document_id} {rank} {score:.9g} {name}\n"
                for rank, (document_id, score) in enumerate(pairs, start=1)
            )


def read_run(path: Path) -> Run:
    """Read a TREC run; order comes from the scores, as in every tool that reads it.

    Raises:
        DataError: The file cannot be read, or a line is not of six fields with a score, or ranks a document twice.
    """
    scores: dict[str, dict[str, float]] = {}
    name = path.stem
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}), expected a run in TREC format; check the path") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            query_id, _, document_id, _, score, name = line.split()
            value = float(score)
        except ValueError:
            raise DataError(
                f"{path} line {number}: {line[:60]!r} is not of a TREC run, expected: query Q0 document rank score "
                "name; write one with: dowse evaluate … --run FILE"
            ) from None
        found = scores.setdefault(query_id, {})
        if document_id in found or not np.isfinite(value):
            fault = "ranks a document twice" if document_id in found else "has a score that is no number"
            raise DataError(f"{path} line {number}: {fault}, expected each once with a score; correct the file")
        found[document_id] = value
    if not scores:
        raise DataError(f"{path} is empty, expected a run in TREC format; check the path")
    return Run.from_scores(name, scores)


def _strictly_falling(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores (K,), each below the one before: those that are not are the next lower number of float32."""
    falling = scores.astype(np.float32)
    while (tied := np.flatnonzero(falling[1:] >= falling[:-1]) + 1).size:
        falling[tied] = np.nextafter(falling[tied - 1], np.float32(-np.inf))
    return falling


def _ordered(found: Mapping[str, float]) -> Ranking:
    ids = sorted(found, reverse=True)
    scores = np.array([found[document_id] for document_id in ids], np.float32)
    order = np.argsort(-scores, kind="stable")  # of equal scores, the order of the ids stays
    return Ranking([ids[at] for at in order], scores[order])
