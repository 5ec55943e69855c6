"""Step 1 of 7, mine: functions with documentation → (docstring, function) pairs, the first source of queries.

The query is the first paragraph of a docstring or doc comment as `dowse.mine.prose` leaves it, cut after
`MAX_QUERY_WORDS`. Left out: functions without documentation. It needs one file at a time, so it streams.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dowse.mine.functions import Function
from dowse.mine.repositories import Repository
from dowse.mine.sources import Pair

MAX_QUERY_WORDS = 60
"""What a small encoder reads of a query; what follows is detail."""


@dataclass(frozen=True, slots=True)
class Docstrings:
    """The source of queries that authors wrote above or inside their functions."""

    name: str = "docstrings"
    needs_all: bool = False
    dropped: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def settings(self) -> dict[str, object]:
        """What its pairs depend on."""
        return {"max_query_words": MAX_QUERY_WORDS}

    def pairs(self, repository: Repository, functions: Sequence[Function]) -> Iterator[Pair]:
        """Yield a pair for every documented function."""
        for function in functions:
            if function.docstring:
                yield Pair(" ".join(function.docstring.split()[:MAX_QUERY_WORDS]), function, self.name)
            else:
                self.dropped["no docstring"] += 1
