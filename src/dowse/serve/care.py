"""Step 7 of 7, serve: the commands `dowse doctor` and `dowse forget`: what is wrong here, and what is kept here.

`forget` removes all that Dowse keeps of a folder by itself (`docs/trust.md` lists it): its index with the embeddings in
it, the verdicts on its hits, and its place among the folders that tokens open. Folders that a person named (pairs,
labels, models) are theirs and stay.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

Folders = Annotated[list[Path], typer.Argument(metavar="REPO...", help="Folders that were searched; they may be gone.")]
IndexDir = Annotated[
    Path | None, typer.Option("--index-dir", help="Where indexes are kept, if not in the cache folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

commands = typer.Typer()
"""Holds the commands, to be merged into the command line."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept of one folder: files of its index and their size, verdicts on its hits, tokens that opened it."""

    folder: str
    files: int
    size_bytes: int
    verdicts: int
    tokens: tuple[str, ...]

    @property
    def said(self) -> str:
        """The same in one line."""
        parts = [f"an index of {self.size_bytes / 1e6:.1f} MB"] if self.files else []
        parts += [f"{self.verdicts} verdicts"] if self.verdicts else []
        parts += [f"its place in the tokens {', '.join(self.tokens)}"] if self.tokens else []
        return ", ".join(parts) or "nothing"


@commands.command()
def doctor(index_dir: IndexDir = None, as_json: AsJson = False) -> None:
    """Say what is wrong with this installation; changes nothing."""
    from dowse.serve.doctor import main

    raise typer.Exit(main([*(["--index-dir", str(index_dir)] if index_dir else []), *(["--json"] if as_json else [])]))


@commands.command()
def forget(
    folders: Folders,
    index_dir: IndexDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is kept and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove all that is kept of folders: their indexes, verdicts on their hits, their places in tokens."""
    from dowse.serve.display import visible

    kept = [forgotten(folder, index_dir, dry_run) for folder in dict.fromkeys(path.resolve() for path in folders)]
    if as_json:
        print(json.dumps({"removed": not dry_run, "folders": [asdict(one) for one in kept]}))
        return
    for one in kept:
        print(visible(f"{one.folder}: {'would forget' if dry_run else 'forgot'} {one.said}"))


def forgotten(root: Path, index_dir: Path | None = None, dry_run: bool = False) -> Kept:
    """Remove what is kept of one folder, and return what it was.

    Args:
        root: the folder, resolved; it need not exist any more.
        index_dir: where indexes are kept; where the settings say if None.
        dry_run: remove nothing.

    Raises:
        IndexFormatError: another process is writing the index, or it cannot be removed.
        DataError: the file of tokens is damaged.
    """
    from dowse.config import index_folder, load_settings
    from dowse.serve.feedback import Feedback
    from dowse.serve.tokens import TokenFile

    said = None if index_dir is None else {"index": {"directory": str(index_dir)}}
    folder = index_folder(root, load_settings(None, said).index)
    files = [file for place in _places(folder) for file in place.rglob("*") if file.is_file()]
    size_bytes = sum(file.stat().st_size for file in files)
    if not dry_run:
        _remove(folder)
    verdicts = Feedback().forget(root, dry_run)
    tokens = TokenFile().close_folder(root, dry_run)
    return Kept(str(root), len(files), size_bytes, verdicts, tuple(tokens))


def _places(folder: Path) -> Iterator[Path]:
    """Yield the folder of an index, and copies for it that a killed process left half made."""
    if folder.is_dir():
        yield folder
    yield from folder.parent.glob(f".{folder.name}.*")


def _remove(folder: Path) -> None:
    """Remove an index that nobody is writing, and nothing else that may lie in its folder."""
    from dowse.errors import IndexFormatError
    from dowse.index.local import PARTS
    from dowse.index.writer import discard

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
