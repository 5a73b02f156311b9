"""Lightning's own callbacks: what a run has to set for them, and the ones that cannot work in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.callbacks import BatchSizeFinder, Callback, LearningRateFinder, ProgressBar

from lightning_aqa.utils.args import find_options

SHOWS_BAR = "enable_progress_bar"
TUNERS: dict[type[Callback], str] = {
    LearningRateFinder: "try rates in a sweep over model.optimizer.init_args.lr (docs/sweeps.md)",
    BatchSizeFinder: "set --data.batch_size, and --trainer.accumulate_grad_batches for steps that do not fit",
}
"""Callbacks that take all others away while they try settings, and what to use in their place."""


def fitted_callbacks(callbacks: Sequence[Callback], args: Sequence[str]) -> tuple[list[Callback], dict[str, Any]]:
    """Return the callbacks of a config and what the trainer has to be given for them.

    A progress bar that is asked for is shown whether or not there is a terminal, unless an argument turns bars off.

    Args:
        callbacks: The callbacks of the config.
        args: Arguments of the command line.

    Raises:
        ValueError: If one of them would take the objectives away, which are callbacks.
    """
    for callback in callbacks:
        for kind, instead in TUNERS.items():
            if isinstance(callback, kind):
                raise ValueError(
                    f"trainer.callbacks: {kind.__name__} takes all other callbacks away while it tries settings, and "
                    f"the objectives of a run are callbacks; {instead}."
                )
    given = [option.value for option in find_options(args, [f"--trainer.{SHOWS_BAR}"])]
    if not any(isinstance(callback, ProgressBar) for callback in callbacks):
        return list(callbacks), {}
    if given and given[-1].lower() in ("false", "no", "off", "0"):
        return [callback for callback in callbacks if not isinstance(callback, ProgressBar)], {}
    return list(callbacks), {SHOWS_BAR: True}
