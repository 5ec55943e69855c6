"""Computes one batch's losses and gradients by one process, and by two that hold unequal parts of it, some shared.

gathered.py FOLDER -> FOLDER/1.pt, FOLDER/2.pt, each with the parts of the loss and the gradient by the name of a case
"""

import os
import sys
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from dowse.train.objective import LossOptions, RetrieverLoss

QUERIES, DOCUMENTS, INPUTS, DIMENSIONS = 5, 7, 6, 4


class Linear(torch.nn.Module):
    """Embeds rows of numbers; small enough to compare every gradient."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(INPUTS, DIMENSIONS))

    def get_embedding_dimension(self):
        return DIMENSIONS

    def forward(self, features):
        return {"sentence_embedding": features["numbers"] @ self.weight}


def batch(singly):
    """Return queries, documents and what is known of them; queries 1 and 3 ask the same."""
    torch.manual_seed(1)
    labels = torch.full((QUERIES, DOCUMENTS), torch.nan)
    labels[range(QUERIES), range(QUERIES)] = 1.0
    labels[0, 1], labels[1, 2], labels[1, 5] = 0.5, 0.9, 0.35
    labels[3, 5], labels[4, 2], labels[4, 6] = 0.3, 0.8, 0.6  # documents 2 and 5 are known to both processes
    suspect = torch.zeros(QUERIES, DOCUMENTS, dtype=torch.bool)
    suspect[1, 2] = suspect[4, 2] = True
    asked, query_ids = torch.randn(QUERIES, INPUTS), torch.tensor([0, 1, 2, 1, 4])
    owner = torch.tensor([0, 0, 0, 1, 1])
    known = [labels, torch.eye(QUERIES, DOCUMENTS, dtype=torch.bool), suspect]
    if singly:  # a row for every query and candidate
        query, document = (~labels.isnan()).nonzero(as_tuple=True)
        here = torch.zeros(len(query), DOCUMENTS, dtype=torch.bool)
        here[range(len(query)), document] = True
        asked, query_ids, owner = asked[query], query_ids[query], owner[query]
        known = [labels[query].masked_fill(~here, torch.nan), known[1][query] & here, known[2][query] & here]
    return asked, torch.randn(DOCUMENTS, INPUTS), query_ids, owner, known


def part(rank, count, singly):
    """Return the features and relations of one process: three queries and what they are compared with, or two."""
    asked, found, query_ids, owner, known = batch(singly)
    rows = (owner == rank).nonzero()[:, 0] if count == 2 else torch.arange(len(asked))
    columns = (~known[0][rows].isnan()).any(dim=0).nonzero()[:, 0]
    labels, positive, suspect = (matrix[rows][:, columns] for matrix in known)
    relations = {
        "query_ids": query_ids[rows],
        "document_ids": torch.tensor([0, 1, 2, 3, 4, 5, 0])[columns],  # the last is the first function, otherwise
        "text_ids": columns,
        "labels": labels,
        "is_positive": positive,
        "is_suspect": suspect,
    }
    return [{"numbers": asked[rows]}, {"numbers": found[columns]}], relations


def run(rank, count, folder):
    if count > 1:
        store = dist.FileStore(str(folder / "store"), count)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count)
    found = {}
    for mode, contrastive, labelled in product(
        ("in_groups", "singly"), ("infonce", "weighted", "soft"), ("keep", "mask_suspects")
    ):
        model = Linear()
        options = LossOptions(
            contrastive=contrastive,
            order_weight=0.5,
            angle_weight=0.2,
            matryoshka=(2,),
            labelled_negatives=labelled,
            mask_repeated_queries=labelled != "keep",
        )
        parts = RetrieverLoss(model, options)(*part(rank, count, mode == "singly"))
        sum(parts.values()).backward()
        gradient = model.weight.grad
        if count > 1:  # as training by several processes does
            dist.all_reduce(gradient)
            gradient /= count
        losses = {name: loss.item() for name, loss in parts.items()}
        found[f"{mode} {contrastive} {labelled}"] = {"parts": losses, "gradient": gradient}
    if rank == 0:
        torch.save(found, folder / f"{count}.pt")
    if count > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # Forked, so that nothing is imported again, and first, since a process that has trained may not fork.
    processes.start_processes(run, (2, Path(sys.argv[1])), nprocs=2, start_method="fork")
    run(0, 1, Path(sys.argv[1]))
