"""Single ratings through the lines of their listeners: the loss, the lines, what is remembered, what is refused."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_aqa.batch import Axis
from lightning_aqa.objectives.listener_lines import fit_lines
from lightning_aqa.objectives.listener_ratings import SingleRatings
from lightning_aqa.objectives.listeners import Listeners, SeenRatings, listener_loss
from lightning_aqa.objectives.regression import Regression

NAN = math.nan


def panel(seed=0, clips=80, listeners=12, each=4, offset=0.6, gain=0.0, noises=(0.5,), blocks=1):
    """Draw ratings of known listeners; return these, the quality, offsets, gains and noises."""
    rng = np.random.default_rng(seed)
    quality, o, g = rng.normal(3, 1, clips), rng.normal(0, 1, listeners) * offset, rng.normal(0, 1, listeners) * gain
    v = np.resize(noises, listeners)
    block = np.arange(listeners) * blocks // listeners
    found = [(c, i) for c in range(clips) for i in rng.permutation(np.flatnonzero(block == c * blocks // clips))[:each]]
    c, i = np.array(found).T
    y = quality[c] + o[i] + g[i] * (quality[c] - 3) + v[i] * rng.normal(size=len(c))
    return SingleRatings(c, i, y), quality, o, g, v


def by_clip(ratings, axis="MI"):
    """Return ratings as a corpus has them."""
    found = {}
    for c, i, y in zip(*ratings, strict=True):
        found.setdefault(str(c), {})[f"L{i}"] = {axis: float(y)}
    return found


def trainer_of(ratings):
    """Stand in for a trainer whose corpus has some ratings."""
    clips = [SimpleNamespace(id=id_, ratings=given) for id_, given in ratings.items()]
    return SimpleNamespace(datamodule=SimpleNamespace(rated={"train": clips}.__getitem__), current_epoch=0)


def started(make_module, ratings, axes=("MI",), **options):
    objective = Listeners(**options)
    module = make_module([Axis(axis, axis, 1, 5) for axis in axes])
    objective.on_fit_start(trainer_of(ratings), module)
    return objective


# The loss


def test_a_value_worked_by_hand():
    # clip 0: ratings 3 and 5 of weights 1 and 3, seen as 2 + 0.5 and 2 - 1 + 0.5 (2 - 1): errors 0.5 and 3.5
    rows, axes = torch.tensor([0, 0]), torch.tensor([0, 0])
    given = SeenRatings(
        rows, axes, torch.tensor([3.0, 5.0]), torch.tensor([0.5, -1.0]), torch.tensor([0.0, 0.5]),
        torch.tensor([1.0, 3.0]),
    )  # fmt: skip
    scores, targets = torch.tensor([[2.0], [2.0], [2.0]]), torch.tensor([[4.0], [3.0], [NAN]])
    weights = torch.tensor([[2.0], [1.0], [7.0]])
    expected = (2 * (0.25 + 3 * 3.5**2) / 4 + 1.0) / 2  # clip 1 has a mean alone, clip 2 is not rated
    assert listener_loss(scores, targets, given, torch.tensor([1.0]), weights).item() == pytest.approx(expected)


def test_equal_listeners_pull_as_the_squared_error_of_the_mean_does(make_step):
    targets = [[2.0], [3.5]]
    output, batch = make_step([[1.0], [4.0]], targets)
    objective = Listeners()
    objective.take({"0": {"a": {"MI": 1.0}, "b": {"MI": 3.0}}, "1": {"a": {"MI": 3.5}}}, ["MI"])
    objective.lines = [None]
    objective._prepare()
    (ours,) = torch.autograd.grad(objective.loss(output, batch), output.scores)
    (plain,) = torch.autograd.grad(Regression().loss(output, batch), output.scores)
    assert torch.equal(ours, plain)


def test_clips_of_unknown_listeners_count_by_their_mean(make_step, make_module):
    objective = started(make_module, by_clip(panel()[0]))
    output, batch = make_step([[1.0], [4.0]], [[2.0], [3.5]])
    new = batch._replace(ids=["new/1", "new/2"])
    assert objective.loss(output, new).item() == pytest.approx(Regression().loss(output, batch).item())


def test_an_axis_that_augmentation_masks_is_not_learned_from(make_step, make_module):
    ratings = by_clip(panel()[0])
    for scores in (found for clip in ratings.values() for found in clip.values()):
        scores["PQ"] = 6 - scores["MI"]
    objective = started(make_module, ratings, ("MI", "PQ"))
    output, batch = make_step([[1.0, 2.0], [4.0, 2.0]], [[2.0, NAN], [3.5, 4.0]])
    objective.loss(output, batch).backward()
    assert output.scores.grad[0, 1] == 0
    assert output.scores.grad[[0, 1, 1], [0, 0, 1]].all()
    objective.on_train_batch_end()
    assert objective.state_dict()["seen"][0].isnan().tolist() == [False, True]


def test_the_gradient_is_in_the_unit_that_space_names(make_step, make_module):
    ratings, *_ = panel()
    losses = []
    for factor in (1.0, 10.0):
        objective = Listeners(space="standardised")
        module = make_module([Axis("MI", "MI", 1, 5)])
        module.head.fit_scale(torch.tensor([3.0 * factor]), torch.tensor([0.8 * factor]))
        scaled = SingleRatings(ratings.clips, ratings.listeners, ratings.values * factor)
        objective.on_fit_start(trainer_of(by_clip(scaled)), module)
        output, batch = make_step([[1.0 * factor], [4.0 * factor]], [[2.0 * factor], [3.5 * factor]])
        losses.append(objective.loss(output, batch).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# The lines


def brute_force(ratings, predictions, listeners, lines):
    """Return offsets and gains by the marginal covariance of the ratings, without Henderson's equations."""
    c, i, y = ratings
    x = predictions[c] - predictions[np.unique(c)].mean()
    one_c, one_i = np.eye(len(predictions))[c], np.eye(listeners)[i]
    V = lines.clip_variance * one_c @ one_c.T + lines.offset_variance * one_i @ one_i.T + np.diag(lines.noise[i])
    V += lines.gain_variance * (one_i * x[:, None]) @ (one_i * x[:, None]).T
    X, d, P = np.stack([np.ones_like(x), x], axis=1), y - predictions[c], np.linalg.inv(V)
    left = P @ (d - X @ np.linalg.solve(X.T @ P @ X, X.T @ P @ d))
    return lines.offset_variance * one_i.T @ left, lines.gain_variance * (one_i * x[:, None]).T @ left


def test_lines_are_the_best_predictors_of_a_mixed_model():
    ratings, quality, *_ = panel(offset=0.7, gain=0.3, noises=(0.3, 0.9))
    predictions = quality + np.random.default_rng(1).normal(0, 0.4, len(quality))
    lines = fit_lines(ratings, predictions, 12)
    offset, gain = brute_force(ratings, predictions, 12, lines)
    assert lines.offset == pytest.approx(offset, abs=0.02)  # variances have moved by less than a thousandth since
    assert lines.gain == pytest.approx(gain, abs=0.02)


def test_variances_are_those_that_listeners_were_drawn_with():
    found = []
    for seed in range(12):
        ratings, quality, *_ = panel(seed, 150, 30, 5, offset=0.7, gain=0.3, noises=(0.4, 1.0))
        predictions = quality + np.random.default_rng(1000 + seed).normal(0, 0.5, len(quality))
        lines = fit_lines(ratings, predictions, 30)
        found.append([*np.sqrt(lines[4:]), math.sqrt(lines.noise[::2].mean()), math.sqrt(lines.noise[1::2].mean())])
    clip, offset, gain, quiet, loud = np.mean(found, axis=0)
    assert clip == pytest.approx(0.45, abs=0.06)  # 0.5 less what the slope of these predictions takes away
    assert (offset, gain, quiet, loud) == pytest.approx(
        (0.7, 0.24, 0.4, 1.0), abs=0.08
    )  # gains of the quality that predictions tell


def test_predictions_link_listeners_who_share_no_clip():
    ratings, quality, offset, *_ = panel(listeners=10, each=1, blocks=10, clips=100)
    lines = fit_lines(ratings, quality, 10, gains=False)
    assert np.corrcoef(lines.offset, offset)[0, 1] > 0.95
    assert fit_lines(ratings, np.full(100, NAN), 10) is None  # of ratings alone nothing tells quality from listener


def test_listeners_who_are_alike_get_no_lines():
    sizes = []
    for seed in range(10):
        ratings, quality, *_ = panel(seed, offset=0.0)
        sizes.append(np.abs(fit_lines(ratings, quality, 12).offset).mean())
    assert np.mean(sizes) < 0.06


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([1.0, 2.0, 3.0, 5.0])), min_size=1, max_size=14
    ),
    st.sampled_from(["none", "some", "equal", "perfect"]),
)
def test_any_few_ratings_give_finite_lines_or_none(rows, kind):
    c, i = (np.array([row[k] for row in rows], dtype=np.intp) for k in (0, 1))
    y = np.array([row[2] for row in rows])
    predictions = {
        "none": np.full(4, NAN), "some": np.array([1.0, NAN, 3.0, 2.0]), "equal": np.full(4, 2.0),
        "perfect": np.array([y[c == k].mean() if (c == k).any() else 0.0 for k in range(4)]),
    }[kind]  # fmt: skip
    lines = fit_lines(SingleRatings(c, i, y), predictions, 4)
    if lines is not None:
        assert all(np.isfinite(field).all() for field in lines)
        assert (lines.noise > 0).all()
        assert np.abs(lines.offset).max() <= 10


# In training


def test_strict_and_kind_listeners_teach_the_same_scale(make_step, make_module):
    """One rating per clip, of a strict or a kind panel: the mean of a clip says as much of its listener as of it."""

    def error(objective):
        rng = np.random.default_rng(1)
        x = torch.tensor(rng.normal(size=(160, 4)), dtype=torch.float32)
        quality = 3 + x @ torch.tensor([0.5, -0.4, 0.3, 0.2])
        who = rng.permutation(np.arange(160) % 8)
        offset = np.array([-1.0, -0.8, -0.6, -0.2, 0.2, 0.6, 0.8, 1.0])
        rated = quality[:, None] + torch.tensor(offset[who] + 0.1 * rng.normal(size=160))[:, None]
        ratings = {str(c): {f"L{who[c]}": {"MI": float(rated[c, 0])}} for c in range(160)}
        if isinstance(objective, Listeners):
            objective.on_fit_start(trainer_of(ratings), make_module([Axis("MI", "MI", 1, 5)]))
        linear = torch.nn.Linear(4, 1)
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.constant_(linear.bias, 3.0)
        optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=5)

        def closure():
            optimizer.zero_grad()
            output, batch = make_step([[0.0]] * 160, rated)
            loss = objective.loss(output._replace(scores=linear(x)), batch)
            loss.backward()
            return loss

        for epoch in range(1, 9):
            optimizer.step(closure)
            if isinstance(objective, Listeners):
                objective.on_train_batch_end()
                objective.on_train_batch_start(SimpleNamespace(current_epoch=epoch))
        return float((linear(x)[:, 0].detach() - quality).std())

    assert error(Listeners()) < 0.03
    assert error(Regression()) > 0.06


def test_a_resumed_epoch_fits_the_same_lines(make_step, make_module):
    ratings, quality, *_ = panel()
    given = by_clip(ratings)
    whole, broken = started(make_module, given), started(make_module, given)
    output, batch = make_step(quality[:, None], quality[:, None])
    for objective in (whole, broken):
        objective.loss(output, batch)
        objective.on_train_batch_end()
    file = io.BytesIO()
    torch.save(broken.state_dict(), file)
    file.seek(0)
    resumed = Listeners()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    resumed.on_fit_start(trainer_of(given), make_module([Axis("MI", "MI", 1, 5)]))
    for objective in (whole, resumed):
        objective.on_train_batch_start(SimpleNamespace(current_epoch=1))
    assert not np.array_equal(whole.lines[0].offset, broken.lines[0].offset)
    assert all(np.array_equal(one, other) for one, other in zip(whole.lines[0], resumed.lines[0], strict=True))
    assert resumed.loss(output, batch) == whole.loss(output, batch)


def test_lines_of_other_listeners_are_dropped(make_module):
    old = started(make_module, by_clip(panel()[0]))
    objective = Listeners()
    objective.load_state_dict(old.state_dict())
    more = by_clip(panel(listeners=15)[0])
    objective.on_fit_start(trainer_of(more), make_module([Axis("MI", "MI", 1, 5)]))
    assert objective.names == sorted(f"L{i}" for i in range(15))
    assert len(objective.lines[0].offset) == 15


def test_means_alone_are_refused_before_training(make_module):
    with pytest.raises(ValueError, match=r"no training clip has ratings of single listeners; give lists with a row"):
        started(make_module, {"0": {}, "1": {}})


def test_too_few_ratings_are_told(make_module, caplog):
    objective = started(make_module, {"0": {"a": {"MI": 1.0}}, "1": {"b": {"MI": 3.0}}})
    assert objective.lines == [None]
    assert "MI: ratings alone do not tell listeners from noise" in caplog.text


def test_a_fit_of_single_ratings_is_written_whole(fit, corpora, fails):
    data = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", "--data.batch_size=8"]
    folder = fit(*data, "--objectives.mse=null", "--objectives.listeners=Listeners", epochs=2)
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["Listeners[listeners]"]
    assert len(state["names"]) > 1
    offset, _, noise, *_ = state["lines"][0]
    assert len(offset) == len(state["names"])
    assert (noise > 0).all()
    assert abs(offset.mean()) < 0.2
