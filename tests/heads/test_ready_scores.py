import pytest
import torch

from lightning_aqa.batch import Axis, Features
from lightning_aqa.heads.ready_scores import ReadyScores


def test_the_polynomial_comes_before_the_mean_and_padding_does_not_count():
    head = ReadyScores(2, 1, [Axis("BAK", "", 1, 5)], scores=["SIG", "BAK"], polynomials={"BAK": [0, 0, 1]})
    layers = torch.tensor([[[[9.0, 1.0], [9.0, 3.0], [9.0, 100.0]]]])
    output = head(Features(layers, torch.tensor([[True, True, False]])))
    assert output.scores.tolist() == [[5.0]]


def test_what_the_model_does_not_score_is_told():
    with pytest.raises(ValueError, match="scores names A, and the encoder gives 2"):
        ReadyScores(2, 1, [], scores=["A"])
    with pytest.raises(ValueError, match="overall: no score of this model, which gives A, B"):
        ReadyScores(2, 1, [Axis("overall", "", 0, 100)], scores=["A", "B"])
