"""The annotated-repository benchmark: does the right place come first, how fast, in how much memory?

Reads the benchmark's folder (`repos.json`, `annotations/`) and a folder with the checkouts by name; leaves
`annotated-<commit>.json` in the results folder and prints a table. Every repository is indexed and asked in a fresh
process. With peers, all take turns on the same repository and go first alternately, so that a machine that slows
down slows all; ratios are of medians over the rounds. `make peers` installs those that the package index has.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from measure import run_job
from rich.console import Console
from rich.table import Table

from dowse.errors import ConfigError, DowseError
from dowse.evaluate.annotated import (
    AnnotatedRepository,
    Score,
    check_checkout,
    load_annotated,
    mean_by,
    mean_over_repositories,
)
from dowse.evaluate.annotated_metrics import Location, official_ndcg, strict_ndcg
from dowse.records import sha256, write_result

HERE = Path(__file__).resolve().parent
TOP_KS = (10, 50)
"""Hits asked for: those the metric reads, and more of them cut to ten, because a candidate pool may grow with top_k."""
PEERS = ("semble", "bm25s", "grep")
RUNS = 5
"""Timed runs of each query, as in the benchmark's rules."""
COLUMNS = {
    "ndcg@10": 3,
    "strict_ndcg@10": 3,
    "ndcg@10 of 50": 3,
    "documents": 0,
    "index_s": 2,
    "query_p50_ms": 2,
    "peak_rss_mb": 0,
}
"""Printed figures and their decimals."""


@dataclass(frozen=True)
class Subject:
    """One searcher to measure: how to start its child, and what the child is told beside the job."""

    name: str
    command: tuple[str, ...]
    extra: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Measure what the command line asks for, and exit with 1 and one line where that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkouts", type=Path, help="folder that holds the checkouts by name")
    parser.add_argument("--data", type=Path, required=True, help="folder with repos.json and annotations/")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--peer-python", help="a Python that has the peers: measure them as well")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["semble"], help="which of them")
    parser.add_argument("--peer-model", type=Path, help="the static model that semble is given, a model2vec folder")
    parser.add_argument("--rounds", type=int, default=1, help="cold builds of each repository")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these repositories alone")
    try:
        run(parser.parse_args())
    except DowseError as error:
        sys.exit(f"error: {error}")


def run(arguments: argparse.Namespace) -> None:
    """Measure every repository, print the tables and write the record."""
    repositories = [r for r in load_annotated(arguments.data) if not arguments.only or r.name in arguments.only]
    check_checkouts(repositories, arguments.checkouts)
    subjects = [Subject("dowse", (sys.executable, str(HERE / "annotated_dowse.py")))]
    settings: dict[str, object] = {"top_ks": TOP_KS, "runs": RUNS, "rounds": arguments.rounds}
    if arguments.peer_python:
        for name in arguments.peers:
            subjects.append(Subject(name, (arguments.peer_python, str(HERE / f"peer_{name}.py"))))
        if "semble" in arguments.peers:
            model = peer_model(arguments.peer_model)
            subjects[1 + arguments.peers.index("semble")].extra["model"] = str(model)
            settings["peer_model_sha256"] = sha256(model / "model.safetensors")
    answers = ask_all(subjects, repositories, arguments)
    figures: dict[str, object] = {subject.name: summary(repositories, answers[subject.name]) for subject in subjects}
    for subject in subjects:
        print_table(subject.name, figures[subject.name])
    for peer in subjects[1:]:
        figures[f"dowse / {peer.name}"] = found = ratios(figures["dowse"], figures[peer.name])
        print(f"dowse / {peer.name}:", ", ".join(f"{key} {value:.2f}" for key, value in found.items()))
    if arguments.only:
        print("no record written: it takes every repository")
    else:
        print("written:", write_result("annotated", figures, settings, arguments.results))


def check_checkouts(repositories: list[AnnotatedRepository], checkouts: Path) -> None:
    """Raise ConfigError naming every checkout that is not there, and how to get the first; or one at another commit."""
    missing = [repository for repository in repositories if not repository.folder(checkouts).is_dir()]
    if missing:
        first = missing[0]
        names = ", ".join(str(r.folder(checkouts).relative_to(checkouts)) for r in missing)
        raise ConfigError(
            f"{checkouts} lacks {names}, expected a checkout of every repository at its revision; "
            f"get the first with: git clone {first.url} "
            f"'{checkouts / first.name}' && git -C '{checkouts / first.name}' checkout {first.revision}"
        )
    for repository in repositories:
        check_checkout(repository, checkouts)


def peer_model(folder: Path | None) -> Path:
    """Return the peer's model folder as an absolute path."""
    if folder is None or not (folder / "model.safetensors").is_file():
        raise ConfigError(f"--peer-model is {folder}, expected a model2vec folder with model.safetensors; name one")
    return folder.resolve()


def ask_all(
    subjects: list[Subject], repositories: list[AnnotatedRepository], arguments: argparse.Namespace
) -> dict[str, list[list[dict]]]:
    """Return, by subject and repository, the answers of every round."""
    answers: dict[str, list[list[dict]]] = {subject.name: [] for subject in subjects}
    for number, repository in enumerate(repositories):
        job = {
            "folder": str(repository.folder(arguments.checkouts).resolve()),
            "queries": [annotated.query for annotated in repository.queries],
            "top_ks": TOP_KS,
            "runs": RUNS,
        }
        rounds: dict[str, list[dict]] = {subject.name: [] for subject in subjects}
        for turn in range(number, number + arguments.rounds):
            for subject in subjects if turn % 2 == 0 else subjects[::-1]:
                rounds[subject.name].append(run_job(subject.command, job | subject.extra))
        for subject in subjects:
            answers[subject.name].append(rounds[subject.name])
        print(f"{number + 1}/{len(repositories)} {repository.name}", file=sys.stderr)
    return answers


def summary(repositories: list[AnnotatedRepository], answers: list[list[dict]]) -> dict:
    """Return one subject's figures: overall, by repository and by category."""
    scores: dict[str, list[Score]] = {}
    rows = {}
    for repository, rounds in zip(repositories, answers, strict=True):
        for name, values in score_repository(repository, rounds[0]).items():
            scores.setdefault(name, []).extend(values)
        rows[repository.name] = {
            "queries": len(repository.queries),
            "documents": rounds[0]["documents"],
            "index_s": median(answer["index_s"] for answer in rounds),
            "query_p50_ms": median(ms for answer in rounds for ms in answer["query_ms"]),
            "peak_rss_mb": median(answer["peak_rss_mb"] for answer in rounds),
        }
    for name, values in scores.items():
        for repository_name, value in mean_by(values, "repository").items():
            rows[repository_name][name] = value
    return {
        **{name: mean_over_repositories(values) for name, values in scores.items()},
        "documents": sum(row["documents"] for row in rows.values()),
        "index_s": sum(row["index_s"] for row in rows.values()),
        "index_s_median": median(row["index_s"] for row in rows.values()),
        "query_p50_ms": median(row["query_p50_ms"] for row in rows.values()),
        "peak_rss_mb": max(row["peak_rss_mb"] for row in rows.values()),
        "by_category": {name: mean_by(values, "category") for name, values in scores.items()},
        "by_repository": rows,
    }


def score_repository(repository: AnnotatedRepository, answer: dict) -> dict[str, list[Score]]:
    """Return the scores of every query under each rule and each number of hits asked for."""
    scores: dict[str, list[Score]] = {}
    for top_k, rankings in answer["hits"].items():
        suffix = "" if int(top_k) == TOP_KS[0] else f" of {top_k}"
        for annotated, ranking in zip(repository.queries, rankings, strict=True):
            hits = [Location(*place) for place in ranking]
            values = {
                "ndcg@10": official_ndcg(hits, annotated.targets, answer["indexed_paths"]),
                "strict_ndcg@10": strict_ndcg(hits, annotated.targets),
            }
            for name, value in values.items():
                scores.setdefault(name + suffix, []).append(Score(repository.name, annotated.category, value))
    return scores


def ratios(ours: dict, theirs: dict) -> dict[str, float]:
    """Return our median over theirs; for times the median over the repositories' own ratios."""
    rows = [(ours["by_repository"][name], theirs["by_repository"][name]) for name in ours["by_repository"]]
    return {
        **{name: ours[name] / theirs[name] for name in ("ndcg@10", "strict_ndcg@10", "index_s")},
        **{f"{name} by repository": median(a[name] / b[name] for a, b in rows) for name in ("index_s", "query_p50_ms")},
        "slowest index_s": max(a["index_s"] / b["index_s"] for a, b in rows),
    }


def print_table(name: str, figures: dict) -> None:
    """Print one subject's figures, a line for each repository and the means below."""
    table = Table("repository", *COLUMNS, title=name)
    for repository, row in [*figures["by_repository"].items(), ("all", figures)]:
        table.add_row(repository, *(f"{row[column]:,.{decimals}f}" for column, decimals in COLUMNS.items()))
    console = Console(width=120)
    console.print(table)
    categories = figures["by_category"]["ndcg@10"]
    console.print("ndcg@10 by category:", ", ".join(f"{key} {value:.3f}" for key, value in categories.items()))


if __name__ == "__main__":
    main()
