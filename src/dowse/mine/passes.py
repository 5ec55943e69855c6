"""Step 1 of 7, mine: the passes over all shards: leaks, duplicates, stock phrases, consistency, splits, final files.

Reads the shards twice, first their fingerprints (280 bytes a row, all in memory), then row by row; writes the files of
the pairs folder. Rules are applied in the order in which they are counted, and of rows that repeat each other the first
in the order of the repositories as given stays: the result does not depend on how the work was divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError
from dowse.mine.consistency import Checker
from dowse.mine.dedupe import Fingerprints
from dowse.mine.pairs import BATCH_ROWS, SCHEMA, completed
from dowse.types import Progress

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("dowse mine", "data") from error

Mask = NDArray[np.bool_]


@dataclass(slots=True)
class Kept:
    """What was kept, counted by column and repository, and what was dropped by source and rule."""

    by: dict[str, Counter[str]] = field(default_factory=dict)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many pairs there are."""
        return sum(self.by.get("source", Counter()).values())


COUNTED = ("language", "licence", "source", "split", "repository")


def decide(
    shards: Sequence[Path], leaks: frozenset[str], max_copies: int, dropped: dict[str, Counter[str]]
) -> list[Mask]:
    """Return, for every shard, which of its rows stay.

    Args:
        shards: Their order is that in which the first of several equal rows is the one that stays.
        leaks: Code hashes of benchmarks.
        max_copies: Rows a query may have.
        dropped: Counts by source and rule, added to.
    """
    rows = Fingerprints(b"".join(_column(path, "fingerprint") for path in shards))
    lengths = [pq.read_metadata(path).num_rows for path in shards]
    sources = np.repeat(np.array([source_of(path) for path in shards]), lengths)
    leaked = np.array([int.from_bytes(bytes.fromhex(code)[:8], "little") for code in leaks], np.uint64)
    kept = np.ones(len(rows), bool)
    rules: dict[str, Callable[[], Mask]] = {
        "stands in a benchmark": lambda: np.isin(rows.code, leaked),
        "repeated pair": lambda: rows.repeated_pairs(kept),
        "repeated code": lambda: rows.repeated_code(kept),
        "near-duplicate code": lambda: rows.near_copies(kept),
        "stock phrase": lambda: rows.beyond(kept, max_copies),
    }
    for rule, mark in rules.items():
        marked = mark() & kept
        for source, count in Counter(sources[marked].tolist()).items():
            dropped.setdefault(source, Counter())[rule] += count
        kept &= ~marked
    return [part.copy() for part in np.split(kept, np.cumsum(lengths)[:-1])] if lengths else []


def write_final(
    shards: Sequence[Path],
    masks: Sequence[Mask],
    leaks: frozenset[str],
    split_of: Callable[[str], str],
    folder: Path,
    inconsistent: Checker | None,
    told: Progress,
) -> Kept:
    """Write the rows that stay into a folder, one file for each shard that has any, and count them.

    Functions that a row rejects are trained on too, so those that stand in a benchmark go.
    """
    result = Kept({name: Counter() for name in COUNTED})
    total = sum(map(len, masks))
    done = 0
    for path, mask in zip(shards, masks, strict=True):
        if inconsistent is not None and mask.any():
            failed = np.zeros(len(mask), bool)
            failed[np.flatnonzero(mask)] = inconsistent(_rows(path, mask))
            result.dropped.setdefault(source_of(path), Counter())["inconsistent"] += int(failed.sum())
            mask = mask & ~failed
        if mask.any():
            with pq.ParquetWriter(folder / path.name, SCHEMA, compression="zstd") as writer:
                for batch in _rows(path, mask):
                    clean, count = _without_leaks(batch, leaks)
                    if count:
                        result.dropped.setdefault(source_of(path), Counter())["rejected, in a benchmark"] += count
                    writer.write_batch(_with_split(clean, split_of, result))
        done += len(mask)
        told(done, total)
    return result


def _rows(path: Path, mask: Mask) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard that stay, without their fingerprint."""
    position = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=SCHEMA.names):
            chosen = completed(batch).filter(pa.array(mask[position : position + batch.num_rows]))
            position += batch.num_rows
            if chosen.num_rows:
                yield chosen


def _without_leaks(batch: pa.RecordBatch, leaks: frozenset[str]) -> tuple[pa.RecordBatch, int]:
    """Return rows without the rejected functions that stand in a benchmark, and how many these were."""
    place = SCHEMA.get_field_index("rejected")
    said = batch.column(place).to_pylist()
    kept = [[one for one in some or () if one["code_hash"] not in leaks] for some in said]
    count = sum(len(some or ()) for some in said) - sum(map(len, kept))
    if not count:
        return batch, 0
    rejected = pa.array([some or None for some in kept], SCHEMA.field(place).type)
    return batch.set_column(place, SCHEMA.field(place), rejected), count


def _with_split(batch: pa.RecordBatch, split_of: Callable[[str], str], result: Kept) -> pa.RecordBatch:
    splits = [split_of(name) for name in batch.column("repository").to_pylist()]
    batch = batch.set_column(SCHEMA.get_field_index("split"), SCHEMA.field("split"), pa.array(splits, pa.string()))
    for name in COUNTED:
        result.by[name].update(batch.column(name).to_pylist())
    return batch.cast(SCHEMA) if batch.schema != SCHEMA else batch


def _column(path: Path, name: str) -> bytes:
    """Return the values of a fixed-size column, one after the other."""
    with pq.ParquetFile(path) as file:
        return b"".join(b"".join(batch.column(0).to_pylist()) for batch in file.iter_batches(columns=[name]))


def source_of(shard: Path) -> str:
    """Return the name of the source that a shard's file names; see `shard.Task.shard`."""
    return shard.name.removesuffix(".parquet").rpartition(".")[2]
