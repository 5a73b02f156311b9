"""The encoders at hand in place of a ``Portfolio`` without a list, before anything is run."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from jsonargparse import Namespace
from rich.markup import escape
from rich.table import Table

from lightning_aqa.data.audio import read_audio
from lightning_aqa.data.decoding import AudioError, audio_info
from lightning_aqa.data.manifest import Clip
from lightning_aqa.encoders.at_hand import at_hand
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.portfolio import Portfolio, build, name_of, reason_of
from lightning_aqa.results.console import make_console
from lightning_aqa.results.files import CONFIG
from lightning_aqa.results.run_folder import candidates, first_choice, has_results
from lightning_aqa.training.cross_validation import data_of, wants_folds
from lightning_aqa.utils import forks
from lightning_aqa.utils.distributed import is_first_process

CHOICE = "LIGHTNING_AQA_PORTFOLIO"
"""Environment variable by which the first process tells the choice to those that it starts."""

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class _Tried(NamedTuple):
    """An encoder at hand: its settings, its sizes, the seconds that its work is expected to take, and why it is out."""

    settings: Mapping[str, Any]
    label: str
    sizes: tuple[int, int] = (0, 0)
    seconds: float = math.nan
    reason: str = ""


def seconds_of(limit: str | float) -> float:
    """Return a time limit in seconds.

    Raises:
        ValueError: If it is no time above 0.

    Example:
        >>> seconds_of("10m"), seconds_of("1.5h"), seconds_of(90)
        (600.0, 5400.0, 90.0)
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) *([smh]?)", str(limit).strip())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not seconds > 0:
        raise ValueError(f"--time_limit={limit}: expected seconds above 0, or a time such as 90s, 10m or 2h.")
    return seconds


def fill_portfolio(settings: Namespace, config_text: Callable[[], str], config_stem: str) -> None:
    """Put the encoders at hand into the config of ``fit`` where its encoder is a ``Portfolio`` without a list.

    A cross-validation that was broken off, and a run that is resumed, keep those that they have.

    Args:
        settings: The config of ``fit``; changed in place.
        config_text: Gives its text.
        config_stem: Name of the first config file.

    Raises:
        ValueError: If there is a time limit and nothing to choose, or several processes would each measure their own.
    """
    limit = None if settings.time_limit is None else seconds_of(settings.time_limit)
    encoder = settings.model.encoder
    if encoder is None or encoder.class_path != _PATH:
        if limit is not None:
            raise ValueError("--time_limit chooses among encoders: it needs --model.encoder=Portfolio.")
        return
    if encoder.init_args.encoders is not None:
        return
    chosen = _taken_over(settings, config_text(), config_stem)
    if chosen and is_first_process():
        print(f"encoders as this run began with them: {', '.join(map(name_of, chosen))}", flush=True)
    make: Any = Namespace
    encoder.init_args.encoders = [
        make(class_path=one["class_path"], init_args=make(**one["init_args"]))
        for one in chosen or _choice(settings, limit)
    ]


_PATH = f"{Portfolio.__module__}.{Portfolio.__qualname__}"


def _taken_over(settings: Namespace, text: str, config_stem: str) -> Sequence[Mapping[str, Any]]:
    """Return the encoders of the run that this command goes on with; none where it starts one."""
    if settings.ckpt_path:
        path = Path(settings.ckpt_path)
        found = _read(path if path.is_dir() else path.parent.parent)
        return _pop_encoders(found)
    if not wants_folds(settings):
        return ()
    wanted = yaml.safe_load(text)
    for folder in candidates(first_choice(settings, "fit", config_stem)):
        if not folder.exists():
            break
        found = _read(folder)
        encoders = _pop_encoders(found)
        if encoders and found == wanted and not has_results(folder):
            return encoders
    return ()


def _read(folder: Path) -> Any:
    try:
        return yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _pop_encoders(config: Any) -> Sequence[Mapping[str, Any]]:
    """Return the encoders of a config's ``Portfolio``, and set null in their place."""
    try:
        encoder = config["model"]["encoder"]
        found = encoder["init_args"]["encoders"] if encoder["class_path"] == _PATH else None
        encoder["init_args"]["encoders"] = None
    except (TypeError, KeyError):
        return ()
    return [one | {"init_args": one.get("init_args") or {}} for one in found or ()]


def _choice(settings: Namespace, limit: float | None) -> Sequence[Mapping[str, Any]]:
    """Return the encoders to take: chosen by the first process, and told to the others."""
    if not is_first_process():
        if CHOICE in os.environ:
            found: list[dict[str, Any]] = json.loads(os.environ[CHOICE])
            return found
        if limit is not None:
            raise ValueError(
                "--time_limit measures in one process, and several were started: leave it out, or name the encoders "
                "that a run of one process has in its config.yaml."
            )
    tried = within(forks.apart(partial(_try_all, settings, is_timed=limit is not None)), limit)
    chosen = [one.settings for one in tried if not one.reason]
    if is_first_process():
        _show(tried, limit)
        os.environ[CHOICE] = json.dumps(chosen)
    return chosen


class _Clips:
    """The first rated clip that can be read, and the seconds of all of them."""

    def __init__(self, settings: Namespace) -> None:
        self.first: Clip | None = None
        self.first_seconds = self.seconds = 0.0
        for clip in data_of(settings).manifest.where(Clip.is_rated):
            try:
                rate, whole = audio_info(clip.path)
                seconds = (whole if clip.end is None else min(clip.end, whole)) - clip.start
                if self.first is None:
                    read_audio(clip.path, rate, clip.start, clip.end)
                    self.first, self.first_seconds = clip, seconds
            except AudioError:  # told with all others when the audio is checked
                continue
            self.seconds += max(0.0, seconds)
        is_gpu = settings.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        self.device = torch.device("cuda" if is_gpu else "cpu")

    def seconds_for(self, encoder: Encoder) -> float:
        """Return the seconds that encoding every clip once is expected to take, by one window of the first clip."""
        if self.first is None:
            return 0.0
        heard = min(self.first_seconds, encoder.window_seconds or math.inf)
        start = self.first.start
        samples = torch.from_numpy(read_audio(self.first.path, encoder.sample_rate, start, start + heard))
        encoder.to(self.device).eval()
        short = samples[: math.ceil(max(0.5, encoder.min_seconds) * encoder.sample_rate)]
        time_encoder(encoder, short.to(self.device))
        return time_encoder(encoder, samples.to(self.device)) * self.seconds / heard


@torch.inference_mode()
def time_encoder(encoder: Encoder, samples: torch.Tensor) -> float:
    """Return the seconds that an encoder takes for one clip of shape ``(T,)``."""
    start = time.perf_counter()
    features = encoder(samples[None], torch.tensor([len(samples)], device=samples.device))
    features.layers.sum().item()  # waits for the device
    return time.perf_counter() - start


def _try_all(settings: Namespace, *, is_timed: bool) -> list[_Tried]:
    clips = _Clips(settings) if is_timed else None
    return [_try(one, clips) for one in at_hand()]


def _try(settings: Mapping[str, Any], clips: _Clips | None) -> _Tried:
    """Build an encoder and, where there are clips, measure it."""
    try:
        encoder = build(settings)
        seconds = math.nan if clips is None else clips.seconds_for(encoder)
    except Exception as error:  # whatever is in a folder of weights
        return _Tried(settings, name_of(settings), reason=reason_of(error))
    return _Tried(settings, encoder.label, (encoder.num_layers, encoder.width), seconds)


def within(tried: Sequence[_Tried], limit: float | None) -> list[_Tried]:
    """Leave out what does not fit into a time limit, from the cheapest on; ``Descriptors`` always stay."""
    if limit is None:
        return list(tried)
    own = f"{Descriptors.__module__}.{Descriptors.__qualname__}"
    spent, is_full, found = 0.0, False, dict[int, _Tried]()
    order = sorted(range(len(tried)), key=lambda i: (tried[i].settings["class_path"] != own, tried[i].seconds))
    for i in (i for i in order if not tried[i].reason):
        is_own = tried[i].settings["class_path"] == own
        is_full = not is_own and (is_full or spent + tried[i].seconds > limit)
        if is_full:
            found[i] = tried[i]._replace(reason=f"more than the {limit:g} s of --time_limit")
        else:
            spent += tried[i].seconds
    return [found.get(i, one) for i, one in enumerate(tried)]


def _show(tried: Sequence[_Tried], limit: float | None) -> None:
    """Print a row for each encoder at hand."""
    is_timed = limit is not None
    table = Table(box=None, pad_edge=False)
    table.add_column("encoder at hand")
    for name in ("layers", "width", *(["s expected"] if is_timed else [])):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in tried:
        table.add_row(*_row(one, is_timed=is_timed))
    make_console().print(table)


def _row(one: _Tried, *, is_timed: bool) -> Iterator[str]:
    yield escape(one.label)
    yield from (str(size) if size else "" for size in one.sizes)
    if is_timed:
        yield "" if math.isnan(one.seconds) else f"{one.seconds:.1f}"
    yield escape(f"left out: {one.reason}") if one.reason else "taken"
