"""Train a run undisturbed, and again with SIGKILLs at random; import once, fork for each, so that it is cheap."""

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import torch

from lightning_aqa.cli.main import main
from lightning_aqa.module import AQAModule
from lightning_aqa.results import plots


def start(words, arm=lambda: None):
    """Run the command line in a process of its own, and return how it ended."""
    process = os.fork()
    if process == 0:
        arm()
        code = main(words)
        sys.stdout.flush()
        os._exit(code)
    return os.waitpid(process, 0)[1]


def warm_up(words, folder):
    """Run once here, so that no fork imports again what a run imports late."""
    once = [f"--trainer.default_root_dir={folder}", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"]
    assert main([*words, *once]) == 0


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at_batch(number):
    """Kill when so many batches have been begun."""

    def arm():
        begun, usual = [], AQAModule.on_train_batch_start

        def begin(module, batch, batch_idx):
            begun.append(batch_idx)
            return die() if len(begun) == number else usual(module, batch, batch_idx)

        AQAModule.on_train_batch_start = begin

    return arm


def at_save(number):
    """Kill in the middle of writing a checkpoint."""

    def arm():
        saved, usual = [], torch.save

        def save(content, file):
            usual(content, file)
            saved.append(file)
            if len(saved) == number:
                file.flush()
                os.truncate(file.fileno(), file.tell() // 2)
                die()

        torch.save = save

    return arm


def train_and_kill(root, words, num_kills, seed):
    """Kill a run so many times, each time resuming from what it left; then let it end."""
    draw, kills = random.Random(seed), []
    last = root / "run" / "checkpoints" / "last.ckpt"
    while True:
        number = draw.randint(1, 4)
        arm = draw.choice([at_batch(number + 1), at_save(number)])
        if not last.exists():
            shutil.rmtree(root / "run", ignore_errors=True)
        resume = [f"--ckpt_path={last}"] if last.exists() else []
        workers = [f"--data.num_workers={draw.randint(0, 1)}"]
        status = start([*words, *workers, *resume], arm if len(kills) < num_kills else lambda: None)
        if status != signal.SIGKILL:
            return [status, kills]
        kills.append(torch.load(last, weights_only=True)["global_step"] if last.exists() else 0)


def run(root, words, num_kills, seed):
    words = [*words, "--name=run", "--trainer.accelerator=cpu"]
    whole = start([*words, f"--trainer.default_root_dir={root / 'whole'}"])
    status, kills = train_and_kill(
        root / "killed", [*words, f"--trainer.default_root_dir={root / 'killed'}"], num_kills, seed
    )
    (root / "report.json").write_text(json.dumps({"whole": whole, "killed": status, "kills": kills}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    plots.draw_run = lambda *args: []
    jobs = json.loads(Path(sys.argv[1]).read_text())
    for number, job in enumerate(jobs):
        root = Path(job["root"])
        root.mkdir()
        if number == 0:
            warm_up(job["words"], root / "warm")
        run(root, job["words"], job["num_kills"], job["seed"])
