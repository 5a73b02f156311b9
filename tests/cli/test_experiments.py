"""The experiments of the package: found from any folder, listed, copied, and part of the wheel."""

import sys
from pathlib import Path

import pytest
import yaml

from lightning_aqa.cli import experiments
from lightning_aqa.cli.experiments import located, with_shipped_configs
from lightning_aqa.cli.main import main

ROOT = Path(__file__).parents[2]
QUICKSTART = "experiments/quickstart.yaml"
SMALL = ["--data.num_clips=30", "--data.num_systems=3", "--data.seconds=[0.5, 0.6]", "--data.num_workers=0"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder without experiments, in which commands are called."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_of_an_experiment_starts_from_any_folder_and_says_what_it_reads(elsewhere, capsys):
    more = ["--trainer.max_epochs=1", "--trainer.logger=false"]
    assert main(["fit", "--config", QUICKSTART, *SMALL, *more]) == 0
    assert f"{QUICKSTART} is read from {ROOT / QUICKSTART}" in capsys.readouterr().err
    assert (elsewhere / "runs" / "quickstart" / "results.json").is_file()


def test_a_variant_is_found_too(elsewhere, capsys):
    names = sorted(path.name for path in (ROOT / "experiments/ablations/qamro").glob("*.yaml"))
    variant = f"experiments/ablations/qamro/{names[0]}"
    assert main(["fit", f"--config={QUICKSTART}", f"--variant={variant}", "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["variant"] == variant
    wanted = yaml.safe_load((ROOT / variant).read_text())
    assert config["objectives"].keys() == wanted["objectives"].keys()


def test_a_sweep_is_found(elsewhere, capsys):
    assert main(["sweep", "experiments/ablations/qamro.yaml", "--show"]) == 0
    assert "no trial has finished" in capsys.readouterr().out


def test_a_file_of_the_user_s_own_comes_first(elsewhere):
    assert located(QUICKSTART) == str(ROOT / QUICKSTART)
    (elsewhere / "experiments").mkdir()
    (elsewhere / QUICKSTART).touch()
    assert located(QUICKSTART) == QUICKSTART
    assert located("experiments/gone.yaml") == "experiments/gone.yaml"


def test_only_configs_and_positional_arguments_are_looked_up(elsewhere):
    here = str(ROOT / QUICKSTART)
    assert with_shipped_configs(["fit", "-c", QUICKSTART]) == ["fit", "-c", here]
    assert with_shipped_configs([f"--config={QUICKSTART}"]) == [f"--config={here}"]
    assert with_shipped_configs([QUICKSTART, "--retry"]) == [here, "--retry"]
    for kept in (["--name", QUICKSTART], [f"--copy={QUICKSTART}"], ["a.yaml", "--", QUICKSTART]):
        assert with_shipped_configs(kept) == kept


def test_the_list_has_every_file_with_its_first_line(elsewhere, capsys):
    assert main(["experiments"]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "experiments").rglob("*.yaml"))
    assert [line.split("  ")[0] for line in lines] == files
    assert "A small corpus is written" in next(line for line in lines if line.startswith(QUICKSTART))
    assert [line for line in lines if not line.split("  ", 1)[1]] == []


def test_one_or_a_folder_of_them_is_copied_and_nothing_is_overwritten(elsewhere, fails):
    assert main(["experiments", "--copy", QUICKSTART, "--to", "mine"]) == 0
    assert (elsewhere / "mine" / QUICKSTART).read_bytes() == (ROOT / QUICKSTART).read_bytes()
    assert "is there already" in fails("experiments", f"--copy={QUICKSTART}", "--to=mine")
    assert main(["experiments", "--copy=experiments", "--to=all"]) == 0
    copied = {path.relative_to(elsewhere / "all") for path in elsewhere.glob("all/**/*.yaml")}
    assert copied == {path.relative_to(ROOT) for path in (ROOT / "experiments").rglob("*.yaml")}
    assert "no such experiment" in fails("experiments", "--copy=experiments/gone.yaml")


def test_an_installed_package_reads_its_own_copy(elsewhere, monkeypatch):
    shipped = elsewhere / "site" / "shipped"
    monkeypatch.setattr(experiments, "SHIPPED", shipped)
    assert experiments.root() == ROOT
    (shipped / "experiments").mkdir(parents=True)
    (shipped / QUICKSTART).touch()
    assert located(QUICKSTART) == str(shipped / QUICKSTART)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads pyproject.toml by tomllib")
def test_the_wheel_has_the_experiments_where_they_are_looked_for_and_the_script():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    forced = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    target = Path(experiments.__file__).parent.relative_to(ROOT) / "shipped" / "experiments"
    assert forced == {"experiments": target.as_posix()}
    assert project["project"]["scripts"] == {"lightning-aqa": "lightning_aqa.__main__:main"}
    assert (ROOT / "lightning_aqa" / "py.typed").is_file()
