"""Step 5 of 7, index: where a long piece of a file may be cut, and how deep inside it each place is.

A border is a row at which something begins: a statement, an element, a paragraph. Cutting at the outermost borders
keeps together what belongs together. Comments stay with what they precede.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from dowse.languages import Language
from dowse.languages.definitions import rows_of

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH = 40
"""Borders deeper than this are no better than any line."""

_HEADING = re.compile(r"#{1,6}\s|=+\s|\[[^\]]+\]\s*$|<h[1-6]\b|---\s*$|FROM\s")


_BRACKETS = ("{", "}", ")", "]")


class Borders(NamedTuple):
    """Rows at which a part may begin."""

    depths: dict[int, int]
    rows: list[int]

    @classmethod
    def of(cls, depths: dict[int, int]) -> Borders:
        """Make borders of a depth per row."""
        return cls(depths, sorted(depths))

    def between(self, low: int, high: int) -> list[int]:
        """Return the borders in a range of rows, ends included."""
        return self.rows[bisect_left(self.rows, low) : bisect_right(self.rows, high)]


def inner_borders(nodes: list[Node], language: Language, lines: list[str], enter_bytes: int) -> Borders:
    """Return the rows at which a node or a part of one begins, unless that part opens or closes with a bracket.

    Args:
        nodes: Neighbours, for instance the statements between two functions.
        language: Its tables, for what a comment is.
        lines: The file's lines.
        enter_bytes: Nodes up to this size are not entered.
    """
    depths: dict[int, int] = {}
    leading = language.comments | language.leading
    level, depth = nodes, 0
    while level and depth < MAX_DEPTH:
        inner: list[Node] = []
        comment_row = -2
        for node in level:
            row, last = rows_of(node)
            may_begin = row > comment_row + 1 and row < len(lines)  # after a fault, some begin beyond the last line
            if may_begin and row not in depths and not lines[row].lstrip().startswith(_BRACKETS):
                depths[row] = depth
            comment_row = last if node.type in leading else -2
            if last > row and node.end_byte - node.start_byte > enter_bytes:
                inner.extend(node.named_children)
        level, depth = inner, depth + 1
    return Borders.of(depths)


def text_borders(lines: list[str]) -> Borders:
    """Return the rows of a text that look like headings, at depth 0, or follow a blank line, at depth 1."""
    depths: dict[int, int] = {}
    was_blank = False
    for row, line in enumerate(lines):
        is_blank = not line or line.isspace()
        if not is_blank and _HEADING.match(line):
            depths[row] = 0
        elif was_blank and not is_blank:
            depths[row] = 1
        was_blank = is_blank
    return Borders.of(depths)
