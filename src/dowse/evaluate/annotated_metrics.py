"""Step 4 of 7, evaluate: ranked hits + annotated targets → NDCG@10 of the annotated-repository benchmark.

Reads hits as locations (path, start_line, end_line), best first, and leaves reading files to `annotated`. The metric
grades files and line ranges rather than document ids, because every searcher cuts files in its own way; that is why it
is not one of the standard library implementations. Relevance is binary:

    gain = sum over the distinct first ranks r <= k of 1 / log2(r + 1),  one first rank for each target that is hit
    ideal = sum over i = 1 … min(n, k) of 1 / log2(i + 1),               n counted targets
    NDCG@k = gain / ideal, and 0 where n = 0

*Strict* counts all targets; *official* only those whose file the searcher indexed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

K = 10
"""The metric cut of the benchmark: its published figures are all NDCG@10."""


@dataclass(frozen=True, slots=True)
class Location:
    """A line range of a file, 1-based and inclusive; lines of None mean the whole file."""

    path: str
    start_line: int | None = None
    end_line: int | None = None


def same_file(path: str, other: str) -> bool:
    """Tell whether two `/`-separated paths are equal or one ends with `/` and the other.

    >>> same_file("src/gin/tree.go", "tree.go"), same_file("subtree.go", "tree.go")
    (True, False)
    """
    return path == other or path.endswith("/" + other) or other.endswith("/" + path)


def hits_target(hit: Location, target: Location) -> bool:
    """Tell whether a hit lies in the target's file and, where both have lines, shares one with it."""
    if not same_file(hit.path, target.path):
        return False
    if target.start_line is None or target.end_line is None or hit.start_line is None or hit.end_line is None:
        return True
    return hit.start_line <= target.end_line and target.start_line <= hit.end_line


def first_ranks(hits: Sequence[Location], targets: Iterable[Location]) -> set[int]:
    """Return the 1-based ranks at which targets are hit first; a rank counts once, however many targets it hits."""
    ranks = set()
    for target in targets:
        rank = next((rank for rank, hit in enumerate(hits, 1) if hits_target(hit, target)), None)
        if rank is not None:
            ranks.add(rank)
    return ranks


def ndcg(hits: Sequence[Location], targets: Sequence[Location], n_counted: int, k: int = K) -> float:
    """Return NDCG@k of one query, the ideal made of `n_counted` targets (0 where none counts)."""
    if n_counted == 0:
        return 0.0
    gain = sum(_discount(rank) for rank in first_ranks(hits[:k], targets))
    return gain / sum(_discount(rank) for rank in range(1, min(n_counted, k) + 1))


def strict_ndcg(hits: Sequence[Location], targets: Sequence[Location], k: int = K) -> float:
    """Return NDCG@k with every target in the ideal."""
    return ndcg(hits, targets, len(targets), k)


def official_ndcg(
    hits: Sequence[Location], targets: Sequence[Location], indexed_paths: Collection[str], k: int = K
) -> float:
    """Return NDCG@k with only those targets in the ideal whose file is among the indexed ones."""
    n_indexed = sum(any(same_file(path, target.path) for path in indexed_paths) for target in targets)
    return ndcg(hits, targets, n_indexed, k)


def _discount(rank: int) -> float:
    return 1.0 / math.log2(rank + 1)
