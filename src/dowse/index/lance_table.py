"""Step 5 of 7, index: one Lance table that holds everything, so that one commit is one moment of the whole index.

A row is a document, a file (its stat and hash, or why it was left out), or the head of a repository (what its index was
made with). All of them lie in one table, because Lance commits a table at a time: `replace` takes rows out and puts
others in as one new version, and readers see the one or the other. A version is a snapshot; nothing is overwritten.

Writers do not wait for each other, they compare: a commit names the version it read, and Lance refuses it if another
one changed the same fragments since. Every commit of a repository replaces the head of that repository, so two writers
of the same repository always meet; the second looks again and repeats its step on top of the first. A kill leaves
files that no version names; `lance_care` removes them in time.

Left out: what the rows mean to a search (`lance`), how files become rows (`lance_writer`).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dowse.config import expanded
from dowse.errors import IndexFormatError, MissingExtraError
from dowse.index.cache import hash_of
from dowse.index.store import BusyError

try:
    import lance
    import pyarrow as pa
    from lance.commit import CommitConflictError
    from lance.fragment import write_fragments
except ImportError as error:
    raise MissingExtraError("an index in a Lance table (--store)", "scale") from error

FORMAT_VERSION = 2
"""Raised whenever the rows change their meaning; repositories of another version are built anew."""

TABLE = "documents.lance"
"""The table below the address of a store."""

HEAD, FILE = "head", "file"
"""Kinds of rows that are no documents."""

TERM_COLUMNS = ("body", "symbol_terms", "path_terms")
"""Stemmed terms, space-separated, in the order of `lexical.FIELDS`."""

COMMIT_WAIT_S = 60.0
"""How long a writer repeats a step that others came before; each repetition takes well under a second."""

ROWS_PER_FILE = 1_000_000

_NOISE = re.compile(r"LanceError\(\w+\): |,? ?\S*/rust/\S+?:\d+(:\d+)?|:? <\?xml.*|ProviderError\(.*", re.DOTALL)
"""What the engine's messages hold for its own developers."""


def schema(dimensions: int) -> pa.Schema:
    """Return the columns of a table whose embeddings have D = `dimensions` numbers.

    The numbers are those of `dense.pack`, whole ones from −127 to 127, kept as float16, which holds them exactly and is
    the narrowest type that Lance compares with a float query; a document without a word has none.
    """
    text, whole, long = pa.string(), pa.int32(), pa.int64()
    columns = {
        "key": long, "repository": text, "path": text, "language": text, "kind": text,
        "start_line": whole, "end_line": whole, "symbol": text, "text": text, "hash": long,
        "embedding": pa.list_(pa.float16(), dimensions),
        **dict.fromkeys(TERM_COLUMNS, text), "n_terms": whole,
        "size": long, "mtime_ns": long, "ctime_ns": long, "inode": long,
        "content_hash": text, "skipped": text, "n_documents": whole,
    }  # fmt: skip
    return pa.schema(list(columns.items()))


def packed_of(column: pa.ChunkedArray, dimensions: int) -> NDArray[np.int8]:
    """Return a column of embeddings as `dense.pack` made them, shape (n, D); zero where there is none."""
    whole = column.combine_chunks()
    packed = np.zeros((len(whole), dimensions), np.int8)
    packed[whole.is_valid().to_numpy(zero_copy_only=False)] = whole.flatten().to_numpy().reshape(-1, dimensions)
    return packed


def key_of(repository: str, path: str) -> int:
    """Return the number of a file, or of a repository's head where the path is empty.

    64 bits: among a hundred million files two agree once in some 3,700 tables; writing one would then remove the other.
    """
    return hash_of(f"{repository}\0{path}")


def quoted(text: str) -> str:
    """Return a string as the engine's SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def among(column: str, values: Sequence[str] | Sequence[int]) -> str:
    """Return the condition that a column has one of some values."""
    listed = ", ".join(quoted(value) if isinstance(value, str) else str(value) for value in values)
    return f"{column} IN ({listed})" if values else "false"


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Say in one sentence what went wrong with a store, without the engine's own source lines.

    Raises:
        BusyError: Others are writing to it.
        IndexFormatError: The engine or the system refused something.
    """
    try:
        yield
    except CommitConflictError:
        raise
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        said = _NOISE.sub("", str(error)).partition("\n")[0].strip(" :")[:300]
        if "commit conflict" in said:  # compaction has no error of its own for it
            raise BusyError(f"others are writing to {address}; try again later") from error
        raise IndexFormatError(f"store {address}: {said}; check the address, the credentials and the space") from error


@lru_cache(8)
def _session(address: str) -> lance.Session:
    """Return the caches of one store, shared by everything in this process that has it open."""
    return lance.Session()


class Table:
    """The table at an address, as one version of it; not to be shared by threads."""

    def __init__(self, address: str, dimensions: int | None = None) -> None:
        """Open the newest version, made empty where there is none and `dimensions` are given.

        Raises:
            IndexFormatError: there is no table and none is to be made, or it cannot be reached.
        """
        self.address = address
        place = address.removeprefix("lance:").rstrip("/")
        self.uri = f"{place}/{TABLE}" if "://" in place else str(expanded(place) / TABLE)
        with translated(address):
            try:
                self.dataset = self._opened()
            except ValueError as error:
                if "not found" not in str(error):
                    raise
                if dimensions is None:
                    remedy = f"index a folder there with: dowse index FOLDER --store {address}"
                    raise IndexFormatError(f"nothing is stored at {address}; {remedy}") from None
                self._create(dimensions)

    def _opened(self) -> lance.LanceDataset:
        return lance.dataset(self.uri, session=_session(self.address))

    def _create(self, dimensions: int) -> None:
        """Make the table with its first row, the head of all repositories; another may do so at the same time."""
        if "://" not in self.uri:
            Path(self.uri).parent.mkdir(parents=True, exist_ok=True)
        first = pa.Table.from_pylist([row(HEAD, "", "")], schema=schema(dimensions))
        try:
            lance.write_dataset(first, self.uri, mode="create", session=_session(self.address))
        except OSError as error:
            if "already exists" not in str(error):
                raise
        self.dataset = self._opened()

    @property
    def dimensions(self) -> int:
        """D, the length of an embedding."""
        return int(self.dataset.schema.field("embedding").type.list_size)

    def newest(self) -> None:
        """Go to the newest version."""
        with translated(self.address):
            self.dataset.checkout_latest()

    def scan(self, columns: Sequence[str], where: str | None = None, **how: object) -> pa.Table:
        """Return columns and `_rowid` of the rows that meet a condition; `how` goes to Lance's scanner as it is."""
        with translated(self.address):
            scanner = self.dataset.scanner(
                list(columns), where, with_row_id=True, prefilter=True, disable_scoring_autoprojection=True, **how
            )
            return scanner.to_table()

    def count(self, where: str | None = None) -> int:
        """Return how many rows meet a condition."""
        with translated(self.address):
            return int(self.dataset.count_rows(where))

    def replace(self, where: str, rows: pa.Table) -> None:
        """Take out the rows that meet a condition and put others in, in one commit; then be at that version.

        Raises:
            BusyError: other writers came before, again and again, for `COMMIT_WAIT_S`.
            IndexFormatError: the store cannot be written.
        """
        until = time.monotonic() + COMMIT_WAIT_S
        with translated(self.address):
            new = list(write_fragments(rows, self.dataset, max_rows_per_file=ROWS_PER_FILE))
            while True:
                try:
                    self._commit(where, new)
                    return
                except CommitConflictError:
                    if time.monotonic() > until:
                        raise BusyError(f"others keep writing to {self.address}; try again later") from None
                    time.sleep(random.uniform(0.01, 0.2))  # or two that met would meet again

    def _commit(self, where: str, new: list[lance.FragmentMetadata]) -> None:
        self.dataset.checkout_latest()
        found = self.dataset.scanner(["key"], where, with_row_address=True).to_table()
        addresses: NDArray[np.uint64] = found["_rowaddr"].to_numpy()
        fragments, offsets = addresses >> np.uint64(32), addresses & np.uint64(0xFFFFFFFF)
        updated, removed = [], []
        for number in np.unique(fragments).tolist():
            left = self.dataset.get_fragment(number).delete_rows(offsets[fragments == number].tolist())
            if left is None:
                removed.append(number)
            else:
                updated.append(left)
        change = lance.LanceOperation.Update(removed, updated, new)
        lance.LanceDataset.commit(self.dataset, change, read_version=self.dataset.version, max_retries=0)
        self.dataset.checkout_latest()


def row(kind: str, repository: str, path: str, **others: object) -> dict[str, object]:
    """Return a row, its terms empty and other columns null where they are not given."""
    blank = dict.fromkeys(TERM_COLUMNS, "")
    own = {"key": key_of(repository, path), "repository": repository, "path": path, "kind": kind, "start_line": 0}
    return {**blank, **own, **others}
