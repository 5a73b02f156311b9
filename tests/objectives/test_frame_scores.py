import math

import pytest
import torch

from lightning_aqa.batch import Axis
from lightning_aqa.objectives.frame_scores import FrameScores, frame_score_loss

NAN = math.nan


def random_frames():
    generator = torch.Generator().manual_seed(0)
    frames = 4 * torch.rand(3, 5, 2, generator=generator, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    targets = torch.tensor([[1.0, 2.0], [3.0, NAN], [2.5, 4.0]], dtype=torch.float64)
    return frames.requires_grad_(), mask, targets


def reference_frame_scores(frames, mask, targets):
    axes = []
    for a in range(targets.shape[1]):
        rated = [b for b in range(len(targets)) if not targets[b, a].isnan()]
        clips = [((frames[b, mask[b], a] - targets[b, a]) ** 2).mean() for b in rated]
        if clips:
            axes.append(sum(clips) / len(clips))
    return sum(axes) / len(axes)


def test_frame_scores_of_one_clip_are_worked_by_hand():
    # Errors -1 and 3 on the two valid frames: mean square 5.
    frames = torch.tensor([[[1.0], [5.0], [NAN]]])
    assert frame_score_loss(frames, torch.tensor([[True, True, False]]), torch.tensor([[2.0]])).item() == 5


def test_frame_scores_equal_a_loop_over_axes_and_clips():
    frames, mask, targets = random_frames()
    torch.testing.assert_close(
        frame_score_loss(frames, mask, targets), reference_frame_scores(frames, mask, targets), rtol=1e-12, atol=0
    )


def test_frame_scores_do_not_depend_on_padding():
    frames, mask, targets = random_frames()
    longer = torch.cat([frames, torch.full((3, 4, 2), math.inf, dtype=torch.float64)], 1)
    longer_mask = torch.cat([mask, torch.zeros(3, 4, dtype=torch.bool)], 1)
    torch.testing.assert_close(frame_score_loss(longer, longer_mask, targets), frame_score_loss(frames, mask, targets))


def test_frame_scores_gradient_is_that_of_their_value():
    frames, mask, targets = random_frames()
    assert torch.autograd.gradcheck(lambda s: frame_score_loss(s, mask, targets), (frames,))


def test_frame_scores_in_standardised_space_divide_by_the_scale_of_the_head(make_step, make_module):
    module, objective = make_module([Axis("MI", "", 1, 5)]), FrameScores(space="standardised")
    module.head.fit_scale(torch.zeros(1), torch.tensor([2.0]))
    objective.on_fit_start(None, module)
    output, batch = make_step([[0.0]], [[1.0]], frame_scores=torch.tensor([[[5.0]]]), frame_mask=torch.tensor([[True]]))
    assert objective.loss(output, batch).item() == 4


def test_frame_scores_name_the_head_that_gives_none(make_step, make_module):
    objective = FrameScores()
    objective.on_fit_start(None, make_module([Axis("MI", "", 1, 5)]))
    with pytest.raises(ValueError, match=r"FlatHead gives no frame scores.*--objectives.framescores=null"):
        objective.loss(*make_step([[1.0]], [[1.0]]))
