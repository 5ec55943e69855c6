"""What Dowse knows about one language, as data: which nodes are functions, classes, comments, calls, and their names.

The algorithms that cut files into documents and mine functions read these fields and never ask which language they
look at. A new language is one more entry in a table.

Node types are those of the language's tree-sitter grammar. Where one node type stands for many things (in Elixir,
`def` and `defmodule` are ordinary calls) the type is listed in `keyed` and its first child's text is part of the
name by which the other fields call it: "call:def".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Step = str | int | None
"""Where a node's name is found: a field, "<type>" for the first named child of that type, a number for the named
child at that position, or None for the node's own text."""

_NONE: frozenset[str] = frozenset()

IN_A_CLASS = (("", ""), ("class A {\n", "\n}"))
"""The wrappers of languages whose methods stand in braces; the line break ends a comment after the last of them."""


def kinds(words: str) -> frozenset[str]:
    """Return the node types listed in a text, separated by spaces."""
    return frozenset(words.split())


@dataclass(frozen=True, eq=False, slots=True)
class Language:
    """One language: how its files are recognised and, if it has a grammar, what its nodes mean."""

    name: str
    extensions: tuple[str, ...] = ()
    filenames: tuple[str, ...] = ()
    interpreters: tuple[str, ...] = ()
    """Programs named after `#!`, without version digits."""
    grammar: tuple[str, str] | None = None
    """Module and function that return the tree-sitter language; None for text."""
    wrappers: tuple[tuple[str, str], ...] = (("", ""),)
    """What is put before and after a function by itself so that the grammar reads it, in order of preference: a method
    alone is no program in many languages."""

    functions: frozenset[str] = _NONE
    """Nodes that are a function, or a method inside a class."""
    properties: frozenset[str] = _NONE
    """Nodes that count as functions once they are long, such as a property with accessors."""
    classes: frozenset[str] = _NONE
    """Nodes that define a type or another named thing that is not a function; methods are sought inside."""
    modules: frozenset[str] = _NONE
    """Classes that qualify the functions directly inside them, but not the types."""
    bodied: frozenset[str] = _NONE
    """Functions and classes that only count with a `body` field, since the same node also declares or refers."""
    bindings: Mapping[str, tuple[Step, Step]] = field(default_factory=dict)
    """Nodes that name a value: the steps to the name and to the value."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Value nodes that make a binding a "function", a "class" or an "object" (a literal that may hold methods)."""
    value_wrappers: frozenset[str] = _NONE
    """Nodes around such a value that are looked through, such as a type assertion or a call."""
    transparent: frozenset[str] = _NONE
    """Nodes that hold definitions without being one: bodies, namespaces, `export`, decorators' wrappers, `if`."""
    comments: frozenset[str] = frozenset({"comment"})
    leading: frozenset[str] = _NONE
    """Attributes, decorators and signatures that belong to the definition after them, as comments do."""
    open_ended: frozenset[str] = _NONE
    """Bodies that, unless a closing token ends them, run on over comments up to the next statement."""
    grouped: frozenset[str] = _NONE
    """Definitions that are one when neighbours share a name, such as the equations of a Haskell function."""
    keyed: frozenset[str] = _NONE
    """Node types told apart by the text of their first child."""
    calls: frozenset[str] = _NONE
    """Nodes that call something; their name is what they call."""
    names: Mapping[str, Step] = field(default_factory=dict)
    """The step towards the name, per node type; the field `name` where nothing is said."""
    owners: Mapping[str, Step] = field(default_factory=dict)
    """The step towards the type that a function outside its type belongs to, such as Go's receiver."""
    unnamed: Mapping[str, str] = field(default_factory=dict)
    """The name given to nodes that have none, such as constructors."""
    chained: bytes = b""
    """Those of "<", "=", "?" and "|" of which the grammar bears few in one statement, see `parsing.MAX_CHAIN`."""
    chains_end_at_lines: bool = False
    """Whether a line feed ends such a statement, unless it follows an operator."""
    docstrings: bool = False
    """Whether documentation is the first string inside a body rather than a comment before it."""
    doc_comments: tuple[str, ...] = ()
    """How comments that document begin; empty where any comment directly above a definition does."""

    @property
    def is_code(self) -> bool:
        """Whether files of this language are cut by a grammar."""
        return self.grammar is not None
