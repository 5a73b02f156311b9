"""The made-up corpus as a datamodule; what is written is tested in tests/data/synthesis."""

from collections import Counter

import pytest

from lightning_aqa.data.aes_natural import AESNatural
from lightning_aqa.data.musiceval import MusicEval
from lightning_aqa.data.synthesis.degradations import damage
from lightning_aqa.data.synthesis.recordings import draw_systems, rng_for
from lightning_aqa.data.synthetic import Synthetic

SIZES = {"musiceval": {"num_clips": 30, "num_systems": 4}, "aes_natural": {"num_clips": 48, "num_systems": 3}}
READERS = {"musiceval": MusicEval, "aes_natural": AESNatural}
AXES = {"musiceval": ["MI", "TA"], "aes_natural": ["PQ", "PC", "CE", "CU"]}


def _synthetic(corpora, layout, **settings):
    return Synthetic(root=str(corpora[layout]), layout=layout, seconds=(0.5, 0.9), **{**SIZES[layout], **settings})


@pytest.mark.parametrize("layout", SIZES)
def test_it_is_read_by_the_class_of_the_corpus_it_imitates(corpora, layout):
    data = _synthetic(corpora, layout)
    data.setup()
    assert list(data.manifest) == list(READERS[layout](root=str(corpora[layout])).manifest)
    assert [axis.name for axis in data.axes] == AXES[layout]
    assert {"train", "dev", "test"} <= set(data.rated_splits)
    assert data.manifest.problems == ()


def test_a_corpus_that_is_there_is_not_written_again(corpora):
    files = sorted(corpora["musiceval"].rglob("*.*"))
    before = [path.stat().st_mtime_ns for path in files]
    _synthetic(corpora, "musiceval").setup()
    assert [path.stat().st_mtime_ns for path in files] == before


def test_a_folder_with_another_corpus_is_not_overwritten(corpora):
    with pytest.raises(ValueError, match=str(corpora["musiceval"])):
        _synthetic(corpora, "musiceval", corpus_seed=1).setup()


def test_a_corpus_of_pairs_is_heard_by_the_truth_of_its_clips(tmp_path):
    data = Synthetic(root=str(tmp_path / "pairs"), layout="pairs", num_clips=80, num_systems=8, seconds=(0.5, 0.6))
    clips, pairs = data.manifest, data.manifest.pairs
    assert {clip.id for clip in clips} == {name for pair in pairs for name in (pair.clip_a, pair.clip_b)}
    assert {clip.split for clip in clips} == {"train", "dev", "test"}
    assert len(pairs) == 80 * 3 // 2
    assert {pair.winner for pair in pairs} == {"a", "b", "tie"}
    system = {clip.id: clip.system for clip in clips}
    wins = Counter(system[{"a": pair.clip_a, "b": pair.clip_b}[pair.winner]] for pair in pairs if pair.winner != "tie")
    harm = [damage(made.mix) for made in draw_systems(8, rng_for(0, "systems"))]
    best, worst = (f"S{1 + harm.index(end(harm)):03d}" for end in (min, max))
    assert wins[best] > 2 * wins[worst]
    assert data.is_simulated
