"""Step 7 of 7, serve: the lines of a document with their syntax marked, and which of them hold a query's words.

The marks are Pygments' short classes, one HTML string a line, whose text is the line's own, escaped: characters that
reorder or hide text are left for whoever shows the lines to make visible.
"""

from __future__ import annotations

import html
from functools import lru_cache
from typing import TYPE_CHECKING

from dowse.errors import MissingExtraError
from dowse.languages.terms import query_terms, terms
from dowse.serve.display import LEXERS

if TYPE_CHECKING:
    from pygments.lexer import Lexer  # type: ignore[import-untyped]

try:
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
    from pygments.token import STANDARD_TYPES  # type: ignore[import-untyped]
    from pygments.util import ClassNotFound  # type: ignore[import-untyped]
except ImportError as error:
    raise MissingExtraError("highlighting", "serve") from error


@lru_cache(1_000)
def lines_as_html(text: str, language: str) -> list[str]:
    """Return each line of a document as HTML; those of recent answers are remembered."""
    return as_html(text, language)


@lru_cache(8)
def file_as_html(text: str, language: str) -> list[str]:
    """Return each line of a file as HTML; a few are remembered, as a reader asks for more and more around a hit."""
    return as_html(text, language)


def as_html(text: str, language: str) -> list[str]:
    """Return each line of a text as HTML, only escaped where the language has no lexer.

    >>> as_html("return 1 < 2", "python")
    ['<span class="k">return</span> <span class="mi">1</span> <span class="o">&lt;</span> <span class="mi">2</span>']
    """
    # a method of a PHP file stands there without the tag that begins the code; other lexers know no such option
    lexer = _lexer(language, "<?" not in text)
    tokens = [] if lexer is None else list(lexer.get_tokens(text))
    if "".join(value for _, value in tokens) != text:  # some characters a lexer takes for others, such as a lone \r
        return [html.escape(line) for line in text.split("\n")]
    lines = [""]
    for kind, value in tokens:
        while kind not in STANDARD_TYPES:  # a lexer's own refinements have no short class
            kind = kind.parent
        for number, piece in enumerate(value.split("\n")):
            if number:
                lines.append("")
            if piece and (name := STANDARD_TYPES[kind]):
                lines[-1] += f'<span class="{name}">{html.escape(piece)}</span>'
            else:
                lines[-1] += html.escape(piece)
    return lines


def matching_lines(text: str, first_line: int, query: str, literal: bool = False) -> list[int]:
    """Return the numbers of the lines that hold a word of the query, or the whole of it where it is meant literally.

    >>> matching_lines("def upload(path):\\n    retryUpload(path)", 7, "retry it")
    [8]
    """
    if literal:
        found: set[int] = set()
        at = text.find(query)
        while at >= 0 and query:
            line = first_line + text.count("\n", 0, at)
            found.update(range(line, line + query.count("\n") + 1))
            at = text.find(query, at + 1)
        return sorted(found)
    wanted = frozenset(query_terms(query))
    return [first_line + at for at, line in enumerate(text.split("\n")) if not wanted.isdisjoint(terms(line))]


@lru_cache(64)
def _lexer(language: str, is_inside: bool) -> Lexer | None:
    try:
        return get_lexer_by_name(LEXERS.get(language, language), stripnl=False, ensurenl=False, startinline=is_inside)
    except ClassNotFound:
        return None
