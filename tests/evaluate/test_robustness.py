"""Names masked, comments out, other words, typing errors: what changes, and what must not."""

from dataclasses import replace

import pytest
from evaluating import small_task

from dowse.errors import ConfigError
from dowse.evaluate.rewriting import paraphrased, with_masked_names, with_typos, without_comments
from dowse.evaluate.robustness import VARIANTS, variant
from dowse.evaluate.tasks import bare
from dowse.languages.parsing import MAX_NESTING
from dowse.types import Document


@pytest.mark.parametrize(
    ("language", "code", "expected"),
    [
        ("python", "# top\nx = '# not one'  # tail\n", "x = '# not one'"),
        ("python", "class A:\n    '''About.'''\n    y = 1\n", "class A:\n    y = 1"),
        ("java", 'int f() { // one\n  return "//x"; /* two\n */ }', 'int f() {\n  return "//x";  }'),
        ("go", "// Say.\nfunc f() int { return 1 }", "func f() int { return 1 }"),
        ("ruby", "def f # x\n  1\nend", "def f\n  1\nend"),
        ("markdown", "# a title", "# a title"),
        ("klingon", "// x", "// x"),
    ],
)
def test_comments_go_and_strings_stay(language, code, expected):
    assert without_comments(code, language) == expected


@pytest.mark.parametrize(
    ("language", "code", "expected"),
    [
        (
            "python",
            "def load(path, mode=0):\n    data = read(path, mode=mode)\n    return data.path, self_check(data)",
            "def Func(arg_0, arg_1=0):\n    arg_2 = read(arg_0, mode=arg_1)\n    return arg_2.path, self_check(arg_2)",
        ),
        ("python", "def fact(n):\n    return n * fact(n - 1)", "def Func(arg_0):\n    return arg_0 * Func(arg_0 - 1)"),
        (
            "go",
            "func Sum(xs []int) int { total := 0; for _, x := range xs { total += x }; return total }",
            "func Func(arg_0 []int) int { arg_1 := 0; for _, arg_2 := range arg_0 { arg_1 += arg_2 }; return arg_1 }",
        ),
        ("javascript", "function f(a) { return a.map(g) + a }", "function Func(arg_0) { return arg_0.map(g) + arg_0 }"),
        (
            "php",
            "<?php function f($a) { return $a + g($a); }",
            "<?php function Func($arg_0) { return $arg_0 + g($arg_0); }",
        ),
    ],
)
def test_own_names_are_masked_and_those_of_others_stay(language, code, expected):
    assert with_masked_names(code, language) == expected


def test_code_that_cannot_be_parsed_or_has_no_grammar_is_left_alone_or_survives():
    assert with_masked_names("a a a", "text") == "a a a"
    assert isinstance(with_masked_names("def (((", "python"), str)
    assert with_masked_names("", "python") == "" == without_comments("", "python")


def test_code_that_no_grammar_can_read_is_measured_as_it_stands():
    nested = f"def f(a):\n    return {'(' * (MAX_NESTING + 1)}a  # why\n"
    assert with_masked_names(nested, "python") == nested == without_comments(nested, "python")
    task = small_task(corpus=small_task().corpus | {"date": bare(nested, "python")})
    for name in ("masked", "uncommented"):
        assert variant(task, name).texts["date"] == nested


def test_questions_in_other_words_and_with_slips_repeat():
    assert paraphrased("how to delete all files using python") == "remove every one of the files by means of python"
    assert paraphrased("zyx") == "zyx"
    query = "convert dictionary values into strings"
    slipped = with_typos(query)
    assert slipped != query and sorted(slipped) == sorted(query) and slipped == with_typos(query)
    assert with_typos(query, seed=1) != slipped
    assert with_typos("a b c") == "a b c" and with_typos("aaaa") == "aaaa"


def test_variants_change_one_side_of_a_task():
    task = small_task(queries=small_task().queries | {"q4": "create a list of both"})
    assert set(VARIANTS) == {"masked", "uncommented", "typos", "paraphrased"}
    for name in ("typos", "paraphrased"):
        harder = variant(task, name)
        assert harder.corpus == task.corpus and harder.queries != task.queries and harder.name != task.name
    for name in ("masked", "uncommented"):
        harder = variant(task, name)
        assert harder.queries == task.queries and harder.qrels == task.qrels
    assert "Func" in variant(task, "masked").texts["date"]
    with pytest.raises(ConfigError, match="no variant 'maskd' of a task; did you mean 'masked'"):
        variant(task, "maskd")


def test_masking_also_hides_path_and_symbol_and_code_that_is_all_comment_stays():
    placed = Document("kit", "src/date.py", 1, 1, "python", "parse_date", "function", "def parse_date(): ...")
    task = small_task(corpus=small_task().corpus | {"date": placed, "note": bare("# only this", "python")})
    assert variant(task, "masked").texts["date"] == "def Func(): ..."
    assert variant(task, "uncommented").texts["note"] == "# only this"
    assert variant(task, "uncommented").corpus["date"].symbol == "parse_date"


def test_code_is_changed_before_its_words_are_joined():
    task = small_task(corpus=small_task().corpus | {"date": bare("def f(x):\n    # why\n    return x", "python")})
    joined = variant(replace(task, joins_words=True), "uncommented")
    assert joined.texts["date"] == "def f(x): return x"
