"""A ranker trained on what a retriever ranks high: what it learns, how it goes on, and what it refuses."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ranker_table
import torch
from evaluating import WordEncoder
from labelling import row as pair
from labelling import rows, write_pairs
from rankers import ANSWERS, LABELLED, small_corpus
from safetensors.torch import load_file, save_file
from sources import write_files
from training import label_folder, write_encoder
from transformers import TrainerCallback

from dowse.errors import ConfigError, DataError, ModelError
from dowse.evaluate.encoders import open_ranker
from dowse.models.crossencoder import CrossEncoder
from dowse.models.ranking import DenseRanking
from dowse.serve.training import SearchRanking, _task_of
from dowse.train import ranker
from dowse.train.corpus import read_corpus
from dowse.train.judged import judged_lists
from dowse.train.listwise import ListCollator, ListSampler, RankerLoss, TargetOptions
from dowse.train.negatives import NegativeSampler, SamplingOptions
from dowse.train.ranker import RankerOptions, train_ranker
from dowse.train.ranker_model import build_ranker, load_ranker, tokenizer_of
from dowse.train.rankings import freeze
from dowse.train.reading import PairReader
from dowse.train.recipes import RankerRecipe, changed, read_ranker_recipe
from dowse.train.rows import RowOptions

CHANGES = {
    "n_negatives": 3,
    "last_rank": 12,
    "max_query_tokens": 12,
    "max_tokens": 40,
    "batch_size": 8,
    "max_steps": 8,
    "save_steps": 5,
    "log_steps": 2,
    "learning_rate": 2e-3,
    "bf16": False,
}
SMALL = changed(RankerOptions(), CHANGES)
RETRIEVER = DenseRanking(WordEncoder())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny encoder whose weights are large enough to tell words apart before it is trained."""
    folder = write_encoder(tmp_path_factory.mktemp("base"), layers=2)
    found = load_file(folder / "model.safetensors")
    larger = {name: w * 8 if w.dim() == 2 else w for name, w in found.items()}
    save_file(larger, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Twenty-four queries to train on, so that a pass is three batches, and eight of another repository for dev."""
    dev = [row | {"split": "dev"} for row in rows("owner/two", 8)]
    return write_pairs(tmp_path_factory.mktemp("pairs"), rows("owner/one", 24) + dev)


@pytest.fixture(scope="module")
def labelled(pairs, tmp_path_factory):
    return label_folder(pairs, tmp_path_factory.mktemp("labelled") / "labels")


def fresh(base, **changes):
    return build_ranker(base, None, changes.get("max_tokens", 40), changes.get("seed", 0), "cpu")


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def trained(base, pairs, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "model"
    dev = judged_lists(pairs, RETRIEVER, SMALL.rows, as_code=False)
    card = train_ranker(pairs, fresh(base), RETRIEVER, output, SMALL, dev=dev)
    return output, card


def test_the_folder_holds_model_log_and_manifest_and_loads_as_any_other(trained, pairs):
    output, card = trained
    training, manifest = (json.loads((output / f"{name}.json").read_text()) for name in ("training", "manifest"))
    assert training["steps"] == card["steps"] == 8 and training["rows"]["queries"] == 24
    assert any("eval_dev_mrr@10" in entry and "eval_dev_base_mrr@10" in entry for entry in training["log"])
    assert manifest["config"]["retriever"] == "words-1" and manifest["config"]["sampling"]["last_rank"] == 12
    assert set(manifest["inputs"]) == {path.as_posix() for path in pairs.glob("*.parquet")}
    scores = open_ranker(str(output)).score("parse the date", ["def parse_date(): ...", "def sort(): ..."])
    assert scores.shape == (2,) and np.abs(scores).max() < 1


def test_training_ranks_the_answer_higher(base, pairs, tmp_path):
    changes = {"max_steps": 40, "log_steps": 5, "save_steps": 100, "negatives": "random", "scale": 10.0}
    options = changed(SMALL, changes | {"ranker_input": "code"})
    card = train_ranker(pairs, fresh(base), RETRIEVER, tmp_path / "out", options)
    losses = [entry["loss"] for entry in card["log"] if "loss" in entry]
    assert losses[-1] < 0.9 * losses[0]


def test_a_run_that_was_stopped_within_a_pass_ends_as_one_that_was_not(base, pairs, trained, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    class Stopper(TrainerCallback):
        def on_save(self, *_, **__):
            raise Stop

    class Counter(TrainerCallback):
        steps = 0

        def on_step_end(self, *_, **__):
            self.steps += 1

    build, watching = ranker._trainer, [Stopper(), Counter()]

    def built(*arguments):
        trainer = build(*arguments)
        trainer.add_callback(watching[0])
        return trainer

    monkeypatch.setattr(ranker, "_trainer", built)
    dev = judged_lists(pairs, RETRIEVER, SMALL.rows, as_code=False)
    with pytest.raises(Stop):
        train_ranker(pairs, fresh(base), RETRIEVER, tmp_path / "out", SMALL, dev=dev)
    assert not (tmp_path / "out" / "training.json").exists()
    watching.pop(0)
    train_ranker(pairs, fresh(base), RETRIEVER, tmp_path / "out", SMALL, dev=dev)
    assert watching[0].steps == 3
    assert torch.allclose(weights(load_ranker(tmp_path / "out")), weights(load_ranker(trained[0])), atol=1e-6)


def test_other_settings_and_another_retriever_do_not_go_on_from_a_checkpoint(base, pairs, trained):
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(learning_rate\)"):
        train_ranker(pairs, fresh(base), RETRIEVER, trained[0], changed(SMALL, {"learning_rate": 1e-3}))
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(retriever\)"):
        train_ranker(pairs, fresh(base), DenseRanking(WordEncoder("words-2")), trained[0], SMALL)


def test_another_way_to_pool_does_not_go_on_from_a_checkpoint(base, pairs, tmp_path):
    bare, changes = str(base.parent / "bert"), CHANGES | {"max_steps": 1}
    mean, first = (
        read_ranker_recipe(None, {"base": bare, "preset": "minilm", "pooling": word} | changes)
        for word in ("mean", "cls")
    )
    train_ranker(pairs, mean.load()[0], RETRIEVER, tmp_path, mean.options)
    assert json.loads((tmp_path / "manifest.json").read_text())["config"]["backbone"]["pooling"] == "mean"
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(backbone\)"):
        train_ranker(pairs, first.load()[0], RETRIEVER, tmp_path, first.options)


def test_a_run_that_could_not_begin_does_not_stand_in_the_way_of_the_next(base, pairs, tmp_path):
    with pytest.raises(ConfigError, match="begins at rank 40, expected less than the 24 documents"):
        train_ranker(pairs, fresh(base), RETRIEVER, tmp_path, changed(SMALL, {"first_rank": 40, "last_rank": 50}))
    assert train_ranker(pairs, fresh(base), RETRIEVER, tmp_path, changed(SMALL, {"max_steps": 1}))["steps"] == 1


@pytest.mark.parametrize("negatives", ["released", "random", "in_batch"])
def test_the_switches_of_negatives_train_too(base, pairs, tmp_path, negatives):
    options = changed(SMALL, {"negatives": negatives, "max_steps": 1, "ranker_input": "code"})
    assert train_ranker(pairs, fresh(base), RETRIEVER, tmp_path / "out", options)["steps"] == 1


def test_frozen_layers_keep_the_weights_of_the_base_and_the_head_learns(base, pairs, tmp_path):
    model, before = fresh(base), dict(fresh(base).named_parameters())
    train_ranker(pairs, model, RETRIEVER, tmp_path / "out", changed(SMALL, {"frozen_layers": 1, "max_steps": 2}))
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and not any("embeddings" in name or "layer.0." in name for name in moved)
    assert any("linear" in name for name in moved)


def test_a_shallower_ranker_is_distilled_from_a_trained_one(base, pairs, trained, tmp_path):
    said = CHANGES | {"distill_from": str(trained[0]), "layers": 1, "distill_share": 1.0, "max_steps": 2}
    recipe = read_ranker_recipe(None, said)
    model, teacher = recipe.load("cpu")
    assert recipe.base is None and recipe.options.teacher.startswith("model (")
    assert torch.equal(model[2].linear.weight, teacher[2].linear.weight)
    before = weights(teacher)
    card = train_ranker(pairs, model, RETRIEVER, tmp_path / "out", recipe.options, teacher=teacher)
    alone = recipe.load("cpu")[0]
    train_ranker(pairs, alone, RETRIEVER, tmp_path / "alone", recipe.options)
    assert not torch.allclose(weights(model), weights(alone), atol=1e-4), "the teacher changes what is learnt"
    assert card["layers"] == 1 and torch.equal(weights(teacher), before)
    assert len(load_ranker(tmp_path / "out").state_dict()) == len(fresh(base).state_dict()) - 16


def test_a_ranker_begun_from_its_teacher_reads_its_own_window(trained):
    taught = {"distill_from": str(trained[0])}
    model, teacher = read_ranker_recipe(None, taught | {"max_tokens": 30}).load("cpu")
    assert (model[0].max_seq_length, teacher[0].max_seq_length) == (30, 40)
    with pytest.raises(ModelError, match="has positions for 128 tokens, expected 500"):
        read_ranker_recipe(None, taught | {"max_tokens": 500}).load("cpu")
    for said in ({"preset": "minilm"}, {"pooling": "cls"}, {"preset": "unixcoder", "mode_token": "<x>"}):
        with pytest.raises(ConfigError, match=f"{', '.join(sorted(said))} is for an encoder"):
            read_ranker_recipe(None, taught | said)


@pytest.mark.parametrize(
    ("changes", "processes", "least"),
    [({"max_steps": 8}, 1, 3), ({"max_steps": 8}, 2, 8), ({"max_steps": 8}, 4, 8), ({"max_steps": -1}, 2, 2)],
)
def test_passes_suffice_however_many_processes_share_their_batches(changes, processes, least):
    options = changed(SMALL, changes)  # a pass of 24 queries is three batches, of which two processes have one each
    assert least <= ranker._passes(24, options, processes) <= least + 1


def batch_of(folder, base, targets=SMALL.targets, **sampling):
    """Return a collated batch of the first four queries, and the model that it is for."""
    corpus = read_corpus(folder, RowOptions())
    model = fresh(base).eval()
    options = SamplingOptions(**{"negatives": "random", "n_negatives": 3} | sampling)
    sampler = NegativeSampler(corpus, None, options, 0)
    reader = PairReader(tokenizer_of(model), 12, 40)
    in_batch = options.negatives == "in_batch"
    collator = ListCollator(corpus, sampler, reader, targets, in_batch=in_batch, bare_share=0.0, seed=0)
    return collator([{"row": row} for row in range(4)]), model, corpus


@pytest.mark.parametrize(("word", "bare_share", "has_place"), [("code", 0.0, False), ("enriched", 0.0, True)])
def test_a_batch_holds_what_the_ranker_is_to_read_of_a_document(base, pairs, tmp_path, word, bare_share, has_place):
    options = changed(SMALL, {"ranker_input": word, "bare_share": bare_share, "negatives": "random"})
    corpus, model = read_corpus(pairs, options.rows), fresh(base)
    sampler = NegativeSampler(corpus, None, options.sampling, 0)
    trainer = ranker._trainer(model, corpus, sampler, tmp_path, options, [], None)
    read = trainer.data_collator([{"row": row} for row in range(4)])["pairs"]["input_ids"]
    texts = [tokenizer_of(model).decode(ids).partition("[SEP]")[2].replace("#", "").replace(" ", "") for ids in read]
    assert [text.startswith("src") for text in texts] == [has_place] * 16
    assert [text.startswith("def") for text in texts] == [not has_place] * 16


def test_a_teacher_shares_out_the_target_by_its_own_scores(pairs, base):
    batch, model, _ = batch_of(pairs, base)
    teacher = fresh(base, seed=5).eval()
    options = TargetOptions(scale=3.0, distill_share=0.4)
    loss = RankerLoss(model, options, teacher)([batch["pairs"]], batch["label"])
    with torch.no_grad():
        own, taught = (m(dict(batch["pairs"]))["scores"].view(4, 4) * 3 for m in (model, teacher))
    target = 0.6 * torch.tensor([1.0, 0, 0, 0]) + 0.4 * taught.softmax(dim=1)
    assert loss.item() == pytest.approx(-(target * own.log_softmax(dim=1)).sum(dim=1).mean().item(), abs=1e-4)


def test_graded_targets_follow_the_labels_of_a_querys_own_negatives(labelled, base):
    targets = TargetOptions(graded_share=0.3, label_scale=4.0)
    batch, _, corpus = batch_of(labelled, base, targets)
    for row in range(4):
        documents, labels, is_suspect = corpus.labelled(row)
        kept = np.array([not s for s in is_suspect]) & ~corpus.is_answer(row, documents)
        soft = np.exp(4.0 * np.array([corpus.label_of_answer(row), *labels[kept]]))
        expected = 0.3 * soft / soft.sum() + np.array([0.7] + [0.0] * int(kept.sum()))
        found = batch["label"]["targets"][row]
        assert found[: len(expected)].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
        assert found.sum().item() == pytest.approx(1) and found[len(expected) :].sum() == 0


def test_in_batch_negatives_are_the_answers_to_the_other_queries(pairs, base):
    batch, _, _ = batch_of(pairs, base, negatives="in_batch")
    assert batch["label"]["weights"].tolist() == [[1.0] * 4] * 4
    assert len({tuple(ids.tolist()) for ids in batch["pairs"]["input_ids"]}) == 16


@pytest.mark.parametrize(("word", "weight"), [("mask", 0.0), ("weight", 0.1), ("keep", 1.0)])
def test_an_answer_of_the_batch_that_is_suspect_in_another_form_is_no_whole_negative(base, word, weight):
    corpus, model = small_corpus(), fresh(base)
    suspect = next(iter(LABELLED))
    corpus.rows.document_ids[suspect] = ANSWERS[2]  # query 1 was compared with the answer to query 2
    sampler = NegativeSampler(corpus, None, SamplingOptions(negatives="in_batch", false_negatives=word), 0)
    reader = PairReader(tokenizer_of(model), 12, 40)
    collator = ListCollator(corpus, sampler, reader, SMALL.targets, in_batch=True, bare_share=0.0, seed=0)
    found = collator([{"row": row} for row in range(4)])["label"]["weights"]
    assert found.sum(dim=1).tolist() == pytest.approx([3, 3 + weight, 4, 3])


def test_a_loss_that_is_no_number_ends_the_run(base, pairs, tmp_path):
    wild = changed(SMALL, {"learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(ModelError, match="expected a finite number; lower the learning rate"):
        train_ranker(pairs, fresh(base), RETRIEVER, tmp_path / "out", wild)


def test_one_query_is_too_few(base, tmp_path):
    folder = write_pairs(tmp_path / "pairs", rows("owner/one", 1))
    with pytest.raises(DataError, match="1 queries and 1 documents, expected at least 2 of each"):
        train_ranker(folder, fresh(base), RETRIEVER, tmp_path / "out", SMALL)


def test_a_pass_holds_every_query_once_in_another_order_and_says_the_epoch():
    sampler = ListSampler(list(range(100)), 10, 3, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert len(first) == len(sampler) == 3 and all(len(batch) == 3 for batch in first + second)
    assert len({row for batch in first for row in batch}) == 9 and max(map(max, first)) < 10
    assert min(map(min, second)) >= 10 and [n - 10 for batch in second for n in batch] != [
        n for batch in first for n in batch
    ]
    assert [len(batch) for batch in ListSampler(list(range(4)), 4, 99, seed=1)] == [4]


def test_a_list_of_dev_holds_what_the_retriever_found_and_says_what_answers(pairs):
    lists = judged_lists(pairs, RETRIEVER, RowOptions(), as_code=True)
    assert len(lists) == 8 and all(len(found.documents) == 8 == len(found.is_relevant) for found in lists)
    assert all(found.is_relevant.sum() == 1 for found in lists)
    assert all(text.startswith("def ") for found in lists for text in found.documents)
    assert judged_lists(pairs, RETRIEVER, RowOptions(), as_code=True, split="test") == []


def test_a_query_for_which_the_retriever_found_nothing_is_a_list_too(pairs):
    class Lazy(DenseRanking):
        """Finds nothing for the first query, and one document for the second."""

        def rank(self, queries, documents, depth):
            ids, scores = super().rank(queries, documents, depth)
            ids[0], ids[1, 1:] = -1, -1
            return ids, scores

    lists = judged_lists(pairs, Lazy(WordEncoder()), RowOptions(), as_code=True)
    assert [len(found.documents) for found in lists] == [0, 1, *[8] * 6]


def test_the_command_trains_exports_calibrates_and_what_it_wrote_ranks(base, pairs, tmp_path):
    arguments = ["train", "ranker", pairs, "-o", tmp_path / "out", "--base", base, "--retriever", "bm25"]
    arguments += ["--max-steps", "12", "--learning-rate", "0.002", "--batch-size", "8", "--n-negatives", "3"]
    arguments += ["--max-tokens", "40", "--max-query-tokens", "12", "--no-bf16", "--ranker-input", "code"]
    arguments += ["--max-label", "0.9"]
    command = [sys.executable, "-m", "dowse", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == f"the model is in {tmp_path / 'out'}"
    card, config = json.loads(done.stdout), json.loads((tmp_path / "out/int8/config.json").read_text())
    assert card["settings"]["sampling"]["max_label"] == 0.9
    assert card["steps"] == 12 and card["agreement"] == config["agreement"] and config["trained"]["steps"] == 12
    assert config["agreement"]["spearman"] > 0.9 and config["weights"] == "int8" and config["input"] == "code"
    assert (config["max_tokens"], config["max_query_tokens"], config["layers"]) == (40, 12, 2)
    assert config["files"].keys() == {"ranker.onnx", "tokenizer.json"}
    exported, model = open_ranker(str(tmp_path / "out/int8")), load_ranker(tmp_path / "out", "cpu")
    assert isinstance(exported, CrossEncoder)
    query, texts = "parse the date number one", [row["text_without_comments"] for row in rows("owner/two", 8)]
    read = PairReader(tokenizer_of(model), 12, 40)([query] * 8, texts)
    scores = model(read)["scores"].detach().squeeze(1).double().numpy()
    slope, offset = (config["calibration"][name] for name in ("slope", "offset"))
    assert slope > 0 and config["trained"]["calibrated_on"] == "dev"
    # The int8 network strays from the model by the mean that its card states; far less than this.
    assert exported.score(query, texts) == pytest.approx(1 / (1 + np.exp(-(slope * scores + offset))), abs=0.15)


def test_a_word_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="ranker_input is 'text', expected one of code, enriched"):
        replace(SMALL, ranker_input="text")
    with pytest.raises(ConfigError, match="layers_kept is 'last', expected one of first, spread"):
        replace(SMALL, layers_kept="last")


def test_dowses_own_search_ranks_a_corpus_with_and_without_places(pairs):
    corpus = read_corpus(pairs, RowOptions())
    queries = ["parse the date number one", "rename the date number 8"]
    documents = [*corpus.rows.documents[:12], "def upload_image(image):\n    return image.upload()"]
    ranking = SearchRanking()
    before = ranking.fingerprint
    write_files(Path(os.environ["XDG_CONFIG_HOME"]), {"dowse/config.toml": '[search]\nmode = "instant"\n'})
    assert before.startswith("search ") and ranking.fingerprint != before  # another search ranks otherwise
    found = freeze(ranking, [*queries, "upload an image", "..."], documents, 5)
    assert found.documents.shape == (4, 5)
    assert "parse_date" in documents[found.documents[0, 0]] and "rename_date" in documents[found.documents[1, 0]]
    assert found.documents[2, 0] == 12 and (found.documents[3] == -1).all()
    assert (np.diff(found.scores[:2], axis=1) <= 0).all()


def test_code_that_begins_like_a_path_is_searched_whole():
    code = "res.json = function json(obj) {\n  return obj\n}"
    bare, headed = _task_of(["as JSON"], [code, f"lib/response.js res.json\n{code}"]).corpus.values()
    assert (bare.path, bare.language, bare.text) == ("", "javascript", code)
    assert (headed.path, headed.language, headed.text) == ("lib/response.js", "javascript", code)


def test_versions_are_as_good_as_the_answer_and_functions_without_a_name_are_not_all_the_same(tmp_path):
    found = [
        pair("Read a file whole.", "def load(path):\n    return open(path).read()\n", symbol="load"),
        pair("Strip what is read.", "def load(path):\n    return open(path).read().strip()\n", symbol="load"),
        *(pair(f"Call number {n} back.", f"lambda: f({n})", symbol="") for n in range(2)),
    ]
    corpus = read_corpus(write_pairs(tmp_path / "pairs", found), RowOptions())
    answers = [corpus.is_answer(at, np.arange(4)).tolist() for at in range(4)]
    assert answers[0] == answers[1] == [True, True, False, False]
    assert answers[2:] == [[False, False, True, False], [False, False, False, True]]


def test_an_arm_of_the_papers_table_is_exported_where_no_repository_is_for_dev(base, tmp_path):
    recipe = RankerRecipe(base, None, None, replace(SMALL, max_steps=2))
    asked = Namespace(labelled=write_pairs(tmp_path / "pairs", rows("owner/one", 24)), questions=[], export=True)
    agreement = ranker_table.train(recipe, tmp_path / "model", RETRIEVER, asked)
    assert agreement["lists"] == 24 and (tmp_path / "model/int8/config.json").is_file()
