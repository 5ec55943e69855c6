"""`dowse mine` and `dowse show`, in this process but for what needs one of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import dowse
from endpoints import EndpointServer
from labelling import rows, write_pairs
from repos import commit, function, make_repository

from dowse.mine.pairs import read_rows


@pytest.fixture
def repository(tmp_path) -> Path:
    files = {"package.json": '{"license": "MIT"}', "a.py": function("one"), "b.py": function("two", "Split a text.")}
    return make_repository(tmp_path / "kit", files)


def test_mining_prints_figures_and_leaves_a_folder_to_look_at(repository, tmp_path):
    mined = dowse("mine", repository, "-o", tmp_path / "pairs")
    assert mined.returncode == 0, mined.stderr
    assert json.loads(mined.stdout)["pairs"] == 2
    assert f"2 pairs in {tmp_path / 'pairs'}; look at them with: dowse show" in mined.stderr
    shown = dowse("show", tmp_path / "pairs")
    assert shown.returncode == 0, shown.stderr
    for line in (
        "2 pairs, 1 repositories; 2 of them:",
        "  Split a text.",
        "  kit  b.py:2-5  two",
        "  python  docstrings",
    ):
        assert line in shown.stdout
    assert 'return file.read().split("two")' not in shown.stdout
    assert "        return file.read().split('two')" in shown.stdout


def test_show_draws_the_same_rows_for_a_seed_and_only_those_wanted(repository, tmp_path):
    commit(
        repository,
        {
            "c.go": "package c\n\n// Half halves a number.\nfunc Half(n int) int {\n"
            "\treturn divide(n, by(2), exact)\n}\n"
        },
        "c",
    )
    dowse("mine", repository, "-o", tmp_path / "pairs")
    rows = [json.loads(line) for line in dowse("show", tmp_path / "pairs", "--json", "-l", "go").stdout.splitlines()]
    assert rows == [row for row in read_rows(tmp_path / "pairs") if row["language"] == "go"]
    one = dowse("show", tmp_path / "pairs", "-n", "1", "--seed", "1").stdout
    assert one == dowse("show", tmp_path / "pairs", "-n", "1", "--seed", "1").stdout
    assert "1 of them" in one
    none = dowse("show", tmp_path / "pairs", "--language", "cobol")
    assert (none.returncode, none.stdout) == (1, "")
    assert "error: " in none.stderr
    assert "there is no pair with language 'cobol'" in none.stderr


def test_control_characters_of_other_peoples_code_are_not_printed(tmp_path):
    repository = make_repository(tmp_path / "kit", {"a.py": function("one", "Read the \x1b[31mred\x07 words of it.")})
    assert dowse("mine", repository, "-o", tmp_path / "pairs").returncode == 0
    shown = dowse("show", tmp_path / "pairs").stdout
    assert "\x1b" not in shown
    assert "<1b>[31mred<07>" in shown


def test_all_options_reach_the_miner(repository, tmp_path):
    (tmp_path / "reserved.txt").write_text("owner/two\n")
    (tmp_path / "benchmark.json").write_text(json.dumps([{"code": function("one")}]))
    make_repository(tmp_path / "two", {"a.py": function("reserved")})
    (tmp_path / "list.txt").write_text("kit\ntwo\n")
    done = dowse(
        *("mine", tmp_path / "list.txt", "-o", tmp_path / "pairs", "--license", "permissive"),
        *("--exclude-list", tmp_path / "reserved.txt", "--benchmark", tmp_path / "benchmark.json"),
        *("--test", "owner/kit", "--max-copies", "1", "--source", "docstrings", "--source", "commits", "--jobs", "2"),
        *("--consistent", "--min-score", "-1"),
    )
    assert done.returncode == 0, done.stderr
    [row] = read_rows(tmp_path / "pairs")
    assert (row["symbol"], row["split"], row["licence"]) == ("two", "test", "MIT")
    manifest = json.loads((tmp_path / "pairs" / "manifest.json").read_text())
    assert list(manifest["inputs"]) == [(tmp_path / "list.txt").as_posix()]
    assert manifest["config"]["exclude"] == ["owner/two"]
    assert manifest["config"]["permissive_only"] is True
    assert manifest["config"]["consistency"] == {"retriever": "static", "max_rank": 2, "min_score": -1.0}
    counts = json.loads((tmp_path / "pairs" / "counts.json").read_text())
    assert counts["repositories_skipped"] == {"reserved repository": 1}
    assert counts["dropped"]["docstrings"]["stands in a benchmark"] == 1


def test_a_model_writes_queries_after_its_cost_was_estimated(repository, tmp_path):
    def reply(messages):
        return json.dumps({"docstring": f"Splits what a file holds, number {len(messages[-1]['content'])}."})

    command = ["mine", repository, "-o", tmp_path / "pairs", "--source", "llm", "--model", "m", "--prices", "1", "2"]
    with EndpointServer(reply) as server:
        command += ["--endpoint", server.url]
        expected = dowse(*command, "--estimate")
        assert expected.returncode == 0, expected.stderr
        assert json.loads(expected.stdout)["requests"] == 2
        assert "llm: 2 requests (0 answered before), about" in expected.stderr
        assert server.questions == []
        done = dowse(*command)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["pairs"] == 2
        assert len(server.questions) == 2
        read = sum(len(message["content"].split()) for body in server.bodies for message in body["messages"])
        assert f"asked: 2 requests (0 answered before), {read:,} tokens read and 16 written" in done.stderr
        again = dowse(*command).stderr
        assert "llm: 0 requests" in again and "asked:" not in again
        assert len(server.questions) == 2
    assert {row["source"] for row in read_rows(tmp_path / "pairs")} == {"llm"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "error: nowhere: no such folder or file, expected a repository, a list of them or a URL"),
        (["{kit}", "--license", "free"], "error: --licence is 'free', expected any or permissive"),
        (["{kit}", "--source", "rumours"], "error: --source is 'rumours', expected one of: docstrings, classes"),
        (["{kit}", "--source", "llm"], "error: --source llm needs --endpoint and --model"),
        (["{kit}", "--min-score", "0.5"], "error: --retriever, --max-rank and --min-score are about --consistent"),
        (["{kit}", "--retriever", "static"], "error: --retriever, --max-rank and --min-score are about --consistent"),
        (["{kit}", "--estimate"], "error: --estimate is about --source llm"),
        (["{kit}", "--benchmark", "gone"], "error: gone: no such benchmark"),
        (["{kit}", "--exclude-list", "gone"], "error: gone: "),
        (
            ["{kit}", "--dev-share", "0.7", "--test-share", "0.7"],
            "error: --dev-share and --test-share are 1.4 together",
        ),
        (
            ["{kit}", "--consistent", "--retriever", "{kit}"],
            "kit': a folder without a model, expected a folder of sentence-transformers",
        ),
    ],
)
def test_mistakes_are_one_line(repository, tmp_path, arguments, said):
    named = [argument.format(kit=repository) for argument in arguments]
    done = dowse("mine", *named, "-o", tmp_path / "pairs")
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_show_refuses_what_is_no_folder_of_pairs(tmp_path):
    done = dowse("show", tmp_path)
    assert done.returncode == 1
    assert "is not finished, expected a folder of pairs with manifest.json" in done.stderr


def test_show_names_counts_that_are_missing(tmp_path):
    done = dowse("show", write_pairs(tmp_path / "pairs", rows(count=3)))
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "counts.json cannot be read" in done.stderr and "expected what dowse mine counted" in done.stderr


def test_ctrl_c_stops_all_processes_and_says_so(tmp_path):
    source = "\n\n".join(function(f"name{number}", f"Read the words number {number}.") for number in range(3000))
    places = [make_repository(tmp_path / f"kit{n}", {f"{m}.py": source for m in range(10)}) for n in range(3)]
    command = [sys.executable, "-m", "dowse", "mine", *map(str, places), "-o", str(tmp_path / "pairs"), "-j", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while not list((tmp_path / "pairs").glob(".mined/.*.parquet.*")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert stderr.decode().count("\n") <= 2, stderr.decode()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("processes are left")
