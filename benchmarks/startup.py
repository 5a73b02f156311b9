"""Time ``python -m lightning_aqa --help`` against ``import lightning`` alone, in CPU seconds.

Run ``python benchmarks/startup.py``; it prints the medians and their ratio.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

REPEATS = 5
COMMANDS = {
    "import lightning": ["-c", "import lightning"],
    "lightning_aqa --help": ["-m", "lightning_aqa", "--help"],
    "lightning_aqa fit --help": ["-m", "lightning_aqa", "fit", "--help"],
}


def cpu_seconds(words: list[str]) -> float:
    """Run Python with some words and return the CPU time that it took, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main() -> None:
    """Measure the commands in turn, and print one line each."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):
        for name, words in COMMANDS.items():
            times[name].append(cpu_seconds(words))
    reference = statistics.median(times["import lightning"])
    print(f"{'command':26}{'CPU s':>8}{'ratio':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:26}{median:8.2f}{median / reference:8.2f}")


if __name__ == "__main__":
    main()
