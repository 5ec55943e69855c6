"""results/papers.md sets the records beside the published tables, figure by figure, and says what differs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "papers.py"
SELECTORS = ("threshold", "AST", "both")
ARMS = ["InfoNCE only", "order only", "InfoNCE + order", *(f"InfoNCE + order, adjusted by {one}" for one in SELECTORS)]


def write(folder, name, figures, settings):
    machine = {"cpu": "A processor", "cores": 2}
    record = {"name": name, "date": "2026-01-02", "commit": "a" * 40, "dirty": False, "machine": machine}
    (folder / f"{name}-aaaaaaaaaaaa.json").write_text(json.dumps(record | {"figures": figures, "settings": settings}))


def page_of(folder, *arguments):
    command = [sys.executable, str(SCRIPT), "--results", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    place = folder / "papers.md"
    return done, place.read_text().splitlines() if place.is_file() else []


def difference(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "p_bootstrap": 0.004, "p_permutation": 0.5}


def write_both(folder):
    rows = {
        arm: {"mean": 0.5 + at / 100, "seed deviation": 0.002, "against InfoNCE": difference(at / 100)}
        for at, arm in enumerate(ARMS)
    }
    alone = {arm: row | {"mean": 0.4, "seed deviation": None} for arm, row in rows.items()}
    settings = {"base": "some-base", "trained_on": 14_000, "epochs": 1.0, "seeds": 3, "document_tokens": 128}
    settings |= {"sizes": {"mined test": [2_000, 25_000], "cosqa test": [500, 6_267]}}
    settings |= {"labels": {"encoder": "a-model", "judge": "", "negatives": 7}}
    write(folder, "ablation-some-base", {"mined test, mrr@10": rows, "cosqa test, mrr@1000": alone}, settings)
    curve = {str(k): 0.5 + k / 1000 for k in (1, 2, 3, 5, 7, 10, 20, 50)}
    averaged = {k: value + 0.1 for k, value in curve.items()}
    of = {
        f"{layers} layers, {name}": {
            "replace": {"mean": mean, "seed deviation": None, "against the retriever": difference(mean - 0.5)},
            "average": {"mean": mean + 0.1, "seed deviation": 0.01, "against the retriever": difference(mean - 0.4)},
            "k_curve": curve,
            "k_curve, averaged": averaged,
            "query_ms": {"10": 150.0},
        }
        for layers in (6, 3)
        for name, mean in (("RR", 0.55), ("PS", 0.575))
    }
    first = {"retriever": {"mean": 0.5, "queries": 1_000, "documents": 25_000}}
    settings = {"base": "some-base", "retriever": "static", "queries": 4_000, "epochs": 1.0, "steps": None}
    settings |= {"batch_size": 16, "negatives": 7, "seeds": 3, "export": True, "retriever_score": "scaled"}
    sampling = {"negatives": "ranking", "first_rank": 2, "last_rank": 60}
    settings |= {"arms": {"6 layers, RR": {"sampling": {"negatives": "random"}}, "PS": {"sampling": sampling}}}
    for layers in (6, 3):
        for way in ("replace", "average"):
            of[f"{layers} layers, PS"][way][f"against {layers} layers, RR"] = difference(0.025)
    write(folder, "ranker-static", {"mined test, mrr@10": first | of, "cosqa test, mrr@1000": first | of}, settings)


def test_without_records_the_published_tables_stand_alone_and_say_what_to_run(tmp_path):
    done, page = page_of(tmp_path)
    assert done.returncode == 0, done.stderr
    assert page.count("Nothing was measured here yet: run `recipes/reproduce.sh`.") == 2
    assert "| InfoNCE + order, adjusted by both | 69.75 | +4.26 |" in page
    assert "| UniXcoder | CSN | 74.4 | 77.5 | +3.1 | 79.2 | +1.7 |" in page
    assert (ROOT / "recipes" / "reproduce.sh").is_file()


def test_each_arm_stands_beside_the_papers_and_every_difference_is_said(tmp_path):
    write_both(tmp_path)
    done, page = page_of(tmp_path)
    assert done.returncode == 0, done.stderr
    for line in (
        "| trained with | paper | gain | mined test, mrr@10 | gain | cosqa test, mrr@1000 | gain |",
        "| InfoNCE only | 65.49 | – | 50.00 ± 0.20 | – | 40.00 | – |",
        "| order only | 67.33 | +1.84 | 51.00 ± 0.20 | +1.00 [+0.00, +2.00], p = 0.004 | 40.00"
        " | +1.00 [+0.00, +2.00], p = 0.004 |",
        "| base | Qwen2.5-Coder-1.5B | some-base |",
        "| K, candidates of a query | not published | 7 |",
        "| judge | an LLM, asked about every suspect | none: every suspect rises |",
        "| ours: some-base, InfoNCE only | 40.00 | – | – | – | – | – | – | – | – |",
        "| ours: 6 layers, replaced | mined test, mrr@10 | 50.0 | 55.0 | +5.00 [+4.00, +6.00], p = 0.004"
        " | 57.5 | +2.50 [+1.50, +3.50], p = 0.004 |",
        "| ours: 3 layers, averaged | cosqa test, mrr@1000 | 50.0 | 65.0 | +15.00 [+14.00, +16.00], p = 0.004"
        " | 67.5 | +2.50 [+1.50, +3.50], p = 0.004 |",
        "| paper: CSN-Ruby, replaced | 73.9 | 75.9 | 76.9 | 78.1 | 79.0 | 79.1 | – | – |",
        "| ours: 6 layers, PS, mined test, mrr@10, replaced | 50.1 | 50.2 | 50.3 | 50.5 | 50.7 | 51.0 | 52.0 | 55.0 |",
        "| ours: 6 layers, PS, mined test, mrr@10, averaged | 60.1 | 60.2 | 60.3 | 60.5 | 60.7 | 61.0 | 62.0 | 65.0 |",
        "| m, negatives of a query | 31 | 7 |",
        "| ranks drawn from | 1 to 31, once | 2 to 60, each query once |",
        "| scores, k = 10 | s_cross, a tanh, replaces s_dual; on CoSQA (s_dual + s_cross) / 2, both as they are"
        " | the ranker's calibrated probability replaces the retriever's; averaged: (cosine scaled to 0 for the tenth"
        " and 1 for the first + calibrated probability) / 2 |",
        "| mined test, mrr@10 | 6 layers, PS | 6 layers, RR | 57.50 | +7.50 [+6.50, +8.50], p = 0.004"
        " | +2.50 [+1.50, +3.50], p = 0.004 | 67.50 ± 1.00 | +17.50 [+16.50, +18.50], p = 0.004"
        " | +2.50 [+1.50, +3.50], p = 0.004 | 150 ms |",
        "| mined test, mrr@10 | 6 layers, RR | – | 55.00 | +5.00 [+4.00, +6.00], p = 0.004 | – | 65.00 ± 1.00"
        " | +15.00 [+14.00, +16.00], p = 0.004 | – | 150 ms |",
        "| training | epochs: 10, 32 queries a batch | epochs: 1, 16 queries a batch |",
    ):
        assert line in page
    assert "Nothing was measured" not in "\n".join(page)


def test_what_the_order_losss_gain_depends_on_stands_below_the_ablation(tmp_path):
    write_both(tmp_path)
    figures = {"order weight 0.3": {"InfoNCE only": 0.5, "InfoNCE + order": 0.51, "difference": difference(0.01)}}
    write(tmp_path, "order-causes", figures, {"asked": 2_000, "metric": "mrr@10", "seeds": 3})
    done, page = page_of(tmp_path)
    assert done.returncode == 0, done.stderr
    at = page.index(
        "### What the gain depends on: token vectors, 2,000 queries of mined dev, mrr@10, 3 seeds"
        " ([order-causes-aaaaaaaaaaaa.json](order-causes-aaaaaaaaaaaa.json))"
    )
    assert "| order weight 0.3 | 50.00 | 51.00 | +1.00 [+0.00, +2.00], p = 0.004 |" in page[at:]
    assert page.index("### ablation-some-base") < at < page.index("### Without training on the benchmark")


def test_a_record_from_before_scores_were_scaled_is_read_and_says_its_own_formula(tmp_path):
    write_both(tmp_path)
    place = tmp_path / "ranker-static-aaaaaaaaaaaa.json"
    record = json.loads(place.read_text())
    for name in ("retriever_score", "arms", "export"):
        del record["settings"][name]
    record["settings"]["steps"] = 1_000
    for arm in (row for rows in record["figures"].values() for row in rows.values() if "replace" in row):
        del arm["k_curve, averaged"]
        for way in ("replace", "average"):
            arm[way] = {key: value for key, value in arm[way].items() if not key.endswith("RR")}
    place.write_text(json.dumps(record))
    done, page = page_of(tmp_path)
    assert done.returncode == 0, done.stderr
    for line in (
        "| ours: 6 layers, averaged | cosqa test, mrr@1000 | 50.0 | 65.0 | +15.00 [+14.00, +16.00], p = 0.004"
        " | 67.5 | +2.5 |",
        "| ranks drawn from | 1 to 31, once | 1 to 100, anew in every epoch |",
    ):
        assert line in page
    assert any(
        "the ranker's score, a tanh, replaces the retriever's; averaged: (cosine + score) / 2" in row for row in page
    )
    by_k = [row for row in page if row.startswith("| ours: 6 layers, PS, mined")]
    assert len(by_k) == 1 and ", replaced |" in by_k[0]


def test_arms_that_something_is_chosen_by_are_shown_without_the_table_of_the_paper(tmp_path):
    write_both(tmp_path)
    place = tmp_path / "ranker-static-aaaaaaaaaaaa.json"
    record = json.loads(place.read_text()) | {"name": "sweep-static"}
    for rows in record["figures"].values():
        del rows["6 layers, RR"], rows["3 layers, RR"]
    place.write_text(json.dumps(record))
    _, page = page_of(tmp_path)
    assert sum(row.startswith("| UniXcoder | CSN") for row in page) == 1 and "### sweep-static" in page
    assert not any(row.startswith("| by k") for row in page)
    assert any(row.startswith("| mined test, mrr@10 | 6 layers, PS | 6 layers, RR | 57.50") for row in page)


def test_figures_beside_the_papers_are_of_its_protocol_and_of_all_its_questions(tmp_path):
    settings = {"benchmark": "cosqa", "split": "test", "protocol": "oasis", "queries": 500}
    settings |= {"without_docstrings": False, "variant": ""}
    of = {"rows": {"ours": {"mrr@1000": 0.5}}}
    write(tmp_path, "evaluate-cosqa-test-default", of, settings)
    others = {"protocol": "r2ps", "queries": 100, "without_docstrings": True, "variant": "renamed", "split": "dev"}
    for name, value in others.items():
        other = {"rows": {"ours": {"mrr@1000": 0.9}, name: {"mrr@1000": 0.9}}}
        write(tmp_path, f"evaluate-cosqa-test-default-{name}", other, settings | {name: value})
    _, page = page_of(tmp_path)
    assert [line.split(" | ")[:2] for line in page if line.startswith("| ours: ")] == [["| ours: ours", "50.00"]]


def test_an_old_page_is_told(tmp_path):
    page_of(tmp_path)
    assert page_of(tmp_path, "--check")[0].returncode == 0
    write_both(tmp_path)
    done, _ = page_of(tmp_path, "--check")
    assert done.returncode == 1 and "is not what its records say" in done.stderr


@pytest.mark.parametrize(("judge", "model"), [("http://ann/v1", "a judge"), ("rankers/one", ""), ("", "")])
def test_the_recipe_hands_a_judge_on_with_its_model(tmp_path, judge, model):
    said, work = tmp_path / "said", tmp_path / "work"
    (work / "pairs").mkdir(parents=True)
    (work / "pairs" / "manifest.json").write_text("{}")
    stub = tmp_path / "python"  # takes the place of the interpreter, and writes down what it is asked to run
    stub.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" --end-- >>"{said}"\n')
    stub.chmod(0o755)
    given = {"PYTHON": str(stub), "RESULTS": str(tmp_path / "results"), "JUDGE": judge, "JUDGE_MODEL": model}
    command = ["bash", str(ROOT / "recipes" / "reproduce.sh"), str(work)]
    subprocess.run(command, env=os.environ | given, check=True, timeout=60)
    runs = [run.splitlines() for run in said.read_text().split("--end--\n")]
    labels = [run for run in runs if run[:3] == ["-m", "dowse", "label"]]
    expected = [*(["--judge", judge] if judge else []), *(["--judge-model", model] if model else [])]
    assert [label[label.index("--ast-cutoff") + 2 :] for label in labels] == [expected, []]
    [causes] = [run for run in runs if run[:1] and run[0].endswith("order_causes.py")]
    assert causes[1:3] == [label[label.index("-o") + 1] for label in labels]
