import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_aqa.batch import Axis, Features
from lightning_aqa.heads.aesa_net import BLSTM, AESANet, reverse_valid

AXES = [Axis("PQ", "Production quality", 0, 10), Axis("MI", "Musical impression", 1, 5)]
LENGTHS = torch.tensor([9, 1, 4])


def _features() -> Features:
    mask = torch.arange(9) < LENGTHS[:, None]
    layers = torch.randn(3, 2, 9, 6, generator=torch.Generator().manual_seed(0))
    return Features(layers.masked_fill(~mask[:, None, :, None], 0.0), mask)


def _packed_reference(blstm: BLSTM, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Run ``torch.nn.LSTM`` with the same weights on packed sequences."""
    first = blstm.ahead[0]
    lstm = nn.LSTM(first.input_size, first.hidden_size, len(blstm.ahead), batch_first=True, bidirectional=True)
    lstm.to(frames.dtype)
    for layer, directions in enumerate(zip(blstm.ahead, blstm.back, strict=True)):
        for suffix, direction in zip(("", "_reverse"), directions, strict=True):
            for name, parameter in direction.named_parameters():
                getattr(lstm, name.replace("l0", f"l{layer}") + suffix).data.copy_(parameter)
    packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(lstm(packed)[0], batch_first=True)[0]


def test_clip_score_is_the_mean_of_its_valid_frame_scores():
    torch.manual_seed(0)
    output = AESANet(6, 2, AXES)(_features())
    for index, length in enumerate(LENGTHS.tolist()):
        expected = output.frame_scores[index, :length].mean(dim=0)
        torch.testing.assert_close(output.scores[index], expected)


def test_a_saturated_frame_score_lies_at_the_end_of_the_scale():
    head = AESANet(6, 2, AXES)
    for bias, expected in ((40.0, [10.0, 5.0]), (-40.0, [0.0, 1.0])):
        for branch in head.branches:
            nn.init.constant_(branch.last.bias, bias)
        torch.testing.assert_close(head(_features()).scores, torch.tensor([expected] * 3))


def test_first_prediction_is_near_the_mean_of_the_training_scores():
    torch.manual_seed(0)
    head = AESANet(6, 2, AXES)
    head.fit_scale(torch.tensor([8.0, 2.0]), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(head(_features()).scores, torch.tensor([[8.0, 2.0]] * 3), atol=0.3, rtol=0)


def test_a_training_mean_at_the_end_of_the_scale_leaves_a_finite_bias():
    head = AESANet(6, 2, AXES)
    head.fit_scale(torch.tensor([10.0, 1.0]), torch.tensor([1.0, 1.0]))
    assert head(_features()).scores.isfinite().all()


def test_fitted_head_reads_frames_of_mean_zero_and_deviation_one():
    head = AESANet(6, 2, AXES)
    full = torch.ones(2, 4, dtype=torch.bool)
    layers = 50 + 7 * torch.randn(2, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    head.fit_features([Features(layers[:1], full[:1]), Features(layers[1:], full[1:])])
    std, mean = torch.std_mean(head.standardise(head.mix(layers)).flatten(0, 1), dim=0, correction=0)
    torch.testing.assert_close(mean, torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.ones(6))


def test_reversing_the_valid_frames_twice_gives_them_back():
    frames, mask = torch.randn(3, 9, 2), torch.arange(9) < LENGTHS[:, None]
    assert torch.equal(reverse_valid(reverse_valid(frames, mask), mask), frames)
    assert torch.equal(reverse_valid(frames, mask)[2, :4], frames[2, :4].flip(0))


def test_blstm_matches_torch_on_packed_sequences():
    torch.manual_seed(0)
    blstm = BLSTM(6, 5, num_layers=2).double()
    frames, mask = torch.randn(3, 9, 6, dtype=torch.float64), torch.arange(9) < LENGTHS[:, None]
    expected = _packed_reference(blstm, frames, LENGTHS)
    found = blstm(frames, mask).masked_fill(~mask[..., None], 0.0)
    torch.testing.assert_close(found, expected)


def test_gradients_match_finite_differences():
    torch.manual_seed(0)
    head = AESANet(6, 2, AXES, adapter_width=3, lstm_width=2, shared_width=4, num_heads=2).double().eval()
    blstm, mask = head.lstm, _features().frame_mask
    assert torch.autograd.gradcheck(lambda x: blstm(x, mask)[mask], torch.randn(3, 9, 3).double().requires_grad_())


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="features of the training clips, got none"):
        AESANet(6, 2, AXES).fit_features([])
    with pytest.raises(ValueError, match="shared_width must be a multiple of num_heads, got 10 and 4"):
        AESANet(6, 2, AXES, shared_width=10)
