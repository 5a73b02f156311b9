import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from lightning_aqa.batch import Batch, Output, Pairs
from lightning_aqa.objectives.bradley_terry import BradleyTerry, bradley_terry_loss
from lightning_aqa.utils.davidson import PairLink, fit_link, probabilities

WINS = [[0, 7, 9, 6], [3, 0, 6, 8], [1, 4, 0, 5], [2, 1, 4, 0]]
"""How often the item of the row won against that of the column."""


def fitted(pairs, outcomes, num_items, tie=None):
    """Find the log-strengths, with mean 0, and the tie parameter that minimise the loss."""
    free = torch.zeros(num_items + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [free], max_iter=500, tolerance_grad=1e-11, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )
    rows, outcomes = torch.tensor(pairs), torch.tensor(outcomes)

    def closure():
        optimizer.zero_grad()
        odds = free[rows[:, 0]] - free[rows[:, 1]]
        loss = bradley_terry_loss(odds, outcomes, tie=free[-1].exp() if tie is None else tie)
        loss.backward()
        return loss

    optimizer.step(closure)
    found = free.detach().numpy()
    return found[:-1] - found[:-1].mean(), math.exp(found[-1])


def won():
    pairs = [(i, j) for i in range(4) for j in range(4) for _ in range(WINS[i][j])]
    turned = [(j, i) if n % 3 == 0 else (i, j) for n, (i, j) in enumerate(pairs)]
    return turned, [1 if n % 3 == 0 else 0 for n in range(len(pairs))]


def test_without_ties_it_is_a_logistic_regression():
    pairs, outcomes = won()
    design = np.zeros((len(pairs), 4))
    design[np.arange(len(pairs)), [i for i, _ in pairs]] = 1
    design[np.arange(len(pairs)), [j for _, j in pairs]] = -1
    plain = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-12, max_iter=1000)
    plain.fit(design, 1 - np.array(outcomes))
    strengths = plain.coef_[0] - plain.coef_[0].mean()
    assert np.allclose(fitted(pairs, outcomes, 4, tie=0.0)[0], strengths, atol=1e-4)
    odds = torch.tensor(design @ strengths)
    assert bradley_terry_loss(odds, torch.tensor(outcomes)).item() == pytest.approx(
        -np.log(plain.predict_proba(design)[np.arange(len(pairs)), 1 - np.array(outcomes)]).mean(), rel=1e-6
    )


def test_strengths_are_those_of_choix():
    # choix 0.4.1: choix.opt_pairwise(4, [(i, j) for i in range(4) for j in range(4) for _ in range(WINS[i][j])],
    #                                 alpha=0.0, tol=1e-12)
    assert np.allclose(fitted(*won(), 4, tie=0.0)[0], [1.049879, 0.306366, -0.516490, -0.839754], atol=2e-5)


def test_ties_are_those_of_davidson():
    """At the maximum the expected wins and ties of each item are those that were counted (Davidson 1970, eq. 3.1)."""
    pairs, outcomes = won()
    pairs, outcomes = [*pairs, *[(0, 1)] * 3, *[(2, 1)] * 4, *[(2, 3)] * 2], [*outcomes, *[2] * 9]
    strengths, tie = fitted(pairs, outcomes, 4)
    odds = np.array([strengths[i] - strengths[j] for i, j in pairs])
    p = probabilities(odds, tie)
    assert p[:, 2].sum() == pytest.approx(9, abs=1e-4)
    for item in range(4):
        at = [(n, pair.index(item)) for n, pair in enumerate(pairs) if item in pair]
        expected = sum(p[n, side] + p[n, 2] / 2 for n, side in at)
        counted = sum({side: 1.0, 2: 0.5}.get(outcomes[n], 0.0) for n, side in at)
        assert expected == pytest.approx(counted, abs=1e-4)
    equal = fit_link(np.zeros(0), np.zeros(0, int), np.zeros(0))
    assert equal == (1.0, 0.0)


@given(st.floats(-5, 5), st.floats(0.01, 10), st.sampled_from([0, 1, 2]))
def test_the_loss_is_the_likelihood(odds, tie, outcome):
    p = probabilities(np.array([odds]), tie)[0]
    assert p.sum() == pytest.approx(1)
    assert probabilities(np.array([-odds]), tie)[0] == pytest.approx(p[[1, 0, 2]])
    loss = bradley_terry_loss(torch.tensor([odds], dtype=torch.float64), torch.tensor([outcome]), tie=tie)
    assert loss.item() == pytest.approx(-math.log(p[outcome]), rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 25.0])
def test_slope_and_ties_are_found_on_any_scale(scale):
    random = np.random.default_rng(0)
    d = random.normal(0, 1.4, 4000) * scale
    p = probabilities(2.0 / scale * d, 0.5)
    outcomes = (random.random(4000)[:, None] > p.cumsum(1)).sum(1)
    slope, tie = fit_link(d, outcomes, np.ones(4000), unit=scale)
    assert (slope * scale, tie) == (pytest.approx(2.0, rel=0.1), pytest.approx(0.5, rel=0.1))
    few = fit_link(d[:2], np.array([0, 0]), np.ones(2), unit=scale)
    assert 0.5 < few[0] * scale < 4  # two pairs that are right do not make it certain
    assert few[1] == 0


def batch_of(scores, pairs, targets):
    rows = [torch.tensor(column) for column in zip(*pairs, strict=True)]
    both = Pairs(rows[0], rows[1], rows[2], torch.ones(len(pairs)), torch.zeros(len(pairs), dtype=torch.long))
    output = Output(torch.tensor(scores, requires_grad=True), torch.zeros(len(scores), 1))
    names = [""] * len(scores)
    return output, Batch(torch.zeros(len(scores), 0), torch.zeros(len(scores)).long(), torch.tensor(targets), names,
                         names, names, names, pairs=both)  # fmt: skip


def test_pairs_alone_give_log_odds_and_ratings_beside_them_a_slope():
    nothing, rated = [[math.nan], [math.nan]], [[4.0], [2.0]]
    objective = BradleyTerry()
    for targets, slope in ((nothing, 1.0), (rated, None)):
        output, batch = batch_of([[3.0], [1.0]], [(0, 1, 0), (1, 0, 1), (0, 1, 1)], targets)
        loss = objective.loss(output, batch)
        assert (objective.link.slopes[0] == 1.0) is (slope == 1.0)
        loss.backward()
        assert torch.isfinite(output.scores.grad).all()
    again = BradleyTerry()
    again.load_state_dict(objective.state_dict())
    assert again.link == objective.link
    assert again.loss(output, batch).item() == objective.loss(output, batch).item()
    assert PairLink.read({"BradleyTerry[x]": objective.state_dict()}, 1) == objective.link
    assert PairLink.read({"BradleyTerry[x]": {"link": {"slopes": ["1"], "ties": [0.0]}}}, 1) is None


@pytest.mark.parametrize(
    ("settings", "message"), [({"slope": 0.0}, "slope must be above 0"), ({"tie": -1.0}, "tie must be at least 0")]
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BradleyTerry(**settings)


def test_a_tie_where_none_can_be_is_refused():
    with pytest.raises(ValueError, match="tie=0 says that no pair is a tie"):
        BradleyTerry(tie=0.0).loss(*batch_of([[3.0], [1.0]], [(0, 1, 2)], [[4.0], [2.0]]))
