"""The arms of `benchmarks/ablation.py`: what their labels are, and that they are measured once."""

import json
import sys
from pathlib import Path

import ablation
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelling import rows, write_pairs
from training import label_folder, write_encoder

from dowse.train.batches import BatchOptions, RunSampler
from dowse.train.objective import LossOptions
from dowse.train.retriever import RetrieverOptions

ROWS = {
    "measured_label": [0.9, 0.5, 0.6, 0.99],
    "similarity_label": [0.9, 0.5, 0.625, 1.0],
    "is_suspect": [False, True, True, True],
    "reason": ["", "threshold", "ast", "ast, threshold"],
    "judged": ["", "", "query, candidate", "query, candidate"],
}


def labelled(folder: Path, judge: str) -> Path:
    folder.mkdir()
    table = pa.table(ROWS).cast(
        pa.schema(
            {"measured_label": pa.float32(), "similarity_label": pa.float32(), "is_suspect": pa.bool_()}
            | {"reason": pa.string(), "judged": pa.string()}
        )
    )
    pq.write_table(table, folder / "labels-00000.parquet")
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


@pytest.fixture(scope="module")
def mined_and_labelled(tmp_path_factory):
    """Pairs of three repositories, the last for the test, and their labels, with suspects of both selectors."""
    folder = tmp_path_factory.mktemp("ablation")
    pairs = [pair for name in ("owner/one", "owner/two") for pair in rows(name, 40)]
    pairs += [pair | {"split": "test"} for pair in rows("owner/three", 20)]
    label_folder(write_pairs(folder / "pairs", pairs), folder / "labelled", ast_cutoff=0.2)
    return folder / "pairs", folder / "labelled"


def test_all_arms_train_on_the_same_rows_in_the_same_order(mined_and_labelled, tmp_path):
    read = {}
    for name, arm in ablation.ARMS.items():
        folder = ablation.adjusted(mined_and_labelled[1], arm.reasons, tmp_path / arm.labels)
        options = RetrieverOptions(loss=LossOptions(order_weight=arm.order_weight, contrastive_weight=1.0))
        read[name] = ablation.checked_rows(folder, options, ())
    first = read[ablation.BASE]
    batches = BatchOptions(batch_size=16)
    for found in read.values():
        assert (found.queries, found.documents) == (first.queries, first.documents)
        for field in ("document_ids", "query_ids", "offsets", "document", "is_positive"):
            assert np.array_equal(getattr(found, field), getattr(first, field))
        assert list(RunSampler(None, found, batches, seed=0)) == list(RunSampler(None, first, batches, seed=0))
    labels = {name: found.label.tobytes() for name, found in read.items()}
    suspects = {name: int(found.is_suspect.sum()) for name, found in read.items()}
    assert labels["InfoNCE + order"] == labels[ablation.BASE] and suspects[ablation.BASE] == 0
    assert len(set(labels.values())) > 2 and suspects["InfoNCE + order, adjusted by both"] > 0


def test_a_second_start_goes_on_from_the_arms_that_are_measured(mined_and_labelled, tmp_path, monkeypatch):
    pairs, labels = mined_and_labelled
    base = write_encoder(tmp_path / "base")
    command = ["ablation", labels, "--pairs", pairs, "--work", tmp_path / "work", "--results", tmp_path / "results"]
    command += ["--base", base, "--seeds", 1, "--document-tokens", 32]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    fit = ablation.fit
    trained = []

    def counted(*arguments):
        trained.append(arguments)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(ablation, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        ablation.main()
    ablation.main()  # the fourth is trained anew, the first three are not
    assert len(trained) == 4 + len(ablation.ARMS) - 3
    [result] = (tmp_path / "results").glob("ablation-*.json")
    figures = json.loads(result.read_text())["figures"]

    def fails(*_):
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(ablation, "fit", fails)
    ablation.main()
    [result] = (tmp_path / "results").glob("ablation-*.json")
    again = json.loads(result.read_text())["figures"]
    assert again == figures and list(again["mined test, mrr@10"]) == list(ablation.ARMS)
