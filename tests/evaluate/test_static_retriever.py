"""`benchmarks/static_retriever.py` measures as `dowse evaluate` does: the same tasks, baseline and ties."""

import json
import sys

import pytest
import static_retriever
from labelling import rows, write_pairs

from dowse.evaluate.baselines import evaluate_bm25
from dowse.evaluate.harness import evaluate, measure
from dowse.evaluate.mined import load_mined
from dowse.models.static import default_static

COLUMNS = ["mrr@10", "mrr@10 standard error", "mrr@1000", "recall@10", "recall@100"]


def test_figures_are_those_that_evaluation_gives(tmp_path, monkeypatch):
    documented = [pair | {"split": "dev"} for pair in rows(count=31)]
    documented[-1] |= {"source": "classes"}
    change = {"source": "commits", "query": "Mend it"}
    committed = [pair | change | {"pair_id": f"{at:024}"} for at, pair in enumerate(documented[:-1])]
    pairs = write_pairs(tmp_path / "pairs", documented + committed)
    monkeypatch.setattr(sys, "argv", ["static_retriever", str(pairs), "--results", str(tmp_path / "results")])
    static_retriever.main()
    (written,) = (tmp_path / "results").glob("static-retriever-dev-*.json")
    record = json.loads(written.read_text())
    found = record["figures"]["mined"]
    # Docstrings of functions alone are asked, classes are ranked with them; what two pairs have is one document.
    assert record["settings"]["sizes"] == {"mined": {"queries": 30, "documents": 31}}
    assert list(found) == ["BM25", "static, linear", "static, roots", "static, roots + name"]
    assert [list(row) for row in found.values()] == [COLUMNS] * 4
    task = load_mined(pairs, "dev", "docstrings")
    for name, run in (("BM25", evaluate_bm25(task)), ("static, roots", evaluate(task, default_static()))):
        expected = measure(task, run, static_retriever.METRICS).means
        assert {metric: found[name][metric] for metric in expected} == pytest.approx(expected)
