"""The reader of audio: what it decodes, cuts and resamples, and what it says of files that it cannot use."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from lightning_aqa.data.audio import BLOCK_FRAMES, AudioError, audio_blocks, audio_info, read_audio

# Name, format, subtype, rate, and the deviation that the codec may add.
FORMATS = [
    ("a.wav", "WAV", "PCM_16", 16000, 4e-5),
    ("a.wav", "WAV", "PCM_24", 44100, 2e-7),
    ("a.wav", "WAV", "FLOAT", 22050, 0.0),
    ("a.aiff", "AIFF", "PCM_16", 22050, 4e-5),
    ("a.flac", "FLAC", "PCM_16", 16000, 4e-5),
    ("a.ogg", "OGG", "VORBIS", 16000, 0.01),
    ("a.opus", "OGG", "OPUS", 48000, 0.02),
    ("a.mp3", "MP3", "MPEG_LAYER_III", 44100, 0.01),
    ("a.mp3", "MP3", "MPEG_LAYER_III", 16000, 0.01),
]
NAMES = [f"{name[2:]}-{subtype}-{rate}" for name, _, subtype, rate, _ in FORMATS]


def _tones(seconds, rate):
    """Two channels of different tones, full scale 1."""
    time_T = np.arange(round(seconds * rate)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * 440 * time_T), 0.2 * np.sin(2 * np.pi * 1000 * time_T)], axis=1)


def _level_of(samples, rate, hertz):
    """Amplitude of one tone, from the middle of a signal, where a resampler has settled."""
    middle_T = samples[len(samples) // 4 : -len(samples) // 4]
    wave_T = np.exp(-2j * np.pi * hertz * np.arange(len(middle_T)) / rate)
    return 2 * abs(np.mean(middle_T * np.hanning(len(middle_T)) * 2 * wave_T))


@pytest.mark.parametrize(("name", "format_", "subtype", "rate", "tolerance"), FORMATS, ids=NAMES)
def test_every_format_gives_the_mean_of_its_channels(tmp_path, name, format_, subtype, rate, tolerance):
    stereo_T2 = _tones(1.7, rate).astype(np.float32)
    soundfile.write(tmp_path / name, stereo_T2, rate, subtype=subtype, format=format_)
    assert audio_info(tmp_path / name) == (rate, 1.7)
    samples_T = read_audio(tmp_path / name, rate)
    assert (samples_T.dtype, samples_T.shape) == (np.float32, (round(1.7 * rate),))
    assert np.sqrt(np.mean((samples_T - stereo_T2.mean(1)) ** 2)) <= tolerance


@pytest.mark.parametrize(("name", "format_", "subtype", "rate", "tolerance"), FORMATS, ids=NAMES)
def test_a_part_is_the_slice_of_the_whole(tmp_path, name, format_, subtype, rate, tolerance):
    noise_T2 = np.random.default_rng(0).normal(0, 0.1, (round(3.7 * rate), 2))
    soundfile.write(tmp_path / name, noise_T2, rate, subtype=subtype, format=format_)
    whole_T = read_audio(tmp_path / name, rate)
    for start, end in [(0.0, 1.0), (0.31, 1.25), (1.0001, 3.0), (2.9, None), (3.6, 9.0), (3.69, 3.7)]:
        part_T = read_audio(tmp_path / name, rate, start, end)
        wanted_T = whole_T[round(start * rate) : None if end is None else round(end * rate)]
        assert part_T.shape == wanted_T.shape
        assert np.abs(part_T - wanted_T).max() < 1e-6


@pytest.mark.parametrize(("name", "format_", "subtype"), [("a.wav", "WAV", "PCM_16"), ("a.ogg", "OGG", "VORBIS")])
def test_blocks_side_by_side_are_the_part_and_none_is_large(tmp_path, name, format_, subtype):
    soundfile.write(tmp_path / name, _tones(5, 44100), 44100, subtype, format=format_)
    whole, _ = soundfile.read(tmp_path / name, dtype="float32")
    blocks = list(audio_blocks(tmp_path / name, 0.5, 4.5))
    assert len(blocks) == 3
    assert max(map(len, blocks)) == BLOCK_FRAMES
    np.testing.assert_array_equal(np.concatenate(blocks), whole[22050 : 9 * 22050])
    assert sum(map(len, audio_blocks(tmp_path / name))) == len(whole)


@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_mono_is_the_mean_whatever_the_number_of_channels(tmp_path, num_channels):
    samples_TC = np.random.default_rng(1).uniform(-1, 1, (800, num_channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples_TC, 8000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav", 8000) - samples_TC.mean(1)).max() < 1e-7


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 16000), (8000, 48000), (48000, 44100), (16000, 24000)])
def test_resampling_keeps_length_frequency_and_level(tmp_path, rate, wanted):
    tone_T = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "a.wav", tone_T, rate, subtype="FLOAT")
    samples_T = read_audio(tmp_path / "a.wav", wanted)
    assert samples_T.dtype == np.float32
    assert len(samples_T) == wanted
    assert np.abs(np.fft.rfft(samples_T)).argmax() == 1000
    assert _level_of(samples_T, wanted, 1000) == pytest.approx(0.5, abs=1e-3)


def test_what_the_new_rate_cannot_carry_is_filtered_out(tmp_path):
    tone_T = 0.5 * np.sin(2 * np.pi * 6000 * np.arange(32000) / 16000)
    soundfile.write(tmp_path / "a.wav", tone_T, 16000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav", 8000)[1000:-1000]).max() < 1e-4


def test_a_name_may_hold_any_letters(tmp_path):
    path = tmp_path / "son é [1] 音.flac"
    soundfile.write(path, np.zeros(160), 16000)
    assert len(read_audio(path, 16000)) == len(read_audio(str(path), 16000)) == 160


def test_a_missing_file_is_named(tmp_path):
    for name in ("gone.wav", "gone.mp3", "gone.m4a"):
        with pytest.raises(AudioError, match=rf"{name}: no such file\."):
            read_audio(tmp_path / name, 16000)
        with pytest.raises(AudioError, match=rf"{name}: no such file\."):
            audio_info(tmp_path / name)


@pytest.mark.parametrize("name", ["text.wav", "text.mp3", "text.flac", "text.raw"])
def test_a_file_that_is_no_audio_is_named_with_the_reason(tmp_path, name):
    (tmp_path / name).write_bytes(b"these are words and no sound\n" * 40)
    with pytest.raises(AudioError, match=rf"{name}: cannot be read as audio \(.+\)\."):
        read_audio(tmp_path / name, 16000)
    with pytest.raises(AudioError, match=rf"{name}: cannot be read as audio \(.+\)\."):
        audio_info(tmp_path / name)


def test_a_folder_is_no_audio(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match=r"folder\.wav: cannot be read as audio"):
        read_audio(tmp_path / "folder.wav", 16000)


def test_a_part_without_samples_is_told_with_its_times(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    with pytest.raises(AudioError, match=r"a\.wav: no audio between 1.5 s and its end\."):
        read_audio(tmp_path / "a.wav", 16000, 1.5)
    with pytest.raises(AudioError, match=r"a\.wav: no audio between 2 s and 3 s\."):
        read_audio(tmp_path / "a.wav", 16000, 2.0, 3.0)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    assert audio_info(tmp_path / "empty.wav").seconds == 0.0
    with pytest.raises(AudioError, match=r"empty\.wav: no audio between 0 s and its end\."):
        read_audio(tmp_path / "empty.wav", 16000)


@pytest.mark.parametrize("name", ["a.m4a", "a.AAC", "a.mp4"])
def test_without_ffmpeg_the_message_says_what_to_install(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (tmp_path / name).touch()
    for read in (audio_info, lambda path: read_audio(path, 16000)):
        with pytest.raises(AudioError, match=rf"{name}: \.\w+ files need the ffmpeg program; install it .*convert"):
            read(tmp_path / name)


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Put a stand-in for ffmpeg on the path: a script that writes what a test wants."""

    def install(code):
        script = tmp_path / "bin" / "ffmpeg"
        script.parent.mkdir()
        script.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(script.parent))

    return install


def test_ffmpeg_is_asked_for_mono_floats_at_48_khz(tmp_path, ffmpeg):
    ffmpeg(
        "import array\n"
        "assert sys.argv[-5:] == ['-ac', '1', '-ar', '48000', '-'] and 'f32le' in sys.argv, sys.argv\n"
        "sys.stdout.buffer.write(array.array('f', [i / 48000 for i in range(48000)]).tobytes())"
    )
    (tmp_path / "a.m4a").touch()
    assert audio_info(tmp_path / "a.m4a") == (48000, 1.0)
    part_T = read_audio(tmp_path / "a.m4a", 48000, 0.25, 0.5)
    assert np.abs(part_T - np.arange(12000, 24000) / 48000).max() < 1e-6


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program")
@pytest.mark.parametrize("num_channels", [1, 2, 6])
def test_ffmpeg_averages_the_channels_as_other_files_are(tmp_path, num_channels):
    tone_T = 0.4 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
    soundfile.write(tmp_path / "a.wav", np.stack([tone_T] * num_channels, axis=1), 48000)
    words = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), "-b:a", "256k", str(tmp_path / "a.m4a")]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    level = _level_of(read_audio(tmp_path / "a.m4a", 48000), 48000, 440)
    assert level == pytest.approx(0.4, rel=0.02)


def test_what_ffmpeg_says_is_passed_on(tmp_path, ffmpeg):
    ffmpeg("sys.exit('moov atom not found')")
    (tmp_path / "a.m4a").touch()
    with pytest.raises(AudioError, match=r"a\.m4a: ffmpeg cannot read it: moov atom not found"):
        read_audio(tmp_path / "a.m4a", 16000)


@pytest.fixture
def tagged(tmp_path):
    """An mp3 of constant bit rate without a header frame, and a tag at its end: the decoder writes notes about that."""
    path = tmp_path / "tagged.mp3"
    soundfile.write(path, _tones(1.0, 44100), 44100, format="MP3", bitrate_mode="CONSTANT", compression_level=0.7)
    frames = path.read_bytes()
    first = frames.find(frames[:3], 4)
    path.write_bytes(frames[first:] + b"LYRICSBEGIN" + b"[00:01]la la la\r\n" * 40 + b"000691LYRICS200")
    return path


def test_an_mp3_with_a_tag_at_its_end_is_read_whole(tagged):
    assert audio_info(tagged).seconds >= 1.0
    assert len(read_audio(tagged, 44100)) >= 44100


def test_what_is_no_frame_is_left_out_without_a_word_of_the_decoder(tagged, capfd):
    whole = read_audio(tagged, 44100)
    frames = tagged.read_bytes().split(b"LYRICSBEGIN")[0]
    tagged.write_bytes(bytes(500) + frames + bytes(3000))
    np.testing.assert_array_equal(read_audio(tagged, 44100), whole)
    assert capfd.readouterr().err == ""


def test_a_process_without_stderr_reads_mp3(tagged):
    code = f"from lightning_aqa.data.audio import read_audio; print(len(read_audio({str(tagged)!r}, 44100)) >= 44100)"
    command = f'{sys.executable} -c "{code}" 2>&-'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_samples_of_16_bits_are_mixed_to_the_bits_of_floats(tmp_path, num_channels):
    steps_TC = np.random.default_rng(2).integers(-(2**15), 2**15, (800, num_channels), dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", steps_TC, 8000, subtype="PCM_16")
    floats_TC = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)[0]
    total_T = floats_TC[:, 0].copy()
    for channel in range(1, num_channels):
        total_T += floats_TC[:, channel]
    assert np.array_equal(read_audio(tmp_path / "a.wav", 8000), total_T * np.float32(1 / num_channels))
