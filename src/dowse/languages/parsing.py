"""Source text to syntax tree, and syntax nodes to names; grammars are loaded when a language is first parsed.

Importing this module imports neither tree-sitter nor any grammar: listing languages must stay cheap, and a grammar's
shared library is up to 10 MB.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING

from dowse.errors import DataError
from dowse.languages.language import Language, Step

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Tree

PARSE_LIMIT_S = 0.5
"""Seconds of a processor a file may take, plus four times as many for each megabyte: grammars read 5 to 13 MB/s, but
recovering from errors is quadratic in some, in memory too (50,000 open brackets keep Scala's busy for half a minute).
Not seconds of a clock: a busy machine gives up no more files than an idle one."""

MAX_NESTING = 10_000
"""Brackets open at once; a source with more is not given to a grammar, some of which overflow the stack at 150,000."""

MAX_CHAIN = 1_000
"""Operators of `Language.chained` left open in one statement. After a fault a grammar may try every way to end them
all in one step, which takes memory and time by the square of their number: 3,000 bytes of `a=>` take C's 350 MB, 9,000
take 3 GB."""

CHUNK_BYTES = 1 << 12
"""Handed to tree-sitter at once. Reading through a function is what lets it stop, the more often the less it is handed;
the price is that `Node.text` reads everything again, so names are taken from the source by offset."""

MAX_NAME_STEPS = 24
"""No real declarator nests deeper; stops a walk through hostile input."""

MAX_NAME_BYTES = 400
"""Longer "names" are expressions without one."""

_BRACKET = re.compile(rb"[][(){}]")
_STATEMENT_END = re.compile(rb"[;{}]")
_CHAINED = re.compile(rb"(?<![<=>!?|])[<=?|](?![<=?|])|(?<![-=])>|,")
"""Operators of one character that may be chained, and what ends a chain: `>` the last `<`, a comma all others."""
_GENERICS = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\([^()]*\)")
_COMPONENT = re.compile(r"[^\W\d][\w$]*[?!]?|[$@~#]+\w+|[^\w\s.:]+")
_OPERATOR = re.compile(
    r"(?P<scope>.*::)?\s*operator\s*"
    r"(?:(?P<sign>\(\s*\)|\[\s*\]|[-+*/%^&|~!=<>,]+|\"\"\s*\w+)|(?<=\s)(?P<words>[^\W\d].*?)(?:\(\s*\)[^()]*)?)\s*",
    re.DOTALL,
)
"""What C++ calls an operator, a conversion to a type included; the word is an ordinary one elsewhere."""
_OBJECTS = frozenset({"exports", "module", "prototype", "this", "self"})


class _Parsers(threading.local):
    """The parsers of one thread: one that two threads share corrupts its memory."""

    def __init__(self) -> None:
        self.of = cache(_new_parser)


def _new_parser(language: Language) -> Parser:
    from tree_sitter import Language as Grammar
    from tree_sitter import Parser

    assert language.grammar is not None
    module, function = language.grammar
    return Parser(Grammar(getattr(import_module(module), function)()))


_parsers = _Parsers()


def parse(source: bytes, language: Language) -> Tree:
    """Return the syntax tree of a file; faulty source gives a tree with error nodes.

    Raises:
        DataError: The language has no grammar, or the source is nested too deep or kept the grammar busy for too long.
    """
    if language.grammar is None:
        raise DataError(
            f"{language.name} has no grammar, expected a programming language; check Language.is_code first"
        )
    if _nesting(source) > MAX_NESTING:
        raise DataError(
            f"{language.name} source of {len(source):,} bytes has over {MAX_NESTING:,} brackets open at once, "
            "expected code that a person could read; exclude the file in .dowseignore"
        )
    if _chain(source, language) > MAX_CHAIN:
        raise DataError(
            f"{language.name} source of {len(source):,} bytes has over {MAX_CHAIN:,} operators left open in a "
            "statement, expected code that a person could read; exclude the file in .dowseignore"
        )
    parser = _parsers.of(language)
    limit_s = PARSE_LIMIT_S * (1 + 4 * len(source) / 1e6)
    reading = _Reading(source, time.thread_time() + limit_s)
    try:
        with suppress(ValueError):  # stopped between two steps
            tree = parser.parse(reading.read, progress_callback=lambda _offset, _error: reading.is_over())
            if not reading.was_stopped:
                return tree
    except SystemError as error:  # Ctrl-C while the parser asked for more: it goes on with the exception set
        raise _origin(error) from None
    finally:
        parser.reset()
    raise DataError(
        f"{language.name} source of {len(source):,} bytes took over {limit_s:.1f} s to parse, expected code "
        "that the grammar can read; exclude the file in .dowseignore"
    )


def _origin(error: BaseException) -> BaseException:
    """Return what an error came of in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _nesting(source: bytes) -> int:
    """Return how many brackets are open at most at once; 0 for the many sources that have few."""
    if sum(map(source.count, (b"(", b"[", b"{"))) <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for bracket in _BRACKET.finditer(source):
        depth = depth + 1 if bracket[0] in b"([{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


def _chain(source: bytes, language: Language) -> int:
    """Return how many of one operator are left open at most in a statement; 0 for the many sources that have few."""
    operators = language.chained
    if all(source.count(operator) <= MAX_CHAIN for operator in operators):
        return 0
    longest = 0
    stretches = _whole_lines(source) if language.chains_end_at_lines else [source]
    for statement in chain.from_iterable(map(_STATEMENT_END.split, stretches)):
        if len(statement) > MAX_CHAIN:
            left_open = dict.fromkeys(operators, 0)
            for found in _CHAINED.finditer(statement):
                operator = found[0][0]
                if operator in left_open:
                    left_open[operator] += 1
                    longest = max(longest, left_open[operator])
                elif found[0] == b",":
                    left_open |= dict.fromkeys(operators.replace(b"<", b""), 0)
                elif left_open.get(ord("<")):
                    left_open[ord("<")] -= 1
    return longest


def _whole_lines(source: bytes) -> Iterator[bytes]:
    """Yield the lines of Bash, with those that go on in the next one: after `|` or `\\`, before `|`, within ( or ${."""
    stretch: list[bytes] = []
    goes_on, rounds, expansions = False, 0, 0
    for line in source.split(b"\n"):
        code = line.strip()
        if not goes_on and code[:1] not in (b"", b"|"):
            yield b"\n".join(stretch)
            stretch = []
        stretch.append(line)
        rounds = max(0, rounds + code.count(b"(") - code.count(b")"))
        expansions = max(0, expansions + code.count(b"${") - code.count(b"}"))
        if code and not code.startswith(b"#"):
            end = code.partition(b" #")[0].rstrip()[-1:]
            goes_on = rounds > 0 or expansions > 0 or end in (b"|", b"\\")
    yield b"\n".join(stretch)


class _Reading:
    """Hands a source to a parser until its time is over, then says that the source ends here.

    A parser may take long over one step, such as finding an end to what it cannot read, in which it does not ask
    whether to stop but does ask for more to read.
    """

    def __init__(self, source: bytes, deadline: float) -> None:
        # Kotlin's scanner waits for white space after an annotation, at the end of a source for ever and without asking
        # for anything: `class A\n@B` as the last line is enough.
        self._source = source if source.endswith(b"\n") else source + b"\n"
        self._deadline = deadline
        self._end: int | None = None

    @property
    def was_stopped(self) -> bool:
        """Whether the parser was told of an earlier end."""
        return self._end is not None

    def is_over(self) -> bool:
        """Tell whether the time is over."""
        return time.thread_time() > self._deadline

    def read(self, offset: int, _: object) -> bytes:
        """Return the bytes from an offset on."""
        if self._end is None and not self.is_over():
            return self._source[offset : offset + CHUNK_BYTES]
        self._end = offset if self._end is None else min(self._end, offset)
        return b"\n" if offset == self._end else b""


def kind_of(node: Node, source: bytes, language: Language) -> str:
    """Return the node type by which the language's tables call this node, for instance "call:def"."""
    kind = node.type
    if kind in language.keyed and node.child_count and (first := node.child(0)) is not None and first.child_count == 0:
        return f"{kind}:{source[first.start_byte : first.end_byte].decode('utf-8', 'replace')}"
    return kind


def take_step(node: Node, step: Step) -> Node | None:
    """Return the child that a step of a table leads to."""
    if isinstance(step, int):
        position = step if step >= 0 else node.named_child_count + step
        return node.named_child(position) if 0 <= position < node.named_child_count else None
    if step is None:
        return None
    if step.startswith("<"):
        return next((child for child in node.named_children if child.type == step[1:-1]), None)
    return node.child_by_field_name(step)


def name_of(node: Node, source: bytes, language: Language) -> str | None:
    """Return the name a definition gives or a call calls, qualified by at most one word: "push", "Stack.push"."""
    kind = kind_of(node, source, language)
    child = take_step(node, language.names.get(kind, language.names.get(node.type, "name")))
    if child is None:
        return language.unnamed.get(kind)
    return resolve_name(child, source, language)


def resolve_name(node: Node, source: bytes, language: Language) -> str | None:
    """Follow the tables' steps from a declarator or an expression to the words that name it."""
    for _ in range(MAX_NAME_STEPS):
        child = take_step(node, language.names.get(node.type, "name"))
        if child is None:
            break
        node = child
    name = source[node.start_byte : node.end_byte]
    return clean_name(name.decode("utf-8", "replace")) if len(name) <= MAX_NAME_BYTES else None


def clean_name(text: str) -> str | None:
    """Reduce an expression that names something to its last two words.

    >>> clean_name("std::vector<T>::push_back"), clean_name("module.exports.retry"), clean_name("A.Stack")
    ('vector.push_back', 'retry', 'A.Stack')
    >>> clean_name("std::vector<T>::operator[]")
    'vector.operator[]'
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        return text[1:-1].strip() or None
    if text.isidentifier() or not any(map(str.isalnum, text)):
        return text.strip() or None
    operator = ""
    if found := _OPERATOR.fullmatch(text):
        text, operator = found["scope"] or "", _operator_name(found)
    previous = None
    while previous != text:
        previous, text = text, _GENERICS.sub("", text)
    parts = [part for part in _COMPONENT.findall(text) if part not in _OBJECTS] + ([operator] if operator else [])
    return ".".join(parts[-2:]) or None


def _operator_name(found: re.Match[str]) -> str:
    """Return how C++ writes an operator: "operator==", "operator new", "operator bool"."""
    if words := found["words"]:
        return f"operator {' '.join(words.split())}"
    return f"operator{''.join(found['sign'].split())}"


def qualify(parts: Iterable[str | None]) -> str | None:
    """Join the words of a qualified name, leaving out those that are missing."""
    return ".".join(part for part in parts if part) or None
