"""Step 5 of 7, index: which files a filter's globs let through: as in .gitignore the last that matches decides.

A glob that names a folder speaks for all below it. The globs come from whoever asks, also over HTTP, so they are
translated as ignore files are (`ignore.translate`), which no pattern can keep busy.
"""

from __future__ import annotations

from collections.abc import Sequence

from dowse.index.ignore import IgnoreFile


class Globs:
    """Some globs, relative to the root of what is searched."""

    def __init__(self, globs: Sequence[str]) -> None:
        """Take the globs; one that begins with "!" is an exception to those before it."""
        self._rules = [_Rule(glob) for glob in reversed(globs)]

    def let_through(self, path: str) -> bool:
        """Tell whether a file is let through, by its path below the root."""
        return next((said for rule in self._rules if (said := rule.said(path)) is not None), False)


class _Rule:
    """One glob, with what it says of the folders it was asked about: files have few of them."""

    def __init__(self, glob: str) -> None:
        self._file = IgnoreFile("", (glob,))
        self._folders: dict[str, bool | None] = {"": None}

    def said(self, path: str) -> bool | None:
        """Return True where it lets a file through, False where it is an exception, None where it says nothing."""
        folder, _, name = path.rpartition("/")
        own = self._file.verdict(path, name, "")
        return self._said_of(folder) if own is None else own

    def _said_of(self, folder: str) -> bool | None:
        silent = []  # not by recursion: a path may have more folders than Python allows calls
        while folder not in self._folders:
            above, _, name = folder.rpartition("/")
            own = self._file.verdict(folder, name, "/")
            if own is None:
                silent.append(folder)
                folder = above
            else:
                self._folders[folder] = own
        self._folders |= dict.fromkeys(silent, self._folders[folder])
        return self._folders[folder]
