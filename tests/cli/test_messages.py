"""What jsonargparse says over many lines, in one that names the nearest valid name."""

import pytest

from lightning_aqa.cli.messages import raised, readable
from lightning_aqa.utils.components import import_parts

OPTIONS = ["trainer.max_epochs", "data.batch_size", "model.head", "seed_everything"]


@pytest.fixture(scope="module", autouse=True)
def _parts():
    import_parts()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "unrecognized arguments: --trainer.max_epoch=3",
            "unknown option --trainer.max_epoch=3. Did you mean 'trainer.max_epochs'?",
        ),
        ("unrecognized arguments: --nothing.like.it=3", "unknown option --nothing.like.it=3."),
        ("unrecognized arguments: stray", "unknown option stray."),
        (
            "Problem with given class_path 'lightning_aqa.heads.mlp.MLP': Option 'hiden' is not accepted",
            "MLP has no option 'hiden'. Did you mean 'hidden'?",
        ),
        (
            "Option 'bach_size' is not accepted before init of class_path='lightning_aqa.data.table.Table'",
            "Table has no option 'bach_size'. Did you mean 'batch_size'?",
        ),
        (
            "Option 'zzz' is not accepted before init of class_path='not.imported.Thing'",
            "Thing has no option 'zzz'.",
        ),
        (
            'Parser key "model.encoder":\n  Expected a dot import path string: Descriptor',
            "--model.encoder: there is no class 'Descriptor'. Did you mean 'Descriptors'?",
        ),
        (
            "Parser key \"unit\":\n  Expected a typing.Literal['clip', 'system']. Got value: sytem",
            "--unit must be one of clip, system, got 'sytem'. Did you mean 'system'?",
        ),
        (
            "invalid choice: 'predic' (choose from fit, validate, test, predict)",
            "invalid choice: 'predic' (choose from fit, validate, test, predict). Did you mean 'predict'?",
        ),
        (
            "Parser key \"data.batch_size\":\n  - Expected a <class 'int'>. Got value: three\n  Given value type: str",
            "data.batch_size: Expected a <class 'int'>. Got value: three",
        ),
    ],
)
def test_a_message_becomes_one_line(message, said):
    assert readable(message, OPTIONS) == said


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("Regresion", "Regression"), ("FrameScore", "FrameScores"), ("QAMR0", "QAMRO"), ("MusicEvl", "MusicEval")],
)
def test_a_class_at_any_depth_below_its_kind_is_the_nearest(wrong, right):
    message = f'Parser key "objectives":\n Expected a dot import path string: {wrong}'
    assert readable(message, []).endswith(f"Did you mean '{right}'?")


def test_what_nobody_can_build_is_not_proposed():
    assert "Did you mean" not in readable("Expected a dot import path string: PointwiseObjectiv", [])


def test_an_unknown_message_is_passed_on_in_one_line():
    assert readable("something\n   quite   new\n", OPTIONS) == "something quite new"


def test_what_a_part_raised_comes_without_its_wrapping():
    assert raised(ValueError("batch_size must be at least 1.")) == "batch_size must be at least 1."
    linked = "Call to compute_fn of link 'data --> model.axes' with args (1) failed: no such folder"
    assert raised(ValueError(linked)) == "no such folder"
    wrapped = "Does not validate\nErrors:\n  - width must be even\n  - Expected a <class 'NoneType'>\nGiven value: 3"
    assert raised(ValueError(wrapped)) == "width must be even"
