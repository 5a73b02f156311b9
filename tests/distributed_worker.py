"""One of two processes: gather a split batch, take each loss and its gradient as DDP would; rank 0 writes them."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from lightning_aqa.batch import Batch, Output
from lightning_aqa.distributed import gather_training, shut_down
from lightning_aqa.objectives.concordance import CCC
from lightning_aqa.objectives.contrastive import Contrastive
from lightning_aqa.objectives.gaussian_nll import GaussianNLL
from lightning_aqa.objectives.listwise import ListMLE, ListNet
from lightning_aqa.objectives.margin_ranking import MarginRanking
from lightning_aqa.objectives.qamro import QAMRO
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.objectives.soft_spearman import SoftSpearman

OBJECTIVES = (
    QAMRO(),
    MarginRanking(),
    Regression(kind="mse+mae"),
    ListNet(),
    ListMLE(position_weights=True),
    SoftSpearman(),
    CCC(),
    Contrastive(),
    GaussianNLL(beta=0.5),
)


def output_of(inputs, weight):
    """Score clips by one matrix; how far a score is from 0 stands in for its deviation."""
    scores = inputs @ weight
    return Output(scores, scores, deviation=(scores.square() + 0.1).sqrt())


def main(folder):
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    case = torch.load(folder / "case.pt", weights_only=True)
    inputs, targets = (case[name].split(case["sizes"])[rank] for name in ("inputs", "targets"))
    names = [f"{rank}-{i}" for i in range(len(inputs))]
    batch = Batch(torch.zeros(len(names), 0), torch.zeros(len(names)).long(), targets, names, names, names, names)
    for objective in OBJECTIVES:
        weight = case["weight"].clone().requires_grad_()
        loss = objective.loss(*gather_training(output_of(inputs, weight), batch))
        loss.backward()
        gradient = weight.grad.clone()
        dist.all_reduce(gradient)
        if rank == 0:
            found = {"loss": loss.detach(), "gradient": gradient / dist.get_world_size()}
            torch.save(found, folder / f"{objective.name}.pt")
    shut_down()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
