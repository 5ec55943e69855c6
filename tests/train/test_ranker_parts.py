"""The parts of a ranker: head, window, layers, loss and calibration; and bases that do not fit."""

import json
import math

import numpy as np
import onnx
import pytest
import torch
from checkpoints import UNIXCODER_TOKENS, write_bert, write_qwen, write_roberta
from training import write_encoder
from transformers import AutoModel, AutoTokenizer

from dowse.errors import ConfigError, ModelError
from dowse.evaluate.encoders import open_ranker
from dowse.models.backbones import choose_backbone
from dowse.train import ranker_onnx
from dowse.train.calibration import calibrate, calibration_error
from dowse.train.judged import JudgedList, evaluator_of
from dowse.train.listwise import RankerLoss, TargetOptions
from dowse.train.losses import listwise_softmax
from dowse.train.ranker_model import (
    build_ranker,
    check_same_tokens,
    depth_of,
    load_ranker,
    tokenizer_of,
    truncate,
)
from dowse.train.ranker_onnx import RankerExport, export_ranker
from dowse.train.reading import PairReader

QUERIES = ["find the larger of two numbers", "add"]
CODES = ["def max(a, b): return a", "function f(a) { return a }"]


def built(folder, preset, max_tokens=60):
    lengths = {"max_query_tokens": 20, "max_document_tokens": max_tokens, "data_flow_nodes": 0}
    return build_ranker(folder, choose_backbone(preset, **lengths), max_tokens, 0, "cpu")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    return write_roberta(tmp_path_factory.mktemp("roberta") / "roberta")


@pytest.fixture(scope="module")
def codebert(roberta):
    return built(roberta, "codebert").eval()


def test_listwise_softmax_equals_its_equation():
    generator = torch.Generator().manual_seed(0)
    scores, weights = torch.randn(3, 4, generator=generator), torch.rand(3, 4, generator=generator)
    targets = torch.rand(3, 4, generator=generator).softmax(dim=1)
    weights[2, 3], targets[2] = 0, torch.tensor([0.5, 0.25, 0.25, 0.0])  # the last list is one short
    total = 0.0
    for q in range(3):
        below = sum(weights[q, j].item() * math.exp(20 * scores[q, j].item()) for j in range(4))
        total -= sum(targets[q, i].item() * math.log(math.exp(20 * scores[q, i].item()) / below) for i in range(4))
    assert listwise_softmax(scores, targets, weights, 20.0).item() == pytest.approx(total / 3, rel=1e-4)


def test_with_one_answer_and_even_weights_it_is_the_papers_loss():
    scores = torch.tensor([[0.3, 0.1, -0.2], [-0.4, 0.2, 0.9]])
    targets = torch.tensor([[1.0, 0, 0]] * 2)
    expected = 0.0
    for positive, *negatives in scores.tolist():
        inner = math.exp(positive * 20)
        expected += -math.log(inner / (inner + sum(math.exp(x * 20) for x in negatives))) / 2
    assert listwise_softmax(scores, targets, torch.ones(2, 3), 20.0).item() == pytest.approx(expected, rel=1e-5)


def test_the_head_is_that_of_the_paper(codebert, roberta):
    reader = PairReader(tokenizer_of(codebert), 20, 60)
    read = reader(QUERIES, CODES)
    found = codebert(dict(read))["scores"]
    pooled = AutoModel.from_pretrained(roberta).eval()(**read).pooler_output
    dense, norm, last = codebert[1].linear, codebert[2].norm, codebert[3].linear
    inner = pooled @ dense.weight.T + dense.bias
    inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
    inner = (inner - inner.mean(1, keepdim=True)) / (inner.var(1, correction=0, keepdim=True) + norm.eps).sqrt()
    expected = torch.tanh((inner * norm.weight + norm.bias) @ last.weight.T + last.bias)
    assert torch.allclose(found, expected, atol=1e-5) and found.shape == (2, 1)


def test_pairs_that_fit_are_read_as_the_library_reads_them(bert, codebert, roberta):
    for model in (built(bert, "minilm"), codebert):
        tokenizer, reader = tokenizer_of(model), PairReader(tokenizer_of(model), 30, 60)
        short = ["add x", "max"], ["def f", "return a + b"]
        expected = tokenizer(*short, padding=True, return_tensors="pt")
        found = reader(*short)
        assert set(found) == set(expected) and all(torch.equal(found[key], expected[key]) for key in found)


def test_graphcodebert_reads_pairs_without_data_flow_and_unixcoder_opens_them_with_its_mode(tmp_path, roberta):
    graph = built(roberta, "graphcodebert")
    assert type(graph[0]).__name__ == "Transformer" and set(PairReader(tokenizer_of(graph), 20, 60)(["a"], ["b"])) == {
        "input_ids",
        "attention_mask",
    }
    model = built(write_roberta(tmp_path / "u", tokens=tuple(UNIXCODER_TOKENS)), "unixcoder")
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    for each in (model, load_ranker(tmp_path / "saved", "cpu")):
        ids = PairReader(tokenizer_of(each), 20, 60)(["add"], ["x"])["input_ids"][0]
        tokens = tokenizer_of(each).convert_ids_to_tokens(ids)
        marks = [token for token in tokens if token.startswith("<")]
        assert tokens[:3] == ["<s>", "<encoder-only>", "</s>"] and marks[3:] == ["</s>", "</s>"]


@pytest.mark.parametrize("preset", ["codebert", "graphcodebert", "unixcoder"])
def test_the_papers_backbones_read_a_batch_and_learn_from_it(tmp_path, preset):
    """No weights of theirs are at hand: forwards and backwards on small ones of their kind is what is checked."""
    tokens = tuple(UNIXCODER_TOKENS) if preset == "unixcoder" else ()
    model = built(write_roberta(tmp_path / "base", **{"tokens": tokens} if tokens else {}), preset).eval()
    read = PairReader(tokenizer_of(model), 20, 60)([query for query in QUERIES for _ in CODES], CODES * 2)
    label = {
        "place": torch.arange(4),
        "targets": torch.tensor([[1.0, 0.0], [1.0, 0.0]]),
        "weights": torch.ones(2, 2),
    }
    loss = RankerLoss(model, TargetOptions(scale=20.0))([dict(read)], label)
    scores = model(dict(read))["scores"].detach().view(2, 2)
    expected = -(20 * scores).log_softmax(dim=1)[:, 0].mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    loss.backward()
    for part in (model[0].model.encoder.layer[0].output.dense, model[-1].linear):
        assert part.weight.grad.abs().sum() > 0 and torch.isfinite(part.weight.grad).all()


def test_a_query_longer_than_its_share_is_cut_and_leaves_the_rest_to_the_code(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    reader = PairReader(tokenizer, 5, 20)
    long, short = reader(["a b c d e f g h", "a"], ["x " * 50, "x " * 50])["input_ids"].tolist()
    middle = [tokenizer.sep_token_id]
    asked = tokenizer.convert_tokens_to_ids(list("abcde"))
    x = tokenizer.convert_tokens_to_ids("x")
    assert long == [tokenizer.cls_token_id, *asked, *middle, *[x] * 12, *middle]
    assert short == [tokenizer.cls_token_id, asked[0], *middle, *[x] * 16, *middle]
    assert reader([""], [""])["input_ids"].tolist() == [[tokenizer.cls_token_id, *middle, *middle]]
    with pytest.raises(
        ConfigError, match="a window of 20 tokens has room for 17, expected more than the 17 of a query"
    ):
        PairReader(tokenizer, 17, 20)


def test_a_tokenizer_that_reads_no_pairs_is_refused(tmp_path):
    model = built(write_roberta(tmp_path / "u", tokens=tuple(UNIXCODER_TOKENS)), "unixcoder")
    from tokenizers.processors import TemplateProcessing

    backend = tokenizer_of(model).backend_tokenizer
    backend.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    with pytest.raises(
        ConfigError, match="puts no token between a query and a document, expected one that reads pairs"
    ):
        PairReader(tokenizer_of(model), 20, 60)


def test_a_tokenizer_with_words_that_the_base_has_no_vectors_for_is_refused(tmp_path):
    folder = write_encoder(tmp_path)
    said = json.loads((folder / "tokenizer.json").read_text())
    said["model"]["vocab"]["surplus"] = len(said["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match=r"a vocabulary of 75 up to number 74 .* does not fit 74 embeddings"):
        build_ranker(folder, None, 40, 0, "cpu")


def test_bases_that_make_no_ranker_are_refused(tmp_path, bert):
    with pytest.raises(ModelError, match="has positions for 256 tokens, expected 300"):
        built(bert, "minilm", max_tokens=300)
    qwen = choose_backbone("oasis", max_query_tokens=20, max_document_tokens=60)
    with pytest.raises(ModelError, match="pools the last token as decoders do, expected an encoder"):
        build_ranker(write_qwen(tmp_path / "qwen"), qwen, 60, 0, "cpu")
    with pytest.raises(ModelError, match=r"cannot be loaded .*No such file.* expected a ranker with one score"):
        load_ranker(bert)
    with pytest.raises(ModelError, match=r"cannot be loaded \(it holds a SentenceTransformer\), expected a ranker"):
        load_ranker(write_encoder(tmp_path))


@pytest.mark.parametrize(("kept", "layers", "expected"), [("first", 3, [0, 1, 2]), ("spread", 3, [0, 2, 5])])
def test_a_ranker_is_made_shallower_by_leaving_out_layers(tmp_path, kept, layers, expected):
    folder = write_encoder(tmp_path, layers=6)
    model, whole = (build_ranker(folder, None, 40, 0, "cpu") for _ in range(2))
    truncate(model, layers, kept)
    assert depth_of(model) == layers
    for at, was in enumerate(expected):
        left, right = (m[0].model.encoder.layer[n].output.dense.weight for m, n in ((model, at), (whole, was)))
        assert torch.equal(left, right)
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert depth_of(load_ranker(tmp_path / "saved", "cpu")) == layers
    with pytest.raises(ConfigError, match="7 layers were asked for, expected 1 to the 6 of the model"):
        truncate(whole, 7)


def test_a_teacher_with_other_words_is_refused(bert, codebert):
    with pytest.raises(ConfigError, match="has another vocabulary than the base"):
        check_same_tokens(codebert, built(bert, "minilm"))


def chances(calibration, scores):
    return 1 / (1 + np.exp(-(calibration.slope * scores + calibration.offset)))


def test_a_calibration_gives_the_chances_that_scores_were_drawn_by():
    rng = np.random.default_rng(0)
    scores = rng.uniform(-1, 1, 20_000)
    is_relevant = rng.random(20_000) < 1 / (1 + np.exp(-(6 * scores - 2)))
    fitted = calibrate(scores, is_relevant)
    assert fitted.slope == pytest.approx(6, rel=0.1) and fitted.offset == pytest.approx(-2, rel=0.1)
    assert chances(fitted, scores).mean() == pytest.approx(is_relevant.mean(), abs=1e-3)


def test_a_ranker_that_tells_nothing_apart_is_given_the_base_rate():
    scores = np.linspace(-1, 1, 100)
    fitted = calibrate(scores, scores < -0.5)
    assert fitted.slope > 0 and chances(fitted, scores) == pytest.approx((scores < -0.5).mean(), abs=1e-3)


def test_scores_that_are_no_numbers_and_judgements_of_one_kind_cannot_be_calibrated():
    with pytest.raises(ModelError, match="score is no number for 1 of 2 documents"):
        calibrate(np.array([0.0, np.nan]), np.array([True, False]))
    with pytest.raises(ModelError, match="0 of 2 documents answer their query, expected some of both kinds"):
        calibrate(np.array([0.0, 1.0]), np.array([False, False]))


def test_the_error_of_probabilities_is_measured_on_lists_they_were_not_fitted_on():
    rng = np.random.default_rng(0)
    scores = [rng.uniform(-1, 1, 20) for _ in range(400)]
    honest = [rng.random(20) < 1 / (1 + np.exp(-(6 * found - 2))) for found in scores]
    found = calibration_error(scores, honest)
    assert (found["lists"], found["documents"]) == (200, 4_000)
    fitted = calibrate(np.concatenate(scores[::2]), np.concatenate(honest[::2]))
    said, so = chances(fitted, np.concatenate(scores[1::2])), np.concatenate(honest[1::2])
    assert found["brier"] == pytest.approx(sum((p - o) ** 2 for p, o in zip(said, so, strict=True)) / 4_000, abs=1e-5)
    gap = 0.0
    for low in np.arange(10) / 10:
        inside = (said >= low) & (said < low + 0.1)
        gap += abs(said[inside].sum() - so[inside].sum()) / 4_000
    assert found["expected_calibration_error"] == pytest.approx(gap, abs=1e-5) and gap < 0.05
    assert found["brier"] < found["brier of the rate"]
    other = [truth if at % 2 == 0 else ~truth for at, truth in enumerate(honest)]
    assert calibration_error(scores, other)["expected_calibration_error"] > 0.3
    assert calibration_error(scores[:1], honest[:1]) == {}


def test_an_answer_that_the_retriever_missed_counts_as_missed(codebert):
    found = JudgedList("add", ["add", "find"], np.array([True, False]))
    missed = JudgedList("add", ["find", "max"], np.array([False, False]))
    both, one = (evaluator_of(lists)(codebert) for lists in ([found, missed], [found]))
    assert both["dev_mrr@10"] == pytest.approx(one["dev_mrr@10"] / 2)
    assert both["dev_base_mrr@10"] == pytest.approx(0.5)
    assert evaluator_of([]) is None
    for few in (JudgedList("add", [], np.zeros(0, bool)), JudgedList("add", ["find"], np.array([False]))):
        found_some = evaluator_of([found, few])(codebert)
        assert found_some["dev_mrr@10"] == pytest.approx(one["dev_mrr@10"] / 2)


def test_an_export_with_a_damaged_weight_is_refused(tmp_path, codebert, monkeypatch):
    codebert.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    texts = [*CODES, "add", "find the larger", "return b", "a b c"]
    empty = JudgedList("add", [], np.zeros(0, bool))  # nothing to agree about
    lists = [JudgedList(query, texts, np.array([True, *[False] * 5])) for query in QUERIES] + [empty]
    options = RankerExport(20, 60, "code", int8=False)
    assert export_ranker(tmp_path / "model", tmp_path / "whole", lists, options)["agreement"]["lists"] == 2
    write = ranker_onnx.write_network

    def damaged(network, inputs, output, path, **settings):
        write(network, inputs, output, path, **settings)
        model = onnx.load(path)
        [last] = [one for one in model.graph.initializer if one.name.endswith("3.linear.weight")]
        last.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(last), last.name))
        onnx.save(model, path)

    monkeypatch.setattr(ranker_onnx, "write_network", damaged)
    with pytest.raises(ModelError, match=r"the export's .* with the ranker is -?0?\.?\d*.*, expected at least"):
        export_ranker(tmp_path / "model", tmp_path / "out", lists, options)
    assert not (tmp_path / "out").exists()


def test_a_trained_ranker_with_words_that_it_has_no_vectors_for_is_refused(tmp_path, bert):
    built(bert, "minilm").save_pretrained(str(tmp_path / "model"), create_model_card=False)
    [tokens] = (tmp_path / "model").rglob("tokenizer.json")
    said = json.loads(tokens.read_text())
    said["model"]["vocab"]["surplus"] = len(said["model"]["vocab"]) + 5
    tokens.write_text(json.dumps(said))
    for load in (lambda: load_ranker(tmp_path / "model", "cpu"), lambda: open_ranker(str(tmp_path / "model"))):
        with pytest.raises(ModelError, match=r"does not fit \d+ embeddings"):
            load()


def test_an_export_that_ranks_otherwise_is_refused_and_leaves_nothing(tmp_path, codebert):
    codebert.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    lists = [JudgedList(query, [*CODES, "add"], np.array([True, False, False])) for query in QUERIES]
    options = RankerExport(20, 60, "code", int8=False, min_overlap=1.01)
    # The float network of a RoBERTa, which has no segments, is its model to the last document.
    with pytest.raises(ModelError, match=r"the export's overlap@5 with the ranker is 1\.0, expected at least 1\.01"):
        export_ranker(tmp_path / "model", tmp_path / "new" / "out", lists, options)
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(ModelError, match="no list of several documents to check the export on"):
        export_ranker(tmp_path / "model", tmp_path / "out", [], options)
