"""Step 1 of 7, mine: what a user names → the repositories to mine.

Reads git repositories, plain folders, `site-packages` folders (one repository per installed distribution) and list
files: one `path-or-url [commit [name]]` a line, `#` starting a comment, paths relative to the list. Writes only clones
of URLs, into a folder of the output, where the next run finds them again. Everything is resolved before any mining, so
a mistake in the last line of a list is told at once, with its file and row.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sysconfig
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from dowse.config import expanded
from dowse.errors import ConfigError, DataError, DowseError
from dowse.mine.licences import licence_of
from dowse.mine.names import canonical, matches
from dowse.mine.repositories import Repository, git_dir, git_environment, open_repository, run_git

OPENED_AT_ONCE = 8
"""Repositories resolved or cloned in parallel: it is waiting for git, not work."""

_URL = re.compile(r"[a-z][a-z0-9+.-]*://.+|[\w.-]+@[\w.-]+:.+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """One repository as named; `said_in` is the list's file and row, "" for the command line."""

    where: str
    commit: str = ""
    name: str = ""
    said_in: str = ""


def read_places(arguments: Sequence[str | Path]) -> list[Place]:
    """Return the places that arguments name, those of list files included.

    Raises:
        ConfigError: An argument is neither a folder, a list file nor a URL.
        DataError: A line of a list is not `path-or-url [commit [name]]`.
    """
    places: list[Place] = []
    for argument in map(str, arguments):
        if _URL.fullmatch(argument) or Path(argument).is_dir():
            places.append(Place(argument))
        elif Path(argument).is_file():
            places += _read_list(Path(argument))
        else:
            raise ConfigError(
                f"{argument}: no such folder or file, expected a repository, a list of them or a URL; check the path"
            )
    return places


def open_places(
    places: Iterable[Place], clones: Path, exclude: frozenset[str], skipped: Counter[str]
) -> list[Repository]:
    """Return the repositories of some places, each once, in order.

    Args:
        clones: Where URLs are cloned to.
        exclude: Names in the form of `read_names`; what they match is left out and counted.

    Raises:
        ConfigError, DataError: One cannot be opened; the message says where it was named.
    """
    places = list(places)
    locks = {place.where: threading.Lock() for place in places}  # several commits of one URL share its clone

    def opened(place: Place) -> list[Repository]:
        return _open(place, clones, locks[place.where], exclude)

    with ThreadPoolExecutor(OPENED_AT_ONCE) as threads:
        found = [one for several in threads.map(opened, places) for one in several]
    wanted: dict[tuple[object, ...], Repository] = {}
    for repository in found:
        if matches(repository.name, exclude):
            skipped["reserved repository"] += 1
        else:
            wanted.setdefault((repository.folder.resolve(), repository.commit, repository.files), repository)
    return _told_apart(list(wanted.values()))


def _open(place: Place, clones: Path, lock: threading.Lock, exclude: frozenset[str]) -> list[Repository]:
    try:
        if _URL.fullmatch(place.where):
            if matches(place.name or _name_in(place.where), exclude):
                return [Repository(place.name or _name_in(place.where), Path(place.where))]
            with lock:
                folder = _clone(place, clones)
            return [open_repository(folder, place.commit, place.name or _name_in(place.where))]
        folder = Path(place.where)
        if folder.is_dir() and git_dir(folder) is None and not place.commit:
            return _plain(folder, place.name, exclude)
        return [open_repository(folder, place.commit, place.name)]
    except DowseError as error:
        raise (type(error)(f"{place.said_in}: {error}") if place.said_in else error) from None


def _plain(folder: Path, name: str, exclude: frozenset[str]) -> list[Repository]:
    """Return the distributions installed in a folder, or the folder itself."""
    found = sorted(importlib.metadata.distributions(path=[str(folder)]), key=lambda one: str(one.name).lower())
    if not found:
        is_stdlib = folder.resolve() == Path(sysconfig.get_path("stdlib")).resolve()
        repository = open_repository(folder, name=name)
        return [replace(repository, licence="PSF-2.0", version=platform.python_version()) if is_stdlib else repository]
    repositories = []
    for distribution in found:
        listed = {str(file) for file in distribution.files or () if ".." not in file.parts and _is_below(folder, file)}
        files = tuple(sorted(file for file in listed if not _is_reserved(file, exclude)))
        licence = _distribution_licence(distribution)
        name, version = str(distribution.name), str(distribution.version)
        repositories.append(Repository(name, folder, "", licence, files or ("",), version))
    return repositories


def _is_below(folder: Path, file: PurePosixPath) -> bool:
    """Whether a path that an installer recorded leads into the folder: one may be absolute, or lead out by a link."""
    return Path(os.path.realpath(folder / file)).is_relative_to(os.path.realpath(folder))


def _is_reserved(file: str, exclude: frozenset[str]) -> bool:
    """Whether a module or package of an installed distribution is named like something reserved: mostly a copy."""
    parts = PurePosixPath(file).parts
    stems = {canonical(part.partition(".")[0]) for part in parts if not part.endswith(".dist-info")}
    return any(matches(stem, exclude) for stem in stems if stem)


def _distribution_licence(distribution: importlib.metadata.Distribution) -> str:
    names = distribution.metadata.get_all("License-File") or []
    texts = {name: distribution.read_text(f"licenses/{name}") or distribution.read_text(name) or "" for name in names}
    texts["METADATA"] = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    return licence_of({PurePosixPath(name).name: text.encode("utf-8", "replace") for name, text in texts.items()})


def _read_list(path: Path) -> list[Place]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}, expected a text file; each line: path-or-url [commit [name]]") from None
    places = []
    for number, line in enumerate(lines, start=1):
        where = f"{path} row {number}"
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise DataError(f"{where}: {error}, expected path-or-url [commit [name]]; correct the line") from None
        if len(words) > 3:
            raise DataError(f"{where}: {len(words)} words, expected path-or-url [commit [name]]; quote spaces in paths")
        if words:
            target = words[0] if _URL.fullmatch(words[0]) else str(path.parent / expanded(words[0]))
            commit, name, *_ = [*words[1:], "", ""]
            places.append(Place(target, "" if commit == "-" else commit, name, where))
    return places


def _clone(place: Place, clones: Path) -> Path:
    """Return a bare clone of a URL with its whole history; one that is there already is used as it is."""
    digest = hashlib.sha256(place.where.encode()).hexdigest()[:12]
    folder = clones / f"{_name_in(place.where).replace('/', '+')}-{digest}.git"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        clones.mkdir(parents=True, exist_ok=True)
        _reach(["git", "clone", "--bare", "--quiet", "--", place.where, str(partial)], place.where)
        partial.replace(folder)
    if place.commit and not _has(folder, place.commit):
        arguments = ["fetch", "--quiet", "origin", "--", place.commit]
        _reach(["git", f"--git-dir={folder}", *arguments], f"{place.where} {place.commit}")
    return folder


def _reach(command: list[str], what: str) -> None:
    """Run a git command that may use the network."""
    environment = {key: value for key, value in git_environment().items() if key != "GIT_ALLOW_PROTOCOL"}
    try:
        done = subprocess.run(command, capture_output=True, env=environment, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise DataError(f"{what}: git is not installed, expected the program 'git'; install it") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise DataError(
            f"{what}: git cannot reach it (it says {said[-1]!r}), expected a URL that git clone reads; "
            "check the address and the connection, or name a local clone"
        )


def _has(folder: Path, commit: str) -> bool:
    try:
        run_git(folder, "cat-file", "-e", f"{commit}^{{commit}}")
    except DataError:
        return False
    return True


def _name_in(url: str) -> str:
    """Return "owner/name" of a URL.

    >>> _name_in("https://example.org/owner/name.git"), _name_in("git@example.org:owner/name")
    ('owner/name', 'owner/name')
    """
    path = re.sub(r"^[a-z0-9+.-]+://[^/]*|^[^/@]*@", "", url, flags=re.IGNORECASE)
    parts = [part for part in re.split(r"[/:]", path.rstrip("/")) if part]
    return "/".join(parts[-2:]).removesuffix(".git")


def _told_apart(repositories: list[Repository]) -> list[Repository]:
    """Put the name of the folder around it before each name without an owner that several repositories share.

    What it was is kept: lists of names are written before anybody knows of the other.
    """
    folders: dict[str, set[Path]] = {}
    for one in repositories:
        folders.setdefault(one.name, set()).add(one.folder.resolve())
    return [
        replace(one, name=f"{one.folder.resolve().parent.name}/{one.name}", own_name=one.name)
        if "/" not in one.name and len(folders[one.name]) > 1
        else one
        for one in repositories
    ]
