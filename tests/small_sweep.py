"""A sweep as it lies on disk, written by hand: 2 margins x 2 weightings x 2 seeds, on 40 clips with audio."""

import json

import numpy as np
import pytest
import soundfile
import yaml

from lightning_aqa.cli.main import main
from lightning_aqa.data.manifest import Clip
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.history import write_history
from lightning_aqa.results.observations import ObservedWindow, write_clips, write_observations
from lightning_aqa.results.predictions import write_predictions
from lightning_aqa.results.ratings import write_ratings

AXES = ["MI", "TA"]
RATE = 8000


def table(num_clips=40, num_axes=2, noise=0.3, seed=0):
    """Made-up ratings that do not depend on the seed, and scores that do."""
    truth, draw = np.random.default_rng(7), np.random.default_rng(seed)
    ids = [f"corpus-S{i % 5}_P{i // 5:03d}" for i in range(num_clips)]
    levels = np.linspace(1.5, 4.5, 5)[[i % 5 for i in range(num_clips)]][:, None]
    targets = np.clip(levels + truth.normal(0, 0.5, (num_clips, num_axes)), 1, 5).round(2)
    scores = targets + draw.normal(0, noise, targets.shape)
    order = sorted(range(num_clips), key=ids.__getitem__)
    domains = ["music" if i % 2 else "speech" for i in range(num_clips)]
    prompts = [f"A <b>tune</b> & no. {i // 5}" for i in range(num_clips)]
    named = [[names[i] for i in order] for names in (ids, [id_[7:9] for id_ in ids], domains)]
    return Predictions(*named, targets[order], scores[order], prompts=[prompts[i] for i in order])


def write_run(folder, of, config=None, trial=None, axes=AXES):
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / "predictions.csv", [("train", of), ("test", of)], axes)
    if config is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if trial is not None:
        (folder / "trial.json").write_text(json.dumps(trial))
    return folder


def write_audio(root, ids):
    root.mkdir()
    clips = []
    for i, id_ in enumerate(ids):
        tone = 0.3 * np.sin(2 * np.pi * (200 + 30 * i) * np.arange(RATE // 2) / RATE)
        soundfile.write(root / f"{id_}.wav", tone, RATE)
        clips.append(Clip(id_, str(root / f"{id_}.wav"), prompt="from clips.csv"))
    return clips


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """The folder of the sweep; read-only."""
    root = tmp_path_factory.mktemp("report")
    clips = write_audio(root / "audio", table().ids)
    number = 0
    for margin in (0.1, 0.4):
        for factor in (1, 7):
            for seed in (0, 1):
                parameters = {"objectives.qamro.margin_scale": margin, "objectives.qamro.preference_factor": factor}
                noise = 0.2 + margin + 0.02 * factor
                of, variant = table(noise=noise, seed=number), f"margin_scale={margin}, preference_factor={factor}"
                trial = {"sweep": "strength", "number": number, "variant": variant, "state": "finished"}
                trial |= {"parameters": {**parameters, "seed_everything": seed}, "command": ["python", "-m", "x"]}
                folder = write_run(root / "strength" / f"t{number}", of, {"seed_everything": seed}, trial)
                write_clips(folder / "clips.csv", clips)
                write_history(
                    folder / "history.csv", [{"epoch": e, "train/loss": 1 / (e + 1 + seed)} for e in range(3)]
                )
                number += 1
    first = root / "strength" / "t0"
    draw = np.random.default_rng(0)
    rows = [(id_, axis, str(k), float(draw.integers(1, 6))) for id_ in of.ids for axis in AXES for k in range(4)]
    write_ratings(first / "ratings.csv", [("test", rows)])
    windows = [
        ObservedWindow(
            "test", id_, 1.0, draw.normal(size=6).astype(np.float16), draw.uniform(1, 5, (20, 2)).astype(np.float16)
        )
        for id_ in of.ids
    ]
    write_observations(first / "observations.npz", windows, {}, AXES)
    begun = root / "strength" / "t9"
    write_run(begun, of, {}, {"variant": "killed", "state": "killed", "parameters": {}})
    return root / "strength"


@pytest.fixture(scope="session")
def report(sweep, tmp_path_factory):
    """The folder of the report of that sweep."""
    output = tmp_path_factory.mktemp("output")
    words = ["--resamples=200", "--clips=6", "--detailed=3", f"--output={output}"]
    assert main(["report", str(sweep), *words]) == 0
    return output
