"""Step 5 of 7, index: keeps a Lance table quick, small, and able to go back.

Search finds new rows at once because the engine scans what is in no index yet, at some 10 µs a row and field; care puts
them into the indexes before that is felt. Rows are appended to an index as a further part (cheap, whatever its size),
and the newest parts are merged when they are nearly as large: on 200,000 documents merging all of it at every change of
1 % took a hundred times as long as the change. So a part is at least `RATIO` times as large as the one after it, there
are few of them, and a row is written anew a few times in its life. Every version is a snapshot; those of the last week
are kept, and those with a name for ever.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from lance.commit import CommitConflictError

from dowse.errors import ConfigError, IndexFormatError
from dowse.index.lance_table import TERM_COLUMNS, Table, translated
from dowse.index.store import BusyError

WORD_INDEXES = {column: f"{column}_idx" for column in TERM_COLUMNS}
VALUE_INDEXES = {"key": "BTREE", "repository": "BITMAP", "language": "BITMAP", "kind": "BITMAP"}
VECTOR_INDEX = "embedding_idx"

VECTORS_FROM = 50_000
"""Fewer documents are compared exactly, in less time than a person notices."""

DIMENSIONS_A_CODE = 4
"""Numbers of an embedding that one byte of the vector index stands for."""

SCANNED = 1_000
"""Rows in no index that a search may have to scan, or a twentieth of the table if that is less."""

RATIO = 4
"""How much larger a part of an index is than the next one, at least."""

FRAGMENTS = 64
"""Small files of rows, each from one commit, that a search may have to open."""

SMALL = 100_000
"""Rows below which a fragment is a small one."""

KEPT = timedelta(days=7)
"""How long a version without a name can be gone back to, and files of killed writers lie about."""

log = logging.getLogger(__name__)


class Version(NamedTuple):
    """One moment of a table, and its names, sorted: mostly none, but as many as were given to it."""

    number: int
    written: str
    names: tuple[str, ...]


class Parts(NamedTuple):
    """Rows in each part of an index, oldest first, and rows that wait to be put into it."""

    sizes: list[int]
    waiting: int


def ensure_indexes(table: Table) -> None:
    """Make the indexes that searches need, where they are missing; a table without rows is enough."""
    with translated(table.address), suppress(CommitConflictError):  # another writer makes them at this moment
        there = {index.name for index in table.dataset.describe_indices()}
        for column, name in WORD_INDEXES.items():
            if name not in there:
                table.dataset.create_scalar_index(
                    column,
                    "INVERTED",
                    name,
                    replace=False,
                    base_tokenizer="whitespace",
                    lower_case=False,
                    stem=False,
                    remove_stop_words=False,
                    ascii_folding=False,
                    max_token_length=None,
                    with_position=False,
                )
        for column, kind in VALUE_INDEXES.items():
            if f"{column}_idx" not in there:
                table.dataset.create_scalar_index(column, kind, f"{column}_idx", replace=False)
    table.newest()


def has_vector_index(table: Table) -> bool:
    """Tell whether vectors are looked up in an index rather than compared one by one."""
    with translated(table.address):
        return any(index.name == VECTOR_INDEX for index in table.dataset.describe_indices())


def tidy_if_due(table: Table) -> None:
    """Do what `tidy` does, if a search would notice; writers that come between put it off."""
    try:
        with translated(table.address):
            rows = table.dataset.count_rows()
            small = sum(fragment.metadata.num_rows < SMALL for fragment in table.dataset.get_fragments())
            waiting = parts(table)[WORD_INDEXES["body"]].waiting
        if small > FRAGMENTS:
            tidy(table)
        elif waiting > min(SCANNED, rows / 20):
            _index_rows(table)
    except (CommitConflictError, IndexFormatError) as error:
        log.info("%s is tidied later: %s", table.address, error)


def tidy(table: Table) -> None:
    """Merge small files, put all rows into the indexes, and forget versions that are older than `KEPT`.

    Raises:
        IndexFormatError: the store cannot be written.
        BusyError: a writer came between; what was done until then stays.
    """
    try:
        with translated(table.address):
            table.newest()
            table.dataset.optimize.compact_files(target_rows_per_fragment=10 * SMALL)
            table.newest()
            _index_rows(table)
            table.dataset.cleanup_old_versions(KEPT, error_if_tagged_old_versions=False)
            table.newest()
    except CommitConflictError:
        raise BusyError(f"others are writing to {table.address}; try again later") from None


def _index_rows(table: Table) -> None:
    """Put all rows into the indexes, and the vectors into one once there are enough of them."""
    with translated(table.address):
        n = table.count("embedding IS NOT NULL")
        if n >= VECTORS_FROM and not has_vector_index(table):
            table.dataset.create_index(
                "embedding",
                "IVF_PQ",
                VECTOR_INDEX,
                metric="cosine",
                num_partitions=max(1, round(math.sqrt(n) / 2)),
                num_sub_vectors=table.dimensions // DIMENSIONS_A_CODE,
            )
        for name, known in parts(table).items():
            if known.waiting:
                merged = parts_to_merge(known.sizes, known.waiting)
                table.dataset.optimize.optimize_indices(num_indices_to_merge=merged, index_names=[name])
        table.newest()


def parts(table: Table) -> dict[str, Parts]:
    """Return what each index is made of, by its name."""
    rows = {fragment.fragment_id: fragment.metadata.num_rows for fragment in table.dataset.get_fragments()}
    found = {}
    for index in table.dataset.describe_indices():
        covered = [
            set(part.fragment_ids) & rows.keys() for part in sorted(index.segments, key=lambda one: one.created_at)
        ]
        sizes = [sum(rows[fragment] for fragment in part) for part in covered]
        found[index.name] = Parts(sizes, sum(rows.values()) - sum(sizes))
    return found


def parts_to_merge(sizes: Sequence[int], waiting: int) -> int:
    """Return how many of the newest parts of an index to merge with new rows.

    Args:
        sizes: rows in each part, oldest first.
        waiting: rows to be added.

    >>> parts_to_merge([100_000, 900, 300], 1000), parts_to_merge([100_000], 1000)
    (2, 0)
    """
    together, merged = waiting, 0
    while merged < len(sizes) and sizes[-1 - merged] <= RATIO * together:
        together += sizes[-1 - merged]
        merged += 1
    return merged


def versions(table: Table) -> list[Version]:
    """Return the moments that a table can go back to, newest first."""
    with translated(table.address):
        tags = sorted((name, tag["version"]) for name, tag in table.dataset.tags.list().items())
        found = table.dataset.versions()
    names: dict[int, list[str]] = defaultdict(list)
    for name, number in tags:
        names[number].append(name)
    return [
        Version(one["version"], one["timestamp"].isoformat(timespec="seconds"), tuple(names[one["version"]]))
        for one in reversed(found)
    ]


def name_version(table: Table, name: str) -> int:
    """Keep the newest version under a name, and return its number.

    Raises:
        ConfigError: there is a version of this name, or it cannot be one.
        IndexFormatError: the store cannot be written.
    """
    if name.isdecimal():
        raise ConfigError(f"{name!r} cannot name a snapshot, it would be taken for a number; use a letter in it")
    with translated(table.address):
        table.newest()
        if name in table.dataset.tags.list():
            raise ConfigError(f"{table.address} has a snapshot {name!r} already; choose another name")
        try:
            table.dataset.tags.create(name, table.dataset.version)
        except (ValueError, OSError) as error:
            raise ConfigError(
                f"{name!r} cannot name a snapshot ({str(error).partition(',')[0]}); use letters, digits, - and ."
            ) from None
    return int(table.dataset.version)


def go_back(table: Table, version: str) -> int:
    """Make an earlier version the newest one, for all readers, and return its new number; nothing is lost by it.

    Args:
        version: a number, or the name of a snapshot.

    Raises:
        ConfigError: there is no such version.
        IndexFormatError: the store cannot be written.
    """
    known = {name: one.number for one in versions(table) for name in (str(one.number), *one.names)}
    if version not in known:
        raise ConfigError(f"{table.address} has no version {version!r}; dowse store versions lists them")
    with translated(table.address):
        table.dataset.checkout_version(known[version]).restore()
        table.newest()
    return int(table.dataset.version)
