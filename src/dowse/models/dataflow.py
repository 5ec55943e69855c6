"""Where the values in a function come from: source text → variables in order, and the edges between them.

GraphCodeBERT (Guo et al. 2021, arXiv:2009.08366) reads a function together with this graph. Reads text, writes nothing.
Its nodes are the occurrences of variables, and of literals where they are a value that something is given. Edges:

- *comes from*: an occurrence takes the value that earlier occurrences of the same name gave it or, where nothing did
  (a global, a field), the first occurrence's. Where paths of control meet there are several: after `if b > a: x = b`
  and `else: x = a`, `x` comes from both. Loops run twice, so that values of one round reach the next.
- *computed from*: what is assigned is computed from the variables and literals of its source.

Occurrences without an edge are no nodes. An assignment to a part (`a.b = v`, `a[i] = v`) gives `a` a new value, and so
does `x += y`; both come from the old value, too. Departs from the authors' own extraction, which takes every leaf of
the tree for a variable: names of functions that are called, of members, types and keyword arguments are none here; a
value does not flow past `return`, and `break` takes it to the end of its loop. Scopes inside a function are not told
apart, except that a closure's parameters are its own.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from dowse.errors import DataError
from dowse.languages import LANGUAGES, parse
from dowse.models.dataflow_tables import FLOW_TABLES
from dowse.models.dataflow_walk import Leaf, Walk

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

MAX_CHARS = 20_000
"""Of longer texts the beginning is read: no encoder sees more tokens than that."""

MAX_FAULTY = 0.1
"""A text is of no known language if every grammar stumbles over more than this share of it."""


_CUES = {
    "php": re.compile(r"\$\w"),
    "go": re.compile(r"\bfunc\b"),
    "python": re.compile(r":\s*(?:#.*)?$", re.MULTILINE),
    "ruby": re.compile(r"^\s*end\b", re.MULTILINE),
    "java": re.compile(r"\b(?:public|private|protected|static|void|final|int|long|boolean|String)\s+\w"),
    "javascript": re.compile(r"=>|\)\s*\{"),
}
"""What a function of each language has, from the most telling to the least. Grammars are slow on foreign code, and some
read nearly anything."""


class Variable(NamedTuple):
    """One node: a stretch of the text, in characters, the end not included."""

    start: int
    end: int
    name: str


class Edge(NamedTuple):
    """What one node takes its value from; numbers are positions in the list of variables, sources ascend."""

    target: int
    kind: str
    sources: tuple[int, ...]


class DataFlow(NamedTuple):
    """The graph of one text: variables as they stand in it, edges by target and kind."""

    variables: tuple[Variable, ...]
    edges: tuple[Edge, ...]


def data_flow(text: str, language: str) -> DataFlow:
    """Return the data flow of a function, without any node if it cannot be parsed in time.

    >>> flow = data_flow("def f(a):\\n    b = a\\n    return b", "python")
    >>> [variable.name for variable in flow.variables], [(edge.target, edge.kind, edge.sources) for edge in flow.edges]
    (['a', 'b', 'a', 'b'], [(1, 'computed from', (2,)), (2, 'comes from', (0,)), (3, 'comes from', (1,))])

    Args:
        text: A function or a few statements.
        language: A key of `FLOW_TABLES`.
    """
    table, wrappers = FLOW_TABLES[language], LANGUAGES[language].wrappers
    try:
        read = min((_Reading.of(text, language, wrapper) for wrapper in wrappers), key=lambda read: read.faulty)
    except DataError:
        return DataFlow((), ())
    walk = Walk(read.source, table)
    walk.evaluate(read.tree.root_node)
    return _graph(walk.edges, read.to_characters(), len(text))


def _graph(found: dict[tuple[Leaf, str], set[Leaf]], to_characters: list[int], length: int) -> DataFlow:
    """Number what lies in the text; of faulty source, the grammar may take words of the wrapper for variables."""
    everything = {leaf for (target, _), sources in found.items() for leaf in (target, *sources)}
    leaves = sorted(leaf for leaf in everything if to_characters[leaf.start] >= 0 and to_characters[leaf.end] <= length)
    rows = {leaf: row for row, leaf in enumerate(leaves)}
    edges = (
        Edge(rows[target], kind, tuple(sorted(rows[source] for source in sources if source in rows)))
        for (target, kind), sources in found.items()
        if target in rows
    )
    variables = (Variable(to_characters[start], to_characters[end], name) for start, end, name in leaves)
    return DataFlow(tuple(variables), tuple(sorted(edge for edge in edges if edge.sources)))


def recognise(text: str) -> str | None:
    """Return the language among the six whose grammar stumbles least over a function, or None if all of them do.

    >>> recognise("func half(n int) int { return n / 2 }"), recognise("fn half(n: u8) -> u8 { n / 2 }")
    ('go', None)
    """
    best, fewest = None, MAX_FAULTY * len(text[:MAX_CHARS].encode("utf-8", "replace"))
    for language in (name for name, cue in _CUES.items() if cue.search(text)):
        for wrapper in LANGUAGES[language].wrappers:
            try:
                faulty = _Reading.of(text, language, wrapper).faulty
            except DataError:
                continue
            if faulty == 0:
                return language
            if faulty < fewest:
                best, fewest = language, faulty
    return best


class _Reading(NamedTuple):
    """A text as one language's grammar reads it; offsets in the tree are bytes of the wrapped source."""

    source: bytes
    tree: Tree
    shift: int
    faulty: int
    """Bytes that the grammar could make nothing of."""

    @classmethod
    def of(cls, text: str, language: str, wrapper: tuple[str, str]) -> _Reading:
        before, after = wrapper
        source = f"{before}{text[:MAX_CHARS]}{after}".encode("utf-8", "replace")
        tree = parse(source, LANGUAGES[language])
        return cls(source, tree, len(before), _faulty_bytes(tree.root_node))

    def to_characters(self) -> list[int]:
        """Return for each byte of the source, and its end, the position in the text of the character it belongs to."""
        starts = (byte & 0xC0 != 0x80 for byte in self.source)
        return [-1 - self.shift + count for count in accumulate(starts)] + [len(self.source.decode()) - self.shift]


def _faulty_bytes(root: Node) -> int:
    faulty, waiting = 0, [root]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            faulty += max(1, node.end_byte - node.start_byte)
        elif node.has_error:
            waiting.extend(node.children)
    return faulty
