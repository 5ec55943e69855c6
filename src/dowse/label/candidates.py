"""Step 2 of 7, label: which functions a query is compared with: its own, random others of its repository, hard ones.

A candidate is a function (one `code_hash`), however many queries were mined for it; where it has several, its row is
the docstring's. Never a candidate of a query: its own function, a copy of it, a function that has the same query, or
any of these in another version. Versions of a function are mined from commits and have its path and symbol in common; a
function without a name has no other version that could be told. What is drawn depends on the seed and the pairs alone,
so a run that was killed draws the same again.

Drawn in groups, the functions of a repository are dealt out by chance, each group one more than a query's candidates,
and a query is compared with the others of its own function's group. Any two functions are as likely to meet as when
each query draws for itself, but a group's queries share their documents: a training batch of whole groups encodes each
document once and has a label for every one of its pairs.

Hard candidates are drawn from the first `hard_window` ranks, what is never a candidate left out, be it above or below
the positive (section 2.1 of R2PS, Dong et al. arXiv:2305.04508, whose released window is exactly as wide as the number
drawn, and so leaves nothing to draw).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from dowse.mine.dedupe import same_question
from dowse.types import CorpusRanker

POSITIVE, RANDOM, HARD, REJECTED = range(4)
"""Roles as they are counted; their names are `dowse.label.rows.ROLES`."""

_PREFERRED = ("docstrings", "classes", "llm", "commits")
"""Whose query stands for a function that has several: what its author said, what was written for it, what changed."""

DRAWING = 2
"""Raised when the same pairs and options give other candidates: what was begun before is then not gone on with."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The columns of one repository's pairs that drawing needs, row by row; a symbol is "" where nothing is named."""

    pair_ids: Sequence[str]
    queries: Sequence[str]
    code_hashes: Sequence[str]
    sources: Sequence[str]
    paths: Sequence[str]
    symbols: Sequence[str]


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """How many candidates a query gets; fewer where its repository has fewer.

    Attributes:
        negatives: drawn at random from the query's repository.
        hard: further ones, drawn from what a retriever ranks high.
        hard_window: the first ranks that hard ones are drawn from, what is never a candidate left out.
        seed: of all that is drawn.
        in_groups: deal functions into groups of `negatives` + 1, whose queries share them as candidates.
    """

    negatives: int = 7
    hard: int = 0
    hard_window: int = 100
    seed: int = 0
    in_groups: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """Rows of queries and of their candidates, (N,) each; a query's rows stand together, its positive first."""

    query: NDArray[np.int32]
    candidate: NDArray[np.int32]
    role: NDArray[np.int8]
    stand_in: NDArray[np.int32]
    """For every row of pairs, (Q,), the row whose query stands for its function, as it does for a candidate."""
    short: int
    """Queries with fewer candidates than asked for."""


def draw(
    pairs: Pairs, options: DrawOptions, retriever: CorpusRanker | None = None, documents: Sequence[str] | None = None
) -> Drawn:
    """Draw the candidates of every query of one repository.

    Args:
        pairs: All pairs of the repository, or of the part of it that is labelled at once.
        options: How many of which kind.
        retriever: Finds the hard candidates; None where none are asked for.
        documents: The text of every row as the retriever reads it.
    """
    functions = _Functions(pairs)
    banned = [functions.banned(row) for row in range(len(pairs.queries))]
    rankings: Iterator[list[int]] = iter(())
    if options.hard and retriever is not None and documents is not None:
        top_k = options.hard_window + max(map(len, banned))
        texts = [documents[row] for row in functions.rows]
        rankings = iter(retriever.rank(pairs.queries, texts, top_k)[0].tolist())
    groups = functions.groups(options.seed, options.negatives + 1) if options.in_groups else []
    rows: list[tuple[int, int, int]] = []
    short = 0
    for row, own in enumerate(banned):
        chance = random.Random(f"{options.seed} {pairs.pair_ids[row]}")
        ranked = [position for position in next(rankings, []) if position >= 0 and position not in own]
        ranked = ranked[: options.hard_window]
        hard = chance.sample(ranked, min(options.hard, len(ranked)))
        if options.in_groups:
            others = [position for position in groups[functions.own[row]] if position not in own | set(hard)]
        else:
            others = functions.sample(chance, options.negatives, own | set(hard))
        short += len(hard) + len(others) < options.hard + options.negatives
        rows.append((row, row, POSITIVE))
        rows += [(row, functions.rows[position], RANDOM) for position in others]
        rows += [(row, functions.rows[position], HARD) for position in hard]
    drawn = np.array(rows, dtype=np.int32).reshape(-1, 3)
    stand_in = np.array([functions.rows[position] for position in functions.own], dtype=np.int32)
    return Drawn(drawn[:, 0], drawn[:, 1], drawn[:, 2].astype(np.int8), stand_in, short)


def merged(parts: Iterable[tuple[int, Drawn]]) -> Drawn:
    """Return what was drawn for several repositories as one, each beginning at its own first row."""
    found = list(parts)
    return Drawn(
        query=np.concatenate([part.query + first for first, part in found], dtype=np.int32),
        candidate=np.concatenate([part.candidate + first for first, part in found], dtype=np.int32),
        role=np.concatenate([part.role for _, part in found], dtype=np.int8),
        stand_in=np.concatenate([part.stand_in + first for first, part in found], dtype=np.int32),
        short=sum(part.short for _, part in found),
    )


class _Functions:
    """The distinct functions of some pairs; a position counts functions, a row counts pairs."""

    def __init__(self, pairs: Pairs) -> None:
        order = {source: place for place, source in enumerate(_PREFERRED)}
        best: dict[str, int] = {}
        for row, code in enumerate(pairs.code_hashes):
            held = best.setdefault(code, row)
            if order.get(pairs.sources[row], len(order)) < order.get(pairs.sources[held], len(order)):
                best[code] = row
        self.rows = list(best.values())
        position = {code: place for place, code in enumerate(best)}
        self.own = [position[code] for code in pairs.code_hashes]
        self._asked = [same_question(query) for query in pairs.queries]
        holders: dict[str, set[int]] = {}
        for own, asked in zip(self.own, self._asked, strict=True):
            holders.setdefault(asked, set()).add(own)
        versions = self._versions(pairs)
        self._banned = {asked: own.union(*(versions.get(one, ()) for one in own)) for asked, own in holders.items()}

    def banned(self, row: int) -> set[int]:
        """Return the positions that are never candidates of a row's query; its own is always among them."""
        return self._banned[self._asked[row]]

    def groups(self, seed: int, size: int) -> list[list[int]]:
        """Deal the positions into groups by chance, and return for every position those of its group."""
        order = list(range(len(self.rows)))
        random.Random(f"{seed} {len(order)}").shuffle(order)
        found: list[list[int]] = [[]] * len(order)
        for start in range(0, len(order), size):
            group = order[start : start + size]
            for position in group:
                found[position] = group
        return found

    def sample(self, chance: random.Random, wanted: int, banned: set[int]) -> list[int]:
        """Draw positions without replacement, each that is not banned with equal chance."""
        drawn = chance.sample(range(len(self.rows)), min(wanted + len(banned), len(self.rows)))
        return list(islice((position for position in drawn if position not in banned), wanted))

    def _versions(self, pairs: Pairs) -> dict[int, set[int]]:
        """Return the positions with the same path and symbol, for every position that shares them with another."""
        places: dict[tuple[str, str], set[int]] = {}
        for position, path, symbol in zip(self.own, pairs.paths, pairs.symbols, strict=True):
            places.setdefault((path, symbol), set()).add(position)
        found: dict[int, set[int]] = {}
        for (path, symbol), same in places.items():
            if path and symbol and len(same) > 1:
                for position in same:
                    found.setdefault(position, set()).update(same)
        return found
