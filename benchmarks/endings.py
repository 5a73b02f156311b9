"""End fit, cache, score and a sweep by SIGKILL, SIGTERM, SIGINT and a full disk at random moments, go on, and compare.

Each work runs once undisturbed. Then it is ended again and again, at moments drawn from ``--seed``, gone on with by the
command that its messages name, and what it made is compared with the undisturbed run's, byte by byte: weights,
predictions.csv, history.csv, the entries of the cache, scores.csv, summary.csv. A small tmpfs is the full disk; where
mounting is not allowed, that part is left out with a line.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "WANDB_MODE": "disabled"}

import torch

from lightning_aqa.cli.main import main as command_line
from lightning_aqa.data.synthesis.corpus import write_corpus

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
FULL = "full disk"
ATTEMPTS = 4
Products = dict[str, object]


class Work(NamedTuple):
    """One subcommand: the words that start it in a folder, those that go on, and what it has made there."""

    start: Callable[[Path], list[str]]
    go_on: Callable[[Path], list[str]]
    products: Callable[[Path], Products]


def fit_words(root: Path, folder: Path) -> list[str]:
    """Return a training with both memories, of a few seconds."""
    words = ["fit", "--data=MusicEval", f"--data.root={root / 'corpus'}", "--data.check=header", "--name=run"]
    words += ["--data.batch_size=4", "--model.encoder=MelSpectrogram", "--model.encoder.depth=1"]
    words += ["--model.encoder.width=16", "--objectives.qamro=QAMRO", "--objectives.qamro.memory_size=10"]
    words += ["--objectives.near=Triplet", "--objectives.near.memory_size=16", "--trainer.max_epochs=6"]
    return [*words, "--checkpoint_every_n_steps=2", "--trainer.accelerator=cpu", f"--trainer.default_root_dir={folder}"]


def fit_again(root: Path, folder: Path) -> list[str]:
    """Return what goes on with it: from its checkpoint, or anew where it has none."""
    last = folder / "run" / "checkpoints" / "last.ckpt"
    if not last.exists():
        shutil.rmtree(folder / "run", ignore_errors=True)
    return fit_words(root, folder) + ([f"--ckpt_path={last}"] if last.exists() else [])


def fit_products(folder: Path) -> Products:
    """Return weights of the last and the best epoch, and the tables."""
    found: Products = {}
    for name in ("last", "best"):
        saved = torch.load(folder / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        found |= {f"{name} {key}": value.numpy().tobytes() for key, value in saved["state_dict"].items()}
        found[f"{name} step"] = saved["global_step"]
    return found | files(folder / "run", ("predictions.csv", "history.csv", "results.json"))


def files(folder: Path, names: tuple[str, ...]) -> Products:
    """Read files."""
    return {name: (folder / name).read_bytes() for name in names}


def works(root: Path, model: Path) -> dict[str, Work]:
    """Return the works by name; they read the corpus and the model in ``root``."""
    audio = root / "clips"

    def cache(folder: Path) -> list[str]:
        words = ["cache", "--data=MusicEval", f"--data.root={root / 'corpus'}", f"--data.cache={folder / 'cache'}"]
        return [*words, "--model.encoder=MelSpectrogram", "--model.freeze=all", "--data.check=header"]

    def score(folder: Path) -> list[str]:
        return ["score", str(model), str(audio), f"--output={folder / 'scores.csv'}", "--num_workers=0"]

    def sweep(folder: Path) -> list[str]:
        words = [word for word in fit_words(root, folder) if not word.startswith(("--name", "--trainer.default_root"))]
        lines = ["name: s", "method: grid", "parameters: {seed_everything: {values: [0, 1]}}", "command:"]
        command = ["${env}", "${interpreter}", "-m", "lightning_aqa", *words, "${args}"]
        path = root / "sweep.yaml"
        path.write_text("\n".join([*lines, *(f"  - '{word}'" for word in command)]) + "\n", encoding="utf-8")
        return ["sweep", str(path), f"--root={folder}", "--workers=2", "--retry"]

    def entries(folder: Path) -> Products:
        found = sorted((folder / "cache").rglob("*.safetensors"))
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}

    def trials(folder: Path) -> Products:
        found: Products = files(folder / "s", ("summary.csv",))
        for path in sorted((folder / "s").glob("*/predictions.csv")):
            found |= {f"{path.parent.name} {k}": v for k, v in files(path.parent, (path.name, "history.csv")).items()}
        return found

    return {
        "fit": Work(lambda folder: fit_words(root, folder), lambda folder: fit_again(root, folder), fit_products),
        "cache": Work(cache, cache, entries),
        "score": Work(score, score, lambda folder: files(folder, ("scores.csv",))),
        "sweep": Work(sweep, sweep, trials),
    }


def begin(words: list[str], log: Path) -> int:
    """Run a command in a fork, in a session of its own, and return the number of the process."""
    process = os.fork()
    if process == 0:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        code = 1
        try:
            sys.argv[1:] = words
            code = command_line(words)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return process


def end(process: int) -> int:
    """Wait for a process, and return its exit code as a shell would."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code if code >= 0 else 128 - code


def mounted(folder: Path, kilobytes: int, *, again: bool = False) -> bool:
    """Mount a tmpfs of some size, or give the one that is there that size; tell whether it may be done."""
    options = f"{'remount,' if again else ''}size={kilobytes}k"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def fill(folder: Path) -> None:
    """Leave a tmpfs no more room than is taken."""
    for _ in range(100):  # more may be taken meanwhile
        found = os.statvfs(folder)
        taken = (found.f_blocks - found.f_bfree) * found.f_frsize // 1024
        if mounted(folder, max(taken, 4), again=True):
            return
    raise RuntimeError(f"{folder} cannot be filled")


Whole = tuple[Products, float, int]


def measure(name: str, work: Work, ending: str, draw: random.Random, root: Path, whole: Whole) -> tuple[int, list[str]]:
    """End a work once, go on, and compare; return how it ended first and what differs."""
    products, seconds, kilobytes = whole
    delay, room = draw.uniform(0.02, 0.95) * seconds, 4 * kilobytes + 4096
    folder, log = root / name, root / f"{name}.log"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    log.unlink(missing_ok=True)
    try:
        assert ending != FULL or mounted(folder, room)
        process = begin(work.start(folder), log)
        time.sleep(delay)
        if ending == FULL:
            fill(folder)
        else:
            os.kill(process, SIGNALS[ending])
        code = end(process)
        time.sleep(0.2 if ending == "SIGKILL" else 0.0)  # its children end with it
        assert ending != FULL or mounted(folder, room, again=True)
        last = code
        for _ in range(ATTEMPTS):
            if last == 0:
                break
            last = end(begin(work.go_on(folder), log))
        found = work.products(folder) if last == 0 else {}
        wrong = [key for key in products if found.get(key) != products[key]] + [k for k in found if k not in products]
        if "Traceback" in log.read_text(encoding="utf-8", errors="replace"):
            wrong.append("a traceback")
    finally:
        if ending == FULL:
            subprocess.run(["umount", str(folder)], capture_output=True, check=False)
    print(f"{name:6} {ending:9} at {delay:5.2f} s: exit code {code}, {', '.join(wrong[:4]) or 'equal'}", flush=True)
    if wrong:
        print(log.read_text(encoding="utf-8", errors="replace"), flush=True)
    return code, wrong


def undisturbed(name: str, work: Work, root: Path) -> Whole:
    """Run a work through, and return what it made, in how many seconds, of how many kilobytes."""
    folder = root / "whole" / name
    folder.mkdir(parents=True)
    start = time.monotonic()
    assert end(begin(work.start(folder), root / "whole.log")) == 0, (root / "whole.log").read_text()
    seconds = time.monotonic() - start
    kilobytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 1024
    return work.products(folder), seconds, kilobytes


def main() -> None:
    """Print a line for each ending, and a table of how many ended equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="Working folder; a folder of its own is made in it and removed.")
    parser.add_argument("--times", type=int, default=10, help="Endings of each kind for each work.")
    parser.add_argument("--only", default="fit,cache,score,sweep", help="Works, separated by commas.")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    root = args.folder.resolve() / f"endings-{os.getpid()}"
    root.mkdir(parents=True)
    try:
        counts = run(root, args.only.split(","), args.times, args.seed)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("\nwork    ending     tried  ended early  equal")
    for (name, ending), count in counts.items():
        print(f"{name:6}  {ending:9}  {count['tried']:5}  {count['early']:11}  {count['equal']:5}")
    sys.exit(int(any(count["equal"] < count["tried"] for count in counts.values())))


def run(root: Path, names: list[str], times: int, seed: int) -> dict[tuple[str, str], Counter[str]]:
    """End each work so many times in each way; return the counts."""
    (root / "clips").mkdir()
    write_corpus(root / "corpus", "musiceval", num_clips=30, num_systems=4, seconds=(0.5, 0.9))
    for number, path in enumerate(sorted((root / "corpus").rglob("*.wav")) * 20):
        shutil.copy(path, root / "clips" / f"{number:03d}.wav")
    base = root / "base"
    assert end(begin(fit_words(root, base), root / "base.log")) == 0, (root / "base.log").read_text()
    found = works(root, base / "run" / "checkpoints" / "best.ckpt")
    (root / "disk").mkdir()
    has_disk = mounted(root / "disk", 64)
    subprocess.run(["umount", str(root / "disk")], capture_output=True, check=False)
    if not has_disk:
        print("mounting a tmpfs is not allowed here: the full disk is left out")
    counts: dict[tuple[str, str], Counter[str]] = {}
    for name in names:
        whole = undisturbed(name, found[name], root)
        print(f"{name}: {whole[1]:.1f} s and {whole[2]} kB undisturbed, seed {seed}", flush=True)
        for ending in (*SIGNALS, *([FULL] if has_disk else [])):
            draw, count = random.Random(f"{seed} {name} {ending}"), Counter[str]()
            while count["early"] < times and count["tried"] < 2 * times:  # one that came too late is drawn again
                code, wrong = measure(name, found[name], ending, draw, root, whole)
                count.update(tried=1, early=int(code != 0), equal=int(not wrong))
            counts[name, ending] = count
    return counts


if __name__ == "__main__":
    main()
