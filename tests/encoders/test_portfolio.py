"""Encoders whose weights are at hand: found among hostile folders, kept by runs, and chosen within a time limit."""

import csv
import json
import shutil

import pytest
import yaml

from lightning_aqa.cli import portfolio
from lightning_aqa.cli.main import main
from lightning_aqa.cli.portfolio import seconds_of
from lightning_aqa.encoders.at_hand import at_hand
from lightning_aqa.encoders.portfolio import Portfolio
from lightning_aqa.training import cross_validation
from lightning_aqa.utils.settings import settings_of


@pytest.fixture
def weights(hub_folder, tmp_path, monkeypatch):
    """A folder of weights with one small WavLM, and an empty cache of the hub."""
    from huggingface_hub import constants

    shutil.copytree(hub_folder, tmp_path / "weights" / "speech")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv(portfolio.CHOICE, raising=False)
    return tmp_path / "weights"


def _variant(source, target, **changes):
    """Copy a model under another name, with some of its config changed."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | changes))


def _names(found):
    shown = ("name_or_path", "checkpoint", "text")
    return [
        (one["class_path"].split(".")[-1], *(v for k, v in one["init_args"].items() if k in shown)) for one in found
    ]


def test_each_audio_model_is_found_once_and_nothing_else(weights, text_folder, nisqa_folder, clap_folder, tmp_path):
    _variant(weights / "speech", weights / "org" / "deep", odd=1)
    shutil.copytree(text_folder, weights / "text")
    shutil.copytree(weights / "speech", weights / "image")
    (weights / "image" / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    shutil.copytree(weights / "speech", weights / "bare")
    next((weights / "bare").glob("*.safetensors")).unlink()
    (weights / "alias").symlink_to(weights / "speech")
    (weights / "up").symlink_to(weights)
    (weights / "loop").symlink_to(weights / "loop")
    shutil.copy(nisqa_folder / "nisqa.tar", weights)
    shutil.copytree(clap_folder / "hub", weights / "clap")
    (weights / "clap" / "preprocessor_config.json").write_text('{"sampling_rate": 48000}')
    for name, ref, source in (("org--speech", "main", "speech"), ("org--cached", "main", "org/deep"),
                              ("org--branch", "v1", "org/deep"), ("org--text", "main", "text")):  # fmt: skip
        repository = tmp_path / "cache" / f"models--{name}"
        shutil.copytree(weights / source, repository / "snapshots" / "abc")
        (repository / "refs").mkdir()
        (repository / "refs" / ref).write_text("abc")
    expected = [
        ("Descriptors",), ("NISQA", "nisqa.tar"), ("Hub", "alias"), ("CLAP", "clap", False), ("Hub", "org/deep"),
        ("Hub", "org/branch@v1"), ("Hub", "org/cached"),
    ]  # fmt: skip
    assert _names(at_hand()) == expected == _names(at_hand())


def test_the_folder_itself_may_be_the_model_and_may_be_missing(weights, monkeypatch, tmp_path):
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(weights / "speech"))
    assert _names(at_hand()) == [("Descriptors",), ("Hub", str(weights / "speech"))]
    for gone in (str(tmp_path / "nowhere"), str(weights / "speech" / "config.json"), ""):
        monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", gone)
        assert _names(at_hand()) == [("Descriptors",)]


def test_built_in_python_it_tells_what_is_broken_and_remembers_what_it_has(weights, caplog):
    shutil.copytree(weights / "speech", weights / "broken")
    (weights / "broken" / "config.json").write_text("{no JSON")
    shutil.copytree(weights / "speech", weights / "cut")
    next((weights / "cut").glob("*.safetensors")).write_bytes(b"cut")
    encoder = Portfolio()
    assert [part.name for part in encoder.parts()] == ["Descriptors", "speech"]
    told = [record.message for record in caplog.records]
    assert [one.split(":")[0] for one in told] == [f"Portfolio leaves out Hub {name}" for name in ("broken", "cut")]
    assert "cannot be read as JSON" in told[0]
    assert "\n" not in "".join(told)
    shutil.rmtree(weights / "broken")
    shutil.copytree(weights / "speech", weights / "further")
    assert _names(settings_of(encoder)["init_args"]["encoders"]) == [("Descriptors",), ("Hub", "speech")]


def test_a_run_keeps_its_encoders_on_another_machine(weights, corpora, fit, fails, tmp_path, monkeypatch, capfd):
    data = ["--data=MusicEval", f"--data.root={corpora['musiceval']}"]
    (weights / "broken").mkdir()
    for file in (weights / "speech").iterdir():
        (weights / "broken" / file.name).write_text("no JSON")
    folder = fit(*data, "--model.encoder=Portfolio", "--model.freeze=all")
    said = capfd.readouterr().out
    assert "left out" in next(line for line in said.splitlines() if line.startswith("Hub broken"))
    encoder = yaml.safe_load((folder / "config.yaml").read_text())["model"]["encoder"]
    assert _names(encoder["init_args"]["encoders"]) == [("Descriptors",), ("Hub", "speech")]

    elsewhere = tmp_path / "elsewhere"
    weights.rename(elsewhere)
    _variant(elsewhere / "speech", elsewhere / "further", odd=1)
    again = ["test", *data, f"--ckpt_path={folder}", f"--trainer.default_root_dir={tmp_path}", "--name=again"]
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(elsewhere))
    assert main(again) == 0
    assert _scores(tmp_path / "again") == _scores(folder)
    monkeypatch.delenv("LIGHTNING_AQA_WEIGHTS")
    said = fails(*again)
    assert "speech: no such weights here" in said
    assert "the folder that LIGHTNING_AQA_WEIGHTS names (it is not set)" in said


def _scores(folder):
    with open(folder / "predictions.csv", newline="") as file:
        return {row["id"]: row["score"] for row in csv.DictReader(file)}


@pytest.fixture
def limited(weights, corpora, tmp_path, monkeypatch):
    """The start of a cross-validation whose folds fail at once, and the seconds that each encoder takes for a clip."""
    audio = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:9]
    (tmp_path / "list.csv").write_text(
        "\n".join(["file,overall", *(f"{path},{i % 5}" for i, path in enumerate(audio))])
    )
    for name in ("slow", "small"):
        _variant(weights / "speech", weights / name, odd=name)
    seconds = {"Descriptors": 100.0, "slow": 3.0, "small": 1.0, "speech": 2.0}
    monkeypatch.setattr(portfolio, "time_encoder", lambda encoder, samples: seconds[encoder.label])
    monkeypatch.setattr(cross_validation, "train_fold", lambda *_: 1)
    data = ["--data=Table", f"--data.path={tmp_path / 'list.csv'}", "--data.axes={overall: [0, 5]}", "--data.folds=3"]
    run = ["--model.encoder=Portfolio", f"--trainer.default_root_dir={tmp_path}", "--name=cv"]

    def start(*words, name="cv"):
        assert main(["fit", *data, *run, *words]) == 1
        encoder = yaml.safe_load((tmp_path / name / "config.yaml").read_text())["model"]["encoder"]
        return [one[-1] for one in _names(encoder["init_args"]["encoders"])]

    return start, seconds


def test_the_cheapest_are_taken_while_the_sum_fits_and_descriptors_always(limited, capfd):
    start, _ = limited
    assert start() == ["Descriptors", "slow", "small", "speech"]
    assert start("--time_limit=1", name="cv-2") == ["Descriptors"]
    said = capfd.readouterr().out
    assert said.count("left out: more than the 1 s of --time_limit") == 3
    assert start("--time_limit=1h", name="cv-3") == ["Descriptors", "slow", "small", "speech"]


def test_a_cross_validation_goes_on_with_its_choice(limited, weights, tmp_path):
    start, seconds = limited
    seconds["Descriptors"] = 0.0
    limit = "--time_limit=30"  # 9 clips of 0.7 s on average: three to one window of the first
    taken = start(limit)
    assert "small" in taken
    assert "slow" not in taken
    before = (tmp_path / "cv" / "config.yaml").read_text()
    shutil.copytree(weights / "speech", weights / "later")
    seconds.update(dict.fromkeys(seconds, 1000.0))  # measured anew, all others would be left out
    assert start(limit) == taken
    assert (tmp_path / "cv" / "config.yaml").read_text() == before
    assert not (tmp_path / "cv-2").exists()
    assert start(limit, "--model.freeze=all", name="cv-2") == ["Descriptors"]


@pytest.mark.parametrize(("given", "expected"), [("90s", 90), ("1.5 h", 5400), ("10m", 600), (7, 7), (1e3, 1000)])
def test_a_time_limit_has_a_unit(given, expected):
    assert seconds_of(given) == expected


@pytest.mark.parametrize("given", ["0", "-5", "ten", "5d", "nan", "inf", ""])
def test_a_time_that_is_none_is_refused(given):
    with pytest.raises(ValueError, match="expected seconds above 0, or a time such as 90s, 10m or 2h"):
        seconds_of(given)


def test_a_clip_that_cannot_be_read_is_not_measured(limited, tmp_path, monkeypatch):
    start, _ = limited
    rows = (tmp_path / "list.csv").read_text().splitlines()
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "list.csv").write_text("\n".join([rows[0], f"{tmp_path / 'broken.wav'},3", *rows[1:]]))
    assert len(start("--time_limit=1h", "--data.on_bad_clip=skip")) == 4


def test_a_time_limit_without_a_portfolio_is_refused(corpora, fails):
    said = fails("fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--time_limit=5m")
    assert "it needs --model.encoder=Portfolio" in said
