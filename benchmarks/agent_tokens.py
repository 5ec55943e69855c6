"""What an agent must read until it knows where the answer is: the share of targets that a text of N tokens names.

    python benchmarks/agent_tokens.py CHECKOUTS --data DIR [--indexes DIR] [--peer-python PYTHON --peer-model DIR]

Reads the annotated development benchmark; writes `agent-tokens-<commit>.json`. Every searcher's answer is the text that
it prints for agents, and a target is reached where the line of a hit that overlaps it has been read; tokens are
counted by the tokenizer of the static model that ships. That one leaves marks out and counts about half of what
language models do. Dowse keeps to theirs where told the budget, as over MCP or by --budget-tokens, so it prints less;
semble prints the place and the whole of each of 50 chunks, best first. Grep-and-read looks for the words of the query,
those that only ask left out, in all files that Dowse indexes, and reads whole files, those with most of the words and
then with most lines of them first; a file is reached with its name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from annotated import Subject, check_checkouts, peer_model
from measure import run_job
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from dowse import Searcher
from dowse.evaluate.annotated import AnnotatedRepository, load_annotated
from dowse.evaluate.annotated_metrics import Location, hits_target
from dowse.languages.identifiers import parts, words
from dowse.languages.terms import QUESTION_WORDS
from dowse.records import write_result
from dowse.serve.brief import N_WITH_CODE, hits_text, n_hits
from dowse.serve.display import as_dict

HERE = Path(__file__).resolve().parent
BUDGETS = (1_000, 2_000, 4_000)
PEER_HITS = 50
MOST_CHARS = 20
"""Of a token, blanks counted in, on average over a text."""

Piece = tuple[str, Location | None]
"""Text in the order it is read, and the place it names."""


def main() -> None:
    """Ask every question of every searcher, and write the shares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkouts", type=Path, help="folder that holds the checkouts by name")
    parser.add_argument("--data", type=Path, required=True, help="folder with repos.json and annotations/")
    parser.add_argument("--indexes", type=Path, help="keep indexes here, by default in the user's cache")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--peer-python", help="a Python that has semble: measure it as well")
    parser.add_argument("--peer-model", type=Path, help="the static model that semble is given, a model2vec folder")
    arguments = parser.parse_args()
    benchmark = load_annotated(arguments.data)
    check_checkouts(benchmark, arguments.checkouts)
    peer = None
    if arguments.peer_python:
        command = (arguments.peer_python, str(HERE / "peer_semble.py"))
        peer = Subject("semble", command, {"model": str(peer_model(arguments.peer_model))})
    tokenizer = Tokenizer.from_file(str(HERE.parent / "src/dowse/models/default/static/tokenizer.json"))
    reached: dict[str, dict[int, list[float]]] = {}
    for repository in benchmark:
        for name, shares in asked(repository, arguments, peer, tokenizer).items():
            for budget, found in shares.items():
                reached.setdefault(name, {}).setdefault(budget, []).extend(found)
        print(repository.name, file=sys.stderr)
    figures = {
        name: {f"within {budget:,}": sum(found) / len(found) for budget, found in shares.items()}
        | {"targets": len(shares[BUDGETS[0]])}
        for name, shares in reached.items()
    }
    print_table(figures)
    settings = {"budgets": BUDGETS, "peer_hits": PEER_HITS, "tokens": "by the shipped static model's tokenizer"}
    print("written:", write_result("agent-tokens", {"share of targets": figures}, settings, arguments.results))


def asked(
    repository: AnnotatedRepository, arguments: argparse.Namespace, peer: Subject | None, tokenizer: Tokenizer
) -> dict[str, dict[int, list[float]]]:
    """Return, by searcher and budget, for each target of a repository whether it was reached."""
    folder = repository.folder(arguments.checkouts).resolve()
    found: dict[str, dict[int, list[float]]] = {}
    with Searcher.from_path(folder, arguments.indexes) as searcher:
        texts = {path: (folder / path).read_text(errors="replace") for path in paths_of(searcher)}
        places = peer_places(peer, repository, folder) if peer else {}
        for annotated in repository.queries:
            longest = BUDGETS[-1]
            read = {"grep and read": named(grep(annotated.query, texts), longest, tokenizer)}
            if peer:
                read["semble"] = named(printed(places[annotated.query], folder), longest, tokenizer)
            for budget in BUDGETS:
                now = read | {"dowse": named(brief(searcher, annotated.query, budget), budget, tokenizer)}
                for name, seen in now.items():
                    hit = [
                        float(any(tokens <= budget and hits_target(place, target) for tokens, place in seen))
                        for target in annotated.targets
                    ]
                    found.setdefault(name, {}).setdefault(budget, []).extend(hit)
    return found


def named(pieces: Iterable[Piece], budget: int, tokenizer: Tokenizer) -> list[tuple[int, Location]]:
    """Return the places that the first `budget` tokens of a text name, each with the tokens read until then."""
    seen, tokens = [], 0
    for text, place in pieces:
        # what is cut off is far beyond the budget
        tokens += len(tokenizer.encode(text[: budget * MOST_CHARS], add_special_tokens=False).ids)
        if tokens > budget:
            break
        if place is not None:
            seen.append((tokens, place))
    return seen


def brief(searcher: Searcher, query: str, budget: int) -> Iterator[Piece]:
    """Yield the lines that Dowse prints for agents."""
    hits = [as_dict(hit) for hit in searcher.search(query, n_hits(budget))]
    text = hits_text({"hits": hits, "index": searcher.status()}, budget, N_WITH_CODE)
    left = {
        f"{number}. {hit['repository']}: {hit['path']}:{hit['start_line']}-{hit['end_line']} ": hit
        for number, hit in enumerate(hits, 1)
    }
    for line in text.split("\n"):
        named = next((head for head in left if line.startswith(head)), None)
        hit = left.pop(named) if named else None
        yield line, hit and Location(hit["path"], hit["start_line"], hit["end_line"])


def peer_places(peer: Subject, repository: AnnotatedRepository, folder: Path) -> Mapping[str, list[list]]:
    """Return semble's hits of every query."""
    queries = [annotated.query for annotated in repository.queries]
    job = {"folder": str(folder), "queries": queries, "top_ks": [PEER_HITS], "runs": 1}
    answer = run_job(peer.command, job | peer.extra)
    return dict(zip(queries, answer["hits"][str(PEER_HITS)], strict=True))


def printed(places: Sequence[Sequence], folder: Path) -> Iterator[Piece]:
    """Yield semble's printed hits: the place, then the whole chunk."""
    for path, start, end in places:
        lines = (folder / path).read_text(errors="replace").split("\n")[start - 1 : end]
        yield f"{path}:{start}-{end}", Location(path, start, end)
        yield "\n".join(lines), None


def grep(query: str, texts: Mapping[str, str]) -> Iterator[Piece]:
    """Yield the files that hold the words of a query, whole ones, best first."""
    wanted = {part for word in words(query) for part in parts(word)} - QUESTION_WORDS
    ranked = []
    for path, text in texts.items():
        lowered = text.lower()
        held = [word for word in wanted if word in lowered]
        lines = sum(any(word in line for word in held) for line in lowered.split("\n")) if held else 0
        ranked.append((-len(held), -lines, path))
    for held, _, path in sorted(ranked):
        if held:
            yield path, Location(path)
            yield texts[path], None


def paths_of(searcher: Searcher) -> list[str]:
    """Return the paths of all indexed files."""
    return sorted({document.path for document in searcher.documents()})


def print_table(figures: Mapping[str, Mapping[str, float]]) -> None:
    """Print a line for each searcher."""
    columns = [f"within {budget:,}" for budget in BUDGETS]
    table = Table("", *columns)
    for name, row in figures.items():
        table.add_row(name, *(f"{row[column]:.3f}" for column in columns))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
