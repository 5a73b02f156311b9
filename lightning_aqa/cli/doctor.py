"""``lightning-aqa doctor``: what is here of the packages, devices, audio formats, weights and data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_aqa.cli.signatures import call

PATHS = ("path", "root", "audio_root", "roots")


class DoctorSection(NamedTuple):
    """One table of the report.

    Args:
        title: What it is about.
        rows: Its cells.
        lines: What is said below it, line by line; such as addresses, which no table may break.
        is_problem: Whether the exit code is 1 for it.
    """

    title: str
    rows: Sequence[tuple[str, ...]]
    lines: Sequence[str] = ()
    is_problem: bool = False


def packages() -> DoctorSection:
    """Compare what is installed with what is asked for."""
    from lightning_aqa.cli.doctor_packages import find_packages

    found = find_packages()
    rows = [("package", "installed", "asked for", "state")]
    for item in found:
        purpose = f", for {item.purpose}" if item.purpose else ""
        rows.append((item.name, item.installed or "-", item.required or "any", f"{item.state}{purpose}"))
    is_problem = any(item.is_problem for item in found)
    lines = [
        f"{item.name} {item.installed} is a malicious release (GHSA-w37p-236h-pfx3): uninstall it, and change every "
        "password, key and token that this machine could read."
        for item in found
        if item.is_malicious
    ]
    lines += ["Mend them by: pip install -e ."] if is_problem else []
    return DoctorSection("packages", rows, lines, is_problem)


def devices() -> DoctorSection:
    """List what can train."""
    import torch

    from lightning_aqa.encoders.cpu import has_bfloat16

    threads = f"{os.cpu_count()} logical cores, {torch.get_num_threads()} threads used by torch"
    rows = [("CPU", f"{threads}, bf16 {'in hardware' if has_bfloat16() else 'in software alone'}")]
    for index in range(torch.cuda.device_count()):
        name, (free, total) = torch.cuda.get_device_name(index), torch.cuda.mem_get_info(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
        rows.append((f"CUDA {index}", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, {bf16}"))
    rows += [] if torch.cuda.device_count() else [("CUDA", "no device")]
    rows.append(("MPS", "available" if torch.backends.mps.is_available() else "no device"))
    return DoctorSection("devices", rows)


def audio() -> DoctorSection:
    """List the formats that can be read."""
    import soundfile

    from lightning_aqa.data.decoding import COMPRESSED_BY_FFMPEG

    suffixes = ", ".join(sorted(suffix.lstrip(".") for suffix in COMPRESSED_BY_FFMPEG))
    ffmpeg = shutil.which("ffmpeg")
    rows = [
        (f"libsndfile {soundfile.__libsndfile_version__}", ", ".join(sorted(soundfile.available_formats()))),
        ("ffmpeg", f"{ffmpeg}, for {suffixes}" if ffmpeg else f"missing; {suffixes} cannot be read"),
    ]
    return DoctorSection(
        "audio", rows, [] if ffmpeg else ["Get it by: apt-get install ffmpeg, or conda install ffmpeg"]
    )


def weights() -> DoctorSection:
    """Look for the weights that each encoder loads unless it is told otherwise."""
    from lightning_aqa.encoders.base import Encoder
    from lightning_aqa.utils.components import parts_of
    from lightning_aqa.utils.weights import FOLDER, fetch_command, find_published

    folder = os.environ.get(FOLDER, "")
    state = "not set" if not folder else folder if Path(folder).is_dir() else f"{folder}, which is no folder"
    rows: list[tuple[str, ...]] = [("encoder", "weights", "state")]
    lines = [f"{FOLDER}: {state}"]
    for encoder in parts_of("encoders", Encoder):
        for item in encoder.published:
            paths = find_published(item)
            missing = [file for file, path in paths.items() if path is None]
            rows.append((encoder.__name__, item.checkpoint, "missing" if missing else "here"))
            command = fetch_command(item.hub or item.checkpoint, " ".join(missing), item.url)
            found = [str(path) for path in paths.values() if path is not None]
            ways = [f"get it from {item.url}", *([f"by: {command}"] if command else [])] if missing else found[:1]
            lines += [f"{encoder.__name__}, {item.checkpoint}:", *(f"    {line}" for line in ways)]
    return DoctorSection("weights", rows, lines)


def logging() -> DoctorSection:
    """Say where runs are logged."""
    from lightning_aqa.utils.wandb import has_wandb_key

    mode = f", WANDB_MODE is {os.environ['WANDB_MODE']}" if os.environ.get("WANDB_MODE") else ""
    key = "an API key is here" if has_wandb_key() else "no API key, so runs are logged offline; wandb login takes one"
    return DoctorSection("Weights & Biases", [("W&B", f"{key}{mode}")])


def data() -> DoctorSection:
    """Look for the files that the experiments of this folder name."""
    from lightning_aqa.utils.yaml_text import read_yaml

    experiments: dict[tuple[str, str], list[str]] = {}
    for path in sorted(Path("experiments").rglob("*.yaml")):
        settings = (read_yaml(path.read_text(encoding="utf-8")) or {}).get("data")
        for option, named in _named_paths(settings):
            state = "here" if Path(named).exists() else "made by the run" if _is_synthetic(settings) else "missing"
            name = path.relative_to("experiments").with_suffix("").as_posix()
            experiments.setdefault((f"--data.{option}={named}", state), []).append(name)
    if not experiments:
        return DoctorSection("data", [("experiments", "none that name data in this folder")])
    rows = [("files", "state", "experiments"), *((*key, ", ".join(names)) for key, names in experiments.items())]
    return DoctorSection("data", rows, ["Paths are taken from this folder; the option named gives another."])


def _named_paths(settings: Any) -> Iterator[tuple[str, str]]:
    """Yield the options of a corpus that are paths, and the paths."""
    options = settings.get("init_args", {}) if isinstance(settings, dict) else {}
    for option in PATHS:
        given = options.get(option)
        for path in given.values() if isinstance(given, dict) else [given] if given else []:
            yield option, str(path)


def _is_synthetic(settings: Any) -> bool:
    return str(settings.get("class_path")).endswith("Synthetic")


SECTIONS: tuple[Callable[[], DoctorSection], ...] = (packages, devices, audio, weights, logging, data)


def _look(section: Callable[[], DoctorSection]) -> DoctorSection:
    """Make a section; one that needs a missing package says so, since that is what people come here for."""
    try:
        return section()
    except ImportError as error:
        return DoctorSection(section.__name__, [("not looked at", str(error))], is_problem=True)


def _print(section: DoctorSection) -> None:
    """Print a section as a table; cells are folded to the width of the screen, lines below are not."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        print(section.title, *map("  ".join, section.rows), *section.lines, "", sep="\n")
        return
    table = Table(title=section.title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for row in section.rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    console = Console()
    console.print(table)
    for line in section.lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print()


def doctor() -> int:
    """Show which packages, devices, audio formats, weights and data are here.

    The network is not used. Exit code: 0, or 1 if a required package is missing or has a wrong version.

    Returns:
        The exit code.
    """
    is_problem = False
    for section in SECTIONS:
        found = _look(section)
        _print(found)
        is_problem = is_problem or found.is_problem
    return int(is_problem)


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments; without any, jsonargparse is not needed."""
    return call(doctor, args) if args else doctor()
