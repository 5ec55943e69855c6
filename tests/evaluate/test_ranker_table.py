"""The table of R2PS: which arms are run, what stands against what, and short runs of all of it."""

import json
import sys

import numpy as np
import pytest
import ranker_table
from evaluating import WordEncoder, bare_task
from labelling import rows, write_pairs
from ranker_arms import DISTILLED, SIX, TABLE, asked
from training import write_encoder

from dowse.evaluate.cascade import Scored
from dowse.evaluate.runs import Run
from dowse.models.ranking import DenseRanking

SPREAD = "3 layers distilled from 6 layers, PS, spread"


def test_an_arm_comes_after_those_it_learns_from_and_is_held_against():
    assert list(asked(["table"], SIX)) == list(TABLE)
    assert list(asked(["distilled"], SIX)) == [SIX, *DISTILLED]
    swept = asked(["input"], SPREAD)
    assert list(swept) == [SIX, SPREAD, f"{SPREAD}, code alone"]
    last = swept[f"{SPREAD}, code alone"]
    assert (last.against, last.teacher, last.changes["layers"]) == (SPREAD, SIX, 3)
    assert last.changes["ranker_input"] == "code"


def test_figures_are_those_worked_out_by_hand():
    """Of two queries the retriever puts the answer first and third: (1 + 1/3) / 2."""
    task = bare_task({"q1": {"a": 1}, "q2": {"c": 1}}, documents="abc")
    run = Run.from_scores("r", {query: {"a": 3.0, "b": 2.0, "c": 1.0} for query in task.queries})

    def measured(first, second):
        one = {way: {"q1": first, "q2": second} for way in ("replace", "average")}
        curve = {str(k): (first + second) / 2 for k in ranker_table.KS}
        ms = {str(k): float(k) for k in ranker_table.KS}
        curves = {"k_curve": curve, "k_curve, averaged": curve}
        return {"mined test": {"per_query": one, "query_ms": ms} | curves, "commit": "abc"}

    found = {"6 layers, RR": [measured(1, 0.5), measured(0.5, 0.5)], SIX: [measured(1, 1), measured(1, 0.5)]}
    rows = ranker_table.figures(found, TABLE, {"mined test": (task, Scored(run, {}))})["mined test, mrr@10"]
    assert rows["retriever"] == {"mean": pytest.approx(2 / 3), "queries": 2, "documents": 3}
    plain, hard = rows["6 layers, RR"]["replace"], rows[SIX]["replace"]
    assert plain["seeds"] == [0.75, 0.5] and plain["mean"] == 0.625
    assert plain["seed deviation"] == pytest.approx(0.25 / 2**0.5)
    assert plain["against the retriever"]["value"] == pytest.approx((0.75 - 1 + 0.5 - 1 / 3) / 2)
    assert set(plain) == {"mean", "seeds", "seed deviation", "against the retriever"}
    # Means over the seeds are .75 and .5 with random negatives, 1 and .75 with hard ones: .25 more, query by query.
    apart = hard["against 6 layers, RR"]
    assert [apart[name] for name in ("value", "low", "high")] == pytest.approx([0.25] * 3)
    assert rows[SIX]["k_curve, averaged"][10] == pytest.approx(0.875) and rows[SIX]["query_ms"][5] == 5.0


def test_a_ranking_that_arms_share_is_made_once_and_is_that_of_each(tmp_path):
    encoder, plain = WordEncoder(), DenseRanking(WordEncoder())
    texts = [f"def f{n}(): return read write close open parse"[: 20 + n] for n in range(12)]
    shared = ranker_table.Shared(DenseRanking(encoder), 9, tmp_path)
    for depth in (4, 9, 2):
        for one, other in zip(shared.rank(["read"], texts, depth), plain.rank(["read"], texts, depth), strict=True):
            assert np.array_equal(one, other)
    assert encoder.embedded == 13


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs the benchmark with a tiny base of six layers, and returns the records it wrote."""
    base = write_encoder(tmp_path / "base", layers=6)
    config = tmp_path / "small.toml"
    config.write_text("[train.ranker]\nmax_query_tokens = 12\nmax_tokens = 40\nlast_rank = 12\nbf16 = false\n")
    names = {"owner/one": "train", "owner/two": "dev", "owner/three": "test"}
    pairs = [row | {"split": split} for name, split in names.items() for row in rows(name, 12)]
    folder = write_pairs(tmp_path / "pairs", pairs)

    def run(*options, labelled=folder):
        words = [labelled, "--pairs", folder, "--work", tmp_path / "work", "--base", base, "--config", config]
        words += ["--steps", 1, "--batch-size", 4, "--negatives", 3, "--results", tmp_path / "results", *options]
        monkeypatch.setattr(sys, "argv", ["ranker_table", *map(str, words)])
        ranker_table.main()
        return {path.name[:-18]: json.loads(path.read_text()) for path in (tmp_path / "results").glob("*.json")}

    return run


def test_the_table_is_measured_on_test_and_what_is_chosen_on_dev(call, tmp_path, capsys):
    table = call("--seeds", "1")["ranker-static"]
    rows = table["figures"]["mined test, mrr@10"]
    assert list(rows) == ["retriever", *TABLE]
    assert "against 3 layers, RR" in rows["3 layers, PS"]["average"]
    assert table["settings"]["arms"][SIX]["sampling"]["last_rank"] == 12
    [arms] = table["settings"]["commits of the arms"].values()
    assert arms == [f"{name}, seed 0" for name in TABLE]
    kept = {path.name for path in (tmp_path / "work").iterdir() if path.is_dir()}
    assert kept == {"rankings", "6_layers_PS-0"}, "what nothing else is built on goes with its figures written"
    swept = call("--seeds", "1", "--sweep", "input", "--on", SPREAD)
    swept = swept["sweep-static-3_layers_distilled_from_6_layers_PS_spread"]
    assert list(swept["figures"]["mined dev, mrr@10"]) == ["retriever", SIX, SPREAD, f"{SPREAD}, code alone"]
    config = json.loads((tmp_path / "work" / "3_layers_distilled_from_6_layers_PS_spread-0/manifest.json").read_text())
    assert config["config"]["teacher"].startswith("6_layers_PS-0 (") and config["config"]["layers"] == 3
    with pytest.raises(SystemExit):
        call("--sweep", "table", "window", "--split", "test")
    assert "test is for the table alone" in capsys.readouterr().err


def test_training_on_what_is_measured_is_refused(call, tmp_path):
    other = write_pairs(tmp_path / "other", [row | {"split": "train"} for row in rows("owner/three", 12)])
    with pytest.raises(SystemExit, match=r"owner/three: 1 repositories of the test split of .* are in the train"):
        call(labelled=other)
