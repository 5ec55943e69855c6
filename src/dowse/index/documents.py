"""Step 5 of 7, index: the text of one file → the lines of its documents.

Code is cut where its grammar says that functions, methods and classes begin and end; other text is cut into windows of
lines. Spans are whole lines, in order, never overlap, and hold every line that is not blank exactly once: nothing of a
file is lost to search, nothing is found twice. It reads source text and writes nothing; reading files, choosing them
and storing documents are the index's business.

Why these sizes: the encoders read about 512 tokens, some 1,800 characters of code, of which the beginning weighs most;
below some 250 characters a document is too little to be told from others like it and too little to read as an answer.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import NamedTuple

from dowse.errors import DataError
from dowse.index.borders import Borders, inner_borders, text_borders
from dowse.languages import Language, parse
from dowse.languages.definitions import Definition, Outline, outline

MAX_CHARS = 1_800
"""A longer definition is split."""

WHOLE_CLASS_BYTES = 400
"""A class up to this size stays one document."""

TINY_CHARS = 250
"""Neighbours below this size are merged..."""

MERGED_CHARS = 800
"""...up to this size together."""

SCRAP_CHARS = 80
"""Lines between definitions below this size, such as a closing brace or `impl Stack {`, join a neighbour."""

TEXT_CHARS = 1_500
TEXT_LINES = 40
"""A window of text ends at whichever comes first."""


_CLOSING = re.compile(r"[\s)}\];,]*(?:#?(?:end|endif|fi|done|esac)\b.*)?$")
"""Lines that end what is before them."""


class Span(NamedTuple):
    """The lines of one document; they count from 1 and both ends belong to it."""

    start_line: int
    end_line: int
    symbol: str | None
    kind: str


class _Piece(NamedTuple):
    """A span in the making: rows from 0, and the classes it opens from (`outer`) and ends in (`inner`)."""

    first: int
    last: int
    symbol: str | None
    kind: str
    outer: int
    inner: int
    definition: Definition | None = None

    @property
    def is_gap(self) -> bool:
        """Whether this lies between definitions, or is the head of a class."""
        return self.definition is None


class _Lines:
    """The lines of a file, as editors and grammars count them: separated by line feeds only."""

    def __init__(self, source: str) -> None:
        self.lines = source.split("\n")
        self.ends = list(accumulate((len(line) + 1 for line in self.lines), initial=0))

    def size(self, first: int, last: int) -> int:
        """Return the characters of some rows, line breaks included."""
        return self.ends[last + 1] - self.ends[first]

    def trim(self, first: int, last: int) -> tuple[int, int]:
        """Leave out blank rows at both ends; the first row is after the last if all are blank."""
        lines = self.lines
        while first <= last and not lines[first].strip():
            first += 1
        while first < last and not lines[last].strip():
            last -= 1
        return first, last


def cut(source: str, language: Language | None) -> list[Span]:
    """Cut a file into documents.

    >>> from dowse.languages import LANGUAGES
    >>> cut("import os\\n\\n\\ndef cwd():\\n    return os.getcwd()\\n", LANGUAGES["python"])
    [Span(start_line=1, end_line=5, symbol='cwd', kind='function')]
    """
    source = source.replace("\r\n", "\n")
    lines = _Lines(source)
    if language is None or not language.is_code:
        return _windows(lines)
    data = source.encode("utf-8", "replace")
    try:
        tree = parse(data, language)
    except DataError:
        return _windows(lines)
    found = outline(tree.root_node, data, language, WHOLE_CLASS_BYTES, MAX_CHARS)
    starts = [statement.first_row for statement in found.statements]
    pieces = _join_scraps(_paint(found.definitions, lines), starts, lines)
    pieces = _merge_tiny(_split_long(pieces, found, starts, language, lines), lines)
    return [Span(piece.first + 1, piece.last + 1, piece.symbol, piece.kind) for piece in pieces]


def _windows(lines: _Lines) -> list[Span]:
    """Cut text without a grammar, at headings and blank lines where it can."""
    line_chars = TEXT_CHARS // TEXT_LINES
    ends = list(accumulate((max(len(line) + 1, line_chars) for line in lines.lines), initial=0))
    first, last = lines.trim(0, len(lines.lines) - 1)
    if first > last:
        return []
    parts = _split(first, last, ends, text_borders(lines.lines), TEXT_CHARS)
    return [Span(a + 1, b + 1, None, "text") for a, b in (lines.trim(*part) for part in parts) if a <= b]


def _paint(definitions: list[Definition], lines: _Lines) -> list[_Piece]:
    """Give every row to the innermost definition that holds it, and what is left to the class or file around it."""
    pieces: list[_Piece] = []
    cursor = 0
    heads: set[int] = set()
    scopes: list[int] = []

    def gap(until: int, scope: int) -> None:
        nonlocal cursor
        if until > cursor:
            first, last = lines.trim(cursor, until - 1)
            if first <= last:
                owner = definitions[scope] if scope >= 0 else None
                outer = owner.parent if owner and scope not in heads else scope
                heads.add(scope)
                symbol, kind = (owner.symbol, owner.kind) if owner else (None, "block")
                pieces.append(_Piece(first, last, symbol, kind, outer, scope))
            cursor = until

    for position, definition in enumerate(definitions):
        while scopes and scopes[-1] != definition.parent:
            scope = scopes.pop()
            gap(definitions[scope].last_row + 1, scope)
        gap(definition.first_row, definition.parent)
        if position + 1 < len(definitions) and definitions[position + 1].parent == position:
            scopes.append(position)
        elif definition.last_row >= cursor:
            first, last = lines.trim(cursor, definition.last_row)
            if first <= last:
                parent = definition.parent
                pieces.append(_Piece(first, last, definition.symbol, definition.kind, parent, parent, definition))
            cursor = definition.last_row + 1
    while scopes:
        scope = scopes.pop()
        gap(definitions[scope].last_row + 1, scope)
    gap(len(lines.lines), -1)
    return pieces


def _join_scraps(pieces: list[_Piece], starts: list[int], lines: _Lines) -> list[_Piece]:
    """Join what is too little to stand between definitions to the one before or after.

    Args:
        pieces: What `_paint` returned.
        starts: Rows at which statements begin: lines without any are comments, of which more counts as little.
        lines: The file's lines.
    """

    def is_scrap(piece: _Piece) -> bool:
        if not piece.is_gap or (size := lines.size(piece.first, piece.last)) >= TINY_CHARS:
            return False
        return size < SCRAP_CHARS or bisect_left(starts, piece.first) == bisect_right(starts, piece.last)

    joined: list[_Piece] = []
    waiting = False  # whether the last of `joined` is a scrap that the next piece may take in
    for piece in pieces:
        if waiting and piece.outer == joined[-1].inner:
            held = joined.pop()
            joined.append(piece._replace(first=held.first, outer=held.outer))
        else:
            if waiting:
                _join_back(joined)
            joined.append(piece)
            if len(joined) > 1 and piece.is_gap and piece.outer == piece.inner and not _give_closers(joined, lines):
                waiting = False
                continue
        waiting = is_scrap(joined[-1])
    if waiting:
        _join_back(joined)
    return joined


def _give_closers(pieces: list[_Piece], lines: _Lines) -> bool:
    """Move the closing lines with which the last piece begins to the one before; False if nothing is left of it."""
    before, piece = pieces[-2:]
    first = piece.first
    while first <= piece.last and _CLOSING.match(lines.lines[first]):
        first += 1
    if first > piece.first:
        left = [piece._replace(first=first)] if first <= piece.last else []
        pieces[-2:] = [before._replace(last=lines.trim(before.first, first - 1)[1]), *left]
        return bool(left)
    return True


def _join_back(pieces: list[_Piece]) -> None:
    """Join the last piece, a scrap that opens no class, to the one before if they touch or share a class."""
    if len(pieces) < 2 or pieces[-1].outer != pieces[-1].inner:
        return
    before, scrap = pieces[-2:]
    if scrap.first == before.last + 1 or scrap.outer == before.inner:
        pieces[-2:] = [before._replace(last=scrap.last)]


def _split_long(
    pieces: list[_Piece], found: Outline, starts: list[int], language: Language, lines: _Lines
) -> list[_Piece]:
    """Split pieces above MAX_CHARS into parts that keep their symbol and kind."""
    split: list[_Piece] = []
    for piece in pieces:
        if lines.size(piece.first, piece.last) <= MAX_CHARS:
            split.append(piece)
            continue
        if piece.definition is not None:
            nodes = [piece.definition.node]
        else:
            held = found.statements[bisect_left(starts, piece.first) : bisect_right(starts, piece.last)]
            nodes = [statement.node for statement in held]
        borders = inner_borders(nodes, language, lines.lines, MAX_CHARS // 4)
        for part in _split(piece.first, piece.last, lines.ends, borders, MAX_CHARS):
            first, last = lines.trim(*part)
            if first <= last:
                split.append(piece._replace(first=first, last=last))
    return split


def _split(first: int, last: int, ends: list[int], borders: Borders, limit: int) -> list[tuple[int, int]]:
    """Split rows into parts of about equal size up to `limit`, at the outermost borders near the ideal places.

    Args:
        first: First row.
        last: Last row.
        ends: Size of all rows before each row.
        borders: Rows where a part may begin, with their depth.
        limit: Size of a part, which only a single long line exceeds.
    """
    parts = []
    while (total := ends[last + 1] - ends[first]) > limit and first < last:
        ideal = total / -(-total // limit)
        base = ends[first]
        low = max(bisect_left(ends, base + ideal / 2), first + 1)
        high = min(bisect_right(ends, base + min(limit, ideal * 1.5)) - 1, last)
        near = borders.between(low, high)
        if near:
            start = min(near, key=lambda row: (borders.depths[row], abs(ends[row] - base - ideal)))
        else:
            start = min(max(bisect_right(ends, base + ideal) - 1, first + 1), last)
        parts.append((first, start - 1))
        first = start
    return [*parts, (first, last)]


def _merge_tiny(pieces: list[_Piece], lines: _Lines) -> list[_Piece]:
    """Merge neighbours of the same class or file that are tiny, a class's head included."""
    merged: list[_Piece] = []
    symbols: list[str] = []
    was_tiny = False
    for piece in pieces:
        is_tiny = lines.size(piece.first, piece.last) < TINY_CHARS
        before = merged[-1] if merged else None
        if (
            before is not None
            and was_tiny
            and is_tiny
            and before.inner == piece.outer == piece.inner
            and lines.size(before.first, piece.last) <= MERGED_CHARS
        ):
            if piece.symbol and piece.symbol not in symbols:
                symbols.append(piece.symbol)
            kind = piece.kind if before.kind == "block" else before.kind
            merged[-1] = before._replace(last=piece.last, symbol=", ".join(symbols) or None, kind=kind)
        else:
            merged.append(piece)
            symbols = [piece.symbol] if piece.symbol else []
        was_tiny = is_tiny
    return merged
