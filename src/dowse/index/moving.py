"""Step 5 of 7, index: an index as one file, to be carried between stores and machines.

A team builds an index once, in CI, and shares the file: whoever takes it in embeds only what differs from their own
checkout. The file is gzip over one JSON object a line, so that anything can read it: a head (what the index was made
with), a line for each file (documents, texts, embeddings), and a last line with the SHA-256 of all lines before it.
Nothing is written to a store before that hash has been checked, and nothing that another model embedded is taken in.

The words of documents are not in the file: they follow from the texts.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dowse.errors import ConfigError, DataError
from dowse.index.dense import pack, unpack
from dowse.index.documents import Span
from dowse.index.scan import Stat
from dowse.index.store import IndexedFile, Store
from dowse.languages.identifiers import words
from dowse.languages.terms import stemmed
from dowse.records import appearing
from dowse.types import Encoder

FORMAT = 1
"""Raised whenever the lines change their meaning."""

FILES_AT_ONCE = 500
"""Acknowledged together when taken in: a few seconds' work."""

IMPORT_WAIT_S = 10.0
"""How long to wait for another writer: a person has asked for this, once."""


@dataclass(frozen=True, slots=True)
class Head:
    """What stands at the head of an exported index.

    Attributes:
        repository: its name.
        made_with: what the index was made with (`Store.meta`).
        retriever: fingerprint of the bi-encoder whose embeddings are in it, None where there are none.
        is_filled: every document has one.
    """

    repository: str
    made_with: dict[str, str]
    retriever: str | None
    is_filled: bool


def export_index(store: Store, file: Path, retriever: Encoder | None = None) -> int:
    """Write an index to a file, whole or not at all, and return how many documents are in it.

    Args:
        store: the index of one repository.
        file: replaced if it is there.
        retriever: the bi-encoder whose embeddings, as far as there are any, go with it.

    Raises:
        ConfigError: the file cannot be written.
    """
    kept = {key: value for key, value in store.meta.items() if key != "tree"}
    cache = None if retriever is None else store.cache(retriever)
    fingerprint = None if retriever is None else retriever.fingerprint
    is_filled = cache is not None and not len(cache.missing(store.hashes()))
    head = Head(store.repository, kept, fingerprint, is_filled)
    digest, n_files, n_documents = hashlib.sha256(), 0, 0
    try:
        with (  # the file holds source code: only they may read it who might read the one that was there
            appearing(file, as_before=True) as scratch,
            scratch.open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as out,
        ):

            def put(record: dict[str, Any]) -> None:
                line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
                digest.update(line)
                out.write(line)

            put({"dowse": "index", "format": FORMAT, **{name: getattr(head, name) for name in Head.__slots__}})
            for one in store.indexed_files():
                record = _record(one)
                if cache is not None and len(one.spans):
                    record["retriever"] = _coded(pack(cache.lookup(one.hashes)[1]))
                put(record)
                n_files, n_documents = n_files + 1, n_documents + len(one.spans)
            put({"files": n_files, "documents": n_documents, "sha256": digest.hexdigest()})
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error.strerror}); choose another place for --export") from error
    return n_documents


def head_of(file: Path) -> Head:
    """Check a file from its first line to its hash, and return what it holds.

    Raises:
        DataError: it is no exported index, or it is damaged.
    """
    digest, before = hashlib.sha256(), b""
    head: dict[str, Any] = {}
    with _said(file), gzip.open(file) as lines:
        for line in lines:
            head = head or _begun(line)
            digest.update(before)
            before = line
        last = json.loads(before)
        if last.get("sha256") != digest.hexdigest():
            raise ValueError("its SHA-256 is not that of its lines")
        return Head(**{name: head[name] for name in Head.__slots__})


def import_index(file: Path, store: Store, root: Path, encoder: Encoder, retriever: Encoder | None = None) -> int:
    """Put the index from a file in the place of what a store holds of the repository; return how many documents.

    Args:
        file: made by `export_index`.
        store: of the one repository.
        root: its folder on this machine, if it has one: an update afterwards finds what differs.
        encoder: the static model that questions are embedded with.
        retriever: the bi-encoder; embeddings by another one are left out.

    Raises:
        ConfigError: another model has made the index.
        DataError: it is no exported index, or it is damaged.
        BusyError: another process is writing to the store.
        IndexFormatError: the store cannot be written.
    """
    head = head_of(file)
    theirs = head.made_with.get("fingerprint", "")
    if theirs != encoder.fingerprint:
        raise ConfigError(
            f"{file} was made with the model {theirs[:12]}, expected {encoder.fingerprint[:12]}, which this Dowse asks"
            " with; export it with the same version of Dowse, or index the folder here"
        )
    cache = store.cache(retriever) if retriever is not None and retriever.fingerprint == head.retriever else None
    made_with = head.made_with | {"format": str(store.format_version), "root": store.mark_of(root)}
    n = 0
    with store.writing(IMPORT_WAIT_S) as writer:
        writer.reset(made_with)
        files = _files(file)
        while some := list(islice(files, FILES_AT_ONCE)):
            writer.apply([one for one, _ in some])
            n += sum(len(one.spans) for one, _ in some)
            if cache is not None:
                for one, rows in some:
                    known = rows.any(axis=1)
                    cache.add(one.hashes[known], unpack(rows[known]))
        writer.finish(made_with)
    if cache is not None and head.is_filled and not len(cache.missing(store.hashes())):  # some may not have been kept
        cache.settle(store.hashes())
    return n


def _record(file: IndexedFile) -> dict[str, Any]:
    record: dict[str, Any] = {"path": file.path, "stat": file.stat, "hash": file.content_hash}
    record |= {"language": file.language, "skipped": file.skipped}
    return record | {"spans": file.spans, "texts": file.texts, "embeddings": _coded(file.packed)}


def _file(record: dict[str, Any]) -> IndexedFile:
    spans, texts = [Span(*span) for span in record["spans"]], record["texts"]
    return IndexedFile(
        record["path"],
        Stat(*record["stat"]),
        record["hash"],
        record["language"],
        record["skipped"],
        spans,
        texts,
        [stemmed(words(text)) for text in texts],
        _decoded(record["embeddings"], len(spans)),
    )


def _coded(rows: NDArray[np.int8]) -> str:
    return base64.b64encode(rows.tobytes()).decode()


def _decoded(coded: str, n: int) -> NDArray[np.int8]:
    return np.frombuffer(base64.b64decode(coded), np.int8).reshape(n, -1 if n else 0)


def _files(file: Path) -> Iterator[tuple[IndexedFile, NDArray[np.int8]]]:
    """Yield what the lines between the first and the last hold: files, and a bi-encoder's rows for their documents."""
    with _said(file), gzip.open(file) as lines:
        next(lines)
        for line in lines:
            record = json.loads(line)
            if "sha256" not in record:
                yield _file(record), _decoded(record.get("retriever", ""), len(record["spans"]))


def _begun(line: bytes) -> dict[str, Any]:
    head = json.loads(line)
    if not isinstance(head, dict) or head.get("dowse") != "index":
        raise ValueError("its first line is another's")
    if head.get("format") != FORMAT:
        raise ValueError(f"its format is {head.get('format')}, expected {FORMAT}")
    return head


@contextmanager
def _said(file: Path) -> Iterator[None]:
    """Say in one sentence why a file cannot be taken in."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise DataError(
            f"{file} is no exported index, or damaged ({error}); make it with: dowse index FOLDER --export {file.name}"
        ) from error
