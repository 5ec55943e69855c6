"""Cost curves of every store: build time, size, memory, time of a query and recall, by number of documents.

Writes generated source trees (`source_tree`) below a scratch folder, indexes each into every store by the path that
`dowse index` takes, and asks it questions, each in a fresh process. With `--vectors`, also a Lance table of so many
clustered vectors without text, for sizes at which writing text would only cost disk. What is measured already stands in
`progress.json` of the scratch folder and is not measured again, so a run that was stopped goes on; at the end
`stores-<commit>.json` is left in `results/`, and `stores_report.py` draws the curves and writes what follows from them.
The store `s3` is a Lance table on the S3 server at `--s3` (with AWS_ENDPOINT and keys in the environment).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import folder_mb, own_peak_rss_mb, p50, p95, run_job, timed
from source_tree import queries, write_tree

from dowse.index.store import Filter, Store
from dowse.models.static import default_static
from dowse.records import write_json, write_result
from dowse.search.searcher import Only, Searcher

HERE = Path(__file__).resolve().parent
SIZES = (10_000, 100_000, 1_000_000)
QUERIES = 100
"""Asked once to warm up and once to be timed."""
RECALLED = 50
"""Of the queries, those whose ten nearest are compared with an exact scan."""
CHANGED = 0.01
"""Share of the files that is written anew for the update."""
DIMENSIONS = 256
CLUSTERS = 1_000
VECTORS_AT_ONCE = 200_000


def main() -> None:
    """Measure every size in every store, or do one child's job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scratch", type=Path, help="folder for trees, indexes and progress; needs 6 KB a document")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="documents, about")
    parser.add_argument("--stores", nargs="+", default=["local", "lance"], choices=["local", "lance", "s3"])
    parser.add_argument("--s3", metavar="URL", help="s3://BUCKET/PREFIX for the store s3")
    parser.add_argument("--vectors", type=int, nargs="*", default=[], help="sizes of tables of vectors alone")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--child", choices=["build", "ask", "update", "vectors"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        job = json.load(sys.stdin)
        answer = {"build": build, "ask": ask, "update": update, "vectors": vectors}[arguments.child](job)
        print(json.dumps(answer | {"own_peak_rss_mb": own_peak_rss_mb()}))
        return
    if arguments.scratch is None or ("s3" in arguments.stores and not arguments.s3):
        parser.error("give --scratch DIR, and --s3 URL for the store s3")
    figures = measure_all(arguments)
    settings = {"queries": QUERIES, "recalled": RECALLED, "changed": CHANGED, "dimensions": DIMENSIONS}
    print("written:", write_result("stores", figures, settings, arguments.results))


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures by store and size, measuring those that are not in the progress file."""
    progress = arguments.scratch / "progress.json"
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    figures: dict[str, dict[str, Any]] = json.loads(progress.read_text()) if progress.exists() else {}

    def note(store: str, size: int, found: dict[str, object]) -> None:
        figures.setdefault(store, {})[str(size)] = found
        write_json(progress, figures)
        print(store, f"{size:,}", json.dumps(found), flush=True)

    for size in arguments.sizes:
        todo = [store for store in arguments.stores if str(size) not in figures.get(store, {})]
        tree = arguments.scratch / "tree"
        if todo:
            shutil.rmtree(tree, ignore_errors=True)
            write_tree(tree, size)
        for store in todo:
            note(store, size, measure(arguments, store, tree))
        shutil.rmtree(tree, ignore_errors=True)
    for size in arguments.vectors:
        if str(size) not in figures.get("lance, vectors alone", {}):
            place = arguments.scratch / "vectors"
            shutil.rmtree(place, ignore_errors=True)
            found = run_child("vectors", {"size": size, "place": str(place)})
            note("lance, vectors alone", size, found | {"size_mb": folder_mb(place)})
            shutil.rmtree(place)
    return figures


def measure(arguments: argparse.Namespace, store: str, tree: Path) -> dict[str, object]:
    """Return the figures of one store at one size."""
    place = arguments.scratch / store
    shutil.rmtree(place, ignore_errors=True)
    address = {"local": None, "lance": f"lance:{place}", "s3": f"{arguments.s3}/{time.time_ns()}"}[store]
    job = {"tree": str(tree), "index": {"directory": str(place)} if address is None else {"store": address}}
    found: dict[str, object] = {}
    for child in ("build", "ask", "update"):
        answer = run_child(child, job)
        found |= {key: value for key, value in answer.items() if not key.endswith("rss_mb")}
        found[f"{child}_rss_mb"] = answer["peak_rss_mb"]
    found["size_mb"] = folder_mb(place) if store != "s3" else None
    shutil.rmtree(place, ignore_errors=True)
    return found


def run_child(child: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run a job in a fresh process."""
    return run_job([sys.executable, str(Path(__file__).resolve()), "--child", child], job)


def opened(job: dict[str, Any]) -> Searcher:
    """Open the tree's index, bringing it up to date."""
    return Searcher.open([Path(job["tree"])], {"index": job["index"], "search": {"retriever": "off", "ranker": "off"}})


def build(job: dict[str, Any]) -> dict[str, object]:
    """Index the tree from nothing, the model being loaded."""
    default_static()
    build_s = timed(lambda: opened(job).close())
    with opened(job) as searcher:
        return {"build_s": build_s, "documents": len(searcher.roots[0].store)}


def ask(job: dict[str, Any]) -> dict[str, object]:
    """Ask every question, plain and under a filter, and compare neighbours with an exact scan."""
    asked = queries(QUERIES)
    some = Only(paths=("area_0/",), languages=("python",))
    with opened(job) as searcher:
        for query in asked:
            searcher.search(query)
        plain = [1000 * timed(lambda: searcher.search(query)) for query in asked]  # noqa: B023
        filtered = [1000 * timed(lambda: searcher.search(query, only=some)) for query in asked]  # noqa: B023
        times = {"query_p50_ms": p50(plain), "query_p95_ms": p95(plain), "filtered_p50_ms": p50(filtered)}
        store, rows = searcher.roots[0].store, searcher.encoder.encode_queries(asked[:RECALLED])
        recalls = {"recall@10": None, "filtered_recall@10": some.filter(Path(job["tree"]))}
        return times | {
            name: float(np.mean([recall(store, row, only) for row in rows])) for name, only in recalls.items()
        }


def recall(store: Store, query: np.ndarray, only: Filter | None) -> float:
    """Return the share of the ten nearest, by an exact scan, that a store finds; equally near ones count."""
    ids, allowed = store.ids(), store.allowed(only)
    ids = ids if allowed is None else ids[allowed]
    exact = np.sort(store.similarities(query, ids))[::-1][:10]
    found = store.similarities(query, store.search_vector(query, 10, only)[0])
    return float(np.mean(np.sort(found)[::-1][: len(exact)] >= exact[-1] - 1e-4)) if len(found) else 0.0


def update(job: dict[str, Any]) -> dict[str, object]:
    """Change a hundredth of the files, and bring the index up to date; the next store finds the tree as it was."""
    paths = sorted(path for path in Path(job["tree"]).rglob("*") if path.is_file())
    before = {path: path.read_text() for path in paths[:: round(1 / CHANGED)]}
    for path, text in before.items():
        path.write_text(f"{text}\n\n{text[:400]}")
    default_static()
    update_s = timed(lambda: opened(job).close())
    for path, text in before.items():
        path.write_text(text)
    return {"update_s": update_s}


def vectors(job: dict[str, Any]) -> dict[str, object]:
    """Fill a table with clustered unit vectors, index them, and ask for neighbours."""
    import pyarrow as pa

    from dowse.index.dense import pack
    from dowse.index.lance import LanceStore
    from dowse.index.lance_care import ensure_indexes, tidy
    from dowse.index.lance_table import Table, row, schema

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLUSTERS, DIMENSIONS)).astype(np.float32)
    table = Table(f"lance:{job['place']}", DIMENSIONS)
    ensure_indexes(table)

    def drawn(n: int) -> np.ndarray:
        rows = centres[rng.integers(CLUSTERS, size=n)] + 0.7 * rng.normal(size=(n, DIMENSIONS)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def write(start: int) -> None:
        n = min(VECTORS_AT_ONCE, job["size"] - start)
        numbers = pa.array(pack(drawn(n)).astype(np.float16).ravel())
        blank = pa.Table.from_pylist([row("block", "vectors", "", start_line=1)], schema=schema(DIMENSIONS))
        columns = blank.take(pa.array(np.zeros(n, np.int64)))
        embedding = pa.FixedSizeListArray.from_arrays(numbers, DIMENSIONS)
        table.replace("false", columns.set_column(blank.schema.get_field_index("embedding"), "embedding", embedding))

    write_s = timed(lambda: [write(start) for start in range(0, job["size"], VECTORS_AT_ONCE)])
    index_s = timed(lambda: tidy(table))
    store, asked = LanceStore(table), drawn(QUERIES)
    store.search_vector(asked[0], 10)
    times, hits = [], []
    for query in asked:
        begun = time.perf_counter()
        ids = store.search_vector(query, 10)[0]
        times.append(1000 * (time.perf_counter() - begun))
        if len(hits) < RECALLED:
            near = {"column": "embedding", "q": query, "k": 10, "metric": "cosine", "use_index": False}
            exact = table.scan(["_distance"], nearest=near)["_rowid"].to_pylist()
            hits.append(len(set(exact) & set(ids.tolist())) / 10)
    timing = {"build_s": write_s + index_s, "query_p50_ms": p50(times), "query_p95_ms": p95(times)}
    return timing | {"documents": job["size"], "recall@10": float(np.mean(hits))}


if __name__ == "__main__":
    main()
