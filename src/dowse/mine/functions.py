"""Step 1 of 7, mine: one source file → its functions, or its classes, with their documentation, code and names called.

Reads source text through the tables of `dowse.languages`, so every language is the same work. Left out: functions
inside functions (they belong to the text of the outer one) and declarations without a body, which say what something
is called and not what it does. Of a class the beginning is kept: its methods are functions of their own, and what it is
shows in its fields and the first of them. One query over the syntax tree finds all comments and calls of a file at
once; it runs inside tree-sitter, ten times as fast as a walk in Python.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from dowse.languages.definitions import Definition, outline, rows_of
from dowse.languages.language import Language
from dowse.languages.parsing import kind_of, name_of, parse
from dowse.mine.prose import doc_text, first_paragraph

if TYPE_CHECKING:
    from tree_sitter import Language as Grammar
    from tree_sitter import Node, Query, Tree

MAX_BLANK_ROWS = 1
"""A comment marked as documentation counts although one blank row follows it; an ordinary comment must touch."""

MAX_CLASS_CHARS = 4_000
"""Of a class's text; half of what is kept of a function (`dowse.mine.filter.Limits`)."""

FUNCTIONS = frozenset({"function", "method"})
CLASSES = frozenset({"class"})
"""Kinds of definitions, as `dowse.languages.definitions` calls them."""

_BODIES = ("body", "match", "expression")
_BODY_TYPES = ("body", "block")
_BETWEEN_WORDS = re.compile(r"(?<=\w)\0(?=\w)")
_SPACE = re.compile(rb"\s+")


@dataclass(frozen=True, slots=True)
class Function:
    """One function, method or class of a file; lines count from 1, both ends and the comments above it included.

    `docstring` is the first paragraph of the documentation as plain prose, "" where there is none; `symbol` is
    qualified ("Stack.push"), "" for what has no name; `calls` are the names called, in order and with repetitions, at
    most two words each ("self.push"); `code_hash` stands for the code without comments, white space and decorators.
    """

    repository: str
    path: str
    start_line: int
    end_line: int
    language: str
    symbol: str
    kind: str
    docstring: str
    text: str
    text_without_comments: str
    calls: tuple[str, ...]
    code_hash: str


class _Comment(NamedTuple):
    """Where a comment lies, its line break left out."""

    start: int
    end: int
    is_docstring: bool


class _File:
    """A parsed file: its bytes, its rows, and where its comments and calls are."""

    def __init__(self, source: bytes, language: Language, tree: Tree, rows: tuple[int, int]) -> None:
        self.source = source
        self.language = language
        self.starts = [0, *accumulate(len(line) + 1 for line in source.split(b"\n"))]
        found = _captures(tree, language, self.span(*rows))
        self.comments = sorted(self._comment(node, False) for node in found.get("comment", ()))
        self.comments = sorted(self.comments + [self._comment(node, True) for node in found.get("docstring", ())])
        self.calls = sorted(found.get("call", ()), key=lambda node: (node.start_byte, -node.end_byte))
        self.call_starts = [node.start_byte for node in self.calls]
        self.comment_starts = [comment.start for comment in self.comments]

    def _comment(self, node: Node, is_docstring: bool) -> _Comment:
        end = node.end_byte
        while end > node.start_byte and self.source[end - 1] in b"\r\n":
            end -= 1
        return _Comment(node.start_byte, end, is_docstring)

    def row_of(self, offset: int) -> int:
        """Return the row that holds a byte."""
        return bisect_right(self.starts, offset) - 1

    def span(self, first_row: int, last_row: int) -> tuple[int, int]:
        """Return the bytes of some rows, without the last line break."""
        end = self.starts[last_row + 1] if last_row + 1 < len(self.starts) else len(self.source)
        end = min(end, len(self.source))
        return self.starts[first_row], end - 1 if self.source[end - 1 : end] == b"\n" else end

    def comments_in(self, start: int, end: int) -> list[_Comment]:
        """Return the comments that begin within some bytes."""
        return self.comments[bisect_left(self.comment_starts, start) : bisect_left(self.comment_starts, end)]

    def text(self, start: int, end: int) -> str:
        """Return some bytes as text."""
        return self.source[start:end].decode("utf-8", "replace")

    def calls_in(self, start: int, end: int) -> tuple[str, ...]:
        """Return the names called within some bytes."""
        language = self.language
        nodes = self.calls[bisect_left(self.call_starts, start) : bisect_left(self.call_starts, end)]
        if language.keyed:
            defines = language.functions | language.classes
            nodes = [node for node in nodes if kind_of(node, self.source, language) not in defines]
        return tuple(name for node in nodes if (name := name_of(node, self.source, language)))


def functions_of(
    path: str,
    source: str | bytes,
    language: Language,
    repository: str = "",
    wanted: Callable[[list[bytes]], bool] | None = None,
    kinds: frozenset[str] = FUNCTIONS,
) -> list[Function]:
    """Return the functions of a file in order, or its definitions of other kinds.

    Args:
        kinds: Of `FUNCTIONS` and `CLASSES`.
        wanted: Asked with the lines of a function, comments above included; reading fewer functions is less work.

    Raises:
        DataError: The file kept its grammar busy for too long, or the language has none.

    >>> from dowse.languages import LANGUAGES
    >>> [found] = functions_of("a.go", "// Up counts up.\\nfunc Up(n int) int { return add(n, 1) }", LANGUAGES["go"])
    >>> found.symbol, found.docstring, found.calls
    ('Up', 'Up counts up.', ('add',))
    """
    data = source.encode("utf-8", "replace") if isinstance(source, str) else source
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    tree = parse(data, language)
    found = [one for one in outline(tree.root_node, data, language).definitions if one.kind in kinds]
    found = [one for one in found if one.kind in CLASSES or _has_body(one, language)]
    if wanted is not None:
        lines = data.split(b"\n")
        found = [one for one in found if wanted(lines[one.first_row : one.last_row + 1])]
    if not found:
        return []
    file = _File(data, language, tree, (found[0].first_row, max(one.last_row for one in found)))
    return [_function(file, entry, path, repository) for entry in found]


def normalised_hash(code: bytes) -> str:
    """Return the hash of code whose comments are gone already, white space left out of account."""
    return hashlib.blake2b(_SPACE.sub(b"", code), digest_size=12).hexdigest()


def _function(file: _File, entry: Definition, path: str, repository: str) -> Function:
    start, end = file.span(entry.first_row, entry.last_row)
    inside = file.comments_in(start, end)
    node_start = entry.node.start_byte
    # Several equations may make one definition, and some grammars count what follows a definition to its node.
    code_end = entry.node.end_byte if rows_of(entry.node)[1] == entry.last_row else end
    own = [comment for comment in inside if node_start <= comment.start < code_end]
    code = _cut(file.source, node_start, code_end, own, b"")
    bare = _cut(file.source, start, end, inside, b"\0").decode("utf-8", "replace")
    text = _dedent(file.text(start, end).split("\n"))
    text_without_comments = _without_marks(bare) if inside else _dedent(bare.split("\n"))
    if entry.kind in CLASSES:
        text, text_without_comments = _beginning(text), _beginning(text_without_comments)
    return Function(
        repository=repository,
        path=path,
        start_line=entry.first_row + 1,
        end_line=entry.last_row + 1,
        language=file.language.name,
        symbol=entry.symbol or "",
        kind=entry.kind,
        docstring=_docstring(file, entry, inside),
        text=text,
        text_without_comments=text_without_comments,
        calls=file.calls_in(node_start, code_end),
        code_hash=normalised_hash(code),
    )


def _docstring(file: _File, entry: Definition, comments: list[_Comment]) -> str:
    """Return the documentation of a definition as prose."""
    if file.language.docstrings:
        body = entry.node.child_by_field_name("body")
        first = body.named_child(0) if body is not None and body.named_child_count else None
        while first is not None and first.type in file.language.comments:
            first = first.next_named_sibling
        said = [c for c in comments if c.is_docstring and first is not None and c.start == first.start_byte]
        return first_paragraph(doc_text([file.text(said[0].start, said[0].end)])) if said else ""
    above = [file.text(c.start, c.end) for c in _documenting(file, entry, comments)]
    return first_paragraph(doc_text(above)) if above else ""


def _documenting(file: _File, entry: Definition, comments: list[_Comment]) -> list[_Comment]:
    """Return the comments above a definition that document it: the nearest block, or the nearest run of lines."""
    openers = file.language.doc_comments
    above = [c for c in comments if c.end <= entry.node.start_byte]
    if openers:
        above = [c for c in above if file.source.startswith(tuple(map(str.encode, openers)), c.start)]
    run: list[_Comment] = []
    below = file.row_of(entry.node.start_byte)
    for comment in reversed(above):
        last = file.row_of(max(comment.end - 1, comment.start))
        between = file.source[file.starts[last + 1] : file.starts[below]].split(b"\n")[:-1] if last + 1 < below else []
        allowed = MAX_BLANK_ROWS if openers and not run else 0
        if sum(not line.strip() for line in between) > allowed or (run and between):
            break
        if not _opens_line(file, comment):
            break
        is_block = not file.source.startswith((b"//", b"#", b"--"), comment.start)
        if is_block and run:
            break
        run.insert(0, comment)
        if is_block:
            break
        below = file.row_of(comment.start)
    return run


def _opens_line(file: _File, comment: _Comment) -> bool:
    """Whether nothing but space stands before a comment in its row: others belong to the code beside them."""
    return not file.source[file.starts[file.row_of(comment.start)] : comment.start].strip()


def _cut(source: bytes, start: int, end: int, comments: list[_Comment], mark: bytes) -> bytes:
    """Return some bytes without the comments, a mark in place of each."""
    pieces = []
    for comment in comments:
        if comment.start >= start:
            pieces += [source[start : comment.start], mark]
            start = max(start, comment.end)
    return b"".join([*pieces, source[start:end]])


def _without_marks(text: str) -> str:
    """Remove the marks of cut comments, and the lines that held nothing else."""
    lines = []
    for line in _BETWEEN_WORDS.sub(" ", text).split("\n"):
        kept = line.replace("\0", "").rstrip() if "\0" in line else line
        if kept.strip() or kept is line:
            lines.append(kept)
    while lines and not lines[0].strip():
        del lines[0]
    return _dedent(lines)


def _beginning(text: str) -> str:
    """Return as many whole lines of a class as `MAX_CLASS_CHARS` hold."""
    return text if len(text) <= MAX_CLASS_CHARS else text[:MAX_CLASS_CHARS].rpartition("\n")[0]


def _dedent(lines: list[str]) -> str:
    """Remove the indentation that all lines share, as counted in their first characters."""
    margin: str | None = None
    for line in lines:
        if line and not line.isspace():
            indent = line[: len(line) - len(line.lstrip(" \t"))]
            if margin is None or margin.startswith(indent):
                margin = indent
            elif not indent.startswith(margin):
                margin = _shared(margin, indent)
        if margin == "":
            return "\n".join(lines)
    width = len(margin or "")
    return "\n".join(line[width:] if not line.isspace() else "" for line in lines)


def _shared(first: str, second: str) -> str:
    length = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    return first[:length]


def _has_body(entry: Definition, language: Language) -> bool:
    """Whether a function is more than declared."""
    node = entry.node
    if node.type in language.bindings or node.type in language.properties:
        return True
    if any(node.child_by_field_name(name) is not None for name in _BODIES):
        return True
    return any(child.type.endswith(_BODY_TYPES) for child in node.named_children)


def _captures(tree: Tree, language: Language, span: tuple[int, int]) -> dict[str, list[Node]]:
    """Return the comments, docstrings and calls within some bytes of a file."""
    from tree_sitter import QueryCursor

    cursor = QueryCursor(_query(tree.language, language))
    cursor.set_byte_range(*span)
    return cursor.captures(tree.root_node)


@cache
def _query(grammar: Grammar, language: Language) -> Query:
    from tree_sitter import Query

    def listed(kinds: frozenset[str]) -> str:
        return " ".join(f"({kind})" for kind in sorted(kinds) if grammar.id_for_node_kind(kind, True) is not None)

    pattern = f"[{listed(language.comments)}] @comment [{listed(language.calls)}] @call"
    if language.docstrings:
        pattern += " (expression_statement . (string) .) @docstring"
    return Query(grammar, pattern)
