"""Frames of an MPEG audio file (mp3), counted one by one: what its header and its first bit rate say is often wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from lightning_aqa.data.stretches import Layout, Stretch

SEARCH_BYTES = 2**16
SURE_FRAMES = 4
"""Fewer of a kind may be found among other bytes by chance."""
INFO_BYTES = 64
"""Least size of a frame that has room for a header of counts."""

_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates by generation and layer, in kbit/s."""


class _Header(NamedTuple):
    """Kind of a frame (generation of the standard, layer, rate), its size in bytes and its bit rate."""

    kind: tuple[int, int, int]
    size: int
    bitrate: int
    info_at: int


class _FrameRun:
    """Frames of one kind that belong together, and the frame of counts before them."""

    def __init__(self, header: _Header, info: bytes) -> None:
        self.kind, self.info, self.first_frame = header.kind, info, b""
        self.ranges: list[list[int]] = []
        self.num_frames, self.bitrates = 0, set[int]()

    def add(self, position: int, header: _Header, head: bytes) -> None:
        """Take a frame."""
        self.first_frame = self.first_frame or head[:4]
        self.num_frames += 1
        self.bitrates.add(header.bitrate)
        if self.ranges and self.ranges[-1][1] == position:
            self.ranges[-1][1] += header.size
        else:
            self.ranges.append([position, position + header.size])

    @property
    def num_bytes(self) -> int:
        """Size of the frames."""
        return sum(end - first for first, end in self.ranges)

    def counts(self) -> tuple[int, int] | None:
        """Return the frames and bytes that the frame of counts tells; None where it does not."""
        tag = self.info[_parsed(self.info).info_at :] if self.info else b""  # type: ignore[union-attr]
        if len(tag) < 16 or tag[:4] not in (b"Xing", b"Info") or tag[7] & 3 != 3:
            return None
        frames, size = struct.unpack(">II", tag[8:16])
        return frames, size

    def true_info(self) -> bytes:
        """Return a frame of counts with the true sizes; of frames no fewer than were told, since some may be cut off.

        The gaps of the encoder stay where it knows them.
        """
        if (told := self.counts()) is None:
            return _frame_of_counts(self.first_frame, self.num_frames, self.num_bytes)
        at = _parsed(self.info).info_at + 8  # type: ignore[union-attr]
        counts = struct.pack(">II", max(told[0], self.num_frames), len(self.info) + self.num_bytes)
        return self.info[:at] + counts + self.info[at + 8 :]


def mpeg_layout(file: BinaryIO, size: int) -> Layout | None:
    """Walk over the frames of a file, and say how it is to be read so that all of them are decoded.

    Args:
        file: The file.
        size: Its size in bytes.

    Returns:
        A stretch for each stream that was joined into the file, none where the file can be read as it is; None where
        it is no such file.
    """
    streams = _streams(file, size)
    if not streams:
        return None
    if not streams[0].num_frames:
        return Layout((Stretch((b"",)),))  # counts alone, of which a decoder would complain
    told = [(stream.counts() or (0, 0))[0] for stream in streams]
    share = min((stream.num_frames / count for stream, count in zip(streams, told, strict=True) if count), default=1.0)
    if len(streams) == 1 and _is_plain(streams[0], file, size):
        return Layout((), min(share, 1.0))
    stretches = []
    for stream in streams:
        ranges = tuple((first, end) for first, end in stream.ranges)
        needs_counts = stream.kind[1] == 3 and (stream.info or len(stream.bitrates) > 1)
        info = stream.true_info() if needs_counts else b""
        stretches.append(Stretch((info, *ranges)))
    return Layout(tuple(stretches), min(share, 1.0))


def _is_plain(stream: _FrameRun, file: BinaryIO, size: int) -> bool:
    """Tell whether a decoder finds the right length and nothing to complain of."""
    (first, end), counts = stream.ranges[0], stream.counts()
    begin = first - len(stream.info)
    if len(stream.ranges) > 1 or begin != after_tags(file, 0) or not _is_end(file, end, size):
        return False
    if counts is None:
        return not stream.info and len(stream.bitrates) == 1
    near = abs(counts[1] - (end - begin)) <= 0.005 * (end - begin)
    return near and abs(counts[0] - stream.num_frames) <= 1


def _is_end(file: BinaryIO, end: int, size: int) -> bool:
    if end >= size:
        return True
    file.seek(end)
    return size - end == 128 and file.read(3) == b"TAG"


def _streams(file: BinaryIO, size: int) -> list[_FrameRun]:
    streams: list[_FrameRun] = []
    for position, header, head in _frames(file, size):
        is_info = _is_info(header, head)
        if is_info or not streams or streams[-1].kind != header.kind:
            info = b""
            if is_info:
                file.seek(position)
                info = file.read(header.size)
            streams.append(_FrameRun(header, info))
        if not is_info:
            streams[-1].add(position, header, head)
    sure = [stream for stream in streams if stream.num_frames >= SURE_FRAMES]
    return sure or [stream for stream in streams if stream.num_frames] or streams


def _frames(file: BinaryIO, size: int) -> Iterator[tuple[int, _Header, bytes]]:
    """Yield position, header and first bytes of each frame, past whatever lies between."""
    position, kind, known = after_tags(file, 0), None, dict[bytes, _Header | None]()
    while position + 4 <= size:
        file.seek(position)
        head = file.read(INFO_BYTES)
        if (header := known.get(head[:4])) is None:
            header = known[head[:4]] = _parsed(head)
        if header is None or (header.kind != kind and not _is_followed(file, position, header, size)):
            found = _next_frame(file, position + 1, size)
            if found is None:
                return
            position = found
            continue
        if position + header.size > size:
            return
        kind = header.kind
        yield position, header, head
        position += header.size


def _next_frame(file: BinaryIO, position: int, size: int) -> int | None:
    """Return where the next frame starts that another one of its kind follows."""
    while position < size:
        file.seek(position)
        block = file.read(SEARCH_BYTES + 3)
        at = block.find(b"\xff")
        while 0 <= at < SEARCH_BYTES:
            header = _parsed(block[at : at + 4])
            if header is not None and _is_followed(file, position + at, header, size):
                return position + at
            at = block.find(b"\xff", at + 1)
        position += SEARCH_BYTES
    return None


def _is_followed(file: BinaryIO, position: int, header: _Header, size: int) -> bool:
    """Tell whether a frame of the same kind comes after a frame, or the end of the file."""
    end = position + header.size
    if end == size:
        return True
    file.seek(end)
    following = _parsed(file.read(4))
    return following is not None and following.kind == header.kind


def _parsed(head: bytes) -> _Header | None:
    """Read the four bytes of a frame's header."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = (head[1] >> 3) & 3, 4 - ((head[1] >> 1) & 3)
    bitrate_index, rate_index, padding = head[2] >> 4, (head[2] >> 2) & 3, (head[2] >> 1) & 1
    if version == 1 or layer == 4 or bitrate_index in (0, 15) or rate_index == 3:
        return None  # reserved, or of a free bit rate, whose frames have no told size
    generation = 1 if version == 3 else 2
    rate = (44100, 48000, 32000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    bitrate = _BITRATES[generation, layer][bitrate_index - 1]
    if layer == 1:
        size = (12000 * bitrate // rate + padding) * 4
    else:
        size = (72000 if layer == 3 and generation == 2 else 144000) * bitrate // rate + padding
    is_mono = head[3] >> 6 == 3
    side = (17 if is_mono else 32) if generation == 1 else (9 if is_mono else 17)
    return _Header((version, layer, rate), size, bitrate, 4 + side)


def _is_info(header: _Header, head: bytes) -> bool:
    """Tell whether a frame holds counts in place of sound."""
    tag = head[header.info_at : header.info_at + 4]
    return header.kind[1] == 3 and (tag in (b"Xing", b"Info") or head[36:40] == b"VBRI")


def _frame_of_counts(first: bytes, num_frames: int, num_bytes: int) -> bytes:
    """Make a silent frame that tells the counts, of the kind of another frame."""
    for index in range(1, 15):
        head = bytes([0xFF, first[1] | 1, index << 4 | first[2] & 0b1100, first[3]])
        header = _parsed(head)
        if header is not None and header.size >= INFO_BYTES:
            break
    assert header is not None
    counts = b"Xing" + struct.pack(">III", 3, num_frames, header.size + num_bytes)
    return (head + bytes(header.info_at - 4) + counts).ljust(header.size, b"\0")


def after_tags(file: BinaryIO, position: int) -> int:
    """Skip tags of the kind ID3v2."""
    while True:
        file.seek(position)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return position
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        position += 10 + length + (10 if head[5] & 0x10 else 0)
