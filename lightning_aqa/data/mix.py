"""Several corpora as one: axes by name on common scales, ids and systems that say whose they are."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader

from lightning_aqa.batch import PART, check_names, make_axes
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.corpus_sampling import CorpusDraw
from lightning_aqa.data.dataset import WindowRow
from lightning_aqa.data.loader import ResumableLoader
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.mix_axes import AxisMap, ScaleMap, check_shared, common_axes, find_maps, renamed
from lightning_aqa.data.mix_pairs import files_heard_in_training, joined_pairs, on_known_scales
from lightning_aqa.data.pair_batches import check_settings
from lightning_aqa.data.pairs import with_compared
from lightning_aqa.data.samplers import TrainingBatches
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.text import did_you_mean

_log = logging.getLogger(__name__)

OF_THE_MIX = (
    "batch_size", "batch_seconds", "max_padding", "eval_batch_size", "num_workers", "seed", "on_bad_clip", "check",
    "window_seconds", "cache", "resampler", "normalise", "augment", "cache_form", "cache_precision", "targets",
    "teacher",
)  # fmt: skip
"""Settings of loading, which a mix has for all of its corpora together."""

SEEN_TEST = "test_seen"
"""Split of the test clips of corpora that are trained on, where another corpus is left out as the test."""


class Mix(AQADataModule):
    """Serve several corpora as one: axes by name, NaN where a corpus does not rate one, scores on common scales.

    A clip of corpus ``a`` is called ``a/id``, its system ``a/system``, its listeners ``a/listener``: equal names of two
    corpora stay two. Its domain is the corpus, ``a``, or ``a/music`` where the corpus has several domains of its own,
    so that validation, results and report have a table per corpus, and one per domain inside it. Pairs of a corpus are
    pairs of the mix; an axis that they alone are about takes the scale of the corpora that rate it. All files are read
    at the encoder's sample rate. Settings of loading are the mix's, for all corpora.

    Args:
        corpora: The corpora by names of yours, each with class_path and init_args as under ``data:``.
        names: Per corpus, the mix's name for an axis of its own, such as ``{a: {MI: quality}}``.
        axes: Lowest and highest score per common axis, and no others; null takes all, each on the scale of the first
            corpus that rates it.
        scale_map: Map scores linearly from a corpus's scale onto the common one (``linear``), or leave them as they are
            (``none``).
        temperature: T of the draws n^(1/T) from a corpus of n rated training clips per epoch: 1 draws each clip once,
            larger draws more evenly. Pairs come once each.
        test_on: Corpora that are left out of training and are the split ``test``: their test clips, or all where they
            have none. Test clips of the others are then the split ``test_seen``.
        disjoint: Whether corpora without a common axis are meant to be trained side by side.
    """

    def __init__(
        self,
        corpora: dict[str, AQADataModule],
        names: dict[str, dict[str, str]] | None = None,
        axes: dict[str, list[float]] | None = None,
        scale_map: ScaleMap = "linear",
        temperature: float = 1.0,
        test_on: list[str] | None = None,
        disjoint: bool = False,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.corpora, self.names, self.test_on = corpora, names or {}, test_on or []
        self.scale_map: ScaleMap = scale_map
        self.temperature, self.disjoint = temperature, disjoint
        self.common = None if axes is None else make_axes(axes)
        self.maps: dict[str, dict[str, AxisMap]] = {}
        self._origins: dict[str, tuple[str, Clip]] = {}
        self._check()
        self.where_to_get = {name: text for data in corpora.values() for name, text in data.where_to_get.items()}

    def _check(self) -> None:
        """Refuse settings that do not go together."""
        check_names("corpora", self.corpora)
        if len(self.corpora) < 2 or any(PART in name for name in self.corpora):
            raise ValueError(f"corpora names {', '.join(self.corpora) or 'none'}; expected two or more, none with a /.")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature:g}.")
        if self.temperature != 1 and self.batch_seconds is not None:
            raise ValueError(
                f"temperature={self.temperature:g} draws other clips in each epoch, which batch_seconds cannot cut: "
                "give batch_size, and null for batch_seconds."
            )
        self._check_named("names", self.names)
        self._check_named("test_on", self.test_on)
        if set(self.test_on) == set(self.corpora):
            raise ValueError("test_on names all corpora, and leaves none to train on.")
        for name, data in self.corpora.items():
            _check_corpus(name, data)

    def _check_named(self, option: str, named: Iterable[str]) -> None:
        for name in named:
            if name not in self.corpora:
                near = did_you_mean(name, list(self.corpora))
                raise ValueError(f"{option} names {name}; the corpora are {', '.join(self.corpora)}.{near}")

    def read(self) -> Manifest:
        """Read all corpora, and join them."""
        read = {name: self._read(name, data) for name, data in self.corpora.items()}
        own = {name: renamed(name, manifest.axes, self.names.get(name, {})) for name, manifest in read.items()}
        own = on_known_scales(own, read, self.common or ())
        axes = self.common or common_axes(own, self.scale_map)
        check_shared(own, axes, disjoint=self.disjoint)
        self.maps = {name: find_maps(name, own[name], axes, self.scale_map) for name in read}
        joined = [clip for name, manifest in read.items() for clip in self._joined(name, manifest)]
        problems = [problem for name, manifest in read.items() for problem in self._problems(name, manifest)]
        published = {
            f"{name}{PART}{system}": _mapped(scores, self.maps[name])
            for name, manifest in read.items()
            for system, scores in manifest.system_scores.items()
        }
        pairs = [
            pair
            for name, manifest in read.items()
            for pair in joined_pairs(name, manifest, self.maps[name], self._origins)
        ]
        found = with_compared(Manifest(joined, axes, problems, published, pairs))
        self._check_joined(found)
        return found

    def _check_joined(self, manifest: Manifest) -> None:
        """Refuse settings that do not go with the pairs, and warn of test clips that training hears elsewhere."""
        if manifest.pairs:
            check_settings(self.batch_seconds, augmented=bool(self.augment))
            if self.temperature != 1 and not manifest.has_ratings("train"):
                raise CorpusError(
                    f"temperature={self.temperature:g} draws rated clips, and the training clips are in pairs alone, "
                    "each of which comes once an epoch: drop it (--data.temperature=1)."
                )
        if heard := files_heard_in_training(manifest):
            path, trained, other = heard[0]
            _log.warning(
                "Mix: %d files are training clips of one corpus and in another split of another, such as %s (train of "
                "%s, %s): the results of that split are not of unheard clips. Pairs of clips that a table rates belong "
                "into one corpus with it: PairTable with ratings.", len(heard), path, trained, other,
            )  # fmt: skip

    def _read(self, name: str, data: AQADataModule) -> Manifest:
        data.on_bad_clip = self.on_bad_clip
        try:
            return data.manifest
        except CorpusError as error:
            raise CorpusError(f"corpora.{name}: {error}") from None

    def _joined(self, name: str, manifest: Manifest) -> Iterator[Clip]:
        """Yield the clips of a corpus as those of the mix."""
        is_left_out = name in self.test_on
        takes_all = is_left_out and len(manifest.split("test").where(Clip.is_rated)) == 0
        if takes_all:
            _log.warning("Mix: %s has no rated split 'test'; all of its clips are the test.", name)
        has_domains = len({clip.domain for clip in manifest} - {""}) > 1
        maps = self.maps[name]
        for clip in manifest:
            if is_left_out and not takes_all and clip.split != "test":
                continue
            split = "test" if is_left_out else SEEN_TEST if self.test_on and clip.split == "test" else clip.split
            joined = replace(
                clip,
                id=f"{name}{PART}{clip.id}",
                system=clip.system and f"{name}{PART}{clip.system}",
                domain=f"{name}{PART}{clip.domain}" if has_domains and clip.domain else name,
                split=split,
                scores=_mapped(clip.scores, maps),
                ratings={f"{name}{PART}{who}": _mapped(given, maps) for who, given in clip.ratings.items()},
            )
            self._origins[joined.id] = name, clip
            yield joined

    def _problems(self, name: str, manifest: Manifest) -> Iterator[Problem]:
        """Yield the problems of a corpus, but for those of clips that are left out."""
        left_out = {clip.id for clip in manifest if f"{name}{PART}{clip.id}" not in self._origins}
        for problem in manifest.problems:
            if problem.clip_id not in left_out:
                yield replace(problem, clip_id=problem.clip_id and f"{name}{PART}{problem.clip_id}")

    @property
    def described(self) -> dict[str, Any]:
        """Class of each corpus, and the axis and the line that each axis of it is mapped to, for the run folder."""
        maps = {name: {own: line._asdict() for own, line in of.items()} for name, of in self.maps.items()}
        return {name: {"class": type(data).__name__, "axes": maps[name]} for name, data in self.corpora.items()}

    def group_of(self, clip: Clip) -> str:
        """Return what of a clip the splits of its corpus keep together."""
        name, own = self._origins[clip.id]
        return f"{name}{PART}{self.corpora[name].group_of(own)}"

    @property
    def is_simulated(self) -> bool:
        """Whether some of the corpora are made up."""
        return any(data.is_simulated for data in self.corpora.values())

    def train_dataloader(self) -> DataLoader[WindowRow]:
        """Serve the split ``train``, shuffled by (seed, epoch), from the corpora as ``temperature`` says."""
        loader = super().train_dataloader()
        if self.temperature != 1:
            assert isinstance(loader, ResumableLoader)
            batches = loader.rest.batches
            assert isinstance(batches, TrainingBatches)
            clips = self.rated("train")
            of_clips = [self._origins[clips[i].id][0] for i in batches.drawn]
            batches.draw = CorpusDraw(of_clips, self.temperature)
        return loader


def _mapped(scores: Mapping[str, float], maps: Mapping[str, AxisMap]) -> dict[str, float]:
    return {maps[name].name: maps[name](float(score)) for name, score in scores.items() if name in maps}


def _check_corpus(name: str, data: AQADataModule) -> None:
    """Refuse a corpus that is a mix itself, that sets what is the mix's, or that is to be cross-validated."""
    if isinstance(data, Mix):
        raise ValueError(f"corpora.{name} is a Mix; name its corpora beside the others.")
    plain = object.__new__(Mix)
    AQADataModule.__init__(plain)
    for setting in OF_THE_MIX:
        value = getattr(data, setting)
        if value != getattr(plain, setting):
            raise ValueError(
                f"corpora.{name} sets {setting}={value}, which is one for all corpora: --data.{setting}={value}"
            )
    if getattr(data, "folds", None) is not None and not isinstance(getattr(data, "fold", None), int):
        raise ValueError(
            f"corpora.{name} has folds={getattr(data, 'folds', None)}, and a mix is not cross-validated: name the fold "
            f"that is its test (fold: 0), or drop folds."
        )
