"""Graphs worked out by hand, in the notation of the paper's figure: nodes numbered from 1 in the order of the text.

`x:7 = b:8` says that the seventh node is computed from the eighth, `x:11 < x:7 x:9` where its value comes from.
"""

import dataclasses
from collections.abc import Mapping, Set
from importlib import import_module
from textwrap import dedent

import pytest
from tree_sitter import Language as Grammar

from dowse.languages import LANGUAGES
from dowse.models.dataflow import MAX_CHARS, data_flow, recognise
from dowse.models.dataflow_tables import FLOW_TABLES, FlowTable

SIGNS = {"computed from": "=", "comes from": "<"}

PYTHON = {
    "the figure of the paper": (
        """
        def max(a, b):
            x = 0
            if b > a:
                x = b
            else:
                x = a
            return x
        """,
        "a b x 0 b a x b x a x",
        "x:3 = 0:4, b:5 < b:2, a:6 < a:1, x:7 = b:8, b:8 < b:2, x:9 = a:10, a:10 < a:1, x:11 < x:7 x:9",
    ),
    "a loop over items, a default, an augmented assignment": (
        """
        def total(items, start=0):
            s = start
            for item in items:
                s += item
            return s
        """,
        "items start 0 s start item items s item s",
        "start:2 = 0:3, s:4 = start:5, start:5 < start:2, item:6 = items:7, items:7 < items:1, s:8 < s:4, "
        "s:8 = item:9, item:9 < item:6, s:10 < s:4 s:8",
    ),
    "a value does not flow past return": (
        """
        def sign(n):
            r = 0
            if n < 0:
                r = -1
                return r
            return r, n
        """,
        "n r 0 n r 1 r r n",
        "r:2 = 0:3, n:4 < n:1, r:5 = 1:6, r:7 < r:5, r:8 < r:2, n:9 < n:1",
    ),
    "a swap pairs its sides": (
        "def f(a, b):\n    a, b = b, a\n    return a, b",
        "a b a b b a a b",
        "a:3 = b:5, b:4 = a:6, b:5 < b:2, a:6 < a:1, a:7 < a:3, b:8 < b:4",
    ),
    "break carries a value to the end of the loop, and the next round begins with the last one's": (
        """
        def f(n):
            while n:
                m = n
                if m: break
                m = 0
                n = m
            return m
        """,
        "n n m n m m 0 n m m",
        "n:2 < n:1 n:8, m:3 = n:4, n:4 < n:1 n:8, m:5 < m:3, m:6 = 0:7, n:8 = m:9, m:9 < m:6, m:10 < m:3 m:6",
    ),
    "names of functions, members, keywords and types are no variables": (
        "def f(a: int):\n    b: str = print(a.count, end=a)\n    print(b.count)",
        "a b a a b",
        "b:2 = a:3 a:4, a:3 < a:1, a:4 < a:1, b:5 < b:2",
    ),
    "a part that is assigned changes the whole": (
        "def f(a, i):\n    a[i] = i\n    a.n = 1\n    return a",
        "a i a i i a 1 a",
        "a:3 < a:1, a:3 = i:4 i:5, i:4 < i:2, i:5 < i:2, a:6 < a:3, a:6 = 1:7, a:8 < a:6",
    ),
    "elif, with, except and finally": (
        """
        def f(a, b):
            if a:
                x = 1
            elif b:
                x = 2
            try:
                with open(b) as h:
                    x = h
            except E as e:
                x = e
            finally:
                return x
        """,
        "a b a x 1 b x 2 b h x h E e x e x",
        "a:3 < a:1, x:4 = 1:5, b:6 < b:2, x:7 = 2:8, b:9 < b:2, h:10 = b:9, x:11 = h:12, h:12 < h:10, e:14 = E:13, "
        "x:15 = e:16, e:16 < e:14, x:17 < x:11 x:15",
    ),
    "a comprehension, a lambda's own parameter and a walrus": (
        """
        def f(xs, y):
            ys = [y + x for x in xs if x]
            g = lambda y: y
            if (n := y): return n, ys
        """,
        "xs y ys y x x xs x y y n y n ys",
        "ys:3 = y:4 x:5 x:6 x:8, y:4 < y:2, x:5 < x:6, x:6 = xs:7, xs:7 < xs:1, x:8 < x:6, y:10 < y:9, "
        "n:11 = y:12, y:12 < y:2, n:13 < n:11, ys:14 < ys:3",
    ),
    "one case of a match": (
        """
        def f(a):
            x = 0
            match a:
                case 1: x = a
                case _: x = 2
            return x
        """,
        "a x 0 a x a x 2 x",
        "x:2 = 0:3, a:4 < a:1, x:5 = a:6, a:6 < a:1, x:7 = 2:8, x:9 < x:5 x:7",
    ),
    "break in a case leaves the loop, not the match": (
        """
        def f(a):
            while a:
                match a:
                    case 1:
                        y = 2
                        break
                    case _: y = 3
                print(y)
            return y
        """,
        "a a a y 2 y 3 y y",
        "a:2 < a:1, a:3 < a:1, y:4 = 2:5, y:6 = 3:7, y:8 < y:6, y:9 < y:4 y:6",
    ),
    "a class whose name begins like the wildcard, and a guard, may not hold": (
        """
        def f(a):
            x = 0
            match a:
                case _Foo(): x = 1
                case _ if a: x = 2
            return x
        """,
        "a x 0 a x 1 a x 2 x",
        "x:2 = 0:3, a:4 < a:1, x:5 = 1:6, a:7 < a:1, x:8 = 2:9, x:10 < x:2 x:5 x:8",
    ),
    "break leaves a loop past its else, continue does not": (
        """
        def f(a):
            for x in a:
                if x:
                    y = 1
                    break
                y = 3
                if a: continue
            else:
                print(y)
                y = 2
            return y
        """,
        "a x a x y 1 y 3 a y y 2 y",
        "x:2 = a:3, a:3 < a:1, x:4 < x:2, y:5 = 1:6, y:7 = 3:8, a:9 < a:1, y:10 < y:7, y:11 = 2:12, y:13 < y:5 y:11",
    ),
}

JAVA = {
    "a counting loop and a conditional": (
        """
        int max(int[] xs) {
            int best = xs[0];
            for (int i = 1; i < xs.length; i++) {
                if (xs[i] > best) best = xs[i];
            }
            return best;
        }
        """,
        "xs best xs 0 i 1 i xs i xs i best best xs i best",
        "best:2 = xs:3 0:4, xs:3 < xs:1, i:5 = 1:6, i:7 < i:5 i:9, xs:8 < xs:1, i:9 < i:5, xs:10 < xs:1, "
        "i:11 < i:5 i:9, best:12 < best:2 best:13, best:13 = xs:14 i:15, xs:14 < xs:1, i:15 < i:5 i:9, "
        "best:16 < best:2 best:13",
    ),
    "for-each, an augmented assignment and two returns": (
        """
        int sum(List<Integer> xs, int s) {
            for (int x : xs) { s += x; if (x < 0) return x; }
            return s;
        }
        """,
        "xs s x xs s x x x s",
        "x:3 = xs:4, xs:4 < xs:1, s:5 < s:2, s:5 = x:6, x:6 < x:3, x:7 < x:3, x:8 < x:3, s:9 < s:2 s:5",
    ),
    "cases fall through unless they break": (
        """
        int f(int a) {
            int x = 0;
            switch (a) {
                case 1: x = 1;
                case 2: a = x; break;
                default: x = 3;
            }
            return x;
        }
        """,
        "a x 0 a x 1 a x x 3 x",
        "x:2 = 0:3, a:4 < a:1, x:5 = 1:6, a:7 = x:8, x:8 < x:2 x:5, x:9 = 3:10, x:11 < x:2 x:5 x:9",
    ),
    "a constructor, fields, a lambda, try and catch": (
        """
        A(int n) {
            this.n = n;
            try { run(x -> x + n); } catch (E e) { this.n = e; }
            use(this);
        }
        """,
        "n this n x x n e this e this",
        "this:2 = n:3, n:3 < n:1, x:5 < x:4, n:6 < n:1, this:8 < this:2, this:8 = e:9, e:9 < e:7, "
        "this:10 < this:2 this:8",
    ),
    "do runs at least once": (
        "void f(int a) { int b = 0; do { b = a; a--; } while (b > a); use(b); }",
        "a b 0 b a a b a b",
        "b:2 = 0:3, b:4 = a:5, a:5 < a:1 a:6, a:6 < a:1, b:7 < b:4, a:8 < a:6, b:9 < b:4",
    ),
}

JAVASCRIPT = {
    "a label that begins like a wildcard is a case like any other": (
        "function f(a) { let x = 0; switch (a) { case _A: x = 1; } return x }",
        "a x 0 a x 1 x",
        "x:2 = 0:3, a:4 < a:1, x:5 = 1:6, x:7 < x:2 x:5",
    ),
    "for-of over a pattern, an augmented assignment": (
        """
        function total(items, s = 0) {
            for (const [k, v] of items) { s += v; use(k); }
            return s;
        }
        """,
        "items s 0 k v items s v k s",
        "s:2 = 0:3, k:4 = items:6, v:5 = items:6, items:6 < items:1, s:7 < s:2, s:7 = v:8, v:8 < v:5, k:9 < k:4, "
        "s:10 < s:2 s:7",
    ),
    "patterns in parameters and declarations, a swap": (
        """
        const f = ({a, b: c}, ...rest) => {
            let {x, y = c} = a;
            [x, y] = [y, x];
            return [x, y, rest];
        };
        """,
        "a c rest x y c a x y y x x y rest",
        "x:4 = a:7, y:5 = c:6 a:7, c:6 < c:2, a:7 < a:1, x:8 = y:10, y:9 = x:11, y:10 < y:5, x:11 < x:4, x:12 < x:8, "
        "y:13 < y:9, rest:14 < rest:3",
    ),
    "a closure changes what is around it, a ternary, else if": (
        """
        function f(xs) {
            let n = 0;
            xs.forEach(x => { n = x ? n : x; });
            if (n) { n = 1; } else if (xs) { n = 2; }
            return n;
        }
        """,
        "xs n 0 xs x n x n x n n 1 xs n 2 n",
        "n:2 = 0:3, xs:4 < xs:1, n:6 = x:7 n:8 x:9, x:7 < x:5, n:8 < n:2 n:6, x:9 < x:5, n:10 < n:2 n:6, n:11 = 1:12, "
        "xs:13 < xs:1, n:14 = 2:15, n:16 < n:2 n:6 n:11 n:14",
    ),
    "a method, switch, catch, early return": (
        """
        get(key) {
            try {
                switch (key) { case 1: this.k = key; return key; default: key = 2; }
            } catch (error) { key = error; }
            return key;
        }
        """,
        "key key this key key key 2 error key error key",
        "key:2 < key:1, this:3 = key:4, key:4 < key:1, key:5 < key:1, key:6 = 2:7, key:9 = error:10, "
        "error:10 < error:8, key:11 < key:6 key:9",
    ),
}

PHP = {
    "foreach with keys, conditions": (
        """
        function best(array $xs, $d = null) {
            foreach ($xs as $k => $v) {
                if ($v > $d) { $d = $v; } elseif ($k) { $d .= $k; } else { continue; }
            }
            return $d;
        }
        """,
        "$xs $d null $xs $k $v $v $d $d $v $k $d $k $d",
        "$d:2 = null:3, $xs:4 < $xs:1, $k:5 = $xs:4, $v:6 = $xs:4, $v:7 < $v:6, $d:8 < $d:2 $d:9 $d:12, $d:9 = $v:10, "
        "$v:10 < $v:6, $k:11 < $k:5, $d:12 < $d:2 $d:9, $d:12 = $k:13, $k:13 < $k:5, $d:14 < $d:2 $d:9 $d:12",
    ),
    "a method with fields, lists and two returns": (
        """
        public function f($a) {
            [$x, $y] = $a;
            $this->n = $x;
            if ($y) { return $this->n; }
            return "$x and {$a}";
        }
        """,
        "$a $x $y $a $this $x $y $this $x $a",
        "$x:2 = $a:4, $y:3 = $a:4, $a:4 < $a:1, $this:5 = $x:6, $x:6 < $x:2, $y:7 < $y:3, $this:8 < $this:5, "
        "$x:9 < $x:2, $a:10 < $a:1",
    ),
    "a counting loop, a closure that uses, a match": (
        """
        function f($n) {
            for ($i = 0; $i < $n; $i++) { $s = $i; }
            $g = function ($n) use ($s) { return $n + $s; };
            return match ($s) { 1 => $g, default => $n };
        }
        """,
        "$n $i 0 $i $n $i $s $i $g $n $s $n $s $s $g $n",
        "$i:2 = 0:3, $i:4 < $i:2 $i:6, $n:5 < $n:1, $i:6 < $i:2, $s:7 = $i:8, $i:8 < $i:2 $i:6, $s:11 < $s:7, "
        "$n:12 < $n:10, $s:13 < $s:7, $s:14 < $s:7, $g:15 < $g:9, $n:16 < $n:1",
    ),
}

GO = {
    "range, continue, named results, two values returned": (
        """
        func sum(xs []int) (n int, err error) {
            for i, x := range xs {
                if x < 0 { continue }
                n += x * i
            }
            return n, err
        }
        """,
        "xs n err i x xs x n x i n err",
        "i:4 = xs:6, x:5 = xs:6, xs:6 < xs:1, x:7 < x:5, n:8 < n:2, n:8 = x:9 i:10, x:9 < x:5, i:10 < i:4, "
        "n:11 < n:2 n:8, err:12 < err:3",
    ),
    "a method, if with a statement, fields of literals": (
        """
        func (s *Set) Add(key string) bool {
            if old, ok := s.items[key]; ok { return old }
            s.items[key] = Item{Key: key}
            return s.full
        }
        """,
        "s key old ok s key ok old s key key s",
        "old:3 = s:5 key:6, ok:4 = s:5 key:6, s:5 < s:1, key:6 < key:2, ok:7 < ok:4, old:8 < old:3, s:9 < s:1, "
        "s:9 = key:10 key:11, key:10 < key:2, key:11 < key:2, s:12 < s:9",
    ),
    "three-part loop, switch without fall-through, paired declaration": (
        """
        func f(n int) int {
            var a, b = n, 1
            for i := 0; i < n; i++ {
                switch { case a > b: a = b; default: b = i }
            }
            return a
        }
        """,
        "n a b n 1 i 0 i n i a b a b b i a",
        "a:2 = n:4, b:3 = 1:5, n:4 < n:1, i:6 = 0:7, i:8 < i:6 i:10, n:9 < n:1, i:10 < i:6, a:11 < a:2 a:13, "
        "b:12 < b:3 b:15, a:13 = b:14, b:14 < b:3 b:15, b:15 = i:16, i:16 < i:6 i:10, a:17 < a:2 a:13",
    ),
}

RUBY = {
    "a block runs any number of times, a modifier": (
        """
        def total(items, start = 0)
          sum = start
          items.each { |it| sum += it.price }
          @n = sum if sum > 0
          @n
        end
        """,
        "items start 0 sum start items it sum it @n sum sum @n",
        "start:2 = 0:3, sum:4 = start:5, start:5 < start:2, items:6 < items:1, sum:8 < sum:4, sum:8 = it:9, "
        "it:9 < it:7, @n:10 = sum:11, sum:11 < sum:4 sum:8, sum:12 < sum:4 sum:8, @n:13 < @n:10",
    ),
    "for, unless, else, two returns": (
        """
        def f(xs)
          for x in xs do
            y = x
            return y unless x
          end
          if xs then y = 1 else y = 2 end
          return xs, y
        end
        """,
        "xs x xs y x y x xs y 1 y 2 xs y",
        "x:2 = xs:3, xs:3 < xs:1, y:4 = x:5, x:5 < x:2, y:6 < y:4, x:7 < x:2, xs:8 < xs:1, y:9 = 1:10, y:11 = 2:12, "
        "xs:13 < xs:1, y:14 < y:9 y:11",
    ),
    "rescue, ensure, case, while": (
        """
        def f(a)
          begin
            x = a
          rescue E => e
            x = e
          ensure
            p x
          end
          case a
          when 1 then x = 1
          end
          x -= 1 while x > 0
          x
        end
        """,
        "a x a e x e x a x 1 x 1 x x",
        "x:2 = a:3, a:3 < a:1, x:5 = e:6, e:6 < e:4, x:7 < x:2 x:5, a:8 < a:1, x:9 = 1:10, x:11 < x:2 x:5 x:9, "
        "x:11 = 1:12, x:13 < x:2 x:5 x:9 x:11, x:14 < x:2 x:5 x:9 x:11",
    ),
    "break in a case leaves the loop": (
        """
        def f(a)
          while a
            case a
            when 1 then
              y = 2
              break
            else y = 3
            end
            p y
          end
          y
        end
        """,
        "a a a y 2 y 3 y y",
        "a:2 < a:1, a:3 < a:1, y:4 = 2:5, y:6 = 3:7, y:8 < y:6, y:9 < y:4 y:6",
    ),
}

CASES = {"python": PYTHON, "java": JAVA, "javascript": JAVASCRIPT, "php": PHP, "go": GO, "ruby": RUBY}


def arrows(text: str, language: str) -> tuple[str, list[str]]:
    """Return the nodes and the edges of a text in this file's notation."""
    flow = data_flow(text, language)
    names = [f"{variable.name}:{number}" for number, variable in enumerate(flow.variables, start=1)]
    edges = [
        f"{names[target]} {SIGNS[kind]} {' '.join(names[source] for source in sources)}"
        for target, kind, sources in flow.edges
    ]
    return " ".join(variable.name for variable in flow.variables), sorted(edges)


@pytest.mark.parametrize(
    ("language", "code", "nodes", "edges"),
    [
        pytest.param(language, dedent(code).strip(), nodes, edges, id=f"{language}: {title}")
        for language, cases in CASES.items()
        for title, (code, nodes, edges) in cases.items()
    ],
)
def test_a_graph_is_the_one_worked_out_by_hand(language, code, nodes, edges):
    assert arrows(code, language) == (nodes, sorted(edges.split(", ")))
    assert recognise(code) == language


def test_the_six_languages_of_codesearchnet_are_read():
    assert set(FLOW_TABLES) == set(CASES) == {"python", "java", "javascript", "php", "go", "ruby"}


@pytest.mark.parametrize("language", FLOW_TABLES)
def test_the_tables_name_only_nodes_and_fields_that_the_grammar_has(language):
    module, function = LANGUAGES[language].grammar
    grammar = Grammar(getattr(import_module(module), function)())
    nodes, fields = set(), set()
    for field in dataclasses.fields(FlowTable):
        value = getattr(FLOW_TABLES[language], field.name)
        if field.name == "assignments":
            fields |= {step for steps in value.values() for step in steps if isinstance(step, str)}
        if isinstance(value, Set | Mapping):
            nodes |= {place.partition(".")[0] for place in value}
            fields |= {place.partition(".")[2] for place in value} - {""}
    assert [node for node in sorted(nodes) if grammar.id_for_node_kind(node, True) is None] == []
    assert [name for name in sorted(fields) if grammar.field_id_for_name(name) is None] == []


def test_positions_are_characters_of_the_text_whatever_is_wrapped_around_it():
    for language, code in {
        "python": "def f(größe):\n    # ü→é 𝒳\n    name = größe\n    return name",
        "php": "public function f($größe) { /* → */ $name = $größe; return $name; }",
        "java": "A(int größe) { /* 𝒳 */ int name = größe; use(name); }",
    }.items():
        variables = data_flow(code, language).variables
        assert [code[start:end] for start, end, _ in variables] == [name for _, _, name in variables]
        assert [variable.name.strip("$") for variable in variables] == ["größe", "name", "größe", "name"]


def test_what_stands_behind_the_limit_is_not_read():
    code = "x = 1\n" + "#" * MAX_CHARS + "\ny = x"
    assert arrows(code, "python") == ("x 1", ["x:1 = 1:2"])


def test_text_that_is_no_code_has_no_language_and_does_no_harm():
    prose = "Dear reader,\nthis is a letter; it has (some) signs and 2 numbers."
    for text in ("", " \n", prose, "\0\ud800", "}{" * 50):
        assert recognise(text) is None
        for language in FLOW_TABLES:
            data_flow(text, language)


@pytest.mark.parametrize(
    ("code", "edge"),
    [
        ("x = " + "(" * 5_000 + "y" + ")" * 5_000, (0, "computed from", (1,))),
        ("x = " + "[" * 3_000, None),  # the grammar finds no assignment in it
        ("x = y" + " + y" * 4_000, (0, "computed from", tuple(range(1, 4_002)))),
        ("".join(f"{' ' * n}while x:\n" for n in range(150)) + " " * 150 + "x = y", (150, "comes from", (0,))),
        ("x = " + "lambda x: " * 400 + "x", (1, "comes from", (0,))),
    ],
    ids=["brackets", "open brackets", "a long sum", "loops in loops", "closures in closures"],
)
def test_hostile_nesting_is_read_without_exhausting_the_interpreter(code, edge):
    edges = data_flow(code, "python").edges
    assert edge in edges if edge else not edges
