"""Step 5 of 7, index: one file of the tree → its text, or the reason why it is not worth indexing.

Reads a file once, as a whole; leaves out what no person wrote or reads: binary, minified and generated files.
Line ends and everything else stay as they are, so that line numbers and text are the file's own; only a byte order
mark is dropped.

Encodings, in this order: a byte order mark (UTF-8, UTF-16, UTF-32); a NUL byte means binary; UTF-8; the encoding that a
comment in the first two lines declares, if it is one of `DECLARABLE`; else, if no byte is a control character that text
does not use, Windows-1252, or Latin-1 where a byte has no meaning in that. In the last case letters beyond ASCII may
come out wrong, but code, which is ASCII nearly everywhere, does not.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from dowse.config import IndexSettings
from dowse.index.ignore import open_regular
from dowse.index.scan import Stat
from dowse.index.secrets import secrets_in
from dowse.languages import language_of

READ_ATTEMPTS = 3
"""A file that changes under every one of so many readings is being written; the next scan sees it again."""
LONG_LINE_CHARS = 2_000
"""Nobody writes such lines; one may hold data, but a file that is mostly made of them is a bundler's output."""
MEAN_LINE_CHARS = 200
"""Code is written at 30 to 50 a line; minifiers that wrap their output do so at 500 and more."""
MINIFIED_MIN_CHARS = 2_000
"""A shorter file is not judged by its lines: a one-line configuration is not minified."""
HEADER_LINES = 40
"""A generator names itself at the top, at most a licence text and a docstring later."""
HEADER_LINE_CHARS = 500
DECLARABLE = frozenset(
    {"big5", "cp1250", "cp1251", "cp1252", "cp932", "cp949", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk",
     "iso8859-1", "iso8859-15", "iso8859-2", "iso8859-5", "koi8-r", "shift_jis"}
)  # fmt: skip
"""Encodings that source files still declare, under Python's names."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose little-endian mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARATION = re.compile(rb"\A(?:[^\n]*\n)?[^\n]*coding[:=][ \t]*([-\w.]+)")
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0e-\x19\x1c-\x1f\x7f]")  # 1a ends DOS files, 1b begins terminal colours
_GENERATED = re.compile(
    r"^[ \t]*(?://|#|/\*|\*|--|;|%|<!--|\(\*|\"\"\")"  # only a comment speaks about its own file
    r"(?:.*@generated\b|.*<auto-?generated\b"
    r"|.*generated\b.*\bdo not (?:edit|modify)\b|.*\bdo not (?:edit|modify)\b.*generated\b"
    r"|(?:.*\bfile (?:is|was))?\W*auto(?:matically)?[- ]?generated (?:by|from|using)\b)",
    re.IGNORECASE | re.MULTILINE,
)
"""Other words than in `mine.filter`, which can do without a pair: a file that is left out here is never found."""


@dataclass(frozen=True)
class Source:
    """The text of one file as it was at one moment."""

    text: str
    content_hash: str
    """BLAKE2b of the file's bytes, 32 hexadecimal digits."""
    stat: Stat
    """The file's stat while it was read. Its `ctime_ns` is 0, which no scan finds, where the file had changed so
    recently that another change could leave the same stat: the next scan then sees a changed file, as it must."""


@dataclass(frozen=True)
class Skip:
    """Why a file is not indexed, and the stat under which that holds, None if it may change without notice."""

    reason: str
    stat: Stat | None = None


def read(root: Path, path: str, settings: IndexSettings) -> Source | Skip:
    """Read the file at `path`, relative to `root`, or say why not."""
    try:
        whole = _read_whole(f"{root}/{path}", settings.max_file_bytes)
    except OSError as error:
        known = {
            errno.ENOENT: "vanished",
            errno.ENOTDIR: "vanished",
            errno.ELOOP: "symlink",
            errno.ENXIO: "special file",
        }
        return Skip(known.get(error.errno or 0) or f"unreadable: {error.strerror}")
    if isinstance(whole, Skip):
        return whole
    data, stat = whole
    text = decode(data)
    if isinstance(text, Skip):
        return Skip(text.reason, stat)
    reason = _refusal(path, text, settings)
    if reason:
        return Skip(reason, stat)
    return Source(text, hashlib.blake2b(data, digest_size=16).hexdigest(), stat)


def _read_whole(path: str, max_bytes: int) -> tuple[bytes, Stat] | Skip:
    """Return the file's bytes and the stat that it had before, while and after they were read."""
    for _ in range(READ_ATTEMPTS):
        with open_regular(path) as stream:
            looked_ns = time.time_ns()
            stat = Stat.of(os.fstat(stream.fileno()))
            if stat.size > max_bytes:
                return Skip("too large", stat)
            data = b""
            while part := stream.read(stat.size + 1 - len(data)):
                data += part
            if len(data) == stat.size and Stat.of(os.fstat(stream.fileno())) == stat:
                return data, stat if stat.settled_at(looked_ns) else stat._replace(ctime_ns=0)
    return Skip("changing while read")


def decode(data: bytes) -> str | Skip:
    """Return the text, or Skip("binary") or Skip("not text")."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                text = data[len(mark) :].decode(encoding)
            except UnicodeDecodeError:
                return Skip("not text")
            return Skip("binary") if "\0" in text else text
    if b"\0" in data:
        return Skip("binary")
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    if _NOT_TEXT.search(data):
        return Skip("not text")
    for encoding in (*_declared(data), "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _declared(data: bytes) -> tuple[str, ...]:
    """Return the encoding that the first two lines declare, if it is known and not UTF-8."""
    match = _DECLARATION.match(data[:1_000])
    if not match:
        return ()
    try:
        name = codecs.lookup(match[1].decode("ascii", "replace")).name
    except LookupError:
        return ()
    return (name,) if name in DECLARABLE else ()


def _refusal(path: str, text: str, settings: IndexSettings) -> str | None:
    """Return why the text is not worth indexing, or None."""
    language = language_of(path, text[:200].partition("\n")[0])
    is_code = language is not None and language.is_code
    if not is_code and not settings.include_text:
        return "not code"
    if not text.strip():
        return "empty"
    lines = text.split("\n")
    if len(text) > MINIFIED_MIN_CHARS:
        in_long_lines = sum(length for length in map(len, lines) if length > LONG_LINE_CHARS)
        # Prose keeps a paragraph on one line, so that its mean says nothing.
        if in_long_lines > len(text) / 2 or (is_code and len(text) > MEAN_LINE_CHARS * len(lines)):
            return "minified"
    header = "\n".join(line[:HEADER_LINE_CHARS] for line in lines[:HEADER_LINES])
    if "generated" in header.lower() and _GENERATED.search(header):
        return "generated"
    return "holds a secret" if settings.leave_out_secrets and any(secrets_in(text)) else None
