"""True lengths of audio files: headers are compared with the bytes that are there, and put right where they are not."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from lightning_aqa.data.mpeg import after_tags, mpeg_layout
from lightning_aqa.data.stretches import Layout, Stretch, StretchReader
from lightning_aqa.data.xiph import flac_layout, ogg_layout

UNKNOWN_64 = (0, 2**64 - 1, 2**63 - 1)
W64_RIFF, W64_DATA = b"riff\x2e\x91\xcf\x11", b"data\xf3\xac\xd3\x11"


def layout_of(path: str | Path) -> Layout:
    """Say how a file is to be read.

    Raises:
        OSError: If it cannot be opened, or is no regular file: a pipe or a device has no end.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError("a folder")
    if not stat.S_ISREG(found.st_mode):
        raise OSError("a pipe, socket or device, not a file")
    return _layout(os.fspath(path), found.st_size, found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=1024)
def _layout(path: str, size: int, changed: int, number: int) -> Layout:
    with open(path, "rb") as file:
        first = min(size, after_tags(file, 0))
        if not first:
            return _layout_of(file, path, size)
    with StretchReader(path, Stretch(((first, size),))) as untagged:
        layout = _layout_of(untagged, path, size - first)
    return _shifted(layout, first, size)


def _layout_of(file: BinaryIO | StretchReader, path: str, size: int) -> Layout:
    file.seek(0)
    start = file.read(12) or b""
    for signs, read in _READERS:
        if start.startswith(signs):
            return read(file, size) or Layout()  # type: ignore[arg-type]  # what is called of it both have
    if start[:1] == b"\xff":
        return mpeg_layout(file, size) or Layout()  # type: ignore[arg-type]
    if Path(path).suffix.lower() in {".mp3", ".mp2"}:  # without its name, a decoder believes its content
        return mpeg_layout(file, size) or Layout((Stretch(((0, size),)),))  # type: ignore[arg-type]
    return Layout()


def _shifted(layout: Layout, first: int, size: int) -> Layout:
    """Return the layout of a file of what is known of the part of it behind a tag."""
    stretches = layout.stretches or (Stretch(((0, size - first),)),)
    moved = [
        Stretch(tuple(part if isinstance(part, bytes) else (part[0] + first, part[1] + first) for part in parts))
        for (parts,) in stretches
    ]
    return Layout(tuple(moved), layout.share)


def _is_unknown(size: int) -> bool:
    """Tell whether a size of 32 bits is what a program writes that cannot go back: 0, or about the largest there is."""
    return size == 0 or size >= 2**32 - 2**12 or 2**31 - 2**13 <= size <= 2**31


def _chunks(file: BinaryIO, position: int, end: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position of the content and size of each chunk."""
    while position + 8 <= end:
        file.seek(position)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        yield name, position + 8, size
        position += 8 + size + size % 2


def _table_of(chunks: Iterable[tuple[bytes, int, int]]) -> dict[bytes, tuple[int, int]]:
    """Return position and size of the first chunk of each name, up to the next file."""
    found: dict[bytes, tuple[int, int]] = {}
    for name, first, length in chunks:
        if name == b"FORM":
            break
        found.setdefault(name, (first, length))
    return found


def _riff_layout(file: BinaryIO, size: int) -> Layout | None:
    """Read one or more files of the kind RIFF WAVE, joined."""
    stretches, share, position, is_plain = [], 1.0, 0, True
    while position < size:
        found = _riff(file, position, size)
        if found is None:
            break
        stretch, end, present, is_right = found
        stretches.append(stretch)
        share, is_plain = min(share, present), is_plain and is_right
        position = end
    if not stretches:
        return None
    return Layout(() if is_plain and len(stretches) == 1 else tuple(stretches), share)


def _riff(file: BinaryIO, start: int, size: int) -> tuple[Stretch, int, float, bool] | None:
    """Return the stretch of one WAVE, its end, the share that is there, and whether its sizes are right."""
    file.seek(start)
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return None
    order = ">" if head[:4] == b"RIFX" else "<"
    (whole,) = struct.unpack(f"{order}I", head[4:8])
    long_size = None
    for name, first, length in _chunks(file, start + 12, size, order):
        if name == b"ds64":
            file.seek(first)
            whole, long_size = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
        if name != b"data":
            continue
        promised = long_size if long_size is not None and length == 2**32 - 1 else length
        is_long = promised is long_size
        is_empty = promised == 0 and start + 8 + whole == size
        if not is_empty and (promised in UNKNOWN_64 if is_long else _is_unknown(promised)) and first < size:
            return _open_ended(file, start, first, size, order)
        end = start + 8 + whole + whole % 2
        end = end if first + promised <= end < size else min(size, first + promised + promised % 2)
        share = 1.0 if promised == 0 else min(1.0, (size - first) / promised)
        return Stretch(((start, end),)), end, share, True
    return None


def _open_ended(file: BinaryIO, start: int, first: int, size: int, order: str) -> tuple[Stretch, int, float, bool]:
    """Put the sizes right of a WAVE whose writer never came back to them."""
    file.seek(start)
    header = bytearray(file.read(first - start))
    header[:4] = b"RIFX" if order == ">" else b"RIFF"
    header[4:8] = struct.pack(f"{order}I", min(size - start - 8, 2**32 - 1))
    header[-4:] = struct.pack(f"{order}I", min(size - first, 2**32 - 1))
    return Stretch((bytes(header), (first, size))), size, 1.0, False


def _aiff_layout(file: BinaryIO, size: int) -> Layout | None:
    """Read one or more files of the kind AIFF, joined."""
    stretches: list[Stretch] = []
    share, position = 1.0, 0
    while position < size:
        file.seek(position)
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"FORM" or head[8:] not in (b"AIFF", b"AIFC"):
            break
        (whole,) = struct.unpack(">I", head[4:8])
        chunks = _table_of(_chunks(file, position + 12, size, ">"))
        common, (first, length) = chunks.get(b"COMM", (0, 0))[0], chunks.get(b"SSND", (0, 0))
        if not common or not first:
            return None
        end = position + 8 + whole + whole % 2
        if _is_unknown(length) and end != size:
            stretch = _open_ended_aiff(file, position, common, first, size)
            return Layout((*stretches, stretch), share)
        share = min(share, (size - first) / max(1, length))
        stretches.append(Stretch(((position, min(end, size)),)))
        position = max(end, first + length)
    return Layout(tuple(stretches) if len(stretches) > 1 else (), share)


def _open_ended_aiff(file: BinaryIO, start: int, common: int, first: int, size: int) -> Stretch:
    """Put the sizes right of an AIFF whose writer never came back to them."""
    file.seek(start)
    header, at = bytearray(file.read(first - start)), common - start
    channels, _, bits = struct.unpack(">hIh", header[at : at + 8])
    frames = max(0, size - first - 8) // max(1, channels * -(-bits // 8))
    header[4:8], header[-4:] = (struct.pack(">I", min(n, 2**32 - 1)) for n in (size - start - 8, size - first))
    header[at + 2 : at + 6] = struct.pack(">I", min(frames, 2**32 - 1))
    return Stretch((bytes(header), (first, size)))


def _au_layout(file: BinaryIO, size: int) -> Layout | None:
    """Read one or more files of the kind AU, joined."""
    stretches, share, position = [], 1.0, 0
    while position + 24 <= size:
        file.seek(position)
        head = file.read(24)
        order = ">" if head[:4] == b".snd" else "<"
        if head[:4] not in (b".snd", b"dns."):
            break
        first, length = struct.unpack(f"{order}II", head[4:12])
        end = position + first + length
        if _is_unknown(length):
            unknown = head[:8] + b"\xff" * 4 + head[12:]
            stretches.append(Stretch((unknown, (position + 24, size))))
            break
        share = min(share, max(0, size - position - first) / length)
        stretches.append(Stretch(((position, min(end, size)),)))
        position = end
    return Layout(tuple(stretches) if len(stretches) > 1 or isinstance(stretches[0].parts[0], bytes) else (), share)


def _w64_layout(file: BinaryIO, size: int) -> Layout | None:
    """Read one or more files of the kind Wave64, joined; the decoder would go on into what follows the data."""
    stretches, share, begin, position = [], 1.0, 0, 40
    while position + 24 <= size:
        file.seek(position)
        head = file.read(24)
        (length,) = struct.unpack("<Q", head[16:24])
        if not head.startswith(W64_DATA):
            position += max(24, length + -length % 8)
            continue
        if length - 24 in UNKNOWN_64 or length in UNKNOWN_64:
            return None
        end = position + length
        share = min(share, max(0, size - position - 24) / max(1, length - 24))
        stretches.append(Stretch(((begin, min(end, size)),)))
        file.seek(begin := end + -end % 8)
        if file.read(8) != W64_RIFF:
            break
        position = begin + 40
    return Layout(tuple(stretches) if stretches[1:] or (stretches and end < size) else (), share)


def _caf_layout(file: BinaryIO, size: int) -> Layout | None:
    """Read one or more files of the kind CAF, joined."""
    stretches, share, begin, position = [], 1.0, 0, 8
    while position + 12 <= size:
        file.seek(position)
        name, length = struct.unpack(">4sq", file.read(12))
        first = position + 12
        if name == b"data" and not 0 < length <= size - first:
            file.seek(begin)
            header = file.read(position + 4 - begin) + struct.pack(">q", size - first)
            stretches.append(Stretch((header, (first, size))))
            share = share if length <= 0 else min(share, (size - first) / length)
            return Layout(tuple(stretches), share)
        if name == b"caff":
            stretches.append(Stretch(((begin, position),)))
            begin, position = position, position + 8
        else:
            position = first + max(0, length)
    return Layout((*stretches, Stretch(((begin, size),))) if stretches else (), share)


_READERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[BinaryIO, int], Layout | None]], ...] = (
    ((b"RIFF", b"RIFX", b"RF64", b"BW64"), _riff_layout),
    (b"FORM", _aiff_layout),
    ((b".snd", b"dns."), _au_layout),
    (W64_RIFF, _w64_layout),
    (b"caff", _caf_layout),
    (b"fLaC", flac_layout),
    (b"OggS", ogg_layout),
)
