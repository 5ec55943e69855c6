"""Step 5 of 7, index: bring the index of a root up to what lies on disk.

A scan compares stats; only files whose stat differs are read, and only those whose content differs are cut and
embedded again. Files are acknowledged in batches, so whatever stops an update, the next one goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dowse.cluster import with_model
from dowse.config import IndexSettings
from dowse.errors import ConfigError, IndexFormatError
from dowse.index.dense import pack
from dowse.index.documents import cut
from dowse.index.files import Skip, Source, read
from dowse.index.scan import Stat, Tree, scan
from dowse.index.store import LOCK_WAIT_S, BusyError, IndexedFile, KnownFile, Store, StoreWriter
from dowse.languages import HEAD_CHARS, language_of
from dowse.languages.identifiers import words
from dowse.languages.terms import stemmed
from dowse.models.static import StaticEncoder
from dowse.records import cores
from dowse.types import Progress

PORTION_BYTES = 500_000
"""Source read, cut and embedded at a time, by one process."""

BATCH_BYTES = 8_000_000
"""Source acknowledged at a time at most, from one portion on doubling: a small repository answers soon, and a kill in a
large one makes the next update do a few seconds' work again, because an acknowledgement costs as much as a hundred
documents."""

BYTES_A_PROCESS = 1_500_000
"""Source to be read for each further process to be started, which takes as long as cutting and embedding so much."""

STOPPED = "the last update was stopped; the next one goes on from there"

CHANGING = "changing"
"""Stands in the place of an index's settings while its files are judged anew by others: no settings are equal to it,
so whoever comes after an update that was stopped in between judges every file once more."""

NOTHING = "nothing is indexed yet"

BUILD_WAIT_S = 600.0
"""How long to wait for another process that is building an index which cannot answer anything yet."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far an index is from what lies on disk.

    Attributes:
        fresh: whether everything on disk at the last look is in the index.
        checked: when that look was, in seconds since 1970.
        note: why it is not fresh, None if it is.
    """

    fresh: bool
    checked: float
    note: str | None = None


def bring_up_to_date(
    store: Store,
    root: Path,
    settings: IndexSettings,
    encoder: StaticEncoder,
    progress: Progress | None = None,
) -> Freshness:
    """Update an index if that can be done now; otherwise say why its answers may be behind.

    Raises:
        ConfigError: the root is not a readable directory, or nothing in it can be indexed.
        IndexFormatError: there is no usable index and none can be made.
    """
    checked = time.time()
    note = None
    try:
        update(store, root, settings, encoder, progress)
    except IndexFormatError as error:
        if len(store) and _comparable(store, _made_with(store, root, settings, encoder)):
            note = str(error)
        elif isinstance(error, BusyError):
            update(store, root, settings, encoder, progress, BUILD_WAIT_S)
        else:
            raise
    if not len(store):
        raise ConfigError(f"nothing to search in {root}: {_explained(store)}")
    return Freshness(note is None, checked, note)


def look(store: Store, root: Path, settings: IndexSettings, encoder: StaticEncoder) -> Freshness:
    """Say how far an index is behind, changing nothing.

    Raises:
        ConfigError: the root is not a readable directory.
    """
    checked = time.time()
    before = None if store.meta.get("settings") == CHANGING else store.tree()
    if before is None:
        return Freshness(False, checked, STOPPED if len(store) else NOTHING)
    if not _same_rules(store, _made_with(store, root, settings, encoder)):
        return Freshness(False, checked, "made by other settings or models" if len(store) else NOTHING)
    tree = _scanned(store, root, settings, before)
    gone = sum(path not in tree.files for path in store.files)
    new = sum(path not in store.files or store.files[path].stat != stat for path, stat in tree.files.items())
    note = f"{new} files are new or changed and {gone} are gone since" if new or gone else None
    return Freshness(note is None, checked, note)


def _explained(store: Store) -> str:
    reasons = skipped_by_reason(store)
    if not reasons:
        return "it holds no files; give a folder with source code"
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"every file was left out ({listed}); files that are not code are taken in with --text"


def skipped_by_reason(store: Store) -> dict[str, int]:
    """Count what an index leaves out, by reason, most frequent first."""
    reasons: dict[str, int] = store.counted()["skipped"]
    return reasons


def update(
    store: Store,
    root: Path,
    settings: IndexSettings,
    encoder: StaticEncoder,
    progress: Progress | None = None,
    wait_s: float = LOCK_WAIT_S,
) -> None:
    """Index what is new or changed under `root` and forget what is gone.

    Raises:
        ConfigError: the root is not a readable directory.
        BusyError: another process is at it and was not done after `wait_s` seconds.
        IndexFormatError: the index cannot be written.
    """
    made_with = _made_with(store, root, settings, encoder)
    store.refresh()
    seen = store.files
    same_rules = _same_rules(store, made_with)
    before = store.tree() if same_rules else None
    tree = _scanned(store, root, settings, before)
    if before == tree and store.is_whole:
        return
    with store.writing(wait_s) as writer:
        if store.files is not seen:  # another process wrote while this one looked or waited
            same_rules = _same_rules(store, made_with)
            tree = _scanned(store, root, settings, store.tree() if same_rules else None)
        if not _comparable(store, made_with):
            writer.reset(made_with)
            store.reload()
        elif not same_rules:
            writer.finish(made_with | {"settings": CHANGING})
        removed = [path for path in store.files if path not in tree.files]
        changed = [path for path, stat in tree.files.items() if _differs(store.files.get(path), stat, same_rules)]
        _apply_all(writer, store, root, {path: tree.files[path] for path in changed}, settings, encoder, progress)
        writer.finish(made_with | {"tree": tree.packed()}, removed)


def _made_with(store: Store, root: Path, settings: IndexSettings, encoder: StaticEncoder) -> dict[str, str]:
    """What an index depends on: a difference in `settings` changes which files belong in it, any other, everything."""
    rules = {key: value for key, value in asdict(settings).items() if key not in ("directory", "store", "jobs")}
    return {
        "format": str(store.format_version),
        "fingerprint": encoder.fingerprint,
        "root": store.mark_of(root),
        "settings": json.dumps(rules, sort_keys=True),
    }


def _scanned(store: Store, root: Path, settings: IndexSettings, before: Tree | None) -> Tree:
    """Scan; files that can be read no more than at the last update have the stat that they are known by."""
    tree = scan(root, settings, before)
    for path, known in store.files.items():
        if known.skipped is None or known.stat.ctime_ns or path not in tree.files:
            continue  # only a file without a ctime is to be read again, see `_read_files`
        is_same = tree.files[path]._replace(ctime_ns=0) == known.stat
        if is_same and read(root, path, settings) == Skip(known.skipped):
            tree.files[path] = known.stat
    return tree


def _differs(known: KnownFile | None, stat: Stat, same_rules: bool) -> bool:
    """Tell whether a file must be read: it is new, its stat is another, or other rules may judge it otherwise."""
    return known is None or known.stat != stat or not same_rules


def _comparable(store: Store, made_with: dict[str, str]) -> bool:
    """Tell whether what is indexed may stand beside new documents: made in the same way, from whichever files."""
    return all(store.meta.get(key, value) == value for key, value in made_with.items() if key != "settings")


def _same_rules(store: Store, made_with: dict[str, str]) -> bool:
    """Tell whether every indexed file was judged as it would be now, so that those with equal stats can stay."""
    return store.meta.items() >= made_with.items()


def _portions(files: dict[str, Stat]) -> Iterator[dict[str, Stat]]:
    portion: dict[str, Stat] = {}
    size = 0
    for path, stat in files.items():
        portion[path] = stat
        size += stat.size
        if size >= PORTION_BYTES:
            yield portion
            portion, size = {}, 0
    if portion:
        yield portion


def _apply_all(
    writer: StoreWriter,
    store: Store,
    root: Path,
    files: dict[str, Stat],
    settings: IndexSettings,
    encoder: StaticEncoder,
    progress: Progress | None,
) -> None:
    """Read and acknowledge files in batches, one being written while the next is cut, by this process and others."""
    done = 0
    n_processes = min(settings.jobs, cores(), sum(stat.size for stat in files.values()) // BYTES_A_PROCESS)
    portions = (_read_files(store, root, portion, settings) for portion in _portions(files))
    with (
        ThreadPoolExecutor(1) as acknowledging,
        closing(with_model(encoder, _indexed, portions, n_processes - 1)) as indexed,
    ):
        pending: Future[None] | None = None
        for batch in _batches(indexed):
            if pending is not None:
                pending.result()
            pending = acknowledging.submit(_acknowledge, writer, batch)
            done += batch.n_files
            if progress is not None:
                progress(done, len(files))
        if pending is not None:
            pending.result()


class _Batch(NamedTuple):
    """Files that are acknowledged together: those to put in, those with other stats only, those still to be cut."""

    changed: list[IndexedFile]
    touched: dict[str, Stat]
    sources: dict[str, Source]

    @property
    def n_files(self) -> int:
        return len(self.changed) + len(self.touched) + len(self.sources)

    @property
    def size(self) -> int:
        """Bytes of what is no longer to be cut."""
        return sum(file.stat.size for file in self.changed) + sum(stat.size for stat in self.touched.values())

    def joined(self, other: _Batch) -> _Batch:
        return _Batch(self.changed + other.changed, self.touched | other.touched, self.sources | other.sources)


def _batches(portions: Iterable[_Batch]) -> Iterator[_Batch]:
    """Put together what is acknowledged together."""
    held, limit = _Batch([], {}, {}), PORTION_BYTES
    for portion in portions:
        held = held.joined(portion)
        if held.size >= limit:
            yield held
            held, limit = _Batch([], {}, {}), min(2 * limit, BATCH_BYTES)
    if held.n_files:
        yield held


def _acknowledge(writer: StoreWriter, batch: _Batch) -> None:
    if batch.changed:
        writer.apply(batch.changed)
    if batch.touched:
        writer.touch(batch.touched)


def _read_files(store: Store, root: Path, files: dict[str, Stat], settings: IndexSettings) -> _Batch:
    """Read files, telling those with new content from those with new stats."""
    changed: list[IndexedFile] = []
    touched: dict[str, Stat] = {}
    sources: dict[str, Source] = {}
    for path, scanned in files.items():
        source = read(root, path, settings)
        known = store.files.get(path)
        if isinstance(source, Skip):
            stat = source.stat or scanned._replace(ctime_ns=0)  # no scan finds that, so the next update reads it again
            changed.append(IndexedFile(path, stat, "", "", skipped=source.reason))
        elif known and known.content_hash == source.content_hash:
            touched[path] = source.stat
        else:
            sources[path] = source
    return _Batch(changed, touched, sources)


def _indexed(encoder: StaticEncoder, batch: _Batch) -> _Batch:
    """Cut files into documents and embed these, all at once because the encoder is faster so."""
    cut_files: list[IndexedFile] = []
    documents: list[list[str]] = []
    names: list[list[str]] = []
    for path, source in batch.sources.items():
        text = source.text.replace("\r\n", "\n")  # so that a hit's lines print as lines everywhere
        language = language_of(path, text[:HEAD_CHARS])
        spans = cut(text, language)
        lines = text.split("\n")
        texts = ["\n".join(lines[span.start_line - 1 : span.end_line]) for span in spans]
        found = [words(body) for body in texts]
        about, stem = words(path), words(PurePosixPath(path).stem)
        documents += [[*about, *body] for body in found]
        names += [[*stem, *words(span.symbol or "")] for span in spans]
        name = language.name if language else "text"
        bodies = [stemmed(body) for body in found]
        cut_files.append(IndexedFile(path, source.stat, source.content_hash, name, None, spans, texts, bodies))
    packed = pack(encoder.encode_words(documents, names))
    ends = np.cumsum([len(file.spans) for file in cut_files])
    rows = np.split(packed, ends[:-1]) if cut_files else []
    made = [replace(file, packed=own) for file, own in zip(cut_files, rows, strict=True)]
    return batch._replace(changed=batch.changed + made, sources={})
