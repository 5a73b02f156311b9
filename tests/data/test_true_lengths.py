"""Lengths that headers get wrong: what can be read is read whole, what is cut off is refused, everywhere alike."""

import io
import os
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from lightning_aqa.data.audio import Parts, audio_blocks, measure, read_audio
from lightning_aqa.data.decoding import AudioError, audio_info
from lightning_aqa.data.manifest import Clip
from lightning_aqa.data.validation import check_audio

RATE = 16000
SECONDS = 3.0
SAMPLES = (
    0.4 * np.sin(2 * np.pi * 440 * np.arange(round(SECONDS * RATE)) / RATE)
    + 0.05 * np.random.default_rng(0).standard_normal(round(SECONDS * RATE))
).astype(np.float32)
FORMATS = {
    "wav": {}, "flac": {}, "aiff": {}, "au": {}, "w64": {}, "caf": {}, "rf64": {}, "mp3": {}, "ogg": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
}  # fmt: skip


def _bytes(kind):
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, RATE, **({"format": kind.upper()} | FORMATS[kind]))
    return file.getvalue()


def _lengths(path):
    """The lengths in seconds by everything that says one; or the one error that all of them give."""
    (checked,) = check_audio([Clip("x", str(path))], 0.1).seconds.values() or [None]
    (by_header,) = check_audio([Clip("x", str(path))], 0.1, decode=False).seconds.values() or [None]
    return checked, by_header, audio_info(path).seconds, len(read_audio(path, RATE)) / RATE


def _is_read(path, seconds, tolerance=0.03):
    assert _lengths(path) == pytest.approx((seconds,) * 4, abs=tolerance)


def _is_refused(path, match=r"ends after .* s of the .* s that its header promises"):
    for read in (audio_info, lambda path: read_audio(path, RATE), lambda path: list(audio_blocks(path)), measure):
        with pytest.raises(AudioError, match=match):
            read(path)
    for decode in (True, False):
        (problem,) = check_audio([Clip("x", str(path))], 0.1, decode=decode).problems
        assert problem.kind == "unreadable audio"


@pytest.mark.parametrize("kind", FORMATS)
def test_joined_files_are_read_to_the_end_of_the_last(tmp_path, kind):
    path = tmp_path / f"joined.{kind}"
    path.write_bytes(_bytes(kind) + _bytes(kind))
    _is_read(path, 2 * SECONDS)
    (tmp_path / f"one.{kind}").write_bytes(_bytes(kind))
    one = read_audio(tmp_path / f"one.{kind}", RATE)
    assert np.abs(read_audio(path, RATE, SECONDS)[1000:-1000] - one[1000:-1000]).max() < 0.02


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_file_is_refused_where_its_header_promised_more(tmp_path, kind):
    path, data = tmp_path / f"cut.{kind}", _bytes(kind)
    path.write_bytes(data[: len(data) // 2])
    if kind in ("ogg", "opus"):  # which tell no length beforehand
        assert 0.2 * SECONDS < len(read_audio(path, RATE)) / RATE < 0.8 * SECONDS
        assert len(check_audio([Clip("x", str(path))], 0.1).seconds) == 1
    else:
        _is_refused(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_follows_the_sound_is_no_sound(tmp_path, kind):
    path = tmp_path / f"junk.{kind}"
    path.write_bytes(_bytes(kind) + np.random.default_rng(1).bytes(5000))
    _is_read(path, SECONDS)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("copies", [1, 2])
def test_a_tag_before_any_kind_of_file_and_a_wrong_suffix_move_no_length(tmp_path, kind, copies):
    path = tmp_path / "a.wav"
    path.write_bytes(b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(2048) + copies * _bytes(kind))
    _is_read(path, copies * SECONDS)


@pytest.mark.parametrize("size", [0, 2**32 - 1, 2**31 - 1, 2**31 - 4096])
def test_sizes_that_a_writer_never_came_back_to_are_not_believed(tmp_path, size):
    header = bytearray(_bytes("wav"))
    header[4:8] = header[40:44] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(header)
    _is_read(tmp_path / "a.wav", SECONDS)
    header = bytearray(_bytes("au"))
    header[8:12] = struct.pack(">I", size)
    (tmp_path / "a.au").write_bytes(header)
    _is_read(tmp_path / "a.au", SECONDS)


def test_an_empty_file_with_a_chunk_after_it_stays_empty(tmp_path):
    file = io.BytesIO()
    soundfile.write(file, SAMPLES[:0], RATE, format="WAV")
    data = bytearray(file.getvalue() + b"LIST\x04\0\0\0INFO")
    data[4:8] = struct.pack("<I", len(data) - 8)
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(AudioError, match="no audio between"):
        read_audio(tmp_path / "a.wav", RATE)


def test_a_flac_of_unknown_or_of_wrong_length_is_read_whole(tmp_path):
    data = bytearray(_bytes("flac"))
    for told in (0, RATE):
        data[21:26] = (data[21] >> 4 << 36 | told).to_bytes(5, "big")
        (tmp_path / "a.flac").write_bytes(data)
        _is_read(tmp_path / "a.flac", SECONDS, tolerance=0)


def _mp3_without_counts():
    """An mp3 of changing bit rate, whose first half is silent, without the frame of counts."""
    file = io.BytesIO()
    samples = np.concatenate([np.zeros(2 * RATE), SAMPLES, np.zeros(2 * RATE)])
    soundfile.write(file, samples, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.4)
    data = file.getvalue()
    return data[data.find(data[:2], 4) :]


def test_a_file_that_is_no_mp3_is_told_without_a_word_of_the_decoder(tmp_path, capfd):
    path = tmp_path / "a.mp3"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + np.random.default_rng(0).bytes(100_000))
    _is_refused(path, "cannot be read as audio")
    assert capfd.readouterr().err == ""


def test_an_mp3_without_counts_or_with_wrong_ones_is_read_whole(tmp_path, capfd):
    data, bare = bytearray(_bytes("mp3")), _mp3_without_counts()
    (tmp_path / "bare.mp3").write_bytes(bare)
    _is_read(tmp_path / "bare.mp3", SECONDS + 4, tolerance=0.2)
    at = data.find(b"Xing") if b"Xing" in data else data.find(b"Info")
    data[at + 8 : at + 12] = struct.pack(">I", 30)
    (tmp_path / "few.mp3").write_bytes(data)
    _is_read(tmp_path / "few.mp3", SECONDS, tolerance=0.1)
    tagged = b"ID3\x04\0\0\0\0\x02\0" + bytes(256) + bare + b"LYRICSBEGIN" + b"la " * 400 + b"TAG" + bytes(125)
    (tmp_path / "tagged.mp3").write_bytes(tagged + tagged)
    _is_read(tmp_path / "tagged.mp3", 2 * (SECONDS + 4), tolerance=0.4)
    assert capfd.readouterr().err == ""  # libmpg123 tells what it thinks of a file, and no name


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "GSM610"), ("a.au", "G721_32"), ("a.wav", "IMA_ADPCM")])
def test_codecs_without_positions_are_read_from_any_of_them(tmp_path, name, subtype):
    soundfile.write(tmp_path / name, SAMPLES[: len(SAMPLES) // 320 * 320], RATE, subtype=subtype)
    _is_read(tmp_path / name, SECONDS, tolerance=0.1)
    whole = read_audio(tmp_path / name, RATE)
    np.testing.assert_array_equal(read_audio(tmp_path / name, RATE, 1.3, 2.1), whole[20800:33600])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("resampler", ["soxr", "sinc"])
def test_parts_one_after_the_other_are_the_parts_alone_and_the_whole(tmp_path, kind, resampler):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(_bytes(kind) + _bytes(kind))
    bounds = [(start, start + 0.7) for start in np.arange(0.2, 6, 0.7)]
    for rate in (RATE, 22050):
        parts = Parts(path, rate, 0.2, None, resampler)
        found = [parts.read(*bound).waveform for bound in bounds]
        parts.close()
        for (start, end), waveform in zip(bounds, found, strict=True):
            np.testing.assert_allclose(waveform, read_audio(path, rate, start, end, resampler), atol=1e-6)
        if rate == RATE or resampler == "sinc":
            whole = read_audio(path, rate, 0.2, None, resampler)
            np.testing.assert_allclose(np.concatenate(found)[: len(whole)], whole, atol=1e-5)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program")
def test_what_ffmpeg_streams_has_no_right_sizes_and_is_read_whole(tmp_path):
    soundfile.write(tmp_path / "a.wav", SAMPLES, RATE)
    ways = {
        "flac": [],
        "wav": [],
        "aiff": [],
        "au": [],
        "w64": [],
        "mp3": ["-q:a", "4"],
        "rf64.wav": ["-rf64", "always"],
    }
    for name, words in ways.items():
        form = ["-f", name.split(".")[-1], "-"]
        command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), *words, *form]
        made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
        (tmp_path / f"streamed.{name}").write_bytes(made)
        _is_read(tmp_path / f"streamed.{name}", SECONDS, tolerance=0.1)
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(tmp_path / "a.wav"),
        "-movflags",
        "faststart",
        str(tmp_path / "b.m4a"),
    ]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
    os.truncate(tmp_path / "b.m4a", (tmp_path / "b.m4a").stat().st_size * 2 // 3)
    with pytest.raises(AudioError, match=r"ffmpeg cannot read it: (?!.*0x)"):
        read_audio(tmp_path / "b.m4a", RATE)


def test_a_time_beyond_any_number_is_the_end_and_one_without_a_frame_is_empty(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(_bytes("wav"))
    for decode in (True, False):
        far, none = (Clip("x", str(path), end=end) for end in (1e308, 1e-9))
        assert check_audio([far], 0.0, decode=decode).seconds == {"x": SECONDS}
        assert [problem.kind for problem in check_audio([none], 0.0, decode=decode).problems] == ["empty audio"]
    assert len(read_audio(path, RATE, 0.0, 1e308)) == len(SAMPLES)
