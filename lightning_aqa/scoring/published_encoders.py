"""Pretrained encoders of a model that is published: named as others find them, or copied where their licence allows."""

from __future__ import annotations

import copy
import importlib
import inspect
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.exported_model import ExportedModel
from lightning_aqa.encoders.huggingface_files import TENSORS, find, read_tensors
from lightning_aqa.results.files import MODEL_WEIGHTS
from lightning_aqa.scoring.published import ENCODERS
from lightning_aqa.utils.safetensors_files import write_safetensors
from lightning_aqa.utils.weights import Weights, WeightsError, find_local, hub_page, is_hub_id, split_revision

SHARED = re.compile(r"(?i)\s*(mit|apache|bsd|isc|cc0|cc[ -]by|mpl|unlicense|openrail|public domain)\b(?!.*\bnd\b)")
"""Licences under which copies and changed versions may be handed on, some of them for certain ends alone."""
BESIDE = ("config.json", "preprocessor_config.json")
"""Files that a model of the hub has beside its weights, as far as its encoder reads them."""


class EncoderOptions(NamedTuple):
    """Wishes of a person who publishes a model.

    Args:
        aliases: Hub id by the name that an encoder has on this machine.
        is_included: Whether the weights of encoders are copied.
        licence: Licence of their weights, where the package does not know it.
    """

    aliases: Mapping[str, str] = {}
    is_included: bool = False
    licence: str = ""

    @classmethod
    def of(cls, named: Sequence[str], *, is_included: bool, licence: str) -> EncoderOptions:
        """Read ``NAME=ORG/MODEL`` of the command line.

        Raises:
            ValueError: If one is not of this form, or is no hub id.
        """
        pairs = [text.partition("=") for text in named]
        for text, (name, _, hub) in zip(named, pairs, strict=True):
            if not name or not is_hub_id(hub):
                raise ValueError(f"--encoder={text}: expected NAME=ORG/MODEL, or NAME=ORG/MODEL@REVISION.")
        return cls({name: hub for name, _, hub in pairs}, is_included, licence)


class EncoderUse(NamedTuple):
    """A place in the settings of a model where a pretrained encoder is named.

    Args:
        kind: Its class.
        argument: Name of the argument that names its weights.
        arguments: All of its arguments.
    """

    kind: type[Encoder]
    argument: str
    arguments: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the weights."""
        parameter = inspect.signature(self.kind).parameters[self.argument]
        return str(self.arguments.get(self.argument, parameter.default))

    @property
    def known(self) -> Weights | None:
        """The published weights that it names, if it names these."""
        names = {self.name, split_revision(self.name)[0], Path(self.name).name}
        return next((weights for weights in self.kind.published if names & {weights.checkpoint, weights.hub}), None)


def encoder_uses(settings: Any) -> Iterator[EncoderUse]:
    """Yield the pretrained encoders that settings name, at any depth; classes are those that were trained with."""
    if isinstance(settings, list):
        for item in settings:
            yield from encoder_uses(item)
    if not isinstance(settings, dict):
        return
    path = settings.get("class_path")
    if isinstance(path, str):
        module, _, name = path.rpartition(".")
        kind = getattr(importlib.import_module(module), name, None)
        if inspect.isclass(kind) and issubclass(kind, Encoder) and (kind.published or issubclass(kind, ExportedModel)):
            yield EncoderUse(kind, next(iter(inspect.signature(kind).parameters)), settings.setdefault("init_args", {}))
            return
    for value in settings.values():
        yield from encoder_uses(value)


class Named(NamedTuple):
    """Settings of a model whose encoders others find, and what is said of each.

    Args:
        settings: The settings.
        encoders: Class, name, revision and licence of each, and whether it is named or included.
        copied: Name here of each encoder that is included, by the folder that it is put in.
    """

    settings: dict[str, Any]
    encoders: list[dict[str, Any]]
    copied: dict[str, str]


def name_encoders(settings: Mapping[str, Any], options: EncoderOptions) -> Named:
    """Name the pretrained encoders of a model so that others find them.

    Args:
        settings: Settings of the model; they are not changed.
        options: What is wished.

    Raises:
        ValueError: If others could not find one, or its licence is not known to allow copies that are wished.
    """
    changed, told, copied = copy.deepcopy(dict(settings)), [], dict[str, str]()
    for use in encoder_uses(changed.get("encoder")):
        own, known = use.name, use.known
        licence = options.licence or (known.licence if known else "")
        if issubclass(use.kind, ExportedModel):
            raise ValueError(
                f"{use.kind.__name__} of {Path(own).name}: an exported encoder is a program, which a published model "
                "has none of; publish a model on another encoder."
            )
        if options.is_included:
            check_licence(licence, own)
            name = _free(Path(split_revision(own)[0]).name, copied)
            copied[name] = own
        else:
            name = _public(use, options.aliases)
        use.arguments[use.argument] = name
        told.append(_described(use, own if options.is_included else name, licence, is_included=options.is_included))
    unused = options.aliases.keys() - {use.name for use in encoder_uses(copy.deepcopy(settings.get("encoder")))}
    if unused:
        raise ValueError(f"--encoder={min(unused)}=…: the model has no encoder of that name.")
    return Named(changed, told, copied)


def _described(use: EncoderUse, name: str, licence: str, *, is_included: bool) -> dict[str, Any]:
    repository, revision = split_revision(name)
    is_public = is_hub_id(name) or use.known is not None
    url = hub_page(name) if is_hub_id(name) else use.kind.published[0].url if is_public else ""
    return {
        "class": use.kind.__name__,
        "name": repository if is_public else Path(repository).name,
        "revision": revision,
        "url": url,
        "licence": licence or None,
        "weights": "included" if is_included else "named",
    }


def check_licence(licence: str | None, name: str) -> None:
    """Refuse to hand on weights, or what was made of them, under a licence that is not known to allow it.

    Raises:
        ValueError: If it is unknown, or allows no copies.
    """
    if not SHARED.match(licence or ""):
        given = f"{licence!r} is not known to allow copies of them" if licence else "their licence is not known"
        raise ValueError(
            f"the weights of {Path(name).name} would be handed on, and {given}; give it by --encoder_license, such as "
            "MIT, or publish a model whose encoder is frozen and named by its hub id."
        )


def _public(use: EncoderUse, aliases: Mapping[str, str]) -> str:
    """Return the name of an encoder's weights by which others find them: with its commit, where that is known.

    Raises:
        ValueError: If they are a file of this machine.
    """
    name = aliases.get(use.name, use.name)
    if is_hub_id(name):
        return _pinned(name)
    if use.known is not None:
        return use.known.checkpoint
    raise ValueError(
        f"the encoder's weights are {name}, of this machine; say where others get the same by "
        f"--encoder={name}=ORG/MODEL@REVISION, or, where their licence allows it, copy them by --include_encoder."
    )


def _pinned(name: str) -> str:
    """Return a hub id with the commit that its files in the cache are of; as it is, where they are elsewhere."""
    for file in (BESIDE[0], *TENSORS):
        path = find_local(name, file)
        if path is not None:
            is_cached = path.parent.parent.name == "snapshots"
            return f"{split_revision(name)[0]}@{path.parent.name}" if is_cached else name
    return name


def _free(name: str, taken: Mapping[str, str]) -> str:
    """Return the path of a folder for an encoder, which no other one has."""
    plain = re.sub(r"[^\w.-]", "-", name)[:48].lstrip(".-") or "encoder"
    paths = (f"{ENCODERS}/{plain}{f'-{count}' if count > 1 else ''}" for count in range(1, len(taken) + 2))
    return next(path for path in paths if path not in taken)


def copy_encoder(name: str, folder: Path) -> None:
    """Write the files of a model of the hub, its tensors as safetensors.

    Args:
        name: Hub id, or folder.
        folder: Where to write, which is made.

    Raises:
        ValueError: If it is no such model.
    """
    try:
        config = find(name, BESIDE[0])
        if config.name != BESIDE[0]:  # a file stands for itself, whatever is looked for
            raise WeightsError(f"{config} is a file.")
        beside, (_, tensors) = [config, *filter(None, [find_local(name, BESIDE[1])])], read_tensors(name)
    except WeightsError as error:
        raise ValueError(
            f"--include_encoder: {Path(name).name} cannot be copied, since it is no folder of config.json and "
            f"model.safetensors; leave the option out, so that it is named. ({error})"
        ) from error
    folder.mkdir(parents=True)
    for path in beside:
        shutil.copyfile(path, folder / path.name)
    kept = {key: value for key, value in tensors.items() if isinstance(value, Tensor)}
    write_safetensors(folder / MODEL_WEIGHTS, kept)
