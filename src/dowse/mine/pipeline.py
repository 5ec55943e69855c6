"""Step 1 of 7, mine: repositories → a folder of pairs, from beginning to end.

Three stages: what the user names is resolved (`inputs`), every repository is mined into shards by as many processes as
there are cores (`shard`), and all shards go through the passes that need to see everything (`passes`). The folder then
holds the Parquet files, `counts.json`, the data card and, written last, `manifest.json`. The shards stay in `.mined/`
below it: a killed run goes on from them, and the next run mines only what is new.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowse.cluster import Cluster
from dowse.config import check_ranges, check_values
from dowse.errors import ConfigError
from dowse.lock import alone
from dowse.mine.card import data_card
from dowse.mine.consistency import Checker, Consistency, open_checker
from dowse.mine.filter import Limits
from dowse.mine.inputs import open_places, read_places
from dowse.mine.leaks import benchmark_hashes
from dowse.mine.licences import is_permissive
from dowse.mine.llm import LlmQueries
from dowse.mine.names import matches
from dowse.mine.passes import Kept, decide, source_of, write_final
from dowse.mine.repositories import Repository
from dowse.mine.shard import SHARD_NAME, Counts, Task, functions_in, shard_counts
from dowse.mine.sources import Source
from dowse.mine.split import SplitOptions, split_of
from dowse.mine.workers import shards_in_processes, shards_on_cluster
from dowse.records import cores, write_json, write_manifest
from dowse.types import StageProgress

if TYPE_CHECKING:
    from dowse.models.endpoint import Estimate

SHARDS = ".mined"


@dataclass(frozen=True, slots=True)
class MineOptions:
    """What to keep and how to work.

    Attributes:
        limits: sizes that a pair must keep to.
        split: which repositories are for dev and test.
        permissive_only: keep repositories under permissive licences only.
        exclude: owner/name of repositories that are never mined.
        benchmarks: files or folders of which no function may be mined.
        consistency: leave out pairs whose query a retriever does not find its function by; none are where None.
        max_copies_of_a_query: one repeated more often ("Return a copy.") is a stock phrase that names no function in
            particular.
        jobs: how many processes mine; as many as there are cores where 0.
    """

    limits: Limits = field(default_factory=Limits)
    split: SplitOptions = field(default_factory=SplitOptions)
    permissive_only: bool = False
    exclude: frozenset[str] = frozenset()
    benchmarks: tuple[Path, ...] = ()
    consistency: Consistency | None = None
    max_copies_of_a_query: int = 3
    jobs: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: A setting is of another type or outside its range.
        """
        check_values(self)
        check_ranges(self, max_copies_of_a_query=(1, inf), jobs=(0, inf))


@dataclass(slots=True)
class _Run:
    """What is known of a run as it goes on."""

    output: Path
    options: MineOptions
    sources: tuple[Source, ...]
    progress: StageProgress
    cluster: Cluster | None = None
    inconsistent: Checker | None = None
    skipped: Counter[str] = field(default_factory=Counter)


def mine(
    arguments: Sequence[str | Path],
    output: Path,
    sources: Sequence[Source],
    options: MineOptions = MineOptions(),
    progress: StageProgress = lambda stage, done, total: None,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Mine everything named into `output` and return what `counts.json` says.

    Args:
        cluster: Mines the repositories, which lie at the same paths on its machines, in place of `jobs` processes.

    Raises:
        ConfigError: An argument or option is wrong, or nothing could be mined.
        DataError: A repository, list or benchmark cannot be read.
        ModelError: The retriever that pairs must be found by cannot be loaded.
    """
    started = time.monotonic()
    if cluster is not None and any(source.name == "llm" for source in sources):
        raise ConfigError("a cluster cannot ask a model at the pace of one, expected one process; leave out --ray")
    checker = open_checker(options.consistency) if options.consistency is not None else None
    within = tuple(_within(options.limits, source) for source in sources)
    run = _Run(output, options, within, progress, cluster, checker)
    _begin(output)
    with alone(output / SHARDS):
        progress("reading benchmarks", 0, 1)
        leaks = benchmark_hashes(list(options.benchmarks))
        progress("opening repositories", 0, 1)
        tasks = _tasks(run, arguments)
        _make_shards(run, tasks)
        counts = _finish(run, tasks, leaks)
        (output / "README.md").write_text(data_card(counts), encoding="utf-8")
        write_manifest(
            output,
            config=_config(run, [task.repository for task in tasks], len(leaks)),
            inputs=[path for path in map(Path, arguments) if path.is_file()],
            seed=options.split.seed,
            seconds=time.monotonic() - started,
        )
    return counts


def estimate(
    arguments: Sequence[str | Path],
    output: Path,
    source: Source,
    options: MineOptions,
    progress: StageProgress = lambda stage, done, total: None,
) -> Estimate:
    """Count what asking a model about everything named would take, finished shards left out; sends nothing.

    Raises:
        ConfigError: The source asks no model, an argument is wrong, or another run is under way in the folder.
        DataError: A repository or list cannot be read.
    """
    from dowse.models.endpoint import Estimate

    source = _within(options.limits, source)
    if not isinstance(source, LlmQueries):
        raise ConfigError(f"the source {source.name} asks no model, expected llm; there is nothing to estimate")
    run = _Run(output, options, (source,), progress)
    _begin(output)
    with alone(output / SHARDS):  # URLs are cloned into it
        tasks = [task for task in _tasks(run, arguments) if task.unfinished()]
        totals = [0, 0, 0, 0]
        for number, task in enumerate(tasks):
            progress("estimating", number, len(tasks))
            one = source.estimate(task.repository, functions_in(task.repository))
            said = (one.requests, one.cached, one.prompt_tokens, one.answer_tokens)
            totals = [total + more for total, more in zip(totals, said, strict=True)]
    return Estimate(*totals)


def _within(limits: Limits, source: Source) -> Source:
    """Return a source, told the limits if it pays for functions, so that it asks about no other than are kept."""
    return replace(source, limits=limits) if isinstance(source, LlmQueries) else source


def _begin(output: Path) -> None:
    """Make the folder, or take up one that was mined into before: what is there already will be replaced.

    Raises:
        ConfigError: It holds something else.
    """
    is_new = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not is_new and not (output / SHARDS).is_dir() and not _is_mined(output):
        raise ConfigError(
            f"{output}: holds something else, expected a new or empty folder, or one that dowse mine wrote; name "
            "another with -o"
        )
    (output / SHARDS).mkdir(parents=True, exist_ok=True)


def _is_mined(folder: Path) -> bool:
    """Whether a manifest is that of pairs, whose shards may have been deleted since."""
    try:
        config = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["config"]
        return all(name in config for name in ("sources", "limits", "benchmark_functions"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _tasks(run: _Run, arguments: Sequence[str | Path]) -> list[Task]:
    """Return what there is to mine."""
    folder = run.output / SHARDS
    repositories = open_places(read_places(arguments), folder / "clones", run.options.exclude, run.skipped)
    return [Task(one, run.sources, run.options.limits, folder) for one in _licensed(run, repositories)]


def _licensed(run: _Run, repositories: list[Repository]) -> list[Repository]:
    """Leave out what may not be used, if asked to."""
    kept = [one for one in repositories if not run.options.permissive_only or is_permissive(one.licence)]
    if len(kept) < len(repositories):
        run.skipped["licence is not permissive or not known"] += len(repositories) - len(kept)
    if not kept:
        said = ", ".join(f"{count} {reason}" for reason, count in run.skipped.items()) or "none named"
        raise ConfigError(f"there is no repository to mine ({said}), expected at least one; name others")
    return kept


def _make_shards(run: _Run, tasks: Sequence[Task]) -> None:
    """Mine what is not finished yet, each repository in one process."""
    for left_over in (run.output / SHARDS).glob(".*.parquet.*"):
        left_over.unlink()
    open_tasks = [
        Task(task.repository, sources, task.limits, task.folder) for task in tasks if (sources := task.unfinished())
    ]
    total, finished = len(tasks), len(tasks) - len(open_tasks)
    run.progress("mining", finished, total)

    def tell(done: float) -> None:
        run.progress("mining", finished + done, total)

    if run.cluster is not None:
        shards_on_cluster(run.cluster, open_tasks, tell)
    else:
        shards_in_processes(open_tasks, run.options.jobs or cores(), tell)


def _finish(run: _Run, tasks: Sequence[Task], leaks: frozenset[str]) -> dict[str, Any]:
    """Take all shards through the last passes and put the result in its place."""
    output, options = run.output, run.options
    shards = [task.shard(source) for task in tasks for source in task.sources]
    counted = [counts for path in shards if (counts := shard_counts(path)) is not None]
    dropped: dict[str, Counter[str]] = {source.name: Counter() for source in run.sources}
    for path, counts in zip(shards, counted, strict=True):
        dropped[source_of(path)] += counts.rules
    run.progress("removing duplicates", 0, 1)
    masks = decide(shards, leaks, options.max_copies_of_a_query, dropped)
    final = output / SHARDS / "final"
    shutil.rmtree(final, ignore_errors=True)
    final.mkdir()
    splits = {task.repository.name: _split_of(task.repository, options.split) for task in tasks}
    kept = write_final(
        shards,
        masks,
        leaks,
        splits.__getitem__,
        final,
        run.inconsistent,
        partial(run.progress, "writing"),
    )
    for source, rules in kept.dropped.items():
        dropped[source] += rules
    if not kept.total:
        said = ", ".join(f"{count:,} {rule}" for rule, count in sum(dropped.values(), Counter()).most_common(4))
        raise ConfigError(f"no pair was kept ({said or 'no function found'}), expected some; mine other repositories")
    (output / "manifest.json").unlink(missing_ok=True)
    for old in output.glob("*.parquet"):
        if SHARD_NAME.fullmatch(old.name):
            old.unlink()
    for new in sorted(final.iterdir()):
        new.replace(output / new.name)
    record = _record(run, tasks, counted, kept, dropped, splits)
    write_json(output / "counts.json", record)
    return record


def _split_of(repository: Repository, options: SplitOptions) -> str:
    """Return the split of a repository; lists were written before anybody knew of another of its name."""
    is_listed = repository.own_name and matches(repository.own_name, options.test | options.dev)
    return split_of(repository.own_name if is_listed else repository.name, options)


def _record(
    run: _Run,
    tasks: Sequence[Task],
    counted: Sequence[Counts],
    kept: Kept,
    dropped: dict[str, Counter[str]],
    splits: dict[str, str],
) -> dict[str, Any]:
    """Return all counts; files are those of one source, since all read the same, functions those of the first."""
    each = counted[:: len(run.sources)]
    files = sum((counts.files for counts in each), Counter())
    return {
        "pairs": kept.total,
        "repositories_skipped": dict(run.skipped),
        "files": dict(files.most_common()),
        "source_bytes": sum(counts.n_bytes for counts in each),
        "functions": sum(counts.n_functions for counts in each),
        **{f"by_{name}": dict(kept.by[name].most_common()) for name in ("language", "licence", "source", "split")},
        "dropped": {source: dict(rules.most_common()) for source, rules in dropped.items()},
        "repositories": [
            {
                "name": task.repository.name,
                "commit": task.repository.commit,
                "version": task.repository.version,
                "licence": task.repository.licence,
                "split": splits[task.repository.name],
                "functions": counts.n_functions,
                "pairs": kept.by["repository"][task.repository.name],
            }
            for task, counts in zip(tasks, each, strict=True)
        ],
    }


def _config(run: _Run, repositories: Sequence[Repository], n_leaks: int) -> dict[str, object]:
    options = run.options
    return {
        **{name: value for name, value in asdict(options).items() if name not in ("exclude", "split")},
        "split": {name: _plain(value) for name, value in asdict(options.split).items()},
        "exclude": sorted(options.exclude),
        "benchmark_functions": n_leaks,
        "sources": {source.name: source.settings for source in run.sources},
        "repositories": [f"{one.name} {one.commit or one.version}".strip() for one in repositories],
    }


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value
