"""Speed and memory of `dowse mine` on given repositories, and memory of its last passes at a million pairs.

Mines everything named once with one process and once with all cores, in fresh processes, and leaves
`mining-<commit>.json` in `results/`: counts, megabytes of source a second, peak memory. The memory of the passes over
all shards is measured on made-up shards of a million rows, a tenth of them copies. Given are repositories, or lists of
`path commit name`, as for the command itself.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import own_peak_rss_mb, run_job, timed

from dowse.mine.dedupe import fingerprint
from dowse.mine.docstrings import Docstrings
from dowse.mine.names import read_names
from dowse.mine.passes import decide, write_final
from dowse.mine.pipeline import MineOptions, mine
from dowse.mine.shard import SHARD_SCHEMA
from dowse.records import cores, write_result

HERE = Path(__file__).resolve().parent
SHARD_ROWS = 20_000
VERBS = ("read", "write", "close", "open", "parse", "send", "count", "sort", "merge", "split", "retry", "load", "store")
NOUNS = ("file", "socket", "table", "image", "queue", "token", "matrix", "header", "page", "index", "upload", "cache")


def main() -> None:
    """Measure, or do one child's job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("repositories", nargs="*", help="what to mine")
    parser.add_argument("--exclude-list", type=Path, help="file of owner/name that are not mined")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the made-up shards; 0 for none")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--child", choices=["mine", "passes"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        job = json.load(sys.stdin)
        print(json.dumps({"mine": mine_job, "passes": passes_job}[arguments.child](job)))
        return
    figures: dict[str, object] = {}
    script = [sys.executable, str(Path(__file__).resolve()), "--child"]
    with tempfile.TemporaryDirectory() as scratch:
        exclude = sorted(read_names(arguments.exclude_list)) if arguments.exclude_list else []
        if arguments.repositories:
            for jobs in sorted({1, cores()}):
                job = {"repositories": arguments.repositories, "exclude": exclude, "jobs": jobs}
                found = run_job([*script, "mine"], job | {"output": f"{scratch}/pairs{jobs}"})
                figures[f"{jobs} processes" if jobs > 1 else "1 process"] = found
        if arguments.rows:
            write_shards(Path(scratch) / "shards", arguments.rows)
            job = {"folder": f"{scratch}/shards", "output": f"{scratch}/final"}
            figures[f"passes over {arguments.rows:,} rows"] = run_job([*script, "passes"], job)
    settings = {"repositories": len(arguments.repositories), "rows": arguments.rows, "shard_rows": SHARD_ROWS}
    print(json.dumps({name: brief(found) for name, found in figures.items()}, indent=1))
    print("written:", write_result("mining", figures, settings, arguments.results))


def brief(figures: object) -> object:
    """Return figures without the long lists, for the screen."""
    assert isinstance(figures, dict)
    return {name: value for name, value in figures.items() if not isinstance(value, (list, dict))}


def mine_job(job: dict[str, object]) -> dict[str, object]:
    """Mine, and say how fast; the seconds of the processor are those of this process and all it started."""
    options = MineOptions(jobs=int(str(job["jobs"])), exclude=frozenset(job["exclude"]))  # type: ignore[call-overload]
    counts: dict[str, object] = {}
    places = list(job["repositories"])  # type: ignore[call-overload]
    before = processor_s()
    wall_s = timed(lambda: counts.update(mine(places, Path(str(job["output"])), [Docstrings()], options)))
    processor = processor_s() - before
    megabytes = float(str(counts["source_bytes"])) / 1e6
    return counts | {
        "wall_s": round(wall_s, 2),
        "processor_s": round(processor, 2),
        "source_mb": round(megabytes, 2),
        "mb_per_s": round(megabytes / wall_s, 2),
        "mb_per_processor_s": round(megabytes / processor, 2),
        "own_peak_rss_mb": round(own_peak_rss_mb(), 1),
    }


def processor_s() -> float:
    """Return the seconds of processor time used by this process and by those it started that have ended."""
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def passes_job(job: dict[str, str]) -> dict[str, object]:
    """Run the passes over all shards of a folder."""
    shards = sorted(Path(job["folder"]).glob("*.parquet"))
    output = Path(job["output"])
    output.mkdir()
    dropped: dict[str, Counter[str]] = {}
    started = time.perf_counter()
    masks = decide(shards, frozenset(), 3, dropped)
    decided_s = time.perf_counter() - started
    kept = write_final(shards, masks, frozenset(), lambda name: "train", output, None, lambda done, total: None)
    return {
        "pairs": kept.total,
        "dropped": {source: dict(rules) for source, rules in dropped.items()},
        "deciding_s": round(decided_s, 1),
        "writing_s": round(time.perf_counter() - started - decided_s, 1),
        "own_peak_rss_mb": round(own_peak_rss_mb(), 1),
    }


def write_shards(folder: Path, n_rows: int) -> None:
    """Write made-up shards; a tenth of their rows are copies or near-copies of earlier ones."""
    folder.mkdir()
    chance = random.Random(0)
    known = [made_up(chance, "") for _ in range(2_000)]
    prints = [fingerprint("", str(n), f"{n:024x}", code) for n, code in enumerate(known)]
    noise = np.random.default_rng(0)
    for first in range(0, n_rows, SHARD_ROWS):
        count = min(SHARD_ROWS, n_rows - first)
        copied = noise.random(count) < 0.1
        chosen = noise.integers(0, len(known), count)
        random_prints = noise.integers(0, 256, (count, len(prints[0])), dtype=np.uint8)
        rows = [
            row(first + n, known[chosen[n]], prints[chosen[n]] if copied[n] else b"", random_prints[n])
            for n in range(count)
        ]
        path = folder / f"made{first:09}.docstrings.parquet"
        pq.write_table(pa.Table.from_pylist(rows, SHARD_SCHEMA), path, row_group_size=2_000)


def row(number: int, code: str, copied: bytes, own: np.ndarray) -> dict[str, object]:
    """Return a row whose fingerprint is its own, or that of known code under another owner and query."""
    mark = own.tobytes()
    text = {field.name: "made up" for field in SHARD_SCHEMA if field.type == pa.string()}
    return text | {
        "pair_id": f"{number:024x}",
        "query": f"{code[:40]} number {number}",
        "text": code,
        "text_without_comments": code,
        "repository": f"made/up{number // SHARD_ROWS}",
        "start_line": 1,
        "end_line": 9,
        "code_hash": f"{number:024x}",
        "fingerprint": mark[:16] + copied[16:] if copied else mark,
    }


def made_up(chance: random.Random, prefix: str) -> str:
    """Return code of some 700 characters."""
    lines = [
        f"    {chance.choice(NOUNS)} = {chance.choice(VERBS)}_{chance.choice(NOUNS)}({chance.random()})"
        for _ in range(18)
    ]
    return "\n".join([f"def {prefix}{chance.choice(VERBS)}_{chance.choice(NOUNS)}(value):", *lines])


if __name__ == "__main__":
    main()
