import json

import pytest
from repos import commit, function, git, make_repository

from dowse.errors import ConfigError, DataError
from dowse.mine.feedback import FeedbackQueries, default_file
from dowse.mine.pairs import read_rows
from dowse.mine.pipeline import MineOptions, mine


def verdict(root, query, symbol, useful=True, **more):
    text = function(symbol).strip() if symbol else "x = 1"
    said = {"time": "2026-01-01T00:00:00+00:00", "repository": root.name, "path": "lib.py", "root": str(root)}
    lines = {"start_line": 1, "end_line": 5, "language": "python", "kind": "function"}
    return said | lines | {"query": query, "useful": useful, "symbol": symbol or None, "text": text} | more


def write(verdicts):
    place = default_file()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(one) + "\n" for one in verdicts))
    return place


def test_useful_hits_become_pairs_with_what_was_rejected_for_the_same_query_and_all_others_are_counted(tmp_path):
    root = make_repository(
        tmp_path / "code", {"lib.py": "".join(map(function, ("split_words", "read_rows", "old_one")))}
    )
    commit(root, {"lib.py": function("split_words") + function("read_rows") + function("old_one", "Now another.")}, "x")
    write(
        [
            verdict(root, "how are words told apart in files", "split_words"),
            verdict(root, "where are rows of a file read", "read_rows", useful=False),
            verdict(root, "where are rows of a file read", "read_rows"),  # thought better of
            verdict(root, "where are rows of a file read", "split_words", useful=False),
            verdict(root, "which function deletes a whole table", "read_rows", useful=False),
            verdict(root, "where is this number one kept", ""),
            verdict(root, "what was here before it changed", "old_one"),
            verdict(root, "what is in a file that is gone", "split_words", path="gone.py"),
            verdict(tmp_path / "elsewhere", "how are words told apart elsewhere", "split_words"),
        ]
    )
    counts = mine([root], tmp_path / "pairs", [FeedbackQueries()], MineOptions(jobs=1))
    rows = {row["query"]: row for row in read_rows(tmp_path / "pairs")}
    assert {query: row["symbol"] for query, row in rows.items()} == {
        "how are words told apart in files": "split_words",
        "where are rows of a file read": "read_rows",
    }
    row = rows["how are words told apart in files"]
    assert row["source"] == "feedback" and row["text"].startswith("def split_words") and row["commit"]
    assert row["rejected"] is None
    (rejected,) = rows["where are rows of a file read"]["rejected"]
    assert rejected["symbol"] == "split_words" and rejected["text"] == row["text"]
    assert rejected["code_hash"] == row["code_hash"] and rejected["language"] == "python"
    dropped = counts["dropped"]["feedback"]
    rules = ("rejected, and nothing was useful", "no single function", "changed since")
    assert [dropped[rule] for rule in rules] == [1, 2, 1]


def test_new_verdicts_are_mined_again(tmp_path):
    root = make_repository(tmp_path / "code", {"lib.py": function("split_words") + function("read_rows")})
    first = verdict(root, "how are words told apart in files", "split_words")
    write([first])
    assert mine([root], tmp_path / "pairs", [FeedbackQueries()], MineOptions(jobs=1))["pairs"] == 1
    write([first, verdict(root, "where are rows of a file read", "read_rows")])
    assert mine([root], tmp_path / "pairs", [FeedbackQueries()], MineOptions(jobs=1))["pairs"] == 2


def test_two_clones_at_one_commit_keep_their_own_verdicts(tmp_path):
    root = make_repository(tmp_path / "one" / "code", {"lib.py": function("split_words") + function("read_rows")})
    (tmp_path / "two").mkdir()
    git(tmp_path, "clone", "--quiet", str(root), "two/code")
    for folder in (root, tmp_path / "two" / "code"):
        git(folder, "config", "remote.origin.url", "https://example.org/owner/code")
    write(
        [
            verdict(root, "how are words told apart in files", "split_words"),
            verdict(tmp_path / "two" / "code", "where are rows of a file read", "read_rows"),
        ]
    )
    mine([root, tmp_path / "two" / "code"], tmp_path / "pairs", [FeedbackQueries()], MineOptions(jobs=1))
    assert {row["symbol"] for row in read_rows(tmp_path / "pairs")} == {"split_words", "read_rows"}


def test_what_is_no_verdict_is_named_with_its_line(tmp_path):
    root = make_repository(tmp_path / "code", {"lib.py": function("split_words")})
    with pytest.raises(ConfigError, match=r"feedback\.jsonl does not exist, expected the verdicts of: dowse serve"):
        mine([root], tmp_path / "pairs", [FeedbackQueries()], MineOptions(jobs=1))
    place = write([verdict(root, "how are words told apart", "split_words")])
    for line in ("{", "[]", '{"query": 1}'):
        place.write_text(place.read_text().split("\n")[0] + "\n" + line + "\n")
        with pytest.raises(DataError, match=r"feedback\.jsonl line 2: this is no verdict; remove the line"):
            mine([root], tmp_path / "pairs", [FeedbackQueries()], MineOptions(jobs=1))


def test_of_overloads_a_verdict_is_on_the_one_whose_text_was_judged(tmp_path):
    def overload(kind, body):
        lines = (f"static int size({kind} one) {{", f"    int n = {body};", "    log(n);", "    return n;", "}")
        return "".join(f"    {line}\n" for line in lines)

    first, second = overload("String", "one.length()"), overload("List", "one.count() + 1")
    root = make_repository(tmp_path / "code", {"lib.java": f"class Kit {{\n{first}\n{second}}}\n"})
    write(
        verdict(root, f"how large is this {name} here", "Kit.size", path="lib.java", text=text, language="java")
        for name, text in (("text", first), ("list", second))
    )
    counts = mine([root], tmp_path / "pairs", [FeedbackQueries()], MineOptions(jobs=1))
    found = {row["query"].split()[4]: row["text"] for row in read_rows(tmp_path / "pairs")}
    assert "one.length()" in found["text"] and "one.count()" in found["list"]
    assert "changed since" not in counts["dropped"]["feedback"]
    query = "how large is this thing here"
    write(
        verdict(root, query, "Kit.size", useful, path="lib.java", text=text, language="java")
        for text, useful in ((first, True), (second, False))
    )
    mine([root], tmp_path / "pairs", [FeedbackQueries()], MineOptions(jobs=1))
    [row] = read_rows(tmp_path / "pairs")
    assert "one.length()" in row["text"] and "one.count()" in row["rejected"][0]["text"]


def test_a_rejected_function_of_a_benchmark_is_not_written_and_counted(tmp_path):
    names = ("split_words", "read_rows", "save_rows")
    root = make_repository(tmp_path / "code", {"lib.py": "".join(map(function, names))})
    (tmp_path / "benchmark.json").write_text(json.dumps([{"code": function("split_words"), "language": "python"}]))
    query = "where are rows of a file read"
    write(verdict(root, query, name, useful=name == "read_rows") for name in names)
    options = MineOptions(jobs=1, benchmarks=(tmp_path / "benchmark.json",))
    counts = mine([root], tmp_path / "pairs", [FeedbackQueries()], options)
    [row] = read_rows(tmp_path / "pairs")
    assert [one["symbol"] for one in row["rejected"]] == ["save_rows"]
    assert counts["dropped"]["feedback"]["rejected, in a benchmark"] == 1
