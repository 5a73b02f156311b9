"""The front door: help and version without torch, one line for a subcommand that does not exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_aqa
from lightning_aqa.cli.main import main
from lightning_aqa.cli.subcommands import SUBCOMMANDS, TRAINING

ROOT = Path(__file__).parents[2]
QUICK = [["--help"], ["--version"], *([name, "--help"] for name in SUBCOMMANDS)]


@pytest.mark.parametrize("args", QUICK, ids=" ".join)
def test_help_needs_neither_torch_nor_lightning(args):
    script = (
        "import sys; from lightning_aqa.cli.main import main; code = main(sys.argv[1:])\n"
        "print(code, sorted({'torch', 'lightning', 'scipy', 'transformers'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stderr == "0 []\n"
    assert "lightning-aqa" in done.stdout
    assert "__main__" not in done.stdout


def test_help_lists_every_subcommand(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert [name for name in (*TRAINING, *SUBCOMMANDS) if f"    {name}" not in said] == []


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lightning-aqa {lightning_aqa.__version__}\n"


@pytest.mark.parametrize("args", [["--help"], ["fit", "--help"], ["sweep", "--help"]])
def test_usage_names_the_console_script(args, capsys):
    assert main(args) == 0
    assert capsys.readouterr().out.lower().startswith("usage: lightning-aqa")


def test_a_missing_or_misspelt_subcommand_is_one_line(fails):
    assert fails().startswith("error: a subcommand is missing: one of fit, ")
    said = fails("scroe", "x.ckpt")
    assert said.startswith("error: there is no subcommand 'scroe'")
    assert said.endswith("Did you mean 'score'?")
    assert len(said.splitlines()) == 1


def test_the_program_and_the_console_script_are_one(tmp_path):
    script = "import sys; sys.argv = ['lightning-aqa', 'sweep', 'gone.yaml']; from lightning_aqa.__main__ import main; "
    for command in (["-m", "lightning_aqa", "sweep", "gone.yaml"], ["-c", f"{script} raise SystemExit(main())"]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, timeout=120)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: gone.yaml: no such sweep file")


@pytest.mark.parametrize("name", TRAINING)
def test_help_of_a_run_is_two_screens_from_the_parser_and_all_of_it_is_there(name, capsys):
    assert main([name, "--help"]) == 0
    page = capsys.readouterr().out
    lines = page.splitlines()
    assert len(lines) < 90
    assert max(map(len, lines)) <= 120
    shown = set(re.findall(r"^  (--[\w.]+)", page, re.MULTILINE))
    assert shown >= {"--config", "--ckpt_path", "--data", "--model.head", "--trainer.devices", "--data.audio_root"}
    assert main([name, "--help=all"]) == 0
    everything = capsys.readouterr().out
    assert len(everything.splitlines()) > 400
    listed = set(re.findall(r"--[\w.]+", everything))
    assert {flag for flag in shown - listed if not flag.startswith(("--data.", "--objectives.NAME"))} == set()


def test_every_usual_option_is_one_of_fit_and_of_a_table(capsys):
    from lightning_aqa.cli.help import USUAL, USUAL_DATA

    assert main(["fit", "--help"]) == 0
    page = capsys.readouterr().out
    for name in [name for names in USUAL.values() for name in names] + [f"data.{name}" for name in USUAL_DATA]:
        assert re.search(rf"^  --{re.escape(name)}[ =.]", page, re.MULTILINE), name
    assert re.search(r"--trainer.max_epochs .* \[100\]", page)
    assert "QAMRO" in page
    assert "MLP" in page
