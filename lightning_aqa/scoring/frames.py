"""Scores along a clip: those of its frames, from heads that score each, at their times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Output

Numbers = NDArray[np.float64]


class ScoredFrames(NamedTuple):
    """Scores of the frames of one clip, in the order of time.

    Args:
        starts: Where each frame begins, in seconds from the start of the clip, shape ``(F,)``.
        ends: Where it ends, likewise.
        scores: In score points, shape ``(F, A)``. Their mean, weighted by length, is the score of the clip.
    """

    starts: Numbers
    ends: Numbers
    scores: Numbers

    def at_most(self, num_frames: int) -> ScoredFrames:
        """Return means of neighbours, so that no more frames than these are left.

        Example:
            >>> times = np.arange(4.0)
            >>> ScoredFrames(times, times + 1, np.array([[1.0], [2.0], [4.0], [6.0]])).at_most(2).scores.tolist()
            [[1.5], [5.0]]
        """
        if len(self.starts) <= num_frames:
            return self
        pieces = np.array_split(np.arange(len(self.starts)), num_frames)
        lengths_F = self.ends - self.starts
        means = [np.average(self.scores[piece], axis=0, weights=lengths_F[piece]) for piece in pieces]
        first, last = [piece[0] for piece in pieces], [piece[-1] for piece in pieces]
        return ScoredFrames(self.starts[first], self.ends[last], np.stack(means))


def frames_of(output: Output, begin: float, seconds: float) -> ScoredFrames | None:
    """Spread the frames of one window evenly over its time; None from heads without scores of frames.

    Args:
        output: Output for this window alone.
        begin: Where it begins, in seconds.
        seconds: Its length.
    """
    if output.frame_scores is None or output.frame_mask is None:
        return None
    scores_FA = output.frame_scores[0, output.frame_mask[0]].detach().cpu().double().numpy()
    edges = begin + seconds * np.arange(len(scores_FA) + 1) / max(len(scores_FA), 1)
    return ScoredFrames(edges[:-1], edges[1:], scores_FA)


def joined(windows: Sequence[ScoredFrames]) -> ScoredFrames:
    """Return the frames of windows one after the other."""
    return ScoredFrames(*(np.concatenate(parts) for parts in zip(*windows, strict=True)))
