import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dowse.index import documents
from dowse.index.documents import MAX_CHARS, MERGED_CHARS, TEXT_CHARS, TEXT_LINES, Span, cut
from dowse.languages import LANGUAGES

CASES = tomllib.loads((Path(__file__).parent / "cases.toml").read_text(encoding="utf-8"))
CODE = sorted(name for name, language in LANGUAGES.items() if language.is_code)
PYTHON = LANGUAGES["python"]


def check(source: str, spans: list[Span]) -> None:
    """Fail unless the spans are in order, apart, trimmed, and hold every line that is not blank exactly once."""
    lines = source.split("\n")
    covered = []
    for before, span in zip([Span(0, 0, None, ""), *spans], spans, strict=False):
        assert before.end_line < span.start_line <= span.end_line <= len(lines)
        assert lines[span.start_line - 1].strip() and lines[span.end_line - 1].strip()
        assert span.kind in {"function", "method", "class", "block", "text"}
        assert span.symbol is None or span.symbol.strip()
        covered += range(span.start_line, span.end_line + 1)
    assert [number for number, line in enumerate(lines, 1) if line.strip()] == [
        number for number in covered if lines[number - 1].strip()
    ]


def size(source: str, span: Span) -> int:
    return sum(len(line) + 1 for line in source.split("\n")[span.start_line - 1 : span.end_line])


def test_every_language_with_a_grammar_has_a_case():
    assert sorted(CASES) == CODE


@pytest.mark.parametrize("name", CODE)
def test_a_small_file_is_cut_as_a_reader_would(name, monkeypatch):
    monkeypatch.setattr(documents, "MERGED_CHARS", 0)
    monkeypatch.setattr(documents, "WHOLE_CLASS_BYTES", 0)
    spans = cut(CASES[name]["source"], LANGUAGES[name])
    shown = [f"{span.start_line}-{span.end_line} {span.kind} {span.symbol or ''}".rstrip() for span in spans]
    assert shown == CASES[name]["spans"]


@pytest.mark.parametrize("name", CODE)
def test_line_endings_and_a_missing_last_one_do_not_move_a_span(name):
    source = CASES[name]["source"]
    spans = cut(source, LANGUAGES[name])
    assert cut(source.replace("\n", "\r\n"), LANGUAGES[name]) == spans
    assert cut(source.rstrip("\n"), LANGUAGES[name]) == spans
    assert cut("\n\n" + source, LANGUAGES[name]) == [
        span._replace(start_line=span.start_line + 2, end_line=span.end_line + 2) for span in spans
    ]


@pytest.mark.parametrize("name", [*CODE, "markdown"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_line_of_a_mangled_file_is_in_exactly_one_span(name, data):
    lines = CASES.get(name, CASES["python"])["source"].split("\n") * data.draw(st.integers(1, 8))
    for _ in range(data.draw(st.integers(0, 6))):
        position = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["drop", "cut", "double", "indent", "junk", "blank"]))
        if how == "drop" and len(lines) > 1:
            del lines[position]
        elif how == "cut":
            lines[position] = lines[position][: len(lines[position]) // 2]
        elif how == "double":
            lines.insert(position, lines[position])
        elif how == "indent":
            lines[position] = "\t  " + lines[position]
        elif how == "junk":
            lines[position] += data.draw(st.sampled_from(["{", "}", "(", '"""', "/*", "'", "\0", "\u2028", "𝒳é", "\r"]))
        else:
            lines.insert(position, " \t")
    source = "\n".join(lines)
    check(source, cut(source, LANGUAGES[name]))


@pytest.mark.parametrize("name", [*CODE, "markdown"])
@settings(max_examples=40, deadline=None)
@given(
    source=st.text(
        st.one_of(st.characters(), st.sampled_from("\n\n \t(){}[];:'\"/*#@=.def\r\x0b\x0c\x85\u2028\0")), max_size=300
    )
)
def test_every_line_of_random_text_is_in_exactly_one_span(name, source):
    check(source, cut(source, LANGUAGES[name]))


@pytest.mark.parametrize("source", ["", "\n", " \n\t\n", "\r\n"])
def test_a_blank_file_has_no_spans(source):
    assert cut(source, PYTHON) == cut(source, None) == []


def test_only_line_feeds_end_lines():
    source = "a = 1\x0b\x0c\u2028\x85\ndef f(): pass\n"
    assert cut(source, PYTHON) == [Span(1, 2, "f", "function")]


def test_characters_outside_the_basic_plane_do_not_move_a_span():
    source = 'x = "𝒳𝒴𝒵" * 2\n' + "y = 'é'\n" * 40 + "def naïve():\n" + '    return "𝒳"\n' * 30
    assert cut(source, PYTHON)[-1] == Span(42, 72, "naïve", "function")


@pytest.mark.parametrize("name", CODE)
@pytest.mark.parametrize("source", ["(" * 200_000, "{\n" * 50_000, "class A { " * 5_000, "function f() {\n" * 5_000])
def test_deep_nesting_neither_fails_nor_takes_long(name, source):
    start = time.monotonic()
    check(source, cut(source, LANGUAGES[name]))
    assert time.monotonic() - start < 30


def test_a_source_that_keeps_a_grammar_busy_becomes_windows(monkeypatch):
    monkeypatch.setattr("dowse.languages.parsing.PARSE_LIMIT_S", 0.05)
    source = "[" * 20_000 + "]" * 20_000
    assert cut(source, LANGUAGES["scala"]) == [Span(1, 1, None, "text")]


def test_a_node_that_begins_beyond_the_last_line_is_no_border():
    source = "x" * 1_300 + '"{<<EOF\n' + "  end\n" * 100 + "module'"  # unfinished: the grammar goes on after the end
    check(source, cut(source, LANGUAGES["ruby"]))


def test_a_long_function_is_split_between_statements_and_keeps_its_name():
    body = "".join(f"    if x == {n}:\n        print('case {n} of many')\n        return {n}\n" for n in range(60))
    source = f"def choose(x):\n{body}"
    spans = cut(source, PYTHON)
    assert len(spans) == -(-len(source) // MAX_CHARS)
    assert {(span.symbol, span.kind) for span in spans} == {("choose", "function")}
    assert all(size(source, span) <= MAX_CHARS for span in spans)
    lines = source.split("\n")
    assert all(lines[span.start_line - 1].startswith("    if") for span in spans[1:])


def test_a_split_keeps_comments_with_what_they_precede_and_begins_with_no_bracket():
    body = "".join(
        f"  // Step {n}: adds the number to the sum and goes on.\n  if (a)\n  {{\n    sum += {n};\n  }}\n"
        for n in range(60)
    )
    source = f"function total(a) {{\n{body}}}\n"
    lines = source.split("\n")
    spans = cut(source, LANGUAGES["javascript"])
    assert len(spans) > 2 and all(lines[span.start_line - 1].startswith("  //") for span in spans[1:])


def test_a_line_longer_than_any_document_stands_alone():
    source = "a = 1\nb = [" + "1, " * 2_000 + "]\nc = 2\n" + "d = 3  # some words to make it long\n" * 60
    spans = cut(source, PYTHON)
    check(source, spans)
    assert Span(2, 2, None, "block") in spans


def test_tiny_neighbours_merge_and_large_ones_do_not():
    tiny = "".join(f"def get_{n}():\n    return {n}\n\n\n" for n in range(4))
    large = "def large():\n" + "    print('a line of some length, repeated')\n" * 20
    assert cut(tiny + large, PYTHON) == [
        Span(1, 14, "get_0, get_1, get_2, get_3", "function"),
        Span(17, 37, "large", "function"),
    ]


def test_merging_stops_at_its_size_and_at_the_borders_of_classes():
    methods = "".join(f"    def method_{n}(self):\n        return 'the value of number {n}'\n\n" for n in range(40))
    source = f"class A:\n{methods}\nclass B:\n{methods}"
    spans = cut(source, PYTHON)
    check(source, spans)
    assert all(size(source, span) <= MERGED_CHARS for span in spans)
    for span in spans:
        assert len({symbol.partition(".")[0] for symbol in (span.symbol or "").split(", ")}) == 1


def test_a_small_class_stays_whole():
    source = "class Point:\n    x: int\n\n    def norm(self):\n        return abs(self.x)\n"
    assert cut(source, PYTHON) == [Span(1, 5, "Point", "class")]


def test_the_parts_of_a_large_class_are_its_head_and_its_methods():
    head = '"""' + "A class with much to say about itself. " * 8 + '"""'
    method = "".join(f"        self.value_{n} = compute_the_value_of({n})\n" for n in range(10))
    one = f"    # Leads.\n    @first\n    def one(self):\n{method}"
    source = f"class Big:\n    {head}\n\n{one}\n    limit = 3\n\n    def two(self):\n{method}"
    assert cut(source, PYTHON) == [
        Span(1, 2, "Big", "class"),
        Span(4, 16, "Big.one", "method"),
        Span(18, 30, "Big.two", "method"),
    ]


def test_a_documentation_comment_may_stand_a_line_away_but_a_licence_may_not():
    licence = "// Licensed to nobody in particular, for any purpose whatsoever, without fee.\n" * 4
    body = "  work(1);\n" * 30
    source = f"{licence}\nfunction first() {{\n{body}}}\n\n// Comes second.\n\nfunction second() {{\n{body}}}\n"
    spans = cut(source, LANGUAGES["javascript"])
    assert [(span.start_line, span.symbol) for span in spans] == [(1, None), (6, "first"), (39, "second")]


def test_functions_inside_long_top_level_code_are_found():
    body = "    work('with some words to make it long');\n" * 20
    source = f"(function () {{\n  function inner() {{\n{body}  }}\n{body}{body}}})();\n"
    assert "inner" in {span.symbol for span in cut(source, LANGUAGES["javascript"])}


def test_text_is_cut_at_headings_or_blank_lines():
    paragraph = "Words about a topic that goes on for a while.\n" * 6
    source = "".join(f"# Heading {n}\n\n{paragraph}\n{paragraph}\n" for n in range(6))
    spans = cut(source, LANGUAGES["markdown"])
    check(source, spans)
    lines = source.split("\n")
    assert all(span.kind == "text" and span.symbol is None for span in spans)
    assert all(lines[span.start_line - 1].startswith("#") or not lines[span.start_line - 2] for span in spans)
    assert all(size(source, span) <= TEXT_CHARS for span in spans)


def test_a_window_of_text_has_a_limited_number_of_lines():
    source = "x\n" * 1_000
    spans = cut(source, None)
    check(source, spans)
    assert all(span.end_line - span.start_line < TEXT_LINES for span in spans)


def test_a_file_of_many_lines_is_cut_in_reasonable_time():
    source = "value = compute(1, 2)\n" * 100_000
    start = time.monotonic()
    spans = cut(source, PYTHON)
    assert time.monotonic() - start < 30
    check(source, spans)
