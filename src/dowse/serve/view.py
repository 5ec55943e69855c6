"""Step 7 of 7, serve: what one caller may see of a workspace; all that HTTP and MCP answer comes through here.

A view knows only the repositories its caller may see: there is no way from it to another one, so that no endpoint,
error, count or map can tell of one. Answers are plain dictionaries, as the JSON of every front door has them. Ranking
is the searcher's; here questions are put to it and its hits written down.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dowse.errors import ConfigError
from dowse.index.files import Skip, Source, read
from dowse.index.store import KnownFile
from dowse.search.only import EVERYTHING, Only
from dowse.search.roots import overall
from dowse.search.searcher import Searcher
from dowse.serve.display import as_dict
from dowse.serve.highlight import file_as_html, lines_as_html, matching_lines
from dowse.serve.keeper import Condition
from dowse.serve.landscape import points
from dowse.serve.workspace import Reader, Repository, Workspace
from dowse.types import Hit

MAX_HITS = 100
"""Of one answer."""

MAX_DEPTH = 1_000
"""How far one can page: what is ranked lower answers nothing."""

MAX_LINES = 2_000
"""Of a file shown at once."""

MAX_CONTEXT = MAX_LINES // 2
"""Lines around those asked for, before and after each."""


class NotFoundError(ConfigError):
    """What was asked for by name is not served."""


class ForbiddenError(ConfigError):
    """The caller may not do this here."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how much of the answer is wanted.

    Attributes:
        repositories: names; all that the caller may see where empty.
        literal: look for the query as an exact string.
        highlight: give each hit its lines as HTML and the numbers of those that match.
        mode: how far the later stages go, one of `config.MODES`; as settings say where None.
    """

    query: str
    top_k: int = 10
    offset: int = 0
    repositories: Sequence[str] = ()
    only: Only = EVERYTHING
    literal: bool = False
    highlight: bool = False
    mode: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of bounds.

        Raises:
            ConfigError: The query is empty, or `top_k` or `offset` is outside its range.
        """
        if not self.query.strip():
            raise ConfigError("the query is empty; say what the code does, for instance 'parse a date'")
        if not 1 <= self.top_k <= MAX_HITS:
            raise ConfigError(f"top_k is {self.top_k}, expected 1 to {MAX_HITS}; page on with offset")
        if not 0 <= self.offset <= MAX_DEPTH - self.top_k:
            raise ConfigError(
                f"offset is {self.offset}, expected 0 to {MAX_DEPTH - self.top_k}; say more in the query instead"
            )


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a file of a repository; all of them where none are given."""

    repository: str
    path: str
    start_line: int = 1
    end_line: int | None = None


class View:
    """The repositories that one caller may see."""

    def __init__(self, workspace: Workspace, allowed: frozenset[Path] | None = None) -> None:
        """Look at a workspace.

        Args:
            workspace: what is served.
            allowed: folders of the repositories to be seen; all where None.
        """
        self._workspace, self._allowed = workspace, allowed

    @property
    def is_whole(self) -> bool:
        """Whether nothing is kept from this caller, so that it may also add and remove."""
        return self._allowed is None

    def may_see(self, repository: Repository) -> bool:
        """Tell whether a repository is among those of this view."""
        return self._allowed is None or repository.path in self._allowed

    def repositories(self, names: Sequence[str] = ()) -> list[Repository]:
        """Return the repositories of these names, all where none is given.

        Raises:
            NotFoundError: a name is not among those the caller may see.
        """
        seen = list(filter(self.may_see, self._workspace.repositories))
        if not names:
            return seen
        by_name = {one.name: one for one in seen}
        for name in names:
            if name not in by_name:
                raise NotFoundError(f"repository {name!r} is not served; served are: {', '.join(by_name) or 'none'}")
        return [by_name[name] for name in dict.fromkeys(names)]

    def search(self, question: Question) -> dict[str, Any]:
        """Answer a question with the first stage of the search.

        Raises:
            ConfigError: the query or a filter cannot mean anything.
            NotFoundError: a repository is not served.
        """
        started = time.perf_counter()
        with self._workspace.reading() as reader:
            searcher, chosen = self._searcher(reader, question)
            hits = _first(searcher, question) if searcher else []
            return _answer(question, hits, _index(reader, chosen), started)

    def has_later_stages(self, question: Question) -> bool:
        """Whether stages after the first may answer, by the settings of the repositories; waits for nothing.

        Raises:
            NotFoundError: a repository is not served.
        """
        goes_on, chosen = self._workspace.searcher.has_later_stages, self.repositories(question.repositories)
        return not question.literal and any(goes_on(one.settings.search, question.mode) for one in chosen)

    def later_stages(self, question: Question, wait_s: float) -> Generator[tuple[str, dict[str, Any]]]:
        """Yield what the stages after the first answer, under their names; may take a while.

        Raises:
            OverloadedError: others have been in them for `wait_s`.
            ConfigError: as `search`.
            NotFoundError: as `search`.
        """
        started = time.perf_counter()
        with self._workspace.ranking(wait_s) as reader:
            searcher, chosen = self._searcher(reader, question)
            if searcher is None or question.literal:
                return
            if not searcher.has_later_stages(searcher.settings.search, question.mode):  # those that it goes by
                return
            wanted = question.offset + question.top_k
            index = _index(reader, chosen)  # before the stages: it brings stores up to date, and ids hold until then
            for name, hits in searcher.stages(question.query, wanted, question.only, question.mode):
                if name != searcher.STAGES[0]:
                    yield name, _answer(question, hits, index, started)

    def similar(self, place: Place, question: Question) -> dict[str, Any]:
        """Return code like the code at the first line of a place; of the question all but the query counts.

        Raises:
            ConfigError: the file has no such line.
            NotFoundError: the repository or the file is not served.
        """
        started = time.perf_counter()
        with self._workspace.reading() as reader:
            repository, _ = self._file(reader, place)
            searcher, chosen = self._searcher(reader, question)
            wanted = question.offset + question.top_k
            # an absolute path cannot be taken for one of another repository
            found = repository.path / place.path
            hits = searcher.similar(str(found), place.start_line, wanted, question.only) if searcher else []
            return _answer(question, hits, _index(reader, chosen), started)

    def document(self, place: Place, context: int = 0, highlight: bool = False) -> dict[str, Any]:
        """Return lines of an indexed file as they are on disk now, with some around them.

        Raises:
            ConfigError: the lines are none of the file's.
            NotFoundError: the file is not indexed, or can no longer be read.
        """
        with self._workspace.reading() as reader:
            repository, known = self._file(reader, place)
            source = reader.stored(repository, place.path) or _read_source(repository, place.path)
        lines = source.text.replace("\r\n", "\n").split("\n")
        if len(lines) > 1 and not lines[-1]:
            lines.pop()
        last = len(lines) if place.end_line is None else min(place.end_line, len(lines))
        if not 1 <= place.start_line <= last:
            raise ConfigError(
                f"lines {place.start_line} to {place.end_line or len(lines)} are not in {place.path},"
                f" expected some of 1 to {len(lines)}; change start_line or end_line"
            )
        asked = last - place.start_line + 1
        context = min(context, max(0, MAX_LINES - asked) // 2)  # the lines asked for come first
        first_line = max(1, place.start_line - context)
        last_line = min(last + context, len(lines), first_line + MAX_LINES - 1)
        text = "\n".join(lines[first_line - 1 : last_line])
        shown = {
            "repository": repository.name,
            "path": place.path,
            "language": known.language,
            "start_line": place.start_line,
            "end_line": min(last, last_line),
            "first_line": first_line,
            "text": text,
            "total_lines": len(lines),
            "as_indexed": source.content_hash == known.content_hash,
        }
        if highlight:  # as a whole: an excerpt may begin within a string or a comment
            shown["html"] = file_as_html("\n".join(lines), known.language)[first_line - 1 : last_line]
        return shown

    def status(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return how each repository stands.

        Raises:
            NotFoundError: a repository is not served.
        """
        chosen = self.repositories(names)
        with self._workspace.reading() as reader:
            return [_standing(one, reader.status(one)) for one in chosen]

    def map(self, names: Sequence[str], n: int) -> list[dict[str, Any]]:
        """Return up to `n` documents as points of a plane in which like lies near like.

        Raises:
            NotFoundError: a repository is not served.
        """
        chosen = self.repositories(names)
        with self._workspace.reading() as reader:
            stores = [root.store for one in chosen if (root := reader.root(one)) is not None]
            return points(stores, n)

    def judged(self, place: Place) -> dict[str, Any]:
        """Return the document that a place names, for feedback: where its repository lies, and its text.

        Raises:
            NotFoundError: there is no such document.
        """
        with self._workspace.reading() as reader:
            repository, _ = self._file(reader, place)
            root = reader.root(repository)
            documents = root.store.fetch(root.store.ids_of_file(place.path)).values() if root else ()
            for document in documents:
                if (document.start_line, document.end_line) == (place.start_line, place.end_line):
                    return as_dict(Hit(document, 0.0)) | {"root": str(repository.path)}
        raise NotFoundError(f"{place.path}:{place.start_line}-{place.end_line} is no hit; give a hit's own lines")

    def _searcher(self, reader: Reader, question: Question) -> tuple[Searcher | None, list[Repository]]:
        chosen = self.repositories(question.repositories)
        return reader.searcher(chosen), chosen

    def _file(self, reader: Reader, place: Place) -> tuple[Repository, KnownFile]:
        """Return what is known of a file; one that was never indexed, such as `../other`, is not known."""
        (repository,) = self.repositories([place.repository])
        root = reader.root(repository)
        known = root.store.files.get(place.path) if root is not None else None
        if known is None or known.skipped:
            raise NotFoundError(f"{place.path!r} is not indexed in {repository.name}; give a path as hits have it")
        return repository, known


def _first(searcher: Searcher, question: Question) -> list[Hit]:
    """Return what is known at once: where an exact string stands, or the order of the first stage."""
    wanted = question.offset + question.top_k
    if question.literal:
        return searcher.literal(question.query, wanted, question.only)
    return next(searcher.stages(question.query, wanted, question.only, question.mode))[1]


def _read_source(repository: Repository, path: str) -> Source:
    """Read an indexed file, unless a symlink has come into its way since."""
    place = repository.path / path
    source = read(repository.path, path, repository.index_settings) if place.resolve() == place else Skip("symlink")
    if isinstance(source, Skip):
        raise NotFoundError(f"{path!r} in {repository.name} cannot be read any more ({source.reason}); search again")
    return source


def _index(reader: Reader, chosen: Sequence[Repository]) -> dict[str, Any]:
    if chosen:
        return overall([reader.status(one) for one in chosen])
    return {"fresh": True, "checked_at": None, "documents": 0, "files": 0, "skipped": {}, "notes": [], "roots": []}


def _standing(repository: Repository, status: dict[str, Any]) -> dict[str, Any]:
    counted = {key: status[key] for key in ("documents", "files", "languages", "skipped")}
    return {"path": str(repository.path), **counted, **standing(repository, repository.keeper.condition)}


def standing(repository: Repository, condition: Condition) -> dict[str, Any]:
    """Return what changes about a repository while it is kept, as events tell it."""
    checked_at = datetime.fromtimestamp(condition.freshness.checked, UTC).isoformat(timespec="seconds")
    return {
        "name": repository.name,
        "state": condition.state,
        "progress": {"done": condition.done, "total": condition.total},
        "embedded": None
        if condition.embedded is None
        else dict(zip(("done", "total"), condition.embedded, strict=True)),
        "fresh": condition.freshness.fresh,
        "checked_at": checked_at,
        "note": condition.freshness.note,
    }


def _answer(question: Question, found: Sequence[Hit], index: dict[str, Any], started: float) -> dict[str, Any]:
    """Write down the hits of one page; the total is known only where the last page is reached."""
    hits = [as_dict(hit) for hit in found[question.offset :]]
    if question.highlight:
        for hit in hits:
            hit["html"] = lines_as_html(hit["text"], hit["language"])
            hit["matches"] = matching_lines(hit["text"], hit["start_line"], question.query, question.literal)
    total = len(found) if len(found) < question.offset + question.top_k else None
    took_ms = round((time.perf_counter() - started) * 1000, 2)
    return {"query": question.query, "hits": hits, "index": index, "took_ms": took_ms, "total": total}
