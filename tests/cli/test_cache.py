"""``cache``: computed alone, with the flags of fit; checked; cleared up."""

import pytest

from lightning_aqa.cli.main import main


@pytest.fixture
def words(corpora, tmp_path):
    return ["cache", "--data=MusicEval", f"--data.root={corpora['musiceval']}", f"--data.cache={tmp_path / 'cache'}"]


def _entries(tmp_path):
    return sorted((tmp_path / "cache").rglob("*.safetensors"))


def test_features_are_computed_once_and_no_run_folder_is_left(words, tmp_path, capsys, fit, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--objectives.qamro=QAMRO", "--trainer.max_epochs=7"]) == 0
    said, told = capsys.readouterr()
    assert "30 windows of Descriptors, kept as mean and deviation" in said
    assert "0 were there, 30 encoded" in said
    assert "features of 30 windows will take about 43.2 kB" in told
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    entries = {path: path.stat().st_mtime_ns for path in _entries(tmp_path)}
    assert main(words) == 0
    assert "30 were there, 0 encoded" in capsys.readouterr().out
    fit(*words[1:])
    assert entries == {path: path.stat().st_mtime_ns for path in _entries(tmp_path)}


def test_another_head_computes_what_it_needs_from_what_is_there(words, capsys):
    assert main([*words, "--model.head=AESANet"]) == 0
    assert "kept as all frames" in capsys.readouterr().out
    assert main([*words, "--model.head.pooling=mean"]) == 0
    assert "0 encoded, 30 computed from entries that hold more" in capsys.readouterr().out


def test_damage_is_found_removed_and_mended(words, tmp_path, capsys):
    assert main(words) == 0
    path = _entries(tmp_path)[3]
    path.write_bytes(path.read_bytes()[:100])
    assert main(["cache", "--verify", "--dry_run", "--folder", str(tmp_path / "cache")]) == 1
    assert "1 damaged file would be removed" in capsys.readouterr().out
    assert len(_entries(tmp_path)) == 30
    assert main([*words, "--verify"]) == 1
    assert "30 entries checked, 1 damaged" in capsys.readouterr().out
    assert len(_entries(tmp_path)) == 29
    assert main([*words, "--verify"]) == 0
    assert main(words) == 0
    assert "29 were there, 1 encoded" in capsys.readouterr().out


def test_what_a_config_reads_is_never_pruned(words, tmp_path, capsys):
    other = [*words, "--model.encoder=Descriptors", "--model.encoder.num_mels=40"]
    assert main(words) == main(other) == 0
    assert len(_entries(tmp_path)) == 60
    capsys.readouterr()
    assert main([*other, "--prune", "--dry_run"]) == 0
    assert "30 unneeded files would be removed, 43.2 kB" in capsys.readouterr().out
    assert len(_entries(tmp_path)) == 60
    assert main([*other, "--prune", "--budget=0"]) == 0
    assert "30 unneeded files removed, 43.2 kB" in capsys.readouterr().out
    assert main(other) == 0
    assert "30 were there" in capsys.readouterr().out
    assert main(["cache", "--prune", "--older_than=1", f"--folder={tmp_path / 'cache'}"]) == 0
    assert main(["cache", "--prune", "--older_than=0", f"--folder={tmp_path / 'cache'}"]) == 0
    assert _entries(tmp_path) == []


def test_mistakes_are_told_in_one_line(words, fails, tmp_path):
    assert fails("cache", "--data=MusicEval", *words[2:3]).endswith("add --data.cache=DIR.")
    assert "go with --verify or --prune" in fails(*words, "--dry_run")
    assert "Did you mean 'root'" in fails(*words, "--data.rot=x")
    assert "means nothing here" in fails(*words, "--verify", f"--folder={tmp_path}")
    assert "no such folder of features" in fails("cache", "--verify", f"--folder={tmp_path / 'none'}")
    assert "no such folder of features" in fails(*words, "--verify")
    said = fails(*words, "--model.head=AESANet", "--data.cache_form=pooled")
    assert said.startswith("error: --data.cache_form=pooled keeps mean and deviation")
    assert "needs a frozen encoder" in fails(*words, "--model.encoder=MelSpectrogram")
    assert "layers must name" in fails(*words, "--model.layers=[1]")
