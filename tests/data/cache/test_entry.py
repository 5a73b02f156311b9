"""An entry says whether it is whole: no bit of it can turn and no byte of it can go unnoticed."""

import pytest
import torch
from safetensors import safe_open

from lightning_aqa.data.cache.entry import DamagedError, read_entry, write_entry

TENSORS = {
    "layers": torch.tensor([[0.5, -1.25]]),
    "half": torch.tensor([3.0], dtype=torch.float16),
    "frame_mask": torch.tensor([True, False, True]),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ab" / "entry.safetensors"
    write_entry(path, TENSORS, {"clip": "a “clip”", "format": "2"})
    return path


def test_an_entry_comes_back_bit_for_bit(path):
    tensors, about = read_entry(path)
    assert about == {"clip": "a “clip”", "format": "2"}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[k], v) and tensors[k].dtype == v.dtype for k, v in TENSORS.items())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_it_is_a_safetensors_file(path):
    with safe_open(path, "pt") as file:
        assert file.metadata()["clip"] == "a “clip”"
        assert torch.equal(file.get_tensor("layers"), TENSORS["layers"])


def test_each_turned_bit_is_found(path):
    data = path.read_bytes()
    for place in range(8 * len(data)):
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(broken)
        with pytest.raises(DamagedError, match="damaged"):
            read_entry(path)
    path.write_bytes(data)
    read_entry(path)


def test_each_missing_end_is_found_and_so_is_what_comes_after_it(path):
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(DamagedError):
            read_entry(path)
    for other in (data + b" ", bytes(len(data)), data[8:], b"[]" + data):
        path.write_bytes(other)
        with pytest.raises(DamagedError):
            read_entry(path)


def test_an_entry_that_is_not_there_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_entry(tmp_path / "none.safetensors")
