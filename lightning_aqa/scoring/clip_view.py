"""One clip as a page shows it: scores with their intervals, the note, the outline of its waveform, scores of frames."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.decoding import open_audio
from lightning_aqa.results.predictions import ENDS
from lightning_aqa.scoring.batching import DeviceError
from lightning_aqa.scoring.frames import ScoredFrames
from lightning_aqa.scoring.scorer import Scorer
from lightning_aqa.scoring.trust import UNLIKE

MOST_COLUMNS = 600
"""Most columns of a waveform, and frames with scores, that a page is sent."""
FINEST = 64
"""Samples of which the lowest and the highest are kept on the way."""
_UNFORESEEN = re.compile(r"\w+(Error|Exception): ")


class ClipOutline(NamedTuple):
    """A waveform as a picture has it.

    Args:
        seconds: Length of what was read.
        goes_on: Whether there is more in the file.
        columns: The lowest and the highest sample of each column, shape ``(N, 2)``, columns of one width.
    """

    seconds: float
    goes_on: bool
    columns: NDArray[np.float32]


def outline(path: Path, seconds: float) -> ClipOutline:
    """Decode a clip up to a limit, and keep its outline alone.

    Args:
        path: The file.
        seconds: Most that is read.

    Raises:
        AudioError: If it cannot be decoded.
    """
    found, rest, size = list[NDArray[np.float32]](), np.empty(0, np.float32), 0
    with open_audio(path) as audio:
        most = math.ceil(seconds * audio.rate)
        for block in audio.blocks(0, most + 1):
            mono = np.nan_to_num(block.astype(np.float32).mean(axis=1))[: most - size]
            size += len(block)
            rest = np.concatenate([rest, mono])
            whole = len(rest) // FINEST * FINEST
            found.append(_ends(rest[:whole].reshape(-1, FINEST)))
            rest = rest[whole:]
        found += [_ends(rest[None])] if len(rest) else []
        pieces = np.array_split(np.concatenate([np.empty((0, 2), np.float32), *found]), MOST_COLUMNS)
        columns = [(piece[:, 0].min(), piece[:, 1].max()) for piece in pieces if len(piece)]
        return ClipOutline(min(size, most) / audio.rate, size > most, np.array(columns, np.float32).reshape(-1, 2))


def _ends(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([rows.min(axis=1), rows.max(axis=1)], axis=1)


class ClipView:
    """Score one clip after the other, with all that a page shows of it.

    Args:
        scorer: What scores.
        seconds: Most of a clip that is read; what comes after does not count.
    """

    def __init__(self, scorer: Scorer, seconds: float) -> None:
        self.scorer, self.seconds = scorer, seconds
        self._has_frames = True

    def about(self) -> dict[str, Any]:
        """Return what the page says of the model: whether it reads prompts, its intervals, its limit."""
        trust = self.scorer.trust
        return {
            "reads_text": self.scorer.reads_text,
            "seconds": self.seconds,
            "share": trust.share if trust.has_ends else None,
            "why_none": trust.why_none,
        }

    def __call__(self, path: Path, prompt: str = "") -> dict[str, Any]:
        """Score a file.

        Returns:
            Plain values: ``axes`` (name, title, scale, score, ends), ``unlike``, ``note``, ``seconds``, ``goes_on``,
            ``wave``, and ``frames`` with their times and, per axis, their scores, or None.

        Raises:
            ValueError: If it cannot be scored; the message names no file.
            RuntimeError: If the model fails at it.
        """
        try:
            (row,) = self.scorer.rows([path], prompt, self.seconds)
        except DeviceError as error:
            raise RuntimeError(str(error)) from error
        if _UNFORESEEN.match(row["error"]):
            raise RuntimeError(row["error"])
        if row["error"]:
            raise ValueError(row["error"].replace(str(path), "the clip"))
        drawn, frames = outline(path, self.seconds), self._frames(path, prompt)
        return {
            "axes": [{**axis._asdict(), "score": row[axis.name], "ends": _interval(row, axis.name)}
                     for axis in self.scorer.axes],
            "unlike": row.get(UNLIKE),
            "note": row["note"],
            "seconds": drawn.seconds,
            "goes_on": drawn.goes_on,
            "wave": np.round(drawn.columns.astype(float), 3).tolist(),
            "frames": None if frames is None else _plain(frames),
        }  # fmt: skip

    def _frames(self, path: Path, prompt: str) -> ScoredFrames | None:
        """Score the frames, unless the head was found to have none."""
        found = self.scorer.frame_scores(path, prompt, self.seconds) if self._has_frames else None
        self._has_frames = found is not None
        return found


def _interval(row: dict[str, Any], axis: str) -> list[float] | None:
    ends = [end for name in ENDS if (end := row.get(f"{axis} {name}")) is not None]
    return ends if len(ends) == len(ENDS) else None


def _plain(frames: ScoredFrames) -> dict[str, Any]:
    starts, ends, scores = (np.round(values, 4).T.tolist() for values in frames.at_most(MOST_COLUMNS))
    return {"starts": starts, "ends": ends, "scores": scores}
