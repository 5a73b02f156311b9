"""The YAML of a challenge: one of those that are known, or a list in a form of its own, and the files to work on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lightning_aqa.batch import make_axes
from lightning_aqa.results.challenges.formats import AnswerFormat
from lightning_aqa.results.challenges.known import KNOWN, LIST, Challenge
from lightning_aqa.results.challenges.ranking import MeanOf
from lightning_aqa.utils.documents import read_yaml
from lightning_aqa.utils.text import did_you_mean, shortened

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "bar": "|"}
DELIMITERS |= {sign: sign for sign in DELIMITERS.values()}
FORM = ("axes", "header", "delimiter", "keeps_suffix", "system", "file")
"""Keys that describe the form of a list."""


@dataclass
class Files:
    """Files and switches of a challenge.

    Args:
        clips: List of the clips to answer for, one a line or with a column of ids.
        scores: Table of scores, as ``score`` and ``predict`` write them, or the folder of a run with predictions.
        checkpoint: Run folder, checkpoint or config to score the clips with.
        audio: Folder with the audio of the clips, for a checkpoint.
        labels: Table of ratings, to score the answer by; none where nobody has them.
        answer: Answer to write, ``.zip`` for the archive that is handed in.
        readme: File that goes into the archive beside the answer, where the organisers ask for one.
        column: Column of the scores, where there is one axis and the column is not called as it is.
        check: Look at the answer that is there, and write none.
        clip_to_scale: Write scores beyond an end of their scale as that end.
    """

    clips: str | None = None
    scores: str | None = None
    checkpoint: str | None = None
    audio: str | None = None
    labels: str | None = None
    answer: str | None = None
    readme: str | None = None
    column: str | None = None
    check: bool = False
    clip_to_scale: bool = False


def read_settings(path: Path, given: Mapping[str, Any]) -> tuple[Challenge, Files]:
    """Read the YAML of a challenge.

    Args:
        path: The YAML.
        given: Values of ``Files`` that count before its own; None is none, and so is False.

    Raises:
        ValueError: If it cannot be read, or a key or a value is wrong; the message names the key.
    """
    config = read_yaml(path)
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise ValueError(f"{path}: no settings of a challenge; begin with challenge: {next(iter(KNOWN))}.")
    own = [field.name for field in fields(Files)]
    known = ["challenge", *FORM, *own]
    for key in config:
        if key not in known:
            raise ValueError(f"{path}: there is no key {shortened(key)!r}; known: {', '.join(known)}."
                             f"{did_you_mean(key, known)}")  # fmt: skip
    found = {key: config[key] for key in own if config.get(key) is not None}
    for key, value in found.items():
        kind, words = (bool, "true or false") if key in ("check", "clip_to_scale") else (str, "a path in quotes")
        if not isinstance(value, kind) or not (value or kind is bool):
            raise ValueError(f"{path}: {key} is {shortened(repr(value))}, expected {words}.")
    given = {key: value for key, value in given.items() if value}
    for one, other in (("scores", "checkpoint"), ("checkpoint", "scores")):
        if one in given and other not in given:
            found.pop(other, None)
    found |= given
    return _challenge(path, config), Files(**found)


def _challenge(path: Path, config: Mapping[str, Any]) -> Challenge:
    name = config.get("challenge")
    names = [*KNOWN, LIST]
    if name not in names:
        near = did_you_mean(name, names) if isinstance(name, str) else ""
        raise ValueError(f"{path}: challenge is {shortened(repr(name))}, expected one of {', '.join(names)}.{near}")
    if name == LIST and "axes" not in config:
        raise ValueError(f"{path}: a list names its axes with their scales, such as axes: {{mos: [1, 5]}}.")
    blank = AnswerFormat("answer.txt", ())
    of = KNOWN.get(name) or Challenge("list", blank, "", "s{s:02d}-{n:03d}", MeanOf("utterance", ("SRCC",)), "")
    given = {key: config[key] for key in FORM if config.get(key) is not None}
    form, system = of.form, of.system
    try:
        if "axes" in given:
            form = form._replace(axes=make_axes(given["axes"]))
        form = _with_form(form, given)
        system = re.compile(given.get("system", system)).pattern
    except (ValueError, TypeError, re.error) as error:
        raise ValueError(f"{path}: {str(error).rstrip('.')}.") from None
    if system and not re.compile(system).groups:
        raise ValueError(f"{path}: system is {shortened(system)!r}, expected a group, such as '^(sys[^-]+)-'.")
    return of._replace(form=form, system=system)


def _with_form(form: AnswerFormat, given: Mapping[str, Any]) -> AnswerFormat:
    """Change the form by what a YAML says of it."""
    if "delimiter" in given:
        if given["delimiter"] not in DELIMITERS:
            raise ValueError(f"delimiter is {given['delimiter']!r}, expected one of {', '.join(list(DELIMITERS)[:5])}")
        form = form._replace(delimiter=DELIMITERS[given["delimiter"]])
    if "header" in given:
        form = form._replace(header=_header(form, given["header"]))
    if "keeps_suffix" in given:
        if not isinstance(given["keeps_suffix"], bool):
            raise ValueError(f"keeps_suffix is {given['keeps_suffix']!r}, expected true or false")
        form = form._replace(keeps_suffix=given["keeps_suffix"])
    file = given.get("file", form.file)
    if not isinstance(file, str) or not file or Path(file).name != file:
        raise ValueError(f"file is {file!r}, expected a name without a folder")
    return form._replace(file=file)


def _header(form: AnswerFormat, given: object) -> tuple[str, ...]:
    if isinstance(given, bool):
        return ("id", *(axis.name for axis in form.axes)) if given else ()
    width = 1 + len(form.axes)
    if not isinstance(given, list) or len(given) != width or not all(isinstance(name, str) for name in given):
        raise ValueError(f"header is {given!r}, expected true, false or a list of {width} names, that of the ids first")
    return tuple(given)
