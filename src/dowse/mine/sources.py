"""Step 1 of 7, mine: what a source of queries offers, and the pair it yields.

`docstrings`, `classes`, `commits`, `llm` and `feedback` implement `Source`; the pipeline asks each for the pairs of one
repository at a time and does all the rest: filters, duplicates, splits and writing. Reads and writes nothing itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dowse.mine.functions import Function
from dowse.mine.repositories import Repository


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the function that answers it; `commit` is where the function stands as given, if not the pinned one.

    `rejected` are functions of which somebody said that they do not answer the query.
    What the pipeline adds (identifier, licence, split) is in the row, see `dowse.mine.pairs.SCHEMA`.
    """

    query: str
    function: Function
    source: str
    commit: str = ""
    rejected: tuple[Function, ...] = ()


class Source(Protocol):
    """Anything that finds queries for the functions of a repository."""

    @property
    def name(self) -> str:
        """The word that `--source` and the column `source` call it by."""
        ...

    @property
    def settings(self) -> dict[str, object]:
        """What else its pairs depend on, as JSON: a finished shard is used again only under equal settings."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """What it is given of a file: functions (`dowse.mine.functions.FUNCTIONS`), or classes (`CLASSES`)."""
        ...

    @property
    def needs_all(self) -> bool:
        """Whether `pairs` must see all functions of a repository at once rather than those of one file at a time."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether its pairs depend on the folder that the repository lies in, as its commit does not tell it."""
        ...

    @property
    def dropped(self) -> Counter[str]:
        """How many queries each of its own rules left out."""
        ...

    def pairs(self, repository: Repository, functions: Sequence[Function]) -> Iterator[Pair]:
        """Yield pairs; called once per repository, or once per file where `needs_all` is false."""
        ...
