import math

import pytest
import torch
import torch.nn.functional as F

from lightning_aqa.batch import Axis
from lightning_aqa.objectives.triplet import Triplet, draw_one, score_distance, triplet_loss

NAN = math.nan
AXES = [Axis("MI", "", 1, 5), Axis("TA", "", 1, 5)]


def filled(embedding, scores, **options):
    objective = Triplet(**options)
    objective.memory.push(torch.tensor(embedding), torch.tensor(scores))
    return objective


def run_steps(objective, make_step, seeds):
    losses = []
    for seed in seeds:
        embedding, scores = torch.rand(2, 6, 2, generator=torch.Generator().manual_seed(seed))
        losses.append(objective.loss(*make_step(4 * scores, 4 * scores, embedding)).item())
        objective.on_train_batch_end(None, None, None, None, 0)
    return losses


def test_triplet_loss_of_two_anchors_is_worked_by_hand():
    # Squared distances 1 and 4 give 1 - 4 + 2 < 0; 9 and 1 give 9 - 1 + 2 = 10; mean 5.
    anchor = torch.zeros(2, 1)
    positive, negative = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [1.0]])
    assert triplet_loss(anchor, positive, negative, margin=2.0).item() == 5


def test_triplet_loss_equals_that_of_torch_with_squared_distances():
    anchor, positive, negative = torch.rand(3, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = F.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=lambda a, b: ((a - b) ** 2).sum(-1), margin=0.3
    )
    torch.testing.assert_close(triplet_loss(anchor, positive, negative, 0.3), expected)


def test_triplet_loss_does_not_change_when_all_embeddings_shift():
    anchor, positive, negative = torch.rand(3, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shifted = triplet_loss(anchor + 5, positive + 5, negative + 5, 0.3)
    torch.testing.assert_close(shifted, triplet_loss(anchor, positive, negative, 0.3))


def test_triplet_loss_gradient_is_that_of_its_value():
    generator = torch.Generator().manual_seed(0)
    triple = [torch.rand(3, 2, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda a, p, n: triplet_loss(a, p, n, 0.5), triple)


def test_score_distance_averages_over_axes_rated_on_both_sides():
    distance = score_distance(torch.tensor([[1.0, NAN]]), torch.tensor([[3.0, 9.0], [NAN, 2.0], [1.5, NAN]]))
    torch.testing.assert_close(distance, torch.tensor([[2.0, NAN, 0.5]]), equal_nan=True)


def test_draws_hit_every_allowed_column_equally_often_and_no_other():
    allowed = torch.tensor([[True, False, True, True]]).expand(9000, 4)
    counts = torch.bincount(draw_one(allowed, torch.Generator().manual_seed(0)), minlength=4)
    assert counts[1] == 0
    # A third of 9000 with a standard deviation of 45.
    assert all(abs(count - 3000) < 225 for count in counts[[0, 2, 3]].tolist())


def test_triplet_takes_the_only_positive_and_negative_there_are(make_step):
    objective = filled([[1.0, 0.0], [0.0, 2.0]], [[3.4], [1.0]], margin=4.0)
    output, batch = make_step([[0.0]], [[3.0]], [[0.0, 0.0]])
    loss = objective.loss(output, batch)
    loss.backward()
    # |0 - p|^2 - |0 - n|^2 + 4 = 1 - 4 + 4; gradient 2 (a - p) - 2 (a - n) = 2 (n - p).
    assert loss.item() == 1
    assert output.embedding.grad.tolist() == [[-2.0, 4.0]]


def test_triplet_averages_over_the_anchors_that_have_both(make_step):
    objective = filled([[1.0], [2.0]], [[3.0], [1.0]], margin=4.0)
    output, batch = make_step([[0.0], [0.0], [0.0]], [[3.0], [5.0], [NAN]], [[0.0], [7.0], [NAN]])
    assert objective.loss(output, batch).item() == 1


def test_triplet_takes_a_distance_of_epsilon_as_positive(make_step):
    # 4.2 - 4.0 is a bit above 0.2 in binary.
    objective = filled([[1.0], [2.0]], [[4.0], [1.0]], margin=4.0, epsilon=0.2)
    assert objective.loss(*make_step([[0.0]], [[4.2]], [[0.0]])).item() == 1


def test_triplet_asks_one_axis_where_told(make_step, make_module):
    objective = filled([[1.0], [2.0]], [[1.0, 3.0], [3.0, 1.0]], axis="TA", margin=4.0)
    objective.on_fit_start(None, make_module(AXES))
    assert objective.loss(*make_step([[0.0, 0.0]], [[5.0, 3.0]], [[0.0]])).item() == 1


@pytest.mark.parametrize("scores", [[[3.0]], [[NAN]]])
def test_triplet_is_zero_with_gradient_when_no_anchor_has_both(make_step, scores):
    for objective in (Triplet(), filled([[1.0]], [[3.0]])):
        output, batch = make_step([[0.0]], scores, [[0.0]])
        loss = objective.loss(output, batch)
        loss.backward()
        assert loss.item() == 0
        assert output.embedding.grad.tolist() == [[0.0]]


def test_triplet_remembers_each_training_batch_once_and_its_rated_clips_only(make_step):
    objective = Triplet()
    for _ in range(2):
        objective.loss(*make_step([[0.0], [0.0]], [[3.0], [NAN]], [[1.0], [2.0]]))
    assert len(objective.memory) == 0
    for _ in range(2):
        objective.on_train_batch_end(None, None, None, None, 0)
    assert objective.memory.embedding.tolist() == [[1.0]]


def test_triplet_remembers_nothing_of_a_batch_without_gradient(make_step):
    objective = Triplet()
    with torch.no_grad():
        objective.loss(*make_step([[0.0]], [[3.0]], [[1.0]]))
    objective.memory.commit()
    assert len(objective.memory) == 0


def test_triplet_goes_on_from_a_checkpoint_as_if_never_stopped(make_step, tmp_path):
    whole, first, second = (Triplet(memory_size=16, seed=seed) for seed in (3, 3, 8))
    expected = run_steps(whole, make_step, range(6))
    run_steps(first, make_step, range(3))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run_steps(second, make_step, range(3, 6)) == expected[3:]
    assert torch.equal(second.memory.embedding, whole.memory.embedding)


def test_triplet_draws_depend_on_the_seed(make_step):
    one, same, other = (run_steps(Triplet(seed=seed), make_step, range(6)) for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_triplet_refuses_an_axis_that_nobody_rates(make_step, make_module):
    with pytest.raises(ValueError, match="axis of Triplet must be one of MI, TA, got 'PQ'"):
        Triplet(axis="PQ").on_fit_start(None, make_module(AXES))
    with pytest.raises(ValueError, match="axis='TA' needs the axes, which it learns when a fit starts"):
        Triplet(axis="TA").loss(*make_step([[1.0, 1.0]], [[1.0, 1.0]]))


def test_triplet_refuses_negative_options():
    with pytest.raises(ValueError, match="epsilon must be a number of at least 0, got -1"):
        Triplet(epsilon=-1)
