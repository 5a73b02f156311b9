"""The command line from end to end: what a run leaves, what the short flags do, what a mistake is told."""

import csv
import json
import shutil

import pytest
import torch
import yaml
from PIL import Image

from lightning_aqa.cli.main import main
from lightning_aqa.metrics.correlation import srcc
from tests.slow import all_but


def _words(corpora, layout="musiceval"):
    corpus = {"musiceval": "MusicEval", "aes_natural": "AESNatural"}[layout]
    return [f"--data={corpus}", f"--data.root={corpora[layout]}", "--data.batch_size=8"]


def _rows(folder):
    with open(folder / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def _checkpoint(folder, name="best"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_fit_leaves_a_run_folder_with_all_its_files(corpora, fit, capsys, pictures):
    folder = fit(*_words(corpora), epochs=2)
    screen = capsys.readouterr().out
    assert "MLP" in screen
    assert "utterance" in screen
    expected = {"config.yaml", "checkpoints", "predictions.csv", "results.json", "skipped.csv", "history.csv"}
    expected |= {"run.json", "intervals.json", "trained.npz"}
    expected |= {"ratings.csv", "clips.csv", "systems.csv", "observations.npz"}
    pictures = {
        "scatter_train.png",
        "scatter_dev.png",
        "scatter_test.png",
        "error_by_domain.png",
        "learning_curves.png",
    }
    assert expected | pictures == {path.name for path in folder.iterdir()}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    for picture in pictures:
        with Image.open(folder / picture) as image:
            assert min(image.size) > 300


def test_predictions_are_tidy_and_hold_every_clip_once(corpora, fit):
    rows = _rows(fit(*_words(corpora)))
    assert list(rows[0]) == ["split", "id", "system", "domain", "prompt", "axis", "target", "score", "deviation"]
    assert len(rows) == 30 * 2
    assert len({(row["id"], row["axis"]) for row in rows}) == 30 * 2
    with open(corpora["musiceval"] / "MusicEval-full" / "sets" / "test_mos_list.txt") as file:
        listed = {name.removesuffix(".wav"): (float(mi), float(ta)) for name, mi, ta in csv.reader(file)}
    test = {(row["id"], row["axis"]): float(row["target"]) for row in rows if row["split"] == "test"}
    assert {id_: (test[id_, "MI"], test[id_, "TA"]) for id_ in listed} == listed
    assert len(test) == 2 * len(listed)


def test_results_are_those_of_the_predictions(corpora, fit):
    folder = fit(*_words(corpora), epochs=2)
    results = json.loads((folder / "results.json").read_text())
    assert set(results) == {"train", "dev", "test"}
    rows = [row for row in _rows(folder) if row["split"] == "train" and row["axis"] == "MI"]
    again = srcc([float(row["score"]) for row in rows], [float(row["target"]) for row in rows])
    assert results["train"]["utterance"]["MI"]["SRCC"] == pytest.approx(again, abs=1e-12)
    assert results["train"]["domains"]["music"]["utterance"]["MI"]["SRCC"] == pytest.approx(again, abs=1e-12)


def test_the_saved_config_runs_again_to_the_same_predictions(corpora, fit):
    first = fit(*_words(corpora), "--objectives.q=QAMRO", epochs=2)
    again = fit("--config", str(first / "config.yaml"), epochs=2, name="again")
    assert _rows(first) == _rows(again)


def test_short_overrides_reach_their_parts(corpora, fit):
    words = ["--objectives.qamro=QAMRO", "--objectives.qamro.margin_scale=0.4", "--objectives.triplet=Triplet"]
    swaps = ["--objectives.triplet=null", "--model.head=AESANet", "--model.head.lstm_width=16", "--data.batch_size=4"]
    config = yaml.safe_load((fit(*_words(corpora), *words, *swaps) / "config.yaml").read_text())
    assert config["objectives"]["qamro"]["init_args"]["margin_scale"] == 0.4
    assert config["objectives"]["triplet"] is None
    assert config["model"]["head"]["class_path"].endswith("AESANet")
    assert config["model"]["head"]["init_args"]["lstm_width"] == 16
    assert config["data"]["init_args"]["batch_size"] == 4


@pytest.mark.parametrize("encoder", all_but(["Descriptors", "MelSpectrogram"], "MelSpectrogram"))
@pytest.mark.parametrize("layout", ["musiceval", "aes_natural"])
def test_each_corpus_trains_with_qamro_and_with_aesa_net(corpora, fit, layout, encoder):
    words = [*_words(corpora, layout), f"--model.encoder={encoder}", "--model.head=AESANet"]
    terms = ["--objectives.qamro=QAMRO", "--objectives.triplet=Triplet", "--objectives.frames=FrameScores"]
    results = json.loads((fit(*words, *terms) / "results.json").read_text())
    axes = {"musiceval": {"MI", "TA"}, "aes_natural": {"PQ", "PC", "CE", "CU"}}[layout]
    assert set(results["test"]["utterance"]) == axes | {"mean"}
    assert all(entry["MSE"] >= 0 for entry in results["test"]["utterance"].values())


@pytest.mark.parametrize("precision", all_but(["64-true", "bf16-mixed"], "bf16-mixed"))
@pytest.mark.parametrize("head", ["MLP", "AESANet"])
def test_each_precision_trains(corpora, fit, precision, head):
    encoder = ["--model.encoder=MelSpectrogram", "--model.encoder.width=8", "--model.encoder.depth=1"]
    folder = fit(*_words(corpora), *encoder, f"--model.head={head}", f"--trainer.precision={precision}")
    assert all(0 < float(row["score"]) < 6 for row in _rows(folder))


@pytest.mark.parametrize(
    ("layout", "kind", "objective", "precision"),
    [("musiceval", "gaussian", "SoftOrdinal", "64-true"), ("aes_natural", "coral", "Coral", "bf16-mixed")],
)
def test_an_ordinal_head_trains_and_scores_inside_the_scale(corpora, fit, layout, kind, objective, precision):
    words = [*_words(corpora, layout), "--model.head=Ordinal", f"--model.head.kind={kind}", "--model.head.dropout=0"]
    words += [f"--objectives.ordinal={objective}", "--objectives.mse=null", f"--trainer.precision={precision}"]
    folder = fit(*words, epochs=4)
    with open(folder / "history.csv", newline="") as file:
        losses = [float(row["train/ordinal"]) for row in csv.DictReader(file) if row["train/ordinal"]]
    assert losses[-1] < losses[0]
    low, high = {"musiceval": (1, 5), "aes_natural": (0, 10)}[layout]
    scores = [float(row["score"]) for row in _rows(folder)]
    assert low < min(scores) < max(scores) < high


@pytest.mark.parametrize(
    ("audio", "precision"),
    all_but([("Descriptors", "64-true"), ("MelSpectrogram", "bf16-mixed")], ("Descriptors", "64-true")),
)
def test_text_attends_to_audio(corpora, fit, text_folder, audio, precision):
    text = f"{{class_path: TextEncoder, init_args: {{name_or_path: {text_folder}, max_tokens: 16}}}}"
    words = [*_words(corpora), "--model.encoder=Concat", f"--model.encoder.encoders=[{{class_path: {audio}}}, {text}]"]
    words += ["--model.head=CrossAttention", f"--trainer.precision={precision}"]
    folder = fit(*words, "--model.freeze=all", epochs=3)
    with open(folder / "history.csv", newline="") as file:
        losses = [float(row["train/mse"]) for row in csv.DictReader(file) if row["train/mse"]]
    assert losses[-1] < losses[0]
    weights = _checkpoint(folder, "last")["state_dict"]
    assert {tensor.dtype for name, tensor in weights.items() if name.startswith("head.")} == {
        {"64-true": torch.float64, "bf16-mixed": torch.float32}[precision]
    }


def test_cached_features_train_the_same_head_as_live_ones(corpora, fit, tmp_path):
    live = fit(*_words(corpora), epochs=2, name="live")
    words = [*_words(corpora), f"--data.cache={tmp_path / 'cache'}"]
    frames = fit(*words, "--data.cache_form=frames", epochs=2, name="frames")
    assert _rows(live) == _rows(frames)
    pooled = fit(*words, epochs=2, name="pooled")
    entries = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    assert len(entries) == 60
    read = fit(*words, epochs=2, name="read")
    assert entries == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    assert _rows(pooled) == _rows(read)
    losses, scores = ([_numbers(folder, *of) for folder in (live, pooled)] for of in (LOSSES, SCORES))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


LOSSES, SCORES = ("history.csv", "train/loss"), ("predictions.csv", "score")


def _numbers(folder, name, column):
    with open(folder / name, newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row[column]]


def test_a_trained_encoder_refuses_a_cache(corpora, fails, tmp_path):
    said = fails("fit", *_words(corpora), "--model.encoder=MelSpectrogram", f"--data.cache={tmp_path / 'cache'}")
    assert "needs a frozen encoder" in said
    assert "--model.freeze=all" in said


def test_a_second_run_of_a_name_gets_a_folder_of_its_own(corpora, fit, tmp_path):
    first = fit(*_words(corpora))
    before = (first / "predictions.csv").read_bytes()
    fit(*_words(corpora), "--seed_everything=1")
    assert (first / "predictions.csv").read_bytes() == before
    assert (tmp_path / "run-2" / "predictions.csv").exists()


@pytest.fixture
def trained(corpora, fit):
    return fit(*_words(corpora), "--model.head=AESANet", "--model.head.lstm_width=8", epochs=2)


def test_an_evaluation_prints_one_table(corpora, trained, tmp_path, capsys):
    capsys.readouterr()
    words = [f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["test", *_words(corpora), *words, "--name=[t]"]) == 0
    said = capsys.readouterr().out
    assert "DataLoader 0" not in said
    assert f"in {tmp_path / '[t]'}: predictions.csv" in said


def test_test_and_validate_give_what_fit_gave(corpora, trained, tmp_path):
    common = [*_words(corpora), f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}"]
    root = f"--trainer.default_root_dir={tmp_path}"
    assert main(["test", *common, root, "--name=t"]) == 0
    assert main(["validate", *common, root, "--name=v"]) == 0
    assert _rows(tmp_path / "t") == _rows(trained)
    assert _rows(tmp_path / "v") == [row for row in _rows(trained) if row["split"] == "dev"]


def test_predict_scores_a_folder_as_fit_scored_its_clips(corpora, trained, tmp_path):
    audio = corpora["musiceval"] / "MusicEval-full" / "wav"
    words = [f"--data.root={audio}", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}"]
    assert main(["predict", "--data=Folder", *words, f"--trainer.default_root_dir={tmp_path}", "--name=p"]) == 0
    scored = _rows(tmp_path / "p")
    assert {(row["split"], row["target"]) for row in scored} == {("predict", "")}
    known = {(row["id"], row["axis"]): float(row["score"]) for row in _rows(trained)}
    found = {(row["id"].removesuffix(".wav"), row["axis"]): float(row["score"]) for row in scored}
    assert found == pytest.approx(known, abs=1e-4)


def test_predict_without_a_checkpoint_says_which_to_give(corpora, fails):
    assert "--ckpt_path=" in fails("predict", "--data=Folder", f"--data.root={corpora['musiceval']}")


def test_init_from_takes_the_weights_and_the_settings_of_the_new_run(corpora, trained, fit):
    words = ["--model.head=AESANet", "--model.head.lstm_width=8", "--model.optimizer=SGD", "--model.optimizer.lr=0"]
    warm = fit(*_words(corpora), *words, f"--init_from={trained / 'checkpoints' / 'best.ckpt'}", name="warm")
    assert _rows(warm) == _rows(trained)


def test_init_from_another_model_names_the_weights_that_differ(corpora, trained, fails):
    said = fails("fit", *_words(corpora), f"--init_from={trained / 'checkpoints' / 'best.ckpt'}")
    assert "weights are not those of this model" in said
    assert "head." in said


def test_going_on_with_a_model_of_another_size_is_one_line(corpora, trained, fails, tmp_path):
    words = ["--model.head=AESANet", "--model.head.lstm_width=16", f"--trainer.default_root_dir={tmp_path}"]
    said = fails("fit", *_words(corpora), *words, f"--ckpt_path={trained / 'checkpoints' / 'last.ckpt'}")
    last = said.splitlines()[-1]
    assert last.startswith("error: The checkpoint's weights are not those of this model: size mismatch for head.")


def test_a_checkpoint_callback_of_the_user_s_own_does_not_change_what_is_evaluated(corpora, fit):
    words = [*_words(corpora), "--model.optimizer=AdamW", "--model.optimizer.lr=0.5"]
    more = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.save_top_k=0"]
    alone, beside = fit(*words, epochs=4, name="alone"), fit(*words, *more, epochs=4, name="beside")
    assert _checkpoint(alone, "best")["epoch"] < 3
    assert _rows(alone) == _rows(beside)


def test_a_last_checkpoint_that_was_copied_alone_trains_to_an_end(corpora, fit, tmp_path):
    words = [*_words(corpora), "--model.optimizer=SGD", "--model.optimizer.lr=0"]
    shutil.copy(fit(*words, name="first") / "checkpoints" / "last.ckpt", tmp_path / "copy.ckpt")
    folder = fit(*words, f"--ckpt_path={tmp_path / 'copy.ckpt'}", epochs=3, name="second")
    assert (folder / "checkpoints" / "best.ckpt").is_file()
    assert _rows(folder)


def test_early_stopping_stops_and_knows_the_direction(corpora, fit):
    words = [*_words(corpora), "--model.optimizer=SGD", "--model.optimizer.lr=0", "--patience=2"]
    for monitor, mode in (("val/utterance/MSE/mean", "min"), ("val/system/SRCC/MI", "max"), ("val/loss", "min")):
        folder = fit(*words, f"--monitor={monitor}", epochs=9, name=monitor.replace("/", "-"))
        saved = _checkpoint(folder, "last")
        assert saved["epoch"] < 8
        stopping = next(state for key, state in saved["callbacks"].items() if key.startswith("Patience"))
        assert stopping["wait_count"] == 2
        assert f"'mode': '{mode}'" in next(key for key in saved["callbacks"] if key.startswith("Patience"))


WRONG = {
    "--trainer.max_epoch=3": "Did you mean 'trainer.max_epochs'",
    "--data.bach_size=3": "MusicEval has no option 'bach_size'. Did you mean 'batch_size'?",
    "--data.batch_size=three": "batch_size: Expected a <class 'int'>. Got value: three",
    "--data.max_padding=some": "max_padding: Expected a <class 'float'> or typing.Literal['auto']. Got value: some",
    "--data.batch_size=0": "batch_size must be at least 1, got 0.",
    "--model.encoder=Descriptor": "no class 'Descriptor'. Did you mean 'Descriptors'?",
    "--model.head.hiden=3": "MLP has no option 'hiden'. Did you mean 'hidden'?",
    "--model.optimizer=Adamm": "no class 'Adamm'",
    "--objectives.qamro=QAMRO --objectives.qamro.margn=1": "QAMRO has no option 'margn'. Did you mean 'margin'?",
    "--objectives.qamro=QAMR0": "Did you mean 'QAMRO'?",
    "--monitor=val/system/SRC/MI": "The nearest is val/system/SRCC/MI.",
    "--data.root=/no/such/folder": "/no/such/folder holds no MusicEval",
    "--config=missing.yaml": "does not exist",
    "--ckpt_path=missing.ckpt": "missing.ckpt: no such checkpoint",
    "--objectives.mse=null": "No objective to train with",
    "--objectives.soft=SoftOrdinal": "MLP gives no logits, which SoftOrdinal reads; take a head that does",
    "--model.head=CrossAttention": "the encoder has no text side",
    "--model.head=Ordinal --model.head.num_bins=1": "num_bins must be at least 2, got 1.",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_mistake_is_told_in_one_line(corpora, fails, words, tmp_path):
    said = fails("fit", *_words(corpora), f"--trainer.default_root_dir={tmp_path}", *words.split())
    assert WRONG[words] in said
    assert said.count("\n") == 0


def test_a_misspelt_verb_is_told_the_nearest(fails):
    assert "Did you mean 'predict'?" in fails("predic")


def test_bad_clips_stop_the_run_with_a_report_or_are_skipped_and_listed(corpora, fails, fit, tmp_path):
    ratings = tmp_path / "ratings.csv"
    audio = corpora["musiceval"] / "MusicEval-full" / "wav"
    names = sorted(path.name for path in audio.iterdir())
    (tmp_path / "broken.wav").write_bytes(b"RIFF not audio")
    lines = [f"{audio / name},{1 + i % 5}" for i, name in enumerate(names)]
    ratings.write_text("\n".join(["file,overall", *lines, "gone.wav,3", "broken.wav,4", f"{audio / names[0]},9"]))
    words = ["--data=Table", f"--data.path={ratings}", "--data.axes={overall: [1, 5]}", "--data.layout=wide"]
    said = fails("fit", *words, f"--trainer.default_root_dir={tmp_path}")
    assert "missing file: 1" in said
    assert "unreadable audio: 1" in said
    assert f"{ratings}:34" in said
    assert "--data.on_bad_clip=skip" in said
    folder = fit(*words, "--data.on_bad_clip=skip")
    with open(folder / "skipped.csv", newline="") as file:
        skipped = list(csv.DictReader(file))
    assert {"missing file", "unreadable audio"} <= {row["kind"] for row in skipped}
    assert len({row["id"] for row in _rows(folder)}) == len(names) - 1
