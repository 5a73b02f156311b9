"""The corpus and the commands behind tests/fixtures/golden, whose files were made by commit 83a3301.

To make them again, in an empty folder with a checkout of that commit first on PYTHONPATH: python golden.py
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

EXPERIMENT = """data:
  class_path: lightning_aqa.data.table.Table
  init_args:
    path: ratings.csv
    audio_root: clips
    axes:
      overall: [1, 5]
      noise: [1, 5]
    batch_size: 4
"""
SWEEP = """name: golden
description: margins
method: grid
metric: {name: val/utterance/SRCC/mean, goal: maximize}
parameters:
  seed_everything: {values: [0, 1]}
  objectives.qamro.margin_scale: {values: [0.1, 0.5]}
command:
  - ${env}
  - ${interpreter}
  - -m
  - lightning_aqa
  - fit
  - --config
  - experiments/quickstart.yaml
  - --config
  - table.yaml
  - --trainer.max_epochs=2
  - --trainer.logger=false
  - ${args}
"""
FIT = ["fit", "--config", "experiments/quickstart.yaml", "--config", "table.yaml", "--trainer.logger=false"]
QUICKSTART = [*FIT, "--trainer.max_epochs=3", "--name=quickstart"]
SCORE = ["score", "runs/quickstart/checkpoints/best.ckpt", "clips", "--output", "scores.csv"]
TABLE = ["sweep", "sweep.yaml", "--root", "sweeps", "--workers", "1", "--report"]
OLD_NAMES = [
    *FIT,
    "--name=old_names",
    "--trainer.max_epochs=2",
    "--model.encoder=lightning_aqa.encoders.melspectrogram.MelSpectrogram",
    "--model.encoder.width=16",
    "--model.encoder.depth=1",
    "--model.head=lightning_aqa.heads.linear.MusicEvalBaseline",
    "--objectives.qamro.memory=8",
    "--data.level=rms",
    "--data.cache=null",
]

MEMORY = [*FIT, "--name=memory", "--objectives.qamro.memory=8"]


def write_corpus(folder):
    """Write tones with more or less noise, rated by three listeners on two axes."""
    (folder / "clips").mkdir(parents=True)
    draw = np.random.default_rng(1)
    rows = [("file", "system", "listener", "overall", "noise", "split")]
    for number in range(24):
        time = np.arange(int(16000 * (1 + 0.05 * number))) / 16000
        quality, split = draw.uniform(1.4, 4.6), "train" if number < 14 else "dev" if number < 19 else "test"
        noise = (5 - quality) * 0.04 * draw.standard_normal(len(time))
        tone = 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * time)
        name = f"k{number:02d}.wav"
        soundfile.write(folder / "clips" / name, (tone + noise).astype("f4"), 16000)
        for listener in range(3):
            ratings = np.clip(np.rint(np.array([quality, 6 - quality]) + draw.normal(0, 0.7, 2)), 1, 5).astype(int)
            rows.append((name, f"s{number % 4}", f"L{listener}", *ratings, split))
    with open(folder / "ratings.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "table.yaml").write_text(EXPERIMENT)
    (folder / "sweep.yaml").write_text(SWEEP)


def _make(folder, experiments):
    write_corpus(folder)
    (folder / "experiments").symlink_to(experiments)
    two, three = "--trainer.max_epochs=2", "--trainer.max_epochs=3"
    for words in (QUICKSTART, SCORE, OLD_NAMES, TABLE, [*MEMORY, two], [*MEMORY, three, "--name=memory_whole"]):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        subprocess.run([sys.executable, "-m", "lightning_aqa", *words], check=True, cwd=folder, env=environment)


if __name__ == "__main__":
    _make(Path.cwd(), Path(sys.argv[1]).resolve())
