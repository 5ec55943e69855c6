"""`dowse evaluate` and `dowse compare`, once as people run them and then in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import commands
import pytest
from labelling import rows, write_pairs
from sources import FILES, write_files

from dowse.evaluate.tasks import Task
from dowse.serve.evaluating import _show_comparison
from dowse.types import Document


def dowse(*arguments):
    return commands.dowse(*arguments, COLUMNS="80")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    found = [pair | {"split": "test"} for pair in rows(count=20)]
    return write_pairs(tmp_path_factory.mktemp("mined") / "pairs", found)


def evaluate(pairs, *arguments):
    return dowse("evaluate", "mined", "--data", pairs, *arguments)


def test_metrics_are_printed_under_their_names_and_the_run_is_saved_and_compared(pairs, tmp_path):
    saved = [tmp_path / "static.trec", tmp_path / "turned.trec"]
    arguments = ["evaluate", "mined", "--data", pairs, "--retriever", "static", "--json", "--run", saved[0]]
    command = [sys.executable, "-m", "dowse", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["queries"] == figures["documents"] == 20
    assert {"mrr@1000", "mrr@10", "ndcg@10", "recall@100", "map"} <= figures.keys()
    assert f"run: {saved[0]}" in done.stderr
    # another run on the same queries: the first one's order turned round
    turned = [line.split() for line in saved[0].read_text().splitlines()]
    saved[1].write_text("".join(f"{q} Q0 {d} 0 {-float(s)} turned\n" for q, _, d, _, s, _ in turned))
    Path(f"{saved[1]}.json").write_text(Path(f"{saved[0]}.json").read_text())
    done = dowse("compare", *saved, "--json", "--metric", "mrr@10")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["comparisons"][0]
    assert found["runs"] == ["static", "turned"] and found["files"] == [str(path) for path in saved]
    row = found["metrics"]["mrr@10"]
    assert row["first"] == pytest.approx(figures["mrr@10"]) and row["difference"] < 0 and row["losses"] > row["wins"]
    table = dowse("compare", *saved, "--moved", 1)
    assert table.returncode == 0, table.stderr
    assert "mined test: turned against static, 20 queries" in table.stdout
    assert "src/" in table.stdout and " → " in table.stdout


def test_what_a_comparison_shows_of_others_is_obeyed_by_no_terminal(capsys):
    evil = "a\x1b]0;b\x07\u202ec[red]d"
    task = Task("t", {"q": evil}, {"d": Document("", evil, 1, 1, "", None, "text", evil)}, {"q": {"d": 1}})
    moved = {"first": 0.0, "second": 1.0, "query": evil, "relevant": ["d"], "first_hits": ["d"], "second_hits": [evil]}
    _show_comparison({"runs": [evil, evil], "task": evil, "queries": 1, "metrics": {}, "moved": [moved]}, task)
    shown = capsys.readouterr().out
    assert "<1b>" in shown and "<202e>" in shown and "[red]" in shown and not set("\x1b\x07\u202e") & set(shown)


def test_a_table_has_a_row_for_each_baseline_and_variant_and_a_report_is_written(pairs, tmp_path):
    done = evaluate(
        pairs, "--searcher", "--baseline", "bm25", "--baseline", "static", "--report", tmp_path / "r.html",
        "--png", tmp_path / "png", "--results", tmp_path / "results",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "mined, test: 20 queries, 20 documents"
    assert [line.split()[0] for line in lines[4:7]] == ["searcher", "bm25", "static"]
    assert [line.split(" over ")[1].split(",")[0] for line in lines if " over " in line] == ["bm25", "static"]
    (path,) = (tmp_path / "results").iterdir()
    record = json.loads(path.read_text())
    assert list(record["figures"]["rows"]) == ["searcher", "bm25", "static"] and record["settings"]["queries"] == 20
    assert record["settings"]["search"]["mode"] == "auto" and len(record["settings"]["fingerprints"]["static"]) == 1
    assert str(tmp_path) not in path.read_text() and str(pairs) not in path.read_text()
    assert "<svg" in (tmp_path / "r.html").read_text() and (tmp_path / "png" / "rows.png").is_file()


def test_the_annotated_repositories_are_asked_of_the_search(tmp_path):
    write_files(tmp_path / "checkouts" / "kit", FILES)
    bench = tmp_path / "bench"
    (bench / "annotations").mkdir(parents=True)
    repository = {"name": "kit", "language": "python", "url": "https://example.org/kit", "revision": "0" * 40}
    (bench / "repos.json").write_text(json.dumps([repository]))
    query = {"query": "retry upload", "relevant": ["src/upload/client.py"], "secondary": [], "category": "semantic"}
    (bench / "annotations" / "kit.json").write_text(json.dumps([query]))
    asked = ("evaluate", "annotated", "--data", bench, "--searcher", "--baseline", "bm25", "--json")
    done = dowse(*asked, "--checkouts", tmp_path / "checkouts")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["ndcg@10"] == 1.0 and figures["baselines"][0]["name"] == "bm25"
    # what the user shares with others and leaves out elsewhere has no say
    said = f'[index]\nstore = "lance:{tmp_path}/team"\nexclude = ["*.py"]\n'
    write_files(Path(os.environ["XDG_CONFIG_HOME"]), {"dowse/config.toml": said})
    again = json.loads(dowse(*asked, "--checkouts", tmp_path / "checkouts").stdout)
    assert again["ndcg@10"] == 1.0 and not (tmp_path / "team").exists()
    missing = dowse(*asked)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: annotated searches the repositories themselves")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("evaluate", "cosca", "--data", "."), "there is no benchmark 'cosca'; did you mean 'cosqa'?"),
        (("evaluate", "cosqa", "--data", "nowhere"), "nowhere/code_idx_map_list_merged.json cannot be read"),
        (("evaluate", "cosqa", "--data", ".", "--protocol", "oasys"), "did you mean 'oasis'?"),
        (("evaluate", "cosqa", "--data", ".", "--combine", "half"), "combine is 'half'"),
        (("evaluate", "cosqa", "--data", ".", "--searcher", "--ranker", "x"), "--searcher measures the whole search"),
        (
            ("evaluate", "annotated", "--data", ".", "--results", "r"),
            "annotated has no use for --results; leave it out",
        ),
        (("evaluate", "annotated", "--data", ".", "--searcher", "--retriever", "x"), "--searcher measures the whole"),
        (("evaluate", "codesearchnet", "--data", ".", "--run", "r"), "--run holds one task"),
        (
            ("evaluate", "cosqa", "--data", ".", "--split", "dev", "--language", "go"),
            "cosqa has no use for --language; leave it out",
        ),
        (("evaluate", "cosqa", "--data", ".", "--labels", "x"), "--labels is for the report"),
        (
            ("evaluate", "cosqa", "--data", ".", "--report", "r", "--training", "gone.jsonl"),
            "gone.jsonl cannot be read",
        ),
        (("evaluate", "cosqa", "--data", ".", "--report", "r", "--labels", "gone"), "gone holds no labels-*.parquet"),
        (("evaluate", "cosqa", "--data", ".", "--metric", "auc"), "check --metric"),
        (("compare", "one.trec"), "1 run was named, expected two or more"),
        (("compare", "one.trec", "two.trec"), "one.trec.json cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, fault):
    done = dowse(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and fault in done.stderr and done.stderr.count("\n") == 1


def test_a_record_is_replaced_by_the_same_measurement_only(pairs, tmp_path):
    asked = ("--retriever", "static", "--no-latency", "--metric", "mrr@10", "--results", tmp_path / "kept")
    assert evaluate(pairs, *asked).returncode == 0 and evaluate(pairs, *asked).returncode == 0
    (path,) = (tmp_path / "kept").iterdir()
    was = path.read_bytes()
    for further, changed in (("--metric", "map"), "rows"), (("--baseline", "bm25"), "rows"):
        done = evaluate(pairs, *asked, *further)
        assert done.returncode == 1 and f"the record of another measurement ({changed})" in done.stderr
        assert "static" in done.stdout and path.read_bytes() == was, "the figures are shown all the same"


def test_a_ranker_that_is_none_is_refused_and_runs_on_other_queries_are_not_compared(pairs, tmp_path):
    done = evaluate(pairs, "--retriever", "static", "--ranker", tmp_path)
    assert done.returncode == 1 and "train one with: dowse train ranker" in done.stderr
    assert evaluate(pairs, "--retriever", "static", "--run", tmp_path / "a").returncode == 0
    (tmp_path / "b").write_text((tmp_path / "a").read_text())
    made_on = json.loads((tmp_path / "a.json").read_text())
    made_on["task"]["queries"] = 5
    (tmp_path / "b.json").write_text(json.dumps(made_on))
    done = dowse("compare", tmp_path / "a", tmp_path / "b")
    assert done.returncode == 1 and "was made on other queries" in done.stderr
