"""The same recording in two files: found by its samples, and, coded again, cut or louder, by its spectrum."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint32]
RATE, FRAME, HOP = 5512, 2048, 64
"""Hz, and samples: frames of 0.37 s every 11.6 ms."""
BANDS = 33
LOWEST, HIGHEST = 300.0, 2000.0
FEWEST = 90
"""Frames, one second, that two clips must share."""
MOST_ERRORS = 0.32
"""Share of differing bits below which two clips are one recording; of unrelated ones it is near one half."""
SILENT = 1e-5
"""Power of a frame against that of the loudest one, below which its bits say nothing."""
CANDIDATES = 4


class Fingerprint(NamedTuple):
    """Marks of a recording.

    Args:
        id: Name of the clip.
        exact: Hash of its samples as 16-bit numbers.
        bits: 32 bits of each frame that is not silent, shape ``(F,)``.
        frames: Position of each of these, shape ``(F,)``.
    """

    id: str
    exact: str
    bits: Bits
    frames: NDArray[np.intp]


class Match(NamedTuple):
    """A clip and one of others that is the same recording.

    Args:
        clip: The clip.
        other: The other one.
        kind: ``copy`` where all samples are equal, else ``version``.
        errors: Share of differing bits; 0 of a copy.
        seconds: Length that both have in common.
    """

    clip: str
    other: str
    kind: Literal["copy", "version"]
    errors: float
    seconds: float


def fingerprint(id_: str, samples: NDArray[np.float32], sample_rate: int) -> Fingerprint:
    """Take the fingerprint of a clip: the signs of the differences of the energies of bands, over bands and time.

    Args:
        id_: Name of the clip.
        samples: Mono, shape ``(T,)``, full scale 1.
        sample_rate: In Hz.

    Reference:
        Haitsma and Kalker, "A highly robust audio fingerprinting system", ISMIR 2002.
        Differs: silent frames have no bits, and bits are looked up with each single one flipped.
    """
    import soxr

    exact = hashlib.sha256(np.round(samples.astype(np.float64) * 32768).astype(np.int32).tobytes()).hexdigest()
    low = np.asarray(soxr.resample(samples.astype(np.float64), sample_rate, RATE))
    if len(low) < FRAME + HOP:
        return Fingerprint(id_, exact, np.zeros(0, np.uint32), np.zeros(0, np.intp))
    windows = np.lib.stride_tricks.sliding_window_view(low, FRAME)[::HOP]
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1) * FRAME / RATE
    power = np.concatenate(
        [_bands(windows[start : start + 512], edges.astype(int)) for start in range(0, len(windows), 512)]
    )
    over_bands = power[:, :-1] - power[:, 1:]
    signs = (over_bands[1:] - over_bands[:-1]) > 0
    bits = (signs.astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(1).astype(np.uint32)
    total = power[1:].sum(1)
    kept = np.flatnonzero(total > SILENT * max(float(total.max()), 1e-20))
    return Fingerprint(id_, exact, bits[kept], kept)


def _bands(windows: NDArray[np.float64], edges: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the energy of each window between edges, in bins of its spectrum."""
    energies = np.abs(np.fft.rfft(windows * np.hanning(FRAME), axis=1)) ** 2
    return np.asarray(np.add.reduceat(energies, edges, axis=1)[:, :BANDS])


class Recordings:
    """Fingerprints of clips, among which those of others are looked up.

    Args:
        clips: The clips.
    """

    def __init__(self, clips: Iterable[Fingerprint]) -> None:
        self.clips = list(clips)
        self._exact = {clip.exact: clip.id for clip in reversed(self.clips)}
        sizes = [len(clip.bits) for clip in self.clips]
        bits = np.concatenate([clip.bits for clip in self.clips] or [np.zeros(0, np.uint32)])
        self._order = np.argsort(bits, kind="stable")
        self._sorted = bits[self._order]
        self._owner = np.repeat(np.arange(len(self.clips)), sizes)
        self._frame = np.concatenate([clip.frames for clip in self.clips] or [np.zeros(0, np.intp)])

    def find(self, clip: Fingerprint) -> Match | None:
        """Return the clip that is the same recording, the likest of several; None where there is none."""
        if clip.exact in self._exact:
            return Match(clip.id, self._exact[clip.exact], "copy", 0.0, len(clip.bits) * HOP / RATE)
        found = [self._compared(clip, *candidate) for candidate in self._candidates(clip)]
        likely = [match for match in found if match is not None]
        return min(likely, key=lambda match: match.errors) if likely else None

    def _candidates(self, clip: Fingerprint) -> list[tuple[int, int]]:
        """Return clips, each with the shift in frames at which most of its bits are met."""
        if not len(clip.bits) or not len(self._sorted):
            return []
        flips = np.concatenate([[0], 1 << np.arange(32)]).astype(np.uint32)
        wanted = (clip.bits[:, None] ^ flips).ravel()
        frames = np.repeat(clip.frames, len(flips))
        first, last = (np.searchsorted(self._sorted, wanted, side=side) for side in ("left", "right"))
        hit = np.flatnonzero((last > first) & (last - first <= 200))  # what stands everywhere tells nothing
        votes: Counter[tuple[int, int]] = Counter()
        for k in hit.tolist():
            at = self._order[first[k] : last[k]]
            votes.update(zip(self._owner[at].tolist(), (self._frame[at] - frames[k]).tolist(), strict=True))
        return [found for found, _ in votes.most_common(CANDIDATES)]

    def _compared(self, clip: Fingerprint, owner: int, shift: int) -> Match | None:
        """Compare two clips, frame by frame, at a shift and those next to it."""
        other = self.clips[owner]
        best: Match | None = None
        for near in (shift - 1, shift, shift + 1):
            _, here, there = np.intersect1d(clip.frames + near, other.frames, assume_unique=True, return_indices=True)
            if len(here) < FEWEST:
                continue
            differing = np.unpackbits((clip.bits[here] ^ other.bits[there]).view(np.uint8)).mean()
            if differing < MOST_ERRORS and (best is None or differing < best.errors):
                best = Match(clip.id, other.id, "version", float(differing), len(here) * HOP / RATE)
        return best


def matches(test: Sequence[Fingerprint], training: Sequence[Fingerprint]) -> list[Match]:
    """Return the test clips that are a recording of the training, each with the likest one."""
    recordings = Recordings(training)
    return [match for clip in test if (match := recordings.find(clip)) is not None]
