"""Time a cross-validation whose folds are forks against one whose folds are new processes, side by side.

Run ``python benchmarks/folds.py``; it writes 40 short clips, cross-validates them in five folds both ways in turn, and
prints CPU and wall seconds and their ratio.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lightning_aqa.data.synthesis.corpus import write_corpus

REPEATS = 3
FORKS = ["-m", "lightning_aqa"]
PROCESSES = ["-c", "import sys; from lightning_aqa.cli.main import main; sys.exit(main(sys.argv[1:]))"]


def write_table(folder: Path) -> tuple[Path, Path]:
    """Write clips with simulated scores; return the table and the folder of audio."""
    root = write_corpus(folder / "corpus", "musiceval", num_clips=40, num_systems=5, seconds=(1.0, 2.0))
    audio = root / "MusicEval-full" / "wav"
    rows = [f"{path.name},{1 + index % 9 / 2}" for index, path in enumerate(sorted(audio.iterdir()))]
    table = folder / "ratings.csv"
    table.write_text("\n".join(["file,overall", *rows]) + "\n", encoding="utf-8")
    return table, audio


def seconds(program: list[str], table: Path, audio: Path, runs: Path) -> tuple[float, float]:
    """Cross-validate; return CPU and wall seconds."""
    options = ["--data.axes={overall: [1, 5]}", "--trainer.logger=false", f"--trainer.default_root_dir={runs}"]
    command = [sys.executable, *program, "fit", str(table), str(audio), *options]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, time.monotonic() - start


def main() -> None:
    """Measure both in turn, and print one line each."""
    ways = {"new processes": PROCESSES, "forks": FORKS}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        table, audio = write_table(Path(folder))
        for repeat in range(REPEATS):
            for name, program in ways.items():
                times[name].append(seconds(program, table, audio, Path(folder) / f"{name}{repeat}"))
    reference = [statistics.median(values) for values in zip(*times["new processes"], strict=True)]
    print(f"{'five folds and the refit as':28}{'CPU s':>8}{'ratio':>7}{'wall s':>8}{'ratio':>7}")
    for name, values in times.items():
        cpu, wall = (statistics.median(one) for one in zip(*values, strict=True))
        print(f"{name:28}{cpu:8.1f}{cpu / reference[0]:7.2f}{wall:8.1f}{wall / reference[1]:7.2f}")


if __name__ == "__main__":
    main()
