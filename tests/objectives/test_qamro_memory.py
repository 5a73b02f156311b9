"""QAMRO with a memory: pairs of the batch's clips with those of earlier batches."""

from itertools import product

import pytest
import torch
from jsonargparse import ArgumentParser

from lightning_aqa.batch import Axis
from lightning_aqa.objectives.base import Objective
from lightning_aqa.objectives.qamro import QAMRO, qamro_loss


def remembering(make_step, *past, **options):
    """Return QAMRO with a memory of some (scores, targets) batches, oldest first."""
    objective = QAMRO(**{"memory_size": 8, **options})
    for scores, targets in past:
        objective.loss(*make_step(scores, targets))
        objective.past.commit()
    return objective


def random_step(make_step, count, seed, num_axes=2):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(count, num_axes, generator=generator) * 4 + 1
    targets = torch.randint(2, 11, (count, num_axes), generator=generator) / 2
    targets[0, 0] = torch.nan
    return make_step(scores, targets)


def test_a_clip_is_compared_with_the_memory_which_is_not_compared_with_itself(make_step):
    objective = remembering(make_step, ([[1.0], [5.0]], [[3.0], [2.0]]))
    output, batch = make_step([[2.0]], [[1.0]])
    loss = objective.loss(output, batch)
    loss.backward()
    # Against 3: quality 1 weighs 7, 2 - 1 + 0.2 * 2 = 1.4; against 2: in order; the pair (3, 2) of the memory is none.
    assert loss.item() == pytest.approx(7 * 1.4 / 2)
    assert output.scores.grad.item() == pytest.approx(7 / 2)


@pytest.mark.parametrize("options", [{}, {"quality": "none", "margin": 0.3}, {"tolerance": 0.5, "margin_scale": 0.6}])
def test_the_loss_is_a_mean_over_all_pairs_that_hold_a_new_clip(make_step, options):
    objective = remembering(make_step, _plain(random_step(make_step, 5, 0)), **options)
    output, batch = random_step(make_step, 4, 1)
    old_output, old_batch = random_step(make_step, 5, 0)
    expected = 0.0
    for axis in range(2):
        p = torch.cat([output.scores[:, axis], old_output.scores[:, axis]]).detach().double()
        y = torch.cat([batch.scores[:, axis], old_batch.scores[:, axis]]).double()
        expected += _mean_over_pairs(p, y, 4, **options)
    assert objective.loss(output, batch).item() == pytest.approx(expected, rel=1e-5)


def _plain(step):
    return step[0].scores.detach(), step[1].scores


def _mean_over_pairs(p, y, num_new, quality="minmax", margin=None, tolerance=0.0, margin_scale=0.2):
    rated = y[~y.isnan()]
    total, count = 0.0, 0
    for i, j in product(range(len(p)), repeat=2):
        if min(i, j) < num_new and y[i] - y[j] > tolerance + 1e-6:
            place = (y[i] - rated.min()) / (rated.max() - rated.min()) if quality == "minmax" else 0.0
            wanted = margin_scale * (y[i] - y[j]) if margin is None else margin
            total += (1 + 6 * place) * max(0.0, p[j] - p[i] + wanted)
            count += 1
    return float(total) / count


def test_no_memory_is_qamro_as_published(make_step):
    plain, off = QAMRO(), QAMRO(memory_size=0)
    for seed in range(3):
        output, batch = random_step(make_step, 6, seed)
        expected = sum(qamro_loss(output.scores[:, a], batch.scores[:, a]) for a in range(2))
        for objective in (plain, off):
            assert objective.loss(output, batch).item() == expected.item()
            objective.on_train_batch_end(None, None, None, batch, seed)
    assert off.state_dict() == {}


def test_the_first_batch_has_no_past(make_step):
    step = random_step(make_step, 6, 0)
    assert QAMRO(memory_size=8).loss(*step).item() == QAMRO().loss(*step).item()


def test_the_gradient_is_that_of_the_value(make_step):
    past = _plain(random_step(make_step, 5, 0))
    scores, targets = _plain(random_step(make_step, 4, 1))
    old, old_targets = (tensor[:, 0].double() for tensor in past)

    def value(new):
        both, truth = torch.cat([new, old]), torch.cat([targets[:, 0].double(), old_targets])
        return qamro_loss(both, truth, num_new=4)

    assert torch.autograd.gradcheck(value, scores[:, 0].double().requires_grad_())


def test_the_memory_keeps_the_newest_rated_clips(make_step):
    objective = remembering(make_step, ([[1.0], [2.0], [3.0]], [[1.0], [torch.nan], [3.0]]), memory_size=3)
    objective.loss(*make_step([[4.0], [5.0]], [[4.0], [5.0]]))
    assert objective.past.scores.flatten().tolist() == [1.0, 3.0]  # the step is not over
    objective.past.commit()
    objective.past.commit()
    assert objective.past.embedding.flatten().tolist() == [3.0, 4.0, 5.0]
    assert not objective.past.embedding.requires_grad


def test_validation_neither_reads_nor_fills_the_memory(make_step):
    objective = remembering(make_step, _plain(random_step(make_step, 5, 0)))
    step = random_step(make_step, 4, 1)
    with torch.no_grad():
        assert objective.loss(*step).item() == QAMRO().loss(*step).item()
        objective.past.commit()
    assert len(objective.past) == 5


def test_the_memory_is_saved(make_step):
    objective = remembering(make_step, _plain(random_step(make_step, 5, 0)))
    other = QAMRO(memory_size=8)
    other.load_state_dict(objective.state_dict())
    step = random_step(make_step, 4, 1)
    assert other.loss(*step).item() == objective.loss(*step).item()
    QAMRO().load_state_dict(objective.state_dict())  # switched off since


def test_intervals_are_looked_up_for_the_memory_too(make_step, make_module):
    objective = remembering(make_step, quality="interval")
    objective.on_fit_start(None, make_module([Axis("PQ", "Production quality", 0, 10)]))
    objective.loss(*make_step([[1.0]], [[6.5]]))
    objective.past.commit()
    # 6.5 has quality 1 and weighs 7; 5 - 1 + 0.2 * 5.
    assert objective.loss(*make_step([[5.0]], [[1.5]])).item() == pytest.approx(7 * 5.0)


def test_a_negative_memory_is_refused():
    with pytest.raises(ValueError, match="memory_size must be a number of at least 0, got -1"):
        QAMRO(memory_size=-1)


def test_the_old_name_of_the_size_is_taken_with_one_warning():
    with pytest.warns(FutureWarning, match="QAMRO: the argument memory is now memory_size") as seen:
        objective = QAMRO(memory=3)
    assert len(seen) == 1
    assert objective.past.size == 3


def test_the_old_name_of_the_size_is_read_from_the_command_line():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--objectives", type=dict[str, Objective])
    given = parser.parse_args(["--objectives.rank=lightning_aqa.objectives.qamro.QAMRO", "--objectives.rank.memory=5"])
    with pytest.warns(FutureWarning, match="memory_size"):
        objective = parser.instantiate(given).objectives["rank"]
    assert objective.past.size == 5
