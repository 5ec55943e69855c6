"""Step 1 of 7, mine: the history of a repository → (subject of a commit, function it changed) pairs.

Reads every commit that the pinned one descends from, newest first, with one `git log`, and the versions of files before
and after those worth reading. The function of a pair is as the commit left it, so that it fits what the subject says;
path, lines and commit are those of that version. A function counts as changed if its code, comments and white space
left out of account, is in none of the commit's files before: so neither moving a file or a function nor reformatting
it is a change, and no rename has to be guessed. Left out: merges, the first commit (in a shallow clone that is where it
was cut off, not where anything began), subjects that say nothing of code (`subjects`), commits that change more than
`max_functions` (a subject describes few functions or none), tests, and what could not be read. Writes nothing.
"""

from __future__ import annotations

import secrets
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import IO

from dowse.errors import DataError
from dowse.languages import head_of, language_of
from dowse.mine.filter import content_rule, is_test, path_rule
from dowse.mine.functions import FUNCTIONS, Function, functions_of
from dowse.mine.repositories import (
    Entry,
    Repository,
    decode_path,
    git_command,
    git_environment,
    present,
    read_blobs,
)
from dowse.mine.sources import Pair
from dowse.mine.subjects import Commit, query_of

MAX_FILES = 6
"""Source files that a commit may touch; one that touches more changes more functions than its subject describes."""

COMMITS_AT_ONCE = 200
"""So many commits share one process that reads the versions of their files."""

TOUCHED_PER_CHANGED = 4
"""Functions whose lines, comments included, a commit may touch for each that it may change."""

_FORMAT = "%H%x00%an%x00%ae%x00%s%x00%b"
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class _Change:
    """A commit with a query: the source files it touched, each as (path, object before, object after)."""

    commit: str
    query: str
    files: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Commits:
    """The source of queries that people wrote when they changed a function.

    Attributes:
        max_functions: A commit that changes more is left out.
        max_per_function: So many of its newest subjects a function is paired with; versions of it are near-duplicates.
    """

    max_functions: int = 3
    max_per_function: int = 4
    name: str = "commits"
    kinds: frozenset[str] = FUNCTIONS
    needs_all: bool = True
    is_local: bool = False
    dropped: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def settings(self) -> dict[str, object]:
        """What its pairs depend on."""
        return {"max_functions": self.max_functions, "max_per_function": self.max_per_function}

    def pairs(self, repository: Repository, functions: Sequence[Function]) -> Iterator[Pair]:
        """Yield a pair for every function that a commit with a telling subject changed; `functions` are not needed.

        Raises:
            DataError: git cannot read the history.
        """
        if not repository.commit:
            self.dropped["no history"] += 1
            return
        versions = _Versions(repository, self.dropped)
        said: Counter[tuple[str, str]] = Counter()
        changes = self._changes(repository)
        while group := list(islice(changes, COMMITS_AT_ONCE)):
            versions.read(one for change in group for _, *both in change.files for one in both)
            for change in group:
                for function in self._changed(change, versions):
                    said[function.path, function.symbol] += 1
                    if said[function.path, function.symbol] > self.max_per_function:
                        self.dropped["function with newer subjects"] += 1
                    else:
                        yield Pair(change.query, function, self.name, change.commit)

    def _changes(self, repository: Repository) -> Iterator[_Change]:
        """Yield the commits worth reading, newest first."""
        for commit, touched in _log(repository):
            query, rule = query_of(commit)
            files = tuple(one for one in touched if _is_source(one[0]))
            if not rule and all(_is_null(after) for *_, after in files):
                rule = "commit without source code"
            elif not rule and len(files) > MAX_FILES:
                rule = "commit to many files"
            if rule:
                self.dropped[rule] += 1
            else:
                yield _Change(commit.id, query, files)

    def _changed(self, change: _Change, versions: _Versions) -> list[Function]:
        """Return the functions that are new or other than before, none if they are too many."""
        if not versions.have(change):
            self.dropped["commit with a version that cannot be read"] += 1
            return []
        after = versions.functions([(path, new) for path, _, new in change.files], [old for _, old, _ in change.files])
        changed: list[Function] = []
        if len(after) <= TOUCHED_PER_CHANGED * self.max_functions:
            before = versions.functions(
                [(path, old) for path, old, _ in change.files], [new for *_, new in change.files]
            )
            hashes = {one.code_hash for one in before}
            changed = [one for one in after if one.code_hash not in hashes and not is_test(one)]
            if changed and len(changed) <= self.max_functions:
                return changed
        is_many = bool(changed) or len(after) > TOUCHED_PER_CHANGED * self.max_functions
        self.dropped["commit to many functions" if is_many else "commit without a change of a function"] += 1
        return []


class _Versions:
    """The functions that one version of some files has and another has not, as far as their lines tell."""

    def __init__(self, repository: Repository, dropped: Counter[str]) -> None:
        self.repository = repository
        self.dropped = dropped
        self.files: dict[str, _File] = {}

    def read(self, wanted: Iterable[str]) -> None:
        """Read the versions that the next commits need, in one process; those read before are forgotten."""
        objects = dict.fromkeys(one for one in wanted if not _is_null(one))
        skipped: Counter[str] = Counter()
        entries = present(self.repository.folder, [Entry("", one, one) for one in objects], skipped)
        read = read_blobs(self.repository.folder, entries, skipped)
        self.files = {name: _File(source.replace(b"\r\n", b"\n")) for name, source in read}
        for reason, count in (+skipped).items():
            self.dropped[f"version of a file: {reason}"] += count

    def have(self, change: _Change) -> bool:
        """Whether all versions were read; beside one that was not, what is old would seem new."""
        return all(_is_null(one) or one in self.files for _, *both in change.files for one in both)

    def functions(self, here: Sequence[tuple[str, str]], there: Sequence[str]) -> list[Function]:
        """Return the functions of versions (path, object) whose lines stand nowhere in the others."""
        others = [self.files[version] for version in there if version in self.files]
        found = []
        for path, version in here:
            if version in self.files and version not in there:
                found += self._parse(
                    path, self.files[version].source, lambda lines: not any(one.holds(lines) for one in others)
                )
        return found

    def _parse(self, path: str, source: bytes, wanted: Callable[[list[bytes]], bool]) -> list[Function]:
        language = language_of(path, head_of(source))
        if language is None or not language.is_code or content_rule(source):
            return []
        try:
            return functions_of(path, source, language, self.repository.name, wanted)
        except DataError:
            self.dropped["version of a file: beyond its grammar"] += 1
            return []


class _File:
    """One version of a file, which can be asked whether it holds some lines."""

    def __init__(self, source: bytes) -> None:
        self.source = source

    @cached_property
    def lines(self) -> list[bytes]:
        return self.source.split(b"\n")

    @cached_property
    def rows(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = defaultdict(list)
        for row, line in enumerate(self.lines):
            found[line].append(row)
        return found

    def holds(self, lines: list[bytes]) -> bool:
        """Whether the lines stand here one after the other; the longest of them, which is rare, says where to look."""
        longest = max(range(len(lines)), key=lambda row: len(lines[row]))
        starts = (row - longest for row in self.rows.get(lines[longest], ()))
        return any(start >= 0 and self.lines[start : start + len(lines)] == lines for start in starts)


def _is_null(version: str) -> bool:
    """Whether an identifier, as long as the repository's hashes are, says that there is no such file."""
    return set(version) == {"0"}


def _is_source(path: str) -> bool:
    language = language_of(path)
    return language is not None and language.is_code and path_rule(path) is None


def _log(repository: Repository) -> Iterator[tuple[Commit, list[tuple[str, str, str]]]]:
    """Yield every commit but merges, with its files as (path, object before, object after); submodules left out."""
    mark = secrets.token_hex(16)  # drawn anew for each run, so that no message can hold it
    shape = f"--format={mark}{_FORMAT}"
    listed = ["log", "-z", "--no-merges", "--raw", "--no-abbrev", "--no-renames", shape, repository.commit]
    command = git_command(repository.folder, "-c", "log.showRoot=false", "-c", "i18n.logOutputEncoding=UTF-8", *listed)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=git_environment()) as process:
        assert process.stdout is not None
        try:
            for record in _records(process.stdout, mark.encode()):
                yield _parsed(record)
        finally:
            # Whoever stops early leaves git writing to nobody.
            process.stdout.close()
    if process.returncode:
        raise DataError(
            f"{repository.folder}: git log stopped with exit code {process.returncode}, expected a readable history; "
            "run git fsck"
        )


def _records(stream: IO[bytes], mark: bytes) -> Iterator[bytes]:
    """Yield what lies between the marks at which commits start; one that a chunk cuts is found in the next."""
    rest = b""
    while chunk := stream.read(1 << 16):
        *whole, rest = (rest + chunk).split(mark)
        yield from filter(None, whole)
    if rest:
        yield rest


def _parsed(record: bytes) -> tuple[Commit, list[tuple[str, str, str]]]:
    said = record.split(b"\0")
    texts = [text.decode("utf-8", "replace").strip() for text in said[:_FIELDS]]
    files = []
    entries = iter(said[_FIELDS:])
    for entry in entries:
        about = entry.lstrip(b"\n").decode("ascii", "replace").split()
        if len(about) == 5 and about[0].startswith(":"):
            path = decode_path(next(entries, b""))
            _, mode, before, after, _ = about
            if mode.startswith("100") or (mode == "000000" and about[0].startswith(":100")):
                files.append((path, before, after))
    return Commit(*texts), files
