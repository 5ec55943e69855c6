"""Step 2 of 7, label: how alike two functions are in structure: the tree edit distance of their syntax trees.

The distance is the least number of nodes to insert, delete or relabel, divided by the nodes of both trees (OASIS,
Gao et al. 2025, arXiv:2503.08161), so 0 for equal structure and near 1 for nothing in common. A tree's nodes are
the grammar's named ones, comments aside, and their labels the node types: names and literals do not count.

Exact distances are dear: `apted` takes 10 to 14 microseconds for each pair of nodes, 0.1 s for two functions of 100
nodes. The edit distance of the trees' node sequences, in preorder or in postorder, is never larger and takes
`rapidfuzz` 10 to 20 microseconds in all, so it decides first: under the cut-off of 0.2 it leaves 0.3 to 7 % of random
pairs of one repository to the exact one. Pairs whose product of sizes is beyond `MAX_NODE_PAIRS` are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dowse.cluster import Cluster
from dowse.errors import DataError, MissingExtraError
from dowse.languages import LANGUAGES, parse
from dowse.mine.processes import Submit, working

try:
    from apted import APTED, Config  # type: ignore[import-untyped]
    from rapidfuzz.distance import Levenshtein
except ImportError as error:
    raise MissingExtraError("dowse label", "data") from error

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_NODES = 2000
"""Larger trees are not even kept; functions of people have 60 to 200 nodes, one in a hundred more than 900."""

MAX_NODE_PAIRS = 160_000
"""Two trees of 400 nodes take about 2 s; the largest that pays."""

MIN_NODES = 8
"""Smaller trees are alike because there is nothing to differ in, or because the grammar could not read the fragment."""

_SHAPES_AT_ONCE, _PAIRS_AT_ONCE = 64, 64
_WORTH_A_POOL = 512
"""Fewer functions or pairs are compared in this process: starting another takes half a second."""


class Shape(NamedTuple):
    """A syntax tree without its words: node types in preorder and postorder, a character each, and subtree sizes."""

    preorder: str
    postorder: str
    sizes: tuple[int, ...]


class Distance(NamedTuple):
    """What came of one comparison: the distance if it is within the cut-off, and how it was decided."""

    value: float | None
    decided: str
    """"bound", "exact", "too large", or "nothing to compare"."""


class Trees:
    """Compares functions on all cores, or on a cluster; a context manager, since it may start processes."""

    def __init__(self, workers: int, cluster: Cluster | None = None) -> None:
        self._workers, self._cluster = workers, cluster
        self._submit: Submit | None = None
        self._started = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._started.__exit__(*error)

    def shapes(self, functions: Sequence[tuple[str, str]]) -> list[Shape | None]:
        """Return the shape of each (language, text); None where there is none to compare."""
        return self._spread(_shapes, functions, _SHAPES_AT_ONCE)

    def distances(self, pairs: Sequence[tuple[Shape | None, Shape | None]], cutoff: float) -> list[Distance]:
        """Compare pairs of shapes of one language each."""
        return self._spread(_distances, [(*pair, cutoff) for pair in pairs], _PAIRS_AT_ONCE)

    def _spread(self, work: Any, items: Sequence[Any], at_once: int) -> list[Any]:
        if len(items) < _WORTH_A_POOL or (self._cluster is None and self._workers < 2):
            return list(work(items))
        groups = [items[start : start + at_once] for start in range(0, len(items), at_once)]
        if self._cluster is not None:
            return [found for group in self._cluster.map(work, groups) for found in group]
        if self._submit is None:
            self._submit = self._started.enter_context(working(self._workers, "comparing trees", "finished blocks"))
        futures = self._submit(work, [(group,) for group in groups])
        return [found for future in futures for found in future.result()]


def shape_of(language: str, text: str) -> Shape | None:
    """Return the shape of a function's syntax tree, None if it is too small, too large, or in no language known."""
    known = LANGUAGES.get(language)
    if known is None or not known.is_code:
        return None
    root: Node | None = None
    for before, after in known.wrappers:
        source = f"{before}{text.strip()}{after}".encode("utf-8", "replace")
        try:
            whole = parse(source, known).root_node
        except DataError:
            return None
        first, last = len(before.encode()), len(source) - len(after.encode())
        found = whole.named_descendant_for_byte_range(first, last)
        if root is None or not whole.has_error:
            root = found
        if not whole.has_error:
            break
    return None if root is None else _walk(root, known.comments)


def bound(left: Shape, right: Shape) -> int:
    """Return a number of edits below which the distance of two trees cannot be.

    An edit of a tree is one edit of its preorder and of its postorder sequence.
    """
    return max(
        Levenshtein.distance(left.preorder, right.preorder), Levenshtein.distance(left.postorder, right.postorder)
    )


def edit_distance(left: Shape, right: Shape) -> int:
    """Return the least number of nodes to insert, delete or relabel."""
    if left.preorder == right.preorder and left.sizes == right.sizes:
        return 0
    return int(APTED(_tree(left), _tree(right), _UnitCosts()).compute_edit_distance())


def compare(left: Shape | None, right: Shape | None, cutoff: float) -> Distance:
    """Return the distance over the nodes of both trees if it is at most the cut-off."""
    if left is None or right is None:
        return Distance(None, "nothing to compare")
    nodes = len(left.sizes) + len(right.sizes)
    if bound(left, right) > cutoff * nodes:
        return Distance(None, "bound")
    if len(left.sizes) * len(right.sizes) > MAX_NODE_PAIRS:
        return Distance(None, "too large")
    value = edit_distance(left, right) / nodes
    return Distance(value if value <= cutoff else None, "exact")


class _Tree:
    __slots__ = ("children", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.children: list[_Tree] = []


class _UnitCosts(Config):  # type: ignore[misc]
    """One for each edit; the library's own default."""

    def rename(self, node1: _Tree, node2: _Tree) -> int:
        return int(node1.name != node2.name)


def _tree(shape: Shape) -> _Tree:
    nodes = [_Tree(name) for name in shape.preorder]
    above: list[tuple[int, int]] = []  # (position, last position + 1) of the nodes around
    for position, size in enumerate(shape.sizes):
        while above and above[-1][1] <= position:
            above.pop()
        if above:
            nodes[above[-1][0]].children.append(nodes[position])
        above.append((position, position + size))
    return nodes[0]


def _walk(root: Node, comments: frozenset[str]) -> Shape | None:
    preorder: list[str] = []
    postorder: list[str] = []
    sizes: list[int] = []
    waiting: list[tuple[Node, int]] = [(root, -1)]
    while waiting:
        node, position = waiting.pop()
        if position >= 0:
            postorder.append(preorder[position])
            sizes[position] = len(preorder) - position
            continue
        if len(preorder) >= MAX_NODES:
            return None
        waiting.append((node, len(preorder)))
        preorder.append(chr(node.kind_id))
        sizes.append(1)
        waiting.extend((child, -1) for child in reversed(node.named_children) if child.type not in comments)
    return Shape("".join(preorder), "".join(postorder), tuple(sizes)) if len(preorder) >= MIN_NODES else None


def _shapes(functions: Sequence[tuple[str, str]]) -> list[Shape | None]:
    return [shape_of(language, text) for language, text in functions]


def _distances(pairs: Sequence[tuple[Shape | None, Shape | None, float]]) -> list[Distance]:
    return [compare(*pair) for pair in pairs]
