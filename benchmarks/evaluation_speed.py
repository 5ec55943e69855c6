"""How long does an evaluation take once everything is embedded: ranking and measuring, on this machine's cores?

Ranks random documents for random queries with the real harness and measures the run with every default metric; the
documents are told apart by their embeddings alone. Processor time (of all cores) stands beside wall-clock time, for
machines that do other work as well. Leaves `evaluation-speed-<commit>.json` in the results folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from measure import own_peak_rss_mb, timed

from dowse.evaluate.harness import METRICS, evaluate, measure
from dowse.evaluate.runs import Run
from dowse.evaluate.tasks import Task, bare
from dowse.records import write_result

HERE = Path(__file__).resolve().parent


class Embedded:
    """Embeddings that are there already, by the number that each text ends with."""

    fingerprint = "embedded"

    def __init__(self, queries: np.ndarray, documents: np.ndarray) -> None:
        self._queries, self._documents = queries, documents
        self.dimensions = int(documents.shape[1])

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        """Look up the queries' embeddings, shape (N, D)."""
        return self._queries[[int(text.split()[1]) for text in texts]]

    def encode_documents(self, texts: list[str]) -> np.ndarray:
        """Look up the documents' embeddings, shape (N, D)."""
        return self._documents[[int(text.split()[1]) for text in texts]]


def unit(chance: np.random.Generator, n: int, dimensions: int) -> np.ndarray:
    """Return n random directions, float32 of shape (n, dimensions)."""
    rows = chance.standard_normal((n, dimensions), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> None:
    """Measure one size and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    arguments = parser.parse_args()
    chance = np.random.default_rng(0)
    documents = unit(chance, arguments.documents, arguments.dimensions)
    answers = chance.integers(0, arguments.documents, arguments.queries)
    near = documents[answers] + 0.7 * unit(chance, arguments.queries, arguments.dimensions)
    task = Task(
        name="speed",
        queries={f"q{number}": f"query {number}" for number in range(arguments.queries)},
        corpus={f"d{number}": bare(f"document {number}", "python") for number in range(arguments.documents)},
        qrels={f"q{number}": {f"d{answer}": 1} for number, answer in enumerate(answers.tolist())},
        languages={f"q{number}": "python" for number in range(arguments.queries)},
    )
    encoder = Embedded(near / np.linalg.norm(near, axis=1, keepdims=True), documents)
    runs: list[Run] = []
    figures: list[object] = []
    before = time.process_time()
    rank_s = timed(lambda: runs.append(evaluate(task, encoder)))
    measure_s = timed(lambda: figures.append(measure(task, runs[0])))
    found = {
        "rank_s": rank_s,
        "measure_s": measure_s,
        "total_s": rank_s + measure_s,
        "processor_s": time.process_time() - before,
        "peak_mb": own_peak_rss_mb(),
    }
    print(", ".join(f"{name} {value:,.1f}" for name, value in found.items()))
    sizes = {name: getattr(arguments, name) for name in ("queries", "documents", "dimensions")}
    print(write_result("evaluation-speed", found, sizes | {"metrics": METRICS}, arguments.results))


if __name__ == "__main__":
    main()
