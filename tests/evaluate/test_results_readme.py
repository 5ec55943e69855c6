"""results/README.md is made from the records, and is told from one that is not."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "results_readme.py"


def write(folder, name, date, figures, commit="a" * 40, dirty=False):
    machine = {"cpu": "A processor", "cores": 2}
    record = {"name": name, "date": date, "commit": commit, "dirty": dirty, "machine": machine, "figures": figures}
    (folder / f"{name}-{commit[:12]}.json").write_text(json.dumps(record))


def make(folder, *arguments):
    command = [sys.executable, str(SCRIPT), "--results", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_latest_record_of_each_name_is_shown_as_tables(tmp_path):
    write(tmp_path, "speed", "2026-01-01", {"total_s": 1.0}, "b" * 40)
    rows = {"ours": {"mrr@10": 0.51234, "n": 12000}, "bm25": {"mrr@10": 0.3, "n": 12000}}
    write(tmp_path, "speed", "2026-02-01", {"total_s": 250.4, "fast": True, "rows": rows, "empty": {}, "list": [1]})
    done = make(tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "README.md").read_text()
    for line in (
        "| [speed](#speed) | 2026-02-01 | `aaaaaaaaaaaa` | A processor, 2 cores |",
        "| total_s | 250 |",
        "| fast | True |",
        "| | mrr@10 | n |",
        "| ours | 0.512 | 12,000 |",
    ):
        assert line in page.splitlines()
    assert "bbbb" not in page and "empty" not in page


def test_rankers_are_shown_by_what_they_gain(tmp_path):
    of = {
        way: {"mean": mean, "seeds": [mean], "against the retriever": {"value": value, "low": value - 0.1, "high": 0.2}}
        for way, mean, value in (("replace", 0.4, -0.1), ("average", 0.55, 0.05))
    }
    arms = {
        "retriever": {"mean": 0.5, "queries": 1500, "documents": 22_761},
        "3 layers, PS": of | {"k_curve": {"1": 0.5}},
    }
    write(tmp_path, "ranker-static", "2026-01-01", {"mined test, mrr@10": arms, "cosqa test, mrr@1000": arms})
    assert make(tmp_path).returncode == 0
    page = (tmp_path / "README.md").read_text().splitlines()
    start = page.index("### mined test, mrr@10")
    assert page[start + 1 : page.index("### cosqa test, mrr@1000")] == [
        "",
        "1,500 queries, 22,761 documents; gains on the retriever, 95 % intervals.",
        "",
        "| | replaced | gain | averaged | gain |",
        "|---|---|---|---|---|",
        "| retriever alone | 0.500 | | 0.500 | |",
        "| 3 layers, PS | 0.400 | -0.100 [-0.200, +0.200] | 0.550 | +0.050 [-0.050, +0.200] |",
        "",
    ]


def test_a_record_of_changed_files_is_marked_and_the_mark_explained(tmp_path):
    write(tmp_path, "speed", "2026-01-01", {"total_s": 1.0}, dirty=True)
    make(tmp_path)
    page = " ".join((tmp_path / "README.md").read_text().split())
    assert "`aaaaaaaaaaaa` (changed) |" in page and "(changed) stands where files differed from that commit" in page


def test_an_old_page_is_told(tmp_path):
    write(tmp_path, "speed", "2026-01-01", {"total_s": 1.0})
    assert make(tmp_path, "--check").returncode == 1
    make(tmp_path)
    assert make(tmp_path, "--check").returncode == 0
    write(tmp_path, "speed", "2026-01-02", {"total_s": 2.0})
    done = make(tmp_path, "--check")
    assert done.returncode == 1 and "is not what its records say" in done.stderr
