import numpy as np
import pytest

from lightning_aqa.data.synthesis.degradations import damage
from lightning_aqa.data.synthesis.recordings import Recording, System, draw_systems, rng_for
from lightning_aqa.data.synthesis.scenes import Scene

TUNE = Scene("music", ("melody",), ("fast", "piano", "major"), 260.0)
RAIN = Scene("sound", ("rain",))


def _recording(**changes):
    return Recording(**{"path": "wav/a.wav", "scene": TUNE, "seconds": 0.6, **changes})


def test_generators_depend_on_seed_and_name():
    draws = [rng_for(*names).random() for names in ((0, "a"), (1, "a"), (0, "b"), (0, "a", "b"), (0, "ab"))]
    assert len(set(draws)) == 5
    # The first number of seed 0 and name "a", so that a change of the seeding shows.
    assert draws[0] == pytest.approx(0.10716417748019791, abs=1e-12)


def test_a_recording_is_within_full_scale_and_fades_at_its_ends():
    sound = _recording(strengths={"clipping": 1.0}).render(0)
    assert sound.shape == (9600,)
    assert np.abs(sound).max() <= 0.95
    assert sound[0] == sound[-1] == 0


def test_a_recording_depends_on_its_path_and_seed_alone():
    np.testing.assert_array_equal(_recording().render(0), _recording(split="train", system="S001").render(0))
    assert not np.array_equal(_recording().render(0), _recording(path="wav/b.wav").render(0))
    assert not np.array_equal(_recording().render(0), _recording().render(1))


def test_wrong_content_changes_the_end_of_the_clip_only():
    right = _recording(other=RAIN, wrong=0.0).render(0)
    wrong = _recording(other=RAIN, wrong=0.5).render(0)
    power = [np.abs(np.fft.rfft(half)) ** 2 for half in (right[5000:], wrong[5000:], wrong[:4000])]
    bright = [half[len(half) // 4 :].sum() / half.sum() for half in power]
    assert bright[1] > 3 * max(bright[0], bright[2])


def test_stereo_channels_differ():
    left, right = _recording(stereo=True).render(0).T
    assert not np.array_equal(left, right)
    assert np.corrcoef(left, right)[0, 1] > 0.2


def test_systems_cover_the_range_of_damage_in_mixed_order():
    systems = draw_systems(9, np.random.default_rng(0))
    damages = [damage(system.mix) for system in systems]
    assert sorted(damages) == pytest.approx(np.linspace(0.05, 0.85, 9), abs=0.11)
    assert damages != sorted(damages)


def test_clips_of_a_system_vary_around_it():
    system, rng = System({"noise": 0.4, "codec": 0.9}, wrong=0.3), np.random.default_rng(0)
    drawn = [system.strengths(rng) for _ in range(200)]
    assert np.median([strengths["noise"] for strengths in drawn]) == pytest.approx(0.4, abs=0.04)
    assert all(0 < strength <= 1 for strengths in drawn for strength in strengths.values())
    wrong = [system.wrong_fraction(rng) for _ in range(200)]
    assert np.mean(wrong) == pytest.approx(0.3, abs=0.05)
    assert min(wrong) >= 0
