"""Step 1 of 7, mine: one repository → one finished shard per source of queries; what each worker process runs.

Reads the repository's files, writes `<name>-<hash>.<source>.parquet` into the folder of shards: the columns of a pair,
the fingerprint that duplicates are told by, and in the file's metadata a stamp of everything the rows depend on and the
counts of every rule. A shard appears whole or not at all, so a killed run goes on where it stopped; it is made again
only when its stamp changes. In memory is one file's functions at a time, unless a source asks for all of a repository.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dowse.errors import DataError
from dowse.languages import Language, head_of, language_of
from dowse.mine.dedupe import FINGERPRINT_BYTES, fingerprint
from dowse.mine.filter import Limits, content_rule, pair_rule, path_rule
from dowse.mine.functions import FUNCTIONS, Function, functions_of
from dowse.mine.pairs import BATCH_ROWS, SCHEMA, row_of, write_rows
from dowse.mine.repositories import Repository, walk
from dowse.mine.sources import Pair, Source

SHARD_SCHEMA = SCHEMA.append(pa.field("fingerprint", pa.binary(FINGERPRINT_BYTES)))

FORMAT = 6
"""Raised when the same input makes other rows: finished shards of older formats are then made again."""

SHARD_NAME = re.compile(r".*-[0-9a-f]{8}\.\w+\.parquet")
"""How the files of shards are named, those of a finished folder too; see `Task.shard`."""

_METADATA = b"dowse"

Tell = Callable[[float], None]
"""Told how much of the repository is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Task:
    """A repository to mine: from which sources, within which limits, into which folder."""

    repository: Repository
    sources: tuple[Source, ...]
    limits: Limits
    folder: Path

    def shard(self, source: Source) -> Path:
        """Return where the shard of a source lies."""
        repository = self.repository
        state = "" if source.is_local else repository.commit
        slug = re.sub(r"[^\w.-]+", "+", repository.name, flags=re.ASCII)[:80].strip("+.")
        named = f"{repository.name}\0{state or repository.folder.resolve()}"
        digest = hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return self.folder / f"{slug}-{digest}.{source.name}.parquet"

    def stamp(self, source: Source) -> str:
        """Return a hash of everything that decides what a shard holds."""
        repository = self.repository
        state = repository.commit or _folder_state(repository)
        place = str(repository.folder.resolve()) if source.is_local else ""
        about = [repository.name, state, repository.licence, place]
        named = [FORMAT, *about, source.name, source.settings, asdict(self.limits)]
        return hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode()).hexdigest()

    def unfinished(self) -> tuple[Source, ...]:
        """Return the sources whose shard is missing or of another stamp."""
        return tuple(source for source in self.sources if shard_counts(self.shard(source), self.stamp(source)) is None)


@dataclass(slots=True)
class Counts:
    """What became of a repository's files, and of the functions and pairs of one source."""

    files: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    n_bytes: int = 0
    n_functions: int = 0
    n_pairs: int = 0


def shard_counts(path: Path, stamp: str | None = None) -> Counts | None:
    """Return the counts of a finished shard, None if there is none or its stamp is another."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
        record = json.loads(metadata[_METADATA])
    except (OSError, pa.ArrowInvalid, KeyError, ValueError):
        return None
    if stamp is not None and record["stamp"] != stamp:
        return None
    numbers = {name: record[name] for name in ("n_bytes", "n_functions", "n_pairs")}
    return Counts(Counter(record["files"]), Counter(record["rules"]), **numbers)


def mine_repository(task: Task, tell: Tell) -> None:
    """Make the shards of a repository.

    Raises:
        DataError: The repository cannot be read, or a source says why it cannot go on.
    """
    counts = Counts()
    shards = [_Shard(task, source) for source in task.sources]
    try:
        kept: list[Function] = []
        kinds = frozenset[str]().union(*(source.kinds for source in task.sources))
        for functions in _functions(task.repository, counts, tell, kinds):
            for shard in shards:
                if not shard.source.needs_all:
                    shard.take(functions)
            if any(shard.source.needs_all for shard in shards):
                kept += functions
        for shard in shards:
            if shard.source.needs_all:
                shard.take(kept)
            shard.finish(counts)
    finally:
        for shard in shards:
            shard.abandon()
    tell(1.0)


def functions_in(repository: Repository) -> list[Function]:
    """Return all functions that sources are given of a repository."""
    return [one for found in _functions(repository, Counts(), lambda part: None, FUNCTIONS) for one in found]


class _Shard:
    """A shard in the making."""

    def __init__(self, task: Task, source: Source) -> None:
        self.task = task
        self.source = source
        self.stamp = task.stamp(source)  # before anything is read: what changes from now on may be missed
        self.counts = Counts()
        self.dropped_before = Counter(source.dropped)
        self.path = task.shard(source)
        # Not by `records.appearing`: a shard takes its place as soon as its source is done, whatever the next one does.
        self.partial = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self.writer = pq.ParquetWriter(self.partial, SHARD_SCHEMA, compression="zstd")
        self.rows: list[dict[str, Any]] = []

    def take(self, functions: Sequence[Function]) -> None:
        """Write the pairs that the source finds for some functions, those that no rule speaks against."""
        given = [one for one in functions if one.kind in self.source.kinds]
        self.counts.n_functions += len(given)
        for pair in self.source.pairs(self.task.repository, given):
            rule = pair_rule(pair, self.task.limits)
            if rule is not None:
                self.counts.rules[rule] += 1
                continue
            self.rows.append(_row(pair, self.task.repository))
            if len(self.rows) >= BATCH_ROWS:
                self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        if self.rows:
            write_rows(self.writer, self.rows, SHARD_SCHEMA)
            self.counts.n_pairs += len(self.rows)
            self.rows.clear()

    def finish(self, counts: Counts) -> None:
        """Write the rest and the counts, and move the file to its place."""
        self.flush()
        rules = self.counts.rules + (self.source.dropped - self.dropped_before)
        record = {
            "stamp": self.stamp,
            "files": counts.files,
            "rules": rules,
            "n_bytes": counts.n_bytes,
            "n_functions": self.counts.n_functions,
            "n_pairs": self.counts.n_pairs,
        }
        self.writer.add_key_value_metadata({_METADATA: json.dumps(record).encode()})
        self.writer.close()
        self.partial.replace(self.path)

    def abandon(self) -> None:
        """Remove what was not finished."""
        self.writer.close()
        self.partial.unlink(missing_ok=True)


def _row(pair: Pair, repository: Repository) -> dict[str, Any]:
    row = row_of(pair, repository)
    owner = "\0".join((repository.name, pair.function.path, pair.function.symbol))
    code = pair.function.text_without_comments
    row["fingerprint"] = fingerprint(pair.query, owner, pair.function.code_hash, code)
    return row


def _functions(repository: Repository, counts: Counts, tell: Tell, kinds: frozenset[str]) -> Iterator[list[Function]]:
    """Yield the functions of one file after the other, or its definitions of other kinds; count what is left out."""
    n_wanted = 0

    def wanted(path: str) -> bool:
        nonlocal n_wanted
        language = language_of(path)
        if language is None or not language.is_code:
            counts.files["no source file"] += 1
            return False
        rule = path_rule(path)
        if rule is not None:
            counts.files[rule] += 1
            return False
        n_wanted += 1
        return True

    for number, (path, content) in enumerate(repository.blobs(wanted, counts.files), start=1):
        counts.n_bytes += len(content)
        yield _functions_of(path, content, repository, counts.files, kinds)
        if repository.commit:  # the files of a plain folder are not counted beforehand
            tell(number / max(n_wanted, 1))


def _functions_of(
    path: str, content: bytes, repository: Repository, files: Counter[str], kinds: frozenset[str]
) -> list[Function]:
    rule = content_rule(content)
    if rule is not None:
        files[rule] += 1
        return []
    language: Language | None = language_of(path, head_of(content))
    try:
        found = [] if language is None else functions_of(path, content, language, repository.name, kinds=kinds)
    except DataError:
        files["beyond its grammar"] += 1
        return []
    files["read"] += 1
    return found


def _folder_state(repository: Repository) -> str:
    """Return what changes when a file of source in a plain folder does: sizes and times of change.

    Other files do not count: what is mined may well be written into the folder that it comes from.
    """
    digest = hashlib.sha256()
    for name in repository.files or walk(repository.folder):
        path, language = repository.folder / name, language_of(name)
        if language is not None and language.is_code and path.is_file():
            about = path.stat()
            digest.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
