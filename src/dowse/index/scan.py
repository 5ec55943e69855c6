"""Step 5 of 7, index: a directory → the files worth reading, and which of them cannot have changed.

Reads directories, ignore files and the stat of files, never a file's content. Leaves out what the ignore rules name,
hidden entries, version control's own folders, dependencies (below), symlinks, special files, and by name or size what
`read` would refuse anyway. A rule that brings an entry back (`!.github/`, `!node_modules/`) also overrides
"hidden" and "vendored". Nested repositories are searched, populated submodules and plain clones alike.

A folder called vendor, third_party, build or dist is as likely to hold a project's own source, so only names that
package managers own, and folders that carry a tool's mark, count as dependencies; git ignores the rest in practice.
`mine.filter` goes by more names, and leaves tests out too: it can do without a pair, here a file would never be found.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from dowse.config import IndexSettings
from dowse.errors import ConfigError
from dowse.index.ignore import CONTROL, Scope, outer_scope, watched
from dowse.languages import language_of

VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".jj", ".bzr"})
"""Never searched and not counted, whatever the rules say."""
VENDORED_NAMES = frozenset(
    {"node_modules", "bower_components", "jspm_packages", "site-packages", "__pypackages__", "__pycache__", "elm-stuff"}
)
"""Folders that only package managers and interpreters create under these names."""
VENDORED_MARKS = {
    "pyvenv.cfg": "",  # a Python virtual environment
    "conda-meta": "",  # a conda environment
    "CACHEDIR.TAG": "",  # anything its maker declares a cache: Cargo's target, type checkers, test runners
    "modules.txt": "vendor",  # Go
    "autoload.php": "vendor",  # Composer
    "Manifest.lock": "Pods",  # CocoaPods
}
"""Entry → the name its folder must have ("" for any): a folder that holds one holds no source of this project."""
LOCK_FILES = frozenset(
    {"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "deno.lock", "Cargo.lock",
     "poetry.lock", "uv.lock", "pdm.lock", "Pipfile.lock", "Gemfile.lock", "composer.lock", "go.sum", "mix.lock",
     "Podfile.lock", "packages.lock.json", "flake.lock", "gradle.lockfile", "pubspec.lock"}
)  # fmt: skip
"""Written by package managers: long, and they answer no question about the code."""
TIMESTAMP_TICK_NS = 50_000_000
"""A change this short before a look may leave the same timestamp as one right after it: kernels stamp files with a
clock that ticks every 1 to 10 ms. Whole seconds mean a file system that keeps nothing finer (up to 2 s on FAT)."""
COARSE_TICK_NS = 2_000_000_000

# Control characters would break a printed location or a terminal; lone surrogates are bytes that are not UTF-8.
_UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BY_SIZE = frozenset({"empty", "too large"})


class Stat(NamedTuple):
    """What tells a file or directory from its earlier self without reading it: signed 64-bit numbers."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, result: os.stat_result) -> Stat:
        """Take the four figures from the system's answer, the largest as negative ones: they are only compared."""
        figures = result.st_size, result.st_mtime_ns, result.st_ctime_ns, result.st_ino
        return cls(*((figure + 2**63) % 2**64 - 2**63 for figure in figures))

    def settled_at(self, time_ns: int) -> bool:
        """Say whether a change after `time_ns` is sure to show as another stat."""
        # Programs may set the time of modification, but not, on POSIX, that of the change.
        latest = self.ctime_ns if os.name == "posix" else self.mtime_ns
        return latest < time_ns - (TIMESTAMP_TICK_NS if latest % 1_000_000_000 else COARSE_TICK_NS)


@dataclass
class Tree:
    """What a scan found; paths are relative to the root and `/`-separated, every mapping in the order of its keys."""

    files: dict[str, Stat] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Path → reason, for what was refused without reading it; what the ignore rules leave out is only counted."""
    ignored_in: dict[str, int] = field(default_factory=dict)
    """Directory → how many of its entries are ignored or hidden, where there are any."""
    directories: dict[str, Stat] = field(default_factory=dict)
    """Every directory that was looked into; "" is the root."""
    ignore_files: dict[str, Stat | None] = field(default_factory=dict)
    """Absolute path → stat of what the ignore rules were read from; None where there could be a file and is none."""
    scanned_ns: int = field(default=0, compare=False)
    """When the scan began, in nanoseconds of the system's clock."""

    @property
    def ignored(self) -> int:
        """How many entries the ignore rules or a leading dot left out, a directory counting once."""
        return sum(self.ignored_in.values())

    def packed(self) -> str:
        """Return everything but `files` as JSON."""
        kept = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "files"}
        return json.dumps(kept, separators=(",", ":"))

    @classmethod
    def unpacked(cls, packed: str, files: dict[str, Stat]) -> Tree:
        """Return the tree that was packed, given its files; their stats may be any.

        Raises:
            ValueError: it is no packed tree.
        """
        try:
            kept = json.loads(packed)
            for name in ("directories", "ignore_files"):
                kept[name] = {path: stat and Stat(*stat) for path, stat in kept[name].items()}
            return cls(files, **kept)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"what was packed is no tree: {error!r}") from error


def scan(root: Path, settings: IndexSettings, previous: Tree | None = None) -> Tree:
    """Find the files to index under `root`.

    With a `previous` tree, of the same root and settings, only what changed since is listed; the result is the same.

    Raises:
        ConfigError: `root` is not a directory that can be read.
    """
    directory = str(checked_root(root))
    if previous is not None:
        walk = _Walk(directory, settings, previous)
        if walk.run():
            return walk.tree
    walk = _Walk(directory, settings, None)
    walk.run()
    return walk.tree


def checked_root(root: Path) -> Path:
    """Return the real path of `root`, which may be a symlink, once it is known to be a readable directory.

    Raises:
        ConfigError: It is not.
    """
    try:
        directory = root.resolve(strict=True)
        with os.scandir(directory):
            return directory
    except FileNotFoundError as error:
        raise ConfigError(f"{root} does not exist, expected a directory to search; check the path") from error
    except NotADirectoryError as error:
        raise ConfigError(f"{root} is a file, expected a directory to search; give the folder that holds it") from error
    except RuntimeError as error:
        raise _unreadable(root, "it is a symlink to itself") from error
    except ValueError as error:
        raise _unreadable(ascii(str(root)), "its name holds a NUL") from error
    except OSError as error:
        raise _unreadable(root, error.strerror) from error


def _unreadable(root: str | Path, reason: str | None) -> ConfigError:
    return ConfigError(f"{root} cannot be read ({reason}), expected a directory to search; check its permissions")


def _stat_rules(path: str) -> Stat | None:
    """Return the stat of an ignore file, or of a `.git`, whose folder form counts as one thing however it changes."""
    for look in (Path(path).stat, Path(path).lstat):  # a symlink to nowhere is there all the same
        try:
            result = look()
        except OSError:
            continue
        return Stat(0, 0, 0, result.st_ino) if stat.S_ISDIR(result.st_mode) else Stat.of(result)
    return None


class _Listing(NamedTuple):
    """What one directory holds, as paths, before the files' sizes are known."""

    directories: list[str]
    files: list[str]
    skipped: dict[str, str]


class _Walk:
    """One pass over the tree, taking from the previous one the names in every directory whose stat is the same."""

    def __init__(self, root: str, settings: IndexSettings, previous: Tree | None) -> None:
        self.tree = Tree(scanned_ns=time.time_ns())
        self._settings = settings
        self._previous = previous
        self._listings = _listings(previous) if previous else {}
        self._base = root.rstrip("/") + "/"

    def run(self) -> bool:
        """Fill the tree; False if the ignore rules are no longer those of the previous one."""
        tree = self.tree
        scope, paths = outer_scope(self._base, self._settings.exclude)
        tree.ignore_files = {path: _stat_rules(path) for path in paths}
        if self._previous is not None and not self._same_rules(self._previous):
            return False
        pending = [("", scope)]
        while pending:
            path, outer = pending.pop()
            prefix = f"{self._base}{path}/" if path else self._base
            listing = self._known(path, prefix) or self._list(path, prefix, outer)
            if listing is None:
                return False
            scope = outer.entered(prefix, self._controls(prefix, tree)) if listing.directories else outer
            pending += [(directory, scope) for directory in listing.directories]
            tree.skipped.update(listing.skipped)
            for file in listing.files:
                self._add(file)
        mappings: list[dict[str, Any]] = [
            tree.files,
            tree.skipped,
            tree.ignored_in,
            tree.directories,
            tree.ignore_files,
        ]
        for mapping in mappings:
            items = sorted(mapping.items())
            mapping.clear()
            mapping.update(items)
        return True

    def _same_rules(self, previous: Tree) -> bool:
        """Check that no known ignore file changed, came or went; a new one shows when its directory is listed."""
        if not self.tree.ignore_files.keys() <= previous.ignore_files.keys():
            return False
        for path, before in previous.ignore_files.items():
            now = _stat_rules(path)
            if now != before or (now is not None and not now.settled_at(previous.scanned_ns)):
                return False
        return True

    @staticmethod
    def _controls(prefix: str, tree: Tree) -> set[str]:
        """Return which of the names that carry ignore rules the directory holds."""
        return {name for name in CONTROL if tree.ignore_files.get(prefix + name) is not None}

    def _known(self, path: str, prefix: str) -> _Listing | None:
        """Return the previous listing of the directory if it is sure to hold the same names."""
        listing = self._listings.get(path)
        before = self._previous
        if before is None or listing is None:
            return None
        try:
            now = Stat.of(os.lstat(self._base + path))
        except OSError:
            return None
        if now != before.directories[path] or not now.settled_at(before.scanned_ns):
            return None
        self.tree.directories[path] = now
        if path in before.ignored_in:
            self.tree.ignored_in[path] = before.ignored_in[path]
        for rules in watched(prefix, self._controls(prefix, before)):
            self.tree.ignore_files[rules] = before.ignore_files.get(rules)
        return listing

    def _list(self, path: str, prefix: str, outer: Scope) -> _Listing | None:
        """List the directory; None if it holds other ignore files than before."""
        try:
            result = os.lstat(self._base + path)
            if not stat.S_ISDIR(result.st_mode):
                return _Listing([], [], {})
            with os.scandir(self._base + path) as iterator:
                entries = [(entry, entry.is_dir(follow_symlinks=False)) for entry in iterator]
        except (FileNotFoundError, NotADirectoryError):  # gone since its parent was listed
            return _Listing([], [], {})
        except OSError as error:
            if not path:
                raise _unreadable(self._base, error.strerror) from error
            return _Listing([], [], {path: f"unreadable: {error.strerror}"})
        self.tree.directories[path] = Stat.of(result)
        name, names = path.rpartition("/")[2], {entry.name for entry, _ in entries}
        if path and _is_vendored(name, names) and outer.verdict(prefix[:-1], name, True) is not False:
            return _Listing([], [], {path: "vendored"})
        before = self._previous
        if before and path in before.directories and self._controls(prefix, before) != CONTROL & names:
            return None
        self.tree.ignore_files.update((rules, _stat_rules(rules)) for rules in watched(prefix, names))
        return self._sort(path, prefix, entries, outer.entered(prefix, names))

    def _sort(self, path: str, prefix: str, entries: list[tuple[os.DirEntry[str], bool]], scope: Scope) -> _Listing:
        """Tell what to enter, what to stat and what to leave out among the entries of one directory."""
        listing = _Listing([], [], {})
        include_hidden = self._settings.include_hidden
        ignored = 0
        for entry, is_directory in entries:
            name = entry.name
            if name in VERSION_CONTROL or name in CONTROL:
                continue
            child = f"{path}/{name}" if path else name
            verdict = scope.verdict(prefix + name, name, is_directory)
            if verdict or (verdict is None and name[0] == "." and not include_hidden):
                ignored += 1
            elif _UNUSABLE.search(name):
                shown = _UNUSABLE.sub(lambda match: ascii(match[0])[1:-1], child)
                listing.skipped[shown] = "name has control characters or is not UTF-8"
            elif is_directory and name in VENDORED_NAMES and verdict is None:
                listing.skipped[child] = "vendored"
            elif is_directory:
                listing.directories.append(child)
            elif reason := self._refusal(entry):
                listing.skipped[child] = reason
            else:
                listing.files.append(child)
        if ignored:
            self.tree.ignored_in[path] = ignored
        return listing

    def _refusal(self, entry: os.DirEntry[str]) -> str | None:
        """Return why the name or kind of a file rules it out, or None."""
        if entry.is_symlink():
            return "symlink"
        if not entry.is_file(follow_symlinks=False):
            return "special file"
        if entry.name in LOCK_FILES:
            return "generated"
        if ".min." in entry.name:
            return "minified"
        if self._settings.include_text:
            return None
        language = language_of(entry.name)
        if language is None:
            return "not code" if "." in entry.name else None
        # a script may say its language in its first line, but then its name has no extension
        return None if language.is_code or "." not in entry.name else "not code"

    def _add(self, path: str) -> None:
        """Record the file under what its size makes of it."""
        try:
            result = os.lstat(self._base + path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.tree.skipped[path] = f"unreadable: {error.strerror}"
            return
        if result.st_size == 0:
            self.tree.skipped[path] = "empty"
        elif result.st_size > self._settings.max_file_bytes:
            self.tree.skipped[path] = "too large"
        else:
            self.tree.files[path] = Stat.of(result)


def _is_vendored(name: str, names: set[str]) -> bool:
    """Say whether one of the entries of the directory `name` marks it as somebody else's."""
    return any(VENDORED_MARKS[mark] in ("", name) for mark in VENDORED_MARKS.keys() & names)


def _listings(tree: Tree) -> dict[str, _Listing]:
    """Take a tree apart into the listings of its directories, without those that must be looked into again."""
    listings = {path: _Listing([], [], {}) for path in tree.directories if path not in tree.skipped}
    nowhere = _Listing([], [], {})
    for path in tree.directories:
        if path:
            listings.get(path.rpartition("/")[0], nowhere).directories.append(path)
    for path in tree.files:
        listings.get(path.rpartition("/")[0], nowhere).files.append(path)
    for path, reason in tree.skipped.items():
        parent = path.rpartition("/")[0]
        if reason.startswith("unreadable"):  # what may be read does not show in the parent's stat
            listings.pop(parent, None)
        elif path not in tree.directories:
            listing = listings.get(parent, nowhere)
            if reason in _BY_SIZE:
                listing.files.append(path)
            else:
                listing.skipped[path] = reason
    return listings
