"""Step 4 of 7, evaluate: the annotated benchmark's files → questions with their targets; scores → their means.

Reads a folder with `repos.json` (name, language, url, revision, benchmark_root of each repository) and
`annotations/<name>.json` (its questions). Every field is checked where it is read, because a misspelt target would
otherwise only show as a lower score. Fetching the repositories and asking a searcher are left to the caller.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from statistics import fmean

from dowse.errors import ConfigError, DataError
from dowse.evaluate.annotated_metrics import Location
from dowse.evaluate.files import object_of, read_objects, text_of
from dowse.records import UNKNOWN, source_commit


@dataclass(frozen=True, slots=True)
class AnnotatedQuery:
    """One question, the places that answer it (relevant and secondary alike) and its category."""

    query: str
    targets: tuple[Location, ...]
    category: str


@dataclass(frozen=True, slots=True)
class AnnotatedRepository:
    """One repository at a revision, the folder of it that is indexed ("" for all) and its questions."""

    name: str
    language: str
    url: str
    revision: str
    benchmark_root: str
    queries: tuple[AnnotatedQuery, ...]

    def folder(self, checkouts: Path) -> Path:
        """Return the folder to index, below a folder that holds the checkouts by name."""
        return checkouts / self.name / self.benchmark_root


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one query."""

    repository: str
    category: str
    value: float


def load_annotated(folder: Path) -> list[AnnotatedRepository]:
    """Read an annotated benchmark, repositories in the order of `repos.json`.

    Raises:
        DataError: A file is missing or a field is not what it should be; the message names file, entry and field.
    """
    place = folder / "repos.json"
    repositories = []
    for where, record in read_objects(place):
        name = text_of(record, "name", where)
        root = record.get("benchmark_root")
        repositories.append(
            AnnotatedRepository(
                name=name,
                language=text_of(record, "language", where),
                url=text_of(record, "url", where),
                revision=text_of(record, "revision", where),
                benchmark_root="" if root is None else _relative(root, "benchmark_root", where),
                queries=_load_queries(folder / "annotations" / f"{name}.json"),
            )
        )
    if not repositories:
        raise DataError(f"{place}: the list is empty, expected at least one repository; name the benchmark's folder")
    return repositories


def check_checkout(repository: AnnotatedRepository, checkouts: Path) -> None:
    """Raise ConfigError where a checkout is missing, lacks its folder or is, as far as git knows, at another commit."""
    folder = checkouts / repository.name
    if not folder.is_dir():
        raise ConfigError(
            f"{folder} does not exist, expected a checkout of {repository.name}; get it with: git clone "
            f"{repository.url} '{folder}' && git -C '{folder}' checkout {repository.revision}"
        )
    commit, _ = source_commit(folder)
    if commit not in (UNKNOWN, repository.revision):
        raise ConfigError(
            f"{folder} stands at {commit[:12]}, expected the benchmark's {repository.revision[:12]}; bring it there "
            f"with: git -C '{folder}' checkout {repository.revision}"
        )
    if not repository.folder(checkouts).is_dir():
        raise ConfigError(
            f"{repository.folder(checkouts)} does not exist, expected it in the checkout of {repository.name}; bring "
            f"that back with: git -C '{folder}' checkout {repository.revision} -- ."
        )


def mean_over_repositories(scores: Iterable[Score]) -> float:
    """Return the mean over a repository's queries, then over repositories: the benchmark's headline figure."""
    return fmean(mean_by(scores, "repository").values())


def mean_by(scores: Iterable[Score], field: str) -> dict[str, float]:
    """Return the plain mean of the scores that share a `repository` or a `category`, in order of first appearance."""
    groups: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        groups[getattr(score, field)].append(score.value)
    return {name: fmean(values) for name, values in groups.items()}


def _load_queries(place: Path) -> tuple[AnnotatedQuery, ...]:
    queries = []
    for where, record in read_objects(place):
        targets = _targets(record, where)
        queries.append(
            AnnotatedQuery(text_of(record, "query", where), targets, category=text_of(record, "category", where))
        )
    if not queries:
        raise DataError(f"{place}: the list is empty, expected at least one query; drop its repository from repos.json")
    return tuple(queries)


def _targets(record: Mapping[str, object], where: str) -> tuple[Location, ...]:
    targets: list[Location] = []
    for key in ("relevant", "secondary"):
        listed = record.get(key)
        if not isinstance(listed, list):
            raise DataError(f"{where}: {key} is {listed!r}, expected a list of targets; correct the file")
        targets += [_target(value, where) for value in listed]
    if not targets:
        raise DataError(f"{where}: there is no target, expected one path in 'relevant' at least; drop the query")
    return tuple(targets)


def _target(value: object, where: str) -> Location:
    if isinstance(value, str):
        return Location(_relative(value, "target", where))
    record = object_of(value, where)
    path = _relative(record.get("path"), "path", where)
    start, end = record.get("start_line"), record.get("end_line")
    if not (type(start) is int and type(end) is int and 1 <= start <= end):
        raise DataError(
            f"{where}: target {path} has lines {start!r} to {end!r}, expected whole numbers with 1 <= start <= end"
        )
    return Location(path, start, end)


def _relative(value: object, key: str, where: str) -> str:
    if not isinstance(value, str) or not value or value.startswith("/") or ".." in PurePosixPath(value).parts:
        raise DataError(f"{where}: {key} is {value!r}, expected a path relative to the repository; correct the file")
    return value
