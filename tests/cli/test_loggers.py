"""Loggers write into the run folder, whichever way they are named, unless they name a folder of their own."""

import importlib.util
import json
import sqlite3
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from jsonargparse import Namespace
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger
from PIL import Image

from lightning_aqa.cli.loggers import RUN_FOLDER, place_loggers
from lightning_aqa.results.mlflow_run import write_mlflow_run
from lightning_aqa.training.loggers import introduce_run, log_pictures
from lightning_aqa.training.trackio_logger import TrackioLogger
from lightning_aqa.utils.wandb import OFFLINE_HINT


def _settings(logger):
    return Namespace(trainer=Namespace(logger=logger))


@pytest.fixture
def logger():
    arguments = Namespace(project="p", name=None, save_dir=".")
    return Namespace(class_path="lightning.pytorch.loggers.WandbLogger", init_args=arguments)


@pytest.fixture
def _no_key(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_no_key")
def test_every_wandb_logger_writes_to_the_run_folder_offline_without_a_key(tmp_path, logger):
    other = Namespace(class_path="lightning.pytorch.loggers.CSVLogger", init_args=Namespace(save_dir="elsewhere"))
    second = logger.clone()
    second.init_args.name = "own"
    settings = _settings([other, logger, second])
    assert place_loggers(settings, tmp_path / "run")
    found = [(one.init_args.save_dir, one.init_args.name) for one in (logger, second)]
    assert found == [(str(tmp_path / "run"), "run"), (str(tmp_path / "run"), "own")]
    assert other.init_args.save_dir == "elsewhere"


@pytest.mark.usefixtures("_no_key")
def test_a_key_logs_online_and_no_wandb_logger_is_not_offline(tmp_path, logger, monkeypatch):
    assert not place_loggers(_settings(False), tmp_path / "run")
    assert not place_loggers(_settings(None), tmp_path / "run")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert not place_loggers(_settings(logger), tmp_path / "run")


def _logs(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("metrics.csv"))


@pytest.fixture
def train(corpora, fit):
    def run(*args):
        return fit("--data=MusicEval", f"--data.root={corpora['musiceval']}", "--data.batch_size=16", *args)

    return run


ONE, OWN = "lightning_logs/version_0/metrics.csv", "mine/version_0/metrics.csv"


@pytest.mark.parametrize(
    ("args", "logs"),
    [
        (["--trainer.logger=CSVLogger"], [ONE]),
        pytest.param(["--trainer.logger=CSVLogger", "--trainer.logger.name=mine"], [OWN], marks=pytest.mark.slow),
        pytest.param(["--trainer.logger+=CSVLogger"], [ONE], marks=pytest.mark.slow),
        (["--trainer.logger+=CSVLogger", "--trainer.logger+=CSVLogger", "--trainer.logger.name=mine"], [ONE, OWN]),
        pytest.param(
            ["--trainer.logger=[CSVLogger, {class_path: CSVLogger, init_args: {name: mine}}]"],
            [ONE, OWN],
            marks=pytest.mark.slow,
        ),
        (["--trainer.logger=false"], []),
    ],
)
def test_a_logger_writes_into_the_run_folder(train, args, logs):
    assert _logs(train(*args)) == logs


def test_a_folder_of_the_user_s_own_is_kept(train, tmp_path):
    folder = train("--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'own'}")
    assert (_logs(folder), _logs(tmp_path / "own")) == ([], [ONE])


def test_a_config_that_names_a_logger_alone_runs_and_its_copy_logs_into_another_folder(train, fit, tmp_path):
    (tmp_path / "log.yaml").write_text("trainer: {logger: {class_path: CSVLogger}}\n")
    folder = train("--config", str(tmp_path / "log.yaml"))
    assert _logs(folder) == [ONE]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert str(folder) not in str(config["trainer"]["logger"])
    assert _logs(fit("--config", str(folder / "config.yaml"), name="again")) == [ONE]


@pytest.mark.filterwarnings("ignore:Starting from v1.9.0")  # without tensorboard
def test_true_is_lightning_s_own_choice_in_the_run_folder(train):
    folder = train("--trainer.logger=true")
    assert list((folder / "lightning_logs" / "version_0").iterdir())


def test_tensorboard_writes_into_the_run_folder(train):
    pytest.importorskip("tensorboard")
    assert list(train("--trainer.logger=TensorBoardLogger").rglob("events.out.tfevents.*"))


@pytest.mark.usefixtures("_no_key")
def test_online_without_a_key_is_refused_with_what_to_do(tmp_path, logger, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(ValueError, match=r"WANDB_MODE=online needs an API key.*wandb login.*WANDB_MODE=offline"):
        place_loggers(_settings(logger), tmp_path / "run")


@pytest.mark.usefixtures("_no_key")
def test_a_resumed_run_goes_on_as_the_wandb_run_that_it_was(tmp_path, logger):
    place_loggers(_settings(logger), tmp_path / "run")
    assert logger.init_args.get("id") is None
    (tmp_path / "run" / "wandb" / "offline-run-20260101_000000-abc").mkdir(parents=True)
    place_loggers(_settings(logger), tmp_path / "run")
    assert logger.init_args.id == "abc"
    logger.init_args.id = "own"
    place_loggers(_settings(logger), tmp_path / "run")
    assert logger.init_args.id == "own"


def test_a_server_that_is_not_reached_is_one_line(corpora, fails, tmp_path, monkeypatch):
    import wandb

    def unreachable(**kwargs):
        raise wandb.errors.CommError("no such host\nConsider increasing the init_timeout setting")

    monkeypatch.setattr(wandb, "init", unreachable)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    said = fails("fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--trainer.logger=WandbLogger",
                 f"--trainer.default_root_dir={tmp_path}")  # fmt: skip
    assert said.splitlines()[-1] == f"error: W&B: no such host. {OFFLINE_HINT}"


def _mlflow(**given):
    init_args = Namespace(save_dir=RUN_FOLDER, tracking_uri=None, run_name=None, run_id=None, **given)
    return Namespace(class_path="lightning.pytorch.loggers.MLFlowLogger", init_args=init_args)


def test_mlflow_keeps_its_store_and_its_artifacts_in_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logger = _mlflow()
    place_loggers(_settings(logger), tmp_path / "run")
    given = logger.init_args
    assert given.tracking_uri == f"sqlite:///{tmp_path}/run/mlflow.db"
    assert (given.artifact_location, given.run_id) == (f"file://{tmp_path}/run/mlflow-artifacts", None)
    assert given.run_name == f"{tmp_path.name}/run"


@pytest.mark.parametrize("way", ["variable", "flag"])
def test_a_server_of_mlflow_that_the_user_names_is_kept(tmp_path, monkeypatch, way):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a:1")
    logger = _mlflow()
    if way == "flag":
        logger.init_args.tracking_uri = "http://b:1"
    place_loggers(_settings(logger), tmp_path / "run")
    assert logger.init_args.tracking_uri == ("http://a:1" if way == "variable" else "http://b:1")
    assert logger.init_args.get("artifact_location") is None


def test_a_resumed_run_goes_on_as_the_mlflow_run_that_it_was_even_where_its_folder_was_moved(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    old, folder = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "run.json").write_text('{"format": 1}')
    (old / "mlflow.db").touch()
    write_mlflow_run(old, f"sqlite:///{old}/mlflow.db", "abc")
    old.rename(folder)
    for server, expected in (("", "abc"), ("http://a:1", None)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        logger = _mlflow()
        place_loggers(_settings(logger), folder)
        assert logger.init_args.run_id == expected
    write_mlflow_run(folder, "http://a:1", "on-the-server")
    place_loggers(_settings(logger), folder)
    assert logger.init_args.run_id is None  # as it was placed above
    logger = _mlflow()
    place_loggers(_settings(logger), folder)
    assert logger.init_args.run_id == "on-the-server"


@pytest.mark.parametrize("extra", ["tensorboard", "mlflow", "trackio"])
def test_a_logger_without_its_package_is_one_line_and_leaves_no_folder(fails, tmp_path, monkeypatch, extra):
    found = importlib.util.find_spec
    hidden = {"tensorboard", "tensorboardX", "mlflow", "trackio"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in hidden else found(name, *more))
    kind = {"tensorboard": "TensorBoardLogger", "mlflow": "MLFlowLogger", "trackio": "TrackioLogger"}[extra]
    table = ["--data=Table", "--data.path=none.csv", "--data.axes={q: [1, 5]}", "--data.folds=2"]
    said = fails("fit", *table, f"--trainer.logger={kind}", f"--trainer.default_root_dir={tmp_path / 'runs'}")
    assert said == (
        f"error: --trainer.logger={kind} needs the package {extra}: pip install 'lightning_aqa[{extra}]', "
        "or take --trainer.logger=CSVLogger."
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["CSVLogger", "lightning.pytorch.loggers.CSVLogger"])
def test_a_logger_named_over_the_saved_settings_of_another_takes_none_of_them(train, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    given = {"project": "p", "save_dir": ".", "name": "theirs", "version": "v1", "prefix": "x"}
    saved = {"trainer": {"logger": {"class_path": "WandbLogger", "init_args": given}}}
    (tmp_path / "saved.yaml").write_text(yaml.safe_dump(saved))
    folder = train("--config", str(tmp_path / "saved.yaml"), f"--trainer.logger={name}")
    assert _logs(folder) == [ONE]
    assert "x-" not in (folder / ONE).read_text().splitlines()[0]


class _Recorder:
    """What a logger sends to, with what it was sent."""

    tracking_uri = "http://a:1"

    def __init__(self):
        self.sent = []

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.sent.append((name, *args, *kwargs.values()))


class _Board(TensorBoardLogger):
    experiment = None

    def __init__(self):
        self.experiment = _Recorder()


class _Flow(MLFlowLogger):
    experiment, run_id = None, "abc"

    def __init__(self):
        self.experiment = _Recorder()


def test_pictures_go_to_every_logger_that_takes_them(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    path = tmp_path / "scatter_test.png"
    Image.fromarray(pixels).save(path)
    board, flow = _Board(), _Flow()
    log_pictures([board, flow, SimpleNamespace()], [path], 7)
    ((name, tag, image, step, layout),) = board.experiment.sent
    assert (name, tag, step, layout) == ("add_image", "pictures/scatter_test", 7, "HWC")
    assert np.array_equal(image, pixels)
    assert flow.experiment.sent == [("log_artifact", "abc", str(path), "pictures")]


def test_mlflow_gets_the_config_and_the_run_folder_says_which_run_it_is(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 1}')
    flow = _Flow()
    introduce_run([flow], tmp_path, "a: 1")
    assert flow.experiment.sent == [("log_artifact", "abc", str(tmp_path / "config.yaml"))]
    assert json.loads((tmp_path / "run.json").read_text())["mlflow"] == {"run_id": "abc", "tracking_uri": "http://a:1"}


@pytest.mark.filterwarnings("ignore")  # of its own packages about each other
def test_mlflow_goes_on_in_its_run_when_a_fit_is_resumed(train, monkeypatch, pictures):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = train("--trainer.logger=MLFlowLogger")
    train("--trainer.logger=MLFlowLogger", "--trainer.max_steps=8", f"--ckpt_path={folder}/checkpoints/last.ckpt")
    with sqlite3.connect(folder / "mlflow.db") as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
    assert list((folder / "mlflow-artifacts").rglob("scatter_test.png"))


TRACKIO = """
import json
from trackio.utils import TRACKIO_DIR

class Run:
    def __init__(self, **asked):
        self.write("init", asked)

    def write(self, name, *values):
        TRACKIO_DIR.mkdir(exist_ok=True)
        with open(TRACKIO_DIR / "calls.jsonl", "a") as file:
            file.write(json.dumps([name, *values]) + "\\n")

    def log(self, metrics, step=None):
        self.write("log", metrics, step)

    def finish(self):
        self.write("finish")

init, Image = Run, str
"""
UTILS = "import os, pathlib\nTRACKIO_DIR = pathlib.Path(os.environ.get('TRACKIO_DIR', '/home/trackio'))\n"


@pytest.fixture
def trackio(tmp_path, monkeypatch):
    """A module that notes what Trackio is asked, in the folder that Trackio would take."""
    package = tmp_path / "packages" / "trackio"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(TRACKIO)
    (package / "utils.py").write_text(UTILS)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    yield
    for name in ("trackio", "trackio.utils"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("trackio")
def test_trackio_writes_into_the_run_folder_and_goes_on_after_the_fit(train, tmp_path):
    (tmp_path / "log.yaml").write_text("trainer: {logger: TrackioLogger}\n")
    folder = train("--config", str(tmp_path / "log.yaml"))
    calls = [json.loads(line) for line in (folder / "trackio" / "calls.jsonl").read_text().splitlines()]
    assert [name for name, *_ in calls if name != "log"] == ["init", "finish", "init", "finish"]
    (asked,), (again,) = (values for name, *values in calls if name == "init")
    assert asked == again
    config = asked.pop("config")
    assert asked == {"project": "lightning_aqa", "name": "run", "resume": "allow", "embed": False}
    assert config["config"] == yaml.safe_load((folder / "config.yaml").read_text())
    assert not any(key.startswith("_") for key in config)  # which Trackio refuses
    logged = [(set(metrics), step) for name, *values in calls if name == "log" for metrics, step in [values]]
    assert [step for keys, step in logged if "val/utterance/SRCC/mean" in keys] == [1]
    assert any("test/test/utterance/SRCC/mean" in keys for keys, _ in logged)


@pytest.mark.usefixtures("trackio")
def test_trackio_takes_pictures_and_refuses_another_folder_in_the_same_process(tmp_path):
    logger = TrackioLogger(name="a", save_dir=str(tmp_path))
    log_pictures([logger], [tmp_path / "scatter_test.png"], 7)
    last = json.loads((tmp_path / "trackio" / "calls.jsonl").read_text().splitlines()[-1])
    assert last == ["log", {"pictures/scatter_test": str(tmp_path / "scatter_test.png")}, 7]
    with pytest.raises(ValueError, match=r"Trackio writes to .*/trackio in this process, and cannot change to .*b/tr"):
        TrackioLogger(name="b", save_dir=str(tmp_path / "b")).log_metrics({"x": 1.0}, 0)
