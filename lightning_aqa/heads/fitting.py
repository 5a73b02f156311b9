"""Constants of a fresh head, from the training clips: mean and deviation of their scores, and what it reads."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

import torch
from rich.progress import track
from torch import Tensor

from lightning_aqa.batch import Batch, Features
from lightning_aqa.heads.base import Head
from lightning_aqa.utils.distributed import broadcast_from_first, gather_rows, process_number

_log = logging.getLogger(__name__)


@torch.no_grad()
def fit_head(
    head: Head,
    batches: Iterable[Batch],
    encode: Callable[[Batch], Features] | None = None,
    scores_NA: Tensor | None = None,
    group_of: Callable[[str], str] = str,
    compared: Collection[str] = (),
) -> None:
    """Give a fresh head the mean and deviation of the training scores and, from a frozen encoder, its features.

    Args:
        head: The head; all processes end with the same constants.
        batches: The training clips, read at most once.
        encode: Turns a batch into features on the head's device; None where the encoder is trained.
        scores_NA: Their scores in score points, shape ``(N, A)``, NaN where not rated; None takes those of the batches
            of all processes, and the features of the first's.
        group_of: Gives for the id of a clip what of it the splits keep together.
        compared: Names of the axes that pairs of training clips are about.

    Raises:
        ValueError: If there is no batch to take scores from, or no score; or if the head is fitted to features that
            training would change.
    """
    if encode is None and head.reads_clips:
        raise ValueError(
            f"{type(head).__name__} is fitted once to the features of an encoder that does not change, and this one is "
            "trained: freeze it by --model.freeze=all, or take a head that is trained along, such as MLP."
        )
    if head.reads_clips and scores_NA is not None and bool(scores_NA.isnan().all()):
        raise ValueError(
            f"{type(head).__name__} is fitted to rated clips, and of these only pairs are known: take a head that is "
            "trained by steps, such as --model.head=MLP, or give ratings beside the pairs by --data.ratings."
        )
    seen: list[Tensor] = []
    shown = track(batches, "reading features", transient=True, disable=process_number() > 0)
    stream = _noting(seen, shown)
    if encode is not None:
        head.fit_clips(((encode(batch), batch) for batch in stream), group_of)
    if scores_NA is None:
        deque(stream, maxlen=0)  # what a head that reads no features has left
        if not seen:
            raise ValueError("The training loader gave no batch, expected one or more.")
        scores_NA = gather_rows(torch.cat(seen).to(head.location_A.device))
        if bool(scores_NA.isnan().all()):
            raise ValueError("No clip of the training loader is rated: all scores are NaN, expected some that are not.")
    if not head.reads_clips:  # which takes its scale from what it is fitted to: a clip counts once
        fit_scale(head, scores_NA, compared)
    broadcast_from_first(head.state_dict().values())


def _noting(seen: list[Tensor], batches: Iterable[Batch]) -> Iterator[Batch]:
    """Pass batches on and note their scores."""
    for batch in batches:
        seen.append(batch.scores)
        yield batch


def fit_scale(head: Head, scores_NA: Tensor, compared: Collection[str] = ()) -> None:
    """Give a head the mean and deviation of the training scores; an axis on which they do not differ keeps its own.

    Args:
        head: The head.
        scores_NA: Scores in score points, shape ``(N, A)``; NaN where not rated.
        compared: Names of the axes that pairs teach, rated or not.
    """
    scores_NA = scores_NA.cpu().double()
    location_A = scores_NA.nanmean(0)
    scale_A = (scores_NA - location_A).square().nanmean(0).sqrt()
    usable_A = torch.isfinite(scale_A) & (scale_A > 0)
    for axis, scores_N in zip(head.axes, scores_NA.T, strict=True):
        if bool(scores_N.isnan().all()) and axis.name not in compared:
            _log.warning(
                "%s: no training clip is rated on it, so that nothing is learned: its scores say nothing. Leave "
                "the axis out, or rate more clips.", axis.name,
            )  # fmt: skip
    defaults = head.location_A.cpu().double(), head.scale_A.cpu().double()
    fitted = (torch.where(usable_A, mine, other) for mine, other in zip((location_A, scale_A), defaults, strict=True))
    head.fit_scale(*fitted)
