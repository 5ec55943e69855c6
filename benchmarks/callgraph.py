"""How often an edge of the call graph is right, judged by hand on edges drawn at random.

`draw` takes the same number of edges from each repository and writes them with their code to a file for reading: that
file holds other people's code and stays outside this repository. Whoever judges adds one line per edge, "ID right" or
"ID wrong why", to a second file. `score` joins the two and leaves `callgraph-precision-<commit>.json` with paths, lines
and judgements, and the 95 % interval after Wilson. An edge is right if running the caller can reach this very callee
from a call of that name; an overridden method counts where the code says no more than the base class.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

from dowse.errors import ConfigError, DataError, DowseError
from dowse.languages import language_of
from dowse.mine.callgraph import Edge, build_call_graph
from dowse.mine.functions import Function, functions_of
from dowse.mine.repositories import Repository, open_repository
from dowse.records import write_result

HERE = Path(__file__).resolve().parent
Z = 1.96
"""Of the normal distribution at 95 %."""


def main() -> None:
    """Do what the command line asks for, and exit with 1 and one line where that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw edges and write them with their code")
    drawing.add_argument("repositories", nargs="+", metavar="OWNER/NAME=PATH", help="git repositories, bare ones too")
    drawing.add_argument("--each", type=int, default=10, help="edges from each repository")
    drawing.add_argument("--seed", default="0", help="any text")
    drawing.add_argument("-o", "--output", type=Path, required=True, help="JSON Lines, outside this repository")
    scoring = commands.add_parser("score", help="join judgements to the edges and write the record")
    scoring.add_argument("sample", type=Path, help="what draw wrote")
    scoring.add_argument("judgements", type=Path, help="lines of: ID right|wrong [why]")
    scoring.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    arguments = parser.parse_args()
    try:
        draw(arguments) if arguments.command == "draw" else score(arguments)
    except DowseError as error:
        sys.exit(f"error: {error}")


def draw(arguments: argparse.Namespace) -> None:
    """Write the sample of every repository, and print how much each graph found."""
    lines = []
    for named in arguments.repositories:
        name, _, folder = named.rpartition("=")
        repository = open_repository(Path(folder), name=name)
        functions = list(read_functions(repository))
        started = time.perf_counter()
        graph = build_call_graph(repository, functions)
        about = {
            "functions": len(functions),
            "edges": len(graph.edges),
            "with callees": len(graph.callees),
            "with callers": len(graph.callers),
            "rules": dict(Counter(edge.rule.value for edge in graph.edges)),
            "seconds": round(time.perf_counter() - started, 2),
        }
        print(f"{repository.name}: {about}", file=sys.stderr)
        chosen = random.Random(arguments.seed).sample(graph.edges, min(arguments.each, len(graph.edges)))
        about |= {"repository": repository.name, "commit": repository.commit, "seed": arguments.seed}
        lines += [{"about": about, **entry(repository, functions, edge)} for edge in chosen]
    arguments.output.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def read_functions(repository: Repository) -> Iterator[Function]:
    """Yield the functions of every file that a grammar reads."""
    for path, source in repository.blobs(lambda path: (found := language_of(path)) is not None and found.is_code):
        language = language_of(path, source[:4000].decode("utf-8", "replace"))
        try:
            yield from functions_of(path, source, language, repository.name) if language else ()
        except DataError as error:
            print(f"{path}: {error}", file=sys.stderr)


def entry(repository: Repository, functions: Sequence[Function], edge: Edge) -> dict[str, Any]:
    """Return one edge as it is judged: where both ends are, and their code."""
    ends = {"caller": functions[edge.caller], "callee": functions[edge.callee]}
    places = {f"{end}_place": f"{found.path}:{found.start_line}-{found.end_line}" for end, found in ends.items()}
    identity = " ".join([repository.name, repository.commit, *places.values()])
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest()[:12],
        "repository": repository.name,
        "commit": repository.commit,
        "language": functions[edge.caller].language,
        "rule": edge.rule.value,
        **places,
        **{f"{end}_symbol": found.symbol for end, found in ends.items()},
        "code": {end: found.text for end, found in ends.items()},
    }


def score(arguments: argparse.Namespace) -> None:
    """Write the record of a judged sample and print its figures."""
    sample = [json.loads(line) for line in arguments.sample.read_text(encoding="utf-8").splitlines()]
    judged = read_judgements(arguments.judgements)
    if missing := [line["id"] for line in sample if line["id"] not in judged]:
        raise DataError(f"{arguments.judgements}: {missing[0]} and {len(missing) - 1} more are not judged; judge them")
    edges = []
    groups: dict[str, list[bool]] = defaultdict(list)
    for line in sample:
        is_right, why = judged[line["id"]]
        kept = {key: value for key, value in line.items() if key not in ("code", "about")}
        edges.append(kept | {"is_right": is_right, "why": why})
        for group in ("all", f"language: {line['language']}", f"rule: {line['rule']}"):
            groups[group].append(is_right)
    precision = {group: wilson(sum(right), len(right)) for group, right in groups.items()}
    graphs = {line["repository"]: line["about"] for line in sample}
    figures = {"precision": precision, "graphs": list(graphs.values()), "edges": edges}
    path = write_result("callgraph-precision", figures, {"seed": sample[0]["about"]["seed"]}, arguments.results)
    print(json.dumps(precision, indent=1))
    print(path)


def read_judgements(path: Path) -> dict[str, tuple[bool, str]]:
    """Return (is it right, why) by edge."""
    judged = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            identity, _, rest = line.partition(" ")
            verdict, _, why = rest.partition(" ")
            if verdict not in ("right", "wrong"):
                raise ConfigError(f"{path} line {number}: {verdict!r}, expected 'right' or 'wrong'; correct it")
            judged[identity] = verdict == "right", why
    return judged


def wilson(right: int, total: int) -> dict[str, float]:
    """Return the share that is right with its 95 % interval after Wilson."""
    share = right / total
    centre = (share + Z * Z / (2 * total)) / (1 + Z * Z / total)
    half = Z * sqrt(share * (1 - share) / total + Z * Z / (4 * total * total)) / (1 + Z * Z / total)
    return {
        "n": total,
        "right": right,
        "share": round(share, 3),
        "low": round(centre - half, 3),
        "high": round(centre + half, 3),
    }


if __name__ == "__main__":
    main()
