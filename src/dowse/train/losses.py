"""Step 3 of 7, train: the losses of the retriever, as functions of cosines, labels and masks.

Sizes: B queries, M documents, R labelled (query, document) rows, D dimensions. `similarities` are cosines, or raw dot
products where a backbone asks for them; `scale` is 1 / temperature. Which documents may not count as negatives is
decided in one place, `negatives_of`, and handed to every contrastive loss as a mask, so that none has rules of its own.
Nothing here knows of batches, models or processes; `dowse.train.objective` puts the parts together.

Equations of OASIS: Gao et al. 2025 (arXiv:2503.08161) and its released recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

LabelledNegatives = Literal["keep", "mask_suspects", "mask_all"]


@dataclass(frozen=True, slots=True)
class Relations:
    """What is known of the queries and the documents of a batch.

    Attributes:
        query_ids: (B,) int64, equal where two queries ask the same.
        document_ids: (M,) int64, equal where two documents are the same function, in whatever version and form.
        text_ids: (M,) int64, another for every text; a batch holds each text once.
        labels: (B, M) float32 similarity labels in [0, 1], NaN where a query and a document were not compared.
        is_positive: (B, M) bool, the document answers the query.
        is_suspect: (B, M) bool, a labelled negative that may well answer it.
    """

    query_ids: Tensor
    document_ids: Tensor
    text_ids: Tensor
    labels: Tensor
    is_positive: Tensor
    is_suspect: Tensor

    @property
    def same_question(self) -> Tensor:
        """(B, B) bool: two queries ask the same; every query does with itself."""
        return self.query_ids[:, None] == self.query_ids[None, :]


@dataclass(frozen=True, slots=True)
class Negatives:
    """What stands against a query.

    Attributes:
        documents: (B, M) bool, the documents that are negatives of the query.
        queries: (B, B) bool, the queries that are negatives of the query, where queries count too: all but those that
            ask the same or share an answer with it.
    """

    documents: Tensor
    queries: Tensor


def negatives_of(
    relations: Relations, labelled: LabelledNegatives = "mask_suspects", mask_repeated_queries: bool = True
) -> Negatives:
    """Decide which documents and queries of a batch are negatives of which query.

    An answer to a query is never its negative, nor, unless `mask_repeated_queries` is off as in the released recipe, is
    an answer to a copy of the query, or the copy. Nor is a query that one of these answers answers too: both are drawn
    towards the one document, and as the document is no negative of the other query, neither query is of this one. (The
    released form counts all other vectors of the batch.)

    Args:
        relations: What is known of the batch.
        labelled: `keep` a query's labelled negatives, mask the suspect ones, or all of them.
        mask_repeated_queries: Treat copies of a query as the query itself.
    """
    apart = relations.is_positive
    if labelled == "mask_suspects":
        apart = apart | relations.is_suspect
    elif labelled == "mask_all":
        apart = apart | ~relations.labels.isnan()
    same = relations.same_question
    if not mask_repeated_queries:
        same = torch.eye(len(same), dtype=torch.bool, device=same.device)
    copies = (relations.document_ids[:, None] == relations.document_ids[None, :]).float()
    shared = (same.float() @ apart.float() @ copies) > 0
    answers = ((same.float() @ relations.is_positive.float() @ copies) > 0).float()
    together = (answers @ answers.T) > 0
    return Negatives(documents=~shared, queries=~(same | together))


def info_nce(similarities: Tensor, is_positive: Tensor, is_negative: Tensor, scale: float) -> Tensor:
    """Return InfoNCE over a batch, query → document, a scalar.

    l_i = -log( exp(s x_ip) / (exp(s x_ip) + Σ_{j negative} exp(s x_ij)) ), the mean over all positives (i, p); the
    contrastive loss of OASIS as the paper writes it, and R2PS's.

    Args:
        similarities: (B, M).
        is_positive: (B, M) bool; a query may have several positives, each an anchor of its own.
        is_negative: (B, M) bool.
        scale: s.
    """
    logits = similarities * scale
    query, document = is_positive.nonzero(as_tuple=True)
    against = logits.masked_fill(~is_negative, -torch.inf)[query]
    positive = logits[query, document]
    return _mean(torch.logsumexp(torch.cat([positive[:, None], against], dim=1), dim=1) - positive)


def weighted_contrastive(
    queries: Tensor, documents: Tensor, is_positive: Tensor, negatives: Negatives, scale: float
) -> Tensor:
    """Return the hard-negative-weighted contrastive loss of the released OASIS recipe, a scalar.

    Both vectors of a positive pair are anchors with the other as partner p, and all vectors of the batch, queries and
    documents, stand against them but for what `negatives` leaves out. With e_ik = exp(s h_i·h_k) and
    γ_ik = e_ik / Σ_{j negative} e_ij:  l_i = -log( e_ip / (e_ip + Σ_{k negative} γ_ik e_ik) ), the mean over anchors;
    γ is not detached, so harder negatives weigh more in the gradient too.

    Args:
        queries: (B, D).
        documents: (M, D).
        is_positive: (B, M) bool.
        negatives: What stands against each query.
        scale: s.
    """
    query, document = is_positive.nonzero(as_tuple=True)
    vectors = torch.cat([queries, documents])
    partner = (queries[query] * documents[document]).sum(dim=1) * scale
    # Against the query stand the queries and documents that its own row names.
    of_query = torch.cat([negatives.queries, negatives.documents], dim=1)[query]
    # Against its document stand the queries that it is a negative of, and the negatives of its own query.
    asked = negatives.queries[query] & negatives.documents[:, document].T
    of_document = torch.cat([asked, negatives.documents[query]], dim=1)
    losses = [
        _weighted(anchors @ vectors.T * scale, partner, against)
        for anchors, against in ((queries[query], of_query), (documents[document], of_document))
    ]
    return _mean(torch.cat(losses))


def _weighted(logits: Tensor, partner: Tensor, is_negative: Tensor) -> Tensor:
    """Return -log(e_p / (e_p + Σ γ e)) for each anchor: Σ γ e = Σ e² / Σ e, in logarithms."""
    has_negatives = is_negative.any(dim=1)
    kept = logits.masked_fill(~is_negative, -torch.inf)[has_negatives]
    weighted = torch.logsumexp(2 * kept, dim=1) - torch.logsumexp(kept, dim=1)
    losses = torch.zeros_like(partner)
    losses[has_negatives] = functional.softplus(weighted - partner[has_negatives])
    return losses


def order_loss(similarities: Tensor, labels: Tensor, scale: float, order_margin: float = 0.0) -> Tensor:
    """Return OASIS's order loss (the form of CoSENT), a scalar.

    log( 1 + Σ_{(a, b): y_a < y_b} exp(s x_a - s x_b) ) over all labelled rows of the batch, across different queries: a
    sum within one logarithm, no mean. Only the order of the labels counts.

    Args:
        similarities: (R,) one for each labelled row.
        labels: (R,) y, no NaN.
        scale: s.
        order_margin: Labels nearer than this are of no known order; 0 as in the paper.
    """
    return _log_sum(similarities * scale, labels, order_margin)


def angle_loss(queries: Tensor, documents: Tensor, labels: Tensor, scale: float, order_margin: float = 0.0) -> Tensor:
    """Return AnglE's loss on the angles between complex vectors, a scalar; a row of an ablation, no part of OASIS.

    Halves of a vector are real and imaginary part: z = a + bi (query), w = c + di (document);
    re = (ac + bd) / Σ(c² + d²), im = (bc - ad) / Σ(c² + d²), both divided by |z| / |w|; θ = |Σ(re, im)| s; then the
    log-sum of the order loss with θ_a - θ_b over y_a < y_b (Li and Li 2024, arXiv:2309.12871).

    Args:
        queries: (R, D) one for each labelled row, D even.
        documents: (R, D).
        labels: (R,) y, no NaN.
        scale: s.
        order_margin: As in `order_loss`.
    """
    (a, b), (c, d) = queries.chunk(2, dim=1), documents.chunk(2, dim=1)
    size = (c**2 + d**2).sum(dim=1, keepdim=True)
    ratio = ((a**2 + b**2).sum(dim=1, keepdim=True) / size).sqrt()
    quotient = torch.cat([(a * c + b * d) / size, (b * c - a * d) / size], dim=1) / ratio
    return _log_sum(quotient.sum(dim=1).abs() * scale, labels, order_margin)


def soft_info_nce(
    similarities: Tensor,
    is_positive: Tensor,
    is_negative: Tensor,
    scale: float,
    alpha: float = 1.0,
    beta: float = 1.5,
    temperature: float = 0.1,
) -> Tensor:
    """Return Soft-InfoNCE (Li et al., EMNLP 2023), a scalar: InfoNCE whose similar negatives weigh less.

    w_j = max(0.1, (β - α p_j) / (β - α / (N - 1))), p = softmax of the similarities over the N - 1 negatives divided by
    `temperature`, detached; l_i = -log( e_p / (e_p + Σ_j w_j e_j) ).

    Args:
        similarities: (B, M).
        is_positive: (B, M) bool.
        is_negative: (B, M) bool.
        scale: s, in e = exp(s x).
        alpha: How strongly similarity lowers a weight.
        beta: The weight of a negative that is like nothing else, before it is made relative to the mean.
        temperature: Of p.
    """
    query, document = is_positive.nonzero(as_tuple=True)
    allowed = is_negative[query]
    logits = (similarities * scale)[query]
    positive = (similarities * scale)[query, document]
    with torch.no_grad():
        shares = (similarities[query] / temperature).masked_fill(~allowed, -torch.inf).softmax(dim=1).nan_to_num()
        mean_weight = beta - alpha / allowed.sum(dim=1, keepdim=True).clamp(min=1)
        weights = ((beta - alpha * shares) / mean_weight).clamp(min=0.1)
    against = (logits + weights.log()).masked_fill(~allowed, -torch.inf)
    return _mean(torch.logsumexp(torch.cat([positive[:, None], against], dim=1), dim=1) - positive)


def _mean(losses: Tensor) -> Tensor:
    """Return the mean over anchors; 0 for a batch without a positive, as rows shuffled singly may give one."""
    return losses.sum() / max(1, len(losses))


def _log_sum(values: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return log(1 + Σ exp(v_a - v_b)) over the pairs with y_a + margin < y_b.

    Sorted by label, the rows below b are the first k_b, and their exp(v_a) a running sum: R log R steps, and memory for
    R rows, where the R² pairs of a batch of a thousand queries would take gigabytes.
    """
    values = values.to(torch.promote_types(values.dtype, torch.float32))  # a running sum needs more than bfloat16 has
    ordered, order = labels.sort()
    below = torch.searchsorted(ordered + margin, labels)
    has_below = below > 0
    sums = values[order].logcumsumexp(dim=0)
    terms = sums[below[has_below] - 1] - values[has_below]
    return torch.logsumexp(torch.cat([terms.new_zeros(1), terms]), dim=0)


def listwise_softmax(scores: Tensor, targets: Tensor, weights: Tensor, scale: float) -> Tensor:
    """Return the softmax cross-entropy of a ranker over each query's list, a scalar.

    l_q = -Σ_i t_i log( exp(s x_i) / Σ_j w_j exp(s x_j) ), the mean over the queries. With t one for the answer and zero
    for the rest, and all weights 1, it is R2PS's -log( e^{s⁺/τ} / (e^{s⁺/τ} + Σ_i e^{s_i⁻/τ}) ) (Dong et al. 2023,
    arXiv:2305.04508). Graded targets come from order labels or from a teacher.

    Args:
        scores: (B, M) x, of a query's answer and negatives; anything finite where there is no document.
        targets: (B, M) t, each row summing to 1; 0 where there is no document.
        weights: (B, M) w; 0 where there is no document.
        scale: s = 1/τ.
    """
    logits = scores * scale
    total = torch.logsumexp(logits + weights.log(), dim=1)
    return (total - (targets * logits).sum(dim=1)).mean()
