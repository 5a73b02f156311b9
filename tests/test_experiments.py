"""Every YAML under experiments/ opens with its command, and trains by it on a small corpus, logging to W&B offline."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
import wandb
import yaml
from lightning.pytorch.loggers import WandbLogger

from lightning_aqa.cli.main import main
from lightning_aqa.metrics.correlation import lcc
from lightning_aqa.training import cross_validation
from tests.slow import all_but

ROOT = Path(__file__).parent.parent
FILES = (path.relative_to(ROOT) for path in (ROOT / "experiments").rglob("*.yaml"))
PATHS = sorted(
    str(path) for path in FILES if not {"ablations", "judges", "challenges"} & set(path.parts)
)  # have their own tests
PUBLISHED = [path for path in PATHS if path.startswith(("experiments/mus", "experiments/aes"))]
TWO = ("experiments/musiceval/qamro_melspectrogram.yaml", "experiments/aes_natural/aesa_net_melspectrogram.yaml")
PARITY = ROOT.parent / "shared" / "parity" / "audiobox_aesthetics"
NUM_FOLDS = 2
EVERY_LABEL = "experiments/every_label.yaml"
OWN_DATA, ZERO_SHOT = "experiments/own_data.yaml", "experiments/aes_natural/audiobox_zero_shot.yaml"


@pytest.fixture(autouse=True)
def sandbox(tmp_path, monkeypatch):
    """Call commands from a folder that has the experiments; end the W&B run, which otherwise ends with the process."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    yield
    wandb.finish()


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch, audiobox_folder, beats_folder, clap_folder, muq_folder, text_folder):
    """Keep small random checkpoints where a user would put the published ones, under the same names."""
    folder = tmp_path / "weights"
    places = {
        "facebook/audiobox-aesthetics": audiobox_folder / "hf",
        "BEATs_iter3_plus_AS2M.pt": beats_folder / "pretrained.pt",
        "music_audioset_epoch_15_esc_90.14.pt": clap_folder / "clap.pt",
        "roberta-base": clap_folder,
        "OpenMuQ/MuQ-large-msd-iter": muq_folder,
        "FacebookAI/roberta-base": text_folder,
    }
    for name, place in places.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(place)
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(folder))


@pytest.fixture
def sizes(audiobox_folder):
    """Flags by encoder class that the small models need; the other small checkpoints say their sizes themselves."""
    return {
        "MelSpectrogram": ["--model.encoder.width=32", "--model.encoder.depth=1"],
        "AudioboxAesthetics": [f"--model.encoder.config={audiobox_folder / 'wavlm.json'}"],
    }


@pytest.fixture
def table(corpora, tmp_path):
    """A table of ratings, two of each clip, and the folder of its audio."""
    audio = corpora["musiceval"] / "MusicEval-full" / "wav"
    names = sorted(path.name for path in audio.iterdir())[:12]
    rows = [f"{name},L{k},{1 + (i + k) % 5}" for i, name in enumerate(names) for k in range(2)]
    (tmp_path / "ratings.csv").write_text("\n".join(["file,listener,overall", *rows]))
    return audio


@pytest.fixture
def small(corpora, table):
    """Flags by corpus class that replace the corpus by a small one."""
    few = ["--data.num_clips=30", "--data.num_systems=4", "--data.seconds=[0.5, 0.9]"]
    sizes = {"music": (30, 4), "natural": (48, 3)}
    mixed = [
        f"--data.corpora.{name}.{option}={value}"
        for name, (clips, systems) in sizes.items()
        for option, value in (("num_clips", clips), ("num_systems", systems), ("seconds", [0.5, 0.9]))
    ]
    small_pairs = [
        f"--data.corpora.pairs.{option}" for option in ("num_clips=40", "num_systems=4", "seconds=[0.5,0.9]")
    ]
    return {
        "Mix": mixed,
        "Mix of pairs": [*mixed, *small_pairs],
        "Synthetic": ["--data.root=synthetic", *few],
        "MusicEval": [f"--data.root={corpora['musiceval']}"],
        "AESNatural": [f"--data.root={corpora['aes_natural']}"],
        "Table": [f"--data.audio_root={table}", f"--data.folds={NUM_FOLDS}"],
    }


@pytest.fixture
def command(small, sizes, tmp_path):
    """The command that a YAML opens with, made small."""

    def make(path):
        config = yaml.safe_load(Path(path).read_text())
        kind = "Mix of pairs" if path == EVERY_LABEL else _last(config["data"])
        words = [*small[kind], "--data.num_workers=0", "--trainer.max_epochs=1"]
        words += [f"--trainer.default_root_dir={tmp_path}", "--name=run"]  # W&B keeps the folder of its first run
        words += sizes.get(_last(config["model"]["encoder"]), [])
        return [_verb(path), "--config", path, *words]

    return make


def _verb(path):
    return "test" if path == ZERO_SHOT else "fit"


def _last(part):
    return (part["class_path"] if isinstance(part, dict) else part).rsplit(".", 1)[-1]


def test_there_are_experiments():
    assert {"experiments/quickstart.yaml", "experiments/own_data.yaml"} < set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_an_experiment_opens_with_its_command(path):
    lines = (ROOT / path).read_text().splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    commands = [line.removeprefix("#").strip() for line in header if "python -m" in line]
    assert [" ".join(words.split()[:6]) for words in commands] == _openings(path)


def _openings(path):
    verbs = ["test", "predict"] if path == ZERO_SHOT else ["fit"]
    return [f"python -m lightning_aqa {verb} --config {path}" for verb in verbs]


@pytest.mark.parametrize("path", all_but([path for path in PATHS if path not in (OWN_DATA, EVERY_LABEL)], *TWO))
def test_an_experiment_trains_and_logs_offline(path, command, tmp_path, capsys, request):
    if path == TWO[0]:
        request.getfixturevalue("pictures")
    assert main(command(path)) == 0
    wandb.finish()
    (offline,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert {path.suffix for path in offline.glob("run-*")} == {".wandb"}
    assert f"wandb sync {offline}" in capsys.readouterr().out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert all(entry["MSE"] >= 0 for entry in results["test"]["utterance"].values())


def test_corpora_of_two_scales_pairs_and_listeners_are_on_one_page(command, tmp_path):
    assert main(command(EVERY_LABEL)) == 0
    wandb.finish()
    results = json.loads((tmp_path / "run" / "results.json").read_text())["test"]
    assert results["utterance"]["quality"]["n"] > 10
    assert {"music", "natural"} <= results["domains"].keys()
    assert results["pairs"]["quality"]["n"] >= 6
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    assert {name.split("/")[0] for name in state["Listeners[listeners]"]["names"]} == {"music", "natural"}
    assert main(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report" / "report.html").read_text()
    for words in ("Pairs that listeners judged", ">Listeners</h2>", "90 % intervals hold", "natural/speech"):
        assert words in page, words


@pytest.mark.parametrize("path", all_but(PUBLISHED, *TWO))
def test_what_an_experiment_trained_is_tested_and_scores_a_folder(path, command, corpora, tmp_path):
    words = command(path)
    assert main([*words, "--trainer.logger=false"]) == 0
    common = [f"--trainer.default_root_dir={tmp_path}", "--trainer.logger=false"]
    best = [f"--ckpt_path={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"]
    model = words[1:3] + [word for word in words if word.startswith("--model.")] if path == ZERO_SHOT else best
    data = next(word for word in words if word.startswith("--data.root="))
    config = yaml.safe_load(Path(path).read_text())
    loading = config["data"]["init_args"]
    same = [f"--data.{key}={loading[key]}" for key in ("resampler", "normalise") if key in loading]
    same += [f"--trainer.precision={config['trainer'].get('precision', '32-true')}"]
    assert main(["test", *model, f"--data={_last(config['data'])}", data, *same, "--name=tested", *common]) == 0
    _assert_same(_rows(tmp_path / "tested"), _rows(tmp_path / "run"))
    clips = corpora["musiceval"] / "MusicEval-full" / "wav"
    assert main(["predict", *model, "--data=Folder", f"--data.root={clips}", "--name=scored", *common]) == 0
    scored = _rows(tmp_path / "scored")
    assert {row["axis"] for row in scored} == {row["axis"] for row in _rows(tmp_path / "run")}
    assert len({row["id"] for row in scored}) == len(list(clips.iterdir()))
    assert all(math.isfinite(float(row["score"])) for row in scored)


def _assert_same(rows, others):
    """Rows are the same but for rounding; a pooled entry of the cache moves last digits."""
    for one, two in zip(rows, others, strict=True):
        for name in ("score", "deviation", "low", "high"):
            assert float(one.pop(name, 0) or 0) == pytest.approx(float(two.pop(name, 0) or 0), abs=1e-5)
        assert one == two


def test_wandb_gets_the_whole_config_and_the_run_keeps_its_address(command, monkeypatch, tmp_path):
    logged = []
    monkeypatch.setattr(WandbLogger, "log_hyperparams", lambda self, params: logged.append(params))
    monkeypatch.setattr(wandb.Run, "url", "https://example.org/runs/1")
    assert main([*command("experiments/quickstart.yaml"), "--objectives.qamro.margin_scale=0.7"]) == 0
    wandb.finish()
    (config,) = [params["config"] for params in logged if "config" in params]
    assert config["objectives"]["qamro"]["init_args"]["margin_scale"] == 0.7
    assert {"data", "model", "trainer", "monitor"} <= config.keys()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["wandb"] == "https://example.org/runs/1"
    assert facts["speed"]["peak_megabytes"] > 0


@pytest.mark.parametrize("path", all_but([path for path in PATHS if "/" in path.removeprefix("experiments/")], TWO[0]))
def test_another_encoder_takes_one_flag_or_one_line_says_why_not(path, command, tmp_path, capfd):
    words = [word for word in command(path) if not word.startswith("--model.encoder.")]
    code = main([*words, "--model.encoder=BEATs", "--trainer.logger=false", "--data.cache=null"])
    said = capfd.readouterr().err.strip().splitlines()
    if path.endswith("ordinal_muq.yaml"):
        assert (code, len(said)) == (2, 1)
        assert "no text side" in said[0]
        return
    assert code == 0
    assert _rows(tmp_path / "run")


@pytest.mark.skipif(not PARITY.exists(), reason="needs the golden files of ../shared/parity")
@pytest.mark.parametrize("variant", ["a_linear", "b_mlp_ln", "c_samewidth_nonorm"])
def test_zero_shot_scores_are_those_of_the_official_predictor(variant, tmp_path):
    folder = PARITY / variant
    parts = [f"--model.{part}.checkpoint={folder / 'checkpoint.pt'}" for part in ("encoder", "head")]
    words = [*parts, f"--model.encoder.config={folder / 'wavlm_cfg.json'}", f"--trainer.default_root_dir={tmp_path}"]
    words += ["--data=Folder", f"--data.root={PARITY / 'wavs'}", "--trainer.logger=false", "--name=zero"]
    assert main(["predict", "--config", ZERO_SHOT, *words]) == 0
    expected = json.loads((folder / "predictor.json").read_text())["batch_size_100"]
    found = {(row["id"], row["axis"]): float(row["score"]) for row in _rows(tmp_path / "zero")}
    assert len(found) == 4 * len(expected)
    assert found == pytest.approx({key: expected[key[0]][key[1]] for key in found}, abs=5e-5)


def test_zero_shot_scores_without_training_are_those_of_predict(sizes, corpora, tmp_path, capsys):
    clips = corpora["aes_natural"]
    words = sizes["AudioboxAesthetics"]
    folder = ["--data=Folder", f"--data.root={clips}", f"--trainer.default_root_dir={tmp_path}", "--name=zero"]
    assert main(["predict", "--config", ZERO_SHOT, *words, *folder, "--trainer.logger=false"]) == 0
    wanted = {(str(clips / row["id"]), row["axis"]): float(row["score"]) for row in _rows(tmp_path / "zero")}
    capsys.readouterr()
    assert main(["score", ZERO_SHOT, str(clips), *words, "--output=scores.csv"]) == 0
    assert f"{len(wanted) // 4} clips done" in capsys.readouterr().out
    with open("scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["path"], axis): float(row[axis]) for row in rows for axis in ("PQ", "PC", "CE", "CU")}
    assert found == pytest.approx(wanted, abs=1e-5)
    assert len(set(found.values())) > len(found) // 2


def test_own_data_is_cross_validated_and_pooled(command, capsys, tmp_path, monkeypatch, fold_here):
    monkeypatch.setattr(cross_validation, "train_fold", fold_here)
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(main(command("experiments/own_data.yaml")))
    assert stop.value.code == 0
    run = tmp_path / "run"
    pooled = _scores(run)
    folds = [_scores(run / f"fold{fold}") for fold in range(NUM_FOLDS)]
    assert len(pooled) == 12 == sum(map(len, folds))
    assert pooled == {id_: row for fold in folds for id_, row in fold.items()}
    entry = json.loads((run / "results.json").read_text())["test"]["utterance"]["overall"]
    assert entry["n"] == 12
    assert entry["LCC"] == pytest.approx(lcc(*zip(*pooled.values(), strict=True)), abs=1e-12)
    assert f"{entry['LCC']:.3f}" in capsys.readouterr().out
    for fold in range(NUM_FOLDS):
        (_,) = (run / f"fold{fold}" / "wandb").glob("offline-run-*")
        assert "wandb sync" in (run / f"fold{fold}.log").read_text()


def _rows(folder):
    with open(folder / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def _scores(folder):
    """Score and target of each clip of the split ``test``."""
    with open(folder / "predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    return {row["id"]: (float(row["score"]), float(row["target"])) for row in rows}
