"""Step 5 of 7, index: which rows of a Lance table are asked for, as a condition that the engine applies.

Globs mean what they mean everywhere (`globs`), which no expression of the engine says. So the paths of all files are
looked at, and a condition names the keys of those let through, or of those left out where they are fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

from dowse.index.globs import Globs
from dowse.index.lance_table import FILE, Table, among, quoted
from dowse.index.store import Filter

FILTERS_KEPT = 32
"""Globs of which the condition is remembered: a question asks under the same ones several times."""


class Conditions:
    """The conditions for rows of a view, true of one version of the table until `forget`."""

    def __init__(self, table: Table, repositories: Sequence[str] | None) -> None:
        """Take the table, and the names of the repositories in the view, all where None."""
        self._table = table
        self._in_view = None if repositories is None else among("repository", repositories)
        self._let_through: dict[tuple[str, ...], str] = {}

    def forget(self) -> None:
        """Begin anew, at another version."""
        self._let_through.clear()

    def documents(self, only: Filter | None = None, ranked: bool = False) -> str | None:
        """Return the condition for documents that a filter lets through.

        Args:
            only: the filter.
            ranked: what is asked for has a score, as only documents have; None if that leaves nothing to ask.
        """
        clauses = [] if ranked else ["start_line > 0"]
        clauses += [self._in_view] if self._in_view else []
        if only is not None:
            clauses += [among("language", sorted(only.languages))] if only.languages else []
            clauses += [among("kind", sorted(only.kinds))] if only.kinds else []
            clauses += [self._paths(only.paths)] if only.paths else []
        return " AND ".join(clauses) or None

    def others(self, kind: str) -> str:
        """Return the condition for rows that are no documents, but files or heads."""
        return f"kind = {quoted(kind)}" + (f" AND {self._in_view}" if self._in_view else "")

    def _paths(self, globs: tuple[str, ...]) -> str:
        """Return the condition for documents of files that globs let through."""
        if globs not in self._let_through:
            if len(self._let_through) >= FILTERS_KEPT:
                self._let_through.clear()
            let_through = Globs(globs).let_through
            rows = self._table.scan(["key", "path"], self.others(FILE))
            out: list[int] = []
            through: list[int] = []
            for key, path in zip(rows["key"].to_pylist(), rows["path"].to_pylist(), strict=True):
                (through if let_through(path) else out).append(key)
            fewer = among("key", through) if len(through) <= len(out) else f"NOT ({among('key', out)})"
            self._let_through[globs] = fewer
        return self._let_through[globs]
