"""Checkpoints: whole or not there, at the right steps, and of use in a folder that was moved."""

import os
import resource
import shutil
import subprocess

import lightning as L
import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau

from lightning_aqa.cli.main import main
from lightning_aqa.data.musiceval import MusicEval
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.training import checkpoints
from lightning_aqa.training.checkpoints import BestCheckpoint, LastCheckpoint, Patience, WholeFiles
from lightning_aqa.training.exact_resume import ExactResume
from tests.utils.distributed_worker import make_module

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
]


def test_a_checkpoint_that_cannot_be_completed_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, path)

    def half(content, part):
        part.write(b"PK")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints.torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        WholeFiles().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_written_beside_its_place_on_the_same_disk(tmp_path, monkeypatch):
    seen, usual = [], os.replace

    def look(part, path):
        seen.append((os.path.dirname(part), os.path.basename(path)))
        return usual(part, path)

    monkeypatch.setattr(os, "replace", look)
    monkeypatch.setattr("pathlib.Path.replace", lambda part, path: look(str(part), str(path)))
    WholeFiles().save_checkpoint({}, tmp_path / "new" / "last.ckpt")
    assert seen == [(str(tmp_path / "new"), "last.ckpt")]


def _words(corpora, *more):
    words = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", "--data.batch_size=4", *more]
    return [*words, "--objectives.qamro=QAMRO"]


class Noted(LastCheckpoint):
    """Note after which epoch, batch and optimiser step it saved."""

    def _save_checkpoint(self, trainer, filepath):
        super()._save_checkpoint(trainer, filepath)
        self.saved.append((trainer.current_epoch, trainer.fit_loop.batch_idx, trainer.global_step))


@pytest.fixture
def train(corpora, tmp_path):
    """Train a small network, 6 batches an epoch."""

    def run(*callbacks, max_epochs, lr=1e-3, scheduler=None, **options):
        trainer = L.Trainer(
            accelerator="cpu", logger=False, callbacks=[Regression(), ExactResume(), *callbacks], max_epochs=max_epochs,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, plugins=[WholeFiles()],
            default_root_dir=tmp_path, **options,
        )  # fmt: skip
        module = make_module()
        module.scheduler = scheduler
        module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=lr)
        last = tmp_path / "last.ckpt"
        data = MusicEval(root=str(corpora["musiceval"]), batch_size=4)
        trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
        return torch.load(last, weights_only=True)

    return run


@pytest.mark.parametrize(
    ("every", "options", "expected"),
    [
        (2, {}, [(0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 1, 8), (1, 3, 10), (1, 5, 12)]),
        (None, {}, [(0, 5, 6), (1, 5, 12)]),
        (1, {"accumulate_grad_batches": 2}, [(0, 1, 1), (0, 3, 2), (0, 5, 3), (1, 1, 4), (1, 3, 5), (1, 5, 6)]),
        (1, {"accumulate_grad_batches": 4}, [(0, 3, 1), (0, 5, 2), (1, 3, 3), (1, 5, 4)]),
        (
            1,
            {"val_check_interval": 3},
            [(0, 0, 1), (0, 1, 2), (0, 3, 4), (0, 4, 5), (0, 5, 6)] + [(1, i, i + 7) for i in (0, 1, 3, 4, 5)],
        ),
    ],
)
def test_the_last_checkpoint_is_written_between_steps(train, tmp_path, every, options, expected):
    last = Noted(tmp_path, every)
    last.saved = []
    train(last, max_epochs=2, **options)
    assert last.saved == expected


def test_a_run_goes_on_in_a_folder_that_was_moved(corpora, fit, tmp_path, monkeypatch):
    folder = fit(*_words(corpora), epochs=1, name="old")
    shutil.move(folder, tmp_path / "new")
    (tmp_path / "new" / "checkpoints" / "last.ckpt.1.part").write_text("half")
    resumed = fit(
        *_words(corpora), f"--ckpt_path={tmp_path / 'new' / 'checkpoints' / 'last.ckpt'}", epochs=2, name="new"
    )
    assert not (tmp_path / "old").exists()
    assert sorted(path.name for path in (resumed / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    saved = torch.load(resumed / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    paths = [record["best_model_path"] for record in saved.values() if "best_model_path" in record]
    assert {os.path.dirname(path) for path in paths} == {str(resumed / "checkpoints")}


def test_fewer_than_one_step_is_refused(corpora, tmp_path, fails):
    said = fails("fit", *_words(corpora), "--checkpoint_every_n_steps=0", f"--trainer.default_root_dir={tmp_path}")
    assert said == "error: --checkpoint_every_n_steps must be at least 1, or null, got 0."


def test_the_record_does_not_depend_on_the_number_of_steps(tmp_path):
    assert LastCheckpoint(tmp_path, 5).state_key == LastCheckpoint(tmp_path, None).state_key
    assert LastCheckpoint(tmp_path, 5).state_key != BestCheckpoint(tmp_path, "best", "val/loss").state_key


def test_a_run_that_was_stopped_stays_stopped_unless_it_may_wait_longer(train, tmp_path):
    def end(patience):
        stopping = Patience("val/loss", "min", patience)
        return train(LastCheckpoint(tmp_path, None), stopping, max_epochs=9, lr=0.0)["epoch"]

    assert end(1) == 1
    assert end(1) == 1
    assert end(3) == 3


def test_a_plateau_is_counted_on(train, tmp_path):
    def plateau(optimizer):
        return ReduceLROnPlateau(optimizer, monitor="val/loss", patience=1, factor=0.5)

    whole = train(LastCheckpoint(tmp_path, None), max_epochs=5, lr=0.0, scheduler=plateau)
    (tmp_path / "last.ckpt").unlink()
    for epochs in (1, 2, 3, 4, 5):
        parts = train(LastCheckpoint(tmp_path, None), max_epochs=epochs, lr=0.0, scheduler=plateau)
    assert whole["lr_schedulers"][0]["num_bad_epochs"] == parts["lr_schedulers"][0]["num_bad_epochs"]
    assert whole["lr_schedulers"] == parts["lr_schedulers"]


@pytest.fixture
def disk(tmp_path):
    """A folder on a small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_in_fit_is_one_line_and_with_room_it_goes_on_to_the_same_end(corpora, fit, disk, capfd):
    model = ["--model.encoder=MelSpectrogram", "--model.encoder.depth=1", "--model.encoder.width=16"]
    words = _words(corpora, *model, "--checkpoint_every_n_steps=2")
    whole = fit(*words, epochs=2)
    on_disk = [f"--trainer.default_root_dir={disk}", "--name=run", f"--ckpt_path={disk / 'run/checkpoints/last.ckpt'}"]
    assert main(["fit", *words, *on_disk[:2], "--trainer.max_epochs=1"]) == 0
    (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free - 2**16))
    before = (disk / "run/checkpoints/last.ckpt").read_bytes()
    capfd.readouterr()
    assert main(["fit", *words, *on_disk, "--trainer.max_epochs=2"]) == 74
    said = capfd.readouterr().err.splitlines()[-1]
    last = f"{disk}/run/checkpoints/last.ckpt"
    assert said.startswith(
        f"error: No space left on device: {last}. Make room. The state is whole in {last}; this goes"
    )
    assert (disk / "run/checkpoints/last.ckpt").read_bytes() == before
    (disk / "other").unlink()
    assert main(["fit", *words, *on_disk, "--trainer.max_epochs=2"]) == 0
    for name in ("history.csv", "predictions.csv", "results.json"):
        assert (disk / "run" / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_limit_on_the_size_of_files_is_told_like_a_full_disk(corpora, tmp_path, capfd):
    words = _words(corpora, f"--trainer.default_root_dir={tmp_path}", "--name=run", "--trainer.max_epochs=1")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, usual[1]))
    try:
        assert main(["fit", *words]) == 74
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: File too large: {tmp_path}/run/")
    assert "Raise the limit on the size of files (ulimit -f). Nothing is kept" in said


def test_moments_that_are_not_those_of_the_weights_are_told(corpora, fit, fails):
    words = _words(corpora, "--model.encoder=MelSpectrogram", "--model.encoder.width=16")
    last = fit(*words) / "checkpoints/last.ckpt"
    kept = torch.load(last, weights_only=True)
    moments = kept["optimizer_states"][0]["state"][0]
    for wrong, reason in (
        (torch.zeros(3, 7), "cannot be gone on from (RuntimeError: "),
        (None, "1 of its tensors hold"),
    ):
        moments["exp_avg"] = torch.full_like(moments["exp_avg"], torch.nan) if wrong is None else wrong
        torch.save(kept, last)
        run = (f"--trainer.default_root_dir={last.parents[2]}", "--name=run", "--trainer.max_epochs=2")
        assert f"error: {last}: {reason}" in fails("fit", *words, *run, f"--ckpt_path={last}")
