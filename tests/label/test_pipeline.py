"""The whole step: labels against the definition, both switches, judges, resuming after kills, faults of a user."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from endpoints import EndpointServer, word_vector
from labelling import cross_encoder, labelled, row, rows, sentence_model, write_pairs

from dowse.errors import ConfigError, ModelError
from dowse.label.candidates import DrawOptions
from dowse.label.pipeline import label_pairs
from dowse.label.rows import LABELLED, read_labelled
from dowse.label.settings import EndpointSettings, LabelSettings
from dowse.label.suspects import SuspectOptions
from dowse.models.sentence import TorchEncoder
from dowse.models.static import default_static

STATIC = LabelSettings(encoder="static", workers=1)


@pytest.fixture
def pairs(tmp_path):
    """Two repositories of 60 and 40 pairs, a third with two, a fourth with one."""
    found = [rows("owner/one", 60), rows("owner/two", 40), rows("owner/three", 2), rows("owner/four", 1)]
    return write_pairs(tmp_path / "pairs", [pair for repository in found for pair in repository])


def by_query(found):
    groups = defaultdict(list)
    for one in found:
        groups[one["query_id"]].append(one)
    return groups


def label_of(left, right):
    return (1 + float(np.dot(left, right))) / 2


def test_every_query_has_its_positive_and_seven_others_of_its_repository(pairs, tmp_path):
    figures = label_pairs(pairs, tmp_path / "labelled", STATIC)
    found = labelled(tmp_path / "labelled")
    groups = by_query(found)
    sizes = {"owner/one": 8, "owner/two": 8, "owner/three": 2, "owner/four": 1}
    assert len(groups) == 103
    for group in groups.values():
        assert len(group) == sizes[group[0]["repository"]]
        assert [one["is_positive"] for one in group] == [True] + [False] * (len(group) - 1)
        assert group[0]["pair_id"] == group[0]["query_id"] and group[0]["query"] == group[0]["candidate_query"]
        assert len({one["pair_id"] for one in group}) == len(group)
        assert len({(one["repository"], one["query"]) for one in group}) == 1
    assert figures["counts"]["rows"] == len(found) and figures["counts"]["short_queries"] == 3
    assert list(found[0]) == LABELLED.names


def test_labels_are_the_cosines_of_docstrings_and_the_positive_is_measured_by_its_code(pairs, tmp_path):
    label_pairs(pairs, tmp_path / "labelled", replace(STATIC, positive="code"))
    encoder = default_static()
    for one in labelled(tmp_path / "labelled"):
        [query] = encoder.encode_queries([one["query"]])
        if one["is_positive"]:
            [other] = encoder.encode_documents([one["text_without_comments"]])
        else:
            [other] = encoder.encode_queries([one["candidate_query"]])
        assert one["measured_label"] == pytest.approx(label_of(query, other), abs=1e-6)
        assert one["similarity_label"] == one["measured_label"]
        assert one["labelling"] == ("code" if one["is_positive"] else "docstring")
        assert one["judged"] == ""


def test_a_scaled_positive_is_as_many_deviations_above_the_random_candidates_on_either_scale(pairs, tmp_path):
    label_pairs(pairs, tmp_path / "labelled", STATIC)
    encoder = default_static()
    found = labelled(tmp_path / "labelled")
    queries = encoder.encode_queries([one["query"] for one in found])
    codes = encoder.encode_documents([one["text_without_comments"] for one in found])
    by_code = (1 + (queries * codes).sum(axis=1)) / 2
    by_docstring = np.array([one["measured_label"] for one in found])
    is_positive = np.array([one["is_positive"] for one in found])
    repositories = np.array([one["repository"] for one in found])
    for name in ("owner/one", "owner/two", "owner/three"):
        own = (repositories == name) & is_positive
        # The third repository has two random candidates: it takes the whole block's.
        others = ~is_positive & ((repositories == name) | (name == "owner/three"))
        above = (by_code[own] - by_code[others].mean()) / by_code[others].std()
        expected = by_docstring[others].mean() + above * by_docstring[others].std()
        assert by_docstring[own] == pytest.approx(np.clip(expected, 0, 1), abs=1e-4)


def test_against_code_every_label_is_of_the_query_and_the_code(pairs, tmp_path):
    label_pairs(pairs, tmp_path / "labelled", replace(STATIC, against="code"))
    encoder = default_static()
    for one in labelled(tmp_path / "labelled"):
        [query], [code] = (
            encoder.encode_queries([one["query"]]),
            encoder.encode_documents([one["text_without_comments"]]),
        )
        assert one["measured_label"] == pytest.approx(label_of(query, code), abs=1e-6)
        assert one["labelling"] == "code"


def test_a_positive_measured_by_its_docstring_has_label_one_unless_the_query_is_another_text(tmp_path):
    found = rows(count=30)
    changed = row("Stop losing the last line.", found[4]["text"], source="commits", symbol=found[4]["symbol"])
    changed |= {"code_hash": found[4]["code_hash"], "text_without_comments": found[4]["text_without_comments"]}
    settings = replace(STATIC, positive="docstring")
    figures = label_pairs(write_pairs(tmp_path / "pairs", [*found, changed]), tmp_path / "labelled", settings)
    positives = {one["query_id"]: one for one in labelled(tmp_path / "labelled") if one["is_positive"]}
    commit = positives.pop(changed["pair_id"])
    assert {round(one["measured_label"], 5) for one in positives.values()} == {1.0}
    encoder = default_static()
    expected = label_of(*encoder.encode_queries([changed["query"], found[4]["query"]]))
    assert commit["measured_label"] == pytest.approx(expected, abs=1e-6) and expected < 0.9
    assert {one["labelling"] for one in labelled(tmp_path / "labelled")} == {"docstring"}
    assert figures["mixture"]["has_positives"] is False
    assert figures["mixture"]["labels"] == 31 * 7, "labels of 1 by definition are kept out of the fit"


def test_suspects_are_those_of_the_two_strategies_recomputed_by_hand(pairs, tmp_path):
    figures = label_pairs(pairs, tmp_path / "labelled", STATIC)
    threshold = figures["mixture"]["threshold"]
    groups = by_query(labelled(tmp_path / "labelled"))
    reasons = defaultdict(int)
    for positive, *others in groups.values():
        assert not positive["is_suspect"] and positive["reason"] == ""
        for one in others:
            expected = []
            if one["measured_label"] > threshold:
                expected.append("threshold")
            if one["measured_label"] > positive["measured_label"]:
                expected.append("above positive")
            if one["ast_distance"] is not None:
                assert one["ast_distance"] <= 0.2
                expected.append("ast")
            assert one["reason"] == ", ".join(expected)
            assert one["is_suspect"] == bool(expected)
            for reason in expected:
                reasons[reason] += 1
    counts = figures["counts"]
    assert {name: counts[f"suspect: {name}"] for name in reasons} == reasons and set(reasons) >= {"threshold", "ast"}
    # Every fourth function has the same body, so the same structure: among 60, 14 of the 59 others.
    of_one = [one for positive, *others in groups.values() for one in others if positive["repository"] == "owner/one"]
    share = sum(one["ast_distance"] == 0 for one in of_one) / len(of_one)
    assert share == pytest.approx(14 / 59, abs=4 * math.sqrt(14 / 59 * 45 / 59 / len(of_one)))


def test_strategies_can_be_left_out(pairs, tmp_path):
    none = SuspectOptions(threshold=False, above_positive=False, ast_cutoff=0.0)
    figures = label_pairs(pairs, tmp_path / "labelled", replace(STATIC, suspects=none))
    assert figures["counts"]["suspects"] == 0
    assert not any(name.startswith("trees") for name in figures["counts"])


def test_hard_candidates_are_nearer_than_random_ones(pairs, tmp_path):
    settings = replace(STATIC, draw=DrawOptions(negatives=4, hard=3, hard_window=5))
    figures = label_pairs(pairs, tmp_path / "labelled", settings)
    found = [one for one in labelled(tmp_path / "labelled") if one["repository"] == "owner/one"]
    mean = {
        role: np.mean([one["measured_label"] for one in found if one["role"] == role]) for role in ("random", "hard")
    }
    assert mean["hard"] > mean["random"] + 0.05
    assert figures["counts"]["role: hard"] == 3 * 100 + 2
    assert "static" in figures["models"]["retriever"]


def test_the_answers_version_that_a_retriever_ranks_first_is_no_hard_candidate(tmp_path):
    found = rows(count=30)
    for one in list(found):
        older = one["text_without_comments"].replace("total=0", "total=1")
        place = {name: one[name] for name in ("path", "symbol")}
        found.append(row(f"Rather begin {one['symbol']} at one.", older, source="commits", **place))
    settings = replace(STATIC, draw=DrawOptions(negatives=3, hard=3, hard_window=3))
    label_pairs(write_pairs(tmp_path / "pairs", found), tmp_path / "labelled", settings)
    for positive, *others in by_query(labelled(tmp_path / "labelled")).values():
        assert len(others) == 6 and positive["symbol"] not in {one["symbol"] for one in others}


def prefers_candidates(messages):
    """Name the code that closes something, else the first one."""
    first, second = messages[-1]["content"].split("Code F:")
    return "A" if "close" in first else "F" if "close" in second else "A"


def test_a_judge_raises_labels_by_the_step_and_every_change_is_logged(pairs, tmp_path):
    with EndpointServer(prefers_candidates) as server:
        settings = replace(STATIC, judge=server.url, judge_model="judge-1")
        figures = label_pairs(pairs, tmp_path / "labelled", settings)
    found = labelled(tmp_path / "labelled")
    rose = [one for one in found if one["similarity_label"] > one["measured_label"]]
    assert 0 < len(rose) < figures["counts"]["suspects"]
    for one in found:
        assert one["similarity_label"] >= one["measured_label"]
        assert one["judged"] == ("judge-1, both orders" if one["is_suspect"] else "")
    for one in rose:
        assert one["is_suspect"] and one["reason"]
        assert one["similarity_label"] == pytest.approx(min(1.0, one["measured_label"] + 0.025), abs=1e-6)
        assert "close" in one["text_without_comments"]
    changes = pq.read_table(tmp_path / "labelled" / "changes.parquet").to_pylist()
    assert changes == [{name: one[name] for name in changes[0]} for one in rose]
    assert {"reason", "judged", "measured_label", "similarity_label"} < set(changes[0])
    counts = figures["counts"]
    assert (counts["raised"], counts["judged"], counts["unanswered"]) == (len(rose), counts["suspects"], 0)
    assert figures["models"]["judge"] == "judge-1, both orders"


def test_a_label_never_rises_above_one(pairs, tmp_path):
    with EndpointServer(prefers_candidates) as server:
        settings = replace(STATIC, judge=server.url, judge_model="judge-1", raised_by=0.9)
        label_pairs(pairs, tmp_path / "labelled", settings)
    assert max(one["similarity_label"] for one in labelled(tmp_path / "labelled")) == 1.0
    assert sum(batch.num_rows for batch in read_labelled(tmp_path / "labelled")) > 0


def test_torch_models_label_and_judge(pairs, tmp_path):
    encoder, ranker = sentence_model(tmp_path / "tiny"), cross_encoder(tmp_path / "small-ranker")
    settings = replace(STATIC, encoder=str(encoder), judge=str(ranker), block_pairs=40)
    figures = label_pairs(pairs, tmp_path / "labelled", settings)
    assert figures["counts"]["judged"] == figures["counts"]["suspects"] > 0
    assert figures["counts"]["raised"] > 0
    assert figures["models"]["encoder"].startswith("tiny (")
    assert {one["judged"] for one in labelled(tmp_path / "labelled")} == {"", figures["models"]["judge"]}
    # Queries and codes of 103 pairs, each distinct text once although it is a candidate many times.
    texts = {one["query"] for one in rows(count=60)}, {one["text_without_comments"] for one in rows(count=60)}
    assert figures["counts"]["texts_embedded"] == sum(map(len, texts))
    assert 0 < figures["encoder_share"] < 1


def test_an_endpoint_labels(pairs, tmp_path):
    with EndpointServer(plan=("429", "500")) as server:
        settings = replace(
            STATIC, encoder=server.url, encoder_model="embedder-1", endpoint=EndpointSettings(concurrency=2)
        )
        figures = label_pairs(pairs, tmp_path / "labelled", settings)
        asked = [text for body in server.bodies for text in body["input"]]
    assert figures["models"]["encoder"] == f"embedder-1 at {server.url}"
    assert len(set(asked)) == 120
    found = next(one for one in labelled(tmp_path / "labelled") if one["role"] == "random")
    vectors = [np.array(word_vector(found[name])) for name in ("query", "candidate_query")]
    expected = label_of(*(vector / np.linalg.norm(vector) for vector in vectors))
    assert found["measured_label"] == pytest.approx(expected, abs=1e-6)


def contents(folder):
    """Every row of every finished file; the files also hold the seconds they took."""
    return {path.name: pq.read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))}


def test_a_block_size_changes_neither_queries_nor_the_positive(pairs, tmp_path):
    settings = replace(STATIC, positive="code")
    label_pairs(pairs, tmp_path / "whole", settings)
    label_pairs(pairs, tmp_path / "cut", replace(settings, block_pairs=25))
    whole, cut = by_query(labelled(tmp_path / "whole")), by_query(labelled(tmp_path / "cut"))
    assert whole.keys() == cut.keys()
    assert all(whole[query][0]["measured_label"] == cut[query][0]["measured_label"] for query in whole)
    assert len(list((tmp_path / "cut").glob("labels-*.parquet"))) == 6


def test_a_finished_folder_is_left_as_it_is(pairs, tmp_path):
    first = label_pairs(pairs, tmp_path / "labelled", STATIC)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "labelled").rglob("*")}
    assert label_pairs(pairs, tmp_path / "labelled", STATIC) == json.loads(json.dumps(first))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "labelled").rglob("*")} == stamps


def test_the_manifest_and_the_card_say_what_was_done(pairs, tmp_path):
    figures = label_pairs(pairs, tmp_path / "labelled", STATIC)
    manifest = json.loads((tmp_path / "labelled" / "manifest.json").read_text())
    assert manifest["config"]["figures"]["encoder_share"] == figures["encoder_share"]
    assert manifest["config"]["against"] == "docstring" and manifest["config"]["draw"]["negatives"] == 7
    assert len(manifest["inputs"]) == 4 and manifest["seconds"] == figures["seconds"]
    card = (tmp_path / "labelled" / "README.md").read_text()
    assert f"{figures['counts']['rows']:,} rows" in card and "static as shipped" in card
    assert f"{figures['mixture']['threshold']:.4f}" in card
    left = {path.name for path in (tmp_path / "labelled" / ".labelling").iterdir()}
    assert left == {"settings.json", "names.json", "lock"}


def test_progress_rises_to_the_number_of_pairs(pairs, tmp_path):
    told = []
    label_pairs(pairs, tmp_path / "labelled", replace(STATIC, block_pairs=25), lambda *entry: told.append(entry))
    for stage in ("measuring", "writing"):
        done = [entry[1] for entry in told if entry[0] == stage]
        assert done == sorted(done) and done[0] == 0 and done[-1] == 103
    assert {entry[2] for entry in told} == {103}


KILLED = """
import json
import sys
from pathlib import Path
from dowse.label.pipeline import label_pairs
from dowse.label.settings import LabelSettings

if __name__ == "__main__":
    pairs, output, settings = sys.argv[1:]
    label_pairs(Path(pairs), Path(output), LabelSettings(**json.loads(settings)))
"""


def files_below(folder):
    return sum(1 for path in folder.rglob("*.parquet") if not path.name.startswith(".")) if folder.exists() else 0


def test_a_run_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
    found = [*rows("owner/one", 40), *rows("owner/two", 24), *rows("owner/three", 2)]
    pairs, script = write_pairs(tmp_path / "pairs", found), tmp_path / "run.py"
    script.write_text(KILLED)
    with EndpointServer(prefers_candidates, always="slow 0.03") as server:
        named = {"encoder": server.url, "encoder_model": "embedder-1", "judge": server.url, "judge_model": "judge-1"}
        said = {"block_pairs": 12, "workers": 1} | named
        command = [sys.executable, script, pairs, tmp_path / "killed", json.dumps(said)]
        label_pairs(pairs, tmp_path / "whole", LabelSettings(**said))
        asked, kills = len(server.bodies), 0
        for wanted in (1, 6, 11):
            run = subprocess.Popen(list(map(str, command)), env=os.environ, start_new_session=True)
            while files_below(tmp_path / "killed") < wanted and run.poll() is None:
                time.sleep(0.005)
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                kills += 1
            run.wait(300)
        (tmp_path / "killed" / ".labels-00000.parquet.half").write_bytes(b"half")
        label_pairs(pairs, tmp_path / "killed", LabelSettings(**said))
        repeated = len(server.bodies) - 2 * asked
    assert kills >= 2
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not list((tmp_path / "killed").glob(".labels*"))
    assert repeated <= kills * 8, "at most the requests under way at a kill are sent again"
    one, other = (json.loads((tmp_path / name / "counts.json").read_text()) for name in ("whole", "killed"))
    assert one["counts"] == other["counts"] and one["mixture"] == other["mixture"]


def test_a_torch_model_killed_between_two_groups_gives_the_same_labels_to_the_last_bit(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("dowse.label.similarity.TEXTS_AT_ONCE", 16)
    settings = replace(STATIC, encoder=str(sentence_model(tmp_path / "tiny")), block_pairs=40)
    label_pairs(pairs, tmp_path / "whole", settings)
    encode = TorchEncoder._unit
    for lasting in (1, 2, 4):
        left = iter(range(lasting))

        def fails(self, *rest, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return encode(self, *rest)

        monkeypatch.setattr(TorchEncoder, "_unit", fails)
        with pytest.raises(KeyboardInterrupt):
            label_pairs(pairs, tmp_path / "stopped", settings)
    monkeypatch.setattr(TorchEncoder, "_unit", encode)
    label_pairs(pairs, tmp_path / "stopped", settings)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_processes_that_compare_trees_do_not_outlive_a_kill(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import multiprocessing, os, time\nfrom dowse.label.trees import Trees\n"
        "if __name__ == '__main__':\n"
        "    with Trees(2) as trees:\n"
        "        trees.shapes([('python', 'def f(x):\\n    return x')] * 600)\n"
        "        print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "        time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=os.environ)
    children = [int(word) for word in run.stdout.readline().split()]
    assert len(children) == 2 and all(map(is_alive, children))
    run.kill()
    run.wait()
    run.stdout.close()
    deadline = time.monotonic() + 300
    while any(map(is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, children))


def is_alive(pid):
    """Whether a process runs; one that ended and waits to be asked for its exit code does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_a_folder_begun_otherwise_is_not_gone_on_with(pairs, tmp_path):
    label_pairs(pairs, tmp_path / "labelled", STATIC)
    with pytest.raises(ConfigError, match="begun with against 'docstring', not 'code'"):
        label_pairs(pairs, tmp_path / "labelled", replace(STATIC, against="code"))
    other = write_pairs(tmp_path / "other", rows(count=20))
    with pytest.raises(ConfigError, match="begun with pairs"):
        label_pairs(other, tmp_path / "labelled", STATIC)
    with pytest.raises(ConfigError, match="holds something else, expected a new or empty folder"):
        label_pairs(pairs, other, STATIC)


def test_two_runs_do_not_write_into_one_folder(pairs, tmp_path):
    half = tmp_path / "labelled" / ".labels-00000.parquet.partial"

    def begin_another(*_):
        half.touch()
        with pytest.raises(ConfigError, match=r"labelled: another run is writing there.*-o"):
            label_pairs(pairs, tmp_path / "labelled", STATIC)
        assert half.exists()

    label_pairs(pairs, tmp_path / "labelled", STATIC, begin_another)
    assert labelled(tmp_path / "labelled")


def test_a_folder_drawn_by_older_rules_can_be_read_and_is_not_gone_on_with(pairs, tmp_path):
    label_pairs(pairs, tmp_path / "labelled", STATIC)
    begun = tmp_path / "labelled" / ".labelling" / "settings.json"
    settings = json.loads(begun.read_text())
    assert settings.pop("drawing") == 2
    begun.write_text(json.dumps(settings))  # as versions before this rule left it
    rows_before = labelled(tmp_path / "labelled")
    with pytest.raises(ConfigError, match="drew its candidates, by rules 1, expected 2; name another output folder"):
        label_pairs(pairs, tmp_path / "labelled", STATIC)
    assert [one for batch in read_labelled(tmp_path / "labelled") for one in batch.to_pylist()] == rows_before


def test_a_model_that_changed_in_between_is_noticed(pairs, tmp_path):
    encoder = sentence_model(tmp_path / "tiny")
    with pytest.raises(ModelError, match="expected a sentence-transformers CrossEncoder"):  # after measuring
        label_pairs(pairs, tmp_path / "labelled", replace(STATIC, encoder=str(encoder), judge=str(encoder)))
    sentence_model(encoder, ["parse", "date"])
    (tmp_path / "labelled" / ".labelling" / "measured-00000.parquet").unlink()
    with pytest.raises(ConfigError, match="begun with encoder 'tiny "):
        label_pairs(pairs, tmp_path / "labelled", replace(STATIC, encoder=str(encoder), judge=str(encoder)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"raised_by": 1.5}, "raised_by is 1.5, expected 0 to 1; correct the setting"),
        ({"against": "tests"}, "against is 'tests', expected one of docstring, code;"),
        ({"positive": "one"}, "positive is 'one', expected one of scaled, code, docstring;"),
        ({"orders": "three"}, "orders is 'three', expected one of both, random;"),
        ({"draw": DrawOptions(negatives=0)}, "negatives and hard are both 0"),
        ({"draw": DrawOptions(negatives=0, hard=3)}, "negatives is 0 and positive 'scaled', expected random"),
        ({"draw": DrawOptions(seed=-1)}, "seed is -1, expected 0 to"),
        ({"draw": DrawOptions(negatives=-1)}, "negatives is -1, expected 0 to 1000"),
        ({"draw": DrawOptions(hard=20, hard_window=10)}, "hard_window is 10, expected 20 to"),
        ({"block_pairs": "many"}, "block_pairs is 'many', expected a whole number;"),
        ({"suspects": SuspectOptions(ast_cutoff=2.0)}, "ast_cutoff is 2.0, expected 0 to 1"),
        ({"encoder": "/no/such/model"}, "no such folder, expected a folder of sentence-transformers"),
        ({"encoder": "nonsuch"}, "--encoder 'nonsuch': no such folder"),
        ({"draw": DrawOptions(hard=3), "retriever": "nonsuch"}, "--retriever 'nonsuch': no such folder"),
        ({"judge": "/no/such/model"}, "no such folder, expected a cross-encoder's"),
        ({"encoder": "http://127.0.0.1:9/v1"}, "no model is named"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(pairs, tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        label_pairs(pairs, tmp_path / "labelled", replace(STATIC, **change))


def test_a_mistyped_judge_is_told_before_anything_is_measured(pairs, tmp_path):
    with pytest.raises(ConfigError, match=r"no such folder, expected a cross-encoder's.*check --judge"):
        label_pairs(pairs, tmp_path / "labelled", replace(STATIC, judge="/no/such/model"))
    assert not list((tmp_path / "labelled" / ".labelling").glob("measured-*"))


@pytest.mark.parametrize("name", ["encoder", "judge"])
def test_an_address_without_its_model_is_refused_before_any_work_begins(name):
    with pytest.raises(ConfigError, match=rf"no model is named for https://ann/v1, expected .* --{name}-model"):
        LabelSettings(**{name: "https://ann/v1"})
    assert LabelSettings(**{name: "https://ann/v1", f"{name}_model": "m"}).as_record()[f"{name}_model"] == "m"
