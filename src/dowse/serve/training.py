"""Step 7 of 7, serve: the commands `dowse train …`; their step is imported only when called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Pairs = Annotated[Path, typer.Argument(help="Folder that `dowse mine` wrote.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the model.")]
Base = Annotated[Path, typer.Option("--base", help="A sentence-transformers folder to distil the first vectors from.")]
Questions = Annotated[
    list[Path] | None, typer.Option("--questions", help="JSON lines with query and code, trained on too (repeatable).")
]

train = typer.Typer(help="Train models on mined or labelled pairs.", rich_markup_mode=None, no_args_is_help=True)

commands = typer.Typer()
"""Holds the group of commands, to be merged into the command line."""


@train.callback()
def models() -> None:
    """Train models on mined or labelled pairs."""


@train.command()
def retriever(
    pairs: Pairs,
    output: Output,
    base: Base,
    questions: Questions = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the pairs.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Where chance begins.")] = 0,
) -> None:
    """Train the retriever of static token embeddings, and export it for search."""
    from dowse.train.retriever import StaticOptions, train_static

    options = StaticOptions(base=base, epochs=epochs, seed=seed)
    print(json.dumps(train_static(pairs, output, options, questions or ()), indent=1))


commands.add_typer(train, name="train")
