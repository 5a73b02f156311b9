"""The bias-aware loss of NISQA, and the maps that training estimates."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_aqa.objectives.bias_aware import BiasAware, bias_aware_loss, fit_bias
from lightning_aqa.objectives.regression import Regression

NAN = math.nan
SAME = [0.0, 1.0, 0.0, 0.0]


def steps(make_step, scores, targets, domains):
    output, batch = make_step(scores, targets)
    return output, batch._replace(domains=list(domains))


def epoch(objective, output, batch):
    objective.loss(output, batch)
    objective.on_train_batch_end()
    objective.on_train_batch_start(SimpleNamespace(current_epoch=1))


def test_a_value_worked_by_hand():
    # p = 2 is mapped to 0.5 + 2 = 2.5 and to 8 / 8 = 1, p = 4 stays: squares 0.25, 4 and 0; without maps 1, 1 and 0
    scores, targets = torch.tensor([[2.0], [2.0], [4.0]]), torch.tensor([[3.0], [3.0], [4.0]])
    maps = torch.tensor([[[0.5, 1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.125]], [SAME]])
    assert bias_aware_loss(scores, targets, maps).item() == pytest.approx((0.25 + 4.0) / 3)
    assert bias_aware_loss(scores, targets, maps, plain_weight=0.5).item() == pytest.approx((4.25 + 0.5 * 2.0) / 3)


def test_without_maps_it_is_the_squared_error(make_step):
    output, batch = steps(make_step, [[1.0, 2.0], [3.0, 1.0]], [[2.0, NAN], [3.0, 5.0]], ["a", "b/x"])
    assert BiasAware().loss(output, batch) == Regression().loss(output, batch)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_map_is_the_polynomial_of_least_squares(order):
    rng = np.random.default_rng(0)
    x = rng.uniform(40, 90, 30)
    y = 0.001 * x**2 + rng.normal(0, 1, 30) + x
    found = fit_bias(torch.tensor(x), torch.tensor(y), order)
    expected = np.polynomial.Polynomial.fit(x, y, order).convert().coef
    assert found[: order + 1].numpy() == pytest.approx(expected, rel=1e-6)
    assert not found[order + 1 :].any()


@pytest.mark.parametrize(
    ("x", "y"),
    [([], []), ([1.0], [1.0]), ([1.0, 2.0], [1.0, 2.0]), ([2.0] * 5, [1.0, 2, 3, 4, 5]), ([1, 2, 3], [3, 2, 1])],
)
def test_too_few_clips_or_a_falling_line_give_no_map(x, y):
    assert fit_bias(torch.tensor(x), torch.tensor(y), 1) is None


def test_maps_wait_for_the_correlation_and_spare_the_anchor_and_a_lone_corpus(make_step):
    scores = [[p, p, p] for p in (1.0, 2.0, 3.0, 4.0)] * 2
    given = [[p, NAN, 5.0 - p] for p, *_ in scores[:4]] + [[2 * p + 1, p, p] for p, *_ in scores[:4]]
    objective = BiasAware(anchor="a", min_correlation=0.5)
    output, batch = steps(make_step, scores, given, ["a"] * 4 + ["b/x", "b/y"] * 2)
    epoch(objective, output, batch)
    assert list(objective.coefficients) == ["b"]  # b/x and b/y are one corpus
    assert objective.coefficients["b"][0].tolist() == pytest.approx([1, 2, 0, 0], abs=1e-9)
    assert objective.coefficients["b"][1].tolist() == SAME  # nobody else rates the second axis
    assert objective.coefficients["b"][2].tolist() == SAME  # over both corpora the third does not correlate
    assert objective.loss(output, batch).item() == pytest.approx(
        np.mean([(2 * p - 5) ** 2 / 2 for p in (1, 2, 3, 4)]) / 3
    )
    by_domain = BiasAware(by="domain", min_correlation=-1)
    epoch(by_domain, output, batch)
    assert by_domain.coefficients.keys() <= {"a", "b/x", "b/y"}


def test_validation_is_not_remembered_and_a_resumed_epoch_fits_the_same(make_step):
    rows = [[float(p)] for p in range(1, 7)], [[p + 1.0 + 0.1 * (p % 2)] for p in range(1, 7)]
    output, batch = steps(make_step, *rows, ["a", "b"] * 3)
    whole, broken = BiasAware(), BiasAware()
    for objective in (whole, broken):
        objective.loss(output, batch)
        objective.on_train_batch_end()
    file = io.BytesIO()
    torch.save(broken.state_dict(), file)
    file.seek(0)
    resumed = BiasAware()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    resumed.on_train_batch_start(SimpleNamespace(current_epoch=0))
    assert not resumed.coefficients  # the epoch goes on
    for objective in (whole, resumed):
        with torch.no_grad():
            objective.loss(output, batch._replace(scores=-batch.scores))
        objective.on_train_batch_end()
        objective.update()
    assert resumed.coefficients.keys() == whole.coefficients.keys() == {"a", "b"}
    assert all(torch.equal(resumed.coefficients[name], whole.coefficients[name]) for name in "ab")
    assert resumed.state_dict()["seen"] == {}


def test_an_unknown_anchor_is_said_before_training(make_module):
    rated = {"train": [SimpleNamespace(domain="musiceval"), SimpleNamespace(domain="aes/speech")]}
    trainer = SimpleNamespace(datamodule=SimpleNamespace(rated=rated.__getitem__))
    BiasAware(anchor="aes").on_fit_start(trainer, None)
    with pytest.raises(
        ValueError, match=r"anchor is musicevel; the training clips are of aes, musiceval. Did you mean 'musiceval'"
    ):
        BiasAware(anchor="musicevel").on_fit_start(trainer, None)


@pytest.mark.parametrize("more", [{"order": 4}, {"by": "listener"}, {"min_correlation": 2.0}, {"plain_weight": -1.0}])
def test_options_out_of_range_are_refused(more):
    with pytest.raises(ValueError, match=f"{next(iter(more))}.* must be"):
        BiasAware(**more)


def test_the_scale_of_the_anchor_is_learned_from_panels_that_differ(make_step):
    def error(objective):
        """Train a linear predictor on two panels; return the error against the quality on the first's scale."""
        rng = np.random.default_rng(1)
        x = torch.tensor(rng.normal(size=(160, 4)), dtype=torch.float32)
        quality = 3 + x @ torch.tensor([0.5, -0.4, 0.3, 0.2])
        strict = torch.arange(160) % 2 == 1
        rated = torch.where(strict, 0.5 * quality + 0.5, quality)[:, None] + 0.1 * torch.tensor(
            rng.normal(size=(160, 1))
        )
        linear = torch.nn.Linear(4, 1)
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.constant_(linear.bias, float(rated.mean()))
        optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=10)
        domains = ["b" if one else "a" for one in strict]

        def closure():
            optimizer.zero_grad()
            output, batch = make_step([[0.0]] * 160, rated)
            loss = objective.loss(output._replace(scores=linear(x)), batch._replace(domains=domains))
            loss.backward()
            return loss

        for _ in range(40):
            optimizer.step(closure)
            if isinstance(objective, BiasAware):
                objective.on_train_batch_end()
                objective.update()
        return float((linear(x)[:, 0].detach() - quality).square().mean().sqrt())

    objective = BiasAware(anchor="a", min_correlation=0.5)
    assert error(objective) < 0.1
    assert error(Regression()) > 0.5
    assert objective.coefficients["b"][0].tolist() == pytest.approx([0.5, 0.5, 0, 0], abs=0.1)
