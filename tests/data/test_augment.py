"""Augmentation of training audio: what each does, which ratings hold, draws that repeat, none in evaluation."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from lightning_aqa.data.augment import (
    Augmentation,
    Augmenter,
    BandLimit,
    Gain,
    Noise,
    Speed,
    add_noise,
    band_limit,
    change_speed,
    check_augmentations,
    gain,
)
from lightning_aqa.data.windows import Window

RATE = 16000
AXES = ["PQ", "PC", "CE", "CU"]
EVERY = [Gain(probability=1.0), Noise(probability=1.0), BandLimit(probability=1.0), Speed(probability=1.0)]


def _noise(seconds=1.0, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32))


def _tone(hertz, seconds=1.0):
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


def _power(samples):
    return samples.double().square().mean()


def _augment(augmentations, epoch=0, clip=0, seed=0, samples=None, min_samples=0):
    augmenter = Augmenter(augmentations, AXES, RATE, min_samples, seed)
    samples = _noise() if samples is None else samples
    return augmenter(samples, torch.arange(4.0), Window(clip, 0.0, 1.0, 1.0, epoch))


@pytest.mark.parametrize("decibel", [-12.0, 0.0, 6.0])
def test_a_gain_is_exact_in_decibel(decibel):
    changed = gain(_noise(), decibel)
    assert 10 * math.log10(_power(changed) / _power(_noise())) == pytest.approx(decibel, abs=1e-5)


@pytest.mark.parametrize("decibel", [-5.0, 0.0, 20.0, 40.0])
def test_noise_has_the_ratio_that_was_asked_for(decibel):
    signal = _tone(440)
    added = add_noise(signal, _noise(seed=1), decibel) - signal
    assert 10 * math.log10(_power(signal) / _power(added)) == pytest.approx(decibel, abs=0.01)


def test_silence_stays_silence():
    for each in EVERY:
        changed = each.change(torch.zeros(RATE), RATE, np.random.default_rng(0))
        assert changed.eq(0).all()


def test_a_band_limit_removes_what_lies_above_and_keeps_what_lies_below():
    limited = band_limit(_noise(2.0), RATE, 3000.0)
    assert limited.shape == (2 * RATE,)
    power = np.abs(np.fft.rfft(limited.numpy() * np.hanning(2 * RATE))) ** 2
    before = np.abs(np.fft.rfft(_noise(2.0).numpy() * np.hanning(2 * RATE))) ** 2
    assert power[6100:].sum() < 1e-7 * power.sum()
    assert power[100:5300].sum() == pytest.approx(before[100:5300].sum(), rel=0.01)
    assert band_limit(_noise(), RATE, 9000.0).equal(_noise())


def test_a_band_limit_keeps_the_place_in_time():
    tone = _tone(500)
    assert (band_limit(tone, RATE, 3000.0) - tone)[800:-800].abs().max() < 1e-3


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_speed_changes_length_and_pitch_by_its_factor(factor):
    changed = change_speed(_tone(1000, 2.0), RATE, factor)
    assert changed.dtype == torch.float32
    assert len(changed) == pytest.approx(2 * RATE / factor, abs=1)
    highest = np.abs(np.fft.rfft(changed.numpy())).argmax() * RATE / len(changed)
    assert highest == pytest.approx(1000 * factor, abs=1.0)


def test_what_is_drawn_lies_in_its_range():
    random, tone = np.random.default_rng(0), _tone(440)
    for _ in range(20):
        level = 10 * math.log10(_power(Gain((-3.0, 3.0)).change(tone, RATE, random)) / _power(tone))
        assert -3.001 <= level <= 3.001
        assert RATE / 1.101 <= len(Speed((0.9, 1.1)).change(tone, RATE, random)) <= RATE / 0.899


def test_a_draw_follows_from_seed_epoch_and_clip_alone():
    base = {"epoch": 3, "clip": 5, "seed": 7}
    first, _ = _augment(EVERY, **base)
    np.random.default_rng(0).random(9)
    torch.manual_seed(1)
    assert _augment(EVERY, **base)[0].equal(first)
    for key in base:
        other, _ = _augment(EVERY, **{**base, key: 9})
        assert other.shape != first.shape or not other.equal(first)


def test_ratings_that_hold_no_more_are_missing_and_others_stay():
    for augmentations, held in [
        ([Gain(probability=1.0)], [0, 1, 2, 3]),
        ([Noise(probability=1.0)], [1]),
        ([BandLimit(probability=1.0)], [1]),
        ([Speed(probability=1.0)], [0, 1]),
        ([Speed(probability=1.0), Noise(probability=1.0)], [1]),
        ([Noise(probability=1.0, valid_axes=["CE", "CU"])], [2, 3]),
    ]:
        _, scores = _augment(augmentations)
        assert scores.isnan().logical_not().nonzero()[:, 0].tolist() == held
        assert scores[held].tolist() == [float(axis) for axis in held]


def test_a_share_of_the_clips_is_changed_and_keeps_its_ratings_otherwise():
    found = [_augment([Noise(probability=0.3)], clip=clip) for clip in range(300)]
    changed = [not samples.equal(_noise()) for samples, _ in found]
    assert 0.2 < np.mean(changed) < 0.4
    assert [bool(scores.isnan().any()) for _, scores in found] == changed


def test_a_clip_gets_no_longer_than_it_was_and_no_shorter_than_the_encoder_takes():
    slow, _ = _augment([Speed((0.8, 0.8), probability=1.0)])
    assert len(slow) == RATE
    fast, _ = _augment([Speed((1.25, 1.25), probability=1.0)], min_samples=14000)
    assert len(fast) == 14000
    assert fast[12800:].eq(0).all()
    assert fast[:12800].ne(0).any()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Gain((3.0, -3.0)), r"Gain: decibels must be \[lowest, highest\], got \[3, -3\]"),
        (lambda: Gain((math.nan, 0.0)), "Gain: decibels must be"),
        (lambda: BandLimit((0.0, 4000.0)), r"BandLimit: hertz must be \[lowest, highest\], above 0, got \[0, 4000\]"),
        (lambda: Speed((-1.0, 1.0)), "Speed: factors must be"),
        (lambda: Noise(probability=0.0), "Noise: probability must be above 0 and at most 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_nothing_left_to_train_on_is_refused():
    check_augmentations(EVERY, AXES, AXES)
    with pytest.raises(ValueError, match="Noise leaves no rating of overall valid, so that nothing would be left"):
        check_augmentations([Gain(), Noise()], ["overall"], ["overall"])
    with pytest.raises(ValueError, match="Speed leaves no rating of CE valid"):
        check_augmentations([Speed()], AXES, ["CE"])
    always = [Noise(probability=1.0, valid_axes=["CE"]), Gain(), Speed(probability=1.0)]
    with pytest.raises(
        ValueError, match="Speed together with those before it leaves no rating of PQ, PC, CE, CU valid"
    ):
        check_augmentations(always, AXES, AXES)
    with pytest.raises(ValueError, match="Noise: valid_axes names PX; the data rates PQ, PC, CE, CU"):
        check_augmentations([Noise(valid_axes=["PC", "PX"])], AXES, AXES)


# Through the command line


class Recorded(Augmentation):
    """Leave the audio as it is, and keep what came."""

    seen: list = []

    def change(self, samples, sample_rate, random):
        """Keep the first samples and a number that is drawn."""
        self.seen.append((samples[:4].tolist(), float(random.random())))
        return samples


@pytest.fixture
def table(tmp_path):
    """Eight rated clips; four to train on."""
    rows = ["file,split,PQ,PC"]
    for i in range(8):
        soundfile.write(tmp_path / f"{i}.wav", _noise(0.4 + 0.02 * i, seed=i).numpy(), RATE, subtype="FLOAT")
        rows.append(f"{i}.wav,{'train' if i < 4 else 'dev'},{i + 1},{8 - i}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    axes = "{PQ: [0, 10], PC: [0, 10]}"
    return ["--data=Table", f"--data.path={tmp_path / 'table.csv'}", f"--data.axes={axes}", "--data.batch_size=2"]


def test_only_training_audio_is_augmented_and_a_second_run_draws_the_same(fit, table):
    Recorded.seen = []
    words = [*table, "--model.encoder=MelSpectrogram", f"--data.augment+={__name__}.Recorded"]
    fit(*words, "--data.augment.probability=1", epochs=2, name="one")
    first, Recorded.seen = Recorded.seen, []
    fit(*words, "--data.augment.probability=1", epochs=2, name="two")
    assert first == Recorded.seen
    assert len(first) == 2 * 4
    assert len({drawn for _, drawn in first}) == 8


def test_each_trains_by_its_name_in_a_worker_too(fit, table):
    words = [
        "--data.augment+=Gain",
        "--data.augment.decibels=[-3, 3]",
        "--data.augment+=Noise",
        "--data.augment+=Speed",
    ]
    words += ["--data.augment+=BandLimit", "--data.augment.hertz=[1000, 2000]", "--data.augment.probability=0.9"]
    folder = fit(*table, *words, "--model.encoder=MelSpectrogram", "--data.num_workers=1", epochs=2)
    assert (folder / "results.json").exists()


def test_what_cannot_be_is_said_in_one_line(fails, table, tmp_path):
    words = ["fit", *table, f"--trainer.default_root_dir={tmp_path}"]
    said = fails(*words, "--data.augment+=Gain", "--data.cache=features")
    assert "augment changes the audio in every epoch, and cache keeps the features" in said
    said = fails(*words, "--data.batch_seconds=3")
    assert said.startswith("error: batch_size=2 and batch_seconds=3 both say how large a batch is: give one of them")
    said = fails(*words, "--data.augment+=Noise", "--data.augment.valid_axes=[PX]")
    assert said == "error: Noise: valid_axes names PX; the data rates PQ, PC."
    assert "Did you mean 'Noise'" in fails(*words, "--data.augment+=Noize")


def test_a_run_by_seconds_trains_and_evaluates(fit, table):
    words = [word for word in table if "batch_size" not in word]
    folder = fit(*words, "--model.encoder=MelSpectrogram", "--data.batch_seconds=1.0")
    assert (folder / "results.json").exists()


def test_the_one_of_the_docs_works():
    """The python block of docs/loading.md: it turns the polarity, and all ratings hold."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "loading.md").read_text()
    names = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    samples, scores = _augment([names["Flip"](probability=1.0)])
    assert samples.equal(-_noise())
    assert not scores.isnan().any()
