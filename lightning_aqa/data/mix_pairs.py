"""Pairs of a mix: those of its corpora under the mix's names, on axes whose scale the ratings of others say."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from lightning_aqa.batch import PART, Axis
from lightning_aqa.data.manifest import Clip, Manifest, Pair
from lightning_aqa.data.mix_axes import AxisMap


def compared_axes(manifest: Manifest) -> set[str]:
    """Return the axes of a corpus that pairs alone are about, whose scale therefore nobody knows.

    Args:
        manifest: Its clips and pairs.

    Example:
        >>> from lightning_aqa.batch import make_axes
        >>> pairs, axes = [Pair("x", "y", "a", "mos")], make_axes({"mos": [-4, 4]})
        >>> compared_axes(Manifest([Clip("x", "x.wav"), Clip("y", "y.wav")], axes, pairs=pairs))
        {'mos'}
    """
    if not manifest.pairs:
        return set()
    rated = {name for clip in manifest for name, score in clip.scores.items() if not math.isnan(score)}
    return {axis.name for axis in manifest.axes} - rated


def on_known_scales(
    corpora: Mapping[str, Mapping[str, Axis]], manifests: Mapping[str, Manifest], common: Sequence[Axis]
) -> dict[str, dict[str, Axis]]:
    """Give axes that pairs alone are about the scale of the mix, or of the first corpus whose clips are rated on them.

    Args:
        corpora: Axes by common name per corpus.
        manifests: Clips and pairs of each corpus.
        common: Axes of the mix, where they are given.

    Returns:
        The same, with other scales; an axis that nobody rates keeps its own.
    """
    known = {axis.name: axis for axis in common}
    compared = {corpus: compared_axes(manifests[corpus]) for corpus in corpora}
    for corpus, axes in corpora.items():
        for name, axis in axes.items():
            if axis.name not in compared[corpus]:
                known.setdefault(name, axis)
    return {
        corpus: {
            name: known.get(name, axis)._replace(name=axis.name) if axis.name in compared[corpus] else axis
            for name, axis in axes.items()
        }
        for corpus, axes in corpora.items()
    }


def joined_pairs(corpus: str, manifest: Manifest, maps: Mapping[str, AxisMap], clips: Container[str]) -> Iterator[Pair]:
    """Yield the pairs of a corpus as those of the mix.

    Args:
        corpus: Its name.
        manifest: Its clips and pairs.
        maps: Map per axis of the corpus that the mix has; pairs about others are left out.
        clips: Ids of the clips of the mix; pairs of others are left out.
    """
    for pair in manifest.pairs:
        one, other = (f"{corpus}{PART}{clip}" for clip in (pair.clip_a, pair.clip_b))
        if pair.axis in maps and one in clips and other in clips:
            listener = pair.listener and f"{corpus}{PART}{pair.listener}"
            yield Pair(one, other, pair.winner, maps[pair.axis].name, listener, pair.weight)


def files_heard_in_training(clips: Iterable[Clip]) -> list[tuple[str, str, str]]:
    """Return the files that are training clips of one corpus, and in another split of another corpus.

    Args:
        clips: Clips of the mix.

    Returns:
        Per file its path, the corpus that trains on it, and the other corpus with the split there, such as
        ``("x.wav", "a", "test of b")``.
    """
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for clip in clips:
        places[os.path.abspath(clip.path)].setdefault(clip.id.split(PART)[0], clip.split)
    found = []
    for path, splits in places.items():
        trained = next((corpus for corpus, split in splits.items() if split == "train"), "")
        others = [f"{split} of {corpus}" for corpus, split in splits.items() if split != "train"]
        if trained and others:
            found.append((path, trained, others[0]))
    return found
