"""Computes one batch's losses and gradients by one process, and by two that hold unequal parts of it.

gathered.py FOLDER -> FOLDER/1.pt, FOLDER/2.pt, each with loss and gradient by the name of the contrastive loss
"""

import os
import sys
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

    def forward(self, features):
        return {"sentence_embedding": features["numbers"] @ self.weight}


def batch():
    torch.manual_seed(1)
    labels = torch.full((QUERIES, DOCUMENTS), torch.nan)
    for query in range(QUERIES):
        labels[query, query] = 1.0
    labels[0, 1], labels[1, 2], labels[3, 5], labels[4, 6] = 0.5, 0.9, 0.3, 0.6
    suspect = torch.zeros(QUERIES, DOCUMENTS, dtype=torch.bool)
    suspect[1, 2] = True
    return torch.randn(QUERIES, INPUTS), torch.randn(DOCUMENTS, INPUTS), labels, suspect


def part(rank, count):
    """Return the features and relations of one process: three queries with three documents, then the others."""
    asked, found, labels, suspect = batch()
    rows, columns = [(slice(0, 3), slice(0, 3)), (slice(3, 5), slice(3, 7))][rank] if count == 2 else [slice(None)] * 2
    relations = {
        "query_ids": torch.tensor([0, 1, 2, 1, 4])[rows],
        "document_ids": torch.arange(DOCUMENTS)[columns],
        "labels": labels[rows, columns],
        "is_positive": torch.eye(QUERIES, DOCUMENTS, dtype=torch.bool)[rows, columns],
        "is_suspect": suspect[rows, columns],
    }
    return [{"numbers": asked[rows]}, {"numbers": found[columns]}], relations


def run(rank, count, folder):
    if count > 1:
        store = dist.FileStore(str(folder / "store"), count)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count)
    found = {}
    for contrastive in ("infonce", "weighted"):
        model = Linear()
        options = LossOptions(contrastive=contrastive, order_weight=0.5)
        loss = sum(RetrieverLoss(model, options)(*part(rank, count)).values())
        loss.backward()
        gradient = model.weight.grad
        if count > 1:  # as training by several processes does
            dist.all_reduce(gradient)
            gradient /= count
        found[contrastive] = {"loss": loss.item(), "gradient": gradient}
    if rank == 0:
        torch.save(found, folder / f"{count}.pt")
    if count > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # Forked, so that nothing is imported again, and first, since a process that has trained may not fork.
    processes.start_processes(run, (2, Path(sys.argv[1])), nprocs=2, start_method="fork")
    run(0, 1, Path(sys.argv[1]))
