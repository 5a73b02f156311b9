"""Hashes of audio are remembered only as long as they must be right; an encoder's hash knows all that shapes it."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

import lightning_aqa.data.cache.content_index
from lightning_aqa.batch import Features
from lightning_aqa.data.cache.content_index import ContentIndex, hash_file
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.fingerprint import fingerprint


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"first")
    return tmp_path / "a.wav"


@pytest.fixture
def looks(monkeypatch):
    """The files that were read to hash them; all files count as settled."""
    read = []

    def look(path):
        read.append(Path(path).name)
        return hash_file(path)

    monkeypatch.setattr(lightning_aqa.data.cache.content_index, "hash_file", look)
    monkeypatch.setattr(lightning_aqa.data.cache.content_index, "SETTLED_NS", 0)
    return read


def _digest(file, index):
    contents = ContentIndex(index)
    found = contents.digest(str(file))
    contents.save()
    return found


def test_the_hash_of_a_file_is_sha_256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert hash_file(tmp_path / "abc").startswith("ba7816bf8f01cfea")


def test_a_file_is_read_once_and_never_again(file, looks, tmp_path):
    found = {_digest(file, tmp_path / "index.json") for _ in range(3)}
    assert found == {hash_file(file)}
    assert looks == ["a.wav"]


def test_other_content_of_the_same_size_and_date_is_noticed(file, looks, tmp_path):
    stat = file.stat()
    before = _digest(file, tmp_path / "index.json")
    file.write_bytes(b"other")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_mtime_ns == stat.st_mtime_ns
    assert _digest(file, tmp_path / "index.json") == hash_file(file) != before


def test_a_file_that_has_just_changed_is_not_remembered(file, looks, tmp_path, monkeypatch):
    monkeypatch.setattr(lightning_aqa.data.cache.content_index, "SETTLED_NS", 3600 * 10**9)
    for _ in range(2):
        _digest(file, tmp_path / "index.json")
    assert looks == ["a.wav", "a.wav"]
    assert not (tmp_path / "index.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"FILE": [1]}', '{"FILE": ["x", 2, 3, "d"]}', "\udcff"])
def test_a_damaged_index_is_written_anew(file, looks, tmp_path, text):
    index = tmp_path / "index.json"
    index.write_bytes(text.replace("FILE", str(file)).encode(errors="surrogateescape"))
    assert _digest(file, index) == hash_file(file)
    assert json.loads(index.read_text())[str(file)][-1] == hash_file(file)


def test_processes_add_to_what_others_have_found(file, looks, tmp_path):
    other = tmp_path / "b.wav"
    other.write_bytes(b"second")
    one, two = ContentIndex(tmp_path / "index.json"), ContentIndex(tmp_path / "index.json")
    one.digest(str(file))
    two.digest(str(other))
    one.save()
    two.save()
    assert json.loads((tmp_path / "index.json").read_text()).keys() == {str(file), str(other)}


def test_a_folder_that_cannot_be_written_to_is_no_reason_to_stop(file, looks, tmp_path):
    (tmp_path / "file").write_text("")
    assert _digest(file, tmp_path / "file" / "index.json") == hash_file(file)


class Layer(nn.Module):
    """A part of an encoder, with a constant that is not saved."""

    def __init__(self, constant):
        super().__init__()
        self.register_buffer("constant", torch.tensor([constant]), persistent=False)


class Small(Encoder):
    """An encoder with such a part."""

    sample_rate, width, num_layers = 8000, 1, 1

    def __init__(self, constant=1.0, dtype=torch.float32):
        super().__init__()
        self.layer = Layer(constant)
        self.weight = nn.Parameter(torch.zeros(4, dtype=dtype))

    def forward(self, waveform, num_samples, prompts=None):
        return Features(waveform[:, None, :, None], waveform == waveform)


def test_buffers_that_are_not_saved_and_dtypes_count():
    half = Small(dtype=torch.float16)
    half.weight.data = torch.zeros(8, dtype=torch.float16)  # the same bytes as four zeros of float32
    keys = [fingerprint(encoder) for encoder in (Small(), Small(2.0), half)]
    assert len(set(keys)) == 3
    assert fingerprint(Small()) == keys[0] == fingerprint(Small().requires_grad_(False).eval())


def test_the_source_of_classes_of_ones_own_counts_and_that_of_the_package_does_not(monkeypatch):
    from lightning_aqa.encoders.melspectrogram import MelSpectrogram

    class Derived(MelSpectrogram):
        pass

    torch.manual_seed(0)
    encoder = Derived(width=8, depth=1)
    before, read_bytes = fingerprint(encoder), Path.read_bytes
    seen = []

    def read(path):
        seen.append(path.stem)
        return read_bytes(path) + b"#" * (path.stem == "test_content_index")

    monkeypatch.setattr(Path, "read_bytes", read)
    assert fingerprint(encoder) != before
    assert seen == ["test_content_index"]


def test_the_version_of_the_features_counts(monkeypatch):
    before = fingerprint(Small())
    monkeypatch.setattr(Small, "features_version", 2)
    assert fingerprint(Small()) != before


def test_a_file_of_the_package_may_move(monkeypatch):
    from lightning_aqa.encoders.descriptors import Descriptors

    before = fingerprint(Descriptors())
    monkeypatch.setattr(Descriptors, "__module__", "lightning_aqa.encoders.elsewhere")
    assert fingerprint(Descriptors()) == before
