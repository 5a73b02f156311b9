"""Published models: folders that somebody else has written, checked file by file before anything is made of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from lightning_aqa.results.clip_intervals import read_calibration
from lightning_aqa.results.files import CARD, CHECKSUMS, INTERVALS, MEMBERS, MODEL_WEIGHTS, PUBLISHED, RESULTS, TRAINED
from lightning_aqa.results.trained_features import read_trained
from lightning_aqa.scoring.decode import READING, is_setting
from lightning_aqa.scoring.ensemble import Source, combine
from lightning_aqa.scoring.scorer import Scorer
from lightning_aqa.training.ensemble import average
from lightning_aqa.training.loading import INSTANTIATOR, LeftOut, assemble
from lightning_aqa.utils.documents import read_json
from lightning_aqa.utils.files import file_size, read_text, sha256_of
from lightning_aqa.utils.weights import read_weights

_log = logging.getLogger(__name__)

FORMAT = 1
ENCODERS = "encoders"
"""Folder, beside the weights of a model, of the encoders that came with it."""
_ENCODER = rf"{ENCODERS}/\w[\w.-]{{0,63}}"
FILES = re.compile(
    rf"(({MEMBERS}/\d{{1,3}}/)?({MODEL_WEIGHTS}|{TRAINED}|{_ENCODER}/({MODEL_WEIGHTS}|(preprocessor_)?config\.json))"
    rf"|{PUBLISHED}|{RESULTS}|{INTERVALS}|{CARD})"
)
"""Paths of the files that a published model may have."""
MOST_BYTES = 2**20
MOST_LEFT_OUT = 4_000_000_000
"""Elements that a model may say to have left out; the largest public encoders of audio have two thousand million."""
MOST_MODELS = 1000
COMBINED = ("one", "folds", "weighted")
"""What several models are to a score: there is one, their mean is taken, or their weighted sum."""


class PublishedModel(NamedTuple):
    """A published model whose files are whole.

    Args:
        folder: Where it is.
        record: Its ``config.json``.
        files: Names of its files.
    """

    folder: Path
    record: dict[str, Any]
    files: frozenset[str]


def is_published(folder: Path) -> bool:
    """Tell whether a folder is meant as a published model."""
    return (folder / CHECKSUMS).is_file() or (folder / PUBLISHED).is_file()


def read_published(folder: Path) -> PublishedModel:
    """Check a published model: that it is of this format, has all its files and these have their checksums.

    Raises:
        ValueError: If it is not so; the message names the file.
    """
    path = _inside(folder, PUBLISHED)
    record = read_json(path)
    is_record = isinstance(record, dict) and isinstance(record.get("models"), list)
    if not is_record or type(record.get("format")) is not int or record["format"] < 1:
        raise ValueError(f"{path}: not the config of a published model of lightning_aqa.")
    if record["format"] > FORMAT:
        raise ValueError(
            f"{path}: of format {record['format']}, and this version reads {FORMAT}; upgrade by "
            "`pip install --upgrade lightning_aqa`."
        )
    models = record["models"]
    are_models = 0 < len(models) <= MOST_MODELS and all(isinstance(of, dict) for of in models)
    if not are_models or record.get("combined") not in COMBINED:
        raise ValueError(f"{path}: not the config of a published model of lightning_aqa.")
    sums = read_checksums(folder)
    for name, expected in sums.items():
        _check(folder, name, expected)
    return PublishedModel(folder, record, frozenset(sums))


def read_checksums(folder: Path) -> dict[str, str]:
    """Read ``SHA256SUMS``: what each file is to hash to, by its path from the folder.

    Raises:
        ValueError: If it is missing or damaged, or names what is no file of a published model.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        raise ValueError(f"{folder}: no published model, since it has no {CHECKSUMS}; was it copied or fetched whole?")
    found: dict[str, str] = {}
    for number, line in enumerate(read_text(_inside(folder, CHECKSUMS), MOST_BYTES).splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
        if match is None:
            raise ValueError(f"{path}: line {number} is no checksum, expected 64 digits, two spaces and a name.")
        if not FILES.fullmatch(match[2]):
            raise ValueError(f"{path}: names {match[2][:80]!r}, which is no file of a published model.")
        found[match[2]] = match[1]
    missing = {PUBLISHED, MODEL_WEIGHTS} - {PurePosixPath(name).name for name in found}
    if missing or PUBLISHED not in found:
        raise ValueError(f"{path}: lists no {min(missing | {PUBLISHED})}, so that it cannot be checked.")
    return found


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file of the folder; a link has to stay in it, or in the files of the hub's cache.

    Raises:
        ValueError: If there is none, it is no file, or it leads elsewhere.
    """
    path, root = folder / name, folder.resolve()
    blobs = [root.parents[1] / "blobs"] if root.parent.name == "snapshots" else []
    place = path.resolve()
    if not any(place.is_relative_to(allowed) for allowed in (root, *blobs)):
        raise ValueError(f"{path}: a link that leads out of the folder, to {place}; it is not followed.")
    if not path.exists():
        raise ValueError(f"{folder}: lacks {name}; fetch or copy the folder anew.")
    file_size(path)
    return path


def _check(folder: Path, name: str, expected: str) -> None:
    """Compare a file with its checksum; a card that somebody has edited, or left, changes no score."""
    try:
        if sha256_of(_inside(folder, name)) != expected:
            raise ValueError(f"{folder / name}: not as it was published (its SHA-256 differs); fetch or copy it anew.")
    except ValueError as error:
        if name != CARD:
            raise
        _log.warning("%s No score follows from it.", error)


def load_published(folder: Path, settings: dict[str, Any]) -> Scorer:
    """Load a published model to score with.

    Args:
        folder: Its folder.
        settings: Arguments of ``Scorer`` that count.

    Raises:
        ValueError: If it is damaged, or cannot be built here.
    """
    found = read_published(folder)
    sources = [_source(found, number) for number in range(len(found.record["models"]))]
    calibration = read_calibration(folder) if INTERVALS in found.files else None
    if found.record["combined"] == "weighted":
        weights = [_weights(of, folder) for of in found.record["models"]]
        if any(of.keys() != weights[0].keys() for of in weights):
            raise ValueError(f"{folder / PUBLISHED}: its models have weights on different axes.")
        return combine(sources, weights, calibration, settings, folder)
    if found.record["combined"] == "folds":
        trust = {"calibration": calibration}
        return Scorer(average([source.module for source in sources]), **(sources[0].reading | trust | settings))
    if len(sources) != 1:
        raise ValueError(f"{folder / PUBLISHED}: {len(sources)} models, expected one.")
    beside = {"calibration": calibration, "trained": sources[0].trust["trained"]}
    return Scorer(sources[0].module, **(sources[0].reading | beside | settings))


def place_of(record: Mapping[str, Any], number: int) -> str:
    """Return the folder of a model's files, from that of the published model; with a slash, where it is another."""
    return "" if record["combined"] == "one" else f"{MEMBERS}/{number}/"


def _source(found: PublishedModel, number: int) -> Source:
    """Build one of the models.

    Raises:
        ValueError: If it cannot be built.
    """
    of, place, where = found.record["models"][number], place_of(found.record, number), found.folder / PUBLISHED
    path = found.folder / place / MODEL_WEIGHTS
    if f"{place}{MODEL_WEIGHTS}" not in found.files:
        raise ValueError(f"{found.folder / CHECKSUMS}: lists no {place}{MODEL_WEIGHTS}, so that it cannot be checked.")
    settings, state, reading = (of.get(name) for name in ("settings", "state", "preprocessing"))
    if not all(isinstance(part, dict) for part in (settings, state, reading)):
        raise ValueError(f"{where}: model {number} is not described by settings, state and preprocessing.")
    reading = {name: reading[name] for name in READING if reading.get(name) is not None}
    for name, value in reading.items():
        if not is_setting(name, value):
            raise ValueError(f"{where}: its {name} is damaged: {str(value)[:40]!r}.")
    saved = _local(settings, found, place) | {"_instantiator": INSTANTIATOR}
    callbacks = state.get("callbacks") if isinstance(state.get("callbacks"), dict) else {}
    checkpoint = {name: state.get(name) for name in ("epoch", "global_step")}
    checkpoint["callbacks"] = {name: kept for name, kept in callbacks.items() if isinstance(kept, dict)}
    checkpoint |= {"hyper_parameters": saved, "state_dict": read_weights(path)}
    module = assemble(checkpoint, path, _left_out(of.get("left_out"), where))
    trained = read_trained(path.parent) if f"{place}{TRAINED}" in found.files else None
    return Source(module, reading, {"trained": trained})


def _left_out(value: Any, where: Path) -> LeftOut | None:
    if value is None:
        return None
    elements, sha256 = (value.get(name) if isinstance(value, dict) else None for name in LeftOut._fields)
    if type(elements) is not int or not 0 <= elements <= MOST_LEFT_OUT or not isinstance(sha256, str):
        raise ValueError(f"{where}: what it says of weights that are left out is damaged: {str(value)[:80]}.")
    return LeftOut(elements, sha256)


def _weights(of: Mapping[str, Any], folder: Path) -> dict[str, float]:
    weights = of.get("weights")
    if not isinstance(weights, dict) or not all(type(w) in (int, float) and 0 <= w <= 1 for w in weights.values()):
        raise ValueError(f"{folder / PUBLISHED}: a model has no weights on the axes, from 0 to 1.")
    return weights


def _local(settings: Mapping[str, Any], found: PublishedModel, place: str) -> dict[str, Any]:
    """Return settings with the encoders that came with the model where they are here.

    Raises:
        ValueError: If they name a place on the disk.
    """

    def at(value: str) -> str:
        if is_place(value):
            raise ValueError(f"{found.folder / PUBLISHED}: names {value[:80]!r}, a place outside of the folder.")
        if not re.fullmatch(_ENCODER, value):
            return value
        if f"{place}{value}/{MODEL_WEIGHTS}" not in found.files:
            raise ValueError(f"{found.folder / PUBLISHED}: names {value!r}, which the model has no files of.")
        return str((found.folder / place / value).absolute())

    try:
        return {name: with_texts(part, at) if name in PARTS else part for name, part in settings.items()}
    except RecursionError:
        raise ValueError(f"{found.folder / PUBLISHED}: its settings are nested too deeply.") from None


PARTS = ("encoder", "head")
"""Settings whose texts may name files."""


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return settings with each text in them changed, but for the names of classes and of settings."""
    if isinstance(value, dict):
        return {name: of if name == "class_path" else with_texts(of, change) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(of, change) for of in value]
    return change(value) if isinstance(value, str) else value


def is_place(text: str) -> bool:
    """Tell whether a text names a place on a disk from its root, from a home, or above another.

    Example:
        >>> [is_place(text) for text in ("/tmp/a", "../a", "~/a", "C:/a", "openai/whisper-tiny", "a..b")]
        [True, True, True, True, False, False]
    """
    path = PureWindowsPath(text)
    return bool(text.startswith(("/", "~")) or path.anchor or ".." in path.parts)
