"""The walk behind `dowse.models.dataflow`: a syntax tree, in the order of execution → which occurrence feeds which.

A state says which occurrences gave each name the value it has. It is copied where paths of control part, merged where
they meet, and None where control does not come, such as after `return`. What the nodes of a language mean stands in
`dowse.models.dataflow_tables`; the names of fields below are those that the six grammars share.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dowse.models.dataflow_tables import FlowTable

if TYPE_CHECKING:
    from tree_sitter import Node

    from dowse.languages.language import Step

COMES_FROM, COMPUTED_FROM = "comes from", "computed from"

MAX_DEPTH = 100
"""Below it, variables are read in the order of the text and nothing else is looked for; stops hostile nesting."""

MAX_REPEATED = 4
"""Loops inside each other that run twice; deeper ones run once, or the work would double with each of them."""

_BEFORE_LOOP = frozenset({"init", "initializer", "initialize"})
_ORDER_IN_LOOP = {"body": 1, "update": 2, "increment": 2}
_BRANCHES = frozenset({"consequence", "body"})
_PARAMETERS = ("receiver", "parameters", "parameter", "result")
_OTHERWISE = re.compile(rb"(?:default|else)\b|case\s+_\s*:")
"""How a case begins that takes whatever the others do not; a pattern with a name or a guard after `_` may not hold."""


class Leaf(NamedTuple):
    """An occurrence of a variable or literal, in bytes of the source."""

    start: int
    end: int
    name: str


_State = dict[str, frozenset[Leaf]]
_States = list[_State | None]


class Walk:
    """One walk through one tree; `edges` fills up."""

    def __init__(self, source: bytes, table: FlowTable) -> None:
        self.edges: dict[tuple[Leaf, str], set[Leaf]] = {}
        """By target and kind, the sources."""
        self._source, self._table = source, table
        self._state: _State | None = {}
        # For each loop or switch around, what jumps carry to its next round or end, and what `break` carries out of it.
        self._leaving: list[tuple[_States, _States]] = []
        self._returning: list[_States] = []
        self._depth = self._repeated = 0
        self._bound = dict(place.split(".") for place in table.bound)
        self._roles = {
            **dict.fromkeys(table.assignments, self._assign),
            **dict.fromkeys(table.branches, self._branch),
            **dict.fromkeys(table.switches, self._switch),
            **dict.fromkeys(table.loops, self._loop),
            **dict.fromkeys(table.attempts, self._attempt),
            **dict.fromkeys(table.functions, self._function),
            **dict.fromkeys(table.returns | table.throws | table.jumps, self._leave),
        }

    def evaluate(self, node: Node) -> list[Leaf]:
        """Walk through a node and return the occurrences that its value consists of."""
        if node.type in self._table.ignored:
            return []
        if node.type in self._table.variables:
            return [self._read(self._leaf(node))]
        if self._depth >= MAX_DEPTH:
            return [self._read(leaf) for leaf in self._variables_below(node)]
        self._depth += 1
        try:
            if node.type in self._table.literals:
                return self._inside(node) or [self._leaf(node)]
            if role := self._roles.get(node.type):
                return role(node)
            if field := self._bound.get(node.type):
                self._bind_all(node.children_by_field_name(field), [])
            return self._inside(node)
        finally:
            self._depth -= 1

    def _all(self, nodes: Iterable[Node]) -> list[Leaf]:
        return [leaf for node in nodes for leaf in self.evaluate(node)]

    def _inside(self, node: Node) -> list[Leaf]:
        return self._all(child for _, child in self._fields(node))

    def _fields(self, node: Node) -> Iterator[tuple[str, Node]]:
        """Yield the named children with their fields ("" if without), clauses opened, mere names left out."""
        for position, child in enumerate(node.children):
            if not child.is_named:
                continue
            field = node.field_name_for_child(position) or ""
            place = f"{node.type}.{field}"
            if place in self._table.bound or (place in self._table.ignored and self._is_name(child)):
                continue
            if child.type in self._table.clauses:
                yield from self._fields(child)
            else:
                yield field, child

    def _is_name(self, node: Node) -> bool:
        only = node.named_child(0) if node.named_child_count == 1 else None
        return node.type in self._table.variables or (only is not None and only.type in self._table.variables)

    def _leaf(self, node: Node) -> Leaf:
        text = self._source[node.start_byte : node.end_byte].decode("utf-8", "replace")
        return Leaf(node.start_byte, node.end_byte, text)

    def _variables_below(self, root: Node) -> Iterator[Leaf]:
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if node.type in self._table.variables:
                yield self._leaf(node)
            else:
                waiting.extend(reversed(node.children))

    # Values

    def _link(self, target: Leaf, kind: str, sources: Iterable[Leaf]) -> None:
        if others := set(sources) - {target}:
            self.edges.setdefault((target, kind), set()).update(others)

    def _read(self, leaf: Leaf) -> Leaf:
        if self._state is not None:
            self._link(leaf, COMES_FROM, self._state.setdefault(leaf.name, frozenset({leaf})))
        return leaf

    def _define(self, leaf: Leaf, sources: Iterable[Leaf]) -> Leaf:
        self._link(leaf, COMPUTED_FROM, sources)
        if self._state is not None:
            self._state[leaf.name] = frozenset({leaf})
        return leaf

    def _assign(self, node: Node) -> list[Leaf]:
        to, by = self._table.assignments[node.type]
        targets, sources = self._steps(node, to), self._steps(node, by)
        is_paired = node.type in self._table.paired
        if is_paired:
            targets, sources = self._elements(targets), self._elements(sources)
        values = [self.evaluate(source) for source in sources]
        keeps = by is None or self._is_compound(node)
        if is_paired and len(targets) == len(values):
            return [leaf for pair in zip(targets, values, strict=True) for leaf in self._bind(*pair, keeps=keeps)]
        return self._bind_all(targets, [leaf for value in values for leaf in value], keeps)

    def _is_compound(self, node: Node) -> bool:
        """Tell `+=` and its like from `=`."""
        sign = node.child_by_field_name("operator")
        return sign is not None and sign.type.endswith("=") and sign.type not in ("=", ":=")

    def _steps(self, node: Node, step: Step) -> list[Node]:
        if step is None:
            return []
        if isinstance(step, str):
            return [child for child in node.children_by_field_name(step) if child.is_named]
        child = node.named_child(step) if step < node.named_child_count else None
        return [] if child is None else [child]

    def _elements(self, nodes: Sequence[Node]) -> list[Node]:
        opened = (node.named_children if node.type in self._table.lists else [node] for node in nodes)
        return [element for elements in opened for element in elements]

    def _bind_all(self, patterns: Iterable[Node], values: list[Leaf], keeps: bool = False) -> list[Leaf]:
        return [leaf for pattern in patterns for leaf in self._bind(pattern, values, keeps)]

    def _bind(self, pattern: Node, values: list[Leaf], keeps: bool = False) -> list[Leaf]:
        """Give values to the variables of a pattern and return their occurrences; `keeps` the old value as well."""
        if pattern.type in self._table.ignored or self._depth >= MAX_DEPTH:
            return []
        if pattern.type in self._table.variables:
            leaf = self._leaf(pattern)
            return [self._define(self._read(leaf) if keeps else leaf, values)]
        if pattern.type in self._table.parts:
            leaves = self.evaluate(pattern)
            return [self._define(base, [*values, *leaves[1:]]) for base in leaves[:1]]
        self._depth += 1
        try:
            if pattern.type in self._table.assignments:
                to, by = self._table.assignments[pattern.type]
                default = self._all(self._steps(pattern, by))
                return self._bind_all(self._steps(pattern, to), values + default, keeps)
            return self._bind_all([child for _, child in self._fields(pattern)], values, keeps)
        finally:
            self._depth -= 1

    # Control

    def _copy(self) -> _State | None:
        return _merge([self._state])

    def _branch(self, node: Node) -> list[Leaf]:
        fields = list(self._fields(node))
        if fields and fields[0][0] in _BRANCHES:  # `x = 1 if y`
            fields.reverse()
        found, ends = [], []
        for field, child in fields:
            before = self._copy()
            found += self.evaluate(child)
            if field in _BRANCHES:
                ends.append(self._state)
                self._state = before
        self._state = _merge([*ends, self._state])
        return found

    def _switch(self, node: Node) -> list[Leaf]:
        found = self._assign(node) if node.type in self._table.assignments else []
        cases = list(self._cases(node))
        apart = {child.id for child in [*cases, *self._assigned(node)]} | {
            child.id for child in node.children if child.type in self._table.switch_bodies
        }
        found += self._all(child for _, child in self._fields(node) if child.id not in apart)
        before, fallen, has_default = self._copy(), None, False
        ends: _States = []
        if self._table.jumps_leave_switches:
            self._leaving.append((ends, ends))
        for case in cases:
            self._state = _merge([before, fallen])
            found += self.evaluate(case)
            fallen = self._state if self._table.cases[case.type] else None
            ends.append(self._state if fallen is None else None)
            has_default |= _OTHERWISE.match(self._source, case.start_byte, case.end_byte) is not None
        if self._table.jumps_leave_switches:
            self._leaving.pop()
        self._state = _merge([*ends, fallen, None if has_default else before])
        return found

    def _cases(self, node: Node) -> Iterator[Node]:
        for child in node.named_children:
            if child.type in self._table.cases:
                yield child
            elif child.type in self._table.switch_bodies:
                yield from self._cases(child)

    def _assigned(self, node: Node) -> list[Node]:
        """Return the children that the node itself assigns, as `for x in y` does."""
        return [child for step in self._table.assignments.get(node.type, ()) for child in self._steps(node, step)]

    def _loop(self, node: Node) -> list[Leaf]:
        apart = {child.id for child in self._assigned(node)}
        fields = [(field, child) for field, child in self._fields(node) if child.id not in apart]
        found = self._all(child for field, child in fields if field in _BEFORE_LOOP)
        round_ = [pair for pair in fields if pair[0] not in _BEFORE_LOOP and pair[0] != "alternative"]
        runs_once = node.type == "do_statement"
        if not runs_once:
            round_.sort(key=lambda pair: _ORDER_IN_LOOP.get(pair[0], 0))
        before = None if runs_once else self._copy()
        broken: _States = []
        for _ in range(self._rounds()):
            self._repeated += 1
            jumps: _States = []
            self._leaving.append((jumps, broken))
            if apart:
                found += self._assign(node)
            found += self._all(child for _, child in round_)
            self._leaving.pop()
            self._state = _merge([before, self._state, *jumps])
            self._repeated -= 1
        found += self._all(child for field, child in fields if field == "alternative")
        self._state = _merge([self._state, *broken])
        return found

    def _rounds(self) -> int:
        return 2 if self._repeated < MAX_REPEATED else 1

    def _attempt(self, node: Node) -> list[Leaf]:
        before = self._copy()
        children = [child for _, child in self._fields(node)]
        apart = self._table.handlers | self._table.finals
        found = self._all(child for child in children if child.type not in apart)
        after = self._copy()
        ends = [self._state]
        for handler in (child for child in children if child.type in self._table.handlers):
            self._state = _merge([before, after])  # an error may come first or last
            found += self.evaluate(handler)
            ends.append(self._state)
        end = _merge(ends)
        self._state = before if end is None else end
        found += self._all(child for child in children if child.type in self._table.finals)
        self._state = None if end is None else self._state
        return found

    def _function(self, node: Node) -> list[Leaf]:
        """Walk through a function where it stands; as a value it is not computed from what is inside."""
        outer = self._copy()
        after = outer or {}
        for _ in range(self._rounds() if after else 1):
            self._repeated += 1
            self._state = dict(after)
            self._returning.append([])
            jumps: _States = []
            self._leaving.append((jumps, jumps))
            patterns = [child for field in _PARAMETERS for child in node.children_by_field_name(field)]
            own = {leaf.name for leaf in self._bind_all(patterns, [])}
            self._all(child for field, child in self._fields(node) if field not in _PARAMETERS)
            self._leaving.pop()
            end = _merge([self._state, *self._returning.pop(), *jumps]) or {}
            after = {
                name: leaves if name in own else leaves | end.get(name, frozenset()) for name, leaves in after.items()
            }
            self._repeated -= 1
        self._state = None if outer is None else after
        return []

    def _leave(self, node: Node) -> list[Leaf]:
        found = self._inside(node)
        if node.type in self._table.jumps and self._leaving:
            self._leaving[-1][node.type.startswith("break")].append(self._state)
        if node.type in self._table.returns and self._returning:
            self._returning[-1].append(self._state)
        self._state = None
        return found


def _merge(states: Iterable[_State | None]) -> _State | None:
    """Return a new state for the place where paths meet, None if none of them leads there."""
    merged: _State | None = None
    for state in states:
        if state is None:
            continue
        if merged is None:
            merged = dict(state)
            continue
        for name, leaves in state.items():
            merged[name] = merged.get(name, frozenset()) | leaves
    return merged
