"""Step 7 of 7, serve: the commands `dowse mine` and `dowse show`; their steps are imported only when called."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dowse.errors import ConfigError
from dowse.serve.options import Ray

if TYPE_CHECKING:
    from dowse.mine.consistency import Consistency
    from dowse.mine.llm import LlmQueries
    from dowse.mine.pipeline import MineOptions
    from dowse.mine.sources import Source
    from dowse.mine.split import SplitOptions

Repositories = Annotated[
    list[str], typer.Argument(metavar="REPO...", help="Repositories, folders, site-packages, URLs, or lists of them.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Sources = Annotated[
    list[str] | None, typer.Option(help="docstrings (default), classes, commits, feedback or llm (repeatable).")
]
Feedback = Annotated[
    bool, typer.Option("--feedback", help="Short for --source feedback: hits that were judged useful.")
]
Licence = Annotated[str, typer.Option("--licence", "--license", help="any, or permissive.")]
Benchmarks = Annotated[
    list[Path] | None, typer.Option("--benchmark", help="Mine no function of this file or folder (repeatable).")
]
ExcludeLists = Annotated[list[Path] | None, typer.Option("--exclude-list", help="File of owner/name never mined.")]
Names = Annotated[list[str] | None, typer.Option(help="owner/name, or a file of them (repeatable).")]
Share = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the repositories that no list names.")]
Seed = Annotated[int, typer.Option(help="Of the division into splits, and of what --max-functions draws.")]
MaxCopies = Annotated[int, typer.Option(min=1, help="Functions that may share a query.")]
Consistent = Annotated[bool, typer.Option("--consistent", help="Drop pairs that a retriever does not find.")]
Retriever = Annotated[
    str | None,
    typer.Option(help="For --consistent: default, static (unless said), a package or a folder."),
]
MaxRank = Annotated[int | None, typer.Option(min=1, help="For --consistent: among how many first ones; 2 unless said.")]
MinScore = Annotated[float | None, typer.Option(help="For --consistent: the least cosine.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=0, help="Processes; all cores by default, one for llm.")]
Url = Annotated[str, typer.Option(help="For llm: an OpenAI-compatible address, such as http://localhost:8000/v1.")]
Model = Annotated[str, typer.Option(help="For llm: the model's name there.")]
KeyVariable = Annotated[str, typer.Option(help="For llm: the environment variable that holds the key.")]
Cache = Annotated[Path | None, typer.Option(help="For llm: file of answers; in the output by default.")]
Concurrency = Annotated[int, typer.Option(min=1, help="For llm: requests under way at once.")]
PerMinute = Annotated[int, typer.Option(min=0, help="For llm; 0 for no limit.")]
MaxFunctions = Annotated[int, typer.Option(min=0, help="For llm: functions asked about in each repository; 0: all.")]
Prices = Annotated[tuple[float, float], typer.Option(help="For llm: price of a million tokens, read and written.")]
EstimateOnly = Annotated[bool, typer.Option("--estimate", help="For llm: say what it would take, and stop.")]


commands = typer.Typer()
"""Holds the commands, to be merged into the command line."""


@commands.command()
def mine(
    repositories: Repositories,
    output: Output,
    source: Sources = None,
    feedback: Feedback = False,
    licence: Licence = "any",
    benchmark: Benchmarks = None,
    exclude_list: ExcludeLists = None,
    dev: Names = None,
    test: Names = None,
    dev_share: Share = 0.05,
    test_share: Share = 0.05,
    seed: Seed = 0,
    max_copies: MaxCopies = 3,
    consistent: Consistent = False,
    retriever: Retriever = None,
    max_rank: MaxRank = None,
    min_score: MinScore = None,
    jobs: Jobs = 0,
    ray: Ray = None,
    endpoint: Url = "",
    model: Model = "",
    key_variable: KeyVariable = "DOWSE_API_KEY",
    cache: Cache = None,
    concurrency: Concurrency = 8,
    requests_per_minute: PerMinute = 0,
    tokens_per_minute: PerMinute = 0,
    max_functions: MaxFunctions = 0,
    prices: Prices = (0.0, 0.0),
    estimate: EstimateOnly = False,
) -> None:
    """Turn repositories into pairs of a query and its answer."""
    from dowse.mine.split import SplitOptions

    chosen = _consistency(consistent, retriever=retriever, max_rank=max_rank, min_score=min_score)
    named = list(dict.fromkeys([*(source or []), *(["feedback"] if feedback else [])])) or ["docstrings"]
    if estimate and "llm" not in named:
        raise ConfigError("--estimate is about --source llm, which is not asked for; add it")
    split = SplitOptions(_names(dev), _names(test), dev_share, test_share, seed)
    options = _options(licence, split, benchmark or [], exclude_list or [])
    options = replace(options, consistency=chosen, max_copies_of_a_query=max_copies, jobs=1 if "llm" in named else jobs)

    def llm() -> LlmQueries:
        from dowse.mine.llm import LlmQueries
        from dowse.models.endpoint import EndpointOptions

        if not endpoint or not model:
            raise ConfigError("--source llm needs --endpoint and --model, expected an address ending in /v1 and a name")
        answers = cache or output / ".mined" / "answers.sqlite"
        pace = (concurrency, requests_per_minute, tokens_per_minute)
        return LlmQueries(EndpointOptions(endpoint, model, key_variable, answers, *pace), max_functions, seed)

    _mine_and_tell(repositories, output, _sources(named, llm), options, prices, estimate, ray)


def _consistency(consistent: bool, **options: str | float | None) -> Consistency | None:
    """Return what pairs must be found by, None where they need not be."""
    from dowse.mine.consistency import Consistency

    said: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if consistent:
        return Consistency(**said)
    if said:
        about = "--retriever, --max-rank and --min-score are about --consistent"
        raise ConfigError(f"{about}, which is not asked for; add it")
    return None


def _names(said: Sequence[str] | None) -> frozenset[str]:
    from dowse.mine.names import canonical, read_names

    return frozenset().union(
        *(read_names(Path(one)) if Path(one).is_file() else {canonical(one)} for one in said or ())
    )


def _options(
    licence: str, split: SplitOptions, benchmarks: Sequence[Path], exclude_lists: Sequence[Path]
) -> MineOptions:
    """Check and gather what is kept."""
    from dowse.mine.names import read_names
    from dowse.mine.pipeline import MineOptions

    if licence not in ("any", "permissive"):
        raise ConfigError(f"--licence is {licence!r}, expected any or permissive")
    return MineOptions(
        split=split,
        permissive_only=licence == "permissive",
        exclude=frozenset().union(*map(read_names, exclude_lists)),
        benchmarks=tuple(benchmarks),
    )


def _sources(names: Sequence[str], llm: Callable[[], LlmQueries]) -> list[Source]:
    """Return the sources of queries by their names."""
    from dowse.mine.commits import Commits
    from dowse.mine.docstrings import Docstrings
    from dowse.mine.feedback import FeedbackQueries

    makers: dict[str, Callable[[], Source]] = {
        "docstrings": Docstrings,
        "classes": Docstrings.of_classes,
        "commits": Commits,
        "feedback": FeedbackQueries,
        "llm": llm,
    }
    for name in names:
        if name not in makers:
            raise ConfigError(f"--source is {name!r}, expected one of: {', '.join(makers)}")
    return [makers[name]() for name in names]


def _mine_and_tell(
    repositories: Sequence[str],
    output: Path,
    sources: Sequence[Source],
    options: MineOptions,
    prices: tuple[float, float],
    estimate_only: bool,
    ray: str | None,
) -> None:
    """Mine with progress, and print what came of it as JSON; what asking a model takes is said before and after."""
    from dowse.cluster import joined
    from dowse.mine.llm import LlmQueries
    from dowse.mine.pipeline import estimate
    from dowse.mine.pipeline import mine as mine_pairs
    from dowse.serve.progress import stage_progress, tell_usage

    asking = [source for source in sources if isinstance(source, LlmQueries)]
    with stage_progress() as progress:
        for source in asking:
            expected = estimate(repositories, output, source, options, progress)
            asked = f"{expected.requests:,} requests ({expected.cached:,} answered before)"
            tokens = f"{expected.prompt_tokens:,} tokens to read and {expected.answer_tokens:,} to write"
            cost = f", {expected.cost(*prices):,.2f} at these prices" if any(prices) else ""
            print(f"llm: {asked}, about {tokens}{cost}", file=sys.stderr)
            if estimate_only:
                print(json.dumps(asdict(expected) | {"cost": expected.cost(*prices)}))
        if estimate_only:
            return
        with joined(ray) as cluster:
            counts = mine_pairs(repositories, output, sources, options, progress, cluster)
    told = ("pairs", "functions", "source_bytes", "by_split", "by_language", "dropped")
    print(json.dumps({name: counts[name] for name in told}, indent=1))
    for source in asking:
        tell_usage(source.used)
    print(f"{counts['pairs']:,} pairs in {output}; look at them with: dowse show {output}", file=sys.stderr)


@commands.command()
def show(
    folder: Annotated[Path, typer.Argument(help="A folder that dowse mine wrote.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many pairs.")] = 5,
    language: Annotated[str | None, typer.Option("--language", "-l", help="Only this language.")] = None,
    source: Annotated[str | None, typer.Option(help="Only from this source.")] = None,
    split: Annotated[str | None, typer.Option(help="Only of this split.")] = None,
    repository: Annotated[str | None, typer.Option(help="Only of this repository.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other pairs.")] = 0,
    whole: Annotated[bool, typer.Option("--whole", help="Do not shorten functions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print a sample of mined pairs."""
    from dowse.serve.samples import print_samples, sample

    wanted = {"language": language, "source": source, "split": split, "repository": repository}
    print_samples(folder, sample(folder, count, wanted, seed), as_json, whole)
