"""The constants that a fresh head takes from the training scores."""

import torch

from lightning_aqa.batch import Axis
from lightning_aqa.heads.fitting import fit_scale
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.objectives.bradley_terry import BradleyTerry
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.objectives.step import compared_axes

AXIS = Axis("preference", "preference", -4, 4)


def test_an_axis_that_no_training_clip_is_rated_on_keeps_its_scale_and_is_told(caplog):
    head = MLP(2, 1, [Axis("mos", "MOS", 1, 5), Axis("rare", "Rare", 0, 10)])
    fit_scale(head, torch.tensor([[2.0, torch.nan], [4.0, torch.nan]]))
    assert head.location_A.tolist() == [3.0, 5.0]
    assert "rare: no training clip is rated on it" in caplog.text
    assert "Leave the axis out, or rate more clips." in caplog.text
    assert "mos:" not in caplog.text


def test_an_axis_that_pairs_teach_is_not_said_to_be_untaught(caplog):
    of_pairs = ["preference", "preference"]
    for objectives, told in (([Regression()], True), ([Regression(), BradleyTerry()], False)):
        caplog.clear()
        fit_scale(MLP(2, 1, [AXIS]), torch.full((2, 1), torch.nan), compared_axes(objectives, of_pairs))
        assert ("preference: no training clip is rated on it" in caplog.text) == told
