"""Step 3 of 7, train: labelled pairs and a frozen retriever → a ranker (cross-encoder), on the library's trainer.

Reads a labelled folder (or pairs), files of questions, a base model and what ranks the corpus; writes a
sentence-transformers folder that any such tool loads, `training.json` (what was logged), `manifest.json` and, below
`checkpoints/`, what a killed run goes on from, the frozen ranking among it. Our own are the negatives and the lists;
everything else of training is the library's. As in R2PS the ranker starts from pretrained weights, not from the
retriever's (Dong et al. 2023, arXiv:2305.04508).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dowse.config import check_ranges, check_values
from dowse.errors import MissingExtraError
from dowse.models.crossencoder import Input
from dowse.types import CorpusRanker

try:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments

    from dowse.models.backbones import Backbone
    from dowse.train.corpus import Corpus, read_corpus
    from dowse.train.judged import JudgedList, evaluator_of
    from dowse.train.listwise import ListCollator, ListSampler, RankerLoss, TargetOptions
    from dowse.train.negatives import NegativeSampler, SamplingOptions
    from dowse.train.ranker_model import Kept, check_same_tokens, depth_of, tokenizer_of
    from dowse.train.rankings import freeze
    from dowse.train.reading import PairReader
    from dowse.train.run import (
        RunOptions,
        StopsWhenDiverged,
        Stopwatch,
        alone_in,
        arguments_of,
        as_model_error,
        card_of,
        check_run,
        claimed,
        describe,
        first_epoch,
        freeze_layers,
        last_checkpoint,
        set_dropout,
        writes,
    )
except ImportError as error:
    raise MissingExtraError("dowse train ranker", "train") from error


@dataclass(frozen=True, slots=True)
class RankerOptions(RunOptions):
    """How a ranker is trained; the defaults are for MiniLM on one GPU, `configs/r2ps.toml` has the paper's.

    Attributes:
        rows: Of its `bare_share`, lists of an enriched input are read as code alone, as in a benchmark without paths.
        ranker_input: `enriched` reads path and symbol before the code, where they are known; `code` is the paper's.
        max_query_tokens: Longer queries are cut.
        max_tokens: The window, of query, code and special tokens; longer code is cut.
        layers: How many layers the network keeps, if it is made shallower before training; all where 0.
        layers_kept: Which layers stay where `layers` drops some: the first, or evenly spread ones.
        batch_size: Lists in a batch, of one process.
        base, backbone, teacher, retriever: What it starts from and how that reads and pools, what is distilled and what
            ranks, by name and fingerprint; kept so that a run goes on with the same. The last is filled in by training.

    Raises:
        ConfigError: A value is of another kind.
    """

    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    targets: TargetOptions = field(default_factory=TargetOptions)
    ranker_input: Input = "enriched"
    max_query_tokens: int = 64
    max_tokens: int = 192
    layers: int = 0
    layers_kept: Kept = "first"
    batch_size: int = 32
    epochs: float = 2.0
    warmup_share: float = 0.05
    base: str = ""
    backbone: Backbone | None = None
    teacher: str = ""
    retriever: str = ""

    def __post_init__(self) -> None:
        """Refuse a value of another kind, or out of its range."""
        check_values(self)
        check_run(self)
        least = {"max_query_tokens": 1, "max_tokens": 1, "layers": 0, "batch_size": 1}
        check_ranges(self, **{name: (number, math.inf) for name, number in least.items()})

    @property
    def as_code(self) -> bool:
        """Whether documents are read without path and symbol."""
        return self.ranker_input == "code"


def train_ranker(
    folder: Path,
    model: CrossEncoder,
    retriever: CorpusRanker,
    output: Path,
    options: RankerOptions,
    *,
    questions: Sequence[Path] = (),
    dev: Sequence[JudgedList] = (),
    teacher: CrossEncoder | None = None,
) -> dict[str, Any]:
    """Train a model in place, save it into `output` and return what a model card states.

    A run that was stopped goes on from its last checkpoint, and ends as it would have without the stop.

    Args:
        folder: Labels or pairs.
        model: A cross-encoder, as `build_ranker` makes it.
        retriever: Ranks the corpus, where negatives are drawn by rank.
        output: Where everything goes.
        options: See there.
        questions: JSON lines with query and code, trained on too.
        dev: Lists that are ranked at every checkpoint.
        teacher: A ranker whose scores are learnt too.

    Raises:
        ConfigError: The output holds a run of other settings or one that is under way, or settings do not fit the
            corpus or the model.
        DataError: The folder is faulty or holds nothing to train on.
        ModelError: The loss or a score of the retriever is no number, or a checkpoint does not fit the model.
    """
    stopwatch = Stopwatch(output)
    options = replace(options, retriever=retriever.fingerprint)
    with alone_in(output):
        corpus = read_corpus(folder, options.rows, questions)
        with claimed(output, asdict(options), corpus.rows):
            if teacher is not None:
                check_same_tokens(teacher, model)
            sampler = _sampler(corpus, retriever, output, options)
            set_dropout(model, options.dropout)
            freeze_layers(model, options.frozen_layers)
            trainer = _trainer(model, corpus, sampler, output, options, dev, teacher)
            trainer.add_callback(stopwatch)
        with as_model_error(output):
            trainer.train(resume_from_checkpoint=last_checkpoint(output))
        counts: dict[str, Any] = {
            "queries": len(corpus),
            "questions": len(corpus) - corpus.rows.n_mined,
            "documents": len(corpus.codes),
            "queries_without_negatives": sampler.n_without,
            "false_negatives_share": round(sampler.false_share, 5),
        }
        card = card_of(trainer, options, counts, stopwatch.seconds) | {"layers": depth_of(model)}
        if writes():
            model.save_pretrained(str(output), create_model_card=False)
            describe(output, card, [*sorted(folder.glob("*.parquet")), *questions], asdict(options), options.seed)
    return card


def _sampler(corpus: Corpus, retriever: CorpusRanker, output: Path, options: RankerOptions) -> NegativeSampler:
    """Rank the corpus if negatives are drawn by rank, or read what an earlier start of the run has kept."""
    kept, depth = output / "checkpoints" / "ranking.npz", options.sampling.depth
    texts = corpus.rows.queries, corpus.rows.documents
    ranking = freeze(retriever, *texts, depth, kept) if depth else None
    return NegativeSampler(corpus, ranking, options.sampling, options.seed)


def _trainer(
    model: CrossEncoder,
    corpus: Corpus,
    sampler: NegativeSampler,
    output: Path,
    options: RankerOptions,
    dev: Sequence[JudgedList],
    teacher: CrossEncoder | None,
) -> CrossEncoderTrainer:
    arguments = arguments_of(
        CrossEncoderTrainingArguments,
        options,
        output,
        batch_size=options.batch_size,
        evaluates=bool(dev),
        workers=4,
    )
    collator = ListCollator(
        corpus,
        sampler,
        PairReader(tokenizer_of(model), options.max_query_tokens, options.max_tokens),
        options.targets,
        in_batch=options.sampling.negatives == "in_batch",
        bare_share=1.0 if options.as_code else options.rows.bare_share,
        seed=options.seed,
    )
    passes = _passes(len(corpus), options, arguments.world_size)
    return _Trainer(
        len(corpus),
        options,
        first_epoch(output),
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"row": np.arange(passes * len(corpus))}),
        data_collator=collator,
        loss=RankerLoss(model, options.targets, teacher.eval() if teacher else None),
        evaluator=evaluator_of(dev),
        callbacks=[StopsWhenDiverged()],
    )


def _passes(n_queries: int, options: RankerOptions, processes: int) -> int:
    """Return how many passes over the queries a run can begin.

    The batches of a pass are dealt out in whole rounds: each process has as many, and those left over sit it out.
    """
    if options.max_steps <= 0:
        return math.ceil(options.epochs)
    a_pass = max(1, n_queries // options.batch_size // processes)
    return math.ceil(options.max_steps * options.gradient_accumulation_steps / a_pass) + 1


class _Trainer(CrossEncoderTrainer):
    """The library's trainer, whose batches are drawn by `ListSampler`."""

    def __init__(self, n_queries: int, options: RankerOptions, epoch: int, **settings: Any) -> None:
        self._n_queries, self._options, self._epoch = n_queries, options, epoch
        super().__init__(**settings)

    def get_batch_sampler(self, dataset: Any, *_: Any, **__: Any) -> ListSampler:
        """Return batches of queries and epochs."""
        return ListSampler(dataset, self._n_queries, self._options.batch_size, self._options.seed, self._epoch)
