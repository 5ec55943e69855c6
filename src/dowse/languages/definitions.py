"""Where a file defines what: the functions, methods and classes of a syntax tree, found without entering functions.

The walk looks at the children of classes and of what the tables call transparent, never inside a function, and keeps
its own stack: source nested 200,000 deep must neither be slow nor exhaust the interpreter's.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from dowse.languages.language import Language
from dowse.languages.parsing import kind_of, name_of, qualify, resolve_name, take_step

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH = 60
"""Classes and transparent nodes entered into each other; code written by people stays below 20."""

LAMBDA_MIN_BYTES = 80
"""A function bound to a name counts from this size on: shorter ones say little more than the lines around them."""

PROPERTY_MIN_BYTES = 200
"""A property with accessors counts from this size on; shorter ones are better read with the fields of their class."""

MAX_VALUE_NODES = 16
"""Nodes looked at, through calls and assertions, for the function that a name is bound to."""


class Definition(NamedTuple):
    """One function, method or class of a file; rows count from 0 and include leading comments and attributes."""

    node: Node
    first_row: int
    last_row: int
    symbol: str | None
    kind: str
    parent: int
    """Position of the enclosing class in the list of definitions, or -1."""


class Statement(NamedTuple):
    """A node that defines nothing, with the comments before it."""

    node: Node
    first_row: int
    last_row: int


class Outline(NamedTuple):
    """What a file consists of outside its functions: definitions, a class before its methods, and statements."""

    definitions: list[Definition]
    statements: list[Statement]


class _Role(Enum):
    LEADING = auto()
    FUNCTION = auto()
    PROPERTY = auto()
    CLASS = auto()
    BINDING = auto()
    TRANSPARENT = auto()
    KEYED = auto()


class _Scope(NamedTuple):
    """What encloses the nodes being walked: the class, and how its functions and types are qualified."""

    parent: int
    functions: str | None
    types: str | None


class _Frame(NamedTuple):
    nodes: Iterator[Node]
    scope: _Scope
    last_row: int


@cache
def _roles(language: Language) -> dict[str, _Role]:
    """Return the part every node type of a language plays."""
    roles = dict.fromkeys(language.transparent | {"ERROR"}, _Role.TRANSPARENT)
    roles.update(dict.fromkeys(language.bindings, _Role.BINDING))
    roles.update(dict.fromkeys(language.comments | language.leading, _Role.LEADING))
    roles.update(dict.fromkeys(language.classes | language.modules, _Role.CLASS))
    roles.update(dict.fromkeys(language.properties, _Role.PROPERTY))
    roles.update(dict.fromkeys(language.functions, _Role.FUNCTION))
    roles.update(dict.fromkeys(language.keyed, _Role.KEYED))
    return roles


def rows_of(node: Node) -> tuple[int, int]:
    """Return the first and the last row that hold text of a node; nodes that end with a line break end before it."""
    first, (last, column) = node.start_point[0], node.end_point
    return first, last - 1 if column == 0 and last > first else last


def bound_value(node: Node, language: Language) -> tuple[Node, str] | None:
    """Return the function, class or object that a binding names, and which of them it is, behind calls and such."""
    value = take_step(node, language.bindings[node.type][1])
    queue = [value] if value is not None else []
    for value in queue:
        if (kind := language.values.get(value.type)) is not None:
            return value, kind
        if value.type in language.value_wrappers and len(queue) < MAX_VALUE_NODES:
            queue.extend(value.named_children[:MAX_VALUE_NODES])
    return None


class _Walk:
    """One pass over a tree."""

    def __init__(self, source: bytes, language: Language, whole_bytes: int, enter_bytes: int) -> None:
        self.source = source
        self.language = language
        self.whole_bytes = whole_bytes
        self.enter_bytes = enter_bytes
        self.found: list[Definition] = []
        self.statements: list[Statement] = []
        self.stack: list[_Frame] = []
        self.leading = (0, -2)  # rows of the comments and attributes waiting for their definition
        self.code_row = -1  # last row of the sibling before

    def run(self, root: Node) -> Outline:
        roles = _roles(self.language)
        self.enter(root, _Scope(-1, None, None), root.end_point[0])
        while self.stack:
            nodes, scope, last_row = self.stack[-1]
            for node in nodes:
                role = roles.get(node.type)
                if role is _Role.KEYED:
                    role = roles.get(kind_of(node, self.source, self.language))
                if role is _Role.LEADING:
                    self.wait(node)
                elif self.visit(node, role, scope):
                    break
            else:
                self.stack.pop()
                self.code_row = last_row
        return Outline(self.found, self.statements)

    def enter(self, node: Node, scope: _Scope, last_row: int) -> bool:
        """Walk a node's children next, unless too deep already; what only says which kind of node it is aside."""
        if len(self.stack) > MAX_DEPTH:
            return False
        children = node.named_children[1:] if node.type in self.language.keyed else node.named_children
        self.stack.append(_Frame(iter(children), scope, last_row))
        return True

    def wait(self, node: Node) -> None:
        """Remember a comment or attribute for the definition that follows it."""
        first, last = rows_of(node)
        if first <= self.leading[1] + 1:
            self.leading = (self.leading[0], last)
        elif first > self.code_row:
            self.leading = (first, last)

    def visit(self, node: Node, role: _Role | None, scope: _Scope) -> bool:
        """Record what a node defines; True if its children are to be walked now."""
        first, last = rows_of(node)
        if role is _Role.TRANSPARENT:
            return self.enter(node, scope, last)
        if self.language.open_ended:
            last, comments = self.take_tail(node)
            entered = self.record(node, role, (first, last), scope)
            for comment in () if entered else comments:
                self.wait(comment)
            return entered
        return self.record(node, role, (first, last), scope)

    def record(self, node: Node, role: _Role | None, rows: tuple[int, int], scope: _Scope) -> bool:
        """Tell definitions from statements; True if the node's children are to be walked now."""
        size = node.end_byte - node.start_byte
        language = self.language
        if (
            role is not None
            and role is not _Role.BINDING
            and (node.type not in language.bodied or node.child_by_field_name("body") is not None)
        ):
            if role is _Role.CLASS:
                return self.visit_class(node, node, rows, scope, "class")
            if role is _Role.FUNCTION or size >= PROPERTY_MIN_BYTES:
                self.visit_function(node, rows, scope)
                return False
        elif role is _Role.BINDING and size >= LAMBDA_MIN_BYTES and (bound := bound_value(node, language)):
            value, kind = bound
            if kind == "function":
                self.add(node, rows, self.binding_name(node), scope)
                return False
            if kind == "class" or size > self.whole_bytes:
                return self.visit_class(node, value, rows, scope, "block" if kind == "object" else "class")
        if (size > self.enter_bytes and node.named_child_count) or node.type in language.transparent:
            return self.enter(node, scope, rows[1])
        self.statements.append(Statement(node, self.start(rows), rows[1]))
        return False

    def take_tail(self, node: Node) -> tuple[int, list[Node]]:
        """Return the last row of a definition and the comments its grammar counts to it although they follow it."""
        comments: list[Node] = []
        end = node
        while (body := take_step(end, -1)) is not None and (
            body.type in self.language.open_ended and body.child(body.child_count - 1) == take_step(body, -1)
        ):
            held = body.named_children
            while held and held[-1].type in self.language.comments:
                comments.insert(0, held.pop())
            if not held:
                break
            end = held[-1]
        return rows_of(end)[1], comments

    def binding_name(self, node: Node) -> str | None:
        target = take_step(node, self.language.bindings[node.type][0])
        return None if target is None else resolve_name(target, self.source, self.language)

    def start(self, rows: tuple[int, int]) -> int:
        """Return the row at which something begins with what leads it, which is then used up.

        One blank line may stand between, except below the comment that opens a file: that is mostly a licence.
        """
        distance = 1 if self.code_row < 0 else 2
        first = self.leading[0] if self.leading[1] >= rows[0] - distance else rows[0]
        self.leading, self.code_row = (0, -2), rows[1]
        return min(first, rows[0])

    def visit_class(self, node: Node, body: Node, rows: tuple[int, int], scope: _Scope, kind: str) -> bool:
        name = name_of(node, self.source, self.language) if node is body else self.binding_name(node)
        symbol = qualify((scope.types, name))
        position = len(self.found)
        self.found.append(Definition(node, self.start(rows), rows[1], symbol, kind, scope.parent))
        is_module = node.type in self.language.modules
        if not is_module and node.end_byte - node.start_byte <= self.whole_bytes:
            return False
        return self.enter(body, _Scope(position, symbol, scope.types if is_module else symbol), rows[1])

    def visit_function(self, node: Node, rows: tuple[int, int], scope: _Scope) -> None:
        language = self.language
        name = name_of(node, self.source, language)
        owner = None
        if (step := language.owners.get(node.type)) and (receiver := take_step(node, step)) is not None:
            owner = resolve_name(receiver, self.source, language)
        if self.continues(node, qualify((scope.functions, owner, name)), scope):
            self.start(rows)
            self.found[-1] = self.found[-1]._replace(last_row=rows[1])
            return
        self.add(node, rows, qualify((owner, name)), scope)

    def continues(self, node: Node, symbol: str | None, scope: _Scope) -> bool:
        """Whether a definition is a further equation or clause of the one before, with nothing but comments between."""
        if kind_of(node, self.source, self.language) not in self.language.grouped or not self.found:
            return False
        last = self.found[-1]
        is_neighbour = last.parent == scope.parent and last.last_row == self.code_row
        return is_neighbour and symbol is not None and last.symbol == symbol and last.kind != "class"

    def add(self, node: Node, rows: tuple[int, int], name: str | None, scope: _Scope) -> None:
        symbol = qualify((scope.functions, name))
        is_method = scope.parent >= 0 or (name is not None and "." in name)
        kind = "method" if is_method else "function"
        self.found.append(Definition(node, self.start(rows), rows[1], symbol, kind, scope.parent))


def outline(root: Node, source: bytes, language: Language, whole_bytes: int = 0, enter_bytes: int = 1 << 62) -> Outline:
    """Return the definitions and statements of a file, each in order.

    Args:
        root: The tree's root.
        source: What was parsed.
        language: Its tables.
        whole_bytes: Classes and object literals up to this size are not entered.
        enter_bytes: Statements that define nothing themselves are entered beyond this size, for what they hold.
    """
    return _Walk(source, language, whole_bytes, enter_bytes).run(root)
