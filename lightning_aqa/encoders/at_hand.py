"""The encoders whose weights are on this machine, as the settings by which a config names them; none is loaded."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.clap import CLAP
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.huggingface import Hub
from lightning_aqa.encoders.huggingface_files import TENSORS
from lightning_aqa.utils.components import parts_of
from lightning_aqa.utils.weights import FOLDER, WeightsError, find_local, find_published, read_json

Settings = Mapping[str, Any]


def at_hand() -> list[dict[str, Any]]:
    """List the encoders whose weights are on this machine, each once, in the same order every time.

    ``Descriptors``, which needs none; the classes of this package whose published weights are all here; and the audio
    models of the hub: folders with ``config.json``, weights, and a ``preprocessor_config.json`` that names a sampling
    rate. Such folders are looked for where ``LIGHTNING_AQA_WEIGHTS`` points (it, those in it, and those one deeper, as
    in ``organisation/model``), and in the hub's cache. Encoders with a text side come without it.

    Returns:
        ``{"class_path": ..., "init_args": ...}`` of each; a folder is named as ``find_weights`` finds it.
    """
    found = [_settings(Descriptors)]
    for kind in parts_of("encoders", Encoder):
        weights = kind.published[:1] if kind is not Hub and getattr(kind, "width", False) else ()
        if weights and all(find_published(weights[0]).values()):
            found.append(_settings(kind))
    seen = set[object]()
    for name, folder in [*_in_weights_folder(), *_in_cache()]:
        keys = _same(folder)
        if not keys & seen:
            found.append(_settings(CLAP if _model_type(folder) == "clap" else Hub, name))
        seen |= keys
    return found


def _settings(kind: type[Encoder], name: str = "") -> dict[str, Any]:
    defaults = {key: option.default for key, option in inspect.signature(kind).parameters.items()}
    given = {next(iter(defaults)): name} if name else {}  # all are named, so that cached features are the same
    without_text = {"text": False} if "text" in defaults else {}
    path = f"{kind.__module__}.{kind.__qualname__}"
    return {"class_path": path, "init_args": defaults | given | without_text}


def _in_weights_folder() -> Iterator[tuple[str, Path]]:
    """Yield the models in the folder of weights, by the names that they have below it."""
    if not os.environ.get(FOLDER):
        return
    root = Path(os.environ[FOLDER])
    for folder in [root, *sorted(root.glob("*")), *sorted(root.glob("*/*"))]:
        if _is_audio_model(folder):
            yield _name(str(folder.relative_to(root)), folder), folder


def _in_cache() -> Iterator[tuple[str, Path]]:
    """Yield the models in the hub's cache: of each its main branch, or the first other revision that is whole."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, ValueError, OSError):
        return
    for repository in sorted(repositories, key=lambda one: one.repo_id):
        named = {(ref != "main", ref): one for one in repository.revisions for ref in one.refs or {one.commit_hash}}
        for (is_other, ref), revision in sorted(named.items(), key=lambda item: item[0]):
            if repository.repo_type == "model" and _is_audio_model(revision.snapshot_path):
                name = f"{repository.repo_id}@{ref}" if is_other else repository.repo_id
                yield _name(name, revision.snapshot_path), revision.snapshot_path
                break


def _name(name: str, folder: Path) -> str:
    """Return a name if it leads to a folder, else the folder's path."""
    here = find_local(name, "config.json") if name != "." else None
    return name if here and here.resolve() == (folder / "config.json").resolve() else str(folder.resolve())


def _is_audio_model(folder: Path) -> bool:
    """Tell whether a folder holds a model, with audio as its input as far as its files can be read."""
    try:
        has_weights = any((folder / file).is_file() for file in TENSORS)
        if not has_weights or not all((folder / file).is_file() for file in ("config.json", _PREPROCESSOR)):
            return False
        return "sampling_rate" in read_json(folder / _PREPROCESSOR)
    except WeightsError:  # what is wrong with it is told where it is loaded
        return True
    except OSError:
        return False


_PREPROCESSOR = "preprocessor_config.json"


def _model_type(folder: Path) -> Any:
    try:
        return read_json(folder / "config.json").get("model_type")
    except WeightsError:
        return None


def _same(folder: Path) -> set[object]:
    """Return what two folders of one model share: the place, or the last part of the name and the config."""
    place = folder.resolve()
    is_snapshot = place.parent.name == "snapshots"
    name = place.parent.parent.name.rpartition("--")[2] if is_snapshot else place.name
    return {place, (name.lower(), (place / "config.json").read_bytes())}
