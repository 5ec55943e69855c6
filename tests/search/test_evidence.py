import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dowse.index.store import Entry
from dowse.languages.terms import query_terms
from dowse.search import evidence
from dowse.search.evidence import FEATURES, RETRIEVER_FEATURES, Candidates, Query, pooled


def query(text, idf=None):
    found = query_terms(text)
    return Query(text, found, np.array(idf or [1.0] * len(found), np.float32))


def candidates(*entries, bm25=None, cosine=None):
    """Candidates from (path, symbol, kind, lines) tuples, later parts optional."""
    defaults = (None, "function", 10)
    listed = []
    for path, *rest in entries:
        symbol, kind, lines = (*rest, *defaults[len(rest) :])
        listed.append(Entry(path, 1, lines, "python", symbol, kind))
    n = len(listed)
    paths, files = np.unique([entry.path for entry in listed], return_inverse=True)
    return Candidates(
        ids=np.arange(n),
        roots=np.zeros(n, np.int64),
        entries=listed,
        bm25=np.array(bm25 or [0.0] * n, np.float32),
        cosine=np.array(cosine or [0.0] * n, np.float32),
        files=files.astype(np.int64),
        paths=paths.tolist(),
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("retry", "symbol"),
        ("Stack.push", "symbol"),
        ("io::Error", "symbol"),
        ("a->b()", "symbol"),
        ("empty?", "symbol"),
        ("retry upload", "prose"),
        ("how is it?", "prose"),
        ("x = y", "prose"),
    ],
)
def test_a_bare_or_qualified_name_is_a_symbol_query_and_all_else_is_prose(text, kind):
    assert query(text).kind == kind


def test_identifiers_of_prose_are_words_that_only_code_would_write():
    assert query("where does retryUpload call max_attempts of the Client").identifiers == {
        "retryupload",
        "max_attempts",
    }
    assert query("Client").identifiers == {"client"}


def test_lexical_evidence_is_relative_to_the_best_and_zero_where_words_found_nothing():
    assert evidence.lexical(query("x"), candidates(("a",), ("b",), bm25=[4.0, 1.0])).tolist() == [1.0, 0.25]
    assert evidence.lexical(query("x"), candidates(("a",), ("b",))).tolist() == [0.0, 0.0]


def test_a_file_gathers_the_scores_of_its_documents():
    found = evidence.lexical_file(query("x"), candidates(("a",), ("b",), ("a",), bm25=[2.0, 3.0, 4.0]))
    assert found.tolist() == [1.0, 0.5, 1.0]


def test_the_three_nearest_documents_of_a_file_speak_for_it():
    shown = candidates(("a",), ("a",), ("b",), ("a",), ("a",), cosine=[0.9, 0.3, 0.5, 0.6, 0.0])
    assert evidence.dense_file(query("x"), shown) == pytest.approx([0.6, 0.6, 0.5, 0.6, 0.6])


def test_a_definition_of_a_name_in_the_query_is_told_from_a_use_of_it():
    shown = candidates(("a", "Client.retryUpload"), ("b", "upload"), ("c", None), ("d", "open, retryUpload"))
    assert evidence.defines_identifier(query("fix retryUpload please"), shown).tolist() == [1, 0, 0, 1]
    assert evidence.defines_word(query("upload a file"), shown).tolist() == [0, 1, 0, 0]


def test_coverage_of_the_query_by_names_counts_telling_terms_more():
    shown = candidates(("a", "retry"), ("b", "upload_retry"), ("c", None))
    assert evidence.symbol_covers_query(query("retry upload", [3.0, 1.0]), shown) == pytest.approx([0.75, 1.0, 0.0])
    assert evidence.query_covers_symbol(query("retry"), shown)[0] == 1
    assert 0 < evidence.query_covers_symbol(query("retry"), shown)[1] < 1


def test_words_of_the_path_and_of_the_file_name_are_compared_by_stem():
    shown = candidates(("src/uploads/retrying.py",), ("src/other.py",))
    assert evidence.path_covers_query(query("retry upload"), shown).tolist() == [1, 0]
    assert evidence.query_covers_stem(query("retry upload"), shown).tolist() == [1, 0]


@pytest.mark.parametrize(
    "path", ["tests/a.py", "a/test_b.py", "b_test.go", "src/c.spec.ts", "FooTest.java", "spec/d.rb"]
)
def test_tests_are_recognised_unless_they_are_asked_for(path):
    assert evidence.is_test(query("upload"), candidates((path,))).tolist() == [1]
    assert evidence.is_test(query("upload test"), candidates((path,))).tolist() == [0]


@pytest.mark.parametrize("path", ["src/latest.py", "contest.go", "attestation/x.rs", "src/inspect.ts"])
def test_names_that_only_look_like_tests_are_not(path):
    assert evidence.is_test(query("upload"), candidates((path,))).tolist() == [0]


def test_examples_entrances_and_declarations_are_recognised():
    assert evidence.is_aside(query("x"), candidates(("examples/a.py",), ("src/a.py",))).tolist() == [1, 0]
    assert evidence.is_aside(query("an example"), candidates(("examples/a.py",))).tolist() == [0]
    documented = candidates(
        ("docs/a.py",), ("doc_samples/a.py",), ("docs-site/a.ts",), ("src/docs.py",), ("docstore/a.py",)
    )
    assert evidence.is_aside(query("x"), documented).tolist() == [1, 1, 1, 0, 0]
    assert evidence.is_entrance(query("x"), candidates(("a/__init__.py",), ("b/index.ts",), ("init.py",))).tolist() == [
        1,
        1,
        0,
    ]
    assert evidence.is_declaration(query("x"), candidates(("a.d.ts",), ("a.h",), ("a.ts",))).tolist() == [1, 1, 0]


def test_ports_to_windows_and_older_versions_stand_aside_unless_asked_for():
    ports = candidates(("src/unix/tcp.c",), ("src/win/tcp.c",), ("src/winner.c",))
    assert evidence.is_aside(query("open a socket"), ports).tolist() == [0, 1, 0]
    assert evidence.is_aside(query("open a socket on windows"), ports).tolist() == [0, 0, 0]
    versions = candidates(("api/v3/a.ts",), ("api/v4/a.ts",), ("other/v1/b.ts",), ("v3/a.ts",))
    assert evidence.is_aside(query("parse a date"), versions).tolist() == [1, 0, 0, 0]
    assert evidence.is_aside(query("parse a date in v3"), versions).tolist() == [0, 0, 0, 0]


def test_what_the_bi_encoder_has_not_embedded_counts_as_its_least_near():
    shown = candidates(("a",), ("a", None, "function", 2), ("b",), ("c",), cosine=[0.5, 0.5, 0.5, 0.5])
    shown = replace(shown, retriever=np.array([0.9, 0.5, np.nan, 0.2], np.float32))
    assert evidence.retriever(query("x"), shown) == pytest.approx([0.8, 0.6, 0.2, 0.2])
    unseen = replace(shown, retriever=np.full(4, np.nan, np.float32))
    assert evidence.retriever(query("x"), unseen).tolist() == [0] * 4
    assert evidence.evidence(query("x"), shown).shape == (4, len(RETRIEVER_FEATURES))
    with pytest.raises(ValueError, match="has not looked at"):
        evidence.retriever(query("x"), candidates(("a",)))


def test_kind_and_length_are_evidence():
    shown = candidates(("a", None, "method", 100), ("b", None, "class", 10), ("c", None, "text", 1))
    assert evidence.is_function(query("x"), shown).tolist() == [1, 0, 0]
    assert evidence.is_class(query("x"), shown).tolist() == [0, 1, 0]
    assert evidence.is_text(query("x"), shown).tolist() == [0, 0, 1]
    assert evidence.length(query("x"), shown)[0] == pytest.approx(1)


def test_every_feature_gives_one_finite_number_for_each_candidate_also_when_there_are_none():
    shown = candidates(("a", "x"), ("b", None), bm25=[1.0, 0.0], cosine=[0.1, -0.2])
    for asked in (query("x"), query("?")):
        for some in (shown, candidates()):
            table = evidence.evidence(asked, some)
            assert table.shape == (len(some.ids), len(FEATURES))
            assert np.isfinite(table).all()


def test_every_feature_says_what_it_is():
    for feature in RETRIEVER_FEATURES.values():
        assert feature.__doc__ and feature.__doc__.partition("\n")[0].endswith("."), feature


def test_pooling_brings_documents_of_one_file_together():
    first, second = candidates(("a",), ("b",)), candidates(("b", "x", "function", 9))
    both = pooled([first, replace(second, ids=np.array([7]))])
    assert both.files.tolist() == [0, 1, 1] and both.paths == ["a", "b"]
    assert both.retriever is None


def test_pooling_two_roots_keeps_their_files_apart():
    first, second = candidates(("a",), ("b",)), candidates(("a",))
    both = pooled([first, replace(second, roots=np.ones(1, np.int64))])
    assert both.files.tolist() == [0, 1, 2]
    assert len(both.entries) == len(both.ids) == 3


def test_no_rule_of_search_names_a_repository_that_it_is_measured_on():
    root = Path(__file__).parents[2]
    reserved = (root / "configs/reserved.txt").read_text().splitlines()
    names = {line.rpartition("/")[2].lower() for line in reserved if line and not line.startswith("#")}
    assert {"fastapi", "gin", "zod"} <= names
    names -= {"json"}  # a format before it is a library's name

    def named(rules):
        plain = re.sub(r"\\[a-z]?", " ", " ".join(rules).lower())  # no letter of \b or \w joins a name
        return {name for name in names if re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", plain)}

    assert named([r"(^|/)\bgin\b/", "ginger"]) == {"gin"}
    assert named(["a/kotlinx.coroutines/b"]) == {"kotlinx.coroutines"}
    for file in (root / "src/dowse/search").glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        rules = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not named(rules), file
    assert not named([(root / "src/dowse/search/weights.json").read_text()])
