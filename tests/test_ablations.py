"""Every sweep file under experiments/ablations opens with its command, expands, and its first trial trains."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from lightning_aqa.cli.main import main
from lightning_aqa.sweep.config import read_sweep
from lightning_aqa.sweep.plan import make_plan
from lightning_aqa.sweep.trial import read_trials
from lightning_aqa.sweep.trial_command import flags
from tests.slow import all_but

ROOT = Path(__file__).parent.parent
FOLDER = "experiments/ablations"
SWEEPS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / FOLDER).glob("*.yaml"))
VARIANTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / FOLDER).glob("*/*.yaml"))
SMALL = ["--trainer.fast_dev_run=true", "--trainer.logger=false", "--data.num_workers=0", "--data.num_systems=3"]


@pytest.fixture(autouse=True)
def sandbox(tmp_path, monkeypatch):
    """Call commands from a folder that has the experiments; trials have one thread."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_there_are_the_ablations_that_papers_make():
    names = {Path(path).stem for path in SWEEPS}
    assert names >= {"qamro", "qamro_aes", "qamro_strength", "aesa_net", "encoders", "heads", "objectives"}


@pytest.mark.parametrize("path", SWEEPS)
def test_a_sweep_opens_with_its_command_and_that_on_real_data(path):
    lines = (ROOT / path).read_text().splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    *here, real = (
        line.split("python -m lightning_aqa ")[1] for line in header if "python -m lightning_aqa sweep" in line
    )
    is_own_data = "experiments/ablations/base/real.yaml" in read_sweep(path).command  # which has no demo corpus
    assert here == ([] if is_own_data else [f"sweep {path}"])
    assert real.startswith(f"sweep {path} ")
    assert ("--data.path=" if is_own_data else "--data.root=") in real.split(" -- ")[1]
    words = real.split()
    base = words[words.index("--base") + 1] if "--base" in words else None
    sweep = read_sweep(path, base=base)
    bases = [name for name in sweep.command if name.endswith(".yaml")]
    assert all(Path(name).exists() for name in bases)
    assert sweep.command[:4] == ["${env}", "${interpreter}", "-m", "lightning_aqa"]
    assert sweep.command[-1] == "${args}"


@pytest.mark.parametrize("path", SWEEPS)
def test_a_sweep_expands_and_names_files_that_are_there(path, tmp_path):
    sweep = read_sweep(path)
    trials = make_plan(sweep, tmp_path / "s", count=None, seed=0).trials()
    assert bool(trials) == (sweep.method == "grid")
    assert len({trial.id for trial in trials}) == len(trials)
    seeds = {trial.parameters["seed_everything"] for trial in trials}
    for trial in trials:
        assert Path(trial.parameters.get("variant", path)).exists()
        agent = create_sweep_command_args({"args": {name: {"value": v} for name, v in trial.parameters.items()}})
        assert flags(trial.parameters) == agent["args"]
    assert len({trial.variant for trial in trials}) * len(seeds) == len(trials)
    assert not trials or len(seeds) >= 3


def test_every_variant_is_used_says_why_and_is_made_of_parts_that_are_there():
    used = {word for path in SWEEPS for word in _words(yaml.safe_load((ROOT / path).read_text()))}
    for path in VARIANTS:
        text = (ROOT / path).read_text()
        assert path in used, path
        assert text.startswith("# "), path
        assert "/base/" in path or len(text.splitlines()) < 14, path
        for part in _parts(yaml.safe_load(text)):
            module, _, name = part["class_path"].rpartition(".")
            accepted = _accepted(getattr(importlib.import_module(module), name))
            assert set(part.get("init_args", {})) <= accepted, path


def _words(value):
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _words(item)
    else:
        yield value


def _parts(value):
    if isinstance(value, dict | list):
        if "class_path" in value:
            yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _parts(item)


def _accepted(part):
    return {name for base in inspect.getmro(part) if base is not object for name in inspect.signature(base).parameters}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Where the trials of all sweeps keep their corpora and features."""
    return tmp_path_factory.mktemp("ablations")


@pytest.mark.parametrize("path", all_but(SWEEPS, f"{FOLDER}/qamro.yaml", f"{FOLDER}/aesa_net.yaml"))
def test_the_first_trial_of_a_sweep_trains(path, shared):
    layout, num_clips = ("aes_natural", 48) if path.endswith("_aes.yaml") else ("musiceval", 30)
    small = [*SMALL, f"--data.root={shared / layout}", f"--data.num_clips={num_clips}", "--data.seconds=[0.5, 0.9]"]
    code = main(["sweep", path, "--count=1", "--workers=1", "--", *small, f"--data.cache={shared / 'features'}"])
    (trial,) = read_trials(Path("runs") / Path(path).stem)
    assert (code, trial.state) == (0, "finished"), trial.log.read_text()


WEIGHTS = {
    "clap": ("music_audioset_epoch_15_esc_90.14.pt", "clap_folder", "clap.pt"),
    "beats": ("BEATs_iter3_plus_AS2M.pt", "beats_folder", "pretrained.pt"),
    "audiobox": ("facebook/audiobox-aesthetics", "audiobox_folder", "hf"),
    "muq": ("OpenMuQ/MuQ-large-msd-iter", "muq_folder", ""),
}


@pytest.mark.parametrize("name", all_but(list(WEIGHTS), "clap"))
def test_a_pretrained_encoder_of_the_ablation_trains_from_a_checkpoint_of_its_layout(
    name, corpora, request, tmp_path, monkeypatch
):
    published, fixture, file = WEIGHTS[name]
    folder = request.getfixturevalue(fixture)
    for given, place in ((published, folder / file), ("roberta-base", folder)):
        (tmp_path / "weights" / given).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "weights" / given).symlink_to(place)
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(tmp_path / "weights"))
    words = [f"--variant={FOLDER}/encoders/{name}.yaml", "--data.cache=null", *SMALL[:-1]]
    words += [f"--model.encoder.config={folder / 'wavlm.json'}"] if name == "audiobox" else []
    words += ["--data=MusicEval", f"--data.root={corpora['musiceval']}"]
    assert main(["fit", "--config", "experiments/quickstart.yaml", *words]) == 0
