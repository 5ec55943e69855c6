"""Step 1 of 7, mine: functions, or classes, with documentation → (docstring, code) pairs, the first source of queries.

The query is the first paragraph of a docstring or doc comment as `dowse.mine.prose` leaves it, cut after
`MAX_QUERY_WORDS`. Left out: what has no documentation. It needs one file at a time, so it streams.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dowse.mine.functions import CLASSES, FUNCTIONS, MAX_CLASS_CHARS, Function
from dowse.mine.repositories import Repository
from dowse.mine.sources import Pair

MAX_QUERY_WORDS = 60
"""What a small encoder reads of a query; what follows is detail."""

DOCUMENTATION = frozenset({"docstrings", "classes"})
"""Sources whose query stands in the text of its answer."""


@dataclass(frozen=True, slots=True)
class Docstrings:
    """The source of queries that authors wrote above or inside their functions; `of_classes` has those of classes."""

    name: str = "docstrings"
    kinds: frozenset[str] = FUNCTIONS
    needs_all: bool = False
    is_local: bool = False
    dropped: Counter[str] = field(default_factory=Counter, compare=False)

    @classmethod
    def of_classes(cls) -> Docstrings:
        """Return the source `classes`: what authors say of a class is how people ask for a part of a program."""
        return cls("classes", CLASSES)

    @property
    def settings(self) -> dict[str, object]:
        """What its pairs depend on."""
        of_classes = {"max_class_chars": MAX_CLASS_CHARS} if self.kinds == CLASSES else {}
        return {"max_query_words": MAX_QUERY_WORDS, **of_classes}

    def pairs(self, repository: Repository, functions: Sequence[Function]) -> Iterator[Pair]:
        """Yield a pair for whatever is documented."""
        for function in functions:
            if function.docstring:
                yield Pair(" ".join(function.docstring.split()[:MAX_QUERY_WORDS]), function, self.name)
            else:
                self.dropped["no docstring"] += 1
