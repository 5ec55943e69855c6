"""Cost curves of every store: build time, size, memory, time of a query and recall, by number of documents.

Writes generated source trees (`source_tree`) below a scratch folder, indexes each into every store by the path that
`dowse index` takes, and asks it questions, each job in a fresh process. Only the first stage is asked, since the others
cost the same whatever the size; other questions come before those that are timed, and each of these is asked once. With
`--vectors`, also a Lance table of so many clustered vectors without text, for sizes at which writing text would only
cost disk. What is measured already stands in `progress.json` of the scratch folder, with its date and commit, and is
not measured again, so a run that was stopped goes on; at the end `stores-<commit>.json` is left in `results/`, and
`stores_report.py` draws the curves and writes what follows from them. The store `s3` is a Lance table on the S3 server
at `--s3` (with AWS_ENDPOINT and keys in the environment).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from measure import folder_mb, own_peak_rss_mb, p50, p95, run_job, timed
from source_tree import queries, write_tree

from dowse.index.store import Filter, Store
from dowse.models.static import default_static
from dowse.records import source_commit, write_json, write_result
from dowse.search.only import Only
from dowse.search.searcher import Searcher

if TYPE_CHECKING:
    from dowse.index.lance import LanceStore

HERE = Path(__file__).resolve().parent
SIZES = (10_000, 100_000, 1_000_000)
QUERIES = 100
"""Timed of each kind, and as many before them to warm up; for half as many the ten nearest are compared with a scan."""
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
    parser.add_argument("--queries", type=int, default=QUERIES, help="timed of each kind")
    parser.add_argument("--vectors", type=int, nargs="*", default=[], help="sizes of tables of vectors alone")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--child", choices=list(CHILDREN), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        answer = CHILDREN[arguments.child](json.load(sys.stdin))
        print(json.dumps(answer | {"own_peak_rss_mb": own_peak_rss_mb()}))
        return
    if arguments.scratch is None or ("s3" in arguments.stores and not arguments.s3):
        parser.error("give --scratch DIR, and --s3 URL for the store s3")
    figures = measure_all(arguments)
    settings = {"changed": CHANGED, "dimensions": DIMENSIONS}
    print("written:", write_result("stores", figures, settings, arguments.results))


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures by store and size, measuring those that are not in the progress file."""
    progress = arguments.scratch / "progress.json"
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    figures: dict[str, dict[str, Any]] = json.loads(progress.read_text()) if progress.exists() else {}

    def note(store: str, size: int, found: dict[str, object]) -> None:
        commit, dirty = source_commit()
        made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit, "dirty": dirty}
        figures.setdefault(store, {})[str(size)] = found | {"queries": arguments.queries} | made
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
            note("lance, vectors alone", size, measure_vectors(place, size, arguments.queries))
            shutil.rmtree(place)
    return figures


def measure(arguments: argparse.Namespace, store: str, tree: Path) -> dict[str, object]:
    """Return the figures of one store at one size."""
    place = arguments.scratch / store
    shutil.rmtree(place, ignore_errors=True)
    address = {"local": None, "lance": f"lance:{place}", "s3": f"{arguments.s3}/{time.time_ns()}"}[store]
    index = {"directory": str(place)} if address is None else {"store": address}
    job = {"tree": str(tree), "index": index, "queries": arguments.queries}
    found: dict[str, object] = {}
    for child in ("build", "ask", "recalls", "update"):
        answer = run_child(child, job)
        found |= {key: value for key, value in answer.items() if not key.endswith("rss_mb")}
        if child != "recalls":  # which holds all embeddings, as no search does
            found[f"{child}_rss_mb"] = answer["peak_rss_mb"]
    if store != "s3":
        found["size_mb"] = folder_mb(place)
        if store == "lance":
            run_child("forget_versions", job)
        found["held_mb"] = folder_mb(place)
    shutil.rmtree(place, ignore_errors=True)
    return found


def measure_vectors(place: Path, size: int, n_queries: int) -> dict[str, object]:
    """Return the figures of a table of vectors, which is left in place."""
    job = {"size": size, "place": str(place), "queries": n_queries}
    filled, asked = run_child("fill_vectors", job), run_child("ask_vectors", job)
    found = {"documents": size, "build_rss_mb": filled.pop("peak_rss_mb"), "size_mb": folder_mb(place)} | filled
    recalled = run_child("recall_vectors", job)
    run_child("forget_versions", job)
    found |= {"ask_rss_mb": asked.pop("peak_rss_mb"), "recall@10": recalled["recall@10"]} | asked
    del found["own_peak_rss_mb"]
    return found | {"held_mb": folder_mb(place)}


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
    """Ask every question, plain and under a filter."""
    before, plain, filtered = np.array_split(np.array(queries(3 * job["queries"])), 3)
    some = Only(paths=("area_0/",), languages=("python",))
    with opened(job) as searcher:
        for query in before:
            searcher.search(query)
        searcher.search(before[0], only=some)
        times = [1000 * timed(lambda: searcher.search(query)) for query in plain]  # noqa: B023
        narrow = [1000 * timed(lambda: searcher.search(query, only=some)) for query in filtered]  # noqa: B023
    return {"query_p50_ms": p50(times), "query_p95_ms": p95(times), "filtered_p50_ms": p50(narrow)}


def recalls(job: dict[str, Any]) -> dict[str, object]:
    """Compare the ten nearest with an exact scan, plain and under a filter."""
    some = Only(paths=("area_0/",), languages=("python",)).filter(Path(job["tree"]))
    with opened(job) as searcher:
        store, rows = searcher.roots[0].store, searcher.encoder.encode_queries(queries(job["queries"] // 2))
        found = {"recall@10": None, "filtered_recall@10": some}
        return {name: float(np.mean([recall(store, row, only) for row in rows])) for name, only in found.items()}


def recall(store: Store, query: np.ndarray, only: Filter | None) -> float:
    """Return the share of the ten nearest, by an exact scan, that a store finds; equally near ones count."""
    ids, allowed = store.ids(), store.allowed(only)
    ids = ids if allowed is None else ids[allowed]
    exact = np.sort(store.similarities(query, ids))[::-1][:10]
    found = np.sort(store.similarities(query, store.search_vector(query, 10, only)[0]))[::-1]
    return float((found[: len(exact)] >= exact[-1] - 1e-4).sum() / len(exact))


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


def drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return `n` clustered unit vectors, float32 of shape (n, D)."""
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, DIMENSIONS)).astype(np.float32)
    rows = centres[rng.integers(CLUSTERS, size=n)] + 0.7 * rng.normal(size=(n, DIMENSIONS)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fill_vectors(job: dict[str, Any]) -> dict[str, object]:
    """Fill a table with clustered unit vectors and index them."""
    import pyarrow as pa

    from dowse.index.dense import pack
    from dowse.index.lance_care import ensure_indexes, tidy
    from dowse.index.lance_table import Table, row, schema

    rng = np.random.default_rng(1)
    table = Table(f"lance:{job['place']}", DIMENSIONS)
    ensure_indexes(table)

    def write(start: int) -> None:
        n = min(VECTORS_AT_ONCE, job["size"] - start)
        numbers = pa.array(pack(drawn(rng, n)).astype(np.float16).ravel())
        blank = pa.Table.from_pylist([row("block", "vectors", "", start_line=1)], schema=schema(DIMENSIONS))
        columns = blank.take(pa.array(np.zeros(n, np.int64)))
        embedding = pa.FixedSizeListArray.from_arrays(numbers, DIMENSIONS)
        table.replace("false", columns.set_column(blank.schema.get_field_index("embedding"), "embedding", embedding))

    write_s = timed(lambda: [write(start) for start in range(0, job["size"], VECTORS_AT_ONCE)])
    index_s = timed(lambda: tidy(table))
    return {"write_s": write_s, "index_s": index_s, "build_s": write_s + index_s}


def ask_vectors(job: dict[str, Any]) -> dict[str, object]:
    """Ask for the neighbours of vectors of the same clusters."""
    store, asked = vector_store(job), drawn(np.random.default_rng(2), 2 * job["queries"])
    times = [1000 * timed(lambda: store.search_vector(query, 10)) for query in asked][job["queries"] :]  # noqa: B023
    return {"query_p50_ms": p50(times), "query_p95_ms": p95(times)}


def recall_vectors(job: dict[str, Any]) -> dict[str, object]:
    """Compare the ten nearest with those of the engine's own exact scan."""
    store, hits = vector_store(job), []
    for query in drawn(np.random.default_rng(2), job["queries"] // 2):
        near = {"column": "embedding", "q": query, "k": 10, "metric": "cosine", "use_index": False}
        exact = store.table.scan(["_distance"], nearest=near)["_rowid"].to_pylist()
        hits.append(len(set(exact) & set(store.search_vector(query, 10)[0].tolist())) / len(exact))
    return {"recall@10": float(np.mean(hits))}


def vector_store(job: dict[str, Any]) -> LanceStore:
    """Open the table of vectors."""
    from dowse.index.lance import LanceStore
    from dowse.index.lance_table import Table

    return LanceStore(Table(f"lance:{job['place']}", DIMENSIONS))


def forget_versions(job: dict[str, Any]) -> dict[str, object]:
    """Remove what only earlier versions of a table hold, as if it had been left alone for a week."""
    from dowse.index.lance_table import Table

    address = job["index"]["store"] if "index" in job else f"lance:{job['place']}"
    Table(address).dataset.cleanup_old_versions(timedelta(0), delete_unverified=True)
    return {}


CHILDREN: dict[str, Callable[[dict[str, Any]], dict[str, object]]] = {
    job.__name__: job
    for job in (build, ask, recalls, update, fill_vectors, ask_vectors, recall_vectors, forget_versions)
}
"""What a child process may be told to do."""


if __name__ == "__main__":
    main()
