"""Step 2 of 7, label: a folder of pairs, cut into blocks that are labelled one at a time.

Reads the Parquet files of a pairs folder; writes nothing. A block holds whole repositories,
as many as fit, so that a query meets candidates of its own repository and memory stays flat in the number of pairs. A
repository larger than a block is cut into even parts, each with candidates of its own part: they follow the order of
its files, so those candidates are, if anything, nearer. Of each repository a draw can be taken instead of all pairs.
`dowse mine` writes each repository by itself; files that mix many are read as well, more slowly.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dowse.errors import DataError, MissingExtraError
from dowse.mine.pairs import MAKER, check_rows, completed, open_shard

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise MissingExtraError("dowse label", "data") from error

COLUMNS = (
    "pair_id",
    "query",
    "text",
    "text_without_comments",
    "path",
    "symbol",
    "language",
    "repository",
    "split",
    "source",
    "code_hash",
    "rejected",
)
_BATCH_ROWS = 4096


class Part(NamedTuple):
    """One row group of one file; `first` counts the repository's rows before it."""

    file: int
    row_group: int
    first: int


@dataclass(frozen=True, slots=True)
class Span:
    """Some rows of one repository, ascending and counted over all its files, and where they lie."""

    repository: str
    rows: Sequence[int]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """What is labelled at once."""

    number: int
    spans: tuple[Span, ...]

    @property
    def pairs(self) -> int:
        """Rows in the block."""
        return sum(len(span.rows) for span in self.spans)


@dataclass(slots=True)
class _Found:
    rows: int = 0
    parts: list[Part] = field(default_factory=list)


def plan_blocks(files: Sequence[Path], block_pairs: int, max_pairs: int = 0, seed: int = 0) -> list[Block]:
    """Read which repository each row belongs to and cut the whole into blocks.

    Args:
        files: Of the pairs folder.
        block_pairs: Rows in a block at most.
        max_pairs: Rows of a repository at most, drawn where there are more; all of them where 0.
        seed: Another one draws others.

    Raises:
        DataError: A file is no Parquet file of pairs, or there is no row at all.
    """
    repositories: dict[str, _Found] = {}
    for number, path in enumerate(files):
        with open_shard(path) as file:
            for group in range(file.num_row_groups):
                counts: Counter[str] = Counter()
                for batch in file.iter_batches(row_groups=[group], columns=["repository"]):
                    for entry in batch["repository"].value_counts():
                        counts[entry["values"].as_py() or ""] += entry["counts"].as_py()
                for name, count in counts.items():
                    found = repositories.setdefault(name, _Found())
                    found.parts.append(Part(number, group, found.rows))
                    found.rows += count
    if not repositories:
        raise DataError(f"{files[0].parent}: its Parquet files hold no row, expected pairs; run dowse mine again")
    return list(_pack(repositories, block_pairs, max_pairs, seed))


def read_block(files: Sequence[Path], block: Block) -> tuple[Any, list[tuple[int, int]]]:
    """Return the rows of a block as a table (`COLUMNS`), and the first and last + 1 row of each span.

    Raises:
        DataError: A value is missing, a query or a code is empty, or an identifier stands twice.
    """
    collected: dict[str, list[Any]] = {span.repository: [] for span in block.spans}
    places = sorted({(part.file, part.row_group) for span in block.spans for part in span.parts})
    for number in dict.fromkeys(file for file, _ in places):
        with open_shard(files[number]) as file:
            starts = [0]
            for group in range(file.num_row_groups):
                starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
            for group in (group for place, group in places if place == number):
                wanted = {
                    span.repository: (span, part.first)
                    for span in block.spans
                    for part in span.parts
                    if part[:2] == (number, group)
                }
                batches = file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=list(COLUMNS))
                _collect(batches, files[number], starts[group], wanted, collected)
    tables, borders, first = [], [], 0
    for span in block.spans:
        table = pa.Table.from_batches(collected[span.repository])
        tables.append(table)
        borders.append((first, first + table.num_rows))
        first += table.num_rows
    whole = pa.concat_tables(tables).combine_chunks()
    _check_identifiers(files, whole)
    return whole, borders


def _pack(repositories: dict[str, _Found], block_pairs: int, max_pairs: int, seed: int) -> Iterator[Block]:
    number, waiting, filled = 0, list[Span](), 0
    for name, found in repositories.items():
        rows: Sequence[int] = range(found.rows)
        if 0 < max_pairs < found.rows:
            rows = sorted(random.Random(f"{seed} {name}").sample(rows, max_pairs))
        if waiting and filled + len(rows) > block_pairs:
            yield Block(number, tuple(waiting))
            number, waiting, filled = number + 1, [], 0
        pieces = -(-len(rows) // block_pairs)
        for piece in range(pieces):
            taken = rows[len(rows) * piece // pieces : len(rows) * (piece + 1) // pieces]
            ends = [part.first for part in found.parts[1:]] + [found.rows]
            parts = tuple(
                part for part, end in zip(found.parts, ends, strict=True) if part.first <= taken[-1] and end > taken[0]
            )
            waiting.append(Span(name, taken, parts))
            filled += len(taken)
            if pieces > 1:
                yield Block(number, tuple(waiting))
                number, waiting, filled = number + 1, [], 0
    if waiting:
        yield Block(number, tuple(waiting))


def _collect(
    batches: Iterator[Any],
    path: Path,
    first: int,
    wanted: dict[str, tuple[Span, int]],
    collected: dict[str, list[Any]],
) -> None:
    """Add the wanted rows of a row group to what was collected for their repositories."""
    seen = {name: before for name, (_, before) in wanted.items()}
    for batch in batches:
        batch = completed(batch, COLUMNS)
        check_rows(path, batch, first)
        for name in pc.unique(batch["repository"]).to_pylist():
            if name in wanted:
                span = wanted[name][0]
                rows = batch.filter(pc.equal(batch["repository"], name))
                before = seen[name]
                seen[name] += rows.num_rows
                taken = span.rows[bisect_left(span.rows, before) : bisect_left(span.rows, seen[name])]
                if taken:
                    collected[name].append(rows.take([row - before for row in taken]))
        first += batch.num_rows


def _check_identifiers(files: Sequence[Path], table: Any) -> None:
    identifiers = table["pair_id"]
    if pc.count_distinct(identifiers).as_py() < table.num_rows:
        twice = next(name for name, count in Counter(identifiers.to_pylist()).items() if count > 1)
        raise DataError(
            f"{files[0].parent}: pair_id {twice} stands twice, expected one row each; rebuild it with: {MAKER}"
        )
