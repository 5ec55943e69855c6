"""Step 5 of 7, index: a new worktree of a repository begins with the index of another one.

The worktrees of a git repository hold mostly the same files. The index of one is therefore copied for the next; the
update that follows finds other stats, reads the files, and keeps the documents of those whose content is the same: only
what differs is cut and embedded. The bi-encoder's embeddings come along. Reads git's own files rather than calling git;
writes the new index folder, whole or not at all.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from dowse.config import IndexSettings, index_folder
from dowse.errors import DowseError
from dowse.index.cache import FILE as CACHE
from dowse.index.local import FORMAT_VERSION, LocalStore
from dowse.index.store import LOCK_WAIT_S
from dowse.models.static import StaticEncoder


def adopt(folder: Path, root: Path, settings: IndexSettings, encoder: StaticEncoder) -> Path | None:
    """Copy the index of another worktree of `root`'s repository to `folder`, if there is none yet and one fits.

    Returns:
        The worktree whose index was taken, None if there is none to take.
    """
    if folder.exists():
        return None
    for other in worktrees(root):
        source = index_folder(other, settings)
        try:
            if source != folder and (source / "index.sqlite").is_file() and _copy(source, folder, root, encoder):
                return other
        except (DowseError, sqlite3.DatabaseError, OSError):  # the index is then built, as it would have been
            continue
    return None


def worktrees(root: Path) -> Iterator[Path]:
    """Yield the other worktrees of the repository whose worktree `root` is, the main one first; none for a clone."""
    common = _common(root / ".git")
    if common is None:
        return
    places = [common.parent] if common.name == ".git" else []
    places += filter(None, map(_recorded, sorted(common.glob("worktrees/*/gitdir"))))
    for place in places:
        if place != root and _is_folder(place):
            yield place


def _recorded(record: Path) -> Path | None:
    """Return the worktree that git has recorded: by a whole path, or (git 2.48) by one from the record's folder."""
    with suppress(OSError, ValueError, RuntimeError):  # no path at all, or one in a circle
        return (record.parent / text).parent.resolve() if (text := _line(record)) else None
    return None


def _common(git: Path) -> Path | None:
    """Return the directory that all worktrees of a repository share."""
    if _is_folder(git):
        return git
    pointer = _line(git).removeprefix("gitdir: ")
    try:
        own = (git.parent / pointer).resolve()
        shared = _line(own / "commondir") if pointer else ""
        return (own / shared).resolve() if shared else None
    except (OSError, ValueError, RuntimeError):  # no path at all, or one in a circle
        return None


def _is_folder(path: Path) -> bool:
    """Tell whether there is a folder, so far as one may look."""
    with suppress(OSError):
        return path.is_dir()
    return False


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _copy(source: Path, folder: Path, root: Path, encoder: StaticEncoder) -> bool:
    """Copy an index made in the same way while nobody writes it; False if it was made in another."""
    with closing(LocalStore(source, root.name)) as store, store.writing(LOCK_WAIT_S):
        made_with = (store.meta.get("format"), store.meta.get("fingerprint"))
        if made_with != (str(FORMAT_VERSION), encoder.fingerprint):
            return False
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            copy = Path(scratch) / "index"
            copy.mkdir()
            with closing(sqlite3.connect(copy / "index.sqlite", isolation_level=None)) as database:
                store.database.backup(database)
                database.execute("INSERT OR REPLACE INTO meta VALUES ('root', ?)", (store.mark_of(root),))
                database.execute("DELETE FROM meta WHERE key = 'tree'")
            shutil.copytree(source / "lexical", copy / "lexical")
            _copy_cache(source / CACHE, copy / CACHE)
            copy.replace(folder)
    return True


def _copy_cache(source: Path, copy: Path) -> None:
    """Copy the bi-encoder's embeddings, whoever adds to them meanwhile; without them they are made anew."""
    if not source.is_file():
        return
    try:
        with closing(sqlite3.connect(source)) as cache, closing(sqlite3.connect(copy)) as database:
            cache.backup(database)
    except sqlite3.DatabaseError:
        with suppress(OSError):
            copy.unlink()
