"""Step 6 of 7, search: what is searched: folders, each with its index, under the names that hits carry."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dowse.config import Overrides, Settings, index_folder, load_settings
from dowse.errors import ConfigError
from dowse.index.opening import open_store, open_stored
from dowse.index.scan import checked_root
from dowse.index.store import LOCK_WAIT_S, Store, tally
from dowse.index.update import Freshness, bring_up_to_date, look
from dowse.index.worktrees import adopt
from dowse.index.writer import discard
from dowse.models.static import StaticEncoder
from dowse.types import Progress


@dataclass(slots=True)
class Root:
    """One searched folder with its index, or what is stored of folders that others index.

    Attributes:
        path: the folder, resolved. Of what is stored (`stored_root`) the name of its one repository, `.` for several:
            their folders may lie on any machine, and nothing is read from there.
        store: the index.
        freshness: how far the index follows the folder.
        settings: those of the folder.
    """

    path: Path
    store: Store
    freshness: Freshness
    settings: Settings

    def places(self) -> dict[str, Path]:
        """Return the folder of each repository, by name; the name itself where it has none on this machine."""
        if self.store.repository:
            return {self.store.repository: self.path}
        return {name: Path(name) for name in self.store.repositories}

    def status(self) -> dict[str, Any]:
        """Return what is indexed of this root, how fresh it is and what was left out and why."""
        return status_of(self.store.repository, self.path, self.store.place, self.store.counted(), self.freshness)


def open_roots(
    paths: Sequence[Path],
    encoder: StaticEncoder,
    overrides: Overrides | None = None,
    progress: Progress | None = None,
    rebuild: bool = False,
    look_only: bool = False,
) -> list[Root]:
    """Open the indexes of several folders, as `Searcher.open` says.

    Raises:
        ConfigError: A folder cannot be read, or is not indexed yet where it is looked at only.
    """
    address = load_settings(None, overrides).index.store
    if not paths:
        if address is not None:
            return [_all_stored(address, encoder, overrides)]
        paths = [Path()]
    roots = []
    for path, name in _named(dict.fromkeys(map(checked_root, paths)), address is not None).items():
        settings = load_settings(path, overrides)
        if settings.index.store is None:
            folder = index_folder(path, settings.index)
            if look_only and not folder.is_dir():
                raise ConfigError(f"{path} is not indexed yet; index it with: dowse index {path}")
            if rebuild:
                discard(folder)
            elif not look_only:
                adopt(folder, path, settings.index, encoder)
        store = open_store(path, name, settings.index, None if look_only else encoder.dimensions)
        if rebuild and len(store):  # only of a shared store: a folder of its own has just been discarded
            with store.writing(LOCK_WAIT_S) as writer:
                writer.reset({})
        if look_only:
            freshness = look(store, path, settings.index, encoder)
        else:
            freshness = bring_up_to_date(store, path, settings.index, encoder, progress)
        roots.append(Root(path, store, freshness, settings))
    return roots


def stored_root(address: str, names: Sequence[str] | None = None, overrides: Overrides | None = None) -> Root:
    """Open what others have stored at an address, as one root without a folder.

    Args:
        address: `lance:PATH` or `s3://BUCKET/PREFIX`.
        names: of the repositories; all that are stored where None.
        overrides: settings by table, before those of the user.

    Raises:
        ConfigError: the address is none.
        IndexFormatError: nothing is stored there, or it cannot be reached.
    """
    store = open_stored(address, names)
    return Root(Path(store.repository or "."), store, Freshness(True, time.time()), load_settings(None, overrides))


def _all_stored(address: str, encoder: StaticEncoder, overrides: Overrides | None) -> Root:
    """Open everything at an address that the model can be compared with."""
    root = stored_root(address, None, overrides)
    models = root.store.models()
    usable = sorted(name for name, model in models.items() if model == encoder.fingerprint)
    if len(usable) < len(models):
        root = stored_root(address, usable, overrides)
        left_out = ", ".join(sorted(models.keys() - set(usable)))
        root.freshness = Freshness(False, time.time(), f"stored with another model, and left out: {left_out}")
    if not usable:
        raise ConfigError(f"nothing to search at {address}: all of it was stored with another model; index it again")
    return root


def status_of(
    repository: str, path: Path, place: str | None, counted: dict[str, Any] | None, freshness: Freshness
) -> dict[str, Any]:
    """Return what is indexed of a repository, how fresh it is and what was left out and why; zeros where nothing is."""
    return {
        "repository": repository,
        "path": str(path),
        "index": place,
        **(tally(0, (), None) if counted is None else counted),
        "fresh": freshness.fresh,
        "checked_at": datetime.fromtimestamp(freshness.checked, UTC).isoformat(timespec="seconds"),
        "note": freshness.note,
    }


def overall(roots: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the status of several roots, at least one, as that of one index; each own one stands under "roots"."""
    skipped: Counter[str] = Counter()
    for root in roots:
        skipped.update(root["skipped"])
    return {
        "fresh": all(root["fresh"] for root in roots),
        "checked_at": min(root["checked_at"] for root in roots),
        "documents": sum(root["documents"] for root in roots),
        "files": sum(root["files"] for root in roots),
        "skipped": dict(skipped.most_common()),
        "notes": [root["note"] for root in roots if root["note"]],
        "roots": list(roots),
    }


def stored_name(root: Path, others: Container[str] = ()) -> str:
    """Return the name under which a folder is kept in a store that many share: its own, whatever is searched beside it.

    Args:
        root: the folder, resolved.
        others: names that are taken by what is searched or served beside it.

    Raises:
        ConfigError: one of them is the same.
    """
    if root.name in others:
        raise ConfigError(
            f"{root} is stored under its folder's name, {root.name}, as another repository here is already, expected a "
            "name of its own; leave one of the two out, or rename its folder"
        )
    return root.name


def _named(paths: Iterable[Path], is_stored: bool) -> dict[Path, str]:
    """Name roots by their folder, by more of their path where that is shared; roots within others are left out.

    Stored ones have their `stored_name`; an index of a folder's own knows no name, and there it may be any.
    """
    given = list(paths)
    outermost = [path for path in given if not any(other != path and path.is_relative_to(other) for other in given)]
    names: dict[Path, str] = {}
    if is_stored:
        for path in outermost:
            names[path] = stored_name(path, names.values())
        return names
    shared = Counter(path.name for path in outermost)
    names = {path: path.name if shared[path.name] == 1 else "/".join(path.parts[-2:]) for path in outermost}
    if len(set(names.values())) < len(names):
        return {path: str(path) for path in outermost}
    return names
