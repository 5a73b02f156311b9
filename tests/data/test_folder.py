import os

import pytest

from lightning_aqa.data.folder import Folder, read_folder
from lightning_aqa.data.validation import CorpusError, check_audio


@pytest.fixture
def audio(tmp_path):
    for name in ("b.WAV", "a/b.flac", "a/c.mp3", "d.m4a", "notes.txt", "._b.WAV", ".cache/e.wav"):
        path = tmp_path / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "audio"


def test_a_folder_lists_its_audio_under_unique_ids(audio):
    manifest = read_folder(audio)
    assert [clip.id for clip in manifest] == ["a/b.flac", "a/c.mp3", "b.WAV", "d.m4a"]
    assert manifest[0].path == str(audio / "a/b.flac")
    assert (manifest.splits, manifest.axes, manifest.problems) == (["predict"], (), ())


def test_sub_folders_can_be_left_alone(audio):
    assert [clip.id for clip in read_folder(audio, recursive=False)] == ["b.WAV", "d.m4a"]


def test_linked_folders_are_listed_once_and_what_is_no_file_is_not_left_out(audio, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "x.wav").touch()
    targets = {"l": tmp_path / "else", "m": tmp_path / "else", "a/up": audio, "n": audio / "a", "o": audio / ".cache"}
    for name, target in (targets | {"gone.wav": "/nowhere.wav", "self.wav": audio / "self.wav"}).items():
        (audio / name).symlink_to(target)
    names = ["a/b.flac", "a/c.mp3", "b.WAV", "d.m4a", "gone.wav", "l/x.wav", "o/e.wav", "self.wav"]
    assert [clip.id for clip in read_folder(audio)] == names
    problems = {problem.clip_id: problem for problem in check_audio(read_folder(audio), 0.1).problems}
    assert problems["gone.wav"].kind == problems["self.wav"].kind == "missing file"
    assert problems["gone.wav"].what == "a link to nothing (/nowhere.wav)"


def test_a_folder_that_cannot_be_listed_is_a_problem(audio, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (problem,) = read_folder(audio).problems
    assert (problem.where, problem.what) == (str(audio / "a"), "cannot be listed (Permission denied)")


def test_one_file_is_one_clip(audio):
    (clip,) = read_folder(audio / "b.WAV")
    assert (clip.id, clip.path) == ("b.WAV", str(audio / "b.WAV"))


@pytest.mark.parametrize(
    ("name", "text"),
    [("list.csv", "path,start,end,overall\na/b.flac,0,1.5,\na/b.flac,1.5,3,\n"),
     ("list.jsonl", '{"path": "a/b.flac", "end": 1.5}\n{"path": "a/b.flac", "start": 1.5, "end": 3}')],
)  # fmt: skip
def test_a_list_of_parts_is_read_from_its_own_folder(audio, name, text):
    (audio / name).write_text(text)
    manifest = read_folder(audio / name)
    assert manifest.problems == ()
    assert [(c.id, c.path, c.start, c.end, c.split) for c in manifest] == [
        ("a/b.flac#0-1.5", str(audio / "a/b.flac"), 0.0, 1.5, "predict"),
        ("a/b.flac#1.5-3", str(audio / "a/b.flac"), 1.5, 3.0, "predict"),
    ]


def test_a_folder_without_audio_says_what_it_holds(tmp_path):
    (tmp_path / "x.txt").touch()
    with pytest.raises(CorpusError, match=r"no audio found \(.*\.wav.*\); it holds x.txt"):
        read_folder(tmp_path)
    with pytest.raises(CorpusError, match="the folder does not exist"):
        read_folder(tmp_path / "nowhere")


def test_the_datamodule_reads_the_same_manifest(audio):
    data = Folder(root=str(audio))
    data.setup()
    assert list(data.manifest) == list(read_folder(audio))
