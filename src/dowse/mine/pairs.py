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


@contextmanager
def opened(path: Path, expected: str, remedy: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; damage, whether found now or while it is read, is named in one sentence.

    Raises:
        DataError: The file cannot be opened or read.
    """
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        fault = (str(error).splitlines() or ["it is damaged"])[0]
        raise DataError(f"{path}: cannot be read as Parquet ({fault}), expected {expected}; {remedy}") from None


def read_shard(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one file, checked, a batch at a time."""
    remedy = "rebuild it with: dowse mine"
    with opened(path, "a Parquet file of pairs", remedy) as file:
        for wanted in SCHEMA:
            found = file.schema_arrow.field(wanted.name) if wanted.name in file.schema_arrow.names else None
            if found is None and wanted.name in OPTIONAL:
                continue
            if found is None or found.type != wanted.type:
                said = "is missing" if found is None else f"is {found.type}"
                raise DataError(f"{path}: column {wanted.name} {said}, expected {wanted.type}; {remedy}")
        position = 0
        names = list(columns or SCHEMA.names)
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            batch = completed(batch, names)
            batch.validate(full=True)
            _check_rows(batch, path, position)
            position += batch.num_rows
            yield batch


def read_rows(folder: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the pairs of a folder as dictionaries."""
    for batch in read_batches(folder, columns):
        yield from batch.to_pylist()


def completed(batch: pa.RecordBatch, names: Sequence[str] = tuple(SCHEMA.names)) -> pa.RecordBatch:
    """Return a batch with the wanted columns that an older folder does not have, null in every row."""
    for name in names:
        if name in OPTIONAL and name not in batch.schema.names:
            batch = batch.append_column(SCHEMA.field(name), pa.nulls(batch.num_rows, SCHEMA.field(name).type))
    return batch


def write_rows(writer: pq.ParquetWriter, rows: Iterable[dict[str, Any]], schema: pa.Schema = SCHEMA) -> None:
    """Write rows as one group."""
    writer.write_batch(pa.RecordBatch.from_pylist(list(rows), schema))


def _check_rows(batch: pa.RecordBatch, path: Path, position: int) -> None:
    """Refuse a batch with an empty query, an unknown split or a missing value."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count and name not in OPTIONAL:
            row = position + column.is_null().to_pylist().index(True)
            raise DataError(f"{path} row {row}: {name} is missing, expected a value; rebuild it with: dowse mine")
        if name in ("query", "split", "text"):
            allowed = SPLITS if name == "split" else None
            for offset, value in enumerate(column.to_pylist()):
                if not value or (allowed and value not in allowed):
                    expected = ", ".join(allowed) if allowed else "some text"
                    where = f"{path} row {position + offset}"
                    raise DataError(f"{where}: {name} is {value!r}, expected {expected}; rebuild it with: dowse mine")
