"""Find what scores: the model of a checkpoint, or that of a config whose parts bring their own weights."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_aqa.module import AQAModule
from lightning_aqa.results.clip_intervals import read_calibration
from lightning_aqa.results.files import CONFIG, ENSEMBLE, find_checkpoint
from lightning_aqa.results.run_folder import run_of
from lightning_aqa.results.trained_features import read_trained
from lightning_aqa.scoring.decode import READING, is_setting
from lightning_aqa.scoring.ensemble import EnsembleScorer, Source, combine, read_members
from lightning_aqa.scoring.hub import find_published_model
from lightning_aqa.scoring.published import load_published
from lightning_aqa.scoring.scorer import Scorer
from lightning_aqa.training.loading import build_module, load_module
from lightning_aqa.utils.components import import_parts
from lightning_aqa.utils.references import bounded_references
from lightning_aqa.utils.renamed import RENAMED_ARGUMENTS
from lightning_aqa.utils.yaml_text import check_yaml

CONFIGS = frozenset({".yaml", ".yml"})
UNTRAINED = "its head is not trained; give the folder of a run that trained it."


def load(
    source: str | os.PathLike[str], model: Sequence[str] = (), *, ensemble: bool = False, **settings: Any
) -> Scorer:
    """Load a trained predictor to score with.

    Args:
        source: A run folder (its best epoch, else its last, else the refit of a cross-validation), a checkpoint, the
            folder of an ensemble, a published model (its folder, or ``org/model`` of the hub, with ``@`` and a revision
            where wanted), or a config (YAML) whose encoder and head bring weights of their own. How audio is read
            (resampler, normalise, windows) follows the config, or that of the checkpoint's run folder.
        model: Arguments such as ``--model.encoder.checkpoint=PATH`` that change a config.
        ensemble: Whether the folder of a cross-validation stands for the mean of the models of its folds.
        **settings: Arguments of ``Scorer``: ``device``, ``dtype``, ``batch_seconds``, ``num_workers``, and
            ``window_seconds``, ``resampler`` and ``normalise``, which then count, and ``interval``, the share of clips
            that intervals hold. None stands for what is usual.

    Returns:
        The scorer: ``load("runs/quickstart")("clip.wav")`` is a score per axis.

    Raises:
        ValueError: If there is no such file, or nothing in it that is trained.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if (folder := find_published_model(source)) is not None:
        if model or ensemble:
            what = "--ensemble" if ensemble else model[0].split("=")[0]
            raise ValueError(f"{source}: a published model says itself what it is; leave {what} out.")
        import_parts()
        return load_published(folder, given)
    if (Path(source) / ENSEMBLE).is_file():
        import_parts()
        return _load_ensemble(Path(source), given)
    found = find_source(source, model, ensemble=ensemble)
    return Scorer(found.module, **(found.reading | found.trust | given))


def _load_ensemble(folder: Path, settings: dict[str, Any]) -> Scorer:
    """Load the models of an ensemble, as one.

    Raises:
        ValueError: If a model cannot be loaded, or rates other axes.
    """
    records = read_members(folder)
    sources = [find_source(folder / record.checkpoint) for record in records]
    weights = [record.weights for record in records]
    return combine(sources, weights, read_calibration(folder), settings, folder)


def find_source(source: str | os.PathLike[str], model: Sequence[str] = (), *, ensemble: bool = False) -> Source:
    """Build the module of a run folder, a checkpoint or a config, and look up how audio was read for it."""
    path = Path(source)
    import_parts()
    if not path.is_dir() and path.suffix.lower() in CONFIGS:
        return _from_config(path, model)
    if model:
        raise ValueError(f"{path}: a checkpoint says what its model is; {model[0].split('=')[0]} is for a config.")
    module = load_module(path, ensemble=ensemble)
    beside = run_of(find_checkpoint(path) if not ensemble else path) / CONFIG
    return Source(
        _lean(module), _reading(_read_yaml(beside)) if beside.is_file() else {}, _trust(path, ensemble=ensemble)
    )


def _trust(path: Path, *, ensemble: bool) -> dict[str, Any]:
    """Read what intervals follow from, and the features of training clips, which the folds have different ones of."""
    if ensemble:
        return {"calibration": read_calibration(path)}
    checkpoint = find_checkpoint(path).resolve()
    return {"calibration": read_calibration(run_of(checkpoint)), "trained": read_trained(checkpoint.parent.parent)}


def _lean(module: AQAModule) -> AQAModule:
    """Drop the copy of the encoder that Lightning keeps among a module's arguments; give freed memory back."""
    vars(module)["_hparams_initial"] = module.hparams
    with suppress(OSError, AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)
    return module


def _from_config(path: Path, model: Sequence[str]) -> Source:
    if not path.is_file():
        raise ValueError(f"{path}: no such config.")
    config = _read_yaml(path)
    given = config.get("model") or {}
    if not isinstance(given, Mapping):
        raise ValueError(f"{path}: cannot be read as a config (its model is no mapping).")
    try:
        module = build_module({"axes": []} | dict(given), model)
    except ValueError as error:
        raise ValueError(f"{path}: {UNTRAINED if 'no axis to predict' in str(error) else error}") from error
    if not module.head.is_trained:
        raise ValueError(f"{path}: {UNTRAINED}")
    return Source(_lean(module), _reading(config))


def _read_yaml(path: Path) -> dict[str, Any]:
    """Read a config, with the references of its model and data resolved."""
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text)
        whole = OmegaConf.create(text)
        with bounded_references():
            sections = {name: OmegaConf.select(whole, name) for name in ("model", "data")}
            return {name: OmegaConf.to_container(found, resolve=True) for name, found in sections.items() if found}
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as a config ({str(error).splitlines()[0]}).") from error


def _reading(config: Mapping[str, Any]) -> dict[str, Any]:
    data = config.get("data")
    given = (data.get("init_args") or {}) if isinstance(data, Mapping) else {}
    if not isinstance(given, Mapping):
        raise ValueError(f"data.init_args of the run's {CONFIG} is damaged: {str(given)[:40]!r}.")
    given = {name: value for name, value in given.items() if value is not None}
    old = RENAMED_ARGUMENTS["AQADataModule"]
    today = given | {new: given[name] for name, new in old.items() if name in given}
    found = {name: today[name] for name in READING if name in today}
    for name, value in found.items():
        if not is_setting(name, value):
            raise ValueError(f"data.{name} of the run's {CONFIG} is damaged: {str(value)[:40]!r}.")
    return found


def fingerprint(scorer: Scorer) -> str:
    """Hash what scores follow from: the weights, the classes of encoder and head, and how audio is read."""
    if isinstance(scorer, EnsembleScorer):
        parts = [*map(fingerprint, scorer.members), scorer.trust.fingerprint().hex()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    module, digest = scorer.module, hashlib.sha256()
    parts = [f"{type(part).__module__}.{type(part).__qualname__}" for part in (module.encoder, module.head)]
    axes = [list(axis) for axis in scorer.axes]
    digest.update(json.dumps([parts, axes, list(scorer.reading), scorer.dtype]).encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    digest.update(scorer.trust.fingerprint())
    return digest.hexdigest()
