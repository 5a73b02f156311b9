"""Read files of torch.save, zip and legacy, of any pickle protocol: tensors and plain values, checked byte by byte."""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_aqa.utils.plain_values import StandIn
from lightning_aqa.utils.unpickling import unpickle

MAGIC = 0x1950A86A20F9469CFC6C
"""First value of a legacy file."""
LARGEST_EXPANSION = 2**24
"""Most elements of a tensor that repeats the elements of its storage."""
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
NO_WEIGHTS = {
    b"version https://git-lfs": "it is the pointer that git-lfs leaves for a file; fetch the file by `git lfs pull`",
    b"<!DOCTYPE": "it is a web page; take the link that downloads the file",
    b"<html": "it is a web page; take the link that downloads the file",
}


class _Storage(NamedTuple):
    """Bytes of tensors, and the type that their storage has."""

    raw: Tensor
    dtype: torch.dtype


def read_torch_file(path: str | Path) -> Any:
    """Read what ``torch.save`` wrote; tensors that nobody copies take no memory.

    Classes that are not known become inert stand-ins, and nothing that the file names is imported or called.

    Raises:
        RefusedNameError: If the file names something of Python, torch or numpy that is no data.
        ValueError: If the file is damaged, or is no such file.
    """
    check_kind(path)
    try:
        return _read(path)
    except (LookupError, TypeError, AttributeError, OverflowError, RuntimeError, MemoryError, struct.error) as error:
        raise ValueError(f"it is damaged ({type(error).__name__})") from error


def _read(path: str | Path) -> Any:
    with Path(path).open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        if zipfile.is_zipfile(file):
            return _read_zip(content, _records(file, content))
    if content[:2] == b"PK":
        raise ValueError("it is cut: the list at the end of the archive is missing")
    if content[257:262] == b"ustar":
        raise ValueError("it has the tar layout of PyTorch 0.1; load it there, and save it anew")
    return _read_legacy(content)


def check_whole(path: str | Path) -> None:
    """Compare the bytes of a zip file with the checksums that it holds; other files hold none.

    Raises:
        ValueError: If they differ.
    """
    check_kind(path)
    with Path(path).open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if zipfile.is_zipfile(file):
            _records(file, content)


def check_kind(path: str | Path) -> None:
    """Refuse what is found in the place of weights and holds none."""
    with Path(path).open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        raise ValueError("it is empty")
    for opening, reason in NO_WEIGHTS.items():
        if start.lower().startswith(opening.lower()):
            raise ValueError(reason)


def _records(file: Any, content: mmap.mmap) -> dict[str, memoryview]:
    """Return the files of an archive by name, without their folder, each compared with its checksum."""
    view, found = memoryview(content), {}
    try:
        entries = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise ValueError(f"it is damaged ({error})") from error
    for entry in entries:
        name = entry.filename.partition("/")[2]
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise ValueError("its files are compressed or encrypted, and torch.save does neither")
        header = content[entry.header_offset : entry.header_offset + 30]
        if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
            raise ValueError(f"it is damaged: {name} is not where the archive says")
        start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        data = view[start : start + entry.file_size]
        if len(data) != entry.file_size or (entry.CRC and zlib.crc32(data) != entry.CRC):
            raise ValueError(f"it is damaged: the bytes of {name} do not match their checksum")
        found[name] = data
    return found


def _read_zip(content: mmap.mmap, records: dict[str, memoryview]) -> Any:
    if "data.pkl" not in records or "constants.pkl" in records:
        raise ValueError("it is an archive of something else than torch.save's tensors, such as TorchScript")
    if bytes(records.get("byteorder", b"little")) != b"little":
        raise ValueError("its bytes are in big-endian order; save it on a machine of the usual order")
    storages: dict[str, Tensor] = {}

    def load(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if key not in storages:
            storages[key] = _as_tensor(records[f"data/{key}"])
        if len(storages[key]) < count * dtype.itemsize:
            raise ValueError("a storage is longer than its bytes")
        return storages[key]

    return unpickle(bytes(records["data.pkl"]), BUILDERS, _storages(load))


def _read_legacy(content: mmap.mmap) -> Any:
    """Read the main pickle twice: for the types of its storages, and with their bytes, which come after it."""
    magic = unpickle(content, {}, _no_storage)
    if type(magic) is not int or magic != MAGIC:
        raise ValueError("it is not of torch.save")
    for _ in ("protocol", "machine"):
        unpickle(content, {}, _no_storage)
    start, sizes = content.tell(), {}

    def note(key: str, dtype: torch.dtype, count: int) -> Tensor:
        sizes[key] = dtype.itemsize
        return torch.empty(0, dtype=torch.uint8)

    unpickle(content, dict.fromkeys(BUILDERS, _nothing), _storages(note))
    keys = unpickle(content, {}, _no_storage)
    view, place, storages = memoryview(content), content.tell(), {}
    for key in keys:
        (count,) = struct.unpack("<q", view[place : place + 8])
        stop = place + 8 + count * sizes[key]
        if count < 0 or stop > len(view):
            raise ValueError("it is cut")
        storages[key], place = _as_tensor(view[place + 8 : stop]), stop
    content.seek(start)
    return unpickle(content, BUILDERS, _storages(lambda key, dtype, count: storages[key]))


def _no_storage(identity: Any) -> Any:
    raise ValueError("a storage where none can be")


def _nothing(*args: Any) -> None:
    return None


def _as_tensor(data: memoryview) -> Tensor:
    return torch.frombuffer(data, dtype=torch.uint8) if len(data) else torch.empty(0, dtype=torch.uint8)


def _storages(load: Callable[[str, torch.dtype, int], Tensor]) -> Callable[[Any], Any]:
    """Return what finds the storage of a persistent id: its key, type and number of elements."""

    def find(identity: Any) -> Any:
        if identity[0] == "module":  # a class of a legacy file, with its source
            return identity[1]
        word, kind, key, _, count, *rest = identity
        name = kind.name if isinstance(kind, StandIn) else str(kind)
        if word != "storage" or not isinstance(key, str) or not isinstance(count, int) or any(rest):
            raise ValueError("a storage of an unknown kind")
        if name.rsplit(".", 1)[-1] not in STORAGES:
            raise ValueError(f"{name} is not read; save tensors that are not quantised")
        dtype = STORAGES[name.rsplit(".", 1)[-1]]
        return _Storage(load(key, dtype, count), dtype)

    return find


def _tensor(storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], *rest: Any) -> Tensor:
    """Build a tensor on a storage, as ``torch._utils._rebuild_tensor_v2`` does."""
    return _build(storage, storage.dtype, offset, size, stride, rest[2:])


def _typed_tensor(
    storage: _Storage,
    offset: int,
    size: Sequence[int],
    stride: Sequence[int],
    grad: bool,
    hooks: Any,
    dtype: Any,
    *rest: Any,
) -> Tensor:
    """Build a tensor of a type that its storage does not say, as ``torch._utils._rebuild_tensor_v3`` does."""
    return _build(storage, _dtype_of(dtype), offset, size, stride, rest)


def _build(
    storage: _Storage, dtype: torch.dtype, offset: int, size: Sequence[int], stride: Sequence[int], metadata: Any
) -> Tensor:
    """Build a tensor, once it is seen to lie within its storage."""
    raw = storage.raw
    available, steps = len(raw) // dtype.itemsize, list(zip(size, stride, strict=True))
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)) or len(steps) > 64 or any(metadata):
        raise ValueError("a tensor of an unknown layout")
    count = 1
    for length in size:
        count *= length
    last = offset + sum((length - 1) * step for length, step in steps)
    if count > max(available, LARGEST_EXPANSION) or (count and last >= available) or offset > available:
        raise ValueError("a tensor that reaches beyond its storage")
    flat = raw[: available * dtype.itemsize]
    if flat.data_ptr() % dtype.itemsize:
        flat = flat.clone()
    return flat.view(dtype).as_strided(tuple(size), tuple(stride), offset)


def _dtype_of(given: Any) -> torch.dtype:
    found = getattr(torch, given.name.rsplit(".", 1)[-1], None) if isinstance(given, StandIn) else None
    if not isinstance(found, torch.dtype):
        raise ValueError("a tensor of an unknown type")
    return found


def _parameter(data: Any, *rest: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("a parameter that is no tensor")
    return data


def _from_array(array: Any, *rest: Any) -> Tensor:
    return torch.from_numpy(array)


def _size(sizes: Sequence[int] = ()) -> tuple[int, ...]:
    return tuple(sizes)


DTYPES = sorted(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))
"""The names of the types that tensors have."""

BUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_device_tensor_from_numpy": _from_array,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _parameter,
    "torch._tensor._rebuild_from_type_v2": StandIn,
    "torch.Size": _size,
    "torch.torch_version.TorchVersion": str,
    **{f"torch.{name}": StandIn for name in DTYPES},
    **{f"torch{home}.{name}": StandIn for name in [*STORAGES, "TypedStorage"] for home in ("", ".cuda", ".storage")},
}
"""What is built of the names that torch writes; all of them are safe for any arguments."""
