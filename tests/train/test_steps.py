"""Single steps of a training: layers computed twice, several batches to a step, and bfloat16."""

import numpy as np
import pytest
import sentence_transformers as st
import torch
from training import label_folder, mine_folder, write_encoder

from dowse.train.batches import Collator, RunSampler
from dowse.train.objective import RetrieverLoss
from dowse.train.recipes import changed
from dowse.train.retriever import RetrieverOptions, StopsWhenDiverged, checked_rows, train_retriever
from dowse.train.run import set_dropout

SMALL = changed(
    RetrieverOptions(),
    {
        "bare_share": 1.0,
        "batch_size": 16,
        "run_length": 4,
        "log_steps": 1,
        "learning_rate": 2e-3,
        "max_document_tokens": 64,
        "bf16": False,
    },
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("base"), layers=2)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    return label_folder(mine_folder(folder / "mined"), folder / "labels")


def load(folder):
    return st.SentenceTransformer(str(folder), device="cpu")


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# sentence-transformers has the older name only; a library that no longer calls it would fail the test.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_layers_computed_twice_to_spare_memory_train_the_same_weights(base, labelled, tmp_path):
    def trained_with(name, **changes):
        model = load(base)
        train_retriever(labelled, model, tmp_path / name, changed(SMALL, {"max_steps": 2, **changes}))
        return model

    spared = trained_with("spared", gradient_checkpointing=True)
    assert spared[0].model.is_activation_checkpointing
    assert torch.allclose(weights(spared), weights(trained_with("plain")), atol=1e-6)


def test_a_step_of_several_batches_follows_the_mean_of_their_gradients(base, labelled, tmp_path, monkeypatch):
    options = changed(SMALL, {"batch_size": 8, "gradient_accumulation_steps": 2, "max_steps": 1, "max_grad_norm": 1e9})
    seen = {}

    class Looks(StopsWhenDiverged):
        def on_pre_optimizer_step(self, args, state, control, model=None, **_):
            seen.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    monkeypatch.setattr("dowse.train.retriever.StopsWhenDiverged", Looks)
    train_retriever(labelled, load(base), tmp_path / "out", options)

    model = load(base)
    set_dropout(model, 0.0)
    rows = checked_rows(labelled, options, ())
    collate = Collator(rows, model.preprocess, options.max_query_tokens, options.max_document_tokens)
    batches = iter(RunSampler(None, rows, options.batches, options.seed))
    for _ in range(2):
        batch = collate([{"row": row} for row in next(batches)])
        features = [
            {key.removeprefix(f"{side}_"): value for key, value in batch.items() if key.startswith(f"{side}_")}
            for side in ("query", "document")
        ]
        (sum(RetrieverLoss(model, options.loss)(features, batch["label"]).values()) / 2).backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert seen.keys() == expected.keys() and max(float(grad.abs().max()) for grad in seen.values()) > 1e-3
    for name, grad in expected.items():
        assert torch.allclose(seen[name], grad, rtol=1e-3, atol=1e-6), name


def test_a_step_in_bfloat16_moves_weights_that_stay_float32(base, labelled, tmp_path, monkeypatch):
    steps = {"max_steps": 2, "warmup_share": 0.0}
    monkeypatch.setattr("dowse.train.run.computes_bfloat16", lambda: True)
    model, whole, before = load(base), load(base), weights(load(base))
    card = train_retriever(labelled, model, tmp_path / "half", changed(SMALL, {**steps, "bf16": True}))
    train_retriever(labelled, whole, tmp_path / "whole", changed(SMALL, steps))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    moved, expected = weights(model) - before, weights(whole) - before
    assert not torch.equal(moved, expected)  # it was computed otherwise
    assert torch.nn.functional.cosine_similarity(moved, expected, dim=0) > 0.8
    assert all(np.isfinite(entry["loss"]) for entry in card["log"] if "loss" in entry)
