"""Plan simulated clips and ratings as MusicEval lies on disk: the same folders, lists and spellings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lightning_aqa.data.musiceval_files import AXES, CHALLENGE, DEMO_SYSTEMS
from lightning_aqa.data.synthesis.listeners import Panel
from lightning_aqa.data.synthesis.recordings import Plan, Recording, Settings, System, draw_systems, rng_for
from lightning_aqa.data.synthesis.tunes import Tune

FOLDER = "MusicEval-full"
NUM_LISTENERS = 14
RATINGS_PER_CLIP = 5
# 70 / 15 / 15 %, dealt out along the clips of each system in turn, so that every split hears every system.
SPLITS = [{"t": "train", "d": "dev", "e": "test"}[letter] for letter in "tttdttetttdttetttdte"]


class Rated(NamedTuple):
    """A clip with the ratings of its listeners: numbers of the listeners, and their ratings per axis name."""

    recording: Recording
    prompt_id: str
    prompt: str
    listeners: list[int]
    ratings: dict[str, list[int]]

    @property
    def name(self) -> str:
        """File name of the clip."""
        return self.recording.path.rsplit("/", 1)[1]


def plan_musiceval(settings: Settings) -> Plan:
    """Plan a corpus of music by text-to-music systems, in the layout of MusicEval-full.

    Every system answers the same prompts, the demo systems prompts of their own; five of fourteen listeners rate each
    clip from 1 to 5. ``system_mos`` holds the means over train and dev, as phase 1 of the challenge would publish them.

    Args:
        settings: Size, length, rate and seed.

    Returns:
        The clips and lists, below ``MusicEval-full``.
    """
    panel = Panel.draw(NUM_LISTENERS, AXES, rng_for(settings.seed, "listeners"))
    systems = draw_systems(settings.num_systems, rng_for(settings.seed, "systems"))
    places = [divmod(index, settings.num_systems) for index in range(settings.num_clips)]
    shuffled = sorted(places, key=lambda place: (place[1], rng_for(settings.seed, "split", str(place)).random()))
    splits = {place: SPLITS[index % len(SPLITS)] for index, place in enumerate(shuffled)}
    clips = [
        _clip(settings, panel, systems[number], number, prompt, splits[prompt, number]) for prompt, number in places
    ]
    clips.sort(key=lambda clip: clip.name)
    texts = {f"{FOLDER}/{path}": "".join(f"{line}\n" for line in lines) for path, lines in _lists(clips).items()}
    return Plan([clip.recording for clip in clips], texts)


def _clip(settings: Settings, panel: Panel, system: System, number: int, prompt: int, split: str) -> Rated:
    """Make one system answer one prompt, and have it rated."""
    system_id, prompt_id = f"S{number + 1:03d}", f"P{prompt + 1:03d}"
    name = f"{CHALLENGE}{system_id}_{prompt_id}.wav"
    rng = rng_for(settings.seed, "clip", name)
    tune = Tune.draw(rng_for(settings.seed, "prompt", name if system_id in DEMO_SYSTEMS else prompt_id))
    recording = Recording(
        path=f"{FOLDER}/wav/{name}",
        domain="music",
        scene=tune,
        strengths=system.strengths(rng),
        seconds=settings.draw_seconds(rng),
        sample_rate=settings.sample_rate,
        other=tune.draw_other(rng),
        wrong=system.wrong_fraction(rng),
        system=system_id,
        split=split,
    )
    listeners = sorted(rng.choice(NUM_LISTENERS, RATINGS_PER_CLIP, replace=False).tolist())
    return Rated(recording, prompt_id, tune.prompt, listeners, panel.rate(recording.truth(), listeners, rng))


def _lists(clips: list[Rated]) -> dict[str, list[str]]:
    """Write the lines of every list."""
    lists = {"sets/total_mos_list.txt": [_scores(clip.name, [clip]) for clip in clips]}
    for split in ("train", "dev", "test"):
        chosen = [clip for clip in clips if clip.recording.split == split]
        lists[f"sets/{split}_mos_list.txt"] = [_scores(clip.name, [clip]) for clip in chosen]
        lists[f"person_mos/{split}_person_mos.txt"] = [line for clip in chosen for line in _person_lines(clip)]
    phase1 = [clip for clip in clips if clip.recording.split != "test"]
    by_system = {system: [c for c in phase1 if c.recording.system == system] for system in _systems(phase1)}
    lists["system_mos/system_mos_phase1.csv"] = [_scores(system, rated) for system, rated in by_system.items()]
    demo = {clip.name: clip.prompt for clip in clips if clip.recording.system in DEMO_SYSTEMS}
    common = {clip.prompt_id: clip.prompt for clip in clips if clip.recording.system not in DEMO_SYSTEMS}
    lists["demo_prompt_info.txt"] = ["id\ttext", *(f"{key}\t{text}" for key, text in demo.items())]
    lists["prompt_info.txt"] = ["id\ttext", *(f"{key}\t{text}" for key, text in sorted(common.items()))]
    return lists


def _systems(clips: Iterable[Rated]) -> list[str]:
    return list(dict.fromkeys(clip.recording.system for clip in clips))


def _scores(name: str, clips: list[Rated]) -> str:
    """Write a name and the mean of all ratings of some clips per axis: ``name,MI,TA``."""
    pooled = [[rating for clip in clips for rating in clip.ratings[axis.name]] for axis in AXES]
    return ",".join([name, *(str(round(sum(ratings) / len(ratings), 6)) for ratings in pooled)])


def _person_lines(clip: Rated) -> list[str]:
    """Write one line per listener: ``file.wav,rater,MI,TA``."""
    rows = zip(clip.listeners, *(clip.ratings[axis.name] for axis in AXES), strict=True)
    return [f"{clip.name},L{listener + 1:02d},{','.join(map(str, ratings))}" for listener, *ratings in rows]
