"""The choices of a probe: numbers of odd axes, means over folds, and the words on the screen."""

import math

import pytest
import torch

from lightning_aqa.heads.probe import Share
from lightning_aqa.results.shares import mean_shares, print_shares, share_facts

RATED = torch.tensor([1.0, 2.0, 3.0, 4.0])
NOBODY = torch.full((4,), math.nan)


def share(name, left_out, weight=0.5, layers=(0.1, 0.4)):
    return Share(name, weight, layers, torch.stack([left_out, NOBODY], 1), torch.stack([RATED, NOBODY], 1))


def facts(*shares):
    return share_facts(shares, [range(len(one.layers)) for one in shares])


def test_an_axis_that_nobody_rates_and_a_constant_prediction_are_no_numbers():
    good, constant = facts(share("good", RATED - 1), share("flat", torch.zeros(4)))
    assert (good["srcc"], good["standardised_mse"]) == (1.0, 1.0)
    assert constant["srcc"] is None
    assert constant["standardised_mse"] == 7.5
    assert good["layers"] == {"0": 0.1, "1": 0.4}


def test_layers_have_the_numbers_that_the_user_gave():
    (found,) = share_facts([share("e", RATED)], [(3, 7)])
    assert found["layers"] == {"3": 0.1, "7": 0.4}


def test_folds_are_averaged_and_runs_of_other_encoders_are_not():
    one, two = facts(share("a", RATED)), facts(share("a", -RATED, weight=1.0))
    (mean,) = mean_shares([one, two])
    assert mean["srcc"] == pytest.approx(0.0)
    assert mean["weight"] == 0.75
    assert mean_shares([one, facts(share("b", RATED))]) == []
    assert mean_shares([]) == []


def test_the_screen_says_what_the_numbers_are_of(capsys):
    print_shares(facts(share("low", -RATED, 0.2), share("high[0]", RATED, 0.8)), num_folds=5)
    title, _, first, second, note, nested = capsys.readouterr().out.splitlines()
    assert title.strip() == "probe, fitted to the training parts of 5 folds"
    assert first.split() == ["high[0]", "0.80", "1", "(0.80),", "0", "(0.20)", "1.00"]
    assert second.split()[0] == "low"
    assert "inner cross-validation" in note
    assert "out of fold" in nested
    print_shares(facts(share("one", torch.zeros(4), 1.0)))
    assert capsys.readouterr().out == (
        "probe: one, layers by weight: 1 (0.80), 0 (0.20); "
        "SRCC undefined by inner cross-validation on the training clips\n"
    )
