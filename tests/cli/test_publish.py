"""The subcommand publish: a run becomes a model that others load by name, with equal scores and a card."""

import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lightning_aqa import load
from lightning_aqa.cli.main import main
from lightning_aqa.encoders.exported import TorchScript
from lightning_aqa.encoders.huggingface import Hub
from lightning_aqa.encoders.nisqa import NISQA
from lightning_aqa.metrics.levels import evaluate
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.module import AQAModule
from lightning_aqa.results.clip_intervals import calibrated_by, write_calibration
from lightning_aqa.results.evidence import with_evidence
from lightning_aqa.results.predictions import write_predictions, write_results
from lightning_aqa.results.trained_features import TrainedFeatures
from lightning_aqa.scoring import publishing
from lightning_aqa.scoring.load import fingerprint
from lightning_aqa.scoring.published_encoders import EncoderOptions, name_encoders

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def run_folder(run_folder, tmp_path_factory):
    """The run of a short fit, as if it had been evaluated on sixty clips of four odd systems; read-only."""
    folder, random = _copy_run(run_folder, tmp_path_factory.mktemp("runs") / "run"), np.random.default_rng(0)
    targets = random.uniform(1, 5, (60, 2))
    ids, systems = [f"secret-{i}" for i in range(60)], [f"<script>|*\nS{i % 4}" for i in range(60)]
    table = Predictions(ids, systems, [""] * 60, targets, targets / 2 + 1.5 + random.normal(0, 0.2, targets.shape))
    axes = ["MI", "TA"]
    write_predictions(
        folder / "predictions.csv",
        [("train", table._replace(ids=[f"train-{i}" for i in range(60)])), ("test", table)],
        axes,
    )
    numbers = evaluate(table.ids, table.systems, table.domains, table.scores, table.targets, axes)
    results = {"test": with_evidence("test", numbers, table, axes)}
    write_results(folder / "results.json", results)
    write_calibration(folder, calibrated_by("test", table, axes, None))
    TrainedFeatures.of(random.normal(size=(30, 8)).astype(np.float32), ["a", "b"] * 15).write(folder)
    return folder


@pytest.fixture(scope="module")
def published(run_folder, tmp_path_factory):
    """A published run; read-only."""
    folder = tmp_path_factory.mktemp("published") / "model"
    words = ["--license=apache-2.0", "--corpus=Made-up sounds", "--corpus_license=CC0 1.0"]
    assert main(["publish", str(run_folder), f"--to={folder}", *words]) == 0
    return folder


@pytest.fixture
def same(clips, tmp_path, monkeypatch):
    """Score clips by two models from two working folders; tell whether the tables have the same bytes."""

    def are_same(*sources):
        found = []
        for number, source in enumerate(map(str, sources)):
            (tmp_path / f"cwd-{number}").mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / f"cwd-{number}")
            assert main(["score", source, str(clips), "--output=scores.csv"]) == 0
            found.append((tmp_path / f"cwd-{number}" / "scores.csv").read_bytes())
            os.unlink("scores.csv")
            os.unlink("scores.csv.stamp.json")
        return found[0] == found[1] and len(found[0]) > 500

    return are_same


def _copy_run(run_folder, folder, change=None):
    """Copy what of a run is published, with another checkpoint where one is given."""
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "run.json", "predictions.csv", "results.json", "intervals.json", "trained.npz"):
        if (run_folder / name).exists():
            shutil.copyfile(run_folder / name, folder / name)
    content = torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save(content | (change or {}), folder / "checkpoints" / "best.ckpt")
    return folder


def test_it_scores_to_the_bit_as_the_run_does(published, run_folder, same, clips):
    assert same(published, run_folder)
    assert fingerprint(load(published)) == fingerprint(load(run_folder))
    wanted, found = (load(source).rows([clips / "a.wav"]) for source in (run_folder, published))
    assert wanted == found
    assert {"MI low", "MI high", "unlike"} <= found[0].keys()


def test_no_file_of_it_is_a_pickle_and_none_names_a_clip_or_this_machine(published, run_folder):
    for path in published.iterdir():
        content = path.read_bytes()
        assert b"secret-" not in content, path
        assert str(run_folder.parent).encode() not in content, path
    with np.load(published / "trained.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind == "f" for name in arrays)
    assert all(json.loads(path.read_text()) for path in published.glob("*.json"))
    assert set(load_file(published / "model.safetensors")) == set(load(run_folder).module.state_dict())
    listed = {line.split()[1] for line in (published / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in published.iterdir()} - {"SHA256SUMS"}


def test_the_card_says_what_a_stranger_asks(published, run_folder):
    card = (published / "README.md").read_text()
    assert card.startswith('---\nlibrary_name: "lightning_aqa"\nlicense: "apache-2.0"\ntags:')
    results = json.loads((run_folder / "results.json").read_text())["test"]["utterance"]["MI"]
    low, high = results["ci"]["MSE"]
    sentences = """# model|lightning-aqa score model clips/|lightning_aqa.load("model")|What it is for|Not in place of
A demonstration: its audio was synthesised|Made-up sounds. It was trained on 60 clips of 4 systems.|Where it fails
Licence of the corpus: CC0 1.0.|clips of the split test, which it was not trained on|Scores are farthest off on average
Systems whose mean is farthest off:|to 16000 Hz|0.5 s are cut|This model: apache-2.0.|sha256sum --check"""
    numbers = ["| MI | Musical impression | 1 | 5 |", f"{results['MSE']:.3f} ({low:.2f} to {high:.2f})"]
    for said in [*sentences.replace("\n", "|").split("|"), *numbers]:
        assert said in card, said


def test_what_is_not_known_is_said_to_be_unknown_and_names_are_shown_as_they_are(run_folder, tmp_path):
    assert main(["publish", str(run_folder), f"--to={tmp_path / 'a b'}", "--license=my own, ask"]) == 0
    card = (tmp_path / "a b" / "README.md").read_text()
    assert "\\<script>\\|\\* S1 |" in card
    assert "<script>|" not in card
    assert "score 'a b' clips/" in card
    assert 'license: "other"\nlicense_name: "my own, ask"\n' in card
    assert "Licence of the corpus: unknown." in card


def test_it_is_put_into_an_empty_folder_and_into_no_other(run_folder, tmp_path, fails):
    (tmp_path / "empty").mkdir()
    assert main(["publish", str(run_folder), f"--to={tmp_path / 'empty'}"]) == 0
    (tmp_path / "file").write_text("mine")
    for name in ("empty", "file"):
        before = sorted((tmp_path / "empty").iterdir())
        said = fails("publish", str(run_folder), f"--to={tmp_path / name}")
        assert f"{name}: there is something already; name another folder, or move it away." in said
        assert sorted((tmp_path / "empty").iterdir()) == before
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def _forked(work):
    """Do something in a process of its own that ends with its exit code; return the process."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os._exit(work())
    return process


def _code(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("step", ["_write_model", "write_checksums"])
def test_killed_at_any_step_it_leaves_nothing_that_looks_like_a_model(run_folder, tmp_path, monkeypatch, step):
    own = getattr(publishing, step)

    def write_and_die(*args):
        own(*args)
        os._exit(9)

    monkeypatch.setattr(publishing, step, write_and_die)
    to = tmp_path / "model"
    assert _code(_forked(lambda: main(["publish", str(run_folder), f"--to={to}"]))) == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("model.")
    assert left.suffix == ".part"
    monkeypatch.undo()
    assert main(["publish", str(run_folder), f"--to={to}"]) == 0


def test_a_full_disk_is_told_and_leaves_nothing(run_folder, tmp_path, monkeypatch, capfd):
    def full(*args):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    assert main(["publish", str(run_folder), f"--to={tmp_path / 'model'}"]) == 74
    assert "model.safetensors. Make room" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_of_two_at_once_one_is_there_whole(run_folder, tmp_path):
    both = [_forked(lambda: main(["publish", str(run_folder), f"--to={tmp_path / 'model'}"])) for _ in range(2)]
    assert sorted(map(_code, both)) == [0, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert fingerprint(load(tmp_path / "model")) == fingerprint(load(run_folder))


def test_an_ensemble_and_the_mean_of_folds_are_published_too(run_folder, tmp_path, same):
    content = torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    other = {
        "state_dict": {name: 1.01 * value if value.is_floating_point() else value for name, value in content.items()}
    }
    runs = [_copy_run(run_folder, tmp_path / "fold0"), _copy_run(run_folder, tmp_path / "fold1", other)]
    assert main(["ensemble", *map(str, runs), f"--output={tmp_path / 'both'}"]) == 0
    assert main(["publish", str(tmp_path / "both"), f"--to={tmp_path / 'weighted'}"]) == 0
    assert same(tmp_path / "both", tmp_path / "weighted")
    folds = _copy_run(run_folder, tmp_path / "cv")
    shutil.rmtree(folds / "checkpoints")
    for run in runs:
        shutil.move(run, folds / run.name)
        shutil.copyfile(folds / run.name / "checkpoints" / "best.ckpt", folds / run.name / "checkpoints" / "last.ckpt")
    assert main(["publish", str(folds), f"--to={tmp_path / 'folds'}", "--ensemble"]) == 0
    assert fingerprint(load(folds, ensemble=True)) == fingerprint(load(tmp_path / "folds"))
    assert (tmp_path / "folds" / "members" / "1" / "model.safetensors").is_file()


def test_runs_that_cannot_be_published_are_refused_in_one_line(run_folder, published, tmp_path, fails):
    to = f"--to={tmp_path / 'model'}"
    (tmp_path / "a.yaml").write_text("model: {}\n")
    assert "a config, of which nothing is trained" in fails("publish", str(tmp_path / "a.yaml"), to)
    assert "no such run folder" in fails("publish", str(tmp_path / "nothing"), to)
    run = _copy_run(run_folder, tmp_path / "run")
    shutil.copyfile(run / "checkpoints" / "best.ckpt", run / "checkpoints" / "last.ckpt")
    said = fails("publish", str(run / "checkpoints" / "last.ckpt"), to)
    assert "are of another checkpoint; publish that folder" in said
    (run / "results.json").unlink()
    assert "no results in it yet" in fails("publish", str(run), to)
    assert "expected NAME=ORG/MODEL" in fails("publish", str(run_folder), to, "--encoder=some/model")
    said = fails("publish", str(run_folder), to, "--encoder=a=some/model")
    assert "--encoder=a=…: the model has no encoder of that name" in said
    assert "a: published already; copy the folder" in fails(
        "publish", str(shutil.copytree(published, tmp_path / "a")), to
    )
    assert not (tmp_path / "model").exists()


@pytest.fixture
def with_encoder(run_folder, tmp_path):
    """Write a run whose model is untrained on an encoder, perhaps with a weight of the encoder changed."""

    def write(name, encoder, *, changes=None):
        module = AQAModule([("MI", "Musical impression", 1.0, 5.0)], encoder, freeze="none" if changes else "all")
        for weight in [of for key, of in module.named_parameters() if changes and changes in key]:
            torch.nn.init.ones_(weight)
        settings = {key: value for key, value in module.hparams.items() if key not in ("optimizer", "scheduler")}
        content = {"state_dict": module.state_dict(), "hyper_parameters": settings, "callbacks": {}}
        return _copy_run(run_folder, tmp_path / name, content)

    return write


@pytest.fixture
def in_cache(tmp_path, monkeypatch):
    """Lay a folder down as a repository in the hub's cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def lay(name, folder):
        here = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, here / "snapshots" / REVISION)
        (here / "refs").mkdir()
        (here / "refs" / "main").write_text(REVISION)

    return lay


def test_a_frozen_encoder_is_named_with_its_commit_and_others_than_it_are_refused(
    with_encoder, hub_folder, tmp_path, in_cache, fails
):
    run = with_encoder("run", Hub(str(hub_folder)))
    to, alias = tmp_path / "model", f"--encoder={hub_folder}=some/wavlm"
    settings = {"encoder": {"class_path": f"{Hub.__module__}.Hub", "init_args": {"name_or_path": str(hub_folder)}}}
    with pytest.raises(ValueError, match=f"the encoder's weights are {hub_folder}, of this machine; say where"):
        name_encoders(settings, EncoderOptions())
    in_cache("some/wavlm", hub_folder)
    assert main(["publish", str(run), f"--to={to}", alias]) == 0
    assert fingerprint(load(run)) == fingerprint(load(to))
    record = json.loads((to / "config.json").read_text())["models"][0]
    assert record["settings"]["encoder"]["init_args"]["name_or_path"] == f"some/wavlm@{REVISION}"
    assert not any(name.startswith("encoder.") for name in load_file(to / "model.safetensors"))
    assert f"revision `{REVISION}`" in (to / "README.md").read_text()
    weights = tmp_path / "cache" / "models--some--wavlm" / "snapshots" / REVISION / "model.safetensors"
    save_file({name: 1.5 * value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match="the weights of its encoder that are found here are not those that it was"):
        load(to)
    said = fails("publish", str(run), f"--to={tmp_path / 'wrong'}", alias)
    assert "some/wavlm: not the weights that the run was trained with" in said


def test_an_encoder_is_copied_where_its_licence_allows_it(with_encoder, hub_folder, tmp_path, same, fails):
    run, to = with_encoder("run", Hub(str(hub_folder))), tmp_path / "model"
    words = ["publish", str(run), f"--to={to}", "--include_encoder"]
    assert "their licence is not known; give it by --encoder_license" in fails(*words)
    assert "'CC BY-ND 4.0' is not known to allow copies" in fails(*words, "--encoder_license=CC BY-ND 4.0")
    assert main([*words, "--encoder_license=MIT"]) == 0
    shutil.move(to, tmp_path / "elsewhere")
    assert same(run, tmp_path / "elsewhere")
    assert "are in this folder" in (tmp_path / "elsewhere" / "README.md").read_text()
    assert str(hub_folder) not in (tmp_path / "elsewhere" / "config.json").read_text()


def test_of_a_trained_encoder_the_changed_weights_are_handed_on(with_encoder, hub_folder, tmp_path, in_cache, fails):
    in_cache("some/wavlm", hub_folder)
    run, to = with_encoder("run", Hub("some/wavlm"), changes="encoder.layers.1.feed_forward"), tmp_path / "model"
    assert "the weights of wavlm would be handed on" in fails("publish", str(run), f"--to={to}")
    assert main(["publish", str(run), f"--to={to}", "--encoder_license=MIT"]) == 0
    assert fingerprint(load(run)) == fingerprint(load(to))
    names = [name for name in load_file(to / "model.safetensors") if name.startswith("encoder.")]
    assert names
    assert all("layers.1.feed_forward" in name for name in names)


def test_encoders_that_are_files_are_named_or_refused(
    with_encoder, nisqa_folder, exported_folder, tmp_path, monkeypatch, fails
):
    shutil.copyfile(next(nisqa_folder.rglob("*.tar")), tmp_path / "nisqa.tar")
    run = with_encoder("nisqa", NISQA(str(tmp_path / "nisqa.tar")))
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(tmp_path))
    assert main(["publish", str(run), f"--to={tmp_path / 'named'}"]) == 0
    settings = json.loads((tmp_path / "named" / "config.json").read_text())["models"][0]["settings"]
    assert settings["encoder"]["init_args"]["checkpoint"] == "nisqa.tar"
    said = fails("publish", str(run), f"--to={tmp_path / 'a'}", "--include_encoder", "--encoder_license=MIT")
    assert "nisqa.tar cannot be copied, since it is no folder of config.json and model.safetensors" in said
    monkeypatch.setenv("LIGHTNING_AQA_TORCHSCRIPT", "1")
    run = with_encoder("script", TorchScript(str(exported_folder / "model.pt")))
    assert "an exported encoder is a program" in fails("publish", str(run), f"--to={tmp_path / 'b'}")


def test_on_the_hub_each_commit_is_a_model_by_its_name(hub, run_folder, published, same, tmp_path, capfd):
    hub.repositories["some/thing"] = [("0" * 40, {"pytorch_model.bin": b"", "README.md": b""})]
    assert main(["publish", str(run_folder), "--to=some/model"]) == 0
    commit = hub.repositories["some/model"][-1][0]
    assert f"score some/model@{commit} CLIPS" in capfd.readouterr().out
    assert same(run_folder, "some/model")
    hub.asked.clear()
    assert same(published, f"some/model@{commit}")
    assert hub.asked == []  # the hub's cache has it
    other = shutil.copytree(published, tmp_path / "other")
    (other / "README.md").write_text('# model\nBetter words. load("model")\n')
    assert main(["publish", str(other), "--to=some/model"]) == 0
    files = hub.repositories["some/model"][-1][1]
    assert files["README.md"] == b'# some/model\nBetter words. load("some/model")\n'
    assert fingerprint(load(f"some/model@{hub.repositories['some/model'][-1][0]}")) == fingerprint(load(run_folder))


def test_what_the_hub_refuses_is_told_in_one_line(hub, published, monkeypatch, fails):
    hub.repositories["some/thing"] = [("0" * 40, {"pytorch_model.bin": b""})]
    said = fails("publish", str(published), "--to=some/thing")
    assert "some/thing: there is such a repository, and it holds something else; name another; for a folder" in said
    for name, why in {
        "some/nothing": "nor does the hub show such a model",
        "some/thing@v2": "the hub has no revision v2 of it",
        "some/thing": "no model that `lightning-aqa publish` wrote, since it has no SHA256SUMS",
    }.items():
        with pytest.raises(ValueError, match=f"{name}: .*{why}"):
            load(name)
    assert "leave out what follows the @" in fails("publish", str(published), "--to=some/model@v2")
    hub.asked.clear()
    said = fails("publish", str(published), "--to=out/model")
    assert "--to=out/model: you are some on the hub, not out; for a folder write --to=./out/model." in said
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    said = fails("publish", str(published), "--to=some/model")
    assert re.search(r"--to=some/model: .*`hf auth login` signs in to the hub; for a folder write --to=\./some/m", said)
    monkeypatch.delenv("HF_TOKEN")
    said = fails("publish", str(published), "--to=out/model")
    assert "--to=out/model: to the hub goes who is signed in to it, by `hf auth login`; for a folder" in said
    assert {*hub.asked} <= {"GET /api/whoami-v2", "GET /api/agent-harnesses"}  # nothing else was sent


def test_without_the_hub_a_name_is_told_to_be_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(
        ValueError, match=r"some/model: neither a file or folder here nor in the hub's cache, and HF_HUB"
    ):
        load("some/model")
    with pytest.raises(ValueError, match=r"runs/typo: no such checkpoint"):
        load("runs/typo")
