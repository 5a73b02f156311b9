"""Published folders of strangers: whole and as they were published, or refused in one line; nothing in them is run."""

import json
import logging
import os
import pickle
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lightning_aqa import load
from lightning_aqa.cli.main import main
from lightning_aqa.scoring.load import fingerprint
from lightning_aqa.scoring.publishing import write_checksums

HUB, MLP = "lightning_aqa.encoders.huggingface.Hub", "lightning_aqa.heads.mlp.MLP"
TOUCH = {"class_path": "os.system", "init_args": {"command": "touch OWNED"}}


@pytest.fixture(scope="module")
def published(run_folder, tmp_path_factory):
    """A published model; read-only."""
    folder = tmp_path_factory.mktemp("published") / "model"
    assert main(["publish", str(run_folder), f"--to={folder}"]) == 0
    return folder


@pytest.fixture
def copy(published, tmp_path, monkeypatch):
    """A copy of it to change, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    yield shutil.copytree(published, tmp_path / "copy")
    assert not (tmp_path / "OWNED").exists()


def _change(folder, change):
    """Change the config of a model, and make the checksums fit."""
    record = json.loads((folder / "config.json").read_text())
    change(record)
    (folder / "config.json").write_text(json.dumps(record))
    write_checksums(folder)


def test_a_copy_anywhere_is_the_same_model(published, copy, run_folder):
    assert fingerprint(load("copy")) == fingerprint(load(published)) == fingerprint(load(run_folder))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "results.json"])
def test_a_file_cut_short_is_told(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-20])
    with pytest.raises(ValueError, match=rf"{name}.*(its SHA-256 differs\); fetch or copy it anew|not JSON)"):
        load(copy)


def test_tensors_cut_short_are_told_where_the_checksum_fits(copy):
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[:-20])
    write_checksums(copy)
    with pytest.raises(ValueError, match=r"model\.safetensors: cannot be read as weights: it is cut or damaged"):
        load(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "results.json", "SHA256SUMS"])
def test_a_missing_file_is_told(copy, name):
    (copy / name).unlink()
    with pytest.raises(ValueError, match=rf"copy: (lacks {name}; fetch or copy|no published model.* no SHA256SUMS)"):
        load(copy)


def test_a_folder_of_something_else_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(ValueError, match=r"config\.json: not the config of a published model"):
        load(tmp_path)


def test_a_card_that_was_edited_or_left_out_is_said_and_changes_nothing(copy, published, caplog):
    (copy / "README.md").write_text("# better words\n")
    with caplog.at_level(logging.WARNING):
        assert fingerprint(load(copy)) == fingerprint(load(published))
    assert "README.md: not as it was published" in caplog.text
    assert "No score follows from it." in caplog.text
    (copy / "README.md").unlink()
    assert fingerprint(load(copy)) == fingerprint(load(published))


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "encoders/../config.json", "run.py", "a b.json"]
)
def test_checksums_of_other_files_are_refused(copy, name):
    with open(copy / "SHA256SUMS", "a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(ValueError, match=rf"SHA256SUMS: names '{name}', which is no file of a published model"):
        load(copy)


def test_checksums_that_are_none_are_refused(copy):
    (copy / "SHA256SUMS").write_text("model.safetensors is fine\n")
    with pytest.raises(ValueError, match=r"SHA256SUMS: line 1 is no checksum, expected 64 digits"):
        load(copy)
    (copy / "SHA256SUMS").write_text("")
    with pytest.raises(ValueError, match=r"SHA256SUMS: lists no config\.json, so that it cannot be checked"):
        load(copy)


def test_a_file_that_no_checksum_is_of_is_not_read(copy, published):
    lines = (copy / "SHA256SUMS").read_text().splitlines(keepends=True)
    (copy / "SHA256SUMS").write_text("".join(line for line in lines if "intervals.json" not in line))
    (copy / "intervals.json").write_text("{")
    found = load(copy)
    assert found.trust.calibration is None
    assert load(published).trust.calibration is not None


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_link_out_of_the_folder_is_not_followed(copy, name, tmp_path):
    (copy / name).rename(tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        ValueError, match=rf"{name}: a link that leads out of the folder, to .*elsewhere; it is not fol"
    ):
        load(copy)


def test_the_links_of_the_cache_of_the_hub_are_followed(published, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--some--one" / "snapshots" / ("0" * 40)
    blobs = snapshot.parents[1] / "blobs"
    for folder in (snapshot, blobs, snapshot.parents[1] / "refs"):
        folder.mkdir(parents=True)
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    for number, file in enumerate(sorted(published.iterdir())):
        shutil.copyfile(file, blobs / str(number))
        (snapshot / file.name).symlink_to(os.path.relpath(blobs / str(number), snapshot))
    wanted = fingerprint(load(published))
    assert [fingerprint(load(name)) for name in ("some/one", f"some/one@{'0' * 40}")] == [wanted, wanted]


@pytest.mark.parametrize("number", [0, -1])
def test_a_format_that_never_was_is_refused(copy, number):
    _change(copy, lambda record: record.update(format=number))
    with pytest.raises(ValueError, match=r"config\.json: not the config of a published model"):
        load(copy)


def test_a_newer_format_is_told(copy):
    _change(copy, lambda record: record.update(format=2))
    with pytest.raises(ValueError, match=r"config\.json: of format 2, and this version reads 1; upgrade"):
        load(copy)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("head", TOUCH, r"'os\.system' is refused, since it is of Python's standard library"),
        ("encoder", TOUCH, r"'os\.system' is refused"),
        ("encoder", {"class_path": "own.Evil"}, r"its model cannot be built here: .*own"),
        ("head", {"class_path": MLP, "init_args": {"hidden": [30000] * 3}}, "far larger than"),
        ("encoder", {"class_path": HUB, "init_args": {"name_or_path": "/root/m"}},
         r"names '/root/m', a place outside of the folder"),
        ("encoder", {"class_path": HUB, "init_args": {"name_or_path": "a/../b"}},
         r"names 'a/\.\./b', a place outside"),
        ("encoder", {"class_path": HUB, "init_args": {"name_or_path": "encoders/x"}},
         r"names 'encoders/x', which the model has no files of"),
    ],
)  # fmt: skip
def test_settings_of_strangers_run_nothing_and_reach_nowhere(copy, tmp_path, part, value, message):
    (tmp_path / "own.py").write_text("open('OWNED', 'w')\n")
    _change(copy, lambda record: record["models"][0]["settings"].update({part: value}))
    with pytest.raises(ValueError, match=message):
        load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(models=[]), "not the config of a published model"),
        (lambda record: record.update(models=record["models"] * 2), r"2 models, expected one"),
        (lambda record: record.update(combined="weighted"), r"lists no members/0/model\.safetensors"),
        (lambda record: record["models"][0].update(settings=[]), "not described by settings, state and preprocessing"),
        (lambda record: record["models"][0]["preprocessing"].update(resampler="x"), "its resampler is damaged: 'x'"),
        (lambda record: record["models"][0]["preprocessing"].update(window_seconds=-1), "window_seconds is damaged"),
        (lambda record: record["models"][0].update(left_out={"elements": 10**12, "sha256": ""}), "left out is damaged"),
        (
            lambda record: record["models"][0].update(left_out={"elements": 5, "sha256": "0"}),
            "the weights of its encoder that are found here are not those that it was trained with",
        ),
    ],
)
def test_a_damaged_config_is_told(copy, change, message):
    _change(copy, change)
    with pytest.raises(ValueError, match=message):
        load(copy)


def test_a_pickle_is_no_safetensors(copy):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch OWNED",)

    (copy / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    write_checksums(copy)
    with pytest.raises(ValueError, match=r"model\.safetensors: cannot be read as weights"):
        load(copy)


def test_weights_of_another_model_and_weights_that_are_no_numbers_are_told(copy):
    tensors = load_file(copy / "model.safetensors")
    name = next(name for name in tensors if name.endswith("weight"))
    save_file({**tensors, name: torch.full_like(tensors[name], torch.nan)}, copy / "model.safetensors")
    write_checksums(copy)
    with pytest.raises(ValueError, match=r"1 of its tensors hold NaN or infinity"):
        load(copy)
    save_file({key: value for key, value in tensors.items() if key != name}, copy / "model.safetensors")
    write_checksums(copy)
    with pytest.raises(ValueError, match=r"its weights are not those of its model as it is now"):
        load(copy)


def test_a_model_says_itself_what_it_is(copy):
    for options, what in (({"ensemble": True}, "--ensemble"), ({"model": ["--model.head=MLP"]}, "--model.head")):
        with pytest.raises(ValueError, match=f"a published model says itself what it is; leave {what} out"):
            load(copy, **options)


def test_what_takes_runs_alone_says_so(copy, fails):
    said = fails("test", f"--ckpt_path={copy}", "--data=MusicEval", "--data.root=nowhere")
    assert "a published model; `score` and `load` take it, and nothing else does" in said


@settings(max_examples=15)
@given(st.data())
def test_any_change_of_a_byte_is_told(published, tmp_path_factory, data):
    folder = shutil.copytree(published, tmp_path_factory.mktemp("flip") / "model")
    name = data.draw(st.sampled_from(["config.json", "model.safetensors", "intervals.json", "trained.npz"]))
    content = bytearray((folder / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        load(folder)
    shutil.rmtree(folder)
