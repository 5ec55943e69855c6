"""What is read of labels, pairs and questions, and in what form."""

import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelling import row as pair
from labelling import write_pairs
from training import label_folder, mine_folder

from dowse.errors import DataError
from dowse.mine.docstrings import Docstrings
from dowse.mine.pipeline import MineOptions, mine
from dowse.mine.split import SplitOptions
from dowse.train.rows import RowOptions, TrainingRows, read_questions, read_rows


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return mine_folder(tmp_path_factory.mktemp("mined"))


@pytest.fixture(scope="module")
def labelled(pairs, tmp_path_factory):
    return label_folder(pairs, tmp_path_factory.mktemp("labelled") / "labels")


def test_a_query_comes_with_its_answer_and_its_labelled_candidates(labelled):
    rows = read_rows(labelled, RowOptions(bare_share=1.0))
    assert len(rows) == len(rows.sources) == rows.n_mined == 160
    for row in range(len(rows)):
        compared = list(rows.relations(row))
        assert [one.is_positive for one in compared] == [True] + [False] * (len(compared) - 1)
        assert all(0 <= one.label <= 1 for one in compared)
        assert rows.answer(row) == compared[0].text
    # 80 functions a repository, each a document once, whoever is compared with it.
    assert len(rows.documents) == 160 == len(set(rows.documents))


def test_queries_of_a_group_share_their_first_document(labelled):
    rows = read_rows(labelled, RowOptions())
    sizes = {}
    for group in rows.groups().tolist():
        sizes[group] = sizes.get(group, 0) + 1
    assert len(sizes) < 160 / 3


def test_queries_that_only_meet_in_some_functions_are_no_group():
    compared = [[0, 1], [1, 0], [0], [1], [2]]  # function 1 stands as documents 1 and 2, with comments and without
    flat = np.array([document for documents in compared for document in documents])
    rows = TrainingRows(
        queries=list("abcde"),
        sources=["kit"] * 5,
        documents=["one", "two", "two # bare"],
        document_ids=np.array([0, 1, 1]),
        query_ids=np.arange(5),
        offsets=np.cumsum([0, *map(len, compared)]),
        document=flat,
        label=np.ones(len(flat), np.float32),
        is_positive=np.ones(len(flat), bool),
        is_suspect=np.zeros(len(flat), bool),
        n_mined=5,
    )
    assert rows.groups().tolist() == [0, 0, 2, 3, 3]


def test_pairs_alone_have_no_labels(pairs):
    rows = read_rows(pairs, RowOptions(bare_share=1.0))
    assert len(rows) == 160
    assert all(math.isnan(label) for label in rows.label.tolist())
    assert rows.sources == ["package0"] * 80 + ["package1"] * 80
    assert rows.answer(0).startswith("def ")


def test_docstrings_lose_their_comments_unless_text_is_asked_for(pairs):
    assert '"""' not in "".join(read_rows(pairs, RowOptions()).documents)
    assert all('"""' in text for text in read_rows(pairs, RowOptions(document="text")).documents)


def test_documentation_of_a_class_is_taken_out_as_that_of_a_function_is(tmp_path):
    (tmp_path / "kit").mkdir()
    fields = "".join(f"    field_{number} = make_{number}(queue, {number})\n" for number in range(9))
    (tmp_path / "kit" / "queue.py").write_text(
        f'class Queue:\n    """Keeps the uploads that failed for later."""\n\n{fields}'
    )
    split = SplitOptions(dev_share=0, test_share=0)
    mine([tmp_path / "kit"], tmp_path / "pairs", [Docstrings.of_classes()], MineOptions(split=split, jobs=1))
    [document] = read_rows(tmp_path / "pairs", RowOptions(bare_share=1.0)).documents
    assert document.startswith("class Queue:") and "field_0" in document and "failed" not in document


def test_a_share_of_the_documents_keeps_its_comments_whoever_is_compared_with_it(labelled):
    some = read_rows(labelled, RowOptions(commented_share=0.5, bare_share=1.0))
    assert 50 < sum('"""' in text for text in some.documents) < 110
    assert len(some.documents) == 160
    assert some.documents == read_rows(labelled, RowOptions(commented_share=0.5, bare_share=1.0)).documents


def test_path_and_symbol_stand_before_the_share_of_documents_that_is_not_bare(pairs):
    named = read_rows(pairs, RowOptions(bare_share=0.0)).documents
    assert all(text.startswith("code.py ") for text in named)
    half = read_rows(pairs, RowOptions(bare_share=0.5)).documents
    assert 50 < sum(text.startswith("code.py ") for text in half) < 110
    assert half == read_rows(pairs, RowOptions(bare_share=0.5)).documents


def test_long_documents_are_cut(pairs):
    assert max(map(len, read_rows(pairs, RowOptions(bare_share=1.0, max_document_chars=30)).documents)) == 30


def test_a_sample_keeps_groups_whole(labelled):
    everything = read_rows(labelled, RowOptions())
    rows = read_rows(labelled, RowOptions(max_queries=64))
    assert 40 <= len(rows) <= 64
    whole = {}
    for query, group in zip(everything.queries, everything.groups().tolist(), strict=True):
        whole.setdefault(group, set()).add(query)
    kept = set(rows.queries)
    assert all(queries <= kept or not queries & kept for queries in whole.values())
    assert rows.queries == read_rows(labelled, RowOptions(max_queries=64)).queries
    assert rows.queries != read_rows(labelled, RowOptions(max_queries=64, seed=1)).queries


def test_singly_gives_every_relation_a_row(labelled):
    rows = read_rows(labelled, RowOptions())
    single = rows.singly()
    assert len(single) == len(rows.document) and single.offsets.tolist() == list(range(len(single) + 1))
    assert single.queries[:3] == [rows.queries[0]] * 3
    assert single.n_mined == len(single)


def test_an_empty_language_and_an_empty_split_are_said(pairs):
    assert len(read_rows(pairs, RowOptions(languages=("python",)))) == 160
    with pytest.raises(DataError, match=r"no row of split 'train' in cobol, expected some to train on"):
        read_rows(pairs, RowOptions(languages=("cobol",)))
    with pytest.raises(DataError, match="no row of split 'test'"):
        read_rows(pairs, RowOptions(split="test"))


def test_of_a_language_are_the_queries_whose_answer_is(labelled, tmp_path):
    shutil.copy(labelled / "manifest.json", tmp_path)
    for path in labelled.glob("labels-*.parquet"):
        table = pq.read_table(path)
        positive = table["is_positive"].to_pylist()
        languages = ["go" if number % 2 else "python" for number in range(sum(positive))]
        column, query = [], -1
        for answers in positive:  # a query's answer stands first; its candidates are of the other language
            query += answers
            own = languages[query]
            column.append(own if answers else {"go": "python", "python": "go"}[own])
        at = table.schema.get_field_index("language")
        pq.write_table(table.set_column(at, "language", pa.array(column)), tmp_path / path.name)
    rows, everything = read_rows(tmp_path, RowOptions(languages=("go",))), read_rows(tmp_path, RowOptions())
    assert 0 < len(rows) < len(everything)
    for row in range(len(rows)):
        compared = list(rows.relations(row))
        assert compared[0].is_positive and len(compared) > 1


def test_a_sample_smaller_than_a_group_is_one_group(labelled):
    assert 1 <= len(read_rows(labelled, RowOptions(max_queries=2))) <= 8


def test_questions_may_hold_what_looks_like_a_lines_end(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"query": "a\u2028b", "code": "c"}\n\n', encoding="utf-8")
    assert list(read_questions(tmp_path / "q.jsonl")) == [("a\u2028b", "c")]
    (tmp_path / "q.jsonl").write_bytes(b"\xff")
    for name in ("q.jsonl", "none.jsonl"):
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            list(read_questions(tmp_path / name))


def test_questions_follow_the_mined_and_those_not_answered_are_left_out(pairs, tmp_path):
    file = tmp_path / "q.jsonl"
    lines = [{"query": "a", "code": "x = 1"}, {"query": "b", "code": "y", "label": 0}, {"query": "A", "code": "z"}]
    file.write_text("\n".join(map(json.dumps, lines)))
    rows = read_rows(pairs, RowOptions(), [file])
    assert (len(rows), rows.n_mined) == (162, 160)
    assert rows.queries[160:] == ["a", "A"] and rows.answer(160) == "x = 1"
    assert rows.query_ids[160] == rows.query_ids[161] and rows.sources[160] != rows.sources[161]
    assert math.isnan(rows.label[-1])


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"query": "a"}', '{"query": 1, "code": "b"}', '{"query": "a", "code": null}']
)
def test_a_line_that_is_no_question_is_named(tmp_path, line):
    (tmp_path / "q.jsonl").write_text('{"query": "a", "code": "b"}\n' + line)
    with pytest.raises(DataError, match=r"q\.jsonl line 2: not a question"):
        list(read_questions(tmp_path / "q.jsonl"))


def functions_of(rows):
    """Return for each query the number of the function that answers it."""
    return {
        query: int(rows.document_ids[rows.document[first]])
        for query, first in zip(rows.queries, rows.offsets.tolist(), strict=False)
    }


LOAD = "def load(path):\n    return open(path).read()\n"
DOCUMENTED = LOAD.replace(":\n", ':\n    """Read a file whole."""\n', 1)


@pytest.mark.parametrize("bare_share", [0.0, 0.5, 1.0])
def test_versions_and_forms_of_a_function_are_one_and_other_functions_are_not(tmp_path, bare_share):
    found = [
        pair("Read a file whole.", DOCUMENTED, text_without_comments=LOAD, symbol="load"),
        pair("Get what a file holds.", DOCUMENTED, text_without_comments=LOAD, symbol="load", source="llm"),
        pair("Strip what is read.", LOAD.replace("read()", "read().strip()"), symbol="load", source="commits"),
        pair("Load bytes.", LOAD.replace("path)", "path, 'rb')"), path="src/b.py", symbol="load"),
        pair("Load lines.", LOAD.replace("read()", "readlines()"), repository="owner/two", symbol="load"),
        pair("Call back.", "lambda: f(1)  # at once", text_without_comments="lambda: f(1)", symbol="", source="llm"),
        pair("Call it back.", "lambda: f(1)  # at once", text_without_comments="lambda: f(1)", symbol=""),
        pair("Call another.", "lambda: f(2)", symbol=""),
    ]
    rows = read_rows(write_pairs(tmp_path / "pairs", found), RowOptions(bare_share=bare_share))
    own = functions_of(rows)
    assert own["Read a file whole."] == own["Get what a file holds."] == own["Strip what is read."]
    assert own["Call back."] == own["Call it back."]
    assert len(set(own.values())) == 5
    assert all(rows.document_ids[number] <= number for number in range(len(rows.documents)))


def test_equal_texts_are_one_even_where_they_are_of_two_functions(tmp_path):
    found = [
        pair("Load it stripped.", LOAD.replace("open", "reopen"), path="src/b.py", symbol="load"),
        pair("Load the whole of it.", LOAD + "# one way", path="src/a.py", symbol="load"),
        pair("Load it all at once.", LOAD + "# another", path="src/b.py", symbol="load"),
    ]
    rows = read_rows(write_pairs(tmp_path / "pairs", found), RowOptions(bare_share=1.0, max_document_chars=len(LOAD)))
    assert len(rows.documents) == 2 and rows.document_ids.tolist() == [0, 0]


def test_a_sample_questions_and_single_rows_know_the_same_functions(tmp_path):
    found = [pair(f"Ask number {n}.", f"def f(x):\n    return x + {n}\n", symbol=f"f{n // 2}") for n in range(40)]
    pairs, file = write_pairs(tmp_path / "pairs", found), tmp_path / "q.jsonl"
    asked = {"query": "an old one", "code": found[7]["text"]}, {"query": "a new one", "code": "x = 1"}
    file.write_text("\n".join(map(json.dumps, asked)))
    rows = read_rows(pairs, RowOptions(bare_share=1.0, max_queries=25), [file])
    for one in (rows, rows.singly()):
        own = functions_of(one)
        for n in range(0, 40, 2):
            both = {own[query] for query in (f"Ask number {n}.", f"Ask number {n + 1}.") if query in own}
            assert len(both) <= 1
        assert own["a new one"] == len(rows.documents) - 1
        assert own["an old one"] == own.get("Ask number 7.", own["an old one"])
        assert len(set(own.values())) > 10
