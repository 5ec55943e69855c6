"""The arms of `benchmarks/ablation.py`: what their labels are."""

import json
from pathlib import Path

import ablation
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = {
    "measured_label": [0.9, 0.5, 0.6, 0.99],
    "similarity_label": [0.9, 0.5, 0.625, 1.0],
    "is_suspect": [False, True, True, True],
    "reason": ["", "threshold", "ast", "ast, threshold"],
    "judged": ["", "", "query, candidate", "query, candidate"],
}


def labelled(folder: Path, judge: str) -> Path:
    folder.mkdir()
    rows = pa.table(ROWS).cast(
        pa.schema(
            {"measured_label": pa.float32(), "similarity_label": pa.float32(), "is_suspect": pa.bool_()}
            | {"reason": pa.string(), "judged": pa.string()}
        )
    )
    pq.write_table(rows, folder / "labels-00000.parquet")
    (folder / "manifest.json").write_text(json.dumps({"config": {"judge": judge, "raised_by": 0.05}}))
    return folder


def labels(folder: Path) -> list[float]:
    return pytest.approx(pq.read_table(folder / "labels-00000.parquet")["similarity_label"].to_pylist(), abs=1e-6)


def test_an_arm_has_the_suspects_of_its_own_selectors_only(tmp_path):
    source = labelled(tmp_path / "labelled", judge="")
    assert labels(ablation.adjusted(source, ablation.THRESHOLD, tmp_path / "threshold")) == [0.9, 0.55, 0.6, 1.0]
    both = ablation.adjusted(source, ablation.THRESHOLD + ablation.AST, tmp_path / "both")
    assert labels(both) == [0.9, 0.55, 0.65, 1.0]
    assert pq.read_table(both / "labels-00000.parquet")["is_suspect"].to_pylist() == [False, True, True, True]
    assert labels(ablation.adjusted(source, (), tmp_path / "measured")) == [0.9, 0.5, 0.6, 0.99]


def test_what_a_judge_gave_no_answer_about_does_not_rise(tmp_path):
    source = labelled(tmp_path / "labelled", judge="a-model")
    assert labels(ablation.adjusted(source, ablation.THRESHOLD, tmp_path / "threshold")) == [0.9, 0.5, 0.6, 1.0]


def test_only_the_last_arm_takes_suspects_out_of_the_negatives():
    kept = {name: arm.labelled_negatives for name, arm in ablation.ARMS.items()}
    assert kept.pop("the same, suspects masked") == "mask_suspects" and set(kept.values()) == {"keep"}
