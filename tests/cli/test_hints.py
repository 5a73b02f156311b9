"""Mistakes of the first day, each told in a line that ends in a line to type or a page to read."""

import re
import shlex

import pytest

from lightning_aqa.cli.main import main

OWN = ["--config", "experiments/own_data.yaml", "--data.path=ratings.csv"]
BARE = ["--data=Table", "--data.path=ratings.csv", "--model.encoder=MelSpectrogram", "--model.head=MLP"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--model.lr=1e-4", "--model.optimizer.lr=1e-4"),
        ("--lr=1e-4", "--model.optimizer.lr=1e-4"),
        ("--batch_size=4", "--data.batch_size=4"),
        ("--epochs=3", "--trainer.max_epochs=3"),
        ("--max_epochs=3", "--trainer.max_epochs=3"),
        ("--seed=3", "--seed_everything=3"),
        ("--gpus=1", "--trainer.devices=1"),
        ("--output_dir=out", "--trainer.default_root_dir=out"),
        ("--resume=x.ckpt", "--ckpt_path=x.ckpt"),
        ("--loss=QAMRO", "--objectives.mse=QAMRO"),
        ("--weight-decay=0.1", "--model.optimizer.weight_decay=0.1"),
    ],
)
def test_an_option_by_another_name_is_told_and_the_told_one_works(fails, capfd, given, meant):
    assert fails("fit", *OWN, given).endswith(f"Did you mean {meant}?")
    assert main(["fit", *OWN, meant, "--print_config"]) == 0
    value = meant.split("=")[1]
    assert re.search(rf"({value}|{float(value) if value[0].isdigit() else value})\s", capfd.readouterr().out)


def test_a_setting_of_an_optimizer_that_is_not_named_comes_with_one(fails):
    said = fails("fit", *BARE, "--model.optimizer.lr=1e-4")
    line = said.split("before it: ")[1].rstrip(".")
    assert main(["fit", *BARE, *line.split(), "--print_config"]) == 0


@pytest.mark.parametrize(("given", "scale"), [("mos", "mos"), ("[mos, clear]", "mos"), ("{mos:5}", "mos")])
def test_an_axis_without_its_scale_is_told_as_it_is_written(fails, given, scale):
    said = fails("fit", *BARE, f"--data.axes={given}")
    (line,) = shlex.split(re.search(r"Write (--data\.axes='[^']*')", said)[1])
    assert f"{scale}: [1, 5]" in line
    assert main(["fit", *BARE, line, "--print_config"]) == 0


def test_one_axis_can_be_given_by_its_name(capfd):
    assert main(["fit", *BARE, "--data.axes.mos=[1,5]", "--print_config"]) == 0
    assert re.search(r"axes:\n\s+mos:\n\s+- 1\.0\n\s+- 5\.0", capfd.readouterr().out)


@pytest.mark.parametrize("name", ["fit", "validate", "test", "predict"])
def test_a_bare_command_says_what_it_needs(fails, name):
    for words in ([], ["--trainer.max_epochs=3"]):
        said = fails(name, *words)
        assert f"{name} needs " in said
        assert f"`lightning-aqa {name} " in said
        assert len(said.splitlines()) == 1


def test_a_command_without_a_subcommand_says_how_to_begin(fails):
    assert fails().endswith("lightning-aqa fit --config experiments/quickstart.yaml")
    assert fails("ratings.csv").endswith("lightning-aqa inspect ratings.csv")


@pytest.mark.parametrize("config", ["musiceval/qamro_melspectrogram", "aes_natural/qamro_melspectrogram"])
@pytest.mark.parametrize("content", ["no folder", "another content"])
def test_a_missing_corpus_says_where_to_get_it_and_what_stands_in(fails, tmp_path, config, content):
    root = tmp_path / "root"
    if content == "another content":
        root.mkdir()
        (root / "a.txt").touch()
    words = ["fit", "--config", f"experiments/{config}.yaml", f"--data.root={root}"]
    said = fails(*words)
    assert "docs/data.md, section " in said
    stand_in = said.split("add ")[1].split()
    assert main([*words, *stand_in, "--print_config"]) == 0


def test_where_nothing_is_left_the_first_causes_are_listed(fails, tmp_path):
    def told(text, *words):
        (tmp_path / "r.csv").write_text(text)
        root = f"--trainer.default_root_dir={tmp_path}"
        return fails("fit", "--data=Table", f"--data.path={tmp_path / 'r.csv'}", *BARE[2:], root, *words)

    clips = "file,mos\n" + "".join(f"{n}.wav,{1 + n % 5}\n" for n in range(12))
    said = told(clips, "--data.on_bad_clip=skip")
    assert "missing file: 12" in said
    assert "0.wav: no such file" in said
    assert "--data.on_bad_clip=skip" not in said
    assert said.splitlines()[-1].startswith("No clip is left. To look closer: lightning-aqa inspect ")
    said = told(re.sub(r",\d", ",", clips), "--data.axes={mos: [1, 5]}")
    assert "none of the 12 clips has a rating to learn from: the cells of mos are empty" in said
    assert "lightning-aqa inspect" in said
    said = told("file,mos\na.wav\nb.wav\n")
    assert "r.csv:2: expected 2 columns" in said
    assert "r.csv:3: expected 2 columns" in said
    assert "no rows in it; expected a line with the names of the columns" in told("file,mos\n")
    said = told(re.sub(r",(\d)", r",x\1", clips), "--data.axes={mos: [1, 5]}")
    assert "mos is 'x1', expected a number from 1 to 5" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["fit", "ratings.csv", "clips", "more"],
            "fit takes a table and a folder of audio, got 3: ratings.csv clips more.",
        ),
        (["fit", "mine.yaml"], "mine.yaml looks like a config, which has a flag: fit --config mine.yaml"),
        (
            ["fit", "ratings.csv", "gone"],
            "gone: no such folder; name the one that the paths of ratings.csv start from.",
        ),
        (
            ["fit", "ratings.csv", "--ensemble=true"],
            "--ensemble is for a trained run: test, predict or score with --ckpt_path=",
        ),
        (
            ["score", "runs/none", "clips", "--ensemble"],
            "runs/none: 0 folds with a checkpoint; an ensemble takes a cross-",
        ),
        (["score", "runs/own", "clips"], "runs/own: a cross-validation without a refit; --ensemble takes the mean"),
        (
            ["fit", "ratings.csv", "--ckpt_path=runs/own"],
            "--init_from=runs/own starts a new training from the weights.",
        ),
        (
            ["fit", "ratings.csv", "--data.fold=all", "--data.folds=null"],
            "fold=all is about the folds of a cross-validation",
        ),
    ],
)
def test_a_mistake_about_tables_and_run_folders_is_one_line(fails, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratings.csv").write_text("file,mos\n" + "".join(f"{n}.wav,{1 + n % 5}\n" for n in range(9)))
    for folder in ("clips", "runs/own/fold0/checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "runs" / "own" / "fold0" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "clips" / "0.wav").touch()
    said = fails(*words)
    assert told in said
    assert "error: " in said
    assert not (tmp_path / "runs" / "own_data").exists()
