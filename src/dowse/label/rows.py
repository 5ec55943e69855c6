"""Step 2 of 7, label: the rows it writes, and how the next step reads them.

`labels-*.parquet` hold one row for each query and candidate, the rows of a query one after the other, its positive
first. Rows count from 0 within a file, here and in every message. A text that several rows share is stored once per
file, as an entry of Parquet's dictionary; readers see plain strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dowse.errors import DataError, MissingExtraError
from dowse.parquet import check_columns, check_filled, opened
from dowse.records import appearing

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("dowse label", "data") from error

LABELLED = pa.schema(
    [
        ("query_id", pa.string()),  # pair_id of the query's own pair
        ("query", pa.string()),
        ("pair_id", pa.string()),  # of the candidate; the code_hash of a rejected one
        ("candidate_query", pa.string()),  # what was mined for the candidate: mostly its own docstring; "" if rejected
        ("text", pa.string()),  # the candidate's code as it stands in its file
        ("text_without_comments", pa.string()),
        ("path", pa.string()),
        ("symbol", pa.string()),
        ("language", pa.string()),
        ("repository", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),  # of the query: docstrings, classes, commits, llm or feedback
        ("role", pa.string()),  # positive, random, hard or rejected
        ("is_positive", pa.bool_()),
        ("similarity_label", pa.float32()),  # what to train on, 0 to 1
        ("measured_label", pa.float32()),  # before a judge raised it
        ("labelling", pa.string()),  # what the query was compared with: docstring, code, or nothing: verdict
        ("is_suspect", pa.bool_()),
        ("reason", pa.string()),  # why it is suspect: threshold, above positive, ast, joined by ", "
        ("ast_distance", pa.float32()),  # to the positive, where it is small enough to matter, otherwise null
        ("judged", pa.string()),  # the judge that was asked, or ""
    ]
)
CHANGES = pa.schema(
    [
        LABELLED.field(name)
        for name in (
            "query_id",
            "query",
            "pair_id",
            "candidate_query",
            "repository",
            "path",
            "symbol",
            "measured_label",
        )
    ]
    + [LABELLED.field("similarity_label"), LABELLED.field("reason"), LABELLED.field("judged")]
)
ROLES = ("positive", "random", "hard", "rejected")
NULLABLE = frozenset({"ast_distance", "symbol"})

_DICTIONARY_BYTES = 1 << 30
"""Parquet writers give up sharing repeated texts beyond this; their own default of a megabyte is 300 functions."""


def read_labelled(folder: Path, columns: Sequence[str] | None = None, batch_rows: int = 4096) -> Iterator[Any]:
    """Yield a labelled folder as pyarrow record batches, file after file, every row checked.

    Memory is that of one file's distinct texts. A query's rows stand together, its positive first, but may lie across
    two batches.

    Raises:
        DataError: The folder is unfinished or something else, a column is missing, or a row breaks a rule of
            `docs/label.md`.
    """
    for path in labelled_files(folder):
        with opened(path, "a file made by dowse label", "make it again") as file:
            check_columns(path, file.schema_arrow, LABELLED, "dowse label")
            wanted = list(columns) if columns is not None else LABELLED.names
            checked = list(dict.fromkeys([*wanted, "similarity_label", "measured_label", "role", "is_positive"]))
            first = 0
            for batch in file.iter_batches(batch_rows, columns=checked):
                batch.validate(full=True)
                _check_rows(path, batch, first)
                first += batch.num_rows
                yield batch.select(wanted)


def labelled_files(folder: Path) -> list[Path]:
    """Return the files of a finished labelled folder, in order.

    Raises:
        DataError: It holds no labels, or its labelling is unfinished.
    """
    files = sorted(folder.glob("labels-*.parquet"))
    if not files or not (folder / "manifest.json").is_file():
        fault = "has labels but no manifest.json: unfinished" if files else "holds no labels-*.parquet"
        raise DataError(f"{folder} {fault}, expected a folder that dowse label has finished; run dowse label again")
    return files


def write_table(path: Path, table: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write a Parquet file that appears at `path` whole or not at all, texts shared by rows stored once."""
    with (
        appearing(path) as scratch,
        pq.ParquetWriter(
            scratch,
            table.schema,
            compression="zstd",
            store_schema=False,  # without it, a dictionary reads back as the strings that it stands for
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
        ) as writer,
    ):
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
        writer.add_key_value_metadata(dict(metadata or {}))


def sharing(values: Any, positions: Any) -> Any:
    """Return a column whose rows are `values` (strings) at `positions`, each value held once."""
    encoded = values.combine_chunks().dictionary_encode() if isinstance(values, pa.ChunkedArray) else values
    encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
    return encoded.take(pa.array(positions))


def _check_rows(path: Path, batch: Any, first: int) -> None:
    check_filled(path, batch, first, "dowse label", NULLABLE)
    similarity, measured = batch["similarity_label"], batch["measured_label"]
    for name, column in (("similarity_label", similarity), ("measured_label", measured)):
        inside = pc.and_(pc.greater_equal(column, 0.0), pc.less_equal(column, 1.0))
        _refuse(path, first, inside, name, column, "0 to 1")
    _refuse(
        path, first, pc.greater_equal(similarity, measured), "similarity_label", similarity, "measured_label or more"
    )
    role = batch["role"]
    _refuse(path, first, pc.is_in(role, pa.array(ROLES)), "role", role, " or ".join(ROLES))
    agrees = pc.equal(batch["is_positive"], pc.equal(role, "positive"))
    _refuse(path, first, agrees, "is_positive", batch["is_positive"], "true for the role positive only")


def _refuse(path: Path, first: int, fine: Any, name: str, column: Any, expected: str) -> None:
    """Raise at the first row that is not fine."""
    position = pc.index(fine, False).as_py()
    if position >= 0:
        value = column[position].as_py()
        value = f"{value:.6g}" if isinstance(value, float) else value
        raise DataError(
            f"{path} row {first + position}: {name} is {value}, expected {expected}; rebuild it with: dowse label"
        )
