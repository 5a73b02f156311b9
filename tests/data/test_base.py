"""What every corpus shares: the manifest, the check before training, the loaders of each split."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from lightning_aqa.batch import Axis, Features
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.validation import CorpusError, check_audio

AXES = (Axis("PQ", "Quality", 0, 10), Axis("CE", "Enjoyment", 0, 10))
SPLITS = ("own", "test", "train", "dev", "train", "dev", "train")


class Given(AQADataModule):
    """Serve a manifest as it is given."""

    where_to_get = {"EARS": "Ask its authors."}

    def __init__(self, manifest, **loading):
        super().__init__(**loading)
        self.given, self.num_reads = manifest, 0

    def read(self):
        self.num_reads += 1
        return self.given


@pytest.fixture
def make(tmp_path):
    """Write one short file per clip, and serve them."""

    def data(clips, problems=(), **loading):
        for i, clip in enumerate(clips):
            if not (tmp_path / clip.path).exists() and not clip.path.startswith("gone"):
                noise = np.random.default_rng(i).uniform(-0.5, 0.5, 800 * (1 + i % 3))
                soundfile.write(tmp_path / clip.path, noise, 8000)
        placed = [Clip(**{**vars(clip), "path": str(tmp_path / clip.path)}) for clip in clips]
        return Given(Manifest(placed, AXES, problems), **loading)

    return data


def _clips(**fields):
    return [
        Clip(f"c{i}", f"{i}.wav", split=split, scores={"PQ": float(i)}, system=f"S{i % 2}", prompt=f"p{i}", **fields)
        for i, split in enumerate(SPLITS)
    ]


def _attach(data, stage, rank=0, num_ranks=1, **needs):
    """Set up as a trainer does, with an encoder of given needs."""
    encoder = SimpleNamespace(sample_rate=8000, min_seconds=0.0, min_tail_seconds=0.0, window_seconds=None)
    vars(encoder).update(needs)
    module = SimpleNamespace(encoder=encoder)
    data.trainer = SimpleNamespace(lightning_module=module, global_rank=rank, world_size=num_ranks)
    data.setup(stage)
    return data


def _ids(loader):
    return [id_ for batch in loader for id_ in batch.ids]


def test_the_manifest_is_there_after_setup_without_a_trainer(make):
    data = make([*_clips(), Clip("gone", "gone.wav", split="train", scores={"PQ": 1.0})])
    data.setup()
    assert [clip.id for clip in data.manifest] == [*(f"c{i}" for i in range(7)), "gone"]
    assert data.axes == list(AXES)
    assert data.num_reads == 1


def test_splits_come_as_train_dev_test_and_then_the_corpus_s_own(make):
    data = _attach(make([*_clips(), Clip("u", "u.wav", split="unrated")]), "fit")
    assert data.rated_splits == ["train", "dev", "test", "own"]
    assert [sorted(_ids(loader)) for loader in data.test_dataloader()] == [
        ["c2", "c4", "c6"], ["c3", "c5"], ["c1"], ["c0"],
    ]  # fmt: skip
    assert [sorted(_ids(loader)) for loader in data.val_dataloader()] == [["c3", "c5"]]
    assert sorted(_ids(data.train_dataloader())) == ["c2", "c4", "c6"]


def test_a_batch_has_what_the_clips_have(make):
    data = _attach(make(_clips(domain="music")), "fit")
    (batch,) = data.split_dataloader("dev")
    assert (batch.ids, batch.systems, batch.prompts) == (["c3", "c5"], ["S1", "S1"], ["p3", "p5"])
    assert batch.domains == ["music", "music"]
    assert batch.waveform.shape == (2, 2400)
    assert batch.num_samples.tolist() == [800, 2400]
    assert batch.waveform[0, 800:].eq(0).all()
    assert batch.scores[:, 0].tolist() == [3.0, 5.0]
    assert batch.scores[:, 1].isnan().all()
    assert batch.features is None


def test_unrated_clips_are_predicted_and_nothing_else(make):
    data = make([*_clips(), Clip("u", "u.wav", split="train"), Clip("n", "n.wav", scores={"PQ": float("nan")})])
    _attach(data, "fit")
    assert not {"u", "n"} & {id_ for loader in data.test_dataloader() for id_ in _ids(loader)}
    assert not {"u", "n"} & set(_ids(data.train_dataloader()))
    _attach(data, "predict")
    assert sorted(_ids(data.predict_dataloader())) == sorted([*(f"c{i}" for i in range(7)), "n", "u"])


def test_bad_clips_stop_with_everything_in_one_report(make):
    bad = [Clip("x", "gone1.wav", split="dev", scores={"PQ": 1.0}, source="EARS")]
    notes = [Problem("score out of scale", "list.csv:9", "PQ is 12, the scale is 0 to 10", "u")]
    data = make([*_clips(), *bad, Clip("u", "u.wav", split="train")], notes)
    with pytest.raises(CorpusError) as error:
        _attach(data, "fit")
    said = str(error.value)
    assert said.startswith("Given: 2 problems.\n")
    for words in ("missing file: 1", "gone1.wav: no such file", "1 of EARS. Ask its authors.", "list.csv:9: PQ is 12"):
        assert words in said
    assert said.endswith("--data.on_bad_clip=skip.")


def test_bad_clips_are_skipped_and_kept_in_mind(make, caplog):
    bad = [Clip("x", "gone1.wav", split="dev", scores={"PQ": 1.0})]
    data = make([*_clips(), *bad], [Problem("bad row", "list.csv:3", "no file")], on_bad_clip="skip")
    with caplog.at_level(logging.WARNING):
        _attach(data, "fit")
    assert "missing file: 1" in caplog.text
    assert "left out" in caplog.text
    assert [(problem.kind, problem.clip_id) for problem in data.skipped] == [("bad row", ""), ("missing file", "x")]
    assert sorted(_ids(data.val_dataloader()[0])) == ["c3", "c5"]


def test_what_a_later_stage_sees_is_skipped_too_and_nothing_is_lost(make, caplog):
    more = [
        Clip("x", "gone1.wav", split="dev", scores={"PQ": 1.0}),
        Clip("u", "u.wav", split="new"),
        Clip("v", "gone2.wav", split="new"),
    ]
    data = make([*_clips(), *more], [Problem("bad row", "list.csv:3", "no file")], on_bad_clip="skip")
    _attach(data, "fit")
    caplog.clear()
    _attach(data, "predict")
    assert sorted(_ids(data.predict_dataloader())) == sorted([*(f"c{i}" for i in range(7)), "u"])
    assert [problem.clip_id for problem in data.skipped] == ["", "x", "v"]
    assert "gone1" not in caplog.text
    assert "gone2" in caplog.text


def test_nothing_left_is_an_error_also_when_skipping(make):
    bad = [Clip("x", "gone1.wav", split="dev", scores={"PQ": 1.0})]
    with pytest.raises(CorpusError, match="missing file: 1"):
        _attach(make(bad, on_bad_clip="skip"), "fit")


def test_a_corpus_without_ratings_cannot_be_learnt_from(make):
    with pytest.raises(CorpusError, match="none of the 1 clips has a rating to learn from"):
        _attach(make([Clip("u", "u.wav")]), "fit")


def test_a_split_without_ratings_is_told_with_those_that_have_some(make):
    data = _attach(make([clip for clip in _clips() if clip.split != "train"]), "fit")
    with pytest.raises(CorpusError, match="no rated clip in split 'train'; splits with ratings: dev, test, own"):
        data.train_dataloader()


def test_audio_is_looked_at_once_per_need(make, monkeypatch):
    seen = []

    def check(clips, *rest, **more):
        seen.append(len(clips))
        return check_audio(clips, *rest, **more)

    monkeypatch.setattr("lightning_aqa.data.base.check_audio", check)
    data = make([*_clips(), Clip("u", "u.wav")])
    for stage in ("fit", "test", "predict"):
        _attach(data, stage)
    _attach(data, "fit", min_seconds=0.05)
    assert seen == [7, 0, 1, 7]


def test_a_header_check_does_not_decode(make, tmp_path):
    data = make(_clips(), check="header")
    soundfile.write(tmp_path / "3.wav", np.full(800, np.nan, np.float32), 8000, subtype="FLOAT")
    _attach(data, "fit")
    with pytest.raises(ValueError, match=r"3\.wav: holds samples that are not finite"):
        _ids(data.val_dataloader()[0])


def test_another_encoder_gets_its_own_rate_and_windows(make):
    data = _attach(make(_clips()), "fit", window_seconds=0.1)
    assert {batch.waveform.shape[1] for batch in data.split_dataloader("dev")} == {800}
    _attach(data, "fit", sample_rate=16000, window_seconds=None)
    assert max(batch.waveform.shape[1] for batch in data.split_dataloader("dev")) == 4800


def test_the_window_of_the_config_comes_before_the_encoder_s(make):
    data = _attach(make(_clips(), window_seconds=0.05), "fit", window_seconds=0.2)
    assert max(batch.waveform.shape[1] for batch in data.train_dataloader()) == 400
    with pytest.raises(ValueError, match=r"window_seconds is 0\.05, and the encoder needs 0\.1 s or more"):
        _attach(data, "fit", min_seconds=0.1)


def test_the_windows_of_a_clip_carry_its_weight(make):
    data = _attach(make(_clips()), "fit", window_seconds=0.2)
    batches = list(data.split_dataloader("dev"))
    rows = [row for batch in batches for row in zip(batch.ids, batch.weights.tolist(), strict=True)]
    weights = {name: sorted(weight for id_, weight in rows if id_ == name) for name in ("c3", "c5")}
    assert weights == {"c3": [1.0], "c5": pytest.approx([1 / 3, 2 / 3])}


def test_ranks_share_evaluation_and_one_may_read_all(make):
    shares = [_attach(make(_clips()), "fit", rank, 2) for rank in range(2)]
    rows = [_ids(data.split_dataloader("train")) for data in shares]
    assert [len(part) for part in rows] == [2, 2]
    assert set(rows[0]) | set(rows[1]) == {"c2", "c4", "c6"}
    assert sorted(_ids(shares[1].split_dataloader("train", sharded=False))) == ["c2", "c4", "c6"]


def test_cached_features_stand_in_for_audio(make):
    data = _attach(make(_clips()), "fit", window_seconds=0.2)
    asked = []

    def read(clip, window):
        asked.append((clip.id, round(window.start, 6), round(window.seconds, 6)))
        frames = 2 + len(asked) % 2
        return Features(torch.ones(1, 1, frames, 4), torch.ones(1, frames, dtype=torch.bool))

    data.features = read
    (batch,) = data.train_dataloader()
    assert batch.waveform.shape == (3, 0)
    assert batch.features.layers.shape == (3, 1, 3, 4)
    assert batch.features.frame_mask.sum() == batch.features.layers.sum() / 4
    evaluated = {(clip_id, start) for clip_id, start, _ in asked}
    _ids(data.split_dataloader("train"))
    assert evaluated <= {(clip_id, start) for clip_id, start, _ in asked[3:]}


@pytest.mark.parametrize(
    ("max_padding", "is_sorted"), [("auto", (True, False)), (1.15, (True, True)), (None, (False, False))]
)
def test_like_lengths_share_a_batch_where_an_encoder_runs_and_cached_features_are_shuffled(
    make, max_padding, is_sorted
):
    clips = [Clip(f"c{i}", f"{i}.wav", split="train", scores={"PQ": float(i)}) for i in range(40)]
    data = _attach(make(clips, batch_size=2, max_padding=max_padding), "fit")
    for features, wanted in zip((None, lambda clip, window: None), is_sorted, strict=True):
        data.features = features
        assert (data.train_dataloader().rest.batches.width < np.inf) == wanted


@pytest.mark.parametrize(
    ("option", "value"),
    [("batch_size", 0), ("eval_batch_size", 0), ("eval_batch_size", -1), ("num_workers", -1), ("window_seconds", 0.0)],
)
def test_an_impossible_setting_is_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        Given(None, **{option: value})


@pytest.mark.parametrize(("window", "windows"), [(0.5, [2400, 4000, 4000]), (1.0, [8000])])
def test_a_tail_is_dropped_under_its_minimum_and_never_over_half_a_window(make, tmp_path, window, windows):
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 10400), 8000)
    data = make([Clip("long", "long.wav", split="dev", scores={"PQ": 1.0})])
    _attach(data, "validate", window_seconds=window, min_tail_seconds=1.0)
    found = [n for batch in data.split_dataloader("dev") for n in batch.num_samples.tolist()]
    assert sorted(found) == windows
