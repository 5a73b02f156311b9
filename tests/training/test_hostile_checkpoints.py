"""Checkpoints and configs of strangers name classes: nothing that is no part is imported, called or built."""

import functools
import math
import sys

import numpy as np
import pytest
import soundfile
import torch

from lightning_aqa import load
from lightning_aqa.cli.main import main
from lightning_aqa.module import AQAModule
from lightning_aqa.training.checkpoints import BestCheckpoint
from lightning_aqa.training.loading import INSTANTIATOR, load_module, read_resumable
from lightning_aqa.utils.class_paths import check_path

AXES = [["PQ", "Quality", 1.0, 5.0]]
TOUCH = {"class_path": "subprocess.getoutput", "init_args": {"cmd": "touch OWNED"}}
NOTHING = {"class_path": "os.system", "init_args": {"command": "touch OWNED"}}
CONCAT = "lightning_aqa.encoders.concat.Concat"


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Write a checkpoint with some of its settings and some of its entries changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def save(settings=None, **entries):
        settings = {"_instantiator": INSTANTIATOR, "axes": AXES} | (settings or {})
        content = {"state_dict": AQAModule(AXES).state_dict(), "hyper_parameters": settings} | entries
        torch.save(content, tmp_path / "x.ckpt")
        return str(tmp_path / "x.ckpt")

    yield save
    assert not (tmp_path / "OWNED").exists()


@pytest.fixture
def clip(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    return str(tmp_path / "a.wav")


def test_scoring_builds_neither_optimiser_nor_scheduler(saved, clip, tmp_path):
    path = saved({"optimizer": TOUCH, "scheduler": NOTHING}, hparams={"head": TOUCH}, hparams_name="optimizer")
    assert main(["score", path, clip, f"--output={tmp_path / 's.csv'}"]) == 0
    assert "PQ" in (tmp_path / "s.csv").read_text()
    assert load(path, device="cpu")(clip)["PQ"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": NOTHING}, r"'os\.system' is refused, since it is of Python's standard library; expected"),
        ({"head": "os.abort"}, r"'os\.abort' is refused"),
        ({"encoder": TOUCH}, r"'subprocess\.getoutput' is refused"),
        ({"encoder": "antigravity.x"}, r"'antigravity\.x' is refused"),
        ({"head": "lightning_aqa.utils.weights.os.system"}, r"'posix\.system' is refused"),
        ({"head": {"class_path": "torch.hub.load", "init_args": {"repo_or_dir": "a/b"}}}, r"head: .* is no class"),
        (
            {"head": {"class_path": "torch.nn.Linear", "init_args": {"in_features": 1}}},
            r"'torch\.nn\.Linear' is no Head",
        ),
        ({"encoder": "lightning_aqa.heads.mlp.MLP"}, r"'lightning_aqa\.heads\.mlp\.MLP' is no Encoder"),
        (
            {"encoder": {"class_path": CONCAT, "init_args": {"encoders": [TOUCH]}}},
            r"'subprocess\.getoutput' is refused",
        ),
        ({"head": "torch.utils.model_dump.__main__.Head"}, r"since it is a program"),
        ({"head": "x.ckpt"}, r"No module named 'x'"),  # a text is no file to read
        ({"head": {"class_path": "MLP", "init_args": {"hidden": [2**15, 2**15]}}}, r"far larger than its weights"),
        ({"lora": TOUCH, "freeze": "lora"}, r"'subprocess\.getoutput' is refused"),
        ({"head": "scripts_of_mine.Head"}, r"'scripts_of_mine\.Head' is refused and not imported"),
        ({"head": "scripts_of_mine.Path"}, r"'scripts_of_mine\.Path' is refused and not imported"),
        ({"layers": functools.reduce(lambda inner, _: [inner] * 9, range(9), 0)}, r"more than 1000 values"),
        ({"head": {"class_path": "MLP", "init_args": {"hidden": ["x"]}}}, r"head"),
    ],
)
def test_what_is_no_part_is_refused_before_it_is_imported_or_called(saved, fails, clip, tmp_path, settings, message):
    (tmp_path / "scripts_of_mine.py").write_text("from pathlib import Path\nopen('OWNED', 'w').close()\n")
    path = saved(settings)
    with pytest.raises(ValueError, match=rf"x\.ckpt: its model cannot be built here: .*{message}") as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600 + len(path)
    assert "scripts_of_mine" not in sys.modules


def test_a_head_in_a_module_of_one_s_own_is_built(saved, tmp_path):
    (tmp_path / "heads_of_mine.py").write_text(
        "from lightning_aqa.heads.mlp import MLP\n\n\nclass Mine(MLP):\n    '''Score as MLP does.'''\n"
    )
    assert type(load_module(saved({"head": "heads_of_mine.Mine"})).head).__name__ == "Mine"
    (tmp_path / "heads_that_fail.py").write_text("class Mine(object):\n    pass\n\n\n1 / 0\n")
    with pytest.raises(
        ValueError, match=r"'heads_that_fail\.Mine' is refused, since importing it ends in ZeroDivisionError"
    ):
        load_module(saved({"head": "heads_that_fail.Mine"}))
    (tmp_path / "heads_that_lack.py").write_text("import nowhere_to_be_found\n\n\nclass Mine(object):\n    pass\n")
    with pytest.raises(ValueError, match=r"No module named 'nowhere_to_be_found'"):
        load_module(saved({"head": "heads_that_lack.Mine"}))


def test_a_package_is_looked_at_without_importing_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    inner = tmp_path / "package_of_mine" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").write_text("from package_of_mine.inner.part import Part\nopen('OWNED', 'w')\n")
    (inner / "__init__.py").write_text("")
    (inner / "part.py").write_text(
        "import torch\n\n\nclass Part(torch.nn.Module):\n    pass\n\n\ndef run():\n    pass\n"
    )
    check_path("package_of_mine.Part")
    check_path("package_of_mine.inner.part.Part")
    (inner / "broken.py").write_text("class Part(:\n")
    with pytest.raises(ValueError, match=r"'Part' is refused, since .*broken\.py is no Python: invalid syntax"):
        check_path("package_of_mine.inner.broken.Part")
    for wrong in ("package_of_mine.inner.part.run", "package_of_mine.inner.Gone", "package_of_mine.gone.Part"):
        with pytest.raises(ValueError, match="is refused and not imported"):
            check_path(wrong)
    assert "package_of_mine" not in sys.modules


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        ("model: {optimizer: %s}", "--model.optimizer: 'subprocess.getoutput' is refused"),
        ("trainer: {callbacks: [%s]}", "--trainer.callbacks: 'subprocess.getoutput' is refused"),
        ("objectives: {mine: %s}", "--objectives: 'subprocess.getoutput' is refused"),
        (
            "model: {optimizer: {class_path: torch.hub.load, init_args: {model: x}}}",
            "model.optimizer: 'torch.hub.load' is no",
        ),
    ],
)
def test_the_same_holds_for_a_config(saved, fails, tmp_path, corpora, value, flag):
    saved()
    text = "{class_path: subprocess.getoutput, init_args: {cmd: touch OWNED}}"
    (tmp_path / "c.yaml").write_text(value.replace("%s", text))
    said = fails("fit", "--config=c.yaml", "--data=MusicEval", f"--data.root={corpora['musiceval']}")
    assert said.startswith(f"error: {flag}")
    assert len(said.splitlines()) == 1


def test_scoring_a_config_builds_no_optimiser_and_no_stranger(saved, fails, clip, tmp_path):
    saved()
    (tmp_path / "c.yaml").write_text("model: {head: {class_path: os.system, init_args: {command: touch OWNED}}}")
    assert "c.yaml: 'os.system' is refused" in fails("score", "c.yaml", clip, "--output=s.csv")
    (tmp_path / "c.yaml").write_text(
        "model: {optimizer: {class_path: subprocess.getoutput, init_args: {cmd: touch OWNED}}}"
    )
    assert "c.yaml: its head is not trained" in fails("score", "c.yaml", clip, "--output=s.csv")


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)

QUOTED = '"${{vars.a{}}}"'
REFERENCES = "model: {layers: '${vars.a9}'}\nvars:\n  a0: [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"  a{n}: [{', '.join([QUOTED.format(n - 1)] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (REFERENCES, "its references repeat each other without end"),
        (REFERENCES.replace("[", "'").replace("]", "'").replace(", ", "").replace('"', ""), "its references repeat"),
        (BOMB, "its aliases make more than 100000 values"),
        ("model: {head: " + "[" * 5000 + "]" * 5000 + "}", "nested more than 100 levels"),
        ("model: &m {head: *m, encoder: " + "x" * 100 + "}", "it holds itself"),
        ("model: {layers: " + "9" * 5000 + "}", "4300 digits"),
    ],
    ids=["references", "letters", "aliases", "depth", "itself", "digits"],
)
def test_yaml_that_grows_is_refused_at_once(tmp_path, monkeypatch, fails, clip, text, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    assert reason in fails("score", "c.yaml", clip, "--output=s.csv")
    assert reason in fails("fit", "--config=c.yaml")


def test_a_pickle_asks_for_no_memory(saved):
    class Large:
        def __reduce__(self):
            return bytearray, (2**36,)

    with pytest.raises(ValueError, match=r"x\.ckpt: cannot be read as a checkpoint: damaged"):
        load_module(saved(more=Large()))


def test_weights_that_are_no_numbers_are_told(saved):
    weights = AQAModule(AXES).state_dict()
    weights["head.location_A"].fill_(math.nan)
    with pytest.raises(
        ValueError, match=r"x\.ckpt: 1 of its tensors hold NaN or infinity, among them head\.location_A"
    ):
        load_module(saved(state_dict=weights))


def test_a_checkpoint_damaged_in_the_middle_is_told(saved, tmp_path):
    path = saved()
    content = bytearray((tmp_path / "x.ckpt").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.ckpt: cannot be read as a checkpoint: it is damaged: the bytes of"):
        load_module(path)


STATE = {"epoch": 1, "global_step": 1, "loops": {"fit_loop": {}}, "callbacks": {}, "optimizer_states": [{}]}


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"loops": {}}, r"loops\.fit_loop"),
        ({"callbacks": []}, "callbacks"),
        ({"optimizer_states": []}, "optimizer_states"),
    ],
)
def test_training_goes_on_from_a_whole_state_alone(saved, change, missing):
    whole = STATE | {"lr_schedulers": []}
    read_resumable(saved(**whole))
    with pytest.raises(ValueError, match=rf"training cannot go on from it, since its {missing} are missing or damaged"):
        read_resumable(saved(**(whole | change)))


def test_a_checkpoint_names_no_files_outside_the_run(tmp_path):
    best = BestCheckpoint(tmp_path / "checkpoints", "best", None)
    (tmp_path / "other.ckpt").write_text("of someone else")
    other = str(tmp_path / "other.ckpt")
    state = best.state_dict() | {"best_model_path": other, "best_k_models": {other: torch.tensor(0.0)}}
    best.load_state_dict(state)
    assert best.best_model_path == ""
    assert best.best_k_models == {}
