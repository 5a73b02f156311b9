"""Time the help of every subcommand against importing torch and Lightning, in CPU seconds.

Run ``python benchmarks/startup.py``; it prints the medians and their ratio to ``import lightning``.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from lightning_aqa.cli.subcommands import SUBCOMMANDS

REPEATS = 5
REFERENCE = "import lightning"
PROGRAM = ["-m", "lightning_aqa"]
COMMANDS = {
    "import torch": ["-c", "import torch"],
    REFERENCE: ["-c", "import lightning"],
    "lightning-aqa --help": [*PROGRAM, "--help"],
    "lightning-aqa --version": [*PROGRAM, "--version"],
    **{f"lightning-aqa {name} --help": [*PROGRAM, name, "--help"] for name in (*SUBCOMMANDS, "fit")},
}


def cpu_seconds(args: list[str]) -> float:
    """Run Python with some arguments and return the CPU time that it took, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *args], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main() -> None:
    """Measure the commands in turn, and print one line each."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):
        for name, args in COMMANDS.items():
            times[name].append(cpu_seconds(args))
    reference = statistics.median(times[REFERENCE])
    print(f"{'command':32}{'CPU s':>8}{'ratio':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:32}{median:8.2f}{median / reference:8.2f}")


if __name__ == "__main__":
    main()
