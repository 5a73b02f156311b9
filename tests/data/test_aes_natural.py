import json
import logging
from collections import Counter
from pathlib import Path

import pytest

from lightning_aqa.data.aes_natural import AXES, COLUMNS, AESNatural, read_aes_natural
from lightning_aqa.data.validation import CorpusError

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "ratings"

SONG = "/your_path/MUSDB18/train/Jokers, Jacks & Kings - Sea Of Leaves/bass.wav"
SONG_ID = "audiomos2025-track2-music-MUSDB18_train_Jokers,_Jacks_&_Kings_-_Sea_Of_Leaves_bass"
VOICE = "/your_path/cv-corpus-13.0-2023-03-09/en/clips/common_voice_en_1.mp3"
VOICE_ID = "audiomos2025-track2-speech-cv-corpus-13.0-2023-03-09_en_clips_common_voice_en_1.mp3"
NOISE = "/your_path/unbalanced_train_segments/audio/-6FL_30000_40000.flac"
NOISE_ID = "audiomos2025-track2-audio-unbalanced_train_segments_audio_-6FL_30000_40000"
HEADER = "sample_id,data_path," + ",".join(COLUMNS.values())


def rated(data_path, *columns):
    return json.dumps({"data_path": data_path, **dict(zip(COLUMNS.values(), columns, strict=True))})


def write_natural(root):
    train = [f'"{SONG_ID}","{SONG}",7.0,4.0,6.5,0.0', f"{VOICE_ID},{VOICE},1.0,2.0,3.0,4.0"]
    (root / "audiomos2025-track2-train_list.csv").write_text("\n".join([HEADER, *train]))
    (root / "audiomos2025-track2-dev_list.csv").write_text(f"{HEADER}\n{NOISE_ID},{NOISE},5,5,5,5\n")
    (root / "AES_natural_music.jsonl").write_text(rated(SONG, [6, 8], [4, 4], [6, 7], [0.0, 0.0]))
    (root / "AES_natural_speech.jsonl").write_text(rated(VOICE, [1, 1], [2, 2], [2, 4], [4, 4]) + "\n")
    (root / "AES_natural_sound.jsonl").write_text(rated(NOISE, [5, 5], [5, 5], [4, 6], [5, 5]) + "\n")


def write_evaluation(root):
    lines = [rated(f"audiomos2025-track2-sysA{n}-utt{n}", [1, 2], [3, 3], [4, 4], [0, 10]) for n in range(2)]
    (root / "audiomos2025_track2_human_annotations.jsonl").write_text("\n".join(lines))


def write_pam(root):
    lines = [
        rated("/your_path/PAM/human_eval/audio/real/a.wav", [1], [1], [1], [1]),
        rated("/your_path/PAM/human_eval/music/real/a.wav", [1], [1], [1], [1]),
    ]
    (root / "AES_PAM.jsonl").write_text("\n".join(lines))


def test_columns_are_spelt_as_released():
    assert list(COLUMNS.values()) == [
        "Production_Quality", "Production_Complexity", "Content_Enjoyment", "Content_Usefulness"
    ]  # fmt: skip


def test_lists_and_ratings_are_joined(tmp_path):
    write_natural(tmp_path)
    manifest = read_aes_natural(tmp_path)
    assert manifest.problems == ()
    song, voice, noise = manifest
    assert (song.id, song.split, song.system, song.domain, song.source) == (
        SONG_ID, "train", "MUSDB18", "music", "MUSDB18"
    )  # fmt: skip
    assert song.scores == {"PQ": 7.0, "PC": 4.0, "CE": 6.5, "CU": 0.0}
    assert song.ratings["2"] == {"PQ": 8.0, "PC": 4.0, "CE": 7.0, "CU": 0.0}
    assert (voice.system, voice.domain) == ("CommonVoice", "speech")
    assert (noise.split, noise.system, noise.domain) == ("dev", "AudioSet", "sound")


def test_paths_start_at_the_folder_of_their_corpus(tmp_path):
    write_natural(tmp_path)
    roots = {"MUSDB18": str(tmp_path / "musdb"), "CommonVoice": str(tmp_path / "cv")}
    (tmp_path / "musdb").mkdir()
    (tmp_path / "cv/cv-corpus-13.0-2023-03-09").mkdir(parents=True)
    song, voice, noise = read_aes_natural(tmp_path, roots)
    assert song.path == str(tmp_path / "musdb/train/Jokers, Jacks & Kings - Sea Of Leaves/bass.wav")
    assert voice.path == str(tmp_path / "cv/cv-corpus-13.0-2023-03-09/en/clips/common_voice_en_1.mp3")
    assert noise.path == str(tmp_path / "audio/AudioSet/audio/-6FL_30000_40000.flac")


def test_paths_that_a_user_has_filled_in_are_believed_and_still_joined(tmp_path):
    write_natural(tmp_path)
    path = tmp_path / "audiomos2025-track2-train_list.csv"
    path.write_text(path.read_text().replace("/your_path/", "/corpora/"))
    manifest = read_aes_natural(tmp_path)
    assert manifest[0].path == SONG.replace("/your_path/", "/corpora/")
    assert len(manifest[0].ratings) == 2


def test_ratings_without_the_lists_are_all_train_under_the_same_ids(tmp_path):
    write_natural(tmp_path)
    for path in tmp_path.glob("*.csv"):
        path.unlink()
    manifest = read_aes_natural(tmp_path)
    assert {clip.id for clip in manifest} == {SONG_ID, VOICE_ID, NOISE_ID}
    assert manifest.splits == ["train"]
    assert {clip.id: clip.scores["CE"] for clip in manifest}[SONG_ID] == 6.5


def test_the_evaluation_set_is_test_and_its_domain_is_the_users(tmp_path):
    write_evaluation(tmp_path)
    first, second = read_aes_natural(tmp_path, system_domains={"sysA1": "speech"})
    assert (first.id, first.system, first.split, first.domain) == (
        "audiomos2025-track2-sysA0-utt0",
        "sysA0",
        "test",
        "",
    )
    assert first.scores == {"PQ": 1.5, "PC": 3.0, "CE": 4.0, "CU": 5.0}
    assert first.path == str(tmp_path / "audio/AudioMOS/audiomos2025-track2-sysA0-utt0.wav")
    assert second.domain == "speech"


def test_the_evaluation_audio_is_found_where_the_challenge_put_it(tmp_path):
    write_evaluation(tmp_path)
    folder = tmp_path / "audiomos2025-track2-eval-phase/DATA/wav"
    folder.mkdir(parents=True)
    name = "audiomos2025-track2-sysA0-utt0.wav"
    assert read_aes_natural(tmp_path)[0].path == str(folder / name)
    named = read_aes_natural(tmp_path, {"AudioMOS": str(tmp_path / "audiomos2025-track2-eval-phase")})
    assert named[0].path == str(folder / name)


def test_the_evaluation_list_without_annotations_is_unlabelled(tmp_path):
    sets = tmp_path / "audiomos2025-track2-eval-phase/DATA/sets"
    sets.mkdir(parents=True)
    (sets / "eval_list.txt").write_text("audiomos2025-track2-sysA0-utt0\naudiomos2025-track2-sysA0-utt1.wav")
    manifest = read_aes_natural(tmp_path)
    assert [(clip.id[-4:], clip.split, clip.scores) for clip in manifest] == [
        ("utt0", "eval", {}),
        ("utt1", "eval", {}),
    ]


def test_domains_of_systems_can_be_a_csv(tmp_path):
    write_evaluation(tmp_path)
    path = tmp_path / "system_domains.csv"
    path.write_text("system,domain\nsysA0,music\n")
    assert read_aes_natural(tmp_path, system_domains=path)[0].domain == "music"
    assert read_aes_natural(tmp_path)[0].domain == "music"
    path.write_text("system,kind\nsysA0,music\n")
    with pytest.raises(CorpusError, match="no column 'domain'; it has system, kind"):
        read_aes_natural(tmp_path, system_domains=path)


def test_pam_systems_are_told_apart_by_kind(tmp_path):
    write_pam(tmp_path)
    manifest = read_aes_natural(tmp_path)
    assert [(c.split, c.system, c.domain, c.source) for c in manifest] == [
        ("pam", "audio/real", "sound", "PAM"),
        ("pam", "music/real", "music", "PAM"),
    ]
    assert len({clip.id for clip in manifest}) == 2


def test_include_picks_the_parts(tmp_path):
    write_natural(tmp_path)
    write_evaluation(tmp_path)
    write_pam(tmp_path)
    assert read_aes_natural(tmp_path).splits == ["train", "dev", "test", "pam"]
    assert read_aes_natural(tmp_path, include=["natural"]).splits == ["train", "dev"]
    assert read_aes_natural(tmp_path, include=["pam", "evaluation"]).splits == ["pam", "test"]


def test_a_mean_that_is_not_its_ratings_mean_is_reported(tmp_path):
    write_natural(tmp_path)
    path = tmp_path / "AES_natural_music.jsonl"
    path.write_text(rated(SONG, [6, 9], [4, 4], [6, 7], [0, 0]))
    (problem,) = read_aes_natural(tmp_path).problems
    assert (problem.kind, problem.where) == (
        "mean differs from ratings", f"{tmp_path / 'audiomos2025-track2-train_list.csv'}:2"
    )  # fmt: skip
    assert problem.what == f"PQ is 7, the mean of its ratings at {path}:1 is 7.5"


def test_bad_ratings_are_reported_with_their_line_and_left_out(tmp_path):
    path = tmp_path / "AES_PAM.jsonl"
    good = "/your_path/PAM/human_eval/audio/real/a.wav"
    path.write_text("\n".join([
        rated(good, [1, "x", 11, None], [1], [1], [1]), rated("/elsewhere/a.wav", [1], [1], [1], [1]), "{",
        rated(good, [1], [1], [1], [1]),
    ]))  # fmt: skip
    manifest = read_aes_natural(tmp_path)
    assert sorted((p.kind, p.where.rsplit(":", 1)[1]) for p in manifest.problems) == [
        ("bad row", "3"), ("bad score", "1"), ("bad score", "1"), ("duplicate id", "4"),
        ("score out of scale", "1"), ("unknown source", "2"),
    ]  # fmt: skip
    assert manifest[0].scores["PQ"] == 1.0


def test_listed_clips_without_ratings_are_counted_in_the_log(tmp_path, caplog):
    write_natural(tmp_path)
    (tmp_path / "AES_natural_sound.jsonl").unlink()
    with caplog.at_level(logging.WARNING):
        assert read_aes_natural(tmp_path).problems == ()
    assert "1 listed clips have no ratings" in caplog.text


def test_an_unknown_corpus_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"roots names 'libritts', .* Did you mean 'LibriTTS'\?"):
        AESNatural(root=str(tmp_path), roots={"libritts": str(tmp_path)})


def test_a_root_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"roots.EARS is .*nowhere: the folder does not exist"):
        read_aes_natural(tmp_path, {"EARS": str(tmp_path / "nowhere")})


def test_no_list_says_what_was_looked_for(tmp_path):
    (tmp_path / "README.md").touch()
    with pytest.raises(CorpusError, match=r"looked for audiomos2025-track2-train_list.csv.* it holds README.md"):
        read_aes_natural(tmp_path)
    write_natural(tmp_path)
    with pytest.raises(CorpusError, match=r"no list of pam: looked for AES_PAM.jsonl"):
        read_aes_natural(tmp_path, include=["natural", "pam"])


def test_a_list_without_a_column_names_it(tmp_path):
    write_natural(tmp_path)
    path = tmp_path / "audiomos2025-track2-dev_list.csv"
    path.write_text(path.read_text().replace("Content_Enjoyment", "Content_Enjoymnt"))
    with pytest.raises(CorpusError, match=r"no column 'Content_Enjoyment'.* Did you mean 'Content_Enjoymnt'"):
        read_aes_natural(tmp_path)


def test_the_datamodule_reads_the_same_manifest(tmp_path):
    write_natural(tmp_path)
    data = AESNatural(root=str(tmp_path), include=["natural"])
    data.setup()
    assert list(data.manifest) == list(read_aes_natural(tmp_path))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/ratings")
def test_the_released_lists_parse_with_every_mean_equal():
    manifest = read_aes_natural(REAL)
    assert manifest.problems == ()
    assert Counter(clip.split for clip in manifest) == {"train": 2700, "dev": 250, "test": 3060, "pam": 1000}
    assert all(len(clip.ratings) == 10 and set(clip.scores) == {a.name for a in AXES} for clip in manifest)
    assert Counter(Counter(clip.system for clip in manifest.split("test")).values()) == {85: 36}
    assert Counter(clip.domain for clip in manifest.split("train")) == {"speech": 900, "music": 900, "sound": 900}


def test_json_lines_that_lack_a_column_are_noted(tmp_path):
    whole = {"data_path": "/your_path/PAM/human_eval/audio/m/1.wav", **dict.fromkeys(COLUMNS.values(), 5.0)}
    lines = [whole, {name: value for name, value in whole.items() if name != "data_path"}]
    (tmp_path / "AES_PAM.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = read_aes_natural(tmp_path)
    assert len(manifest) == 1
    assert [(p.kind, p.where, p.what) for p in manifest.problems] == [
        ("bad row", f"{tmp_path / 'AES_PAM.jsonl'}:2", "no data_path")
    ]
    (tmp_path / "AES_PAM.jsonl").write_text("[" * 100_000)
    with pytest.raises(CorpusError, match=r"AES_PAM\.jsonl: not JSON that can be read"):
        read_aes_natural(tmp_path)
