"""AES-Natural and what was released with it: natural audio, the AudioMOS 2025 track 2 evaluation set, and PAM."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning_aqa.batch import Axis
from lightning_aqa.data.aes_natural_sources import (
    AUDIOMOS,
    CHALLENGE,
    EVALUATION_FOLDER,
    SOURCES,
    WHERE_TO_GET,
    Location,
    check_roots,
    evaluation_audio,
    find_location,
)
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.parsing import (
    Ratings,
    Row,
    by_listener,
    entries_of,
    how_to_get,
    mean_scores,
    parse_ratings,
    parse_score,
    read_cells,
    rows_with,
    unique_clips,
)
from lightning_aqa.data.validation import CorpusError

_log = logging.getLogger(__name__)

Part = Literal["natural", "evaluation", "pam"]
LocatedClip = tuple[str, Clip]

AXES = (
    Axis("PQ", "Production quality", 0.0, 10.0),
    Axis("PC", "Production complexity", 0.0, 10.0),
    Axis("CE", "Content enjoyment", 0.0, 10.0),
    Axis("CU", "Content usefulness", 0.0, 10.0),
)
COLUMNS = {axis.name: axis.title.title().replace(" ", "_") for axis in AXES}

LISTS = {"train": "audiomos2025-track2-train_list.csv", "dev": "audiomos2025-track2-dev_list.csv"}
NATURAL = ("AES_natural_speech.jsonl", "AES_natural_music.jsonl", "AES_natural_sound.jsonl")
EVALUATION = "audiomos2025_track2_human_annotations.jsonl"
EVALUATION_LIST = f"{EVALUATION_FOLDER}/sets/eval_list.txt"
PAM = "AES_PAM.jsonl"
SYSTEM_DOMAINS = "system_domains.csv"
FILES: dict[Part, tuple[str, ...]] = {
    "natural": (*LISTS.values(), *NATURAL),
    "evaluation": (EVALUATION, EVALUATION_LIST),
    "pam": (PAM,),
}
TOLERANCE = 1e-6


def read_aes_natural(
    root: str | Path,
    roots: Mapping[str, str] | None = None,
    include: Sequence[Part] | None = None,
    system_domains: Mapping[str, str] | str | Path | None = None,
) -> Manifest:
    """Read the released lists and ratings.

    A natural clip has no generating system, so its system is its source corpus; a PAM clip's is ``audio/<model>`` or
    ``music/<model>``. The ten ratings of a clip carry no names, so a listener's name is the position in the list.

    Args:
        root: Folder with the lists.
        roots: Folder of the audio per source corpus: LibriTTS, CommonVoice, EARS, MUSDB18, MusicCaps, AudioSet, PAM,
            and AudioMOS for the evaluation set; one not named is looked for in ``audio/<name>`` in ``root``. Paths
            that do not begin with ``/your_path/`` any more are taken as they are.
        include: Parts to read; None reads all that are there.
        system_domains: Domain per evaluation system, which its ids do not tell, or a CSV with the columns system and
            domain; None reads ``system_domains.csv`` in ``root`` where there is one.

    Returns:
        Clips with the splits ``train`` and ``dev`` (natural), ``test`` (evaluation set; ``eval`` where it comes without
        ratings) and ``pam``. Natural ratings without the two lists are all ``train``.

    Raises:
        CorpusError: If there is no list, or none of a part that ``include`` names.
        ValueError: If ``roots`` names an unknown corpus.
    """
    reading = _Reading(Path(root), roots or {})
    check_roots(reading.roots)
    beside = reading.root / SYSTEM_DOMAINS
    if system_domains is None and beside.is_file():
        system_domains = beside
    domains = read_system_domains(system_domains)
    there = [part for part, names in FILES.items() if any((reading.root / name).is_file() for name in names)]
    missing = [part for part in include or there or FILES if part not in there]
    if missing:
        names = ", ".join(name for part in missing for name in FILES[part])
        raise CorpusError(
            f"{root} has no list of {', '.join(missing)}: looked for {names}; {entries_of(reading.root)} "
            f"{how_to_get('AES-Natural', 'aes_natural')}"
        )
    clips: list[LocatedClip] = []
    for part in dict.fromkeys(include or there):
        if part == "natural":
            clips += reading.natural()
        elif part == "evaluation":
            clips += reading.evaluation(domains)
        else:
            clips += reading.rated(PAM, "pam")
    return Manifest(unique_clips(clips, reading.problems), AXES, reading.problems)


def read_system_domains(given: Mapping[str, str] | str | Path | None) -> Mapping[str, str]:
    """Return the domain per system, from a mapping or from a CSV with the columns system and domain."""
    if given is None or isinstance(given, Mapping):
        return given or {}
    problems: list[Problem] = []
    rows = rows_with(Path(given), ["system", "domain"], problems)
    if problems:
        raise CorpusError(f"{problems[0].where}: {problems[0].what}")
    return {str(row.fields["system"]).strip(): str(row.fields["domain"]).strip() for row in rows}


class _Reading:
    """One reading of the lists: where they are, and what was wrong so far."""

    def __init__(self, root: Path, roots: Mapping[str, str]) -> None:
        self.root, self.roots = root, roots
        self.problems: list[Problem] = []

    def natural(self) -> Iterator[LocatedClip]:
        """Yield the clips of the two lists with their ratings; without the lists, those of the ratings."""
        names = [name for name in NATURAL if (self.root / name).is_file()]
        rated = [entry for name in names for entry in self.rated(name, "train")]
        lists = [(split, name) for split, name in LISTS.items() if (self.root / name).is_file()]
        if not lists:
            yield from rated
        by_id = {clip.id: (where, clip) for where, clip in rated}
        num_alone = 0
        for where, clip, rated_id in [entry for split, name in lists for entry in self._listed(name, split)]:
            rated_where, rated_clip = by_id.get(rated_id, ("", clip))
            self.problems += _differences(where, clip, rated_where, rated_clip)
            num_alone += rated_id not in by_id
            yield where, replace(clip, ratings=rated_clip.ratings)
        if by_id and num_alone:
            _log.warning("%s: %d listed clips have no ratings in %s.", self.root, num_alone, ", ".join(names))

    def _listed(self, name: str, split: str) -> Iterator[tuple[str, Clip, str]]:
        """Yield the clips of a CSV list with their mean scores, and the id that ``rated`` gives the same path."""
        for row in self._rows(name, ["sample_id", "data_path", *COLUMNS.values()]):
            clip_id = str(row.fields["sample_id"]).strip()
            scores = {
                axis.name: parse_score(row.fields[COLUMNS[axis.name]], axis, row.where, self.problems, clip_id)
                for axis in AXES
            }
            clip = self._clip(row, split, scores)
            yield row.where, replace(clip, id=clip_id), clip.id

    def rated(self, name: str, split: str) -> Iterator[LocatedClip]:
        """Yield the clips of a file with the ratings of single listeners."""
        for row in self._rows(name, ["data_path", *COLUMNS.values()]):
            ratings = self._ratings(row)
            yield row.where, self._clip(row, split, mean_scores(ratings, AXES), ratings)

    def evaluation(self, domains: Mapping[str, str]) -> Iterator[LocatedClip]:
        """Yield the clips of the evaluation set, rated where the annotations are there."""
        folder = evaluation_audio(self.root, self.roots)
        if (self.root / EVALUATION).is_file():
            rows = self._rows(EVALUATION, ["data_path", *COLUMNS.values()])
            rated = [(row.where, str(row.fields["data_path"]), self._ratings(row)) for row in rows]
        else:
            rated = [(where, cells[0], {}) for where, cells in read_cells(self.root / EVALUATION_LIST)]
        for where, name, ratings in rated:
            clip_id = name.strip().removesuffix(".wav")
            system = clip_id.removeprefix(CHALLENGE).split("-")[0]
            split = "test" if ratings else "eval"
            yield where, Clip(
                clip_id, str(folder / f"{clip_id}.wav"), system=system, domain=domains.get(system, ""),
                split=split, scores=mean_scores(ratings, AXES), ratings=ratings, source=AUDIOMOS,
            )  # fmt: skip

    def _rows(self, name: str, columns: Sequence[str]) -> list[Row]:
        return rows_with(self.root / name, columns, self.problems)

    def _ratings(self, row: Row) -> Ratings:
        found = {a.name: parse_ratings(row.fields.get(COLUMNS[a.name]), a, row.where, self.problems) for a in AXES}
        return by_listener(found)

    def _clip(self, row: Row, split: str, scores: Mapping[str, float], ratings: Ratings | None = None) -> Clip:
        """Return the clip of a row, named after its path as the challenge does."""
        data_path = str(row.fields["data_path"])
        location = find_location(data_path, self.root, self.roots)
        if location is None:
            folders = ", ".join(source.folder for source in SOURCES.values())
            what = f"none of the folders {folders} is in {data_path}"
            clip_id = str(row.fields.get("sample_id", data_path)).strip()
            self.problems.append(Problem("unknown source", row.where, what, clip_id))
            return Clip(data_path, data_path, split=split, scores=scores, ratings=ratings or {})
        domain, system, clip_id = _describe(location)
        return Clip(
            clip_id, location.path, system=system, domain=domain, split=split,
            scores=scores, ratings=ratings or {}, source=location.source,
        )  # fmt: skip


def _describe(location: Location) -> tuple[str, str, str]:
    """Return the domain, the system and the id of a clip from its location."""
    if location.source == "PAM":
        folders = location.key.split("/")[2:4]
        return "music" if folders[:1] == ["music"] else "sound", "/".join(folders), location.name
    domain = SOURCES[location.source].domain
    kind = "audio" if domain == "sound" else domain
    return domain, location.source, f"{CHALLENGE}{kind}-{location.name}"


def _differences(where: str, clip: Clip, rated_where: str, rated: Clip) -> Iterator[Problem]:
    for axis, score in clip.scores.items():
        mean = rated.scores.get(axis, score)
        if abs(score - mean) > TOLERANCE:
            what = f"{axis} is {score:g}, the mean of its ratings at {rated_where} is {mean:g}"
            yield Problem("mean differs from ratings", where, what, source=clip.source)


class AESNatural(AQADataModule):
    """Serve AES-Natural, the AudioMOS 2025 track 2 evaluation set and PAM, from the released lists and your audio.

    Args:
        root: Folder with the released lists.
        roots: Folder of the audio per source corpus: LibriTTS, CommonVoice, EARS, MUSDB18, MusicCaps, AudioSet, PAM,
            and AudioMOS for the evaluation set; one not named is looked for in ``audio/<name>`` in ``root``.
        include: Parts to read; null reads all whose lists are there.
        system_domains: Domain per evaluation system, which its ids do not tell, or a CSV with the columns system and
            domain; null reads ``system_domains.csv`` in ``root`` where there is one.
    """

    where_to_get = WHERE_TO_GET

    def __init__(
        self,
        root: str,
        roots: dict[str, str] | None = None,
        include: list[Part] | None = None,
        system_domains: dict[str, str] | str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        check_roots(roots or {})
        self.root, self.roots, self.include, self.system_domains = root, roots, include, system_domains

    def read(self) -> Manifest:
        """Read the lists."""
        return read_aes_natural(self.root, self.roots, self.include, self.system_domains)
