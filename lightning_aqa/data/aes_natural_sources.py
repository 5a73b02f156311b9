"""The corpora that AES-Natural took its audio from: their names, and where each path of its lists is on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lightning_aqa.data.parsing import entries_of
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.text import did_you_mean

CHALLENGE = "audiomos2025-track2-"
PLACEHOLDER = "/your_path/"
AUDIOMOS = "AudioMOS"
EVALUATION_FOLDER = "audiomos2025-track2-eval-phase/DATA"


class CorpusSource(NamedTuple):
    """A corpus that clips come from: the folder its paths begin with, its domain, and where to get it."""

    folder: str
    domain: str
    where_to_get: str


SOURCES = {
    "LibriTTS": CorpusSource(
        "LibriTTS", "speech", "Get train-clean-100, -360 and train-other-500 from openslr.org/60."
    ),
    "CommonVoice": CorpusSource("cv-corpus-13.0-2023-03-09", "speech", "Get Common Voice 13.0 (en) from Mozilla."),
    "EARS": CorpusSource("EARS", "speech", "Get it from github.com/facebookresearch/ears_dataset."),
    "MUSDB18": CorpusSource("MUSDB18", "music", "Get MUSDB18-HQ, the edition in wav files, from Zenodo."),
    "MusicCaps": CorpusSource("musiccaps", "music", "The clips are 10 s excerpts of videos, named <video>.wav."),
    "AudioSet": CorpusSource(
        "unbalanced_train_segments", "sound", "The clips are excerpts of videos, in audio/*.flac."
    ),
    "PAM": CorpusSource("PAM", "", "Get its human_eval folder from the dataset of Microsoft's PAM on Zenodo."),
}
WHERE_TO_GET = {
    **{name: f"{source.where_to_get} Name its folder with --data.roots.{name}." for name, source in SOURCES.items()},
    AUDIOMOS: f"Get the evaluation phase of AudioMOS 2025 track 2. Name its folder with --data.roots.{AUDIOMOS}.",
}


class Location(NamedTuple):
    """Source and file that a path of the lists names.

    Args:
        source: Name of the source corpus.
        key: The path from the corpus's folder on, the same in every list.
        path: The file on this machine.
    """

    source: str
    key: str
    path: str

    @property
    def name(self) -> str:
        """The key as the challenge writes it in its ids."""
        return self.key.removesuffix(".wav").removesuffix(".flac").replace("/", "_").replace(" ", "_")


def find_location(data_path: str, root: Path, roots: Mapping[str, str]) -> Location | None:
    """Find the source corpus of a path and its file; None where no source's folder is in it.

    Example:
        >>> location = find_location("/your_path/EARS/p001/emo.wav", Path("lists"), {})
        >>> location.source, location.key, location.path
        ('EARS', 'EARS/p001/emo.wav', 'lists/audio/EARS/p001/emo.wav')
    """
    parts = PurePosixPath(data_path).parts
    for name, source in SOURCES.items():
        if source.folder in parts:
            depth = len(parts) - parts[::-1].index(source.folder)
            key = "/".join((source.folder, *parts[depth:]))
            if not data_path.startswith(PLACEHOLDER) and name not in roots:
                return Location(name, key, data_path)
            return Location(name, key, str(_folder_of(name, root, roots).joinpath(*parts[depth:])))
    return None


def _folder_of(name: str, root: Path, roots: Mapping[str, str]) -> Path:
    """Return the folder of a source corpus; a user may name it or its parent."""
    base = Path(roots.get(name, root / "audio" / name))
    inner = base / SOURCES[name].folder
    return inner if inner.is_dir() else base


def evaluation_audio(root: Path, roots: Mapping[str, str]) -> Path:
    """Return the folder with the wav files of the evaluation set."""
    base = Path(roots.get(AUDIOMOS, root / EVALUATION_FOLDER))
    for inner in (base / "DATA" / "wav", base / "wav"):
        if inner.is_dir():
            return inner
    return base if AUDIOMOS in roots else root / "audio" / AUDIOMOS


def check_roots(roots: Mapping[str, str]) -> None:
    """Refuse a corpus that nobody knows, and a folder that is not there.

    Raises:
        ValueError: If a name is not a source corpus.
        CorpusError: If a folder does not exist.
    """
    known = [*SOURCES, AUDIOMOS]
    for name, folder in roots.items():
        if name not in known:
            raise ValueError(f"roots names {name!r}, which is none of {', '.join(known)}.{did_you_mean(name, known)}")
        if not Path(folder).is_dir():
            raise CorpusError(f"roots.{name} is {folder}: {entries_of(Path(folder))}")
