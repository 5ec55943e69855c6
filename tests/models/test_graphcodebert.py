"""The graph-guided attention of GraphCodeBERT, on a tiny model with random weights."""

from functools import partial

import numpy as np
import pytest
import torch
from checkpoints import CODE, write_roberta
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from transformers import RobertaModel

from dowse.errors import ConfigError, ModelError
from dowse.models.backbones import choose_backbone, load_backbone
from dowse.models.dataflow import DataFlow, Edge, Variable, data_flow
from dowse.models.dataflow_walk import COMES_FROM, COMPUTED_FROM
from dowse.models.graphcodebert import DataFlowTransformer, graph_input
from dowse.models.text import document_text

LENGTHS = {"max_query_tokens": 40, "max_document_tokens": 90}
SHORT = "def f(a):\n    b = a\n    return b\n"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny models gain nothing from threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_roberta(tmp_path_factory.mktemp("graphcodebert") / "base", head=True)


def opened(folder, **changes) -> SentenceTransformer:
    return load_backbone(folder, choose_backbone("graphcodebert", **(LENGTHS | changes)), device="cpu").eval()


@pytest.fixture(scope="module")
def model(folder) -> SentenceTransformer:
    """Load it once; no test changes it."""
    return opened(folder)


def as_rows(mask: np.ndarray) -> list[str]:
    return ["".join("1" if attends else "." for attends in row) for row in mask]


# <s> b = a ; c c </s>, of which the last variable is spelled in two tokens
SPANS = [(0, 0), (0, 1), (2, 3), (4, 5), (5, 6), (7, 8), (8, 9), (0, 0)]
SPECIAL = [True, False, False, False, False, False, False, True]
FLOW = DataFlow(
    (Variable(0, 1, "b"), Variable(4, 5, "a"), Variable(7, 9, "cc")),
    (Edge(0, COMPUTED_FROM, (1,)), Edge(2, COMES_FROM, (0,))),
)


def test_the_mask_is_the_one_worked_out_by_hand():
    read = graph_input(SPANS, SPECIAL, FLOW, 2, 64)
    assert read.position_ids.tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0]
    assert as_rows(read.mask) == [
        "11111111111",  # <s> attends to everything
        "111111111..",  # b: all code, and its own node
        "11111111...",  # =
        "11111111.1.",  # a
        "11111111...",  # ;
        "11111111..1",  # c
        "11111111..1",  # c
        "11111111111",  # </s>
        ".1......11.",  # node b: its token, itself, and a, from which it is computed
        "...1.....1.",  # node a: its token and itself; who reads it is not its affair
        ".....11.1.1",  # node cc: both its tokens, b, where it comes from, and itself
    ]


def test_nodes_whose_tokens_were_cut_off_are_left_out_with_their_edges():
    read = graph_input([*SPANS[:5], SPANS[7]], [*SPECIAL[:5], True], FLOW, 2, 64)
    assert read.position_ids.tolist() == [2, 3, 4, 5, 6, 7, 0, 0]
    assert as_rows(read.mask)[6:] == [".1....11", "...1...1"]


def test_the_first_nodes_are_kept_up_to_the_limit():
    assert as_rows(graph_input(SPANS, SPECIAL, FLOW, 2, 1).mask)[8:] == [".1......1"]
    assert graph_input(SPANS, SPECIAL, FLOW, 2, 0).mask.all()


def test_text_without_data_flow_is_code_alone():
    read = graph_input(SPANS, SPECIAL, DataFlow((), ()), 2, 64)
    assert read.mask.all()
    assert read.position_ids.tolist() == list(range(2, 10))


def test_a_batch_is_code_then_nodes_then_padding(model):
    features = model.preprocess([SHORT, "x"], task="document")
    ids, positions, mask = features["input_ids"], features["position_ids"], features["graph_mask"]
    length = int(features["attention_mask"][0].sum())
    assert positions[0].tolist() == [*range(2, length + 2), 0, 0, 0, 0]
    assert positions[1].tolist() == [2, 3, 4] + [1] * (length + 1)
    assert features["attention_mask"].tolist() == (positions > 1).int().tolist()
    assert model.tokenizer.decode(ids[0, :length]) == f"<s>{SHORT}</s>"
    assert ids[0, length:].tolist() == [model.tokenizer.unk_token_id] * 4
    assert ids[1, 3:].tolist() == [model.tokenizer.pad_token_id] * (length + 1)
    assert mask[1, :3, :3].all()
    assert mask[1].sum() == 9
    assert not mask[0, : length + 4].logical_not().all(dim=1).any()


def test_nodes_are_tied_to_the_tokens_they_are_spelled_with(model):
    features = model.preprocess([CODE], task="document")
    length = int(features["attention_mask"].sum())
    names = [
        model.tokenizer.decode(features["input_ids"][0, :length][row[:length]]).strip()
        for row in features["graph_mask"][0, length:]
    ]
    assert names == ["a", "b", "x", "0", "b", "a", "x", "b", "x", "a", "x"]


def test_queries_are_read_as_roberta_reads_them(folder, model):
    features = model.preprocess([CODE], task="query")
    assert set(features) >= {"input_ids", "attention_mask"}
    assert "graph_mask" not in features
    plain = opened(folder, data_flow_nodes=0)
    np.testing.assert_array_equal(model.encode_query([CODE]), plain.encode_query([CODE]))
    assert np.abs(model.encode_document([CODE]) - plain.encode_document([CODE])).max() > 1e-4


def test_the_forward_pass_equals_its_equations(folder, model):
    """Node embeddings and masks written as loops, given to the encoder that transformers loads."""
    text = SHORT
    features = model.preprocess([text], task="document")
    encoder = model[0].model
    ids, flow = model.tokenizer(text, return_offsets_mapping=True), data_flow(text, "python")
    words = encoder.embeddings.word_embeddings.weight
    rows = [words[token] for token in ids["input_ids"]]
    for start, end, _ in flow.variables:
        own = [rows[i] for i, (left, right) in enumerate(ids["offset_mapping"]) if left < end and right > start]
        rows.append(sum(own) / len(own))
    mask = torch.zeros(1, 1, len(rows), len(rows))
    for i in range(len(rows)):
        for j in range(len(rows)):
            if not features["graph_mask"][0, i, j]:
                mask[0, 0, i, j] = -torch.inf
    positions = [*range(2, len(ids["input_ids"]) + 2), *[0] * len(flow.variables)]
    with torch.inference_mode():
        expected = encoder(
            inputs_embeds=torch.stack(rows)[None], attention_mask=mask, position_ids=torch.tensor([positions])
        ).pooler_output[0]
    assert isinstance(encoder, RobertaModel)
    np.testing.assert_allclose(model.encode_document(text), expected, atol=1e-6)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_place_is_moved_by_exactly_the_places_it_attends_to(folder, attention):
    """One layer, so that what reaches a place is one row of the mask; also across a batch with padding."""
    module = opened(folder, pooling="mean")[0]
    module.model.encoder.layer = module.model.encoder.layer[:1]
    module.model.set_attn_implementation(attention)
    features = module.preprocess([SHORT, CODE], task="document")
    seen = []

    def watch(layer, args, kwargs):
        seen.append(kwargs["inputs_embeds"].detach().requires_grad_())
        return args, kwargs | {"inputs_embeds": seen[0]}

    module.model.embeddings.register_forward_pre_hook(watch, with_kwargs=True)
    output = module(features)["token_embeddings"]
    for row, mask in enumerate(features["graph_mask"]):
        length = int(mask.any(dim=1).sum())
        for place in range(length):
            (gradient,) = torch.autograd.grad(output[row, place, :5].sum(), seen[0], retain_graph=True)
            reached = gradient.abs().sum(dim=-1) > 0
            expected = mask[place].clone()
            expected[place] = True
            assert reached[row].tolist() == expected.tolist()
            assert not reached[1 - row].any()


def test_an_unconnected_variable_does_not_change_what_it_must_not_reach(folder):
    module = opened(folder, pooling="mean")[0]
    module.model.encoder.layer = module.model.encoder.layer[:1]
    features = module.preprocess(["def f(a, c):\n    b = a\n    return b, c"], task="document")
    nodes = (features["position_ids"][0] == 0).nonzero().flatten()
    names = ["a", "c", "b", "a", "b", "c"]
    assert len(nodes) == len(names)
    first = module(dict(features))["token_embeddings"]
    c = features["graph_mask"][0, nodes[1]].nonzero().flatten()[0]  # the token that the parameter is spelled with
    other = features["input_ids"].clone()
    other[0, c] = module.tokenizer.convert_tokens_to_ids("x")
    moved = (module(features | {"input_ids": other})["token_embeddings"] - first).abs().amax(dim=-1)[0] > 0
    assert [bool(moved[node]) for node in nodes] == [name == "c" for name in names]


def test_a_batch_of_one_equals_a_batch_of_many(model):
    texts = [CODE, "x", SHORT, "func f(a int) int { b := a; return b }", CODE * 4]
    singly = np.concatenate([model.encode_document([text]) for text in texts])
    np.testing.assert_allclose(model.encode_document(texts), singly, atol=1e-6)


def test_the_mean_and_the_last_token_are_of_code_not_of_nodes(folder):
    for pooling in ("mean", "cls", "last_token"):
        model = opened(folder, pooling=pooling)
        features = model.preprocess([SHORT], task="document")
        code = int(features["attention_mask"].sum())
        hidden = model[0](dict(features))["token_embeddings"][0, :code].detach().numpy()
        expected = {"mean": hidden.mean(axis=0), "cls": hidden[0], "last_token": hidden[-1]}[pooling]
        np.testing.assert_allclose(model.encode_document(SHORT), expected, atol=1e-6)


def test_the_gradient_flows_and_half_precision_stays_finite(folder):
    model = opened(folder).train()
    features = model.preprocess([CODE, "x"], task="document")
    with torch.autocast("cpu", torch.bfloat16):
        embedding = model(features)["sentence_embedding"]
    embedding.float().square().sum().backward()
    words = model[0].model.embeddings
    assert torch.isfinite(embedding).all()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
    assert words.position_embeddings.weight.grad[0].abs().sum() > 0  # the nodes' position is learnt
    half = load_backbone(folder, choose_backbone("graphcodebert", **LENGTHS), device="cpu", dtype="bfloat16")
    assert torch.isfinite(half.encode_document([CODE, "x"], convert_to_tensor=True)).all()


def test_a_prompt_does_not_shift_the_nodes(model):
    plain = model.preprocess([SHORT], task="document")
    shifted = model.preprocess([SHORT], prompt="Code:\n", task="document")
    code, more = (int(features["attention_mask"].sum()) for features in (plain, shifted))
    added = more - code
    assert added > 0
    links = plain["graph_mask"][0, code:, 1:code], shifted["graph_mask"][0, more:, 1 + added : more]
    assert torch.equal(*links)


def test_code_of_each_language_gets_its_nodes_and_prose_gets_none(model):
    texts = ["func f(a int) int {\n\tb := a\n\treturn b\n}", "function f($a) { $b = $a; return $b; }", "to sort a list"]
    positions = model.preprocess(texts, task="document")["position_ids"]
    assert (positions == 0).sum(dim=1).tolist() == [4, 4, 0]


def test_a_line_with_path_and_symbol_is_no_code_and_tells_the_language(model):
    bare = model.preprocess([SHORT], task="document")
    code = int(bare["attention_mask"].sum())
    for path, nodes in (("app/f.py", 4), ("app/f.rs", 0), ("notes.md", 0)):
        headed = model.preprocess([document_text(path, "A.f", SHORT)], task="document")
        length = int(headed["attention_mask"].sum())
        links = headed["graph_mask"][0, length:, length - code + 1 : length]
        assert torch.equal(links, bare["graph_mask"][0, code:, 1:code][:nodes])
    code = "res.json = function json(a) {\n  const b = a\n  return b\n}"  # begins like a path, and is none
    nodes = len(data_flow(code, "javascript").variables)
    assert (model.preprocess([code], task="document")["position_ids"] == 0).sum() == nodes > 3
    text = document_text("a.rb", "f", "b = a\nreturn b")
    assert (model.preprocess([text], task="document")["position_ids"] == 0).sum() == 3


def test_a_language_that_is_set_is_not_guessed(folder, tmp_path):
    model = opened(folder)
    text = "b = a\nreturn b"
    assert not (model.preprocess([text], task="document")["position_ids"] == 0).any()
    model[0].language = "ruby"
    assert (model.preprocess([text], task="document")["position_ids"] == 0).sum() == 3
    model[0].language, model[0].max_nodes = "go", 7
    model.save_pretrained(str(tmp_path), create_model_card=False)
    again = load_backbone(tmp_path, device="cpu")[0]
    assert (again.language, again.max_nodes) == ("go", 7)
    with pytest.raises(ConfigError, match="language is 'cobol', expected one with a known data flow"):
        DataFlowTransformer(str(folder), language="cobol")


def test_code_that_cannot_be_parsed_in_time_is_read_without_data_flow(model, monkeypatch):
    monkeypatch.setattr("dowse.languages.parsing.PARSE_LIMIT_S", -1.0)
    features = model.preprocess([CODE * 40], task="document")
    assert not (features["position_ids"] == 0).any()


def test_columns_of_a_training_set_are_read_by_their_task(model):
    collator = SentenceTransformerDataCollator(
        preprocess_fn=partial(model.preprocess), router_mapping={"query": "query", "document": "document"}
    )
    batch = collator([{"query": "the larger", "document": CODE}, {"query": "add", "document": SHORT}])
    assert batch["document_graph_mask"].shape[0] == 2
    assert "query_graph_mask" not in batch


def test_plain_sentence_transformers_loads_it_only_if_code_is_trusted(model, tmp_path):
    model.save_pretrained(str(tmp_path), create_model_card=False)
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(tmp_path), device="cpu")
    trusted = SentenceTransformer(str(tmp_path), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(trusted.encode_document([CODE]), model.encode_document([CODE]), atol=1e-6)


def test_a_folder_with_data_flow_is_not_opened_without(model, tmp_path):
    model.save_pretrained(str(tmp_path), create_model_card=False)
    with pytest.raises(
        ModelError, match="has pooler pooling with data flow, expected pooler pooling without data flow"
    ):
        load_backbone(tmp_path, choose_backbone("codebert", **LENGTHS), device="cpu")
    fewer = load_backbone(tmp_path, choose_backbone("graphcodebert", data_flow_nodes=2, **LENGTHS), device="cpu")
    assert (fewer.preprocess([CODE], task="document")["position_ids"] == 0).sum() == 2
