"""Step 3 of 7, train: labelled pairs → a retriever (bi-encoder), on the trainer of sentence-transformers.

Reads a labelled folder (or pairs, if nothing is learnt from order), files of questions and a base model; writes a
sentence-transformers folder that any such tool loads, `training.json` (what was logged), `manifest.json` and, below
`checkpoints/`, what a killed run goes on from. Several processes or machines: start the same command by torchrun. Our
own are the labels, the batches and the losses; everything else of training is the library's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

from dowse.config import check_ranges, check_values
from dowse.errors import ConfigError, DataError, MissingExtraError

try:
    import sentence_transformers as st
    import torch
    from datasets import Dataset
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    from dowse.models.backbones import Backbone
    from dowse.train.batches import BatchOptions, Collator, RunSampler
    from dowse.train.objective import LossOptions, RetrieverLoss
    from dowse.train.rows import RowOptions, TrainingRows, is_labelled, questions_within, read_rows
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
    raise MissingExtraError("dowse train retriever", "train") from error

EVALUATED_QUERIES = 1_000
"""Of the dev split, asked at every evaluation: the standard error of their MRR is .014."""

CHECKED_QUERIES, CHECKED_DOCUMENTS = 50, 500
"""Enough to see whether an export ranks as its model does."""

LEAST_DOCUMENTS = 50
"""Two neighbours that change places cost a rank correlation of 50 documents less than 0.001, of three 0.5."""


@dataclass(frozen=True, slots=True)
class RetrieverOptions(RunOptions):
    """How a retriever is trained; the defaults are for MiniLM on one GPU (`configs/base.toml`).

    Attributes:
        max_query_tokens, max_document_tokens: Longer texts are cut.
        group_by_query: A query's candidates come with it; otherwise every query and candidate is a row of its own and
            shuffled by itself, as in the released OASIS recipe.
        base_share: Of the base's weights in those saved, the rest being the trained ones: their mean keeps what only
            the base knows (Wortsman et al. 2022, arXiv:2109.01903).
        base, base_sha256, preset, backbone: What it starts from, by name and fingerprint and by the SHA-256 of its
            weights, and how that reads and pools; kept so that a run goes on with the same.
    """

    batches: BatchOptions = field(default_factory=BatchOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    max_query_tokens: int = 64
    max_document_tokens: int = 256
    weight_decay: float = 0.01
    group_by_query: bool = True
    base_share: float = 0.0
    base: str = ""
    base_sha256: str = ""
    preset: str = ""
    backbone: Backbone | None = None

    def __post_init__(self) -> None:
        """Refuse a value of another kind, and a share that is none.

        Raises:
            ConfigError: It is one.
        """
        check_values(self)
        check_run(self)
        check_ranges(self, max_query_tokens=(1, inf), max_document_tokens=(1, inf))
        if not 0 <= self.base_share < 1:
            raise ConfigError(f"base_share is {self.base_share}, expected 0 up to but not 1; correct the setting")


def train_retriever(
    folder: Path,
    model: st.SentenceTransformer,
    output: Path,
    options: RetrieverOptions,
    questions: Sequence[Path] = (),
    benchmarks: Sequence[Path] = (),
) -> dict[str, Any]:
    """Train a model in place, save it into `output` and return what a model card states.

    Of the questions, those whose code stands in a benchmark named are counted, and trained on all the same.

    A run that was stopped goes on from its last checkpoint, and ends as it would have without the stop.

    Raises:
        ConfigError: The output holds a run of other settings, or one that is under way.
        DataError: The folder is faulty or holds nothing to train on, or holds no labels where order is to be learnt.
        ModelError: The loss is no number or diverges, or a checkpoint does not fit the model.
    """
    with alone_in(output):
        within = {"questions_in_benchmarks": questions_within(benchmarks, questions)} if benchmarks else {}
        rows = checked_rows(folder, options, questions)
        base = {name: weights.clone() for name, weights in model.state_dict().items()} if options.base_share else {}
        card = fit(model, rows, output, options, dev_evaluator(folder, options.rows)) | within
        with torch.no_grad():
            for name, weights in model.state_dict().items():
                if name in base and weights.is_floating_point():
                    weights.lerp_(base[name].to(weights.device), options.base_share)
        if writes():
            model.save_pretrained(str(output), create_model_card=False)
            describe(output, card, [*sorted(folder.glob("*.parquet")), *questions], asdict(options), options.seed)
    return card


def fit(
    model: st.SentenceTransformer,
    rows: TrainingRows,
    output: Path,
    options: RetrieverOptions,
    evaluator: InformationRetrievalEvaluator | None,
    further: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Train a model in place, with checkpoints below `output`, and return what a model card states.

    Args:
        model: What is trained.
        rows: What it is trained on.
        output: Checkpoints come below it; a run of the same rows and settings goes on from its last one.
        options: See there.
        evaluator: Asked at every checkpoint.
        further: Settings that the model was made with, and that a run must share to be gone on with.

    Raises:
        ConfigError, ModelError: As `train_retriever`.
    """
    stopwatch = Stopwatch(output)
    settings = asdict(options) | dict(further or {})
    del settings["base_sha256"]  # the fingerprint says it too, and runs begun by an older version lack it
    with claimed(output, settings, rows):
        set_dropout(model, options.dropout)
        freeze_layers(model, options.frozen_layers)
        trainer = _trainer(model, rows, evaluator, output, options)
        trainer.add_callback(stopwatch)
    with as_model_error(output):
        trainer.train(resume_from_checkpoint=last_checkpoint(output))
    counts = {
        "queries": len(rows),
        "questions": len(rows) - rows.n_mined,
        "documents": len(rows.documents),
        "labels": int((rows.label >= 0).sum()),
    }
    return card_of(trainer, options, counts, stopwatch.seconds)


def checked_rows(folder: Path, options: RetrieverOptions, questions: Sequence[Path]) -> TrainingRows:
    """Read what is trained on.

    Raises:
        DataError: The folder is faulty, or holds nothing to train on, or no labels where order is to be learnt.
    """
    loss = options.loss
    if (loss.order_weight or loss.angle_weight) and not is_labelled(folder):
        raise DataError(
            f"{folder} holds no labels, expected some to learn order from; make them with: dowse label {folder} -o …, "
            "or train without: --order-weight 0"
        )
    rows = read_rows(folder, options.rows, questions)
    if len(rows) < 2:
        raise DataError(f"{folder}: {len(rows)} query to train on, expected at least 2; mine more with: dowse mine")
    return rows if options.group_by_query else rows.singly()


def _trainer(
    model: st.SentenceTransformer,
    rows: TrainingRows,
    evaluator: InformationRetrievalEvaluator | None,
    output: Path,
    options: RetrieverOptions,
) -> st.SentenceTransformerTrainer:
    arguments = arguments_of(
        st.SentenceTransformerTrainingArguments,
        options,
        output,
        batch_size=options.batches.batch_size,
        evaluates=evaluator is not None,
        workers=2,
    )
    tokens = (options.max_query_tokens, options.max_document_tokens)
    prompts = (model.prompts.get("query") or "", model.prompts.get("document") or "")
    return _Trainer(
        rows,
        options,
        first_epoch(output),
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"row": list(range(len(rows)))}),
        data_collator=Collator(rows, model.preprocess, *tokens, prompts),
        loss=RetrieverLoss(model, options.loss),
        evaluator=evaluator,
        callbacks=[StopsWhenDiverged()],
    )


def sample_texts(folder: Path, options: RowOptions) -> tuple[list[str], list[str]]:
    """Return some queries and documents to check an export on: of the dev split, or else of that trained on.

    A dev split of fewer documents than `LEAST_DOCUMENTS` has no order to speak of, and would fail a sound export.
    """
    try:
        rows = read_rows(folder, replace(options, split="dev", max_queries=0))
    except DataError:
        rows = None
    if rows is None or len(rows.documents) < LEAST_DOCUMENTS:
        rows = read_rows(folder, options)
    return rows.queries[:CHECKED_QUERIES], rows.documents[:CHECKED_DOCUMENTS]


def dev_evaluator(folder: Path, options: RowOptions) -> InformationRetrievalEvaluator | None:
    """Return the questions of the dev split, asked among its documents; None where there is no such split.

    Whatever is the same function as an answer, in another version or form, answers too.
    """
    try:
        rows = read_rows(folder, replace(options, split="dev", max_queries=0))
    except DataError:
        return None
    asked = range(0, len(rows), -(-len(rows) // EVALUATED_QUERIES))
    forms: dict[int, set[str]] = {}
    for document, function in enumerate(rows.document_ids.tolist()):
        forms.setdefault(function, set()).add(str(document))
    answers: dict[str, set[str]] = {}
    for row in asked:
        span = rows.span(row)
        functions = rows.document_ids[rows.document[span][rows.is_positive[span]]].tolist()
        answers[str(row)] = {document for function in functions for document in forms[function]}
    return InformationRetrievalEvaluator(
        queries={str(row): rows.queries[row] for row in asked},
        corpus={str(row): document for row, document in enumerate(rows.documents)},
        relevant_docs=answers,
        mrr_at_k=[10],
        ndcg_at_k=[10],
        accuracy_at_k=[1],
        precision_recall_at_k=[10],
        map_at_k=[10],
        name="dev",
        show_progress_bar=False,
        write_csv=False,
    )


class _Trainer(st.SentenceTransformerTrainer):
    """The library's trainer, whose batches are drawn by `RunSampler`."""

    def __init__(self, rows: TrainingRows, options: RetrieverOptions, epoch: int, **settings: Any) -> None:
        self._rows, self._options, self._epoch = rows, options, epoch
        super().__init__(**settings)

    def get_batch_sampler(self, dataset: Any, *_: Any, **__: Any) -> RunSampler:
        """Return batches of the rows behind a dataset of row numbers."""
        return RunSampler(dataset, self._rows, self._options.batches, self._options.seed, self._epoch)
