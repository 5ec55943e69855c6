"""Step 7 of 7, serve: the commands `dowse store …`, and how an index is carried in a file; imports what is needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dowse.config import Overrides, load_settings
from dowse.errors import ConfigError

if TYPE_CHECKING:
    from dowse.search.searcher import Searcher

Address = Annotated[str, typer.Argument(metavar="STORE", help="lance:PATH or s3://BUCKET/PREFIX.")]

store = typer.Typer(help="Look after a store that many share.", rich_markup_mode=None, no_args_is_help=True)
commands = typer.Typer()
"""Holds the commands, to be merged into the command line."""
commands.add_typer(store, name="store")


@store.callback()
def stores() -> None:
    """Look after a store that many share."""


@store.command()
def versions(address: Address) -> None:
    """List the moments that a store can go back to, newest first; those with a name are kept for ever."""
    from dowse.index.opening import open_table

    table = open_table(address)
    from dowse.index.lance_care import versions as listed

    for one in listed(table):
        print("  ".join([str(one.number), one.written, *one.names]))


@store.command()
def snapshot(address: Address, name: Annotated[str, typer.Argument(help="Letters, digits, - and .")]) -> None:
    """Keep the newest version under a name."""
    from dowse.index.opening import open_table

    table = open_table(address)
    from dowse.index.lance_care import name_version

    print(name_version(table, name))


@store.command()
def rollback(address: Address, version: Annotated[str, typer.Argument(help="Its number, or its name.")]) -> None:
    """Make an earlier version the newest, for all readers; this can be undone in the same way."""
    from dowse.index.opening import open_table

    table = open_table(address)
    from dowse.index.lance_care import go_back

    print(go_back(table, version))


@store.command()
def tidy(address: Address) -> None:
    """Merge small files, put everything into the indexes, and forget versions of more than a week ago."""
    from dowse.index.opening import open_table

    table = open_table(address)
    from dowse.index.lance_care import tidy as tidied

    tidied(table)


def take_in(file: Path, paths: Sequence[Path], overrides: Overrides) -> None:
    """Put an index from a file in the place of a folder's, or of a repository's in a store.

    Raises:
        ConfigError: several folders are given; another model has made the index.
        DataError: the file is no exported index, or damaged.
    """
    from dowse.index.moving import head_of, import_index
    from dowse.index.opening import open_store
    from dowse.index.scan import checked_root
    from dowse.models.static import default_static
    from dowse.search.models import retriever_named
    from dowse.search.roots import stored_name

    if len(paths) > 1:
        raise ConfigError(f"--import is of one index and there are {len(paths)} folders; give one")
    root = checked_root(paths[0]) if paths else None
    settings = load_settings(root, overrides)
    name = stored_name(root) if root else head_of(file).repository
    encoder, said = default_static(), settings.search.retriever
    opened = open_store(root or Path(name), name, settings.index, encoder.dimensions)
    try:
        n = import_index(file, opened, root or Path(name), encoder, None if said == "off" else retriever_named(said))
    finally:
        opened.close()
    print(f"took in {n:,} documents of {name} from {file}", file=sys.stderr)


def give_out(searcher: Searcher, file: Path) -> None:
    """Write the one index of a searcher to a file.

    Raises:
        ConfigError: there are several, or the file cannot be written.
    """
    from dowse.index.moving import export_index

    names = [root.store.repository for root in searcher.roots]
    if len(names) != 1 or not names[0]:
        raise ConfigError("--export is of one index and there are several; give one folder")
    n = export_index(searcher.roots[0].store, file, searcher.retriever)
    print(f"wrote {n:,} documents of {names[0]} to {file}", file=sys.stderr)
