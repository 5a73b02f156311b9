"""Axes of a mix: which ones its corpora share, by name, and the map of each corpus's scale onto the common one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from lightning_aqa.batch import Axis
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.text import did_you_mean

ScaleMap = Literal["linear", "none"]


class AxisMap(NamedTuple):
    """Line from the scale of a corpus's axis to that of the common one.

    Args:
        name: The common axis.
        slope: Points of the common scale per point of the corpus's.
        offset: Score on the common scale of a zero on the corpus's.
    """

    name: str
    slope: float = 1.0
    offset: float = 0.0

    @classmethod
    def between(cls, own: Axis, common: Axis) -> AxisMap:
        r"""Map the ends of one scale to the ends of another.

        .. math:: y' = l' + (y - l) \frac{h' - l'}{h - l}

        Args:
            own: Axis of the corpus, from l to h.
            common: Axis of the mix, from l' to h'.

        Example:
            >>> line = AxisMap.between(Axis("PQ", "", 0, 10), Axis("quality", "", 1, 5))
            >>> line(0.0), line(2.5), line(10.0)
            (1.0, 2.0, 5.0)
        """
        slope = (common.high - common.low) / (own.high - own.low)
        return cls(common.name, slope, common.low - slope * own.low)

    def __call__(self, score: float) -> float:
        """Return a score on the common scale, to six decimals, so that what tied still ties; NaN stays NaN."""
        return score if (self.slope, self.offset) == (1.0, 0.0) else round(self.offset + self.slope * score, 6)


def renamed(corpus: str, axes: Sequence[Axis], names: Mapping[str, str]) -> dict[str, Axis]:
    """Return the axes of a corpus by the names that the mix has for them.

    Args:
        corpus: Its name, for messages.
        axes: Its axes.
        names: Name in the mix per name of the corpus; one that is not there keeps its name.

    Raises:
        CorpusError: If a name is of no axis, or two axes get one name.
    """
    own = [axis.name for axis in axes]
    for name in names:
        if name not in own:
            has = ", ".join(own) or "no axis"
            raise CorpusError(f"Mix: names.{corpus} has {name}, and {corpus} rates {has}.{did_you_mean(name, own)}")
    found = {names.get(axis.name, axis.name): axis for axis in axes}
    if len(found) < len(axes):
        raise CorpusError(f"Mix: names.{corpus} gives one name to two axes of {corpus}: {', '.join(own)}.")
    return found


def common_axes(corpora: Mapping[str, Mapping[str, Axis]], scale_map: ScaleMap) -> tuple[Axis, ...]:
    """Return all axes of the corpora, each on the scale of the first corpus that rates it.

    Args:
        corpora: Axes by common name per corpus.
        scale_map: With ``none`` an axis reaches over the scales of all corpora that rate it.
    """
    found: dict[str, Axis] = {}
    for axes in corpora.values():
        for name, axis in axes.items():
            known = found.setdefault(name, axis._replace(name=name))
            if scale_map == "none":
                found[name] = known._replace(low=min(known.low, axis.low), high=max(known.high, axis.high))
    return tuple(found.values())


def check_shared(corpora: Mapping[str, Mapping[str, Axis]], axes: Sequence[Axis], *, disjoint: bool) -> None:
    """Refuse corpora that no axis joins to the others, since nothing that is learned of one bears on the other.

    Args:
        corpora: Axes by common name per corpus.
        axes: Axes of the mix.
        disjoint: Whether that is wanted.

    Raises:
        CorpusError: If a corpus rates none of the axes, or shares none with the others; the line names both.
    """
    wanted = [axis.name for axis in axes]
    rated = {corpus: [name for name in own if name in wanted] for corpus, own in corpora.items()}
    for corpus, names in rated.items():
        if not names:
            own = ", ".join(corpora[corpus]) or "nothing"
            raise CorpusError(
                f"Mix: corpus {corpus} rates {own}, and none of the axes of the mix, {', '.join(wanted) or 'none'}; "
                f"say which is one of these, such as {_example(corpus, corpora[corpus].values(), wanted)}"
            )
    first, *others = rated
    joined, reached = {first}, set(rated[first])
    while more := {corpus for corpus in others if corpus not in joined and reached & set(rated[corpus])}:
        joined |= more
        reached |= {name for corpus in more for name in rated[corpus]}
    alone = [corpus for corpus in others if corpus not in joined]
    if alone and not disjoint:
        own_axes = [axis for name, axis in corpora[alone[0]].items() if name in wanted]
        raise CorpusError(
            f"Mix: corpora {first} ({', '.join(rated[first])}) and {alone[0]} ({', '.join(rated[alone[0]])}) have no "
            f"axis in common; call one as the other does, such as {_example(alone[0], own_axes, rated[first])}, "
            "or train side by side with --data.disjoint=true"
        )


def _example(corpus: str, own: Iterable[Axis], wanted: Sequence[str]) -> str:
    axis, name = next((axis.name for axis in own), "AXIS"), next(iter(wanted), "NAME")
    return f"--data.names='{{{corpus}: {{{axis}: {name}}}}}'"


def find_maps(corpus: str, own: Mapping[str, Axis], axes: Sequence[Axis], scale_map: ScaleMap) -> dict[str, AxisMap]:
    """Return the map of each axis of a corpus that the mix has, by the corpus's own name of it.

    Args:
        corpus: Its name, for messages.
        own: Its axes by common name.
        axes: Axes of the mix.
        scale_map: ``linear`` maps scale onto scale, ``none`` leaves scores as they are.

    Raises:
        CorpusError: If scores are left as they are, and the common scale does not hold them.
    """
    found = {}
    for common in axes:
        if (axis := own.get(common.name)) is None:
            continue
        if scale_map == "none" and not common.low <= axis.low <= axis.high <= common.high:
            raise CorpusError(
                f"Mix: scale_map=none leaves {axis.name} of {corpus} on {axis.low:g} to {axis.high:g}, which "
                f"{common.name} with {common.low:g} to {common.high:g} does not hold; widen axes, or map it (linear)."
            )
        found[axis.name] = AxisMap.between(axis, common) if scale_map == "linear" else AxisMap(common.name)
    return found
