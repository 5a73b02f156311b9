"""Write a simulated corpus: real audio files and lists in the layout of a real corpus, with made-up scores.

The sounds are synthesised, the listeners simulated. Such a corpus is for trying things out and for tests; a number
measured on it says nothing about how people hear.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from lightning_aqa.data.manifest import SIMULATED_STAMP
from lightning_aqa.data.synthesis.aes_natural_plan import ROTA, count_evaluation, plan_aes_natural
from lightning_aqa.data.synthesis.musiceval_plan import plan_musiceval
from lightning_aqa.data.synthesis.pairs_plan import plan_pairs
from lightning_aqa.data.synthesis.recordings import CorpusPlan, Recording, Settings

Layout = Literal["musiceval", "aes_natural", "pairs"]
STAMP = SIMULATED_STAMP
# Raise it with every change of what is written, so that nobody trains on what an older version left behind.
VERSION = 2
_NOTE = "All audio here is synthesised and all scores are simulated: no person has rated these clips."
_PLANS: dict[Layout, Callable[[Settings], CorpusPlan]] = {
    "musiceval": plan_musiceval, "aes_natural": plan_aes_natural, "pairs": plan_pairs,
}  # fmt: skip


def write_corpus(
    root: str | Path,
    layout: Layout,
    *,
    num_clips: int = 240,
    num_systems: int = 12,
    seconds: tuple[float, float] = (2.0, 4.0),
    sample_rate: int = 16000,
    seed: int = 0,
) -> Path:
    """Write a simulated corpus in the layout of MusicEval or AES-Natural, or a table of pairs, unless it is there.

    Nothing or all of it appears: it is written beside ``root`` and renamed at the end, so an interrupted run leaves
    nothing that a later one could take for a corpus, and two runs at once do not disturb each other. Its settings are
    in ``synthetic.json``. The same settings give the same bytes.

    Args:
        root: Folder for the corpus; it must be missing, empty, or hold this very corpus.
        layout: ``musiceval`` (axes MI, TA; splits 70 / 15 / 15 %) or ``aes_natural`` (axes PQ, PC, CE, CU; natural
            clips 60 / 15 % for train and dev, 25 % clips of made-up systems for evaluation), or ``pairs`` (which of
            two answers to a prompt a listener found better; splits of prompts).
        num_clips: Clips in all splits together.
        num_systems: Made-up systems of different quality.
        seconds: Shortest and longest clip.
        sample_rate: In Hz; natural clips of ``aes_natural`` have the rates of their corpora.
        seed: Of everything random.

    Returns:
        ``root`` as an absolute path.

    Raises:
        ValueError: If a setting makes no corpus, or ``root`` holds something else.
    """
    root, (shortest, longest) = Path(root).resolve(), seconds
    settings = Settings(num_clips, num_systems, (float(shortest), float(longest)), sample_rate, seed)
    _check_settings(settings, layout)
    stamp = _stamp(settings, layout)
    if not _is_there(root, stamp):
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as folder:
            draft = Path(folder) / "corpus"
            _write(draft, _PLANS[layout](settings), settings.seed)
            (draft / STAMP).write_text(stamp, encoding="utf-8")
            _publish(draft, root, stamp)
    return root


def _check_settings(settings: Settings, layout: Layout) -> None:
    """Raise where no sensible corpus comes out."""
    if layout not in _PLANS:
        raise ValueError(f"layout is {layout!r}; it must be one of {', '.join(_PLANS)}.")
    shortest, longest = settings.seconds
    if not 0.5 <= shortest <= longest < math.inf:
        raise ValueError(f"seconds is {settings.seconds}; expected shortest <= longest, and at least 0.5.")
    if settings.sample_rate < 8000 or settings.seed < 0 or settings.num_systems < 2:
        raise ValueError(
            f"sample_rate {settings.sample_rate}, seed {settings.seed}, num_systems {settings.num_systems}: "
            "expected at least 8000 Hz, 0 and 2."
        )
    least, rated = 20, settings.num_clips
    if layout == "aes_natural":
        least, rated = 4 * len(ROTA), count_evaluation(settings.num_clips)
    if settings.num_clips < least or rated < settings.num_systems:
        raise ValueError(
            f"num_clips is {settings.num_clips}, too few for {settings.num_systems} systems in layout {layout}: "
            f"expected at least {least}, and {'four clips' if layout == 'aes_natural' else 'one clip'} per system."
        )


def _stamp(settings: Settings, layout: Layout) -> str:
    """Write down what makes the corpus."""
    fields = {"note": _NOTE, "version": VERSION, "layout": layout, **asdict(settings)}
    return json.dumps(fields, indent=2) + "\n"


def _is_there(root: Path, stamp: str) -> bool:
    """Tell whether the corpus is there; raise where something else is."""
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file; give a folder for the synthetic corpus.")
    if not root.is_dir() or not any(root.iterdir()):
        return False
    if not (root / STAMP).is_file():
        raise ValueError(f"{root} is not empty and holds no {STAMP}; give a new or empty folder.")
    found = (root / STAMP).read_text(encoding="utf-8")
    if found != stamp:
        raise ValueError(
            f"{root} holds a synthetic corpus with other settings ({_differences(found, stamp)}); "
            "delete it, give another folder, or ask for the same settings."
        )
    return True


def _differences(found: str, expected: str) -> str:
    """Name what two stamps differ in."""
    try:
        old, new = json.loads(found), json.loads(expected)
        pairs = {key: (old.get(key), value) for key, value in new.items()}
    except (ValueError, AttributeError):
        return f"{STAMP} cannot be read"
    return ", ".join(f"{key} is {there}, not {asked}" for key, (there, asked) in pairs.items() if there != asked)


def _write(folder: Path, plan: CorpusPlan, seed: int) -> None:
    """Write the audio and the lists."""
    from rich.progress import track

    for recording in track(plan.recordings, "Writing simulated clips", transient=True):
        _write_audio(folder / recording.path, recording, seed)
    for name, text in plan.texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def _write_audio(path: Path, recording: Recording, seed: int) -> None:
    """Write one clip, 16-bit PCM unless its name ends in ``.mp3``."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    subtype = "MPEG_LAYER_III" if path.suffix == ".mp3" else "PCM_16"
    soundfile.write(path, recording.render(seed), recording.sample_rate, subtype=subtype)


def _publish(draft: Path, root: Path, stamp: str) -> None:
    """Rename the finished draft to ``root``, unless another run came first with the same corpus."""
    if root.is_dir() and not any(root.iterdir()):
        root.rmdir()
    try:
        draft.replace(root)
    except OSError:
        if not _is_there(root, stamp):
            raise
