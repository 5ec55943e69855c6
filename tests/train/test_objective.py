"""The total of the losses, by one process and by two, and batches of unlike lengths."""

import subprocess
import sys
from math import exp, log, sqrt
from pathlib import Path

import pytest
import sentence_transformers as st
import torch
from training import write_encoder

from dowse.errors import ConfigError, ModelError
from dowse.train.losses import Relations, info_nce, negatives_of, order_loss
from dowse.train.objective import LossOptions, RetrieverLoss

WORKER = Path(__file__).parent / "gathered.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    found = st.SentenceTransformer(str(write_encoder(tmp_path_factory.mktemp("base"))), device="cpu")
    for module in found.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return found


def texts():
    queries = ["read the file", "sort a table", "send", "merge the header and the image"]
    documents = [
        "def read file",
        "table sort table sort table sort",
        "send",
        "merge image",
        "open socket " * 20,
        "count",
    ]
    return queries, documents


def known():
    labels = torch.full((4, 6), torch.nan)
    labels[range(4), range(4)] = 1.0
    labels[0, 4], labels[1, 5], labels[2, 4] = 0.7, 0.2, 0.4
    suspect = torch.zeros(4, 6, dtype=torch.bool)
    suspect[0, 4] = True
    return {
        "query_ids": torch.arange(4),
        "document_ids": torch.arange(6),
        "text_ids": torch.arange(6),
        "labels": labels,
        "is_positive": torch.eye(4, 6, dtype=torch.bool),
        "is_suspect": suspect,
    }


def test_the_total_is_the_weighted_sum_of_its_parts(model):
    queries, documents = texts()
    features = [model.preprocess(queries), model.preprocess(documents)]
    options = LossOptions(contrastive_weight=0.9, order_weight=0.1)
    parts = RetrieverLoss(model, options)(features, known())
    encoded = [model.encode(side, convert_to_tensor=True, normalize_embeddings=True) for side in (queries, documents)]
    cosines = encoded[0] @ encoded[1].T
    relations = Relations(**known())
    row, column = (~relations.labels.isnan()).nonzero(as_tuple=True)
    contrastive = info_nce(cosines, relations.is_positive, negatives_of(relations).documents, 20)
    ordered = order_loss(cosines[row, column], relations.labels[row, column], 20)
    assert set(parts) == {"contrastive", "order"}
    assert parts["contrastive"].item() == pytest.approx(0.9 * contrastive.item(), rel=1e-4)
    assert parts["order"].item() == pytest.approx(0.1 * ordered.item(), rel=1e-4)


def test_matryoshka_equals_its_equation(model):
    features = [model.preprocess(side) for side in texts()]
    options = LossOptions(contrastive_weight=0.9, order_weight=0.1, matryoshka=(8, 16))
    parts = RetrieverLoss(model, options)(features, known())
    asked, found = (model.encode(side).tolist() for side in texts())
    relations = Relations(**known())
    negative, labels = negatives_of(relations).documents.tolist(), relations.labels.tolist()
    expected = {"contrastive": 0.0, "order": 0.0}
    for length in (8, 16, 32):  # the mean over the lengths, the whole one among them
        x = [[20 * cosine(query[:length], document[:length]) for document in found] for query in asked]
        for i in range(4):
            total = exp(x[i][i]) + sum(exp(x[i][j]) for j in range(6) if negative[i][j])
            expected["contrastive"] += 0.9 * -log(exp(x[i][i]) / total) / 4 / 3
        rows = [(i, j) for i in range(4) for j in range(6) if labels[i][j] == labels[i][j]]  # not NaN
        ordered = [exp(x[i][j] - x[k][m]) for i, j in rows for k, m in rows if labels[i][j] < labels[k][m]]
        expected["order"] += 0.1 * log(1 + sum(ordered)) / 3
    assert {name: loss.item() for name, loss in parts.items()} == pytest.approx(expected, rel=1e-4)


def cosine(one, other):
    size = sqrt(sum(a * a for a in one)) * sqrt(sum(b * b for b in other))
    return sum(a * b for a, b in zip(one, other, strict=True)) / size


@pytest.mark.parametrize("contrastive", ["infonce", "weighted", "soft"])
def test_every_arm_of_an_ablation_gives_a_gradient(model, contrastive):
    features = [model.preprocess(side) for side in texts()]
    options = LossOptions(contrastive=contrastive, angle_weight=0.1, matryoshka=(8, 16))
    model.zero_grad()
    sum(RetrieverLoss(model, options)(features, known()).values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None) > 0


def test_a_further_length_is_shorter_than_the_whole(model):
    for length in (32, 64):
        with pytest.raises(ConfigError, match="expected lengths below the model's 32"):
            RetrieverLoss(model, LossOptions(matryoshka=(8, length)))


def test_without_normalisation_the_raw_dot_product_counts(model):
    features = [model.preprocess(side) for side in texts()]
    relations = Relations(**known())
    options = LossOptions(order_weight=0, contrastive_weight=1, normalise=False, scale=1)
    loss = RetrieverLoss(model, options)(features, known())["contrastive"]
    encoded = [model.encode(side, convert_to_tensor=True) for side in texts()]
    negative = negatives_of(relations).documents
    assert loss.item() == pytest.approx(info_nce(encoded[0] @ encoded[1].T, relations.is_positive, negative, 1).item())


def test_a_loss_that_is_no_number_is_an_error(model):
    features = [model.preprocess(side) for side in texts()]
    weights = model[0].model.embeddings.word_embeddings.weight
    kept = weights.detach().clone()
    try:
        with torch.no_grad():
            weights.fill_(torch.nan)
        with pytest.raises(ModelError, match="loss is nan, expected a finite number; lower the learning rate"):
            RetrieverLoss(model, LossOptions())(features, known())
    finally:
        with torch.no_grad():
            weights.copy_(kept)


def test_two_processes_that_share_documents_get_the_loss_and_the_gradient_of_one(tmp_path):
    done = subprocess.run([sys.executable, str(WORKER), str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"{count}.pt", weights_only=True) for count in (1, 2))
    assert list(one) == list(two)
    assert {name.split()[0] for name in one} == {"in_groups", "singly"}
    for alone, together in zip(one.values(), two.values(), strict=True):
        assert list(together["parts"]) == list(alone["parts"]) == ["contrastive", "order", "angle"]
        assert together["parts"] == pytest.approx(alone["parts"], rel=1e-5)
        assert torch.allclose(together["gradient"], alone["gradient"], rtol=1e-4, atol=1e-6)
        assert alone["gradient"].abs().sum() > 0
