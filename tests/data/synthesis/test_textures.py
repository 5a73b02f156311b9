import numpy as np
import pytest

from lightning_aqa.data.synthesis.signals import add_at, band_pass, rms, set_level
from lightning_aqa.data.synthesis.textures import SOUNDS, Ambience, draw_scene
from lightning_aqa.data.synthesis.tunes import INSTRUMENTS, LAYERS, Tune, note, play
from lightning_aqa.data.synthesis.voices import Voice

RATE = 16000


def _spectrum(waveform, sample_rate=RATE):
    """Power per frequency bin, and the bins' frequencies."""
    power = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))) ** 2
    return power, np.fft.rfftfreq(len(waveform), 1 / sample_rate)


def _modulation(waveform, sample_rate=RATE):
    """Level of 10 ms frames, in dB."""
    size = sample_rate // 100
    frames = waveform[: len(waveform) // size * size].reshape(-1, size)
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)


def test_level_is_set_and_held_below_full_scale():
    sine = np.sin(np.arange(1000))
    assert rms(set_level(sine, -20)) == pytest.approx(0.1)
    assert np.abs(set_level(sine, 0)).max() == pytest.approx(0.95)
    assert not set_level(np.zeros(4), -20).any()


def test_sounds_are_cut_off_outside_of_the_mix():
    mix = np.zeros(4)
    for start in (-2, 3, 9, -9):
        add_at(mix, np.ones(3), start)
    np.testing.assert_array_equal(mix, [1, 0, 0, 1])


def test_band_pass_keeps_its_band():
    power, frequency = _spectrum(band_pass(np.random.default_rng(0).normal(size=RATE), 1000, 2000, RATE))
    inside, far = (frequency > 1000) & (frequency < 2000), (frequency < 400) | (frequency > 4500)
    assert power[far].mean() < 0.02 * power[inside].mean()


@pytest.mark.parametrize("lead", INSTRUMENTS)
def test_a_note_has_its_pitch_and_ends_in_silence(lead):
    sound = note(440.0, 0.5, RATE, INSTRUMENTS[lead], np.random.default_rng(0))
    power, frequency = _spectrum(sound)
    peak = frequency[power.argmax()]
    assert min(abs(peak - 440.0 * ratio) for ratio in INSTRUMENTS[lead].ratios) < 12
    assert abs(sound[0]) < 1e-3
    assert sound[-1] == 0


def test_a_note_leaves_out_partials_above_the_nyquist_frequency():
    power, frequency = _spectrum(note(1500.0, 0.5, 8000, INSTRUMENTS["strings"], np.random.default_rng(0)), 8000)
    harmonic = np.min(np.abs(frequency[:, None] - [1500.0, 3000.0]), axis=1) < 60
    assert power[harmonic].sum() > 0.999 * power.sum()


@pytest.mark.parametrize("layer", [*LAYERS, "vocals"])
def test_every_part_of_a_tune_can_be_heard(layer):
    sound = play(Tune((layer,), "piano", "fast", "major", 60), np.random.default_rng(0), 1.0, RATE)
    assert rms(sound) > 0.01


def test_a_fast_tune_has_more_notes_than_a_slow_one():
    def onsets(tempo):
        tune = Tune(("bass",), "piano", tempo, "major", 60)
        level = _modulation(play(tune, np.random.default_rng(0), 3.0, RATE))
        return int(np.sum(np.diff(level) > 6))

    assert onsets("fast") > 1.5 * onsets("slow")


def test_another_tune_differs_in_what_the_prompt_names():
    rng = np.random.default_rng(0)
    for _ in range(20):
        tune = Tune.draw(rng)
        other = tune.draw_other(rng)
        assert other.lead != tune.lead
        assert other.tempo != tune.tempo
        assert other.prompt != tune.prompt


def test_prompts_name_what_is_heard():
    assert (
        Tune(("melody",), "organ", "slow", "minor", 60).prompt == "A slow organ piece in a minor key for melody alone."
    )
    assert Voice(100.0, "calm").prompt == "A low voice speaking at a calm pace."
    assert Ambience(("wind", "birds")).prompt == "The sound of wind and birds."


@pytest.mark.parametrize("pitch", [110.0, 210.0])
def test_speech_has_voice_pitch_formants_and_pauses(pitch):
    sound = set_level(Voice(pitch, "calm").render(np.random.default_rng(3), 3.0, RATE), -23)
    level = _modulation(sound)
    assert np.ptp(level) > 30
    # The strongest voiced frame repeats with a period near the pitch of the voice.
    start = level.argmax() * RATE // 100
    frame = sound[start : start + RATE // 20]
    correlation = np.correlate(frame, frame, "full")[len(frame) - 1 :]
    lags = np.arange(RATE // 320, RATE // 75)
    assert RATE / lags[correlation[lags].argmax()] == pytest.approx(pitch, rel=0.3)
    power, frequency = _spectrum(sound)
    assert power[frequency < 1200].sum() > 5 * power[frequency > 3000].sum()


@pytest.mark.parametrize("name", SOUNDS)
def test_every_sound_differs_from_the_others(name):
    def centre(kind):
        power, frequency = _spectrum(SOUNDS[kind](np.random.default_rng(0), 2.0, RATE))
        return (power * frequency).sum() / power.sum()

    others = [centre(other) for other in SOUNDS if other != name]
    assert min(abs(np.log2(centre(name) / other)) for other in others) > 0.15


def test_knocks_come_and_go_while_rain_is_steady():
    levels = {
        name: _modulation(SOUNDS[name](np.random.default_rng(0), 2.0, RATE)).std() for name in ("knocking", "rain")
    }
    assert levels["knocking"] > 3 * levels["rain"]


@pytest.mark.parametrize("domain", ["music", "speech", "sound"])
@pytest.mark.parametrize("sample_rate", [8000, 44100])
def test_scenes_have_the_asked_length_and_depend_on_the_generator_alone(domain, sample_rate):
    def render(seed):
        rng = np.random.default_rng(seed)
        return draw_scene(domain, rng).render(rng, 0.73, sample_rate)

    sound = render(1)
    assert sound.shape == (round(0.73 * sample_rate),)
    assert np.isfinite(sound).all()
    np.testing.assert_array_equal(sound, render(1))
    assert not np.array_equal(sound, render(2))
