"""Step 5 of 7, index: how its SQLite files are opened, written and spoken of.

One connection a thread at a time, any number of processes; the log lets readers go on while one writes.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dowse.errors import IndexFormatError

BUSY_WAIT_S = 30.0

_ELSEWHERE = (PermissionError, FileExistsError, NotADirectoryError)
"""What the system says of a place where no folder can be made or written: another one helps."""


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Say in one sentence what went wrong with an index folder, whichever library noticed.

    Raises:
        IndexFormatError: SQLite, the system or the library of words refused something.
    """
    try:
        yield
    except (sqlite3.DatabaseError, OSError, ValueError) as error:
        raise IndexFormatError(f"index {folder}: {_reason(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # tantivy's answer to some damage; no subclass of Exception
            raise
        raise IndexFormatError(f"index {folder}: {_reason(ValueError(str(error)))}") from error


def _reason(error: Exception) -> str:
    message = str(error)
    if any(sign in message for sign in ("disk is full", "No space left", "File too large")):
        return "the disk is full; free some space or choose another place with --index-dir"
    if any(sign in message for sign in ("disk I/O error", "Input/output error")):
        return "the disk refused to read or write; is it full or failing? what was indexed before is kept"
    if any(sign in message for sign in ("is locked", "LockBusy")):
        return f"another process keeps it to itself ({message}); try again when it is done"
    signs = ("readonly", "Read-only", "Permission denied", "PermissionDenied", "unable to open")
    if isinstance(error, _ELSEWHERE) or any(sign in message for sign in signs):
        return f"it cannot be written ({message}); choose another place with --index-dir"
    if isinstance(error, OSError):
        return f"the system refused it ({message}); try again, what was indexed before is kept"
    return (
        f"it is damaged or not an index ({message}); build it anew from what it indexes: dowse index FOLDER --rebuild"
    )


def connect(path: Path, tables: str, wait_s: float = BUSY_WAIT_S) -> sqlite3.Connection:
    """Open a database, made with its tables where they are missing; as it stands where nothing may be written.

    Args:
        path: the file.
        tables: `CREATE TABLE` statements, which leave alone what is there already.
        wait_s: how long another process may keep the file to itself.
    """
    if path.is_file() and not os.access(path.parent, os.W_OK):
        return _connect_read_only(path)
    database = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA mmap_size = 268435456")
        for statement in tables.split(";"):  # each by itself: only one whose table is missing waits for writers
            database.execute(statement)
    except BaseException:
        database.close()
        raise
    return database


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a database whose folder may not be written; one with a log left by a kill is copied into memory."""
    log = path.with_name(path.name + "-wal")
    if not log.is_file() or not log.stat().st_size:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    with tempfile.TemporaryDirectory(prefix="dowse-") as copy:
        for part in (path, log):
            shutil.copyfile(part, Path(copy) / part.name)
        with closing(sqlite3.connect(Path(copy) / path.name)) as whole:
            database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            whole.backup(database)
    database.execute("PRAGMA query_only = 1")
    return database


@contextmanager
def transaction(database: sqlite3.Connection, mode: str) -> Iterator[Callable[..., sqlite3.Cursor]]:
    """Run a block in one transaction (`mode` DEFERRED or IMMEDIATE), undone if that raises; gives `execute`."""
    database.execute(f"BEGIN {mode}")
    try:
        yield database.execute
        database.execute("COMMIT")
    except BaseException:
        database.rollback()
        raise
