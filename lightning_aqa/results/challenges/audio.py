"""The audio of the clips of a challenge: one file each, somewhere below a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_aqa.data.folder import audio_below
from lightning_aqa.data.parsing import entries_of
from lightning_aqa.results.challenges.checking import Fault
from lightning_aqa.results.judge_scores import ClipFinder
from lightning_aqa.utils.text import shortened


def find_audio(folder: Path, names: Sequence[str], faults: list[Fault]) -> list[Path]:
    """Find the file of each clip by its name, whatever its suffix.

    Args:
        folder: Folder with the audio, in sub-folders too.
        names: What the clips are called.
        faults: Takes clips without a file, and with several.

    Raises:
        ValueError: If there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: {entries_of(folder)}")
    find, found = ClipFinder(names), dict[int, Path]()
    for path, _ in audio_below(folder):
        clip = find(str(path), [path.relative_to(folder).as_posix()])
        if clip is not None and clip in found:
            what = f"{shortened(names[clip])} may be {found[clip]} or {path}; leave one in the folder"
            faults.append(Fault("two files of one clip", 0, what))
        elif clip is not None:
            found[clip] = path
    missing = [name for n, name in enumerate(names) if n not in found]
    faults += [Fault("missing audio", 0, f"{folder} holds no audio called {shortened(name)}") for name in missing]
    return [found[n] for n in range(len(names)) if n in found]
