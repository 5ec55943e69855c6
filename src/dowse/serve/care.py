"""Step 7 of 7, serve: the commands `dowse doctor` and `dowse forget`: what is wrong here, and what is kept here.

`forget` removes all that Dowse keeps of a folder by itself (`docs/trust.md` lists it): its index with the embeddings in
it, the verdicts on its hits, and its place among the folders that tokens open. From a store that many share it takes
the repository of the folder's name, for all of them; only where `--store` names that store, since the name of a folder
may be another's too. Folders that a person named (pairs, labels, models) are theirs and stay.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path
from typing import Annotated, Any

import typer

from dowse.serve.options import AsJson, IndexDir, Stored

Folders = Annotated[list[Path], typer.Argument(metavar="REPO...", help="Folders that were searched; they may be gone.")]

commands = typer.Typer()
"""Holds the commands, to be merged into the command line."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept of one folder.

    Attributes:
        files: of its index on this machine, `size_bytes` together.
        documents: in the store that many share.
        snapshots: with a name, of that store, which still hold some.
        left_in: the store of the settings if it holds, or may hold, a repository of that name, which was left there.
        verdicts: on its hits.
        tokens: that opened it.
    """

    folder: str
    files: int
    size_bytes: int
    documents: int
    snapshots: tuple[str, ...]
    left_in: str | None
    verdicts: int
    tokens: tuple[str, ...]

    @property
    def said(self) -> str:
        """The same in one line."""
        parts = [f"an index of {self.size_bytes / 1e6:.1f} MB"] if self.files else []
        parts += [f"{self.documents} documents in the store"] if self.documents else []
        parts += [f"{self.verdicts} verdicts"] if self.verdicts else []
        parts += [f"its place in the tokens {', '.join(self.tokens)}"] if self.tokens else []
        said = ", ".join(parts) or "nothing"
        if self.snapshots:
            said += f"; the snapshots {', '.join(self.snapshots)} still hold it; --snapshots removes them too"
        if self.left_in is not None:
            said += (
                f"; what {self.left_in} holds under its name was left: --store {self.left_in} removes it for all who"
            )
            said += " share it"
        return said


@commands.command()
def doctor(index_dir: IndexDir = None, store: Stored = None, as_json: AsJson = False) -> None:
    """Say what is wrong with this installation; changes nothing."""
    from dowse.serve.doctor import main

    said = {"--index-dir": index_dir, "--store": store}
    named = [word for option, value in said.items() if value is not None for word in (option, str(value))]
    raise typer.Exit(main([*named, *(["--json"] if as_json else [])]))


@commands.command()
def forget(
    folders: Folders,
    index_dir: IndexDir = None,
    store: Annotated[
        str | None, typer.Option("--store", help="Also what this store holds under their names, for all who share it.")
    ] = None,
    snapshots: Annotated[bool, typer.Option("--snapshots", help="Also the store's snapshots that hold some.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is kept and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove all that is kept of folders.

    That is their indexes, verdicts on their hits, and their places in tokens.
    """
    from dowse.errors import ConfigError
    from dowse.serve.display import visible

    if snapshots and store is None:
        raise ConfigError("--snapshots are those of a store, and none is named; add --store ADDRESS, or leave it out")
    places = {"directory": None if index_dir is None else str(index_dir), "store": store}
    roots = dict.fromkeys(path.resolve() for path in folders)
    kept = [forgotten(root, places, dry_run=dry_run, snapshots=snapshots) for root in roots]
    if as_json:
        print(json.dumps({"removed": not dry_run, "folders": [asdict(one) for one in kept]}))
        return
    for one in kept:
        print(visible(f"{one.folder}: {'would forget' if dry_run else 'forgot'} {one.said}"))


def forgotten(
    root: Path, places: Mapping[str, Any] | None = None, *, dry_run: bool = False, snapshots: bool = False
) -> Kept:
    """Remove what is kept of one folder, and return what it was.

    Args:
        root: the folder, resolved; it need not exist any more.
        places: where indexes are kept, as `[index]` has it; where the settings say if None. A store loses its part
            only where it is named here.
        dry_run: remove nothing.
        snapshots: also remove the snapshots of a store that hold some of it.

    Raises:
        IndexFormatError: another process is writing the index, or it cannot be removed.
        DataError: the file of tokens is damaged.
    """
    from dowse.config import index_folder, load_settings
    from dowse.serve.feedback import Feedback
    from dowse.serve.tokens import TokenFile

    places = places or {}
    settings = load_settings(None, {"index": places}).index
    folder = index_folder(root, settings)
    files = [file for place in _places(folder) for file in place.rglob("*") if file.is_file()]
    size_bytes = sum(file.stat().st_size for file in files)
    if not dry_run:
        _remove(folder)
    address = places.get("store")
    documents, left = _taken_out(address, root, dry_run, snapshots) if address else (0, ())
    left_in = settings.store if settings.store and not address and _may_hold(settings.store, root) else None
    verdicts = Feedback().forget(root, dry_run)
    tokens = TokenFile().close_folder(root, dry_run)
    return Kept(str(root), len(files), size_bytes, documents, left, left_in, verdicts, tuple(tokens))


def _taken_out(address: str, root: Path, dry_run: bool, snapshots: bool) -> tuple[int, tuple[str, ...]]:
    """Take a folder out of a store; return how many documents it had, and the snapshots that hold some still."""
    from dowse.index.opening import cache_folder, open_table

    table = open_table(address)
    from dowse.index.erasing import erase, stored
    from dowse.index.lance import LanceStore
    from dowse.models.static import default_static
    from dowse.search.roots import stored_name

    name = stored_name(root)
    if dry_run:
        found = stored(table, name)
        return found.documents, () if snapshots else found.snapshots
    found = erase(table, name, snapshots)
    with closing(LanceStore(table, None, cache_folder())) as everything:  # embeddings of what is left stay
        everything.cache(default_static()).sweep(everything.hashes())
    return found.documents, () if snapshots else found.snapshots


def _may_hold(address: str, root: Path) -> bool:
    """Tell whether a store has a repository of a folder's name; True too where it cannot be looked at."""
    from dowse.errors import DowseError
    from dowse.index.opening import open_table

    try:
        table = open_table(address)
        from dowse.index.erasing import stored
        from dowse.search.roots import stored_name

        return stored(table, stored_name(root)) != (0, ())
    except DowseError:
        return True


def _places(folder: Path) -> Iterator[Path]:
    """Yield the folder of an index, and copies for it that a killed process left half made."""
    if folder.is_dir():
        yield folder
    yield from folder.parent.glob(f".{escape(folder.name)}.*")


def _remove(folder: Path) -> None:
    """Remove an index that nobody is writing, and nothing else that may lie in its folder."""
    from dowse.errors import IndexFormatError
    from dowse.index.writer import PARTS, discard

    discard(folder)
    try:
        for place in _places(folder):
            for part in place.iterdir():
                if place != folder or part.name.startswith(PARTS):
                    shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
            if not any(place.iterdir()):
                place.rmdir()
    except OSError as error:
        raise IndexFormatError(f"{folder} cannot be removed ({error.strerror}); remove it by hand") from error
