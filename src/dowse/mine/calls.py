"""Step 1 of 7, mine: what stands around a call in the text of its function, and around the functions in their file.

The syntax tree says which names a function calls; this module says what each is called on, what type that is declared
to have, and what a file imports. It reads text by patterns that all languages share, so that a language costs no code;
the call graph decides what to make of it. Reads and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dowse.mine.functions import Function

MADE = "new"
"""The receiver of what is constructed by `new`."""

_GLOBAL = "::"
"""The receiver of what is expressly nobody's."""

_WITHOUT_BRACKETS = frozenset({"ruby", "scala", "elixir", "haskell", "lua", "bash", "sql"})
"""Languages whose calls need no bracket after the name."""

_NAME = re.compile(r"[A-Za-z_$][\w$]*[!?]?")
_OPENS = re.compile(r"\s*(?:[({!`]|<[\w\s,.:<>\[\]?&*']*>\s*[({]|::<|\[[\w\s,.*\[\]]*\]\()")
_RECEIVER = re.compile(r"(?P<word>[\w$@]+)?(?P<closed>[)\]}>\"'`])?\s*[?!&]{0,2}\s*(?:\.|->|::)\s*$")
_STATEMENT = re.compile(
    r"^[ \t]*(?:(?:import|from|use|using|pub use)\b[^\n;({]*(?:\([^)]*\)|\{[^}]*\})?[^\n;]*"
    r"|export\b[^\n(={]*(?:\{[^}]*\})?\s*from\b[^\n]*|#[ \t]*include[^\n]*"
    r"|require(?:_relative|_once)?\b[^\n]*|(?:const|let|var)\b[^\n]*\brequire\([^\n]*)",
    re.MULTILINE,
)
_WORD = re.compile(r"\w+")
_TYPE = re.compile(r"\b_*[A-Z]\w*")
_CALLED_BEFORE = re.compile(r"([A-Z]\w*)\([^()]*\)\s*[?!&]{0,2}\s*(?:\.|->)\s*$")
_DECLARED = re.compile(
    r"\b([A-Z]\w*)(?:<[^<>\n]*>)?[\s*&]+(\w+)\b"  # Type name
    r"|(?<![\w.])(\w+)\s*:\s*(?:&|mut\s|\*|dyn\s)*(?:\w+(?:\.|::))*([A-Z]\w*)"  # name: Type
    r"|(?<![\w.])(\w+)\s+\*?(?:\w+\.)*([A-Z]\w*)\s*[,)]"  # name Type
    r"|(?<![\w.])(\w+)\s*:?=\s*(?:new\s+|&)?(?:\w+(?:\.|::))*([A-Z]\w*)(?:\(|\{|\.new\b|::new\b)"  # name = Type(
)
_PARAMETER = re.compile(r"(?<![\w.])(\w+)\b(?!\s*\()")
_BOUND = re.compile(
    r"(?<![\w.])(\w+)\s*:?=(?!=)|\b(?:def|fn|fun|func|function|let|const|var|val|for)\s+(?:mut\s+)?(\w+)"
)
_LOOP = re.compile(r"\bfor\b([^\n]*)\bin\b")
_MADE = re.compile(r"\bnew\s+(?:\w+(?:\.|::|\\))*$")

MAX_IMPORT_BYTES = 40_000
"""Imports stand at the head of a file; so much of it is looked at."""


MAX_HEAD_CHARS = 2_000
"""Where the parameters of a function are sought."""


class FileFacts(NamedTuple):
    """What of a file lies outside its functions."""

    imports: tuple[frozenset[str], ...] = ()
    """The words of each import statement."""
    mentions: frozenset[str] = frozenset()
    """Capitalised words anywhere in it, as types are."""


def facts_of(source: bytes) -> FileFacts:
    """Return what a file imports and mentions, in whatever language it is.

    >>> facts = facts_of(b"import os.path as p\\nfrom .a import (b,\\n  c)\\nx = Stack()")
    >>> [sorted(words) for words in facts.imports], sorted(facts.mentions)
    ([['as', 'import', 'os', 'p', 'path'], ['a', 'b', 'c', 'from', 'import']], ['Stack'])
    """
    text = source.decode("utf-8", "replace")
    statements = _STATEMENT.finditer(text, 0, MAX_IMPORT_BYTES)
    return FileFacts(tuple(frozenset(_WORD.findall(match[0])) for match in statements), frozenset(_TYPE.findall(text)))


def calls_of(function: Function) -> Iterator[tuple[str, str | None]]:
    """Yield (name, receiver) of the calls of a function; which names are called, the syntax tree has said."""
    called = {name.rpartition(".")[2] for name in function.calls}
    own = function.symbol.rpartition(".")[2]
    text = function.text_without_comments
    needs_bracket = function.language not in _WITHOUT_BRACKETS
    for match in _NAME.finditer(text):
        name = match[0] if match[0] in called else match[0].rstrip("!?")
        if name == own:
            own = ""  # the definition itself
            continue
        if name in called and not (needs_bracket and not _OPENS.match(text, match.start() + len(name))):
            receiver = _receiver(text, match.start())
            if receiver != _GLOBAL:
                yield name, receiver


def _receiver(text: str, start: int) -> str | None:
    """Return what a name is called on: a word, "" for an expression, `MADE`, `_GLOBAL`, or None without a dot."""
    head = text[max(0, start - 80) : start]
    if head.endswith("@"):
        return "@"
    if not head.rstrip().endswith((".", "->", "::")):
        return MADE if _MADE.search(head) else None
    before = _RECEIVER.search(head)
    if before is None:
        return None
    if _MADE.search(head):
        return MADE
    if before["closed"]:
        made = _CALLED_BEFORE.search(head)
        return made[1] if made else ""
    return before["word"] or (_GLOBAL if "::" in before[0] else "")


def types_of(function: Function) -> dict[str, str]:
    """Return the types that a function's text gives to variables and parameters, in the notations of all languages."""
    types: dict[str, str] = {}
    for match in _DECLARED.finditer(function.text_without_comments):
        first, second, *others = match.groups()
        name, given = (second, first) if first else (found for found in others if found)
        types.setdefault(name, given)
    return types


def locals_of(function: Function) -> frozenset[str]:
    """Return the names that mean parameters, variables or inner functions rather than functions of the file."""
    text = function.text_without_comments
    own = re.escape(function.symbol.rpartition(".")[2])
    head = re.search(rf"{own}[^(]*\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text[:MAX_HEAD_CHARS])
    names = set(_PARAMETER.findall(head[1])) if head else set()
    body = text.partition("\n")[2]
    names.update(name for found in _BOUND.findall(body) for name in found)
    names.update(name for found in _LOOP.findall(body) for name in _WORD.findall(found))
    return frozenset(names)
