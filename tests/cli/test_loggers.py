"""Loggers write into the run folder, whichever way they are named, unless they name a folder of their own."""

import pytest
import yaml
from jsonargparse import Namespace

from lightning_aqa.cli.loggers import place_loggers
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
        (["--trainer.logger=CSVLogger", "--trainer.logger.name=mine"], [OWN]),
        (["--trainer.logger+=CSVLogger"], [ONE]),
        (["--trainer.logger+=CSVLogger", "--trainer.logger+=CSVLogger", "--trainer.logger.name=mine"], [ONE, OWN]),
        (["--trainer.logger=[CSVLogger, {class_path: CSVLogger, init_args: {name: mine}}]"], [ONE, OWN]),
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
