"""Groups of clips that pairs link, which splits keep together where that is possible."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from lightning_aqa.data.manifest import Manifest

LARGEST = 0.1
"""Share of the clips above which a group is too large for a split to take whole."""


def linked_groups(manifest: Manifest) -> list[str]:
    """Return the group of each clip: clips that pairs link, directly or by others, and the parts of one file.

    Where all compare with all, there is one group, which no split could take whole: of a group of more than a tenth of
    the clips each file is a group of its own, and pairs of clips in different splits are lost.

    Args:
        manifest: The clips with their pairs.

    Returns:
        Names that do not depend on the order of clips or pairs.

    Example:
        >>> from lightning_aqa.data.manifest import Clip, Pair
        >>> clips = [Clip(name, f"{name}.wav") for name in "abcdefghijklmnopqrstuvwxyz"]
        >>> linked_groups(Manifest(clips, [], pairs=[Pair("c", "b", "a", "overall")]))[:4]
        ['clip a', 'clip b', 'clip b', 'clip d']
    """
    files = [(f"file {os.path.normpath(clip.path)}", clip.id) for clip in manifest]
    by_file = _roots(files)
    whole = _roots([*files, *((pair.clip_a, pair.clip_b) for pair in manifest.pairs)])
    sizes = Counter(whole[clip.id] for clip in manifest)
    most = max(2.0, LARGEST * len(manifest))
    chosen = [whole if sizes[whole[clip.id]] <= most else by_file for clip in manifest]
    groups = [of[clip.id] for of, clip in zip(chosen, manifest, strict=True)]
    first: dict[str, str] = {}
    for clip, group in sorted(zip(manifest, groups, strict=True), key=lambda found: found[0].id):
        first.setdefault(group, clip.id)
    return [f"clip {first[group]}" for group in groups]


def _roots(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return a name per member that all that are linked have in common."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for one, other in links:
        parent[root(one)] = root(other)
    return {name: root(name) for name in tuple(parent)}
