import json

import pytest
import torch
import torch.nn.functional as F

from lightning_aqa.batch import Axis, Features
from lightning_aqa.heads.audiobox import Audiobox, head_settings, perceptron
from lightning_aqa.utils.weights import WeightsError

PQ, CE = Axis("PQ", "Production quality", 0, 10), Axis("CE", "Content enjoyment", 0, 10)


def _features(num_layers=3, width=32):
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(7) < torch.tensor([[7], [2]])
    layers = torch.randn(2, num_layers, 7, width, generator=generator)
    return Features(layers.masked_fill(~mask[:, None, :, None], 0.0), mask)


def _plain(features, tensors, axis, transform):
    """Score as the original does, in its order: layers first, then the mean over frames."""
    weights = tensors[f"model.layer_weights.{axis}"].softmax(dim=0)
    frames = sum(weight * layer for weight, layer in zip(weights, features.layers.unbind(1), strict=True))
    valid = features.frame_mask[..., None]
    hidden = F.normalize((frames * valid).sum(dim=1) / valid.sum(dim=1), dim=-1)
    part = {name.split(f"{axis}.")[1]: t for name, t in tensors.items() if f"proj_layer.{axis}." in name}
    hidden = F.gelu(F.layer_norm(F.linear(hidden, part["0.weight"], part["0.bias"]), (32,), *_affine(part)))
    score = F.linear(hidden, part["3.weight"], part["3.bias"]).squeeze(-1)
    return score * transform[axis]["std"] + transform[axis]["mean"]


def _affine(part):
    return part["1.weight"], part["1.bias"]


@pytest.mark.parametrize("layout", ["checkpoint.pt", "hf"])
def test_heads_of_a_checkpoint_score_as_the_original_on_its_own_scale(audiobox_folder, layout):
    found = torch.load(audiobox_folder / "checkpoint.pt", weights_only=True)
    head = Audiobox(32, 3, [PQ, CE], checkpoint=str(audiobox_folder / layout)).eval()
    features = _features()
    expected = [_plain(features, found["state_dict"], axis, found["target_transform"]) for axis in ("PQ", "CE")]
    torch.testing.assert_close(head(features).scores, torch.stack(expected, dim=1), atol=1e-5, rtol=0)
    assert head(features).embedding.shape == (2, 64)


def test_scale_of_a_checkpoint_stands_and_that_of_a_fresh_head_is_fitted(audiobox_folder):
    official, fresh = Audiobox(32, 3, [PQ], checkpoint=str(audiobox_folder / "hf")), Audiobox(32, 3, [PQ])
    for head in (official, fresh):
        head.fit_scale(torch.tensor([1.0]), torch.tensor([2.0]))
    assert (official.location_A.item(), official.scale_A.item()) == (8.0, 1.75)
    assert (fresh.location_A.item(), fresh.scale_A.item()) == (1.0, 2.0)


def test_a_fresh_head_takes_its_settings_from_its_config(tmp_path):
    (tmp_path / "head.json").write_text(
        json.dumps({"proj_num_layer": 2, "proj_dropout": 0.1, "normalize_embed": False})
    )
    head = Audiobox(32, 3, [PQ], config=str(tmp_path / "head.json"))
    assert [type(part).__name__ for part in head.proj_layer["PQ"]] == ["Linear", "GELU", "Dropout", "Linear"]
    mean = (_features().layers.sum(dim=2) / torch.tensor([7.0, 2.0])[:, None, None]).mean(dim=1)
    torch.testing.assert_close(head(_features()).embedding, mean, atol=1e-6, rtol=0)


def test_perceptron_of_one_layer_is_linear():
    assert [tuple(parameter.shape) for parameter in perceptron(4, 1, dropout=0.5).parameters()] == [(1, 4), (1,)]


def test_an_axis_that_the_checkpoint_does_not_score_is_refused(audiobox_folder):
    with pytest.raises(ValueError, match="no head for MI; it has CE, CU, PC, PQ"):
        Audiobox(32, 3, [Axis("MI", "Musical impression", 1, 5)], checkpoint=str(audiobox_folder / "hf"))


def test_an_encoder_of_other_sizes_is_refused(audiobox_folder):
    with pytest.raises(
        WeightsError,
        match=r"its heads read 3 layers of width 32; this encoder gives \d+ of \d+.*--model\.head\.checkpoint=null",
    ):
        Audiobox(32, 13, [PQ], checkpoint=str(audiobox_folder / "hf"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layer": 2}, "no setting num_layer; it has proj_num_layer"),
        ({"proj_act_fn": "relu"}, "proj_act_fn = gelu alone, got relu"),
        ({"proj_num_layer": 0}, "proj_num_layer must be at least 1, got 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        head_settings(settings)


@pytest.mark.parametrize("name", ["overall.mos", "type"])
def test_an_axis_that_cannot_name_a_part_is_refused(name):
    with pytest.raises(ValueError, match=f"parts named after the axes, which {name} cannot be"):
        Audiobox(4, 2, [Axis(name, "x", 1, 5)])
