"""Files of torch.save are data: every protocol and layout is read, and nothing that a file names is called."""

import argparse
import collections
import datetime
import functools
import io
import operator
import os
import pathlib
import pickle
import struct
import subprocess
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lightning_aqa.utils.plain_values import StandIn
from lightning_aqa.utils.weights import WeightsError, check_whole, read_weights

LEGACY = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))
ROWS = torch.arange(12.0).reshape(3, 4)


class Odd:
    """Something that only its author's code knows."""

    def __init__(self):
        self.tensor = torch.ones(2)


class Call:
    """What a pickle calls as it is loaded."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def _tensors():
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]
    tensors = {str(kind): torch.ones(3, dtype=kind) for kind in [*kinds, torch.uint16, torch.float8_e4m3fn]}
    views = {"column": ROWS[:, 1], "turned": ROWS.T, "empty": torch.empty(0), "repeated": torch.ones(1).expand(5)}
    return tensors | views | {"scalar": torch.tensor(3), "parameter": torch.nn.Parameter(torch.ones(2))}


BESIDE = {
    "epoch": 15,
    "metrics": {"map": np.float64(0.3), "n": np.int64(3), "yes": np.bool_(True)},
    "arrays": [np.zeros((3, 2)), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3, dtype=">i4")],
    "odd arrays": [np.array([{}, 1], dtype=object), np.array(["a", "bc"]), np.array(["2020-01-01"], dtype="M8[D]")],
    "args": argparse.Namespace(a=1),
    "dicts": [collections.defaultdict(int, {1: 2}), collections.OrderedDict(a=1), collections.Counter("aab")],
    "others": [collections.deque([1]), datetime.datetime(2026, 1, 1), pathlib.Path("x"), {1, 2}, b"abc", 1j, 2**200],
    "torch": [
        torch.float16,
        torch.Size([1]),
        torch.device("cpu"),
        torch.__version__,
        torch.nn.GELU(),
        torch.optim.AdamW,
    ],
    "random": [np.random.default_rng(0), torch.get_rng_state()],
    "odd": Odd(),
    "sparse": torch.eye(3).to_sparse(),
}


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_published_layouts_are_read_with_what_lies_beside_the_tensors(tmp_path, protocol, is_zip):
    path = tmp_path / "x.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about the legacy layout
        torch.save(
            {"state_dict": _tensors(), **BESIDE}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip
        )
    found = read_weights(path)
    for name, tensor in _tensors().items():
        own = found["state_dict"][name]
        assert own.dtype == tensor.dtype
        assert torch.equal(own.to(torch.complex64), tensor.detach().to(torch.complex64)), name
    assert found["epoch"] == 15
    assert found["metrics"] == BESIDE["metrics"]
    assert found["dicts"] == [{1: 2}, {"a": 1}, {"a": 2, "b": 1}]
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(found["arrays"], BESIDE["arrays"], strict=True))
    assert found["others"][3:] == BESIDE["others"][3:]
    assert isinstance(found["odd"], StandIn)
    assert torch.equal(found["odd"].states[0]["tensor"], torch.ones(2))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "call",
    [
        Call(os.system, "touch OWNED"),
        Call(eval, "1"),
        Call(getattr, 1, "real"),
        Call(subprocess.Popen, "x"),
        Call(operator.attrgetter("x"), 1),
        Call(functools.partial(len), 1),
        Call(torch.load, "x"),
        Call(torch.hub.load, "x", "y"),
        Call(torch.storage._load_from_bytes, b"x"),
        Call(np.load, "x"),
    ],
    ids=lambda call: getattr(call.function, "__name__", "made"),
)
def test_what_could_run_code_is_refused_by_its_name(tmp_path, monkeypatch, call, protocol):
    monkeypatch.chdir(tmp_path)
    written = io.BytesIO()
    torch.save({"state_dict": {}, "more": call}, written, pickle_protocol=protocol)
    for content in (written.getvalue(), pickle.dumps(call.__reduce__()[0], protocol)):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(WeightsError, match=r"x\.pt: refused, since it wants [\w.]+\.\w+, which is no data"):
            read_weights(tmp_path / "x.pt")
    assert not (tmp_path / "OWNED").exists()


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"(S'touch OWNED'\nios\nsystem\n.", "wants os.system"),
        (b"(cos\nsystem\nS'x'\no.", "wants os.system"),
        (b"\x80\x04\x8c\x05other\x8c\tos.system\x93.", "wants other.os.system"),
        (b"\x80\x02\x82\x01.", "EXT1 is not read"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.", "bytes8"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.", "bytearray8"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "no tensors by name"),
        (b"\x80\x02}(" + b")" + b"\x85" * 100_000 + b"Nu.", "a tuple as a key"),
        (b"\x80\x02)" + b"2\x86" * 60 + b".", "no tensors by name"),
        (b"I" + b"9" * 100_000 + b"\n.", "4300 digits"),
        (b"\x80\x02.", "damaged"),
    ],
)
def test_hostile_pickles_are_told_and_take_no_memory(tmp_path, pickled, message):
    (tmp_path / "x.pt").write_bytes(LEGACY + pickled + pickle.dumps([], 2))
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (13, (4,), (1,)),
        (0, (3, 4), (4, 3)),
        (0, (2**40,), (0,)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (2**62, (1,), (1,)),
    ],
)
def test_a_tensor_lies_within_its_storage(tmp_path, offset, size, stride):
    class Tensor:
        def __reduce__(self):
            storage = torch.zeros(16, dtype=torch.uint8).untyped_storage()
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, {})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"a": Tensor()}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"a tensor (that reaches beyond its storage|of an unknown layout)"):
        read_weights(tmp_path / "x.pt")


def test_damage_in_the_middle_is_found_by_the_checksums(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"a": torch.zeros(1000)}, path)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    for read in (read_weights, check_whole):
        with pytest.raises(WeightsError, match=r"data/0 do not match their checksum"):
            read(path)
    path.write_bytes(content[:3000])
    with pytest.raises(WeightsError, match=r"it is cut"):
        read_weights(path)


def _written(kind):
    buffer = io.BytesIO()
    content = {"state_dict": {"a": ROWS, "b": ROWS.half()[1:]}, "n": np.float64(1.0), "odd": Odd()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, buffer, pickle_protocol=4, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


FILES = {"zip": _written("zip"), "legacy": _written("legacy")}


@settings(max_examples=300)
@given(kind=st.sampled_from(["zip", "legacy", "safetensors"]), data=st.data())
def test_any_bytes_load_or_are_refused_in_our_words(tmp_path, kind, data):
    path = tmp_path / f"x.{'safetensors' if kind == 'safetensors' else 'pt'}"
    if kind not in FILES:
        save_file({"a": ROWS, "b": ROWS.half()}, path)
        FILES[kind] = path.read_bytes()
    content = bytearray(FILES[kind])
    for _ in range(data.draw(st.integers(0, 4))):
        index = data.draw(st.integers(0, len(content) - 1))
        content[index : index + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    said = ""
    try:
        assert isinstance(read_weights(path), dict)
    except WeightsError as error:
        said = str(error)
    assert not said or (said.startswith(f"{path}: ") and len(said.splitlines()) == 1)
