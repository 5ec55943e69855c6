"""Step 3 of 7, train: mined pairs → a retriever of static token embeddings.

Reads a pairs folder (its train split) and, if named, files of real questions (JSON lines with `query` and `code`, rows
with `label` 0 left out); writes a sentence-transformers folder, the int8 folder that search loads (below `int8/`) and
`manifest.json`. The loss is InfoNCE over the batch: of all documents in it, a query must choose its own.

A document is the function without its comments and docstring, which are the query or nearly so. Path and symbol are not
trained on: the index embeds them as a part of their own (`dowse.models.static`), and on the development packages that
made training with them superfluous.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dowse.errors import DataError, MissingExtraError
from dowse.records import machine, sha256, write_manifest

try:
    import sentence_transformers as st
    import torch
    from datasets import Dataset
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from torch.nn import functional

    from dowse.mine.pairs import read_batches, shards
    from dowse.train.batches import NeighbourBatchSampler
    from dowse.train.export import export_static
    from dowse.train.vocabulary import UNKNOWN, build_tokenizer, count_parts, distil, token_counts
except ImportError as error:
    raise MissingExtraError("dowse train retriever", "train") from error

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_COLUMNS = ("query", "text_without_comments", "repository", "split")


@dataclass(frozen=True, slots=True)
class StaticOptions:
    """Settings of the static retriever; the defaults were chosen on the development packages (`results/`)."""

    base: Path  # a sentence-transformers folder, read when training starts and never again
    vocabulary: int = 40_000
    dimensions: int = 256
    rarity: float = 2e-3
    max_document_chars: int = 2_500
    epochs: int = 2
    batch_size: int = 1024
    learning_rate: float = 0.006
    temperature: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One training row; `source` is the repository, or the question's own name, since every asker is another one."""

    source: str
    query: str
    document: str


class SquareRootBag(StaticEmbedding):
    """Pools a text as `dowse.models.static` does: every distinct token once, weighted by the root of its count."""

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Return the distinct tokens of all texts in a row, where each text begins, and the tokens' weights."""
        encoded = self.tokenizer.encode_batch_fast(list(inputs), add_special_tokens=False)
        bags = [np.unique(np.array(text.ids, dtype=np.int64), return_counts=True) for text in encoded]
        lengths = np.array([len(tokens) for tokens, _ in bags])
        return {
            "input_ids": torch.from_numpy(np.concatenate([tokens for tokens, _ in bags])),
            "offsets": torch.from_numpy(np.cumsum(lengths) - lengths),
            "weights": torch.from_numpy(np.sqrt(np.concatenate([counts for _, counts in bags]), dtype=np.float32)),
        }

    def forward(self, features: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        """Add the weighted sums, shape (B, D)."""
        bags = (features["input_ids"], self.embedding.weight, features["offsets"])
        summed = functional.embedding_bag(*bags, mode="sum", per_sample_weights=features["weights"])
        return features | {"sentence_embedding": summed}


def train_static(pairs: Path, output: Path, options: StaticOptions, questions: Sequence[Path] = ()) -> dict[str, Any]:
    """Train on a mined folder, write the model into `output` and return what the model card states.

    Raises:
        DataError: The pairs or a file of questions lack what a row needs, or there are no rows to train on.
    """
    started = time.monotonic()
    rows = list(read_pairs(pairs, options.max_document_chars))
    mined = len(rows)
    rows += [row for path in questions for row in read_questions(path, options.max_document_chars)]
    if len(rows) < 2:
        raise DataError(f"{pairs}: {len(rows)} rows to train on, expected at least 2; mine more with: dowse mine")
    torch.manual_seed(options.seed)
    encoder = st.SentenceTransformer(str(options.base))
    tokenizer, first = _first_vectors(rows, encoder, options)
    module = SquareRootBag(tokenizer, embedding_weights=torch.from_numpy(first))
    model = st.SentenceTransformer(modules=[module], device=str(encoder.device))
    figures = _fit(model, rows, output, options)
    _save(module, output)
    card = {
        "settings": {key: value for key, value in asdict(options).items() if key != "base"},
        "base": {"name": options.base.resolve().parent.name, "sha256": sha256(options.base / "model.safetensors")},
        "rows": {"mined": mined, "questions": len(rows) - mined},
        "loss": figures,
        "machine": machine(),
        "seconds": round(time.monotonic() - started),
    }
    export_static(output, output / "int8", card)
    write_manifest(
        output,
        config=asdict(options),
        inputs=[*shards(pairs), *questions],
        seed=options.seed,
        seconds=time.monotonic() - started,
    )
    return card


def read_pairs(folder: Path, max_document_chars: int) -> Iterator[Row]:
    """Yield the train split of a pairs folder in its order: repository by repository, file by file."""
    for batch in read_batches(folder, _COLUMNS):
        for row in batch.to_pylist():
            if row["split"] == "train":
                yield Row(row["repository"], row["query"], row["text_without_comments"][:max_document_chars])


def read_questions(path: Path, max_document_chars: int) -> Iterator[Row]:
    """Yield the questions of a JSON-lines file that are not labelled as unanswered by their code."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            query, code, label = row["query"], row["code"], row.get("label", 1)
            if not isinstance(query, str) or not isinstance(code, str):
                raise TypeError("not texts")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} line {number}: not a question ({error!r}), expected a JSON object with the texts 'query' and "
                "'code'; correct the line"
            ) from None
        if label:
            yield Row(f"{path.name}:{number}", query, code[:max_document_chars])


def _first_vectors(
    rows: Sequence[Row], encoder: st.SentenceTransformer, options: StaticOptions
) -> tuple[Tokenizer, Any]:
    counts = count_parts((row.source, f"{row.query} {row.document}") for row in rows)
    tokenizer = build_tokenizer(options.base, counts, options.vocabulary)
    first = distil(encoder, tokenizer, options.dimensions, token_counts(tokenizer, counts), options.rarity)
    return tokenizer, first


def _save(module: StaticEmbedding, output: Path) -> None:
    """Write the trained table as the plain StaticEmbedding that other tools know; only the pooling is ours."""
    weights = module.embedding.weight.detach().cpu()
    weights[module.tokenizer.token_to_id(UNKNOWN)] = 0
    plain = StaticEmbedding(module.tokenizer, embedding_weights=weights)
    st.SentenceTransformer(modules=[plain], device="cpu").save_pretrained(str(output))


def _fit(model: st.SentenceTransformer, rows: Sequence[Row], output: Path, options: StaticOptions) -> dict[str, float]:
    """Train the model in place and return the trainer's figures."""
    settings = st.SentenceTransformerTrainingArguments(
        output_dir=str(output),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=0.1,
        batch_sampler=NeighbourBatchSampler,
        seed=options.seed,
        save_strategy="no",
        logging_strategy="epoch",
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = st.SentenceTransformerTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list([{"query": row.query, "document": row.document} for row in rows]),
        loss=MultipleNegativesRankingLoss(model, scale=1 / options.temperature),
    )
    done = trainer.train()
    return {"final": round(trainer.state.log_history[-2]["loss"], 4), "mean": round(done.training_loss, 4)}
