"""Damaged run folders: what is beside the point is left out with one line that names the file, the rest is an error."""

import io
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightning_aqa.cli.main import main
from lightning_aqa.results.clips import read_clips
from lightning_aqa.results.history import read_history
from lightning_aqa.results.observations import ObservedWindow, read_observations, write_observations, write_systems
from lightning_aqa.results.predictions import read_predictions
from lightning_aqa.results.ratings import read_ratings
from lightning_aqa.results.side_files import read_config, read_results, read_sweep_record, read_trial
from lightning_aqa.sweep.trial import read_trials

GOLDEN = Path(__file__).resolve().parents[1] / "fixtures" / "golden" / "sweep_folders" / "golden" / "ddc3af06"
SIDE = [
    "run.json",
    "config.yaml",
    "history.csv",
    "ratings.csv",
    "clips.csv",
    "systems.csv",
    "observations.npz",
    "trial.json",
]
DIGITS = "9" * 5000


@pytest.fixture
def run(tmp_path):
    """A run folder with every file that a run can leave."""
    folder = shutil.copytree(GOLDEN, tmp_path / "run")
    ids = read_predictions(folder / "predictions.csv")[0][-1][1].ids
    windows = [
        ObservedWindow("test", id_, 1.0, np.float16([i, 1, 2]), np.ones((4, 2), "f2")) for i, id_ in enumerate(ids)
    ]
    write_observations(folder / "observations.npz", windows, {}, ["overall", "noise"])
    write_systems(folder / "systems.csv", {f"s{i}": {"overall": 1.0 + i, "noise": 2.0} for i in range(4)})
    axes = [{"name": name, "title": name, "low": 1, "high": 5} for name in ("overall", "noise")]
    (folder / "run.json").write_text(json.dumps({"axes": axes}))
    return folder


def _junk(path):
    path.write_bytes(np.random.default_rng(0).bytes(3000))


def _folder(path):
    path.unlink()
    path.mkdir()


def _fifo(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes().rstrip()[:-1]),
    "junk": _junk,
    "folder": _folder,
    "fifo": _fifo,
    "deep": lambda path: path.write_text("[" * 100_000),
    "digits": lambda path: path.write_text(f'{{"a": {DIGITS}}}'),
    "columns": lambda path: path.write_text("a,b\n\n1,2,3\n"),
}


def _report(folder, capsys, caplog, code=0):
    capsys.readouterr()
    caplog.clear()
    words = [f"--output={folder.parent / 'out'}", "--resamples=100", "--clips=0"]
    assert main(["report", str(folder), *words]) == code
    return [record.getMessage() for record in caplog.records], capsys.readouterr().err


def test_a_whole_folder_is_reported_without_a_word(run, capsys, caplog):
    assert _report(run, capsys, caplog) == ([], "")
    page = (run.parent / "out" / "report.html").read_text(encoding="utf-8")
    assert all(f'id="{part}"' in page for part in ("curves", "maps", "configs"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damaged_side_file_is_left_out_by_name(run, capsys, caplog, damage):
    for name in SIDE:
        DAMAGES[damage](run / name)
    warnings, err = _report(run, capsys, caplog)
    assert sorted(SIDE) == sorted(re.match(rf"{run}/([\w.]+):", line)[1] for line in warnings), warnings
    assert all(line.endswith("It is left out.") and len(line) < 500 and "\n" not in line for line in warnings)
    assert err == ""
    assert 10_000 < (run.parent / "out" / "report.html").stat().st_size < 1_000_000


@pytest.mark.parametrize("damage", [*DAMAGES, "ragged", "twice", "word", "infinite", "unrated"])
def test_damaged_predictions_are_one_line(run, capsys, caplog, damage):
    path = run / "predictions.csv"
    lines = path.read_text().splitlines(keepends=True)
    if damage in DAMAGES:
        DAMAGES[damage](path)
    elif damage in ("ragged", "twice"):
        path.write_text("".join(lines[:-1] if damage == "ragged" else [*lines, lines[-1]]))
    else:
        cell = {"word": "x", "infinite": "inf", "unrated": ""}[damage]
        path.write_text(
            "".join([lines[0], *(re.sub(r",[\d.]+,([\d.]+),", rf",{cell},\1,", line) for line in lines[1:])])
        )
    _, err = _report(run, capsys, caplog, code=2)
    assert re.fullmatch(rf"error: {path}:.{{5,400}}\n", err), err


@pytest.mark.parametrize("text", [
    '{"axes": [{"name": "overall", "title": "x", "low": 1, "high": %s}]}' % ("9" * 400),
    '{"axes": [1], "test": [1], "variant": {}, "parameters": []}',
    '{"axes": {"overall": 1}, "command": 3, "number": "x"}',
    '{"data": {"axes": {"overall": ["x", null], "noise": [5, 1]}}, "variant": "\\ud800", "command": "\\ud800"}', "{}",
    '{"evaluation": {"unit": ["clip"]}, "folds": true}',
])  # fmt: skip
def test_json_of_other_types_ends_no_report(run, capsys, caplog, text):
    for name in ("run.json", "results.json", "trial.json"):
        (run / name).write_text(text)
    (run / "config.yaml").write_text(text + "\n")
    _report(run, capsys, caplog)
    final = read_trials(run.parent)
    assert [trial.folder for trial in final] == []


def test_a_trial_with_a_damaged_record_is_left_out_of_its_sweep(run, capsys, caplog):
    shutil.copytree(run, run.parent / "sweep" / "a")
    shutil.copytree(run, run.parent / "sweep" / "b")
    (run.parent / "sweep" / "b" / "trial.json").write_text('{"state": "finis')
    warnings, _ = _report(run.parent / "sweep", capsys, caplog)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{run.parent / 'sweep' / 'b' / 'trial.json'}: not JSON")
    assert "1 not finished, left out: b" in (run.parent / "out" / "report.html").read_text(encoding="utf-8")


def test_a_sweep_does_not_go_on_in_a_folder_of_which_it_is_not_known(tmp_path, fails):
    (tmp_path / "s.yaml").write_text("method: grid\nparameters: {seed_everything: {values: [0]}}\ncommand: [true]\n")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.json").write_text('{"command": ["tr')
    said = fails("sweep", str(tmp_path / "s.yaml"), f"--root={tmp_path}")
    assert said.startswith(f"error: {tmp_path}/s/sweep.json: not JSON")


def _array(shape, kind):
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": kind, "fortran_order": False, "shape": shape})
    return text.getvalue()


def _archive(path, shape, text_shape, text_kind="<U1"):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("splits", "ids", "frame_splits", "frame_ids"):
            archive.writestr(f"{name}.npy", _array(text_shape, text_kind))
        for name in ("embeddings", "frames"):
            archive.writestr(f"{name}.npy", _array(shape, "<f2"))


@pytest.mark.parametrize("make", [
    lambda path: np.savez(path, ids=np.array([{}], dtype=object), splits=np.array(["a"])),
    lambda path: _archive(path, (10**9, 10**3), (10**9,)), lambda path: _archive(path, (10**9, 0), (10**9,), "<U0"),
    lambda path: _archive(path, (10**18, 10**18), (1,)), lambda path: _archive(path, (0, 3), (0,)),
    lambda path: path.write_bytes(b"PK\5\6" + b"\0" * 18),
])  # fmt: skip
def test_hostile_arrays_are_refused(tmp_path, make):
    make(tmp_path / "observations.npz")
    with pytest.raises(ValueError, match=r"observations\.npz: no arrays of clips can be read"):
        read_observations(tmp_path / "observations.npz")


def test_arrays_that_unpack_to_far_more_than_is_written_are_not_unpacked(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "o.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("ids.npy", "w") as file,
    ):
        for _ in range(130):
            file.write(bytes(2**20))
    assert (tmp_path / "o.npz").stat().st_size < 2**20
    with pytest.raises(ValueError, match="more than 134,217,728 bytes"):
        read_observations(tmp_path / "o.npz")


def refused(read, path):
    """What a reader says against a file, if anything; all but a ValueError is a fault."""
    try:
        read(path)
    except ValueError as error:
        return str(error)
    return ""


READERS = {
    "predictions.csv": read_predictions, "history.csv": read_history, "ratings.csv": read_ratings,
    "clips.csv": read_clips,
    "results.json": read_results, "config.yaml": read_config, "trial.json": read_trial, "sweep.json": read_sweep_record,
    "observations.npz": read_observations,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of one whole file per reader."""
    folder = tmp_path_factory.mktemp("whole")
    windows = [ObservedWindow("test", str(i), 1.0, np.float16([i, 1]), np.ones((2, 1), "f2")) for i in range(3)]
    write_observations(folder / "observations.npz", windows, {}, ["overall"])
    found = {name: folder / name if name.endswith("npz") else GOLDEN / name for name in READERS}
    found["sweep.json"] = GOLDEN.parent / "sweep.json"
    return {name: path.read_bytes() for name, path in found.items()}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60)
@given(
    changes=st.lists(
        st.tuples(
            st.floats(0, 1), st.integers(0, 6), st.binary(max_size=4) | st.sampled_from([b",", b'"', b"\n", b"nan"])
        ),
        max_size=4,
    ),
    end=st.floats(0, 1) | st.just(1.0),
)
@example(changes=[], end=1.0)
def test_any_file_is_read_or_refused_by_name(tmp_path, whole, name, changes, end):
    data = whole[name]
    for where, length, new in changes:
        at = int(where * len(data))
        data = data[:at] + new + data[at + length :]
    data = data[: int(end * len(data))]
    (tmp_path / name).write_bytes(data)
    said = refused(READERS[name], tmp_path / name)
    assert said.startswith(f"{tmp_path / name}:") if said else data
    assert not said or data != whole[name]
