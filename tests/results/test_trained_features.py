"""How unlike the training clips a clip is: by hand, for clips of the same kind, for others, and from damaged files."""

import numpy as np
import pytest
import torch

from lightning_aqa.batch import Features
from lightning_aqa.results.trained_features import TrainedFeatures, pooled, read_trained


def _known(n=200, width=8, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, width)).astype(np.float32)
    return TrainedFeatures.of(features, [str(i) for i in range(n)]), features, rng


def test_clips_of_the_same_kind_are_spread_over_all_ranks_and_rarely_farther_than_all():
    known, _, rng = _known()
    found = [known.unlike(x) for x in rng.normal(size=(2000, 8))]
    assert np.mean([of.rank for of in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([of.times > 1 for of in found]) < 0.02


def test_other_clips_are_farther_than_all_by_so_many_times_and_a_training_clip_is_at_no_distance():
    known, features, rng = _known()
    near, far = (known.unlike(shift + rng.normal(size=8)) for shift in (6, 60))
    assert near.rank == far.rank == 1
    assert 1 < near.times < far.times / 5
    assert known.unlike(features[3].astype(np.float64)).rank == 0
    assert known.unlike(np.zeros(9)) is None
    assert known.unlike(np.full(8, np.nan)) is None


def test_a_clip_is_not_compared_with_what_splits_keep_together_with_it():
    rng = np.random.default_rng(0)
    twins = np.repeat(rng.normal(size=(30, 4)), 2, axis=0).astype(np.float32)
    alone = TrainedFeatures.of(twins, [str(i) for i in range(60)])
    kept = TrainedFeatures.of(twins, [str(i // 2) for i in range(60)])
    assert alone.distances.max() < 1e-3 < kept.distances.min()
    assert TrainedFeatures.of(twins, ["one"] * 60) is None
    assert TrainedFeatures.of(twins[:19], [str(i) for i in range(19)]) is None


def test_features_are_pooled_over_what_is_valid():
    layers = torch.randn(2, 3, 5, 4)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    layers[1, :, 2:] = torch.nan
    found = pooled(Features(layers, mask))
    assert found[0] == pytest.approx(layers[0].mean((0, 1)).numpy(), abs=1e-6)
    assert found[1] == pytest.approx(layers[1, :, :2].mean((0, 1)).numpy(), abs=1e-6)


def test_what_is_written_is_read_and_what_is_damaged_is_left_out(tmp_path, caplog):
    known, _, _ = _known()
    known.write(tmp_path)
    for one, other in zip(known, read_trained(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)
    whole = (tmp_path / "trained.npz").read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"PK" + whole[50:]):
        (tmp_path / "trained.npz").write_bytes(damaged)
        caplog.clear()
        assert read_trained(tmp_path) is None
        assert "trained.npz" in caplog.text
