"""Who calls whom, in small repositories of every kind of call."""

import pytest
from repos import make_repository

from dowse.languages import language_of
from dowse.mine.callgraph import CallGraph, Rule, build_call_graph
from dowse.mine.calls import facts_of
from dowse.mine.functions import functions_of
from dowse.mine.repositories import open_repository


def edges(files: dict[str, str]) -> set[tuple[str, str, str]]:
    """Return (caller, callee, rule) of the graph of some files."""
    functions = []
    for path, text in files.items():
        language = language_of(path, text)
        assert language is not None
        functions += functions_of(path, text, language)
    graph = CallGraph(functions, {path: facts_of(text.encode()) for path, text in files.items()})
    return {(functions[a].symbol, functions[b].symbol, rule.value) for a, b, rule in graph.edges}


def test_a_function_of_the_same_file_is_found_and_a_builtin_is_not():
    source = "def total(rows):\n    return sum(scale(row) for row in rows)\n\ndef scale(row):\n    return len(row)\n"
    assert edges({"a.py": source}) == {("total", "scale", "same file")}


def test_self_means_the_same_class_and_a_bare_name_in_python_does_not():
    source = (
        "class Box:\n    def add(self, x):\n        self.grow()\n        add(x)\n    def grow(self):\n        pass\n"
        "class Other:\n    def grow(self):\n        pass\n"
        "def add(x):\n    print(x)\n"
    )
    assert edges({"a.py": source}) == {("Box.add", "Box.grow", "same class"), ("Box.add", "add", "same file")}


def test_an_import_says_which_of_two_functions_is_meant():
    files = {
        "app/main.py": "from app.dates import parse\n\ndef run(text):\n    return parse(text)\n",
        "app/dates.py": "def parse(text):\n    return text.split('-')\n",
        "app/money.py": "def parse(text):\n    return text.split('.')\n",
        "app/lost.py": "def run_blindly(text):\n    return parse(text)\n",
    }
    found = edges(files)
    assert found == {("run", "parse", "imported")}


def test_a_module_under_another_name_is_followed_and_one_from_outside_is_not():
    files = {
        "tool.py": "import kit.shapes as ks\nimport numpy as np\n\ndef draw():\n    ks.zeros()\n    np.ones()\n",
        "kit/shapes.py": "def zeros():\n    return 0\n\ndef ones():\n    return 1\n",
    }
    assert edges(files) == {("draw", "zeros", "imported")}


def test_a_parameter_or_variable_hides_a_function_of_its_name():
    source = (
        "def visit(node):\n    return node\n\n"
        "def walk(tree, visit):\n    for node in tree:\n        visit(node)\n\n"
        "def map_all(tree):\n    visit = tree.visitor\n    return visit(tree)\n"
    )
    assert edges({"a.py": source}) == set()


def test_a_class_called_is_its_constructor():
    files = {
        "a.py": "class Reader:\n    def __init__(self, path):\n        pass\n\ndef read(p):\n    Reader(p)\n",
        "b.js": "class Reader { constructor(p) { this.p = p } }\nfunction read(p) { return new Reader(p) }\n",
        "C.java": "class Log { Log(String p) { this.p = p; } }\nclass User { Log make() { return new Log(null); } }\n",
        "d.rb": "class Page\n  def initialize(x)\n    @x = x\n  end\nend\ndef build(x)\n  Page.new(x)\nend\n",
    }
    assert edges(files) == {
        ("read", "Reader.__init__", "same file"),
        ("read", "Reader.constructor", "same file"),
        ("User.make", "Log.Log", "same file"),
        ("build", "Page.initialize", "same file"),
    }


def test_a_declared_type_says_whose_method_is_meant():
    files = {
        "geo/Circle.java": "class Circle { double area() { return 3.14; } }",
        "geo/Square.java": "class Square { double area() { return 1; } }",
        "geo/Sum.java": (
            "class Sum {\n  double both(Circle c) {\n    Square s = new Square();\n    Object o = c;\n"
            "    return c.area() + s.area() + o.area();\n  }\n}"
        ),
    }
    assert edges(files) == {
        ("Sum.both", "Circle.area", "same folder"),
        ("Sum.both", "Square.area", "same folder"),
    }


def test_go_finds_functions_of_its_package_and_methods_by_the_receiver():
    files = {
        "mux/router.go": (
            "package mux\nfunc NewRouter() *Router { return newEmpty() }\n"
            "func (r *Router) Match(p string) bool { return r.clean(p) != close(p) }\n"
            "func (r *Router) clean(p string) string { return p }\n"
        ),
        "mux/empty.go": "package mux\nfunc newEmpty() *Router { return nil }\n",
        "other/empty.go": "package other\nfunc newEmpty() int { return 0 }\n",
    }
    assert edges(files) == {
        ("NewRouter", "newEmpty", "same folder"),
        ("Router.Match", "Router.clean", "same file"),
    }


def test_overloads_are_too_many_to_choose_from():
    source = "class A {\n  void run() { step(1); }\n  void step(int n) { }\n  void step(String s) { }\n}"
    assert edges({"A.java": source}) == set()


def test_a_method_of_an_unknown_object_needs_a_telling_name_and_a_class_in_sight():
    files = {
        "kit/pool.py": "class Pool:\n    def close(self):\n        pass\n    def drain_queue(self):\n        pass\n",
        "app/near.py": "from kit.pool import Pool\n\ndef stop(x):\n    x.close()\n    x.drain_queue()\n",
        "app/far.py": "def halt(x):\n    x.drain_queue()\n",
    }
    assert edges(files) == {("stop", "Pool.drain_queue", "only method of its name")}


def test_code_calls_nothing_private_of_another_file():
    files = {
        "src/Main.kt": "class Main { fun run(x: Any) { x.hiddenThing() } }",
        "src/Other.kt": "class Other { private fun hiddenThing() { println(1) } }  // of Main too",
    }
    assert edges(files) == set()


def test_languages_do_not_call_each_other_unless_they_can():
    files = {
        "a.py": "def run_it():\n    start_engine()\n",
        "b.go": "package b\nfunc start_engine() int { return 1 }\n",
        "c/Main.kt": "fun main() { Helper.startEngine() }",
        "c/Helper.java": "class Helper { static void startEngine() { } }",
    }
    assert edges(files) == {("main", "Helper.startEngine", "same folder")}


def test_a_function_that_calls_itself_is_no_neighbour_of_itself():
    assert edges({"a.py": "def fact(n):\n    return n * fact(n - 1)\n"}) == set()


def test_names_in_comments_and_strings_are_no_calls():
    source = 'def a():\n    # b()\n    return "b()"\n\ndef b():\n    return 1\n'
    assert edges({"a.py": source}) == set()


@pytest.mark.parametrize(
    ("path", "source", "callee"),
    [
        ("a.rs", "struct P;\nimpl P { fn go(&self) { Self::up(1) } fn up(n: i32) { } }", "P.up"),
        ("a.php", "<?php class P { function go() { $this->up(1); } function up($n) { return $n; } }", "P.up"),
        ("a.rb", "class P\n  def go\n    up 1\n  end\n  def up(n)\n    n\n  end\nend\n", "P.up"),
        ("a.cs", "class P { void Go() { Up(1); } void Up(int n) { } }", "P.Up"),
        ("a.swift", "class P { func go() { up(n: 1) } func up(n: Int) { print(n) } }", "P.up"),
        ("a.scala", "class P { def go() = up(1)\n def up(n: Int) = n }", "P.up"),
        ("a.cpp", "class P { void go() { up(1); } void up(int n) { x = n; } };", "P.up"),
        ("a.c", "static int up(int n) { return n; }\nint go(void) { return up(1); }", "up"),
        ("a.ts", "class P { go() { this.up(1) } up(n: number) { return n } }", "P.up"),
        ("a.kt", "class P { fun go() { up(1) }\n fun up(n: Int) { println(n) } }", "P.up"),
        ("a.lua", "local function up(n) return n end\nlocal function go() return up(1) end", "up"),
    ],
)
def test_every_language_says_what_it_calls_within_a_class(path, source, callee):
    assert {found[1] for found in edges({path: source})} == {callee}


def test_the_graph_of_a_repository_reads_its_imports(tmp_path):
    folder = make_repository(
        tmp_path / "kit",
        {
            "src/main.py": "from src.util import (\n    load,\n    save,\n)\n\ndef run():\n    save(load())\n",
            "src/util.py": "def load():\n    return 1\n\ndef save(x):\n    return x\n",
        },
    )
    repository = open_repository(folder)
    functions = [
        function for path, source in repository.blobs() for function in functions_of(path, source, language_of(path))
    ]
    graph = build_call_graph(repository, functions)
    by_symbol = {function.symbol: position for position, function in enumerate(functions)}
    assert {edge.rule for edge in graph.edges} == {Rule.IMPORT}
    assert set(graph.callees[by_symbol["run"]]) == {by_symbol["load"], by_symbol["save"]}
    assert graph.callers[by_symbol["load"]] == [by_symbol["run"]]
    assert by_symbol["load"] not in graph.callees
