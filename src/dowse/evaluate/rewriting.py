"""Step 4 of 7, evaluate: code without its comments or its names, and queries in other words or with typing errors.

What robustness rows are made of. Everything is a rule with a seed: the same text always changes in the same way. Code
is read through the grammars of `dowse.languages`; what has none, or keeps it busy for too long, stays as it is.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dowse.errors import DataError
from dowse.languages import LANGUAGES, Language, name_of, parse

if TYPE_CHECKING:
    from tree_sitter import Node

FUNCTION_NAME = "Func"
"""What AdvTest calls every function; its variables are arg_0, arg_1 and so on."""

_NAMES = frozenset({"identifier", "variable_name"})
_BELONGS_TO_ANOTHER = frozenset({"attribute", "field", "property", "member", "module_name"})
_TYPO_EVERY = 2
_SHORTEST_TYPO = 4

_OPENINGS = re.compile(
    r"^(?:python\s+)?(?:how (?:do (?:i|you)|can (?:i|you)|to)|what is the (?:best )?way to)\s+", re.IGNORECASE
)
_SYNONYMS = {
    "get": "obtain", "returns": "gives back", "return": "give back", "create": "make", "creates": "makes",
    "delete": "remove", "deletes": "removes", "remove": "delete", "removes": "deletes", "check": "test",
    "checks": "tests", "convert": "turn", "converts": "turns", "find": "look for", "finds": "looks for",
    "compute": "calculate", "computes": "calculates", "build": "construct", "builds": "constructs",
    "given": "specified", "whether": "if", "list": "sequence", "string": "text", "file": "document",
    "print": "display", "read": "load", "reads": "loads", "write": "save", "writes": "saves", "add": "append",
    "adds": "appends", "array": "sequence", "using": "by means of", "all": "every one of the", "number": "count",
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+")


def without_comments(code: str, language: str) -> str:
    r"""Return code without comments and docstrings, and without the lines that held nothing else.

    >>> without_comments("def f():\n    'Say.'\n    return 1  # one", "python")
    'def f():\n    return 1'
    """
    known = LANGUAGES.get(language)
    if known is None or not known.is_code:
        return code
    source = code.encode()
    if (root := _parsed(source, known)) is None:
        return code
    kept = _edited(source, root, lambda node: b"" if _is_comment(node, known) else None)
    return "\n".join(line.rstrip() for line in kept.split("\n") if line.strip())


def with_masked_names(code: str, language: str) -> str:
    r"""Return code whose names say nothing: its function is called Func, its variables arg_0, arg_1 …

    Names of what it calls and of what belongs to something else (`self.path`) stay, since they are not its own. Departs
    from AdvTest, whose script is Python's alone: a variable is a name that stands there at least twice.

    >>> with_masked_names("def add(left, right):\n    return left + right.count(left, right)", "python")
    'def Func(arg_0, arg_1):\n    return arg_0 + arg_1.count(arg_0, arg_1)'
    """
    known = LANGUAGES.get(language)
    if known is None or not known.is_code:
        return code
    source = code.encode()
    if (root := _parsed(source, known)) is None:
        return code
    own = _own_function(root, source, known)
    counts: Counter[bytes] = Counter()
    masks: dict[bytes, bytes] = {}
    for node in _leaves(root):
        if _is_variable(node, source, known):
            counts[source[node.start_byte : node.end_byte]] += 1
    for name, count in counts.items():
        if name != own and count > 1:
            masks[name] = (b"$" if name.startswith(b"$") else b"") + b"arg_%d" % len(masks)
    if own:
        masks[own] = FUNCTION_NAME.encode()

    def changed(node: Node) -> bytes | None:
        name = source[node.start_byte : node.end_byte]
        if name == own and node.type in _NAMES | {"name"}:
            return masks[name]
        return masks.get(name) if _is_variable(node, source, known) else None

    return _edited(source, root, changed)


def paraphrased(query: str) -> str:
    """Return a question in other words: its opening goes, and common words give way to others of the same meaning.

    >>> paraphrased("How do I convert a list to string in python")
    'turn a sequence to text in python'
    """

    def other(word: re.Match[str]) -> str:
        return _SYNONYMS.get(word[0].lower(), word[0])

    return _WORD.sub(other, _OPENINGS.sub("", query.strip()))


def with_typos(query: str, seed: int = 0) -> str:
    """Return a query with two neighbouring letters exchanged in every second word of four letters or more.

    >>> with_typos("sort a dictionary by value")
    'sotr a dictionary by valeu'
    """
    chance = random.Random(f"{seed} {query}")
    seen = 0

    def slip(word: re.Match[str]) -> str:
        nonlocal seen
        letters = word[0]
        if len(letters) < _SHORTEST_TYPO:
            return letters
        seen += 1
        places = [at for at in range(1, len(letters) - 1) if letters[at] != letters[at + 1]]
        if seen % _TYPO_EVERY == 0 or not places:
            return letters
        at = chance.choice(places)
        return letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :]

    return _WORD.sub(slip, query)


def _parsed(source: bytes, language: Language) -> Node | None:
    """Return the syntax tree of some code; None where the grammar cannot read it."""
    try:
        return parse(source, language).root_node
    except DataError:  # nested too deep, or kept the grammar busy for too long
        return None


def _edited(source: bytes, root: Node, change: Callable[[Node], bytes | None]) -> str:
    """Return code in which some nodes are replaced; the outermost where they lie in each other."""
    pieces, at = [], 0
    for node in _leaves(root, change):
        replaced = change(node)
        if replaced is not None and node.start_byte >= at:
            pieces += [source[at : node.start_byte], replaced]
            at = node.end_byte
    return b"".join([*pieces, source[at:]]).decode()


def _leaves(root: Node, stop: Callable[[Node], bytes | None] = lambda _: None) -> Iterator[Node]:
    """Yield names, other nodes without children, and those where to stop, in the order of the text."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if not node.child_count or node.type in _NAMES or stop(node) is not None:
            yield node
        else:
            waiting += reversed(node.children)


def _is_comment(node: Node, language: Language) -> bool:
    if node.type in language.comments:
        return True
    inside = node.named_children
    is_text = node.type == "expression_statement" and len(inside) == 1 and inside[0].type == "string"
    return language.docstrings and is_text


def _is_variable(node: Node, source: bytes, language: Language) -> bool:
    """Tell whether a name is neither what is called, nor part of something else, nor an argument's keyword."""
    if node.type not in _NAMES or node.parent is None:
        return False
    parent = node.parent
    place = next((at for at, child in enumerate(parent.children) if child.id == node.id), 0)
    if parent.field_name_for_child(place) in _BELONGS_TO_ANOTHER or (parent.type == "keyword_argument" and place == 0):
        return False
    name = source[node.start_byte : node.end_byte].decode()
    called = parent.type in language.calls and name_of(parent, source, language) == name
    return not (called and place == 0)


def _own_function(root: Node, source: bytes, language: Language) -> bytes | None:
    """Return the name of the first function that is defined."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type in language.functions and (named := node.child_by_field_name("name")) is not None:
            return source[named.start_byte : named.end_byte]
        waiting += reversed(node.children)
    return None
