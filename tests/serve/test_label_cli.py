"""`dowse label`, once as people run it and then in this process."""

import inspect
import json
import os
import subprocess
import sys

from commands import dowse
from endpoints import EndpointServer
from labelling import cross_encoder, rows, write_pairs

from dowse.label.rows import read_labelled
from dowse.label.settings import LabelSettings
from dowse.serve import labelling


def test_pairs_become_labels_and_a_report(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", rows(count=40))
    arguments = ["label", pairs, "-o", tmp_path / "labelled", "--encoder", "static", "-k", 5, "--hard", 2]
    command = [sys.executable, "-m", "dowse", *map(str, arguments), "--report"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["counts"]["rows"] == 40 * 8 and figures["counts"]["role: hard"] == 80
    assert f"320 rows in {tmp_path / 'labelled'}" in done.stderr
    assert f"report: {tmp_path / 'labelled' / 'report.md'}" in done.stderr
    assert (tmp_path / "labelled" / "labels.png").read_bytes().startswith(b"\x89PNG")
    assert sum(batch.num_rows for batch in read_labelled(tmp_path / "labelled")) == 320
    assert json.loads(dowse(*arguments).stdout) == figures


def test_the_commands_defaults_are_those_of_its_step():
    said = {name: one.default for name, one in inspect.signature(labelling.label).parameters.items()}
    settings = LabelSettings()
    for record, names in (
        (settings, ("encoder", "encoder_model", "against", "positive", "retriever", "judge", "judge_model", "orders")),
        (settings, ("max_pairs", "cache")),
        (settings.draw, ("negatives", "in_groups", "hard", "hard_window", "seed")),
        (settings.suspects, ("threshold", "weighted", "above_positive", "ast_cutoff")),
        (settings.endpoint, ("key_variable", "requests_per_minute", "concurrency")),
    ):
        assert {name: getattr(record, name) for name in names} == {name: said[name] for name in names}
    assert (said["raise_by"], said["jobs"]) == (settings.raised_by, settings.workers)


def test_round_two_is_judged_by_a_cross_encoder(tmp_path):
    pairs, ranker = write_pairs(tmp_path / "pairs", rows(count=40)), cross_encoder(tmp_path / "round-one")
    done = dowse("label", pairs, "-o", tmp_path / "labelled", "--encoder", "static", "--judge", ranker)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["models"]["judge"].startswith("cross-encoder round-one (")
    assert figures["counts"]["judged"] == figures["counts"]["suspects"] > 0


def test_what_an_endpoint_was_asked_is_said_at_the_end(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", rows(count=40))
    arguments = ["label", pairs, "-o", tmp_path / "labelled", "--encoder", "static", "--orders", "random"]
    with EndpointServer(lambda _: "A") as server:
        done = dowse(*arguments, "--judge", server.url, "--judge-model", "m")
        asked = len(server.questions)
        assert 0 < asked == json.loads(done.stdout)["counts"]["judged"]
        again = dowse(*arguments, "--judge", server.url, "--judge-model", "m")
    assert f"asked: {asked:,} requests (0 answered before), " in done.stderr
    assert again.returncode == 0 and "asked:" not in again.stderr


def test_faults_are_one_line_on_stderr(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", rows(count=10))
    cases = {
        (tmp_path / "missing", "static"): "missing: does not exist, expected a folder of pairs with manifest.json",
        (pairs, tmp_path / "nowhere"): "no such folder, expected a folder of sentence-transformers",
        (pairs, "http://127.0.0.1:9/v1"): "no model is named for http://127.0.0.1:9/v1",
    }
    for number, ((folder, encoder), message) in enumerate(cases.items()):
        done = dowse("label", folder, "-o", tmp_path / str(number), "--encoder", encoder)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert message in done.stderr
    unknown = dowse("label", pairs, "-o", tmp_path / "x", "--against", "tests", "--encoder", "static")
    assert unknown.stderr == "error: against is 'tests', expected one of docstring, code; correct the setting\n"
