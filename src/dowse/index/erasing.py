"""Step 5 of 7, index: takes a repository out of a Lance table, its past included.

Removed rows would stay in the versions of the last week, in files that hold other rows too, and in the words of the
indexes. So the rows go first, in one commit; then the files are written anew without them, the indexes made anew, and
all versions but the newest forgotten. Left are snapshots with a name, which somebody meant to keep: they are named, or
removed too if that is asked for. What a killed writer left behind, `lance_care` removes after a week.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import pyarrow as pa
from lance.commit import CommitConflictError

from dowse.index.lance_care import ensure_indexes, tidy, versions
from dowse.index.lance_table import Table, quoted, schema, translated
from dowse.index.store import BusyError


class Stored(NamedTuple):
    """What a table holds of one repository: documents, and names of the snapshots that hold some."""

    documents: int
    snapshots: tuple[str, ...]


def stored(table: Table, repository: str) -> Stored:
    """Look what a table holds of a repository.

    Raises:
        IndexFormatError: the store cannot be read.
    """
    where = _of(repository)
    with translated(table.address):
        table.newest()
        holding = [
            name
            for one in versions(table)
            if one.names and table.dataset.checkout_version(one.number).count_rows(where)
            for name in one.names
        ]
    return Stored(table.count(f"{where} AND start_line > 0"), tuple(sorted(holding)))


def erase(table: Table, repository: str, snapshots: bool = False) -> Stored:
    """Take a repository out of a table and return what was held of it.

    Args:
        table: at any version.
        repository: its name.
        snapshots: also remove the snapshots that hold some of it, for all that share the table.

    Raises:
        BusyError: others were writing; what is not removed yet is by the next try.
        IndexFormatError: the store cannot be written.
    """
    found = stored(table, repository)
    try:
        with translated(table.address):
            table.replace(_of(repository), pa.Table.from_pylist([], schema=schema(table.dimensions)))
            for name in found.snapshots if snapshots else ():
                table.dataset.tags.delete(name)
            # Those that hold a removed row are due for it, however few of their rows it is.
            table.dataset.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
            table.newest()
            for index in table.dataset.describe_indices():
                table.dataset.drop_index(index.name)
            table.newest()
            ensure_indexes(table)
            tidy(table)
            table.dataset.cleanup_old_versions(timedelta(0), error_if_tagged_old_versions=False)
            table.newest()
    except CommitConflictError:
        raise BusyError(f"others are writing to {table.address}; try again later") from None
    return found


def _of(repository: str) -> str:
    return f"repository = {quoted(repository)}"
