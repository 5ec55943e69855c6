"""Step 5 of 7, index: files → rows of a Lance table, a commit for each step of an update.

Several writers may be at work, on one repository or on many: `lance_table` says how they meet. Where two bring the same
file of the same repository, the later commit counts, as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from dowse.index.lance_care import tidy_if_due
from dowse.index.lance_table import FILE, HEAD, Table, among, key_of, quoted, row, schema
from dowse.index.scan import Stat
from dowse.index.store import IndexedFile, KnownFile
from dowse.languages.identifiers import words
from dowse.languages.terms import stemmed


class LanceWriter:
    """Puts files into a table and takes them out; made by `LanceStore.writing`."""

    def __init__(self, table: Table, repository: str, meta: Mapping[str, str], known: Mapping[str, KnownFile]) -> None:
        """Write what belongs to one repository, of which this is known."""
        self._table, self._repository = table, repository
        self._meta, self._known = dict(meta), known
        self._is_new = not meta

    def reset(self, meta: Mapping[str, str]) -> None:
        """Forget every file of the repository, and remember what the new index is made with."""
        self._meta, self._known = dict(meta), {}
        self._replace(f"repository = {quoted(self._repository)}", [])

    def apply(self, changed: Sequence[IndexedFile]) -> None:
        """Put changed files in the place of their earlier versions."""
        rows = [own for file in changed for own in self._rows(file)]
        self._replace(among("key", [self._key(file.path) for file in changed]), rows)

    def touch(self, stats: Mapping[str, Stat]) -> None:
        """Remember new stats of files whose content is what it was."""
        rows = []
        for path, stat in stats.items():
            known = self._known[path]._replace(stat=stat)
            rows.append(self._file(path, known.stat, known.content_hash, known.language, known.skipped, known[-1]))
        self._replace(f"{among('key', [self._key(path) for path in stats])} AND kind = {quoted(FILE)}", rows)

    def finish(self, meta: Mapping[str, str] | None = None, removed: Sequence[str] = ()) -> None:
        """Forget removed files and remember some facts; then tidy up if that is due."""
        self._meta |= meta or {}
        self._replace(among("key", [self._key(path) for path in removed]), [])
        tidy_if_due(self._table)

    def _replace(self, where: str, rows: list[dict[str, object]]) -> None:
        """Take out and put in rows together with the head of the repository, so that no two writers miss each other.

        A repository that is not there yet has no head to meet at: its writers meet at the head of all.
        """
        heads = [(self._repository, json.dumps(self._meta))] + ([("", "{}")] if self._is_new else [])
        made_with = self._meta.get("fingerprint")
        rows = [row(HEAD, name, "", text=text, content_hash=made_with) for name, text in heads] + rows
        self._table.replace(
            f"({where}) OR {among('key', [key_of(name, '') for name, _ in heads])}",
            pa.Table.from_pylist(rows, schema=schema(self._table.dimensions)),
        )
        self._is_new = False

    def _rows(self, file: IndexedFile) -> Iterator[dict[str, object]]:
        n = len(file.spans)
        yield self._file(file.path, file.stat, file.content_hash, file.language, file.skipped, n)
        path_terms = stemmed(words(file.path))
        for span, text, body, packed, value in zip(
            file.spans, file.texts, file.bodies, file.packed, file.hashes.tolist(), strict=True
        ):
            found = body.split()
            yield row(
                span.kind,
                self._repository,
                file.path,
                language=file.language,
                start_line=span.start_line,
                end_line=span.end_line,
                symbol=span.symbol,
                text=text,
                hash=value,
                embedding=packed.astype(np.float16) if packed.any() else None,
                body=" ".join(found),
                symbol_terms=stemmed(words(span.symbol or "")),
                path_terms=path_terms,
                n_terms=len(found),
            )

    def _file(
        self, path: str, stat: Stat, content_hash: str, language: str, skipped: str | None, n_documents: int
    ) -> dict[str, object]:
        known = {"content_hash": content_hash, "language": language, "skipped": skipped, "n_documents": n_documents}
        return row(FILE, self._repository, path, **stat._asdict(), **known)

    def _key(self, path: str) -> int:
        return key_of(self._repository, path)
