"""Splits of a corpus: made by fractions or folds from a seed alone, and what leaks between them."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from lightning_aqa.data.linked import linked_groups
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.validation import CorpusError

SplitBy = Literal["clip", "system", "prompt", "pair"]
LEARNED = ("train", "dev")
"""Splits that may be learned from."""

MOST_FOLDS = 20
"""Folds that a column may name; one of more names is about something else."""

NO_COLUMN = "--data.columns='{split: \"\"}' leaves that column aside."
DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.8, "dev": 0.1, "test": 0.1}


def apportion(sizes: Mapping[str, int], fractions: Sequence[float], seed: int) -> dict[str, int]:
    """Share groups out, so that each part gets its fraction of the members as nearly as whole groups allow.

    The largest groups go first, equal ones in an order drawn from the seed and their names, each to the part that lacks
    most. The order of ``sizes`` does not matter, and no part of a positive fraction stays empty.

    Args:
        sizes: Number of members per group name.
        fractions: Wanted share of each part, with sum 1.
        seed: Seed of the draw.

    Returns:
        Index of its part per group name.

    Raises:
        ValueError: If there are fewer groups than parts to fill.

    Example:
        >>> sorted(apportion({"a": 2, "b": 1, "c": 1}, [0.5, 0.5], seed=0).items())
        [('a', 0), ('b', 1), ('c', 1)]
    """
    empty = {part for part, fraction in enumerate(fractions) if fraction > 0}
    if len(sizes) < len(empty):
        raise ValueError(f"{len(sizes)} groups cannot fill {len(empty)} splits.")
    lacking = [fraction * sum(sizes.values()) for fraction in fractions]
    order = sorted(sizes, key=lambda name: (-sizes[name], hashlib.sha256(f"{seed}:{name}".encode()).digest()))
    parts = {}
    for num_left, name in zip(range(len(order), 0, -1), order, strict=True):
        allowed = empty if num_left == len(empty) else range(len(fractions))
        part = max(allowed, key=lambda index: (lacking[index], -index))
        parts[name] = part
        lacking[part] -= sizes[name]
        empty.discard(part)
    return parts


def split_by_fractions(
    manifest: Manifest, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, by: SplitBy = "clip", seed: int = 0
) -> Manifest:
    """Return the clips with splits of the given shares.

    Args:
        manifest: The clips.
        fractions: Share of the clips per split name, with sum 1.
        by: What stays together: a file's parts (``clip``), a system's clips or a prompt's clips.
        seed: Seed of the draw; the order of the clips does not matter.

    Raises:
        CorpusError: If the clips name no system (prompt), or too few to fill the splits.
    """
    check_fractions(fractions)
    groups = _groups(manifest, by)
    parts = _apportioned(groups, list(fractions.values()), by, seed)
    names = list(fractions)
    return _assigned(manifest, [names[parts[group]] for group in groups])


def make_folds(manifest: Manifest, folds: int, by: SplitBy = "clip", seed: int = 0) -> Manifest:
    """Return the clips in folds ``"0"``, ``"1"`` and so on, of sizes as equal as the groups allow.

    Args:
        manifest: The clips.
        folds: Number of folds.
        by: What stays together: a file's parts (``clip``), a system's clips or a prompt's clips.
        seed: Seed of the draw; the order of the clips does not matter.

    Raises:
        CorpusError: If the clips name no system (prompt), or too few to fill the folds.
    """
    groups = _groups(manifest, by)
    most = len(set(groups))
    if 1 < folds > most:
        are = "is too few for any fold" if most < 2 else f"cannot fill {folds} folds: --data.folds={most} is the most"
        raise CorpusError(f"{most} {by}{'s' * (most != 1)} to learn from {are}.")
    parts = _apportioned(groups, [1 / folds] * folds, by, seed)
    return _assigned(manifest, [str(parts[group]) for group in groups])


class Folds(NamedTuple):
    """Clips to cross-validate, and those that stay out of it.

    Args:
        inside: Clips whose splits are the names of folds.
        apart: Clips of splits that no fold is to see, such as a test set of the user's.
        told: Sentence that says where both come from.
        own_dev: Ids of the clips inside that the table has for ``dev``.
    """

    inside: Manifest
    apart: Manifest
    told: str
    own_dev: frozenset[str] = frozenset()


def find_folds(manifest: Manifest, folds: int, by: SplitBy = "clip", seed: int = 0) -> Folds:
    """Divide clips into folds; splits and folds that the table itself names come first.

    Of a table with a split ``train``, the clips of ``train`` and ``dev`` are divided into folds, and all others stay
    apart. A table whose column has other names, such as 0 to 4, has named its folds; ``test`` beside them stays apart.

    Args:
        manifest: Clips with the splits of the table, empty where it has none.
        folds: Number of folds to make.
        by: What stays together in them.
        seed: Seed of the draw.

    Raises:
        CorpusError: If the table has splits and none is ``train``, names one fold or far too many, or if there are too
            few clips.
    """
    sizes = Counter(clip.split for clip in manifest if clip.split)
    shown = ", ".join(f"{name} {count}" for name, count in list(sizes.items())[:MOST_FOLDS])
    if not sizes:
        told = f"{folds} folds are drawn by {by} (seed {seed})"
        return Folds(make_folds(manifest, folds, by, seed), manifest.where(lambda clip: False), told)
    manifest = manifest.where(lambda clip: bool(clip.split))
    if "train" not in sizes:
        return _own_folds(manifest, sizes)
    inside = manifest.where(lambda clip: clip.split in LEARNED)
    apart = manifest.where(lambda clip: clip.split not in LEARNED)
    own_dev = frozenset(clip.id for clip in inside if clip.split == "dev")
    learned = " and ".join(name for name in LEARNED if name in sizes)
    rest = ", ".join(name for name in sizes if name not in LEARNED)
    told = f"the splits are the table's own ({shown}): {folds} folds are drawn within {learned} by {by} (seed {seed})"
    told += f"; no fold sees {rest}" if rest else ""
    return Folds(make_folds(inside, folds, by, seed), apart, told, own_dev)


def _own_folds(manifest: Manifest, sizes: Mapping[str, int]) -> Folds:
    """Return the folds that a table without ``train`` has named; its ``test`` stays apart."""
    names = [name for name in sizes if name != "test"]
    shown = ", ".join(f"{name} {sizes[name]}" for name in names[:MOST_FOLDS] or sizes)
    if not names or "dev" in names:
        raise CorpusError(
            f"the table's own splits are {', '.join(sizes)}, and none is train, to learn from; rename one."
        )
    if not 1 < len(names) <= MOST_FOLDS:
        raise CorpusError(
            f"the table's own splits are {len(names)} ({shown}): expected train, dev and test, or the names of 2 "
            f"to {MOST_FOLDS} folds. {NO_COLUMN}"
        )
    apart = manifest.where(lambda clip: clip.split == "test")
    told = f"the {len(names)} folds are the table's own ({shown})" + ("; no fold sees test" if len(apart) else "")
    return Folds(manifest.where(lambda clip: clip.split != "test"), apart, told)


def learn_all(folds: Folds, fraction: float | None, by: SplitBy = "clip", seed: int = 0) -> Manifest:
    """Return all clips of the folds as ``train``, beside those that stay apart.

    Args:
        folds: The clips.
        fraction: Share of the clips that become ``dev``; None takes the table's own, or else as many as a fold has.
        by: What stays together when ``dev`` is drawn.
        seed: Seed of the draw.
    """
    if fraction != 0 and folds.own_dev:
        learned = _assigned(folds.inside, ["dev" if clip.id in folds.own_dev else "train" for clip in folds.inside])
    else:
        share = 1 / len(folds.inside.splits) if fraction is None else fraction
        learned = split_by_fractions(folds.inside, {"train": 1 - share, "dev": share}, by, seed)
    pairs = [*learned.pairs, *folds.apart.pairs]
    return Manifest([*learned, *folds.apart], learned.axes, learned.problems, learned.system_scores, pairs)


def hold_out(
    manifest: Manifest, fold: int, by: SplitBy = "clip", seed: int = 0, dev_fraction: float | None = None
) -> Manifest:
    """Return the clips of one fold as ``test``, and of the others as ``dev`` and ``train``.

    Args:
        manifest: Clips whose splits are the names of folds.
        fold: Which fold is ``test``, from 0, in the order of their names.
        by: What stays together when ``dev`` is drawn.
        seed: Seed of the draw of ``dev``.
        dev_fraction: Share of the clips outside the test fold that become ``dev``; None takes the next fold.

    Raises:
        ValueError: If there is no such fold, or nothing is left to train on.
    """
    names = sorted(manifest.splits, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    check_folds(len(names), fold, dev_fraction)
    test, dev = names[fold], names[(fold + 1) % len(names)]
    groups = _groups(manifest, by)
    rest = [group for group, clip in zip(groups, manifest, strict=True) if clip.split != test]
    drawn = {} if dev_fraction is None else _apportioned(rest, [1 - dev_fraction, dev_fraction], by, seed)
    splits = []
    for group, clip in zip(groups, manifest, strict=True):
        is_dev = clip.split == dev if dev_fraction is None else drawn.get(group) == 1
        splits.append("test" if clip.split == test else "dev" if is_dev else "train")
    return _assigned(manifest, splits)


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Raise ``ValueError`` unless the fractions are shares that sum to 1."""
    if min(fractions.values(), default=-1.0) < 0 or not math.isclose(math.fsum(fractions.values()), 1, abs_tol=1e-6):
        raise ValueError(
            f"fractions must be at least 0 and sum to 1, such as {dict(DEFAULT_FRACTIONS)}; got {fractions}."
        )


def check_folds(folds: int, fold: int, dev_fraction: float | None) -> None:
    """Raise ``ValueError`` unless one of the folds can be held out and something is left to train on."""
    least = 3 if dev_fraction is None else 2
    if folds < least:
        why = "test, dev and train" if dev_fraction is None else "test and train"
        raise ValueError(f"folds must be at least {least} to give {why}, got {folds}.")
    if not 0 <= fold < folds:
        raise ValueError(f"fold must be from 0 to {folds - 1}, got {fold}.")
    if dev_fraction is not None and not 0 <= dev_fraction < 1:
        raise ValueError(f"dev_fraction must be at least 0 and below 1, got {dev_fraction}.")


def kept_together(clip: Clip, by: SplitBy) -> str:
    """Return what of a clip the splits keep together: its file, where it has no system (prompt) either."""
    return {"system": clip.system, "prompt": clip.prompt}.get(by) or _file(clip)


def _groups(manifest: Manifest, by: SplitBy) -> list[str]:
    """Return the group of each clip, named by ids and not by paths, so that every machine draws the same splits.

    A clip without a system (prompt) is grouped with the other parts of its file.
    """
    if by == "pair":
        return linked_groups(manifest)
    first_id: dict[str, str] = {}
    for clip in sorted(manifest, key=lambda clip: clip.id):
        first_id.setdefault(_file(clip), clip.id)
    names = [{"clip": "", "system": clip.system, "prompt": clip.prompt}[by] for clip in manifest]
    if by != "clip" and not any(names):
        raise CorpusError(f"split_by={by} needs a {by} for each clip, and no clip has one; split by clip instead.")
    clips = zip(names, manifest, strict=True)
    return [f"{by} {name}" if name else f"file {first_id[_file(clip)]}" for name, clip in clips]


def _apportioned(groups: Iterable[str], fractions: Sequence[float], by: SplitBy, seed: int) -> dict[str, int]:
    try:
        return apportion(Counter(groups), fractions, seed)
    except ValueError as error:
        raise CorpusError(f"split_by={by}: {error} It takes more {by}s, or fewer splits.") from None


def _assigned(manifest: Manifest, splits: Iterable[str]) -> Manifest:
    return manifest.with_clips(replace(clip, split=split) for clip, split in zip(manifest, splits, strict=True))


def leakage(manifest: Manifest) -> list[str]:
    """Say in a sentence each what two splits share: audio, files, prompts, systems.

    Example:
        >>> clips = [Clip("1", "a.wav", split="train"), Clip("2", "a.wav", split="test")]
        >>> leakage(Manifest(clips, []))
        ['1 file is in more than one split with the same audio: a.wav (train, test).']
    """
    files = _by(manifest, _file)
    shared = {name: clips for name, clips in files.items() if _overlap_between_splits(clips)}
    parts = {name: clips for name, clips in files.items() if name not in shared}
    return [
        *_shared(shared, "file", "is in more than one split with the same audio"),
        *_shared(parts, "file", "is in more than one split with different parts"),
        *_shared(_by(manifest, lambda clip: clip.prompt), "prompt", "is in more than one split"),
        *_shared(
            _by(manifest, lambda clip: clip.system),
            "system",
            "is in more than one split (harmless unless you split by system)",
        ),
    ]


def _by(manifest: Manifest, key: Callable[[Clip], str]) -> dict[str, list[Clip]]:
    groups: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in manifest:
        groups[key(clip)].append(clip)
    groups.pop("", None)
    return groups


def _overlap_between_splits(clips: Sequence[Clip]) -> bool:
    """Tell whether two clips of one file, in different splits, share a stretch of time."""
    latest_end: dict[Hashable, float] = {}
    for clip in sorted(clips, key=lambda clip: clip.start):
        if any(end > clip.start for split, end in latest_end.items() if split != clip.split):
            return True
        end = math.inf if clip.end is None else clip.end
        latest_end[clip.split] = max(end, latest_end.get(clip.split, 0.0))
    return False


def _shared(groups: Mapping[str, Sequence[Clip]], noun: str, what: str) -> list[str]:
    splits = {name: list(dict.fromkeys(clip.split for clip in clips)) for name, clips in groups.items()}
    shared = [f"{name[:60]} ({', '.join(found)})" for name, found in splits.items() if len(found) > 1]
    if not shared:
        return []
    noun, what = (noun, what) if len(shared) == 1 else (f"{noun}s", what.replace("is in", "are in", 1))
    return [f"{len(shared)} {noun} {what}: {'; '.join(shared[:3])}{'; ...' if len(shared) > 3 else '.'}"]


def _file(clip: Clip) -> str:
    return os.path.normpath(clip.path)
