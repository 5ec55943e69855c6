"""Step 4 of 7, evaluate: reads the published files of benchmarks, with every fault named by file and entry."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dowse.errors import DataError

T = TypeVar("T", list[Any], dict[str, Any])

AGAIN = "fetch the benchmark's files again"


def read_json(place: Path, kind: type[T]) -> T:
    """Read a JSON file that holds a list or an object.

    Raises:
        DataError: The file is missing, no JSON, or holds something else.
    """
    try:
        value = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise _missing(place, error) from None
    except ValueError as error:
        raise DataError(f"{place} is not JSON ({error}); {AGAIN}") from None
    if not isinstance(value, kind):
        raise DataError(f"{place} holds a {type(value).__name__}, expected a {kind.__name__}; {AGAIN}")
    return value


def read_objects(place: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a JSON file that holds a list of them, each with where it stands.

    Raises:
        DataError: The file is missing, no JSON, no list, or an entry is no object.
    """
    for number, row in enumerate(read_json(place, list)):
        where = f"{place} entry {number}"
        yield where, object_of(row, where)


def read_json_lines(place: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a file of JSON lines, plain or as .gz, each with where it stands.

    Raises:
        DataError: The file is missing or damaged, or a line is no JSON object.
    """
    try:
        with (
            gzip.open(place, "rt", encoding="utf-8") if place.suffix == ".gz" else place.open(encoding="utf-8") as lines
        ):
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                where = f"{place} line {number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{where} is not JSON ({error}); {AGAIN}") from None
                yield where, object_of(row, where)
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise DataError(f"{place} is damaged ({error}), expected JSON lines; {AGAIN}") from None
    except OSError as error:
        raise _missing(place, error) from None


def object_of(value: object, where: str) -> dict[str, Any]:
    """Return what must be a JSON object.

    Raises:
        DataError: It is none.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where} holds {value!r:.40}, expected an object; {AGAIN}")
    return value


def text_of(row: Mapping[str, Any], key: str, where: str) -> str:
    """Return a field that must hold some text.

    Raises:
        DataError: It does not.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key} is {value!r}, expected text that is not blank; {AGAIN}")
    return value


def check_count(found: int, published: int, what: str, allow_partial: bool) -> None:
    """Raise DataError where a file has more or fewer entries than were published, unless that is allowed."""
    if found != published and not allow_partial:
        raise DataError(
            f"{what}: {found:,}, expected the {published:,} that were published, or figures cannot be compared; "
            f"{AGAIN}, or add --allow-partial"
        )


def _missing(place: Path, error: OSError) -> DataError:
    return DataError(f"{place} cannot be read ({error.strerror}), expected one of the benchmark's files; check --data")
