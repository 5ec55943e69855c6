"""Step 1 of 7, mine: the rows of a pairs folder, how they are written and how later steps read them.

A pairs folder holds one Parquet file per repository and source, `manifest.json` (how to make it again; written last, so
a folder without it is unfinished), `counts.json`, and the data card `README.md`; see `docs/data.md`. Reading streams:
no more than a batch of rows is in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dowse.errors import DataError, MissingExtraError
from dowse.mine.repositories import Repository
from dowse.mine.sources import Pair
from dowse.parquet import check_columns, check_filled, check_texts, opened

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("a folder of pairs", "data") from error

REJECTED = ("path", "symbol", "language", "text", "text_without_comments", "code_hash")
"""What is kept of a function that somebody rejected."""

SCHEMA = pa.schema(
    [
        ("pair_id", pa.string()),  # hash of repository, path, symbol, query, source and code
        ("query", pa.string()),  # what a person would ask, plain prose
        ("text", pa.string()),  # the function as it stands, its comments included, dedented
        ("text_without_comments", pa.string()),
        ("repository", pa.string()),  # "owner/name" where known
        ("commit", pa.string()),  # where the function stands like this; "" for plain folders
        ("licence", pa.string()),  # SPDX expression, "" where unknown
        ("path", pa.string()),  # relative to the repository, /-separated
        ("start_line", pa.int32()),  # 1-based, of the first comment above
        ("end_line", pa.int32()),  # inclusive
        ("language", pa.string()),
        ("symbol", pa.string()),  # qualified: "Stack.push"; "" where nothing is named
        ("source", pa.string()),  # docstrings, classes, commits, llm or feedback
        ("split", pa.string()),  # train, dev or test, by repository
        ("code_hash", pa.string()),  # of the code without comments, white space and decorators
        # functions of which somebody said that they do not answer the query; null where there are none
        ("rejected", pa.list_(pa.struct([(name, pa.string()) for name in REJECTED]))),
    ]
)
"""The columns of a pair."""

OPTIONAL = frozenset({"rejected"})
"""Columns that may be null, and that folders made before there were such columns do not have."""

MAKER = "dowse mine"
"""The command that makes a folder anew, as errors name it."""

_NEEDED = pa.schema([field for field in SCHEMA if field.name not in OPTIONAL])
_TEXTS = ("query", "text", "text_without_comments")

SPLITS = ("train", "dev", "test")

BATCH_ROWS = 2_000
"""Rows read and written at once: some 5 MB."""


def row_of(pair: Pair, repository: Repository) -> dict[str, Any]:
    """Return a pair as a row of `SCHEMA`, its split not decided yet."""
    function = pair.function
    named = (repository.name, function.path, function.symbol, pair.query, pair.source, function.code_hash)
    return {
        "pair_id": hashlib.blake2b("\0".join(named).encode("utf-8", "replace"), digest_size=12).hexdigest(),
        "query": pair.query,
        "text": function.text,
        "text_without_comments": function.text_without_comments,
        "repository": repository.name,
        "commit": pair.commit or repository.commit,
        "licence": repository.licence,
        "path": function.path,
        "start_line": function.start_line,
        "end_line": function.end_line,
        "language": function.language,
        "symbol": function.symbol,
        "source": pair.source,
        "split": "",
        "code_hash": function.code_hash,
        "rejected": [{name: getattr(one, name) for name in REJECTED} for one in pair.rejected] or None,
    }


def shards(folder: Path) -> list[Path]:
    """Return the Parquet files of a finished pairs folder, in the order of their names.

    Raises:
        DataError: The folder is missing, unfinished, or holds no pairs.
    """
    if not (folder / "manifest.json").is_file():
        fault = "is not finished" if folder.is_dir() else "does not exist"
        raise DataError(
            f"{folder}: {fault}, expected a folder of pairs with manifest.json; run: dowse mine -o {folder}"
        )
    found = sorted(folder.glob("*.parquet"))
    if not found:
        raise DataError(f"{folder}: holds no pairs, expected Parquet files; mine more repositories with: dowse mine")
    return found


def read_batches(folder: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the pairs of a folder, a batch of rows at a time.

    Raises:
        DataError: A file is no Parquet file, its columns are not those of `SCHEMA`, or a row is not whole.
    """
    for path in shards(folder):
        yield from read_shard(path, columns)


def read_shard(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one file, checked, a batch at a time."""
    with open_shard(path) as file:
        position = 0
        names = list(columns or SCHEMA.names)
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            batch = completed(batch, names)
            batch.validate(full=True)
            check_rows(path, batch, position)
            position += batch.num_rows
            yield batch


@contextmanager
def open_shard(path: Path) -> Iterator[pq.ParquetFile]:
    """Open one file of pairs.

    Raises:
        DataError: It is something else, lacks a column, or turns out damaged while it is read.
    """
    with opened(path, "a Parquet file of pairs", f"rebuild it with: {MAKER}") as file:
        check_columns(path, file.schema_arrow, _NEEDED, MAKER)
        yield file


def check_rows(path: Path, batch: pa.RecordBatch, first: int) -> None:
    """Refuse a batch with a missing value, an empty text or an unknown split; `first` is its first row in the file.

    Raises:
        DataError: There is one.
    """
    check_filled(path, batch, first, MAKER, OPTIONAL)
    check_texts(path, batch, first, [name for name in _TEXTS if name in batch.schema.names], MAKER)
    if "split" in batch.schema.names:
        for offset, split in enumerate(batch["split"].to_pylist()):
            if split not in SPLITS:
                raise DataError(
                    f"{path} row {first + offset}: split is {split!r}, expected {', '.join(SPLITS)}; rebuild it with: "
                    f"{MAKER}"
                )


def read_rows(folder: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the pairs of a folder as dictionaries."""
    for batch in read_batches(folder, columns):
        yield from batch.to_pylist()


def completed(batch: pa.RecordBatch, names: Sequence[str] = tuple(SCHEMA.names)) -> pa.RecordBatch:
    """Return the wanted columns in the types of `SCHEMA`; one that an older folder lacks is null in every row."""
    for name in names:
        if name in OPTIONAL and name not in batch.schema.names:
            batch = batch.append_column(SCHEMA.field(name), pa.nulls(batch.num_rows, SCHEMA.field(name).type))
    wanted = pa.schema([SCHEMA.field(name) for name in names])
    batch = batch.select(wanted.names)
    return batch if batch.schema == wanted else batch.cast(wanted)


def write_rows(writer: pq.ParquetWriter, rows: Iterable[dict[str, Any]], schema: pa.Schema = SCHEMA) -> None:
    """Write rows as one group."""
    writer.write_batch(pa.RecordBatch.from_pylist(list(rows), schema))
