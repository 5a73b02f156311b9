"""Write a published model: what scores follow from, what is known of it, and checksums of all."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightning_aqa.results.clip_intervals import read_calibration, write_calibration
from lightning_aqa.results.evidence import TRAINING
from lightning_aqa.results.facts import read_facts
from lightning_aqa.results.files import (
    CARD,
    CHECKSUMS,
    ENSEMBLE,
    MODEL_WEIGHTS,
    PREDICTIONS,
    PUBLISHED,
    RESULTS,
    find_checkpoint,
    fold_checkpoints,
)
from lightning_aqa.results.predictions import read_predictions
from lightning_aqa.results.run_folder import has_results, run_of
from lightning_aqa.scoring.decode import reading_of
from lightning_aqa.scoring.ensemble import read_members
from lightning_aqa.scoring.load import find_source, fingerprint, load
from lightning_aqa.scoring.published import FORMAT, PARTS, is_place, is_published, place_of, read_published, with_texts
from lightning_aqa.scoring.published_encoders import EncoderOptions, Named, check_licence, copy_encoder, name_encoders
from lightning_aqa.training.loading import MODEL, LeftOut, build_module, read_checkpoint
from lightning_aqa.utils.components import import_parts
from lightning_aqa.utils.files import complete_folder, read_text, sha256_of
from lightning_aqa.utils.safetensors_files import write_safetensors

Card = Callable[[Path, Mapping[str, Any]], str]
"""Writes the card of a model: of its run folder and its record."""
KEPT = ("TrainingLevels",)
"""State beside weights that scores' notes follow from; links of pairs are kept too."""


class Origin(NamedTuple):
    """A run to publish.

    Args:
        run: Folder with its results.
        checkpoints: Its models.
        weights: Weight of each on each axis; None but for an ensemble.
        combined: What they are together; see ``published.COMBINED``.
    """

    run: Path
    checkpoints: list[Path]
    weights: list[dict[str, float]] | None
    combined: str


def find_origin(source: str, *, ensemble: bool = False) -> Origin:
    """Find the models and the results of a run.

    Args:
        source: Run folder, its checkpoint, or the folder of an ensemble.
        ensemble: Whether the folder of a cross-validation stands for the mean of the models of its folds.

    Raises:
        ValueError: If it is no run, or one that has not ended, or a checkpoint that its results are not of.
    """
    path = Path(source)
    if not path.exists():
        raise ValueError(f"{source}: no such run folder.")
    if path.suffix in (".yaml", ".yml"):
        raise ValueError(f"{source}: a config, of which nothing is trained; train it by `fit`, and publish the run.")
    if is_published(path):
        raise ValueError(f"{source}: published already; copy the folder as it is, or give --to=ORG/MODEL for the hub.")
    if (path / ENSEMBLE).is_file():
        members = read_members(path)
        found = [path / member.checkpoint for member in members]
        origin = Origin(path, found, [member.weights for member in members], "weighted")
    elif ensemble:
        origin = Origin(path, fold_checkpoints(path), None, "folds")
    else:
        checkpoint = find_checkpoint(path).resolve()
        origin = Origin(run_of(checkpoint), [checkpoint], None, "one")
        if has_results(origin.run) and find_checkpoint(origin.run).resolve() != checkpoint:
            raise ValueError(f"{source}: the results of {origin.run} are of another checkpoint; publish that folder.")
    if not has_results(origin.run):
        raise ValueError(f"{origin.run}: no results in it yet, which tell what the model is worth; end the run first.")
    return origin


def write_published(
    source: str, folder: Path, about: Mapping[str, Any], card: Card, options: EncoderOptions, *, ensemble: bool = False
) -> dict[str, Any]:
    """Write a run as a published model: the folder is there once it is whole and scores as the run does.

    Args:
        source: Run folder, its checkpoint, or the folder of an ensemble.
        folder: The folder, which is not there yet, or is empty.
        about: What a person says of the model: its name, licence and corpus.
        card: Writes the card.
        options: How pretrained encoders are named or included.
        ensemble: As of ``find_origin``.

    Returns:
        Its record, as ``config.json`` has it.

    Raises:
        ValueError: If there is something in the folder's place, or the run cannot be published.
    """
    import_parts()
    origin = find_origin(source, ensemble=ensemble)
    with complete_folder(folder) as part:
        record: dict[str, Any] = {"format": FORMAT, "combined": origin.combined, **about, **_facts(origin)}
        record["models"] = []
        for number, checkpoint in enumerate(origin.checkpoints):
            of = _write_model(checkpoint, part / place_of(record, number), options)
            record["models"].append(of | ({"weights": origin.weights[number]} if origin.weights else {}))
        _write_json(part / PUBLISHED, record)
        shutil.copyfile(origin.run / RESULTS, part / RESULTS)
        calibration = read_calibration(origin.run)
        if calibration is not None:  # clips are numbered: nobody else has to know what they are called
            write_calibration(part, calibration._replace(ids=[str(i) for i in range(len(calibration.ids))]))
        (part / CARD).write_text(card(origin.run, record), encoding="utf-8")
        write_checksums(part)
        if fingerprint(load(part)) != fingerprint(load(source, ensemble=ensemble)):
            raise ValueError(f"{source}: what was written would not score as the run does; nothing is published.")
    return record


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of all files in a folder, as ``sha256sum --check`` reads it."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in names if name != CHECKSUMS]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _write_model(checkpoint: Path, folder: Path, options: EncoderOptions) -> dict[str, Any]:
    """Write the files of one model; return its settings and whatever else its scores follow from."""
    content, source = read_checkpoint(checkpoint), find_source(checkpoint)
    settings = _plain({name: source.module.hparams[name] for name in MODEL if name in source.module.hparams})
    named = name_encoders(settings, options)
    _check_places(named.settings)
    folder.mkdir(parents=True, exist_ok=True)
    for name, here in named.copied.items():
        copy_encoder(here, folder / name)
    weights: dict[str, Tensor] = content["state_dict"]
    left_out = _left_out(settings, named, folder, weights) if named.encoders else {}
    kept = {name: value for name, value in weights.items() if name not in left_out}
    if any(name.startswith("encoder.") for name, _ in source.module.named_parameters() if name in kept):
        for use in named.encoders:
            check_licence(use["licence"], use["name"])
    write_safetensors(folder / MODEL_WEIGHTS, kept)
    trained = source.trust.get("trained")
    if trained is not None:
        trained.write(folder)
    reading = reading_of(source.module.encoder, **source.reading)
    return {
        "settings": named.settings,
        "preprocessing": {**reading._asdict(), "channels": "mean"},
        "encoders": named.encoders,
        "left_out": LeftOut.of(left_out)._asdict() if left_out else None,
        "state": _state(content),
    }


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def _left_out(settings: Any, named: Named, folder: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of pretrained encoders that are as they were published, so that the encoder brings them.

    Raises:
        ValueError: If the encoder that others will find is another one.
    """
    own = _untouched(settings, weights)
    public = with_texts(named.settings["encoder"], lambda text: str(folder / text) if text in named.copied else text)
    if public != settings["encoder"]:
        found = _untouched({**settings, "encoder": public}, weights)
        if found.keys() != own.keys():
            names = ", ".join(use["name"] for use in named.encoders)
            raise ValueError(f"{names}: not the weights that the run was trained with; name those of the same encoder.")
    return own


def _untouched(settings: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the encoder that are those of the same encoder before training."""
    fresh = build_module(settings)
    own = {name: value.detach() for name, value in fresh.named_parameters() if name.startswith("encoder.")}
    return {name: value for name, value in own.items() if name in weights and value.equal(weights[name])}


def _check_places(settings: Mapping[str, Any]) -> None:
    """Refuse settings that name files of this machine."""

    def check(text: str) -> str:
        if is_place(text):
            raise ValueError(f"{text}: a place of this machine, which the model's settings name; nobody else has it.")
        return text

    for part in PARTS:
        with_texts(settings.get(part), check)


def _state(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint has beside weights that notes and probabilities of pairs follow from."""
    callbacks = content.get("callbacks") or {}
    kept = {name: {**state} for name, state in callbacks.items() if name in KEPT and isinstance(state, Mapping)}
    links = [state["link"] for state in callbacks.values() if isinstance(state, Mapping) and state.get("link")]
    kept |= {"pairs": {"link": dict(links[0])}} if links else {}
    return {"epoch": content.get("epoch"), "global_step": content.get("global_step"), "callbacks": _plain(kept)}


def _facts(origin: Origin) -> dict[str, Any]:
    """Return what a run says of itself, without the paths of its machine."""
    facts = read_facts(origin.run)
    corpus = {name: facts.get(name) for name in ("corpus", "is_simulated", "targets", "folds")}
    versions = facts.get("versions") if isinstance(facts.get("versions"), dict) else {}
    made = {"versions": versions, **{name: facts.get(name) for name in ("git_commit", "date")}}
    return {"trained_on": {**corpus, **_sizes(origin)}, "made_with": made}


def _sizes(origin: Origin) -> dict[str, Any]:
    """Count the clips and systems that a model was trained on; of a cross-validation all that its folds held out."""
    table, facts = origin.checkpoints[0].parent.parent / PREDICTIONS, read_facts(origin.run)
    splits = dict(read_predictions(table)[0]) if table.is_file() and origin.combined == "one" else {}
    out_of_fold = dict(read_predictions(origin.run / PREDICTIONS)[0]) if facts.get("folds") else {}
    found = splits.get(TRAINING, out_of_fold.get(str(facts.get("folds_split"))))
    if found is None:
        return {}
    return {"clips": len(found.ids), "systems": len(set(found.systems) - {""})}


def renamed_copy(source: Path, folder: Path, name: str) -> None:
    """Copy a published model under another name; its card may have been edited since.

    Args:
        source: Its folder.
        folder: The folder to fill.
        name: Name by which others will load it.

    Raises:
        ValueError: If it is damaged.
    """
    found = read_published(source)
    for file in found.files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, folder / file)
    old = str(found.record.get("name"))
    card = folder / CARD
    if card.is_file():
        text = read_text(card)
        pairs = {
            f"# {old}\n": f"# {name}\n",
            f"score {shlex.quote(old)} ": f"score {name} ",
            f'load("{old}")': f'load("{name}")',
        }
        for before, after in pairs.items():
            text = text.replace(before, after)
        card.write_text(text, encoding="utf-8")
    _write_json(folder / PUBLISHED, {**found.record, "name": name})
    write_checksums(folder)
