"""Step 3 of 7, train: a batch → its embeddings → the weighted total of the losses, gathered across processes.

L = w_contrastive L_contrastive + w_order L_order (+ w_angle L_angle for an ablation), as in OASIS (Gao et al. 2025,
arXiv:2503.08161). Under torchrun every process sees the queries and documents of all, and the gradient is that of one
process with the whole batch: a text that several of them encoded counts once, gathering adds up what each process
contributes to a vector, and averaging over processes, which training does next, undoes the sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import torch
import torch.distributed as dist
from sentence_transformers.util import all_gather, all_gather_with_grad
from torch import Tensor, nn
from torch.nn import functional

from dowse.config import check_ranges, check_values
from dowse.errors import ConfigError, ModelError
from dowse.train.losses import (
    LabelledNegatives,
    Relations,
    angle_loss,
    info_nce,
    negatives_of,
    order_loss,
    soft_info_nce,
    weighted_contrastive,
)

Contrastive = Literal["infonce", "weighted", "soft"]

_ENCODE_AT_ONCE = 32
"""Rows encoded together, alike in length: padding to the longest of a batch doubles the work."""

_TRIMMED = {"input_ids", "attention_mask", "token_type_ids"}


@dataclass(frozen=True, slots=True)
class LossOptions:
    """What a batch is trained on; the defaults are the paper's form, with the traps of its released recipe avoided.

    Attributes:
        contrastive: the contrastive part: InfoNCE, that of OASIS's released recipe, or Soft-InfoNCE.
        contrastive_weight: what the contrastive part counts in the total.
        order_weight: what the order loss counts in the total.
        angle_weight: what the angle loss counts in the total; for an ablation.
        scale: 1 / temperature, by which similarities are multiplied in a loss.
        order_margin: labels nearer to each other than this are of no known order.
        labelled_negatives: which of a query's labelled candidates are negatives: all, those not suspect, none.
        mask_repeated_queries: an answer to a copy of the query is no negative.
        normalise: compare by cosine; by dot product where false.
        matryoshka: further lengths, to which embeddings are cut and trained as well.
    """

    contrastive: Contrastive = "infonce"
    contrastive_weight: float = 0.98
    order_weight: float = 0.02
    angle_weight: float = 0.0
    scale: float = 20.0
    order_margin: float = 0.0
    labelled_negatives: LabelledNegatives = "mask_suspects"
    mask_repeated_queries: bool = True
    normalise: bool = True
    matryoshka: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a value of another kind, or out of its range.

        Raises:
            ConfigError: It is one, or no part of the loss counts.
        """
        check_values(self)
        check_ranges(self, **dict.fromkeys(("contrastive_weight", "order_weight", "angle_weight"), (0, inf)))
        check_ranges(self, scale=(1e-6, inf), order_margin=(0, inf), matryoshka=(1, inf))
        if not self.contrastive_weight + self.order_weight + self.angle_weight:
            raise ConfigError(
                "contrastive_weight, order_weight and angle_weight are all 0, expected one above; correct the settings"
            )


class RetrieverLoss(nn.Module):
    """The total loss, in the form that the trainer of sentence-transformers calls.

    It encodes a batch's distinct documents once, whatever the number of queries that they are compared with.
    """

    def __init__(self, model: Any, options: LossOptions) -> None:
        """Take the model that is trained.

        Raises:
            ConfigError: A further length is not below that of its embeddings.
        """
        super().__init__()
        if options.matryoshka and max(options.matryoshka) >= (length := model.get_embedding_dimension()):
            raise ConfigError(
                f"matryoshka is {options.matryoshka}, expected lengths below the model's {length}; correct the setting"
            )
        self.model = model
        self.options = options

    def forward(self, features: list[dict[str, Any]], relations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted parts of the loss by name; the trainer adds them up.

        Args:
            features: What the model reads of the B queries and of the M documents.
            relations: The fields of `Relations`, of this process's batch.

        Raises:
            ModelError: The loss is not finite.
        """
        queries, documents = (self._embed(part) for part in features)
        queries, documents, gathered = gather(queries, documents, Relations(**relations))
        parts: dict[str, Tensor] = {}
        sizes = (queries.shape[1], *self.options.matryoshka)
        for size in sizes:
            for name, loss in self._parts(queries[:, :size], documents[:, :size], gathered).items():
                parts[name] = parts.get(name, 0) + loss / len(sizes)
        for name, loss in parts.items():
            if not torch.isfinite(loss):
                raise ModelError(
                    f"the {name} loss is {loss.item()}, expected a finite number; lower the learning rate, or train "
                    "without bf16"
                )
        return parts

    def _parts(self, queries: Tensor, documents: Tensor, relations: Relations) -> dict[str, Tensor]:
        options = self.options
        if options.normalise:
            queries, documents = functional.normalize(queries, dim=1), functional.normalize(documents, dim=1)
        similarities = queries @ documents.T
        row, column = (~relations.labels.isnan()).nonzero(as_tuple=True)
        labels = relations.labels[row, column]
        parts = {}
        if options.contrastive_weight:
            parts["contrastive"] = options.contrastive_weight * self._contrastive(
                queries, documents, similarities, relations
            )
        if options.order_weight:
            ordered = order_loss(similarities[row, column], labels, options.scale, options.order_margin)
            parts["order"] = options.order_weight * ordered
        if options.angle_weight:
            angled = angle_loss(queries[row], documents[column], labels, options.scale, options.order_margin)
            parts["angle"] = options.angle_weight * angled
        return parts

    def _contrastive(self, queries: Tensor, documents: Tensor, similarities: Tensor, relations: Relations) -> Tensor:
        options = self.options
        negatives = negatives_of(relations, options.labelled_negatives, options.mask_repeated_queries)
        if options.contrastive == "weighted":
            return weighted_contrastive(queries, documents, relations.is_positive, negatives, options.scale)
        loss = {"infonce": info_nce, "soft": soft_info_nce}[options.contrastive]
        return loss(similarities, relations.is_positive, negatives.documents, options.scale)

    def _embed(self, features: dict[str, Any]) -> Tensor:
        """Return the embeddings (N, D) of a padded batch in float32, encoding texts of like length together."""
        tensors = {key for key, value in features.items() if isinstance(value, Tensor)}
        if not tensors <= _TRIMMED:  # features of a form that trimming does not know
            embedded: Tensor = self.model(features)["sentence_embedding"]
            return embedded.float()
        order = features["attention_mask"].sum(dim=1).argsort(stable=True)
        found = []
        for rows in order.split(_ENCODE_AT_ONCE):
            used = features["attention_mask"][rows].any(dim=0)  # the padding may be on either side
            part = {key: value[rows][:, used] if key in tensors else value for key, value in features.items()}
            found.append(self.model(part)["sentence_embedding"])
        return torch.cat(found)[order.argsort()].float()


def gather(queries: Tensor, documents: Tensor, own: Relations) -> tuple[Tensor, Tensor, Relations]:
    """Return the batches of all processes as the one that a single process would have had.

    Each text stands there once, by the embedding of the first process that encoded it, with what every process knows of
    it; across processes nothing was compared.

    Args:
        queries: (B, D), of this process.
        documents: (M, D), of this process.
        own: What is known of them.

    Returns:
        The same of all processes; what was handed in where there is one.
    """
    if not _is_distributed():
        return queries, documents, own
    text_ids, column = _gather(own.text_ids).unique(return_inverse=True)
    places = torch.arange(len(column), device=column.device)
    first = torch.full_like(text_ids, len(column)).scatter_reduce(0, column, places, "amin")
    blocks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(blocks, tuple(part.cpu() for part in (own.labels, own.is_positive, own.is_suspect)))
    known = [
        _as_one([block[at] for block in blocks], column.cpu(), nothing).to(column.device)
        for at, nothing in enumerate((torch.nan, False, False))
    ]
    relations = Relations(_gather(own.query_ids), _gather(own.document_ids)[first], text_ids, *known)
    return _gather(queries), _gather(documents)[first], relations


def _as_one(blocks: Sequence[Tensor], column: Tensor, nothing: float) -> Tensor:
    """Return what each process knows of its own, (B, M) each, as one matrix of `nothing` elsewhere.

    Args:
        blocks: One for each process, in their order.
        column: Where each document of all processes, in their order, comes to stand.
        nothing: What a block holds where it says nothing.
    """
    rows = sum(len(block) for block in blocks)
    whole = torch.full((rows, int(column.max()) + 1), nothing, dtype=blocks[0].dtype)
    row = place = 0
    for block in blocks:
        whole[row : row + len(block), column[place : place + block.shape[1]]] = block
        row, place = row + len(block), place + block.shape[1]
    return whole


def _gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes, in their order, with gradients; they may be of different numbers."""
    if not _is_distributed():
        return rows
    counts = all_gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    missing = max(counts) - len(rows)
    padded = torch.cat([rows, rows.new_zeros((missing, *rows.shape[1:]))])
    gathered = all_gather_with_grad(padded) if rows.requires_grad else all_gather(padded)
    parts = gathered.split(max(counts))
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
