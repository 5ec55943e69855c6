import math
import random
import subprocess
import sys

import numpy as np
import pytest

from dowse.config import MAX_NUMBER
from dowse.index.lexical import LexicalIndex
from dowse.languages.identifiers import words
from dowse.languages.terms import query_terms, stemmed, terms

BODY_ONLY = (1.0, 0.0, 0.0)


@pytest.fixture
def lexical(tmp_path):
    index = LexicalIndex(tmp_path / "lexical")
    yield index
    index.close()


def add(index, document_id, text, file_id=1, symbol="", path="", kind="function"):
    index.add(document_id, file_id, kind, [stemmed(words(field)) for field in (text, symbol, path)])


def test_an_identifier_is_found_by_its_parts_by_itself_and_by_other_forms_of_its_words(lexical):
    add(lexical, 1, "def retryFailedUploads(): pass")
    add(lexical, 2, "def unrelated(): pass")
    lexical.commit()
    lexical.reload()
    for query in ("retry upload", "retryFailedUploads", "RETRY_FAILED_UPLOADS", "uploading", "failed"):
        assert lexical.search(query_terms(query), 10, BODY_ONLY)[0].tolist() == [1], query


def test_question_words_are_left_out_unless_there_is_nothing_else():
    assert query_terms("how do we parse the date") == ["pars", "date"]
    assert query_terms("where is it") == terms("where is it")
    assert query_terms("?!") == []


def test_scores_equal_the_bm25_formula_worked_out_by_loops(lexical):
    rng = random.Random(0)
    vocabulary = [f"w{letter}" for letter in "abcdefghij"]
    documents = [[rng.choice(vocabulary) for _ in range(rng.randint(1, 12))] for _ in range(30)]
    for number, document in enumerate(documents):
        lexical.add(number, number, "block", [" ".join(document), "", ""])
    lexical.commit()
    lexical.reload()
    query = ["wa", "wb", "wc"]
    mean = sum(map(len, documents)) / len(documents)
    for document_id, score in zip(*lexical.search(query, 30, BODY_ONLY), strict=True):
        expected = 0.0
        for term in query:
            n = sum(term in document for document in documents)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            tf = documents[document_id].count(term)
            expected += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(documents[document_id]) / mean))
        assert score == pytest.approx(expected, rel=1e-4)


def test_fields_add_up_by_their_boosts(lexical):
    add(lexical, 1, "alpha", symbol="beta", path="gamma.py")
    add(lexical, 2, "other")
    lexical.commit()
    lexical.reload()
    body, symbol, path = (lexical.search([term], 1, (1, 1, 1))[1][0] for term in ("alpha", "beta", "gamma"))
    everything = lexical.search(["alpha", "beta", "gamma"], 1, (1.0, 2.0, 0.5))[1][0]
    assert everything == pytest.approx(body + 2 * symbol + 0.5 * path, rel=1e-5)


def test_a_filter_gives_what_an_exact_scan_of_the_allowed_files_gives(lexical):
    rng = random.Random(1)
    for number in range(300):
        add(lexical, number, " ".join(rng.choices(["aa", "bb", "cc", "dd"], k=8)), file_id=number % 30)
    lexical.commit()
    lexical.reload()
    everything = lexical.search(["aa", "bb"], 300, BODY_ONLY)
    allowed = [3, 7, 29]
    expected = [(i, s) for i, s in zip(*everything, strict=True) if i % 30 in allowed]
    found = list(zip(*lexical.search(["aa", "bb"], 300, BODY_ONLY, allowed), strict=True))
    assert [i for i, _ in found] == [i for i, _ in expected]
    assert np.allclose([s for _, s in found], [s for _, s in expected])
    assert len(lexical.search(["aa"], 10, BODY_ONLY, [])[0]) == 0


def test_more_than_there_is_may_be_asked_for(tmp_path):
    """In a process of its own: tantivy would end this one where it finds no room for all of them."""
    asked = f"""
import resource
from pathlib import Path
from dowse.index.lexical import LexicalIndex
index = LexicalIndex(Path({str(tmp_path / "lexical")!r}))
assert len(index.search(["word"], 10, (1.0, 1.0, 1.0))[0]) == 0
index.add(7, 1, "function", ["word"] * 3)
index.commit()
index.reload()
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
assert index.search(["word"], {MAX_NUMBER}, (1.0, 1.0, 1.0))[0].tolist() == [7]
"""
    run = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


def test_removed_files_and_everything_from_a_number_on_are_not_found(lexical):
    for number in range(10):
        add(lexical, number, "word", file_id=number)
    lexical.remove_files([2, 3])
    lexical.remove_files_from(8)
    lexical.commit()
    lexical.reload()
    assert lexical.search(["word"], 20, BODY_ONLY)[0].tolist() == [0, 1, 4, 5, 6, 7]
    assert len(lexical) == 6


def test_nothing_is_seen_before_it_is_committed(lexical, tmp_path):
    add(lexical, 1, "word")
    lexical.reload()
    assert len(lexical) == 0
    lexical.commit()
    assert len(LexicalIndex(tmp_path / "lexical")) == 1


def test_rare_terms_tell_more_than_frequent_ones(lexical):
    for number in range(20):
        add(lexical, number, "common rare" if number == 7 else "common")
    lexical.commit()
    lexical.reload()
    common, rare, absent = lexical.inverse_document_frequency(["common", "rare", "absent"])
    assert common < rare < absent
    assert rare == pytest.approx(math.log(1 + (20 - 1 + 0.5) / 1.5), rel=1e-5)
