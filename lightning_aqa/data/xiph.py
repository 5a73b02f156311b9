"""True lengths of FLAC and Ogg files: the numbers of their last frames, and streams that were joined."""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

from lightning_aqa.data.stretches import Layout, Stretch

TAIL_BYTES = 2**18
"""What is searched for the last frame of a FLAC file; frames are smaller unless they hold many channels."""
JOINED = b"fLaC\x00\x00\x00\x22"
BLOCK = 2**20
TOTAL_AT = 21
"""Position of the byte with the highest bits of the number of samples, which has 36 bits."""


class _FlacFrame(NamedTuple):
    """Sort of a frame, which all frames of a file share, and the sample after its last."""

    sort: tuple[int, int]
    end: int


def flac_layout(file: BinaryIO, size: int) -> Layout | None:
    """Put the number of samples right, which a program that cannot go back leaves at 0, stream by stream."""
    starts = _joined(file, size)
    stretches, share, is_plain = [], 1.0, True
    for first, end in zip(starts, [*starts[1:], size], strict=True):
        file.seek(first)
        head = bytearray(file.read(42))
        if len(head) < 42:
            continue
        told = int.from_bytes(head[TOTAL_AT : TOTAL_AT + 5], "big") & (2**36 - 1)
        true = _num_samples(file, first, end, struct.unpack(">H", head[10:12])[0])
        if true is None or true == told:
            stretches.append(Stretch(((first, end),)))
            continue
        share = share if told == 0 else min(share, true / told)
        is_plain = is_plain and 0 < true < told  # what is cut off the decoder tells
        head[TOTAL_AT : TOTAL_AT + 5] = (head[TOTAL_AT] >> 4 << 36 | true).to_bytes(5, "big")
        stretches.append(Stretch((bytes(head), (first + 42, end))))
    return Layout(() if is_plain and len(stretches) == 1 else tuple(stretches), min(1.0, share))


def _joined(file: BinaryIO, size: int) -> list[int]:
    """Return where the streams of a file start."""
    starts, position = [], 0
    while position < size:
        file.seek(position)
        block = file.read(BLOCK + len(JOINED) - 1)
        at = block.find(JOINED)
        while at >= 0:
            starts.append(position + at)
            at = block.find(JOINED, at + 1)
        position += BLOCK
    return list(dict.fromkeys([0, *starts]))


def _num_samples(file: BinaryIO, first: int, end: int, block_size: int) -> int | None:
    """Return the samples of a stream by its last frame; None where none is found."""
    position = first + 4
    is_last = False
    while not is_last and position < end:
        file.seek(position)
        head = file.read(4).ljust(4, b"\0")
        is_last, position = bool(head[0] & 0x80), position + 4 + int.from_bytes(head[1:], "big")
    file.seek(position)
    frame = _parsed(file.read(16), block_size)
    if frame is None:
        return None
    for size in (TAIL_BYTES // 8, TAIL_BYTES, 16 * TAIL_BYTES):
        begin = max(position, end - size)
        file.seek(begin)
        found = _last(file.read(end - begin), frame, block_size)
        if found is not None or begin == position:
            return found
    return None


def _last(tail: bytes, like: _FlacFrame, block_size: int) -> int | None:
    at = tail.rfind(b"\xff")
    while at >= 0:
        frame = _parsed(tail[at : at + 16], block_size)
        if frame is not None and frame.sort == like.sort and frame.end >= like.end - block_size:
            return frame.end
        at = tail.rfind(b"\xff", 0, at)
    return None


def _parsed(head: bytes, block_size: int) -> _FlacFrame | None:
    """Read the header of a frame: its own checksum has to be right."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    number, at = _number(head[4:])
    extra = {6: 1, 7: 2}.get(size_code, 0)
    at += 4
    if number is None or size_code == 0 or rate_code == 15:
        return None
    checked = at + extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if checked >= len(head) or _checksum(head[:checked]) != head[checked]:
        return None
    length = int.from_bytes(head[at : at + extra], "big") + 1 if extra else _size(size_code)
    first = number if head[1] & 1 else number * block_size
    return _FlacFrame((head[1], head[3]), first + length)


def _size(code: int) -> int:
    return 192 if code == 1 else 576 << (code - 2) if code < 6 else 256 << (code - 8)


def _number(data: bytes) -> tuple[int | None, int]:
    """Read a number coded as in UTF-8, of up to 36 bits; return it with its size in bytes."""
    lead = data[0]
    if lead < 0x80:
        return lead, 1
    length = 8 - (lead ^ 0xFF).bit_length()
    if not 2 <= length <= 7 or len(data) < length:
        return None, 1
    value = lead & (0x7F >> length)
    for byte in data[1:length]:
        value = value << 6 | byte & 0x3F
    return value, length


def _checksum(data: bytes) -> int:
    """Compute the cyclic checksum of 8 bits that FLAC has, of polynomial 7."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1) ^ (0x107 if value & 0x80 else 0)
    return value


def ogg_layout(file: BinaryIO, size: int) -> Layout | None:
    """Find the streams that were joined into an Ogg file; a decoder stops after the first."""
    starts, position, was_start = [0], 0, True
    while position + 27 <= size:
        file.seek(position)
        head = file.read(27)
        if head[:4] != b"OggS":
            position = _next_page(file, position + 1, size)
            continue
        is_start = bool(head[5] & 2)
        if is_start and not was_start:
            starts.append(position)
        was_start = is_start
        position += 27 + head[26] + sum(file.read(head[26]))
    if len(starts) == 1:
        return Layout()
    ends = [*starts[1:], size]
    return Layout(tuple(Stretch((bounds,)) for bounds in zip(starts, ends, strict=True)))


def _next_page(file: BinaryIO, position: int, size: int) -> int:
    while position < size:
        file.seek(position)
        block = file.read(BLOCK + 3)
        at = block.find(b"OggS")
        if at >= 0:
            return position + at
        position += BLOCK
    return size
