"""What `benchmarks/order_causes.py` compares, and that it measures nothing twice."""

import json
import sys

import order_causes
import pytest
from labelling import rows, write_pairs
from training import label_folder, write_encoder


def test_each_cause_is_changed_alone():
    found = order_causes.variants({"first": None, "second": None})
    as_published = found.pop("as published")
    assert (as_published.labelled, as_published.batch_size, as_published.order_weight) == ("first", 0, 0.02)
    fields = ("labelled", "batch_size", "order_weight")
    for name, training in found.items():
        changed = [field for field in fields if getattr(training, field) != getattr(as_published, field)]
        assert len(changed) == 1, name
    assert {training.labelled for training in found.values()} == {"first", "second"}


def test_a_record_has_every_cause_and_a_second_start_trains_nothing(tmp_path, monkeypatch):
    pairs = [pair for name in ("owner/one", "owner/two") for pair in rows(name, 40)]
    pairs += [pair | {"split": "dev"} for pair in rows("owner/three", 20)]
    folder = write_pairs(tmp_path / "pairs", pairs)
    labelled = [label_folder(folder, tmp_path / name) for name in ("measured", "again")]
    base = write_encoder(tmp_path / "base", hidden=256)
    command = ["order_causes", *labelled, "--pairs", folder, "--work", tmp_path / "work", "--distilled", base]
    command += ["--results", tmp_path / "results", "--seeds", 1, "--epochs", 1]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    monkeypatch.setattr(order_causes, "WEIGHTS", (0.5,))
    monkeypatch.setattr(order_causes, "BATCHES", (16,))
    order_causes.main()
    [result] = (tmp_path / "results").glob("order-causes-*.json")
    record = json.loads(result.read_text())
    names = ["as published", "order weight 0.5", "batches of 16", "labels of again"]
    assert list(record["figures"]) == names
    assert record["settings"]["labels"]["again"]["negatives"] == 3
    first, again = record["figures"][names[0]], record["figures"][names[-1]]
    assert first == again  # the same labels under another name
    assert record["figures"]["order weight 0.5"]["InfoNCE only"] == first["InfoNCE only"]

    def fails(*_):
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(order_causes, "train", fails)
    order_causes.main()
    assert json.loads(result.read_text())["figures"] == record["figures"]
    with monkeypatch.context() as more:
        more.setattr(sys, "argv", [*sys.argv, "--seeds", "2"])
        with pytest.raises(AssertionError, match="nothing is left"):  # the second seed alone is to be trained
            order_causes.main()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--epochs", "2"])
    with pytest.raises(SystemExit, match="measured with another epochs"):
        order_causes.main()


def test_folders_of_one_name_are_refused(tmp_path, monkeypatch, capsys):
    command = ["order_causes", tmp_path / "a/labelled", tmp_path / "b/labelled", "--pairs", "pairs", "--work", "work"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    with pytest.raises(SystemExit):
        order_causes.main()
    assert "have one name" in capsys.readouterr().err
