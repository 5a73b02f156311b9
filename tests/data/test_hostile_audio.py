"""Files that say or hold anything: finite numbers or the package's own error, in bounded time and memory."""

import io
import os
import resource
import socket
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from lightning_aqa.data.audio import read_audio
from lightning_aqa.data.decoding import AudioError, audio_info
from lightning_aqa.data.folder import read_folder
from lightning_aqa.data.manifest import Clip
from lightning_aqa.data.validation import check_audio


def _wav(rate=16000, num_channels=1, num_samples=1000, bits=16):
    """A WAVE file whose header says anything."""
    data = bytes(num_samples * 2)
    width = num_channels * bits // 8
    form = struct.pack("<HHIIHH", 1, num_channels, rate, rate * width % 2**32, width % 2**16, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("rate", [0, 1, 7, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_rate_that_no_audio_has_is_refused(tmp_path, rate):
    (tmp_path / "a.wav").write_bytes(_wav(rate, num_samples=300_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for resampler in ("soxr", "sinc"):
        with pytest.raises(AudioError, match=r"a\.wav: (its rate is|cannot be read as audio)"):
            read_audio(tmp_path / "a.wav", 16000, resampler=resampler)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_filters_that_no_memory_holds_are_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(_wav(999_983))
    with pytest.raises(AudioError, match="too little in common with 16000 Hz for the resampler sinc"):
        read_audio(tmp_path / "a.wav", 16000, resampler="sinc")
    assert len(read_audio(tmp_path / "a.wav", 16000)) == 16


@pytest.mark.parametrize("num_channels", [0, 1025, 65535])
def test_any_number_of_channels_is_read_or_refused(tmp_path, num_channels):
    (tmp_path / "a.wav").write_bytes(_wav(num_channels=num_channels))
    with pytest.raises(AudioError, match="cannot be read as audio"):
        read_audio(tmp_path / "a.wav", 16000)


def test_a_part_that_fits_no_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_aqa.data.audio.MOST_SAMPLES", 2**17)
    (tmp_path / "a.wav").write_bytes(_wav(num_samples=2**18))
    with pytest.raises(AudioError, match=r"longer than 8 s, which is most that is read at once; set window_seconds"):
        read_audio(tmp_path / "a.wav", 16000)
    assert len(read_audio(tmp_path / "a.wav", 16000, 10.0, 12.0)) == 32000


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    os.mkfifo(tmp_path / "fifo.m4a")
    os.symlink("/dev/zero", tmp_path / "zero.mp3")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.flac"))
        manifest = read_folder(tmp_path)
        assert [clip.id for clip in manifest] == ["fifo.m4a", "fifo.wav", "socket.flac", "zero.mp3"]
        for clip in manifest:
            for read in (audio_info, lambda path: read_audio(path, 16000)):
                with pytest.raises(
                    AudioError, match=r"cannot be read as audio \(a pipe, socket or device, not a file\)"
                ):
                    read(clip.path)
        assert {problem.kind for problem in check_audio(manifest, 0.1).problems} == {"unreadable audio"}


def test_ffmpeg_is_not_led_to_other_files(tmp_path):
    (tmp_path / "a.m4a").write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'other.ts'}\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match=r"a\.m4a: (ffmpeg cannot read it|\.m4a files need the ffmpeg program)"):
        read_audio(tmp_path / "a.m4a", 16000)


def _small(kind, subtype=None):
    file = io.BytesIO()
    samples = 0.3 * np.sin(np.arange(4000) / 7)
    soundfile.write(file, samples, 8000, format=kind, subtype=subtype)
    return file.getvalue()


FILES = {
    "wav": _small("WAV"), "aiff": _small("AIFF"), "w64": _small("W64"), "caf": _small("CAF"), "au": _small("AU"),
    "flac": _small("FLAC"), "ogg": _small("OGG"), "mp3": _small("MP3"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
@settings_of(max_examples=60)
@given(data=st.data())
def test_any_bytes_are_finite_numbers_or_an_error_of_the_package(kind, tmp_path_factory, data):
    content = bytearray(FILES[kind] * data.draw(st.sampled_from([1, 1, 2])))
    places = st.integers(0, min(200, len(content) - 1)) | st.integers(0, len(content) - 1)
    for position, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        content[position] = value
    path = tmp_path_factory.getbasetemp() / f"fuzz.{kind}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    bounds = data.draw(st.sampled_from([(), (0.1,), (0.1, 0.3)]))
    try:
        samples_T = read_audio(path, 16000, *bounds)
    except AudioError as error:
        samples_T, said = np.ones(1, np.float32), str(error)
        assert said.startswith(f"{path}: ") and "0x" not in said  # noqa: PT018
    assert (samples_T.dtype, samples_T.ndim) == (np.float32, 1)
    assert len(samples_T) > 0
    found = check_audio([Clip("x", str(path))], 0.01)
    assert len(found.seconds) + len(found.problems) == 1
