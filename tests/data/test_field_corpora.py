"""Corpora of the field, each on a small made-up copy of its layout on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lightning_aqa.data.bvcc import BVCC
from lightning_aqa.data.nisqa_corpus import NISQACorpus
from lightning_aqa.data.pam import PAM
from lightning_aqa.data.singmos import SingMOS
from lightning_aqa.data.somos import SOMOS
from lightning_aqa.data.songeval import SongEval
from lightning_aqa.data.urgent import URGENT
from lightning_aqa.data.validation import CorpusError

NISQA_HEADER = (
    "db,con,file,con_description,filename_deg,filename_ref,source,lang,votes,mos,noi,col,dis,loud,noi_std,col_std,"
    "dis_std,loud_std,mos_std,filepath_deg,filepath_ref"
)
SONG = ("Coherence", "Musicality", "Memorability", "Clarity", "Naturalness")
SE = dict.fromkeys(SONG, 4.0)


def audio(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(8000) / 9), 16000)


def text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def bvcc(root):
    data = root / "main" / "DATA"
    who = "{{}}_30-39_{}_Female_Valid_1_No"
    for split, name in (("TRAIN", "sysa-utt1"), ("DEV", "sysb-utt2"), ("TEST", "sysa-utt3")):
        rows = [
            f"{name[:4]},{name}.wav,{score},VDP_1,{who.format(listener)}" for listener, score in (("L1", 4), ("L2", 5))
        ]
        text(data / "sets" / f"{split}SET", *rows)
        audio(data / "wav" / f"{name}.wav")
    text(data / "sets" / "train_mos_list.txt", "sysa-utt1.wav,4.5")
    return BVCC(str(root))


def somos(root):
    for split, file, name in (
        ("train", "TRAIN", "novel_2007_0098_015"),
        ("valid", "VALID", "wiki_1_000"),
        ("test", "TEST", "news_9_200"),
    ):
        for subset, ratings in (("clean", (4, 5)), ("full", (4, 5, 1))):
            lists = root / "training_files" / "split1" / subset
            rows = [f"{name[-3:]},{name}.wav,{score},KEXM{i}" for i, score in enumerate(ratings)]
            text(lists / f"{file}SET", "systemId,utteranceId,choice,listenerId", *rows)
            text(lists / f"{split}_mos_list.txt", "utteranceId,mean", f"{name}.wav,{sum(ratings) / len(ratings)}")
        audio(root / "audios" / f"{name}.wav")
    return SOMOS(str(root))


def singmos(root):
    for phase, lists in (("train", ("train", "val")), ("eval", ("eval",))):
        data = root / f"voicemos2024-track2-{phase}-phase" / "DATA"
        for number, name in enumerate(lists):
            clip = f"voicemos2024-track2-sys000{number}-utt000{len(name)}"
            text(data / "sets" / f"{name}_mos_list.txt", f"{clip},4.000000")
            audio(data / "wav" / f"{clip}.wav")
    return SingMOS(str(root))


def nisqa(root):
    rows = []
    for db, noi in (
        ("NISQA_TRAIN_SIM", "3.0"),
        ("NISQA_VAL_LIVE", "3.0"),
        ("NISQA_TEST_P501", ""),
        ("NISQA_TEST_FOR", "2"),
    ):
        path = f"{db}/deg/c00001_x.wav"
        rows.append(f"{db},1,1,d,c00001_x.wav,,s,en,5,3.5,{noi},2,3,4,.1,.1,.1,.1,.1,{path},")
        audio(root / "NISQA_Corpus" / path)
    text(root / "NISQA_Corpus" / "NISQA_corpus_file.csv", NISQA_HEADER, *rows)
    return NISQACorpus(str(root))


def songeval(root):
    songs = [{"file_name": f"mp3/{n}.wav", "annotation": [SE, {**SE, "Clarity": 2.0}]} for n in (1, 2)]
    text(root / "metadata.jsonl", *map(json.dumps, [*songs, {"file_name": "3.wav", "annotation": []}]))
    text(root / "val_ids.txt", "2")
    for n in (1, 2, 3):
        audio(root / "mp3" / f"{n}.wav")
    return SongEval(str(root))


def pam(root):
    for task, model in (("audio", "audiogen_m"), ("music", "real")):
        text(root / "human_eval" / task / "scores.csv", "Model,File Name,Text,OVL,REL", f"{model},g_1,a dog,4.4,3")
        audio(root / "human_eval" / task / model / "g_1.wav")
    return PAM(str(root))


def urgent(root):
    names = ["P426-fileid_184", "noisy-fileid_184"]
    rows = [f'wavs/{name}.wav,{name},{name},16000,2.5,"[2, 3]"' for name in names]
    text(root / "metadata.csv", "wav_path,system_id,sample_id,sampling_rate,score,raw_ratings", *rows)
    for name in names:
        audio(root / "wavs" / f"{name}.wav")
    return URGENT(str(root))


MAKERS = [bvcc, somos, singmos, nisqa, songeval, pam, urgent]


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def corpus(request, tmp_path):
    return request.param(tmp_path)


def test_a_corpus_is_read_whole_and_its_audio_is_where_it_says(corpus):
    manifest = corpus.manifest
    assert manifest.problems == ()
    corpus.prepare(16000)
    corpus.check_clips(manifest)
    assert corpus.skipped == []
    assert all(clip.source in corpus.where_to_get for clip in manifest)


def test_an_empty_folder_says_what_was_looked_for_and_where_it_is_to_be_had(corpus, tmp_path):
    corpus.root = str(tmp_path / "nothing")
    with pytest.raises(
        CorpusError, match=r"nothing holds no \w+: looked for .* the folder does not exist.*docs/corpora.md"
    ):
        corpus.read()


def test_a_missing_file_says_where_it_is_to_be_had(corpus):
    clip = corpus.manifest[0]
    Path(clip.path).unlink()
    corpus.prepare(16000)
    with pytest.raises(CorpusError, match=f"1 of {clip.source}. Get "):
        corpus.check_clips(corpus.manifest)


def described(data):
    return {clip.id: (clip.split, clip.system, clip.domain) for clip in data.manifest}


def test_bvcc(tmp_path):
    data = bvcc(tmp_path)
    assert described(data) == {
        "sysa-utt1": ("train", "sysa", "speech"),
        "sysb-utt2": ("dev", "sysb", "speech"),
        "sysa-utt3": ("test", "sysa", "speech"),
    }
    assert data.manifest[0].ratings == {"L1": {"mos": 4.0}, "L2": {"mos": 5.0}}
    assert [clip.scores for clip in data.manifest] == [{"mos": 4.5}] * 3  # two without a list of means


def test_somos(tmp_path):
    data = somos(tmp_path)
    assert described(data) == {
        "novel_2007_0098_015": ("train", "015", "speech"),
        "wiki_1_000": ("dev", "000", "speech"),
        "news_9_200": ("test", "200", "speech"),
    }
    assert data.manifest[0].scores == {"mos": 4.5}
    full = SOMOS(str(tmp_path), subset="full").manifest[0]
    assert full.scores["mos"] == pytest.approx(10 / 3)
    assert full.ratings["KEXM2"] == {"mos": 1.0}


def test_singmos_joins_both_phases(tmp_path):
    found = described(singmos(tmp_path))
    assert sorted(split for split, _, _ in found.values()) == ["dev", "test", "train"]
    assert found["voicemos2024-track2-sys0001-utt0003"] == ("dev", "sys0001", "singing")


def test_nisqa_is_told_by_listening_test(tmp_path):
    data = nisqa(tmp_path)
    assert described(data)["NISQA_TEST_P501/deg/c00001_x"] == ("test", "NISQA_TEST_P501-1", "NISQA_TEST_P501")
    assert [clip.split for clip in data.manifest] == ["train", "dev", "test", "test"]
    assert data.manifest[0].scores == {"mos": 3.5, "noi": 3.0, "dis": 3.0, "col": 2.0, "loud": 4.0}
    assert "noi" not in data.manifest[2].scores


def test_songeval_keeps_every_musician_and_the_split_of_the_challenge(tmp_path, caplog):
    data = songeval(tmp_path)
    assert [clip.split for clip in data.manifest] == ["train", "dev", "train"]
    assert data.manifest[0].scores["Clarity"] == 3.0
    assert data.manifest[0].ratings["2"]["Clarity"] == 2.0
    assert not data.manifest[2].is_rated()
    (tmp_path / "val_ids.txt").unlink()
    assert len(SongEval(str(tmp_path)).manifest) == 3
    assert "SongEval: no val_ids.txt" in caplog.text
    assert "Splits are made: train 0.8, dev 0.1, test 0.1." in caplog.text


def test_pam(tmp_path):
    data = pam(tmp_path)
    assert described(data) == {
        "audio/audiogen_m/g_1": ("test", "audio/audiogen_m", "sound"),
        "music/real/g_1": ("test", "music/real", "music"),
    }
    assert data.manifest[0].scores == {"OVL": 4.4, "REL": 3.0}
    assert data.manifest[0].prompt == "a dog"


def test_urgent_from_its_list_and_from_its_shards(tmp_path):
    listed = urgent(tmp_path / "list")
    assert described(listed) == {
        "P426-fileid_184": ("test", "P426", "speech"),
        "noisy-fileid_184": ("test", "noisy", "speech"),
    }
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    content = {"bytes": (tmp_path / "list/wavs/noisy-fileid_184.wav").read_bytes(), "path": None}
    names = [clip.id for clip in listed.manifest]
    columns = {
        "id": names,
        "audio": [content] * 2,
        "sampling_rate": [16000] * 2,
        "mos": [2.5] * 2,
        "raw_ratings": [[2, 3]] * 2,
    }
    (tmp_path / "hub/data").mkdir(parents=True)
    parquet.write_table(pa.table(columns), tmp_path / "hub/data/test-00000-of-00001.parquet")
    shards = URGENT(str(tmp_path / "hub"))
    assert described(shards) == described(listed)
    assert [clip.ratings for clip in shards.manifest] == [clip.ratings for clip in listed.manifest]
    shards.prepare(16000)
    shards.check_clips(shards.manifest)


def test_rows_that_say_two_things_are_told(tmp_path):
    data = bvcc(tmp_path)
    path = tmp_path / "main/DATA/sets/TRAINSET"
    path.write_text(path.read_text() * 2 + "sysa,sysa-utt1.wav,9,x,{}_20_L3_Male_Valid_1_No\n")
    kinds = [problem.kind for problem in data.manifest.problems]
    assert kinds == ["duplicate rating", "duplicate rating", "score out of scale"]
    assert data.manifest[0].ratings.keys() == {"L1", "L2"}
