from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lightning_aqa
from lightning_aqa.batch import Axis, Features
from lightning_aqa.heads.musiceval_baseline import MusicEvalBaseline
from lightning_aqa.utils.weights import WeightsError

SHARED = Path(lightning_aqa.__file__).parents[2] / "shared" / "parity" / "musiceval_head"
AXES = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)]


def _features(num_clips=4, num_frames=1, width=6, text_width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layers = torch.randn(num_clips, 1, num_frames, width, generator=generator)
    text = torch.randn(num_clips, 1, text_width, generator=generator)
    mask = torch.ones(num_clips, num_frames, dtype=torch.bool)
    return Features(layers, mask, text, torch.ones(num_clips, 1, dtype=torch.bool))


def _state(width=6, text_width=5):
    sizes = {"overall": (width, 256, 64, 1), "textual": (width + text_width, 256, 64, 1)}
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, (*ins, _) in sizes.items():
        for index, (into, out) in enumerate(zip(ins, sizes[name][1:], strict=True), start=1):
            state[f"{name}_mlp_layer{index}.weight"] = torch.randn(out, into, generator=generator) / into**0.5
            state[f"{name}_mlp_layer{index}.bias"] = torch.randn(out, generator=generator)
    return state


def _save(folder, state):
    torch.save(state, folder / "head.pt")
    return str(folder / "head.pt")


def test_scores_are_products_of_matrices_and_textual_alignment_reads_the_prompt(tmp_path):
    state, features = _state(), _features()
    scores = MusicEvalBaseline(6, 1, AXES, 5, checkpoint=_save(tmp_path, state))(features).scores
    for axis, (name, given) in enumerate(
        [
            ("overall", features.layers[:, 0, 0]),
            ("textual", torch.cat([features.layers[:, 0, 0], features.text[:, 0]], dim=1)),
        ]
    ):
        for layer in (1, 2, 3):
            given = given @ state[f"{name}_mlp_layer{layer}.weight"].T + state[f"{name}_mlp_layer{layer}.bias"]
        torch.testing.assert_close(scores[:, axis], given[:, 0], atol=1e-5, rtol=0)


def test_score_is_linear_in_the_audio():
    head, one, other = MusicEvalBaseline(6, 1, AXES[:1]), _features(seed=2), _features(seed=3)
    middle = one._replace(layers=(one.layers + other.layers) / 2)
    expected = (head(one).scores + head(other).scores) / 2
    torch.testing.assert_close(head(middle).scores, expected, atol=1e-6, rtol=0)


def test_scores_are_points_as_they_are_unless_standardised():
    torch.manual_seed(0)
    head = MusicEvalBaseline(6, 1, AXES, 5)
    standardised = MusicEvalBaseline(6, 1, AXES, 5, standardise=True)
    standardised.load_state_dict(head.state_dict())
    for each in (head, standardised):
        each.fit_scale(torch.tensor([3.0, 4.0]), torch.tensor([0.5, 2.0]))
    raw = head(_features()).scores
    expected = raw * torch.tensor([0.5, 2.0]) + torch.tensor([3.0, 4.0])
    torch.testing.assert_close(standardised(_features()).scores, expected)


def test_which_axes_read_the_prompt_is_an_argument():
    features = _features()
    other = features._replace(text=-features.text)
    head = MusicEvalBaseline(6, 1, AXES, 5, text_axes=["MI"])
    changed = (head(features).scores != head(other).scores).all(dim=0)
    assert changed.tolist() == [True, False]


def test_without_a_text_side_every_axis_reads_the_audio():
    head = MusicEvalBaseline(6, 1, AXES)
    assert head(Features(*_features()[:2])).scores.shape == (4, 2)


def test_misspelt_text_axis_is_refused_but_ta_may_be_missing():
    MusicEvalBaseline(6, 1, [Axis("PQ", "Quality", 0, 10)], 5)
    with pytest.raises(ValueError, match="text_axes names Ta, but the axes are MI, TA"):
        MusicEvalBaseline(6, 1, AXES, 5, text_axes=["Ta"])


def test_features_without_text_are_refused_where_an_axis_reads_it():
    with pytest.raises(ValueError, match="give prompts or set text_axes"):
        MusicEvalBaseline(6, 1, AXES, 5)(Features(*_features()[:2]))


def test_a_checkpoint_that_is_no_baselines_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"not the weights of a MusicEval baseline, which has no fc\.weight"):
        MusicEvalBaseline(6, 1, AXES, 5, checkpoint=_save(tmp_path, _state() | {"fc.weight": torch.ones(1)}))


def test_a_checkpoint_for_another_width_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"1 of another shape: 0\.weight"):
        MusicEvalBaseline(7, 1, AXES, 5, checkpoint=_save(tmp_path, _state()))


def test_a_checkpoint_in_score_points_cannot_be_standardised(tmp_path):
    with pytest.raises(ValueError, match="standardise=False"):
        MusicEvalBaseline(6, 1, AXES, 5, checkpoint=_save(tmp_path, _state()), standardise=True)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/parity/musiceval_head beside the repository")
def test_scores_are_those_of_the_released_baseline():
    golden = load_file(SHARED / "dim64_io.safetensors")
    head = MusicEvalBaseline(64, 1, AXES, 64, checkpoint=str(SHARED / "dim64_head.pt"))
    mask = torch.ones(len(golden["out1"]), 1, dtype=torch.bool)
    output = head(Features(golden["wav_embed"][:, None, None], mask, golden["text_embed"][:, None], mask))
    torch.testing.assert_close(output.scores, torch.cat([golden["out1"], golden["out2"]], dim=1), atol=1e-5, rtol=0)
