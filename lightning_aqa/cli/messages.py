"""One readable line for a mistake, where jsonargparse prints pages; it needs neither torch nor Lightning."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lightning_aqa.results.files import TRACEBACK
from lightning_aqa.utils.text import about_class, did_you_mean

DEBUG = "LIGHTNING_AQA_DEBUG"
"""Environment variable with which errors keep their traceback."""
KINDS = {
    "data.base": "AQADataModule",
    "data.augment": "Augmentation",
    "encoders.base": "Encoder",
    "heads.base": "Head",
    "objectives.base": "Objective",
}
ALIASES = {
    "lr": "model.optimizer.lr", "learning_rate": "model.optimizer.lr", "weight_decay": "model.optimizer.weight_decay",
    "batch": "data.batch_size", "batchsize": "data.batch_size", "bs": "data.batch_size",
    "workers": "data.num_workers", "axis": "data.axes", "csv": "data.path", "table": "data.path",
    "audio": "data.audio_root", "audio_dir": "data.audio_root", "kfold": "data.folds",
    "epochs": "trainer.max_epochs", "num_epochs": "trainer.max_epochs", "n_epochs": "trainer.max_epochs",
    "seed": "seed_everything", "random_seed": "seed_everything",
    "gpus": "trainer.devices", "gpu": "trainer.devices", "num_gpus": "trainer.devices", "device": "trainer.accelerator",
    "output_dir": "trainer.default_root_dir", "output": "trainer.default_root_dir", "out": "trainer.default_root_dir",
    "resume": "ckpt_path", "resume_from": "ckpt_path", "checkpoint": "ckpt_path", "pretrained": "init_from",
    "loss": "objectives.mse", "losses": "objectives.mse", "objective": "objectives.mse",
    "early_stopping": "patience", "encoder": "model.encoder", "head": "model.head", "optimizer": "model.optimizer",
}  # fmt: skip
"""Option by the name that people know it by from elsewhere, in small letters."""
NEEDS = {
    "fit": "a table of ratings and its folder of audio, `lightning-aqa fit ratings.csv clips`, or a config, "
    "`lightning-aqa fit --config experiments/quickstart.yaml` (`lightning-aqa experiments` lists them)",
    "validate": "data and a checkpoint, `lightning-aqa validate --config runs/NAME/config.yaml --ckpt_path=runs/NAME`",
    "test": "data and a checkpoint, `lightning-aqa test --config runs/NAME/config.yaml --ckpt_path=runs/NAME`",
    "predict": "audio and a checkpoint, `lightning-aqa predict --ckpt_path=runs/NAME --data=Folder --data.root=clips`",
}
"""Lines to type, by subcommand, where the data is missing."""
DATA = ("lightning_aqa.data.base.AQADataModule", "lightning_aqa.data.table.Table")
NOISE = ("Does not validate against any", "Subtypes:", "Expected a <class 'NoneType'>", "Errors:", "Given value type:")


def is_debug() -> bool:
    """Tell whether errors are to keep their traceback."""
    return bool(os.environ.get(DEBUG))


def readable(message: str, options: Sequence[str]) -> str:
    """Rewrite jsonargparse's message as one line that ends in the nearest valid name.

    Args:
        message: The message of jsonargparse, over many lines.
        options: Names of the options of this parser.
    """
    core = about_class(message)
    text = _in_one_line(message)
    key = next(iter(re.findall(r'Parser key "([\w.]+)"', text)), "")
    if re.match(r"'\S*' is ", core):
        return f"--{key}: {core}"
    if found := re.search(r"unrecognized arguments: (.*)", text):
        return f"unknown option {found[1]}.{_option_meant(found[1], options)}"
    if found := re.search(r"arguments are required: (\w+)\.data\b", text):
        return f"{found[1]} needs {NEEDS.get(found[1], 'data')}."
    if re.search(r"Parser key \"axes\": Expected a <class 'dict'>", text):
        found = re.search(r"\"axes\":.*?(?:Got|Given) value: ([^\n]*)", message, re.DOTALL)
        return _axes_meant(found[1] if found else "")
    if found := re.search(r"model\.optimizer\": Dict must include a class_path.*key='(\w+)', val='([^']*)'", text):
        line = f"--model.optimizer=AdamW --model.optimizer.{found[1]}={found[2]}"
        return f"--model.optimizer.{found[1]} needs an optimizer before it: {line}."
    if re.search(r"Table': the following arguments are required: path|^Table.*required: path", text):
        return "Table needs its table: --data.path=ratings.csv --data.audio_root=clips."
    if found := re.search(r"class_path '([\w.]+)'.*Option '([\w.]+)' is not accepted", text):
        names = _parameters(found[1])
        return f"{found[1].rsplit('.', 1)[-1]} has no option '{found[2]}'.{_hint(found[2], names)}"
    if found := re.search(r"Option '([\w.]+)' is not accepted.*class_path='([\w.]+)'", text):
        return f"{found[2].rsplit('.', 1)[-1]} has no option '{found[1]}'.{_hint(found[1], _parameters(found[2]))}"
    if found := re.search(r"Expected a dot import path string: (\S+)", text):
        return f"--{key}: there is no class '{found[1]}'.{_hint(found[1], _parts())}"
    if found := re.search(r'^Parser key "[\w.]+": Expected a typing\.Literal\[(.*)\]\. Got value: (\S+)$', text):
        choices = re.findall(r"'([^']*)'", found[1])
        return f"--{key} must be one of {', '.join(choices)}, got '{found[2]}'.{_hint(found[2], choices)}"
    if found := re.search(r"invalid choice: '(\w+)' \(choose from (.*)\)", text):
        return f"{text}.{_hint(found[1], re.findall(r'[a-z]+', found[2]))}"
    text = re.sub(r"Parser key \"[\w.]+\": Problem with given class_path '[\w.]+\.(\w+)': ", r"\1: ", text)
    return re.sub(r'Parser key "([\w.]+)": ', r"\1: ", text)


def _in_one_line(message: str) -> str:
    text = " ".join(line.strip(" -") for line in message.splitlines() if not any(noise in line for noise in NOISE))
    text = re.sub(
        r"((?:Expected a (?:<class '\w+'>|typing\.\w+\[[^\]]*\]) ?)+)Given value: ([\w.+-]+)(?= Given value|$)",
        lambda found: f"{found[1].strip().replace(' Expected a ', ' or ')}. Got value: {found[2]}",
        re.sub(
            r"(Expected a path but \S+ either not accessible or invalid |Type \S*Callable.*? class: )(?=.)",
            "",
            text.strip(),
        ),
    )
    return re.sub(r"\s+", " ", re.sub(r"Given value:.*?(?=Parser key|Problem with|$)", "", text)).strip()


def unexpected(error: BaseException, folder: Path | None = None) -> str:
    """Tell an error that nobody foresaw in one line, with the line of code it comes from; keep its traceback.

    Args:
        error: The error.
        folder: Where to keep the traceback, such as the run folder; None or one that is not there keeps none.
    """
    frames = traceback.extract_tb(error.__traceback__)
    location = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    said = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    told = f"{type(error).__name__}: {said}{location}." if said else f"{type(error).__name__}{location}."
    if folder is not None and folder.is_dir():
        path = folder / TRACEBACK
        with suppress(OSError):
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
            return f"{told} The traceback is in {path}."
    return f"{told} {DEBUG}=1 shows the traceback."


def raised(error: Exception) -> str:
    """Return the message of a part that could not be built, without what jsonargparse wraps around it."""
    text = re.sub(r"^Call to compute_fn of link .*? failed: ", "", str(error).strip(), flags=re.DOTALL)
    if "\nErrors:\n" not in text:
        return text
    inner = text.split("\nErrors:\n", 1)[1].split("\nGiven value", 1)[0].split("\nSubclass types expect", 1)[0]
    lines = [line.strip(" -") for line in inner.splitlines() if not any(noise in line for noise in NOISE)]
    told = [line for line in lines if not re.match("Expected a <class|Not a valid subclass", line)]
    return "\n".join(told or lines)


def _hint(wrong: str, names: Sequence[str]) -> str:
    return did_you_mean(wrong, names, by_last_part=True)


def _option_meant(given: str, options: Sequence[str]) -> str:
    """Return a sentence with the option that an unknown one stands for, its value included."""
    found = re.search(r"--([\w.+-]+)(?:[= ](\S+))?", given)
    if found is None:
        return _hint(given, options)
    last = found[1].rsplit(".", 1)[-1].lower().replace("-", "_")
    data = [f"data.{name}" for part in DATA for name in _parameters(part)]
    same = sorted((name for name in (*options, *data) if name.rsplit(".", 1)[-1] == last != name), key=len)
    meant = ALIASES.get(last) or next(iter(same), "")
    if not meant or meant == found[1]:
        return _hint(found[1], [*options, *data])
    return f" Did you mean --{meant}={found[2] or 'VALUE'}?"


def _axes_meant(given: str) -> str:
    """Say how axes are written, with those that were given without a scale."""
    names = re.findall(r"[A-Za-z_]\w*", re.sub(r"\b(None|Given|Got)\b", "", given)) or ["overall"]
    scales = ", ".join(f"{name}: [1, 5]" for name in names)
    got = f", got {given}" if given else ""
    return (
        f"--data.axes names each axis with its lowest and highest score, a space after each colon{got}. "
        f"Write --data.axes='{{{scales}}}'; `lightning-aqa inspect TABLE` prints the line for a table."
    )


def _parameters(class_path: str) -> list[str]:
    """List the constructor arguments of a class that is already imported, those of its bases included."""
    module, _, name = class_path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    bases = inspect.getmro(found) if inspect.isclass(found) else ()
    own = [base for base in bases if base.__module__.startswith("lightning_aqa") or base is found]
    return [name for base in own for name in inspect.signature(base).parameters]


def _parts() -> list[str]:
    """List the parts that can be named: encoders, heads, objectives, corpora and augmentations."""
    from lightning_aqa.utils.components import subclasses

    kinds = [getattr(importlib.import_module(f"lightning_aqa.{module}"), name) for module, name in KINDS.items()]
    found: list[type] = [part for kind in kinds for part in subclasses(kind)]
    return [part.__name__ for part in found if not inspect.isabstract(part)]
