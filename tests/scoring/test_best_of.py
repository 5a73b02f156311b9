"""The best clip of each prompt, and pairs to train a generator with."""

import csv
import json

import pytest

from lightning_aqa.batch import Axis
from lightning_aqa.scoring.best_of import rank
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.written import WrittenClip

NAN = float("nan")
AXES = (Axis("MI", "Impression", 1, 5), Axis("PQ", "Quality", 0, 10))


def written(id_, scores, ends=((NAN, NAN), (NAN, NAN)), note=""):
    return WrittenClip(id_, scores, ends, note)


def test_clips_are_ranked_by_the_lower_ends_on_all_scales_alike():
    ends = {"a": ((2.0, 5.0), (NAN, NAN)), "b": ((3.0, 4.0), (NAN, NAN))}
    scores = {name: written(name, (3.5, 5.0), ends[name]) for name in "ab"}
    scores["c"] = written("c", (5.0, 10.0), note="silence")
    best, second, last = rank([Item(name, name) for name in "abcd"], scores, AXES)
    assert [best.item.id, second.item.id, last.item.id] == ["b", "a", "c"]
    assert (best.reward, best.highest) == pytest.approx((((3 - 1) / 4 + 0.5) / 2, ((4 - 1) / 4 + 0.5) / 2))


@pytest.fixture
def lists(clips, tmp_path):
    """Two prompts with three clips each, and a third with one."""
    names = ["a.wav", "b.flac", "c.ogg", "d.mp3", "more/e.wav", "more/f.wav", "g.wav"]
    prompts = ['a "quiet" song, é', "=1+1", 'a "quiet" song, é', "=1+1", "=1+1", 'a "quiet" song, é', "alone"]
    path = tmp_path / "list.jsonl"
    lines = [json.dumps({"path": str(clips / n), "prompt": p}) for n, p in zip(names, prompts, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("output", ["scores.csv", "scores.jsonl"])
def test_the_best_of_each_prompt_and_a_pair_of_it(score, lists, tmp_path, output):
    code, rows, said = score(str(lists), "--best_of=prompt", output=output)
    assert code == 0
    assert "scores.best.csv: the best of 3 prompts" in said.out
    with open(tmp_path / "scores.best.csv", newline="") as file:
        best = {row["group"].lstrip("'"): row for row in csv.DictReader(file)}
    assert set(best) == {'a "quiet" song, é', "=1+1", "alone"}
    mean = {row["path"]: (float(row["MI"]) + float(row["TA"])) / 2 for row in rows}
    prompts = {given["path"]: given["prompt"] for given in map(json.loads, lists.read_text().splitlines())}
    sound = {row["path"] for row in rows if not row["note"]}
    for prompt, row in best.items():
        own = [path for path, of in prompts.items() if of == prompt]
        assert int(row["clips"]) == len(own)
        assert row["path"] == max(set(own) & sound or own, key=mean.__getitem__)
    pairs = [json.loads(line) for line in (tmp_path / "scores.pairs.jsonl").read_text().splitlines()]
    assert {pair["prompt"] for pair in pairs} <= set(best) - {"alone"}
    for pair in pairs:
        assert prompts[pair["chosen"]] == prompts[pair["rejected"]] == pair["prompt"]
        assert mean[pair["chosen"]] > mean[pair["rejected"]]
        assert pair["sure"] in (True, False)
    before = (tmp_path / "scores.best.csv").read_bytes()
    assert score(str(lists), "--best_of=prompt", output=output)[0] == 0
    assert (tmp_path / "scores.best.csv").read_bytes() == before


def test_folders_stand_for_prompts(score, clips, tmp_path):
    assert score(str(clips), "--best_of=folder")[0] == 0
    with open(tmp_path / "scores.best.csv", newline="") as file:
        assert [row["group"] for row in csv.DictReader(file)] == [str(clips), str(clips / "more")]


def test_clips_without_prompts_are_refused_before_anything_is_scored(score, clips, tmp_path):
    code, rows, said = score(str(clips), "--best_of=prompt")
    assert (code, rows) == (2, [])
    assert "--best_of=prompt: no clip has a prompt; give JSON lines with path and prompt" in said.err
    code, rows, said = score(str(clips), "--best_of=folder", "--shard=1/2")
    assert (code, rows) == (2, [])
    assert "--best_of does not go with --shard" in said.err


def test_a_prompt_whose_clips_cannot_be_read_is_told(score, clips, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "x.wav").write_text("no audio")
    said = score(str(clips / "more"), str(bad), "--best_of=folder")[2]
    assert "the best of 1 folders" in said.out
    assert f"no best of {bad}: none of its clips has a score; the column error says why." in said.out
