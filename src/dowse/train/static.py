"""Step 3 of 7, train: pairs → the static retriever, whose backbone is a table of token vectors.

Reads what `dowse.train.rows` reads and, once, an encoder that the first vectors are distilled from; writes a
sentence-transformers folder and, below `int8/`, the folder that search loads. Losses, batches and trainer are those of
every other retriever.

A document is the function without its comments and docstring, which are the query or nearly so. Path and symbol are not
trained on: the index embeds them as a part of their own (`dowse.models.static`), and on the development packages that
made training with them superfluous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dowse.config import check_ranges, check_values
from dowse.errors import ConfigError, MissingExtraError
from dowse.records import sha256

try:
    import sentence_transformers as st
    import torch
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from torch.nn import functional

    from dowse.models.backbones import load_backbone, weights_of
    from dowse.train.batches import BatchOptions
    from dowse.train.export import export_static
    from dowse.train.objective import LossOptions
    from dowse.train.retriever import RetrieverOptions, checked_rows, dev_evaluator, fit
    from dowse.train.rows import RowOptions, TrainingRows, questions_within
    from dowse.train.run import alone_in, describe, writes
    from dowse.train.vocabulary import UNKNOWN, build_tokenizer, count_parts, distil, token_counts
except ImportError as error:
    raise MissingExtraError("dowse train retriever", "train") from error
if TYPE_CHECKING:
    from tokenizers import Tokenizer

STATIC_TRAINING = RetrieverOptions(
    rows=RowOptions(document="text_without_comments", bare_share=1.0),
    batches=BatchOptions(batch_size=1024, run_length=64),
    loss=LossOptions(contrastive_weight=1.0, order_weight=0.0),
    epochs=2,
    learning_rate=0.006,
    weight_decay=0.0,
    bf16=False,
)
"""Chosen on the development packages (`docs/log.md`); batches of a thousand, since a row costs next to nothing."""


@dataclass(frozen=True, slots=True)
class StaticOptions:
    """Settings of the table; the defaults were chosen on the development packages (`docs/log.md`).

    Attributes:
        base: a sentence-transformers folder, read when training starts and never again.
        vocabulary: tokens of a table (`--static`).
        dimensions: of a table's vectors (`--static`).
        rarity: a table's first vectors are multiplied by rarity / (rarity + p(token)) (`--static`).
        runs: a table is the mean of so many, trained from the same first vectors, each with a seed of its own
            (`--static`; Wortsman et al. 2022, arXiv:2203.05482).
        training: how the table is trained on labelled pairs.
    """

    base: Path
    vocabulary: int = 40_000
    dimensions: int = 256
    rarity: float = 2e-3
    runs: int = 1
    training: RetrieverOptions = STATIC_TRAINING

    def __post_init__(self) -> None:
        """Refuse a value of another kind, or out of its range."""
        check_values(self)
        check_ranges(self, vocabulary=(1, inf), dimensions=(1, inf), rarity=(1e-9, inf), runs=(1, inf))


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


def train_static(
    folder: Path,
    output: Path,
    options: StaticOptions,
    questions: Sequence[Path] = (),
    benchmarks: Sequence[Path] = (),
) -> dict[str, Any]:
    """Train a static retriever, write it into `output` and return what the model card states.

    Benchmarks are for what `dowse.train.retriever.train_retriever` counts.

    Raises:
        ConfigError, DataError, ModelError: As `dowse.train.retriever.train_retriever`.
    """
    training = options.training
    with alone_in(output):
        within = {"questions_in_benchmarks": questions_within(benchmarks, questions)} if benchmarks else {}
        rows = checked_rows(folder, training, questions)
        torch.manual_seed(training.seed)
        encoder = load_backbone(options.base)
        name = training.base.partition(" ")[0] or options.base.name
        base = {"name": name, "sha256": sha256(weights_of(options.base))}
        tokenizer, first = _first_vectors(rows, encoder, options)
        table = {name: getattr(options, name) for name in ("rarity", "vocabulary", "dimensions", "runs")}
        made_of = {"base": base, "table": table}
        evaluator = dev_evaluator(folder, training.rows)
        mean, cards = np.zeros_like(first), []
        for run in range(options.runs):
            module = SquareRootBag(tokenizer, embedding_weights=torch.from_numpy(first.copy()))
            model = st.SentenceTransformer(modules=[module], device=str(encoder.device))
            one = replace(training, seed=training.seed + run)
            cards.append(fit(model, rows, _place(output, run), one, evaluator, made_of))
            mean += module.embedding.weight.detach().cpu().numpy() / options.runs
        card = cards[0] | made_of | within | {"seconds": sum(card["seconds"] for card in cards)}
        if writes():
            _save(tokenizer, mean, output)
            describe(
                output, card, [*sorted(folder.glob("*.parquet")), *questions], asdict(training) | made_of, training.seed
            )
            export_static(output, output / "int8", card)
    return card


def _place(output: Path, run: int) -> Path:
    """Return where a run keeps its checkpoints: the first as any training, those after it below."""
    return output / "checkpoints" / f"run-{run}" if run else output


def _first_vectors(
    rows: TrainingRows, encoder: st.SentenceTransformer, options: StaticOptions
) -> tuple[Tokenizer, NDArray[np.float32]]:
    """Return the tokenizer made for these rows, and a first vector (V, D) for each of its tokens.

    Raises:
        ConfigError: The vectors are to be longer than the encoder's.
    """
    first_module: Any = encoder[0]
    if options.dimensions > (most := first_module.get_embedding_dimension()):
        raise ConfigError(
            f"dimensions is {options.dimensions}, expected at most the {most} of {options.base}; correct the setting"
        )
    counts = count_parts((rows.sources[row], f"{rows.queries[row]} {rows.answer(row)}") for row in rows.answered())
    tokenizer = build_tokenizer(options.base, counts, options.vocabulary)
    first = distil(encoder, tokenizer, options.dimensions, token_counts(tokenizer, counts), options.rarity)
    return tokenizer, first


def _save(tokenizer: Tokenizer, table: NDArray[np.float32], output: Path) -> None:
    """Write the trained table (V, D) as the plain StaticEmbedding that other tools know.

    It pools by the mean of all tokens: where one is repeated, another embedding than that of training and search.
    """
    table[tokenizer.token_to_id(UNKNOWN)] = 0
    plain = StaticEmbedding(tokenizer, embedding_weights=torch.from_numpy(table))
    st.SentenceTransformer(modules=[plain], device="cpu").save_pretrained(str(output))
