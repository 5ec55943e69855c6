"""Step 1 of 7, mine: verdicts on hits → (query, function) pairs, the source of queries that people really asked.

Reads the JSON lines that `dowse serve --feedback` appends in the user's data folder. A hit that was useful for a query
becomes a pair, and hits that were not useful for the same query go with it, to be labelled as negatives; of several
verdicts on one hit the last one counts. Left out and counted: hits that are no single function, functions that have
changed since, and rejected hits of a query for which nothing was useful (a pair is a positive by its nature). Writes
nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from dowse.errors import ConfigError, DataError
from dowse.mine.functions import FUNCTIONS, Function
from dowse.mine.repositories import Repository
from dowse.mine.sources import Pair

_TEXTS = ("query", "root", "path", "text")


def default_file() -> Path:
    """Return where verdicts are kept unless another place is named."""
    return Path(platformdirs.user_data_dir("dowse")) / "feedback.jsonl"


@dataclass(frozen=True)
class FeedbackQueries:
    """The source of queries whose answer a person found useful."""

    file: Path = field(default_factory=default_file)
    name: str = "feedback"
    kinds: frozenset[str] = FUNCTIONS
    needs_all: bool = True
    is_local: bool = True
    dropped: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def settings(self) -> dict[str, object]:
        """What its pairs depend on: everything that was said."""
        said = self.file.read_bytes() if self.file.is_file() else b""
        return {"verdicts": hashlib.sha256(said).hexdigest(), "rejected": "kept"}

    def pairs(self, repository: Repository, functions: Sequence[Function]) -> Iterator[Pair]:
        """Yield a pair for every function of the repository that was useful for a query.

        Raises:
            ConfigError: No verdict was ever kept.
            DataError: A line of the file is no verdict.
        """
        by_name: dict[tuple[str, str], list[Function]] = {}  # overloads have one name
        for function in functions:
            if function.symbol:
                by_name.setdefault((function.path, function.symbol), []).append(function)
        root = str(repository.folder.resolve())
        last: dict[tuple[str, str, str, str], tuple[Function | None, bool]] = {}
        for said in self._verdicts():
            if said["root"] == root:
                path, symbol = said["path"], said["symbol"]
                named = by_name.get((path, symbol), [])
                judged = next((one for one in named if _is_of(said["text"], one)), None)
                last[said["query"], path, symbol, judged.code_hash if judged else ""] = judged, said["useful"]
        useful: dict[str, list[Function]] = {}
        rejected: dict[str, list[Function]] = {}
        for (query, path, symbol, _), (judged, is_useful) in last.items():
            if judged is None:
                self.dropped["changed since" if (path, symbol) in by_name else "no single function"] += 1
            else:
                (useful if is_useful else rejected).setdefault(query, []).append(judged)
        for query, found in useful.items():
            answers = {function.code_hash for function in found}
            others = tuple(one for one in rejected.pop(query, ()) if one.code_hash not in answers)
            for function in found:
                yield Pair(query, function, self.name, rejected=others)
        self.dropped["rejected, and nothing was useful"] += sum(map(len, rejected.values()))

    def _verdicts(self) -> Iterator[dict[str, Any]]:
        try:
            lines = self.file.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            raise ConfigError(
                f"{self.file} does not exist, expected the verdicts of: dowse serve --feedback; give some there first"
            ) from None
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                said = json.loads(line)
                whole = all(isinstance(said[name], str) for name in _TEXTS) and isinstance(said["useful"], bool)
                said["symbol"]
            except (ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                raise DataError(f"{self.file} line {number}: this is no verdict; remove the line") from None
            yield said


def _is_of(text: str, function: Function) -> bool:
    """Tell whether the judged text is still the function's, or a part of it; white space does not count."""
    judged, now = ("".join(one.split()) for one in (text, function.text))
    return judged in now or now in judged
