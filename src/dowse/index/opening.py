"""Step 5 of 7, index: which store an index lies in; an engine is imported only where its address is given.

Without an address (`[index] store`, `--store`) each root has a folder of its own on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from dowse.config import IndexSettings, index_folder
from dowse.errors import ConfigError
from dowse.index.local import LocalStore
from dowse.index.store import Store

if TYPE_CHECKING:
    from dowse.index.lance import LanceStore
    from dowse.index.lance_table import Table


def open_store(root: Path, name: str, settings: IndexSettings, dimensions: int | None) -> Store:
    """Open the index of a root, made empty if there is none.

    Args:
        root: the indexed folder.
        name: of the repository, as hits carry it.
        settings: where indexes lie.
        dimensions: D of the static embeddings; None where no table is to be made at an address.

    Raises:
        ConfigError: the address of the store is none.
        IndexFormatError: what is there is no index, or it cannot be reached, or none is there and none is to be made.
        MissingExtraError: the engine is not installed.
    """
    if settings.store is None:
        return LocalStore(index_folder(root, settings), name)
    table = open_table(settings.store, dimensions)  # first: it is what says which part to install
    from dowse.index.lance import LanceStore

    return LanceStore(table, [name], cache_folder())


def open_stored(address: str, names: Sequence[str] | None = None) -> LanceStore:
    """Open what others have stored at an address: the repositories of some names as one, all where None.

    Raises:
        ConfigError: the address is none.
        IndexFormatError: nothing is stored there, or it cannot be reached.
        MissingExtraError: the engine is not installed.
    """
    table = open_table(address)  # first: it is what says which part to install
    from dowse.index.lance import LanceStore

    return LanceStore(table, names, cache_folder())


def open_table(address: str, dimensions: int | None = None) -> Table:
    """Open the table at an address; made empty where there is none and `dimensions` are given.

    Raises:
        ConfigError: the address is none.
        IndexFormatError: nothing is stored there, or it cannot be reached.
        MissingExtraError: the engine is not installed.
    """
    if not re.fullmatch(r"lance:.+|[a-z0-9+]+://[^/].*", address):
        raise ConfigError(f"store {address!r} is no address, expected lance:PATH or s3://BUCKET/PREFIX; check --store")
    from dowse.index.lance_table import Table

    return Table(address, dimensions)


def cache_folder() -> Path:
    """Return where this machine keeps what it may forget of stores."""
    return Path(platformdirs.user_cache_dir("dowse")) / "stores"
