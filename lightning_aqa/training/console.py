"""Print the parts that a run trains."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from torch import nn

from lightning_aqa.data.base import AQADataModule
from lightning_aqa.module import AQAModule
from lightning_aqa.results.console import make_console


def print_run(module: AQAModule, folder: Path) -> None:
    """Print the encoder, the head, the active objectives with their settings, and the run folder."""
    table = Table(title="training", title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, part in _parts(module):
        table.add_row(*name, _trained(part, module.trainer.max_epochs != 0))
    if told := _fitted(module):
        table.add_row("", "", told)
    if module.trainer.max_epochs == 0:
        table.add_row("objectives", "", "none is trained with: trainer.max_epochs is 0")
    for objective in module.objectives if module.trainer.max_epochs != 0 else []:
        names = inspect.signature(type(objective)).parameters
        shown = "  ".join(f"{name}={value}" for name, value in vars(objective).items() if name in names)
        table.add_row(escape(f"objective {objective.name}"), type(objective).__name__, escape(shown))
    table.add_row("run folder", escape(str(folder)), "")
    make_console().print(table)


def _parts(module: AQAModule) -> Iterator[tuple[tuple[str, str], Iterable[nn.Parameter]]]:
    """Yield name, class and parameters of encoder and head; of a partly trained encoder also its pieces."""
    encoder = module.encoder
    yield ("encoder", type(encoder).__name__), list(encoder.parameters())
    if len({parameter.requires_grad for parameter in encoder.parameters()}) == 2:
        for child_name, child in encoder.named_children():
            yield (f"  {child_name}", type(child).__name__), list(child.parameters())
        for number, layer in enumerate(encoder.layers_in_order(), start=1):
            yield (f"  layer {number}", type(layer).__name__), list(layer.parameters())
    yield ("head", type(module.head).__name__), list(module.head.parameters())


def _fitted(module: AQAModule) -> str:
    """Say to how many clips a head is fitted before any step; empty where it is not."""
    if not (module.head.reads_clips and module.is_fresh and module.trainer.ckpt_path is None):
        return ""
    data = module.data
    clips = f"{len(data.rated('train').clips)} clips" if isinstance(data, AQADataModule) else "the training clips"
    return f"fitted to {clips} before the first step"


def _trained(parameters: Iterable[nn.Parameter], has_epochs: bool) -> str:
    """Say how many of some parameters are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad and has_epochs) for parameter in parameters]
    trained, total = sum(size for size, wanted in sizes if wanted), sum(size for size, _ in sizes)
    return f"{trained:,} of {total:,} parameters trained"
