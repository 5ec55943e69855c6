"""Step 4 of 7, evaluate: every benchmark by its name, and how a user's options become its tasks.

A benchmark is one task, or one for each language; its headline is then the plain mean over languages, as in the papers.
What a task was made from is written beside a saved run, so that `dowse compare` finds the questions again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from dowse.config import suggestion
from dowse.errors import ConfigError, DataError
from dowse.evaluate.beir import load_beir
from dowse.evaluate.challenge import METRICS as CHALLENGE_METRICS
from dowse.evaluate.challenge import load_challenge
from dowse.evaluate.codenet import METRICS as CODENET_METRICS
from dowse.evaluate.codenet import load_code_to_code
from dowse.evaluate.codesearchnet import LANGUAGES, load_advtest, load_codesearchnet
from dowse.evaluate.cosqa import load_cosqa
from dowse.evaluate.harness import METRICS
from dowse.evaluate.protocols import PROTOCOLS, protocol_named
from dowse.evaluate.robustness import variant
from dowse.evaluate.staqc import load_staqc
from dowse.evaluate.tasks import Task


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Which questions are asked.

    Attributes:
        benchmark: its name in this catalogue.
        data: the folder that holds it.
        split: dev (or valid) or test.
        language: one language of those that the benchmark has; all of them where empty, but python for codenet, which
            takes two joined by "-" as well.
        protocol: how texts are prepared, cut and ranked, by a name of `protocols`.
        source: of mined pairs: docstrings, classes, commits, llm or feedback; all where empty.
        same_repository: rank the functions of the query's own repository only (mined pairs).
        repositories: ask about these only (mined pairs), for instance those newer than a model's training data.
        without_docstrings: take the docstrings out of CoSQA's codes.
        allow_partial: take files with other counts than those published.
        queries: ask a seeded sample of so many; all where 0.
        seed: of that sample.
        variant: make the task harder in this way (see `robustness`).
    """

    benchmark: str
    data: Path
    split: str = "test"
    language: str = ""
    protocol: str = "oasis"
    source: str = ""
    same_repository: bool = False
    repositories: tuple[str, ...] = ()
    without_docstrings: bool = False
    allow_partial: bool = False
    queries: int = 0
    seed: int = 0
    variant: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self) | {"data": str(self.data.resolve()), "repositories": list(self.repositories)}

    def label(self) -> tuple[str, ...]:
        """Return words that tell these questions from others: benchmark and split, and what is not as it usually is.

        >>> TaskOptions("codesearchnet", Path(), language="go", queries=100).label()
        ('codesearchnet', 'test', 'go', '100_queries')
        """
        words = [self.benchmark, self.split, self.language, self.source]
        words += [self.protocol] * (self.protocol != "oasis") + ["own_repository"] * self.same_repository
        words += [name.replace("/", "_") for name in self.repositories]
        words += ["without_docstrings"] * self.without_docstrings
        words += [f"{self.queries}_queries"] * bool(self.queries) + [f"seed_{self.seed}"] * bool(self.seed)
        return tuple(word for word in words if word)

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """Read what `as_json` returned.

        Raises:
            DataError: It is something else.
        """
        try:
            return cls(**said | {"data": Path(said["data"]), "repositories": tuple(said["repositories"])})
        except (KeyError, TypeError) as error:
            raise DataError(f"the run's task is not readable ({error}), expected what dowse evaluate writes") from None


def load_tasks(options: TaskOptions) -> list[Task]:
    """Read the tasks of a benchmark.

    Raises:
        ConfigError: There is no such benchmark, split, language or protocol, or the benchmark has no use for an option.
        DataError: A file is missing, damaged or of another size than published.
        MissingExtraError: Mined pairs are to be read and pyarrow is not installed.
    """
    if options.benchmark not in LOADERS:
        raise ConfigError(f"there is no benchmark {options.benchmark!r}{suggestion(options.benchmark, LOADERS)}")
    loader = LOADERS[options.benchmark]
    _check_used(options, loader.reads)
    tasks = loader.load(options)
    if options.queries:
        tasks = [task.sample(options.queries, options.seed) for task in tasks]
    return [variant(task, options.variant) for task in tasks] if options.variant else tasks


def default_metrics(benchmark: str) -> tuple[str, ...]:
    """Return the metrics that a benchmark is known by."""
    return {"codenet": CODENET_METRICS, "challenge": CHALLENGE_METRICS}.get(benchmark, METRICS)


def _check_used(options: TaskOptions, reads: frozenset[str]) -> None:
    """Refuse what a benchmark would not be asked by, but a record would state.

    Raises:
        ConfigError: An option that the benchmark does not read is not as it usually is, or its protocol is another's.
    """
    usual = TaskOptions(options.benchmark, options.data)
    for name, flag in FLAGS.items():
        if name not in reads and getattr(options, name) != getattr(usual, name):
            raise ConfigError(f"{options.benchmark} has no use for {flag}; leave it out")
    if protocol_named(options.protocol).distractors is not None and options.benchmark != "codesearchnet":
        others = " or ".join(name for name, protocol in PROTOCOLS.items() if protocol.distractors is None)
        raise ConfigError(
            f"{options.benchmark} is not ranked by {options.protocol}, expected {others}; name another --protocol"
        )


def _cosqa(options: TaskOptions) -> list[Task]:
    return [
        load_cosqa(
            options.data,
            _split(options, {"valid": "dev"}),
            protocol_named(options.protocol),
            keep_docstrings=not options.without_docstrings,
            allow_partial=options.allow_partial,
        )
    ]


def _codesearchnet(options: TaskOptions) -> list[Task]:
    split, protocol = _split(options, {"dev": "valid"}), protocol_named(options.protocol)
    languages = [options.language] if options.language else LANGUAGES
    return [
        load_codesearchnet(options.data, language, split, protocol, allow_partial=options.allow_partial)
        for language in languages
    ]


def _advtest(options: TaskOptions) -> list[Task]:
    return [load_advtest(options.data, _split(options, {"dev": "valid"}), allow_partial=options.allow_partial)]


def _staqc(options: TaskOptions) -> list[Task]:
    split = _split(options, {"dev": "valid"})
    return [load_staqc(options.data, split, protocol_named(options.protocol), allow_partial=options.allow_partial)]


def _challenge(options: TaskOptions) -> list[Task]:
    return [
        load_challenge(options.data, language) for language in ([options.language] if options.language else LANGUAGES)
    ]


def _codenet(options: TaskOptions) -> list[Task]:
    source, _, target = (options.language or "python").partition("-")
    return [load_code_to_code(options.data, source, target or None)]


def _beir(options: TaskOptions) -> list[Task]:
    return [load_beir(options.data, options.split)]


def _mined(options: TaskOptions) -> list[Task]:
    from dowse.evaluate.mined import load_mined  # needs pyarrow, which the others do without

    return [
        load_mined(
            options.data,
            _split(options, {"valid": "dev"}),
            options.source or None,
            language=options.language or None,
            same_repository=options.same_repository,
            repositories=options.repositories,
        )
    ]


def _split(options: TaskOptions, aliases: dict[str, str]) -> str:
    """Return the split under the name that the benchmark has for it."""
    return aliases.get(options.split, options.split)


class Loader(NamedTuple):
    """Reads the tasks of a benchmark, and those of `FLAGS` that it has a use for."""

    load: Callable[[TaskOptions], list[Task]]
    reads: frozenset[str]


FLAGS = {
    "split": "--split",
    "language": "--language",
    "source": "--source",
    "same_repository": "--same-repository",
    "repositories": "--repository",
    "without_docstrings": "--no-docstrings",
    "allow_partial": "--allow-partial",
}
"""The options that only some benchmarks have a use for, as the command line calls them."""

LOADERS: dict[str, Loader] = {
    "cosqa": Loader(_cosqa, frozenset({"split", "without_docstrings", "allow_partial"})),
    "codesearchnet": Loader(_codesearchnet, frozenset({"split", "language", "allow_partial"})),
    "advtest": Loader(_advtest, frozenset({"split", "allow_partial"})),
    "staqc": Loader(_staqc, frozenset({"split", "allow_partial"})),
    "challenge": Loader(_challenge, frozenset({"language"})),
    "codenet": Loader(_codenet, frozenset({"language"})),
    "beir": Loader(_beir, frozenset({"split"})),
    "mined": Loader(_mined, frozenset({"split", "language", "source", "same_repository", "repositories"})),
}
"""Every benchmark by its name."""

ONE_TASK_A_LANGUAGE = ("codesearchnet", "challenge")
"""Those of several tasks, unless a language is named."""
