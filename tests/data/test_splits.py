import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.splits import (
    apportion,
    check_folds,
    check_fractions,
    find_folds,
    hold_out,
    leakage,
    learn_all,
    make_folds,
    split_by_fractions,
)
from lightning_aqa.data.validation import CorpusError


def corpus(num_clips=103, num_systems=7, folder="audio"):
    clips = [
        Clip(f"{n:03d}", f"{folder}/{n:03d}.wav", system=f"S{n % num_systems}", prompt=f"prompt {n % 11}")
        for n in range(num_clips)
    ]
    return Manifest(clips, [])


def splits_of(manifest):
    return {clip.id: clip.split for clip in manifest}


def test_apportion_gives_the_largest_group_to_the_part_that_lacks_most():
    # 10 members at .6/.4: 6 and 4 wanted; "a" (5) to part 0, then part 1 lacks 4 against 1.
    assert apportion({"a": 5, "b": 3, "c": 1, "d": 1}, [0.6, 0.4], seed=3)["a"] == 0
    assert apportion({"a": 5, "b": 3, "c": 1, "d": 1}, [0.6, 0.4], seed=3)["b"] == 1


def test_apportion_fills_every_part_even_where_one_group_is_nearly_all():
    assert set(apportion({"a": 1000, "b": 1, "c": 1}, [0.8, 0.1, 0.1], seed=0).values()) == {0, 1, 2}


def test_apportion_refuses_fewer_groups_than_parts():
    with pytest.raises(ValueError, match="2 groups cannot fill 3 splits"):
        apportion({"a": 1, "b": 1}, [0.8, 0.1, 0.1], seed=0)


def test_fractions_give_their_share_of_clips():
    counts = Counter(splits_of(split_by_fractions(corpus(100))).values())
    assert counts == {"train": 80, "dev": 10, "test": 10}


@pytest.mark.parametrize("by", ["clip", "system", "prompt"])
def test_splits_do_not_depend_on_the_order_of_rows_or_on_the_machine(by):
    clips = list(corpus(folder="/elsewhere"))
    random.Random(1).shuffle(clips)
    assert splits_of(split_by_fractions(corpus(), by=by)) == splits_of(split_by_fractions(Manifest(clips, []), by=by))


def test_another_seed_gives_other_splits():
    assert splits_of(split_by_fractions(corpus(), seed=0)) != splits_of(split_by_fractions(corpus(), seed=1))


@pytest.mark.parametrize(("by", "key"), [("system", "system"), ("prompt", "prompt")])
def test_groups_stay_together(by, key):
    split = split_by_fractions(corpus(), by=by)
    for name in {getattr(clip, key) for clip in split}:
        assert len({clip.split for clip in split if getattr(clip, key) == name}) == 1


def test_parts_of_one_file_stay_together():
    clips = [Clip(f"{n}", f"{n // 4}.wav", start=n % 4, end=n % 4 + 1) for n in range(80)]
    split = split_by_fractions(Manifest(clips, []))
    assert leakage(split) == []


def test_folds_are_balanced_and_every_clip_is_tested_once():
    folds = make_folds(corpus(), 5)
    assert sorted(Counter(clip.split for clip in folds).values()) == [20, 20, 21, 21, 21]
    tested = [clip.id for fold in range(5) for clip in hold_out(folds, fold).split("test")]
    assert sorted(tested) == sorted(clip.id for clip in folds)


def test_dev_is_the_next_fold_or_a_fraction_of_the_rest():
    folds = make_folds(corpus(), 5)
    assert [c.id for c in hold_out(folds, 4).split("dev")] == [c.id for c in folds.split("0")]
    drawn = hold_out(folds, 4, dev_fraction=0.25)
    assert len(drawn.split("dev")) == round(0.25 * (103 - len(drawn.split("test"))))
    assert [c.id for c in drawn.split("test")] == [c.id for c in folds.split("4")]


def test_folds_of_systems_never_share_a_system():
    held = hold_out(make_folds(corpus(), 3, by="system"), 0, by="system", dev_fraction=0.2)
    assert sorted(held.splits) == ["dev", "test", "train"]
    assert not any("system" in sentence for sentence in leakage(held))


def test_folds_are_ordered_as_numbers():
    clips = [Clip(f"{n}", f"{n}.wav", split=str(n)) for n in range(12)]
    assert [clip.id for clip in hold_out(Manifest(clips, []), 10).split("test")] == ["10"]


def test_a_clip_without_a_prompt_is_a_group_of_its_own():
    clips = [Clip(f"{n}", f"{n}.wav", prompt="" if n % 2 else "same") for n in range(20)]
    split = split_by_fractions(Manifest(clips, []), by="prompt")
    assert len({clip.split for clip in split if clip.prompt}) == 1
    assert len({clip.split for clip in split if not clip.prompt}) > 1


def test_splitting_by_a_system_that_nobody_names_is_refused():
    with pytest.raises(CorpusError, match="split_by=system needs a system for each clip"):
        split_by_fractions(Manifest([Clip("1", "1.wav")], []), by="system")


def test_too_few_systems_are_refused():
    with pytest.raises(CorpusError, match="split_by=system: 2 groups cannot fill 3 splits"):
        split_by_fractions(corpus(num_systems=2), by="system")


@pytest.mark.parametrize("fractions", [{"train": 0.5}, {"train": 1.5, "dev": -0.5}, {}])
def test_fractions_must_be_shares(fractions):
    with pytest.raises(ValueError, match="sum to 1"):
        check_fractions(fractions)


@pytest.mark.parametrize(
    ("folds", "fold", "dev", "message"),
    [
        (2, 0, None, "folds must be at least 3 to give test, dev and train, got 2"),
        (1, 0, 0.1, "folds must be at least 2"),
        (5, 5, None, "fold must be from 0 to 4, got 5"),
        (5, 0, 1.0, "dev_fraction must be at least 0 and below 1"),
    ],
)
def test_impossible_folds_are_refused(folds, fold, dev, message):
    with pytest.raises(ValueError, match=message):
        check_folds(folds, fold, dev)


def test_leakage_tells_overlapping_parts_from_other_parts():
    clips = [
        Clip("1", "a.wav", start=0, end=5, split="train", prompt="rain", system="S1"),
        Clip("2", "./a.wav", start=4, end=9, split="test", prompt="wind", system="S2"),
        Clip("3", "b.wav", start=0, end=5, split="train", prompt="rain"),
        Clip("4", "b.wav", start=5, end=9, split="dev", prompt="rain", system="S1"),
    ]
    assert leakage(Manifest(clips, [])) == [
        "1 file is in more than one split with the same audio: a.wav (train, test).",
        "1 file is in more than one split with different parts: b.wav (train, dev).",
        "1 prompt is in more than one split: rain (train, dev).",
        "1 system is in more than one split (harmless unless you split by system): S1 (train, dev).",
    ]


def test_leakage_is_silent_where_nothing_is_shared():
    assert leakage(Manifest([Clip("1", "a.wav", split="train"), Clip("2", "b.wav", split="test")], [])) == []


@given(
    st.lists(st.sampled_from(["train", "dev", "test", "eval"]), min_size=12, max_size=40),
    st.integers(2, 5),
    st.sampled_from([None, 0, 0.25]),
)
def test_own_splits_win_whatever_they_are(names, folds, fraction):
    names = ["train"] * 6 + names
    clips = Manifest([replace(clip, split=name) for clip, name in zip(corpus(len(names)), names, strict=True)], [])
    apart = {clip.id: clip.split for clip in clips if clip.split in ("test", "eval")}
    found = find_folds(clips, folds)
    tested = Counter(
        clip.id
        for fold in range(folds)
        for clip in hold_out(found.inside, fold, dev_fraction=0)
        if clip.split == "test"
    )
    assert set(tested.values()) == {1}
    assert tested.keys() == {clip.id for clip in clips} - apart.keys()
    learned = splits_of(learn_all(found, fraction))
    assert learned.keys() == {clip.id for clip in clips}
    assert {id_: split for id_, split in learned.items() if split not in ("train", "dev")} == apart
    own_dev = {clip.id for clip in clips if clip.split == "dev"}
    drawn_dev = {id_ for id_, split in learned.items() if split == "dev"}
    assert drawn_dev == (set() if fraction == 0 else own_dev or drawn_dev)
    assert bool(drawn_dev) is (fraction != 0)
