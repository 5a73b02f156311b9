import numpy as np
import pytest

from lightning_aqa.data.synthesis.scenes import PARTS, SOUNDS, TIMBRES, Scene, _add, _noise, _tone, rms, set_level

RATE = 16000


def _spectrum(waveform, sample_rate=RATE):
    """Power per frequency bin, and the bins' frequencies."""
    power = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))) ** 2
    return power, np.fft.rfftfreq(len(waveform), 1 / sample_rate)


def _levels(waveform, sample_rate=RATE):
    """Level of 10 ms frames, in dB."""
    size = sample_rate // 100
    frames = waveform[: len(waveform) // size * size].reshape(-1, size)
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)


def _tune(*layers, tempo="fast"):
    return Scene("music", layers, (tempo, "piano", "major"), 261.6)


def test_level_is_set_and_held_below_full_scale():
    sine = np.sin(np.arange(1000))
    assert rms(set_level(sine, -20)) == pytest.approx(0.1)
    assert np.abs(set_level(sine, 0)).max() == pytest.approx(0.95)
    assert not set_level(np.zeros(4), -20).any()


def test_sounds_are_cut_off_outside_of_the_mix():
    mix = np.zeros(4)
    for start in (-2, 3, 9, -9):
        _add(mix, np.ones(3), start, sample_rate=1)
    np.testing.assert_array_equal(mix, [1, 0, 0, 1])


def test_noise_keeps_its_band():
    power, frequency = _spectrum(_noise(np.random.default_rng(0), RATE, 1000, 2000, RATE))
    inside, far = (frequency > 1000) & (frequency < 2000), (frequency < 900) | (frequency > 2100)
    assert power[far].mean() < 1e-3 * power[inside].mean()


@pytest.mark.parametrize("timbre", TIMBRES)
def test_a_tone_has_its_pitch_and_ends_in_silence(timbre):
    sound = _tone(440.0, 0.5, timbre, RATE)
    power, frequency = _spectrum(sound)
    peak = frequency[power.argmax()]
    assert min(abs(peak - 440.0 * k) for k in range(1, 9)) < 12
    assert abs(sound[0]) < 1e-3
    assert abs(sound[-1]) < 0.02


def test_a_tone_leaves_out_harmonics_above_the_nyquist_frequency():
    power, frequency = _spectrum(_tone(1500.0, 0.5, "organ", 8000), 8000)
    harmonic = np.min(np.abs(frequency[:, None] - [1500.0, 3000.0]), axis=1) < 60
    assert power[harmonic].sum() > 0.999 * power.sum()


@pytest.mark.parametrize("layer", ["drums", *PARTS])
def test_every_part_of_a_tune_can_be_heard(layer):
    assert rms(_tune(layer).render(np.random.default_rng(0), 1.0, RATE)) > 0.01


def test_a_fast_tune_has_more_notes_than_a_slow_one():
    def onsets(tempo):
        sound = _tune("bass", tempo=tempo).render(np.random.default_rng(0), 3.0, RATE)
        return int(np.sum(np.diff(_levels(sound)) > 6))

    assert onsets("fast") > 1.5 * onsets("slow")


def test_other_music_differs_in_what_the_prompt_names():
    rng = np.random.default_rng(0)
    for _ in range(20):
        tune = Scene.draw("music", rng)
        other = tune.draw_other(rng)
        assert all(mine != its for mine, its in zip(tune.manner[:2], other.manner[:2], strict=True))
        assert other.layers == tune.layers


def test_prompts_name_what_is_heard():
    assert _tune("melody").prompt == "A fast piano piece in a major key for melody alone."
    assert Scene("speech", ("speech",), ("low", "calm"), 100).prompt == "A low voice speaking at a calm pace."
    assert Scene("sound", ("wind", "birds")).prompt == "The sound of wind and birds."


@pytest.mark.parametrize("pitch", [110.0, 210.0])
def test_speech_has_voice_pitch_formants_and_pauses(pitch):
    voice = Scene("speech", ("speech",), ("low", "calm"), pitch)
    sound = set_level(voice.render(np.random.default_rng(3), 3.0, RATE), -23)
    level = _levels(sound)
    assert np.ptp(level) > 30
    # The strongest voiced frame repeats with a period near the pitch of the voice.
    start = level.argmax() * RATE // 100
    frame = sound[start : start + RATE // 20]
    correlation = np.correlate(frame, frame, "full")[len(frame) - 1 :]
    lags = np.arange(RATE // 320, RATE // 75)
    assert RATE / lags[correlation[lags].argmax()] == pytest.approx(pitch, rel=0.3)
    power, frequency = _spectrum(sound)
    assert power[frequency < 1200].sum() > 2 * power[frequency > 3000].sum()


@pytest.mark.parametrize("name", SOUNDS)
def test_every_sound_differs_from_the_others(name):
    def centre(kind):
        power, frequency = _spectrum(Scene("sound", (kind,)).render(np.random.default_rng(0), 2.0, RATE))
        return (power * frequency).sum() / power.sum()

    others = [centre(other) for other in SOUNDS if other != name]
    assert min(abs(np.log2(centre(name) / other)) for other in others) > 0.04


def test_knocks_come_and_go_while_rain_is_steady():
    def spread(name):
        return _levels(Scene("sound", (name,)).render(np.random.default_rng(0), 2.0, RATE)).std()

    assert spread("knocking") > 3 * spread("rain")


@pytest.mark.parametrize("domain", ["music", "speech", "sound"])
@pytest.mark.parametrize("sample_rate", [8000, 44100])
def test_scenes_have_the_asked_length_and_depend_on_the_generator_alone(domain, sample_rate):
    def render(seed):
        rng = np.random.default_rng(seed)
        return Scene.draw(domain, rng).render(rng, 0.73, sample_rate)

    sound = render(1)
    assert sound.shape == (round(0.73 * sample_rate),)
    assert np.isfinite(sound).all()
    np.testing.assert_array_equal(sound, render(1))
    assert not np.array_equal(sound, render(2))
