"""Every benchmark's loader on small files in exactly the published format: right ones, and each way to be wrong."""

import gzip
import json
import pickle

import numpy as np
import pytest
from labelling import row, write_pairs

from dowse.errors import ConfigError, DataError
from dowse.evaluate.beir import load_beir
from dowse.evaluate.challenge import load_challenge
from dowse.evaluate.codenet import load_code_to_code
from dowse.evaluate.codesearchnet import ADVTEST, LANGUAGES, PUBLISHED, RETRIEVAL, load_advtest, load_codesearchnet
from dowse.evaluate.cosqa import load_cosqa
from dowse.evaluate.harness import measure
from dowse.evaluate.mined import load_mined
from dowse.evaluate.protocols import CSN, OASIS, protocol_named
from dowse.evaluate.staqc import load_staqc

CODE = 'def is_iterable(x):\n    """Tell."""\n    return hasattr(x, "__iter__")'
BARE = 'def is_iterable(x):\n    \n    return hasattr(x, "__iter__")'


def lines(place, rows):
    place.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(entry) + "\n" for entry in rows)
    with gzip.open(place, "wt") if place.suffix == ".gz" else place.open("w") as file:
        file.write(text)
    return place


def cosqa(folder, **changes):
    codes = [{"code_wo_comment": BARE, "url": 0, "code": CODE}, {"code_wo_comment": "y = 2", "url": 1, "code": "y = 1"}]
    asked = [{"idx": "cosqa-train-8", "doc": "check  if\titerable", "code": CODE, "label": 1, "retrieval_idx": 0}]
    (folder / "code_idx_map_list_merged.json").write_text(json.dumps(changes.get("codes", codes)))
    (folder / "cosqa-retrieval-test-500.json").write_text(json.dumps(changes.get("asked", asked)))
    return folder


def test_cosqa_joins_words_and_keeps_docstrings_unless_told(tmp_path):
    task = load_cosqa(cosqa(tmp_path), allow_partial=True)
    assert task.queries == {"cosqa-train-8": "check if iterable"}
    assert task.qrels == {"cosqa-train-8": {"0": 1}} and task.languages == {"cosqa-train-8": "python"}
    assert task.texts["0"] == 'def is_iterable(x): """Tell.""" return hasattr(x, "__iter__")'
    stripped = load_cosqa(tmp_path, allow_partial=True, keep_docstrings=False)
    assert stripped.texts["0"] == 'def is_iterable(x): return hasattr(x, "__iter__")'


def test_cosqa_is_read_from_its_own_published_file_as_well(tmp_path):
    task = load_cosqa(cosqa(tmp_path), allow_partial=True)
    (tmp_path / "code_idx_map_list_merged.json").unlink()
    (tmp_path / "code_idx_map.txt").write_text(json.dumps({CODE: 0, "y = 1": 1}))
    again = load_cosqa(tmp_path, allow_partial=True)
    assert (again.queries, again.qrels, again.texts) == (task.queries, task.qrels, task.texts)
    with pytest.raises(ConfigError, match="holds the codes with docstrings only"):
        load_cosqa(tmp_path, allow_partial=True, keep_docstrings=False)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, r"queries: 1, expected the 500 that were published"),
        ({"codes": {}}, "holds a dict, expected a list"),
        ({"codes": [{"code": " ", "url": 0}]}, r"entry 0: code is ' '"),
        ({"codes": [{"code": "x", "url": "0"}]}, r"entry 0: its number is '0'"),
        ({"codes": [{"code": "x", "url": 0}, {"code": "y", "url": 0}]}, r"entry 1: its number is 0"),
        ({"asked": [{"idx": "a", "doc": "b", "retrieval_idx": 7}]}, r"entry 0: retrieval_idx is 7"),
        ({"asked": [{"idx": "a", "retrieval_idx": 0}]}, r"entry 0: doc is None"),
        ({"asked": [{"idx": "a", "doc": "b", "retrieval_idx": 0}] * 2}, r"entry 1: idx a comes twice"),
    ],
)
def test_a_faulty_cosqa_file_is_named(tmp_path, changes, fault):
    with pytest.raises(DataError, match=fault):
        load_cosqa(cosqa(tmp_path, **changes))


def test_missing_and_broken_files_and_unknown_splits_are_told_apart(tmp_path):
    with pytest.raises(DataError, match=r"merged\.json cannot be read .*check --data"):
        load_cosqa(tmp_path)
    (tmp_path / "code_idx_map_list_merged.json").write_text("[")
    with pytest.raises(DataError, match="is not JSON"):
        load_cosqa(tmp_path)
    with pytest.raises(ConfigError, match="CoSQA has no split 'train'"):
        load_cosqa(tmp_path, "train")


def function(number, **others):
    return {
        "repo": "a/b",
        "language": "ruby",
        "code_tokens": ["def", f"f{number}", "end"],
        "docstring_tokens": ["Do", "thing", str(number)],
        "url": f"https://example.org/{number}.rb#L1-L2",
    } | others


def retrieval(folder, asked, codebase, suffix=".jsonl"):
    lines(folder / "ruby" / f"test{suffix}", asked)
    lines(folder / "ruby" / f"codebase{suffix}", codebase)
    return folder


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_codesearchnets_retrieval_files_join_their_tokens(tmp_path, suffix):
    retrieval(tmp_path, [function(1)], [function(1), function(2), function(1, code_tokens=["again"])], suffix)
    task = load_codesearchnet(tmp_path, "ruby", allow_partial=True)
    assert list(task.queries.values()) == ["Do thing 1"] and set(task.languages.values()) == {"ruby"}
    assert list(task.texts.values()) == ["def f1 end", "def f2 end", "again"]
    address = "https://example.org/1.rb#L1-L2"
    assert list(task.qrels.values()) == [{address: 1, f"{address}~2": 1}]


def test_codesearchnet_of_another_size_version_or_language_is_refused(tmp_path):
    retrieval(tmp_path, [function(1)], [function(2)])
    with pytest.raises(DataError, match=r"test queries: 1, expected the 1,400 that were published.*--allow-partial"):
        load_codesearchnet(tmp_path, "ruby")
    with pytest.raises(DataError, match="is not in the codebase"):
        load_codesearchnet(tmp_path, "ruby", allow_partial=True)
    for change, fault in (
        ({"code_tokens": "def f"}, r"line 1: code_tokens is def f, expected a list of texts"),
        ({"docstring_tokens": []}, r"line 1: docstring_tokens is \[\]"),
        ({"url": None}, "line 1: url is None"),
        ({"language": "go"}, "line 1: language is 'go', expected ruby"),
    ):
        retrieval(tmp_path, [function(1, **change)], [function(1)])
        with pytest.raises(DataError, match=fault):
            load_codesearchnet(tmp_path, "ruby", allow_partial=True)
    (tmp_path / "ruby" / "test.jsonl").write_text("{\n")
    with pytest.raises(DataError, match="line 1 is not JSON"):
        load_codesearchnet(tmp_path, "ruby", allow_partial=True)
    (tmp_path / "ruby" / "test.jsonl.gz").write_bytes(b"not packed")
    with pytest.raises(DataError, match="is damaged"):
        load_codesearchnet(tmp_path, "ruby", allow_partial=True)
    with pytest.raises(ConfigError, match="no language 'rubi'; did you mean 'ruby'"):
        load_codesearchnet(tmp_path, "rubi")
    with pytest.raises(ConfigError, match="no split 'dev'"):
        load_codesearchnet(tmp_path, "ruby", "dev")


def test_the_counts_are_those_of_the_papers():
    assert RETRIEVAL["python"] == (13_914, 14_918, 43_827) and sum(test for _, test, _ in RETRIEVAL.values()) == 53_294
    assert ADVTEST == {"valid": 9_604, "test": 19_210}
    assert set(PUBLISHED) == set(LANGUAGES) and sum(test for _, test in PUBLISHED.values()) == 100_529


def test_the_protocol_csn_ranks_every_answer_among_999_others(tmp_path):
    rows = [function(number) for number in range(2_300)]
    place = tmp_path / "ruby" / "final" / "jsonl" / "test"
    lines(place / "ruby_test_1.jsonl.gz", rows[1_200:])
    lines(place / "ruby_test_0.jsonl.gz", rows[:1_200])
    task = load_codesearchnet(tmp_path, "ruby", protocol=CSN, allow_partial=True)
    order = np.arange(2_300)
    np.random.RandomState(0).shuffle(order)
    assert [text.split()[-1] for text in task.queries.values()] == [str(number) for number in order[:2_000]]
    assert [len(pool) for pool in task.pools.values()] == [1_000, 1_000]
    for query_id, judged in task.qrels.items():
        assert judged.keys() <= set(task.pools[task.pool_of[query_id]])
    with pytest.raises(DataError, match="functions: 2,300, expected the 2,279"):
        load_codesearchnet(tmp_path, "ruby", protocol=CSN)
    for path in place.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"holds no \.jsonl\.gz"):
        load_codesearchnet(tmp_path, "ruby", protocol=CSN)


def test_advtest_is_its_own_codebase_with_masked_names(tmp_path):
    rows = [function(n, language="python", function_tokens=["def", "Func", str(n)], idx=n) for n in range(3)]
    lines(tmp_path / "test.jsonl", rows)
    task = load_advtest(tmp_path, allow_partial=True)
    assert list(task.texts.values()) == ["def Func 0", "def Func 1", "def Func 2"] and len(task.queries) == 3
    with pytest.raises(DataError, match="expected the 19,210"):
        load_advtest(tmp_path)


@pytest.mark.parametrize(
    "pair",
    [
        {"question": "sort a  list", "snippet": "xs.sort()\n"},
        {"query": "sort a  list", "code": "xs.sort()\n", "label": 1},
        {"docstring_tokens": ["sort", "a", "list"], "code_tokens": ["xs.sort()"], "url": 1},
    ],
)
def test_staqc_ranks_the_codes_of_both_smaller_splits(tmp_path, pair):
    lines(tmp_path / "valid.jsonl", [pair])
    lines(tmp_path / "test.jsonl", [pair, pair])
    task = load_staqc(tmp_path, allow_partial=True)
    assert task.queries == {"test-0": "sort a list", "test-1": "sort a list"}
    assert task.texts == dict.fromkeys(("valid-0", "test-0", "test-1"), "xs.sort()")
    with pytest.raises(DataError, match="pairs: 1, expected the 14,755"):
        load_staqc(tmp_path)
    with pytest.raises(ConfigError, match="no split 'train'"):
        load_staqc(tmp_path, "train")


def beir(folder, qrels="query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t0\n"):
    lines(folder / "corpus.jsonl", [{"_id": "d1", "title": "A title", "text": "x = 1"}, {"_id": "d2", "text": "y\n z"}])
    lines(folder / "queries.jsonl", [{"_id": "q1", "text": "set x"}, {"_id": "q2", "text": "set y"}])
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_a_beir_folder_asks_what_its_split_judges(tmp_path):
    task = load_beir(beir(tmp_path))
    assert task.queries == {"q1": "set x"} and task.qrels == {"q1": {"d1": 2, "d2": 0}}
    assert task.texts == {"d1": "A title\nx = 1", "d2": "y\n z"}
    assert load_beir(beir(tmp_path, "q1\td1\t1\n")).qrels == {"q1": {"d1": 1}}
    lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "title": "A title", "text": ""}])
    assert load_beir(tmp_path).texts == {"d1": "A title"}
    lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "title": " ", "text": ""}])
    with pytest.raises(DataError, match="text is '', expected text that is not blank"):
        load_beir(tmp_path)


@pytest.mark.parametrize(
    ("qrels", "fault"),
    [
        ("q1\td1\n", "line 1: .* is no judgement"),
        ("q1\td1\tgood\n", "line 1: .* is no judgement"),
        ("q1\td1\tinf\n", "line 1: .* is no judgement"),
        ("q9\td1\t1\n", "qrels judge query 'q9'"),
        ("q1\td9\t1\n", "'d9' does not exist"),
    ],
)
def test_faulty_judgements_are_named(tmp_path, qrels, fault):
    with pytest.raises(DataError, match=fault):
        load_beir(beir(tmp_path, qrels))


def test_a_beir_folder_without_the_split_or_with_an_id_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"dev\.tsv cannot be read"):
        load_beir(beir(tmp_path), "dev")
    lines(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "a"}] * 2)
    with pytest.raises(DataError, match=r"line 2: _id 'q1' comes twice"):
        load_beir(tmp_path)


def program(index, label, code="def main():\n    # say it\n    print(1)"):
    return {"index": index, "label": label, "func": code}


def test_programs_are_ranked_by_the_problem_they_solve_themselves_left_out(tmp_path):
    lines(tmp_path / "python_with_func.jsonl", [program(0, 7), program(1, 7), program(2, 8)])
    lines(tmp_path / "java_with_func.jsonl", [program(0, 8, "class A { /* one */ int f() { return 1; } }")])
    task = load_code_to_code(tmp_path)
    assert list(task.queries.values()) == ["def main(): print(1)"] * 2
    assert task.qrels == {"python-0": {"python-1": 1}, "python-1": {"python-0": 1}}
    assert task.excluded == {"python-0": "python-0", "python-1": "python-1"} and task.depth == 3
    across = load_code_to_code(tmp_path, "python", "java")
    assert across.qrels == {"python-2": {"java-0": 1}} and not across.excluded
    assert across.texts == {"java-0": "class A { int f() { return 1; } }"}
    with pytest.raises(ConfigError, match="no language 'perl'"):
        load_code_to_code(tmp_path, "perl")
    lines(tmp_path / "go_with_func.jsonl", [program(0, 7), program(0, 7)])
    with pytest.raises(DataError, match="line 2: expected an index of its own"):
        load_code_to_code(tmp_path, "go")


def challenge(folder, annotations, functions=None):
    (folder / "annotationStore.csv").write_text("Language,Query,GitHubUrl,Relevance,Notes\n" + annotations)
    rows = functions or [{"url": f"https://invented.example/{n}", "function": f"def f{n}(): pass"} for n in range(3)]
    (folder / "python_dedupe_definitions_v2.pkl").write_bytes(pickle.dumps(rows))
    return folder


def test_grades_of_several_annotators_become_the_gains_of_the_published_script(tmp_path):
    annotations = (
        "Python,Invented Question,https://invented.example/0,3,\n"
        "Python,invented question,https://invented.example/0,2,unsure\n"
        "Python,invented question,https://invented.example/1,0,\n"
        "Python,nothing fits,https://invented.example/1,0,\n"
        "Go,invented question,https://invented.example/2,3,\n"
    )
    task = load_challenge(challenge(tmp_path, annotations), "python")
    assert list(task.queries.values()) == ["invented question"]
    gain = 2**2.5 - 1
    assert list(task.qrels.values()) == [
        {"https://invented.example/0": round(1000 * gain), "https://invented.example/1": 0}
    ]
    query_id = next(iter(task.queries))
    run = {query_id: {"https://invented.example/2": 3.0, "https://invented.example/0": 2.0}}
    found = measure(task, run, ("ndcg@300", "judged-ndcg@300")).means
    assert found == pytest.approx({"ndcg@300": 1 / np.log2(3), "judged-ndcg@300": 1.0})


def test_a_language_that_the_challenge_lacks_is_named(tmp_path):
    with pytest.raises(ConfigError, match="the challenge has no language 'pyton'; did you mean 'python'"):
        load_challenge(tmp_path, "pyton")


def test_a_pickle_that_holds_more_than_data_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    challenge(tmp_path, "Python,a,https://invented.example/0,1,\n", [Trap()])
    with pytest.raises(DataError, match="is not plain pickled data"):
        load_challenge(tmp_path, "python")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("annotations", "fault"),
    [("Python,a,https://x,5,\n", "line 2: Relevance is '5'"), ("Python,a\n", "line 2: has no Language")],
)
def test_faulty_annotations_are_named(tmp_path, annotations, fault):
    with pytest.raises(DataError, match=fault):
        load_challenge(challenge(tmp_path, annotations), "python")


def pairs(folder):
    return write_pairs(
        folder,
        [
            row("Retry an upload.", "def retry(): ...", path="src/net.py", symbol="Client.retry", split="test"),
            row("fix retrying", "def retry(): ...", path="src/net.py", split="test", source="commits"),
            row("Sort users.", "def sort(): ...", repository="owner/two", split="test", language="go"),
            row("Parse a date.", "def parse(): ...", repository="owner/three", split="dev"),
        ],
    )


def test_mined_pairs_ask_one_split_and_equal_functions_are_one_document(tmp_path):
    task = load_mined(pairs(tmp_path / "pairs"))
    assert sorted(task.queries.values()) == ["Retry an upload.", "Sort users.", "fix retrying"]
    assert len(task.corpus) == 2 and len({next(iter(judged)) for judged in task.qrels.values()}) == 2
    assert "src/net.py Client.retry\ndef retry(): ..." in task.texts.values()
    assert sorted(task.languages.values()) == ["go", "python", "python"]
    assert sorted(task.categories.values()) == ["commits", "docstrings", "docstrings"]
    assert not task.pool_of


def test_mined_pairs_by_source_repository_and_within_their_repository(tmp_path):
    folder = pairs(tmp_path / "pairs")
    commits = load_mined(folder, source="commits")
    assert list(commits.queries.values()) == ["fix retrying"] and len(commits.corpus) == 2
    own = load_mined(folder, same_repository=True)
    assert {key: len(own.pools[pool]) for key, pool in own.pool_of.items()} == dict.fromkeys(own.queries, 1)
    some = load_mined(folder, repositories=["owner/two"])
    assert list(some.queries.values()) == ["Sort users."] and len(some.corpus) == 2
    go = load_mined(folder, language="go")
    assert list(go.queries.values()) == ["Sort users."] and len(go.corpus) == 1 and go.name == "mined go test"
    with pytest.raises(DataError, match="no mined llm test queries"):
        load_mined(folder, source="llm")
    with pytest.raises(ConfigError, match="no split 'valid'"):
        load_mined(folder, "valid")
    with pytest.raises(ConfigError, match="no source of pairs 'comits'; did you mean 'commits'"):
        load_mined(folder, source="comits")


def test_of_mined_pairs_every_version_of_the_right_function_is_right(tmp_path):
    found = [
        row("Retry an upload.", "def retry(): return 1", symbol="retry", split="test"),
        row("fix retrying", "def retry(): return 2", symbol="retry", split="test", source="commits"),
        row("retry for longer", "def retry(): return 3", symbol="retry", split="test", source="commits"),
        row("Retry elsewhere.", "def retry(): return 4", symbol="retry", path="src/b.py", split="test"),
        row("Call it back.", "x => 1", symbol="", split="test"),
        row("Call it again.", "x => 2", symbol="", split="test"),
    ]
    for source, n_queries in ((None, 6), ("commits", 2)):
        task = load_mined(write_pairs(tmp_path / "pairs", found), source=source)
        codes = {key: document.text for key, document in task.corpus.items()}
        right = {task.queries[query_id]: {codes[key] for key in judged} for query_id, judged in task.qrels.items()}
        assert len(codes) == 6 and len(right) == n_queries
        versions = {f"def retry(): return {number}" for number in (1, 2, 3)}
        assert right["fix retrying"] == right["retry for longer"] == versions
    right = load_mined(write_pairs(tmp_path / "pairs", found)).qrels.values()
    assert sorted(map(len, right)) == [1, 1, 1, 3, 3, 3]
    figures = measure(task, {query_id: dict.fromkeys(list(task.corpus)[:1], 1.0) for query_id in task.queries})
    assert figures.means["mrr@10"] == 1


def test_protocols_are_found_by_name():
    assert protocol_named("oasis") is OASIS and protocol_named("r2ps").max_document_tokens == 256
    with pytest.raises(ConfigError, match="no protocol 'oasys'; did you mean 'oasis'"):
        protocol_named("oasys")
