"""Base: Parquet files that one step wrote and another reads: how they are opened, and what is refused of them.

Rows count from 0 within a file. Every message names the file, what is wrong and which command makes the file again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dowse.errors import DataError, MissingExtraError

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("a folder of pairs", "data") from error


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


def check_columns(path: Path, found: Any, expected: Any, maker: str) -> None:
    """Refuse a file without the expected columns or with other types.

    Raises:
        DataError: A column is missing or of another type.
    """
    faults = [f"no column {field.name}" for field in expected if field.name not in found.names]
    faults += [
        f"{field.name} is {found.field(field.name).type}, expected {field.type}"
        for field in expected
        if field.name in found.names and not _same_kind(found.field(field.name).type, field.type)
    ]
    if faults:
        raise DataError(f"{path}: {'; '.join(faults)}; expected a file made by {maker}; make it again")


def check_filled(path: Path, batch: Any, first: int, maker: str, nullable: frozenset[str] = frozenset()) -> None:
    """Refuse a batch with a missing value; `first` is the row in the file of its first row.

    Raises:
        DataError: A value is null.
    """
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count and name not in nullable:
            row = first + pc.index(column.is_null(), True).as_py()
            raise DataError(f"{path} row {row}: {name} is null, expected a value; rebuild it with: {maker}")


def check_texts(path: Path, batch: Any, first: int, names: Sequence[str], maker: str) -> None:
    """Refuse a batch with a text of nothing but white space.

    Raises:
        DataError: There is one under one of the names.
    """
    for name in names:
        empty = pc.index(pc.equal(pc.utf8_trim_whitespace(batch[name]), ""), True).as_py()
        if empty >= 0:
            raise DataError(f"{path} row {first + empty}: {name} is empty, expected text; rebuild it with: {maker}")


def _same_kind(found: Any, expected: Any) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    texts = (pa.string(), pa.large_string())
    return bool(found == expected or (found in texts and expected in texts))
