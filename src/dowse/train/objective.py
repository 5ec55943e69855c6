"""Step 3 of 7, train: a batch → its embeddings → the weighted total of the losses, gathered across processes.

L = w_contrastive L_contrastive + w_order L_order (+ w_angle L_angle for an ablation), as in OASIS (Gao et al. 2025,
arXiv:2503.08161). Under torchrun every process sees the queries and documents of all, and the gradient is that of one
process with the whole batch: gathering adds up what each process contributes to a vector, and averaging over processes,
which training does next, undoes the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        """Refuse a value of another kind, or out of its range."""
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
        gathered = gather_relations(Relations(**relations))
        queries, documents = _gather(queries), _gather(documents)
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


def gather_relations(own: Relations) -> Relations:
    """Return the relations of all processes' batches as those of one; across processes nothing was compared."""
    if not _is_distributed():
        return own
    blocks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(blocks, (own.labels.cpu(), own.is_positive.cpu(), own.is_suspect.cpu()))
    device = own.labels.device
    labels = torch.block_diag(*(torch.nan_to_num(block[0], nan=-1.0) for block in blocks))
    compared = torch.block_diag(*(torch.ones_like(block[0]) for block in blocks)) > 0
    labels = labels.masked_fill(~compared | (labels < 0), torch.nan)
    positive, suspect = (torch.block_diag(*(block[at].float() for block in blocks)) > 0 for at in (1, 2))
    ids = _gather(own.query_ids), _gather(own.document_ids)
    return Relations(*ids, labels.to(device), positive.to(device), suspect.to(device))


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
