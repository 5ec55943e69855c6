"""A bi-encoder trained from labels: what it learns, what it leaves, how it goes on, and what it refuses."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentence_transformers as st
import torch
from checkpoints import write_roberta
from commands import dowse
from labelling import row, rows, write_pairs
from training import label_folder, mine_folder, write_encoder
from transformers import TrainerState

from dowse.errors import ConfigError, DataError, ModelError
from dowse.lock import alone
from dowse.records import sha256
from dowse.train.recipes import changed, read_recipe
from dowse.train.retriever import (
    RetrieverOptions,
    StopsWhenDiverged,
    dev_evaluator,
    sample_texts,
    train_retriever,
)
from dowse.train.rows import RowOptions, read_rows
from dowse.train.run import claimed, first_epoch, last_checkpoint, set_dropout

CHANGES = {
    "bare_share": 1.0,
    "batch_size": 16,
    "run_length": 4,
    "max_steps": 8,
    "save_steps": 4,
    "log_steps": 2,
    "learning_rate": 2e-3,
    "max_document_tokens": 64,
    "bf16": False,
}
SMALL = changed(RetrieverOptions(), CHANGES)

KILLED = Path(__file__).with_name("killed.py")

SHORT = CHANGES | {"max_steps": 1, "order_weight": 0.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("base"), layers=2)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return mine_folder(tmp_path_factory.mktemp("mined"))


@pytest.fixture(scope="module")
def labelled(pairs, tmp_path_factory):
    return label_folder(pairs, tmp_path_factory.mktemp("labelled") / "labels")


def load(folder):
    return st.SentenceTransformer(str(folder), device="cpu")


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def trained(base, labelled, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "model"
    train_retriever(labelled, load(base), output, SMALL)
    return output


def test_what_is_saved_holds_a_share_of_the_bases_weights(base, labelled, trained, tmp_path):
    train_retriever(labelled, load(base), tmp_path / "mixed", changed(SMALL, {"base_share": 0.25}))
    expected = 0.25 * weights(load(base)) + 0.75 * weights(load(trained))
    torch.testing.assert_close(weights(load(tmp_path / "mixed")), expected)
    with pytest.raises(ConfigError, match="base_share is 1, expected"):
        changed(SMALL, {"base_share": 1})


def test_training_lowers_the_loss_and_ranks_a_repository_never_seen_better(base, labelled, tmp_path):
    model = load(base)
    rows = read_rows(labelled, RowOptions(split="dev", bare_share=1.0))

    def hits():
        asked, found = (model.encode(side, normalize_embeddings=True) for side in (rows.queries, rows.documents))
        best = (asked @ found.T).argsort(axis=1)[:, -5:]
        return float(np.mean([rows.answer(row) in [rows.documents[i] for i in best[row]] for row in range(len(rows))]))

    before = hits()
    card = train_retriever(labelled, model, tmp_path / "out", changed(SMALL, {"max_steps": 60, "save_steps": 100}))
    losses = [entry["loss"] for entry in card["log"] if "loss" in entry]
    assert losses[-1] < 0.8 * losses[0]
    assert hits() > before + 0.1


def test_the_folder_holds_model_log_and_manifest_and_loads_as_any_other(trained, labelled):
    training = json.loads((trained / "training.json").read_text())
    manifest = json.loads((trained / "manifest.json").read_text())
    assert training["steps"] == 8 and training["rows"]["labels"] > 160
    assert {"contrastive", "order"} <= set(training["log"][0])
    assert any("eval_dev_cosine_mrr@10" in entry for entry in training["log"])
    assert list((trained / "checkpoints" / "runs").rglob("events.*")) or list(trained.rglob("events.out.tfevents*"))
    assert manifest["config"]["learning_rate"] == 2e-3
    assert set(manifest["inputs"]) == {path.as_posix() for path in labelled.glob("*.parquet")}
    assert load(trained).encode(["read the file"]).shape == (1, 32)


def test_a_run_that_was_stopped_in_its_second_epoch_ends_as_one_that_was_not(base, labelled, tmp_path):
    # The schedule must be that of the whole run, so the first part is a checkpoint of it and not a shorter run.
    longer = {**CHANGES, "max_steps": 16, "save_steps": 12, "dropout": 0.1}  # ten steps are an epoch
    config = tmp_path / "longer.json"
    config.write_text(json.dumps(longer))
    command = [sys.executable, str(KILLED), str(base), str(labelled), str(tmp_path / "stopped"), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 9, done.stderr
    assert not (tmp_path / "stopped" / "manifest.json").exists()
    assert first_epoch(tmp_path / "stopped") == 1
    for output in ("stopped", "whole"):
        train_retriever(labelled, load(base), tmp_path / output, changed(SMALL, longer))
    assert torch.allclose(weights(load(tmp_path / "stopped")), weights(load(tmp_path / "whole")), atol=1e-6)
    assert not torch.allclose(weights(load(tmp_path / "whole")), weights(load(base)), atol=1e-3)


def test_a_checkpoint_that_a_kill_cut_short_is_passed_over(trained, tmp_path):
    output = tmp_path / "model"
    for step in (4, 8, 12):
        (output / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
    assert last_checkpoint(output) is None
    assert first_epoch(output) == 0
    for step, state in ((4, "{}"), (8, '{"epoch": 2.75}'), (12, '{"epoch": 1.')):
        (output / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(output) == str(output / "checkpoints" / "checkpoint-8")
    assert first_epoch(output) == 2
    assert last_checkpoint(tmp_path / "nowhere") is None
    newest = last_checkpoint(trained)
    assert newest is not None and newest.endswith("checkpoint-8")


def test_equal_seeds_give_equal_models_and_another_seed_another(base, labelled, trained, tmp_path):
    train_retriever(labelled, load(base), tmp_path / "again", SMALL)
    assert torch.allclose(weights(load(tmp_path / "again")), weights(load(trained)), atol=1e-6)
    train_retriever(labelled, load(base), tmp_path / "other", changed(SMALL, {"seed": 1}))
    assert not torch.allclose(weights(load(tmp_path / "other")), weights(load(trained)), atol=1e-6)


def test_frozen_layers_keep_the_weights_of_the_base(base, labelled, tmp_path):
    model, before = load(base), load(base)
    train_retriever(labelled, model, tmp_path / "out", changed(SMALL, {"frozen_layers": 1, "max_steps": 2}))
    kept = dict(before.named_parameters())
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, kept[name])}
    assert moved and not any("embeddings" in name or "layer.0." in name for name in moved)
    with pytest.raises(ConfigError, match="frozen layers is 2, expected fewer than the 2 of the model"):
        train_retriever(labelled, model, tmp_path / "none", changed(SMALL, {"frozen_layers": 2}))


def test_the_released_recipe_trains_too(base, labelled, tmp_path):
    released = {
        "group_by_query": False,
        "run_length": 1,
        "repeat_queries": True,
        "mask_repeated_queries": False,
        "labelled_negatives": "keep",
        "contrastive": "weighted",
        "max_steps": 2,
    }
    card = train_retriever(labelled, load(base), tmp_path / "out", changed(SMALL, released))
    assert card["rows"]["queries"] > 160 * 3


def test_order_is_not_learnt_from_pairs_without_labels(base, pairs, tmp_path):
    with pytest.raises(
        DataError, match="holds no labels, expected some to learn order from; make them with: dowse label"
    ):
        train_retriever(pairs, load(base), tmp_path / "out", SMALL)
    plain = changed(SMALL, {"order_weight": 0.0, "max_steps": 2})
    assert train_retriever(pairs, load(base), tmp_path / "out", plain)["rows"]["labels"] == 0


def test_other_settings_do_not_go_on_from_a_checkpoint(base, labelled, trained):
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(learning_rate\)"):
        train_retriever(labelled, load(base), trained, changed(SMALL, {"learning_rate": 1e-3}))


def test_another_way_to_read_does_not_go_on_from_a_checkpoint_and_is_in_the_manifest(base, labelled, tmp_path):
    def options(**changes):
        return changed(read_recipe(None, {"base": str(base), "preset": "minilm"} | changes).options, SHORT)

    train_retriever(labelled, load(base), tmp_path, options(query_prompt="Find: "))
    said = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("manifest", "training")}
    for kept in (said["manifest"]["config"], said["training"]["settings"]):
        assert (kept["backbone"]["query_prompt"], kept["backbone"]["pooling"]) == ("Find: ", "mean")
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(backbone\)"):
        train_retriever(labelled, load(base), tmp_path, options(query_prompt="Seek: "))


def test_a_run_that_was_begun_before_the_way_to_read_was_kept_goes_on(base, labelled, tmp_path):
    train_retriever(labelled, load(base), tmp_path, changed(SMALL, SHORT))
    place = tmp_path / "checkpoints" / "settings.json"
    place.write_text(json.dumps({key: v for key, v in json.loads(place.read_text()).items() if key != "backbone"}))
    train_retriever(labelled, load(base), tmp_path, changed(SMALL, SHORT | {"base_sha256": "ab" * 32}))
    assert json.loads((tmp_path / "training.json").read_text())["settings"]["base_sha256"] == "ab" * 32


def test_a_preparation_that_fails_for_whatever_reason_leaves_no_claim(labelled, tmp_path):
    rows = read_rows(labelled, RowOptions())
    for fault in (KeyboardInterrupt, RuntimeError("out of memory"), ConfigError("too many layers")):
        with (
            pytest.raises((KeyboardInterrupt, RuntimeError, ConfigError)),
            claimed(tmp_path, {"layers": str(fault)}, rows),
        ):
            raise fault
    with claimed(tmp_path, {"layers": "other"}, rows):
        pass
    with pytest.raises(ConfigError, match="other settings"), claimed(tmp_path, {"layers": "more"}, rows):
        pass


def test_two_runs_do_not_write_into_one_folder(base, labelled, tmp_path):
    with alone(tmp_path / "checkpoints"), pytest.raises(ConfigError, match=r"another run is writing there.*-o"):
        train_retriever(labelled, load(base), tmp_path, SMALL)


def test_other_labels_do_not_go_on_from_a_checkpoint(base, labelled, trained, tmp_path):
    shutil.copytree(labelled, tmp_path / "again")
    path = sorted((tmp_path / "again").glob("labels-*.parquet"))[0]
    rows = pq.read_table(path)
    halved = pa.array(rows["similarity_label"].to_numpy() / 2, pa.float32())
    for name in ("measured_label", "similarity_label"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, halved)
    pq.write_table(rows, path)
    with pytest.raises(ConfigError, match=r"other settings \(trained_on\).*trained_on is what it learns from"):
        train_retriever(tmp_path / "again", load(base), trained, SMALL)


def test_a_checkpoint_of_another_shape_is_refused(labelled, trained, tmp_path):
    other = load(write_encoder(tmp_path / "wide", hidden=64, layers=2))
    with pytest.raises(ModelError, match="the checkpoint does not fit this model"):
        train_retriever(labelled, other, trained, SMALL)


def test_what_fails_before_there_is_a_checkpoint_is_not_blamed_on_one(base, labelled, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the state_dict of something else")

    monkeypatch.setattr("dowse.train.retriever._Trainer.train", fail)
    with pytest.raises(RuntimeError, match="of something else"):
        train_retriever(labelled, load(base), tmp_path / "out", SMALL)


def test_the_seconds_of_a_run_that_goes_on_are_those_of_all_its_parts(base, labelled, trained, tmp_path):
    output = shutil.copytree(trained, tmp_path / "model")
    kept = Path(last_checkpoint(output)) / "seconds.json"
    assert json.loads(kept.read_text())["seconds"] > 0
    kept.write_text('{"seconds": 5000.0}')
    card = train_retriever(labelled, load(base), output, SMALL)
    assert 5000 <= card["seconds"] < 5600
    kept = Path(last_checkpoint(output)) / "seconds.json"
    assert json.loads(kept.read_text())["seconds"] > 5000
    kept.unlink()  # as runs begun by an older version are
    assert train_retriever(labelled, load(base), output, SMALL)["seconds"] < 600


def test_dropout_that_attention_keeps_as_a_number_is_set_too():
    attention = torch.nn.Module()
    attention.attention_dropout, attention.is_causal = 0.5, True
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), attention)
    set_dropout(model, 0.1)
    assert (model[0].p, attention.attention_dropout, attention.is_causal) == (0.1, 0.1, True)


def test_a_run_that_diverges_is_stopped_with_the_reason(base, labelled, tmp_path):
    wild = changed(SMALL, {"learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(ModelError, match="expected a finite number; lower the learning rate"):
        train_retriever(labelled, load(base), tmp_path / "out", wild)


def test_a_loss_that_grows_by_half_is_called_divergence():
    callback, state = StopsWhenDiverged(), TrainerState(global_step=7)
    for loss in (2.0, 2.9, 1.0):
        state.log_history.append({"loss": loss})
        callback.on_log(None, state, None, {"loss": loss})
    callback.on_log(None, state, None, {"eval_dev": 9.0})
    with pytest.raises(ModelError, match=r"the loss is 3\.1 at step 7, having begun at 2; lower the learning rate"):
        callback.on_log(None, state, None, {"loss": 3.1})
    resumed = StopsWhenDiverged()  # begins with what the run logged first, not with what it logs next
    resumed.on_log(None, state, None, {"loss": 1.0})
    resumed.on_log(None, state, None, {"loss": 2.5})


def test_a_label_column_that_is_missing_is_named(labelled, base, tmp_path):
    for path in labelled.iterdir():
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            pq.write_table(
                table.drop_columns("similarity_label") if "labels-" in path.name else table, tmp_path / path.name
            )
    (tmp_path / "manifest.json").touch()
    with pytest.raises(DataError, match="no column similarity_label"):
        train_retriever(tmp_path, load(base), tmp_path / "out", SMALL)


def test_the_command_trains_exports_and_prints_what_it_did(base, labelled, tmp_path):
    arguments = ["train", "retriever", labelled, "-o", tmp_path / "out", "--base", base, "--max-steps", "2"]
    (tmp_path / "short.toml").write_text("[train.retriever]\nmax_query_tokens = 9\nmax_document_tokens = 33\n")
    arguments += ["--batch-size", "16", "--no-bf16", "--config", tmp_path / "short.toml"]
    codes = ["def one(a):\n    return a + 1\n", "print(2)"]
    for name, told in (("asked", codes), ("benchmark", [codes[0].replace("    ", "\t"), "print(3)"])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"query": c, "code": c}) + "\n" for c in told))
    arguments += ["--questions", tmp_path / "asked.jsonl", "--benchmark", tmp_path / "benchmark.jsonl"]
    done = dowse(*arguments)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"]["questions"], said["questions_in_benchmarks"]) == (2, 1)
    assert said["steps"] == 2 and said["settings"]["base_sha256"] == sha256(base / "model.safetensors")
    exported = json.loads((tmp_path / "out" / "int8" / "config.json").read_text())
    assert exported["max_tokens"] == {"query": 9, "document": 33}  # as it was trained
    assert done.stderr.splitlines()[-1] == f"the model is in {tmp_path / 'out'}"


def test_the_command_exports_the_first_numbers_and_whole_weights_where_it_is_asked_to(base, labelled, tmp_path):
    (tmp_path / "short.toml").write_text(
        "[train.retriever]\nmatryoshka = [8]\nexport_dimensions = 16\nbatch_size = 16\nmax_steps = 1\nbf16 = false\n"
    )
    arguments = ["train", "retriever", labelled, "-o", tmp_path / "out", "--base", base]
    arguments += ["--config", tmp_path / "short.toml"]
    for more, kept in (
        ([], {"dimensions": 16, "weights": "int8"}),
        (["--export-dimensions", "8", "--export-float32"], {"dimensions": 8, "weights": "float32"}),  # trained once
    ):
        done = dowse(*arguments, *more)
        assert done.returncode == 0, done.stderr
        exported = json.loads((tmp_path / "out" / "int8" / "config.json").read_text())
        assert kept == {key: exported[key] for key in kept}
    wide = dowse("train", "retriever", labelled, "-o", tmp_path / "wide", "--base", base, "--export-dimensions", "33")
    assert wide.returncode == 1 and not (tmp_path / "wide").exists()
    assert wide.stderr == f"error: {base}: 33 dimensions were asked for, expected 1 to 32; change export_dimensions\n"


def test_an_export_is_not_checked_on_a_dev_split_too_small_to_have_an_order(tmp_path):
    def texts(dev):
        found = [one | {"split": "train"} for one in rows("owner/one", 60)]
        found += [one | {"split": "dev"} for one in rows("owner/two", dev)]
        return sample_texts(write_pairs(tmp_path / str(dev), found), RowOptions(bare_share=1.0))

    assert [len(documents) for _, documents in map(texts, (0, 1, 3, 50))] == [60, 60, 60, 50]


def test_what_cannot_be_exported_is_said_before_it_is_trained(labelled, tmp_path):
    base = write_roberta(tmp_path / "base", head=True)
    done = dowse("train", "retriever", labelled, "-o", tmp_path / "out", "--base", base, "--preset", "graphcodebert")
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert done.stderr == "error: a model that reads data flow cannot be exported for search; add --no-export\n"


@pytest.mark.parametrize("missing", ["sentence_transformers", "torch", "pyarrow"])
def test_without_the_extra_the_error_names_it(missing, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "dowse"]:
        monkeypatch.delitem(sys.modules, name)  # so that all of it is imported once more
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(Exception, match=r"in Dowse's folder: pip install '\.\[train\]'$") as raised:
        importlib.import_module("dowse.train.retriever")
    assert raised.typename == "MissingExtraError"


def test_on_dev_another_version_of_the_answer_counts_as_found(tmp_path):
    found = [
        row("Read a file whole.", "def load(path):\n    return open(path).read()\n", symbol="load", split="dev"),
        row("Strip it.", "def load(path):\n    return open(path).read().strip()\n", symbol="load", split="dev"),
        row("Count the lines.", "def count(path):\n    return len(open(path).readlines())\n", symbol="c", split="dev"),
    ]
    evaluator = dev_evaluator(write_pairs(tmp_path / "pairs", found), RowOptions())
    assert evaluator.relevant_docs == {"0": {"0", "1"}, "1": {"0", "1"}, "2": {"2"}}
