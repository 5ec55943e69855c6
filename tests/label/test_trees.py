"""Tree edit distances worked by hand, the bound below them, and what is not compared."""

import multiprocessing
import os
import random
import signal
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dowse.errors import DataError
from dowse.label import trees
from dowse.label.trees import Distance, Shape, Trees, bound, compare, edit_distance, shape_of
from dowse.languages import LANGUAGES


def flat(tree):
    """Return the shape of a tree of (name, children)."""
    preorder, postorder, sizes = [], [], []

    def walk(node):
        name, children = node
        position = len(preorder)
        preorder.append(name)
        sizes.append(0)
        for child in children:
            walk(child)
        postorder.append(name)
        sizes[position] = len(preorder) - position

    walk(tree)
    return Shape("".join(preorder), "".join(postorder), tuple(sizes))


def shape(text):
    """Read a tree from brackets: a(b(c)d) is a with the children b, which has c, and d."""
    row = []
    above = []
    for character in text:
        if character == "(":
            above.append(row)
            row = row[-1][1]
        elif character == ")":
            row = above.pop()
        else:
            row.append((character, []))
    return flat(row[0])


@pytest.mark.parametrize(
    ("left", "right", "edits"),
    [
        ("a(bc)", "a(bc)", 0),
        ("a(bc)", "a(bd)", 1),  # c becomes d
        ("a(bc)", "a(b)", 1),  # c goes
        ("a(bc)", "a(cb)", 2),  # order counts: one goes, one comes
        ("f(d(ac(b))e)", "f(c(d(ab))e)", 2),  # Zhang and Shasha's example: c goes, c comes
        ("a(b(c(d)))", "a(bcd)", 4),  # c and d go, c and d come; or both relabel twice
        ("a", "b(cde)", 4),
    ],
)
def test_edit_distances_by_hand(left, right, edits):
    assert edit_distance(shape(left), shape(right)) == edits == edit_distance(shape(right), shape(left))
    assert bound(shape(left), shape(right)) <= edits


def test_the_distance_is_over_the_nodes_of_both_trees():
    # Three and two nodes, one edit: 1 / 5.
    assert compare(shape("a(bc)"), shape("a(b)"), 0.2) == Distance(0.2, "exact")
    assert compare(shape("a(bc)"), shape("a(b)"), 0.19) == Distance(None, "bound")
    assert compare(shape("a(bc)"), None, 0.2) == Distance(None, "nothing to compare")


def test_a_pair_that_passes_the_bound_but_not_the_distance_has_no_value():
    # Preorder a b c d both times; postorder dcba against bcda: two edits at least, four in truth.
    left, right = shape("a(b(c(d)))"), shape("a(bcd)")
    assert bound(left, right) == 2
    assert compare(left, right, 0.3) == Distance(None, "exact")


def random_shape(seed, nodes):
    chance = random.Random(seed)
    found = [(chance.choice("abc"), []) for _ in range(nodes)]
    for node in range(1, nodes):
        found[chance.randrange(node)][1].append(found[node])
    return flat(found[0])


def slow_distance(left, right):
    """The forest recursion of the definition, without any cleverness."""
    cache = {}

    def forest(a, b):
        """Edits between forests of (label, children) trees."""
        if (a, b) not in cache:
            if not a and not b:
                cache[a, b] = 0
            elif not b:
                cache[a, b] = 1 + forest(a[:-1] + a[-1][1], b)
            elif not a:
                cache[a, b] = 1 + forest(a, b[:-1] + b[-1][1])
            else:
                cache[a, b] = min(
                    1 + forest(a[:-1] + a[-1][1], b),
                    1 + forest(a, b[:-1] + b[-1][1]),
                    forest(a[:-1], b[:-1]) + forest(a[-1][1], b[-1][1]) + (a[-1][0] != b[-1][0]),
                )
        return cache[a, b]

    def nested(shape, position=0):
        children, child = [], position + 1
        while child < position + shape.sizes[position]:
            children.append(nested(shape, child))
            child += shape.sizes[child]
        return (shape.preorder[position], tuple(children))

    return forest((nested(left),), (nested(right),))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 8))
def test_the_distance_is_that_of_the_definition_and_the_bound_never_above_it(seed, left, right):
    one, two = random_shape(seed, left), random_shape(seed + 1, right)
    exact = edit_distance(one, two)
    assert exact == slow_distance(one, two)
    assert bound(one, two) <= exact


LOOP = "def f(xs):\n    total = 0\n    for x in xs:\n        total += x\n    return total\n"


def test_names_and_comments_do_not_count_but_structure_does():
    renamed = (
        "def g(things):\n    # adds\n    sum_ = 1\n    for thing in things:\n        sum_ += thing\n    return sum_\n"
    )
    left, right = shape_of("python", LOOP), shape_of("python", renamed)
    assert left == right
    assert compare(left, right, 0.2).value == 0.0
    branch = shape_of("python", LOOP.replace("        total += x\n", "        if x:\n            total += x\n"))
    # One if_statement, its condition and its block come: three nodes more.
    assert edit_distance(left, branch) == 3


METHODS = {
    "python": LOOP,
    "java": "public static int size(int[] xs) {\n  int n = 0;\n  for (int x : xs) { n++; }\n  return n;\n}",
    "javascript": "size(xs) {\n  let n = 0;\n  for (const x of xs) { n++; }\n  return n;\n}",
    "typescript": "public size(xs: number[]): number {\n  let n = 0;\n  for (const x of xs) { n++; }\n  return n;\n}",
    "go": "func (r *R) Size() int {\n\tn := 0\n\tfor range r.xs {\n\t\tn++\n\t}\n\treturn n\n}",
    "php": "public function size(array $xs): int {\n  $n = 0;\n  foreach ($xs as $x) { $n++; }\n  return $n;\n}",
    "ruby": "def size(xs)\n  n = 0\n  xs.each { |x| n += 1 }\n  n\nend",
    "rust": "pub fn size(&self) -> usize {\n  let mut n = 0;\n  for x in &self.xs { n += 1; }\n  n\n}",
    "c": "int size(struct list *xs) {\n  int n = 0;\n  for (; xs; xs = xs->next) { n++; }\n  return n;\n}",
    "cpp": "int List::size() const {\n  int n = 0;\n  for (auto x : xs_) { n++; }\n  return n;\n}",
    "csharp": "public int Size(int[] xs) {\n  int n = 0;\n  foreach (var x in xs) { n++; }\n  return n;\n}",
    "kotlin": "override fun size(xs: List<Int>): Int {\n  var n = 0\n  for (x in xs) { n++ }\n  return n\n}",
    "swift": "public func size(xs: [Int]) -> Int {\n  var n = 0\n  for x in xs { n += 1 }\n  return n\n}",
    "scala": "def size(xs: List[Int]): Int = {\n  var n = 0\n  for (x <- xs) { n += 1 }\n  n\n}",
}


@pytest.mark.parametrize("language", METHODS)
def test_a_method_by_itself_is_read_in_every_mined_language(language):
    found = shape_of(language, METHODS[language])
    assert len(found.sizes) >= 15
    assert chr(65535) not in found.preorder, "the fragment was read with errors"
    assert len(found.preorder) == len(found.postorder) == len(found.sizes) == found.sizes[0]
    assert sorted(found.preorder) == sorted(found.postorder)


def test_what_says_too_little_or_too_much_has_no_shape(monkeypatch):
    assert shape_of("python", "pass") is None
    assert shape_of("no such language", LOOP) is None
    assert shape_of(next(name for name in LANGUAGES if not LANGUAGES[name].is_code), LOOP) is None
    monkeypatch.setattr(trees, "MAX_NODES", 10)
    assert shape_of("python", LOOP) is None
    monkeypatch.undo()
    monkeypatch.setattr(trees, "MAX_NODE_PAIRS", 100)
    assert compare(shape_of("python", LOOP), shape_of("python", LOOP), 0.2) == Distance(None, "too large")


def test_deep_nesting_is_no_matter():
    deep = "x = " + "(" * 1500 + "1" + ")" * 1500
    assert len(shape_of("python", deep).sizes) > 1500


def test_several_processes_find_what_one_finds():
    functions = [
        ("python", LOOP.replace("total", f"t{number}") + f"    f({number})\n" * (number % 7)) for number in range(600)
    ]
    with Trees(1) as alone, Trees(2) as several:
        shapes = alone.shapes(functions)
        assert several.shapes(functions) == shapes
        pairs = [(shapes[number], shapes[(number * 7) % 600]) for number in range(600)]
        assert several.distances(pairs, 0.2) == alone.distances(pairs, 0.2)
        assert len(multiprocessing.active_children()) >= 2


def test_processes_hold_interrupts_back_and_one_that_is_killed_is_said_in_a_sentence():
    functions = [("python", LOOP.replace("total", f"t{number}")) for number in range(600)]
    said = r"for comparing trees was killed, .* with fewer --jobs: finished blocks"
    with pytest.raises(DataError, match=said), Trees(2) as several:
        shapes = several.shapes(functions)
        children = multiprocessing.active_children()
        for child in children:
            os.kill(child.pid, signal.SIGINT)
        assert several.shapes(functions) == shapes
        for child in children:
            child.kill()
        several.shapes(functions)
    deadline = time.monotonic() + 300
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()
