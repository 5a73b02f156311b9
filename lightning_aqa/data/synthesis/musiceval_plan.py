"""Plan simulated clips and ratings as MusicEval lies on disk: the same folders, lists and spellings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lightning_aqa.data.musiceval_files import AXES, CHALLENGE, DEMO_SYSTEMS
from lightning_aqa.data.synthesis.listeners import ListenerPanel
from lightning_aqa.data.synthesis.recordings import CorpusPlan, Recording, Settings, System, draw_systems, rng_for
from lightning_aqa.data.synthesis.scenes import Scene

FOLDER = "MusicEval-full"
NUM_LISTENERS = 14
RATINGS_PER_CLIP = 5
# 70 / 15 / 15 %, dealt out along the clips of each system in turn, so that every split hears every system.
SPLITS = [{"t": "train", "d": "dev", "e": "test"}[letter] for letter in "tttdttetttdttetttdte"]


class RatedClip(NamedTuple):
    """A clip with the ratings of its listeners: numbers of the listeners, and their ratings per axis name."""

    name: str
    recording: Recording
    prompt_id: str
    listeners: list[int]
    ratings: dict[str, list[int]]


def plan_musiceval(settings: Settings) -> CorpusPlan:
    """Plan a corpus of music by text-to-music systems, in the layout of MusicEval-full.

    Every system answers the same prompts, the demo systems prompts of their own; five of fourteen listeners rate each
    clip from 1 to 5. ``system_mos`` holds the means over train and dev, as phase 1 of the challenge would publish them.
    """
    panel = ListenerPanel.draw(NUM_LISTENERS, AXES, rng_for(settings.seed, "listeners"))
    systems = draw_systems(settings.num_systems, rng_for(settings.seed, "systems"))
    pairs = [divmod(index, settings.num_systems) for index in range(settings.num_clips)]
    shuffled = sorted(pairs, key=lambda pair: (pair[1], rng_for(settings.seed, "split", str(pair)).random()))
    splits = {pair: SPLITS[index % len(SPLITS)] for index, pair in enumerate(shuffled)}
    clips = [_clip(settings, panel, systems[pair[1]], *pair, splits[pair]) for pair in pairs]
    clips.sort(key=lambda clip: clip.name)
    texts = {f"{FOLDER}/{path}": "".join(f"{line}\n" for line in lines) for path, lines in _lists(clips).items()}
    return CorpusPlan([clip.recording for clip in clips], texts)


def _clip(settings: Settings, panel: ListenerPanel, system: System, prompt: int, number: int, split: str) -> RatedClip:
    """Make one system answer one prompt, and have it rated."""
    system_id, prompt_id = f"S{number + 1:03d}", f"P{prompt + 1:03d}"
    name = f"{CHALLENGE}{system_id}_{prompt_id}.wav"
    rng = rng_for(settings.seed, "clip", name)
    own = name if system_id in DEMO_SYSTEMS else prompt_id
    recording = answer(settings, system, f"{FOLDER}/wav/{name}", own, system_id, split, rng)
    listeners = sorted(rng.choice(NUM_LISTENERS, RATINGS_PER_CLIP, replace=False).tolist())
    return RatedClip(name, recording, prompt_id, listeners, panel.rate(recording.truth(), listeners, rng))


def answer(
    settings: Settings, system: System, path: str, prompt: str, system_id: str, split: str, rng: np.random.Generator
) -> Recording:
    """Make one system answer one prompt.

    Args:
        settings: Of the corpus.
        system: The system.
        path: Where the file goes.
        prompt: Name of the prompt, which says what is heard.
        system_id: Name of the system.
        split: Split of the clip.
        rng: Draws what is this clip's own.
    """
    tune = Scene.draw("music", rng_for(settings.seed, "prompt", prompt))
    return Recording(
        path=path,
        scene=tune,
        strengths=system.strengths(rng),
        seconds=settings.draw_seconds(rng),
        sample_rate=settings.sample_rate,
        other=tune.draw_other(rng),
        wrong=system.wrong_fraction(rng),
        system=system_id,
        split=split,
    )


def _lists(clips: list[RatedClip]) -> dict[str, list[str]]:
    """Write the lines of every list."""
    by_split = {split: [clip for clip in clips if clip.recording.split == split] for split in ("train", "dev", "test")}
    lists = {"sets/total_mos_list.txt": [_means(clip.name, [clip]) for clip in clips]}
    for split, chosen in by_split.items():
        lists[f"sets/{split}_mos_list.txt"] = [_means(clip.name, [clip]) for clip in chosen]
        lists[f"person_mos/{split}_person_mos.txt"] = [line for clip in chosen for line in _person_lines(clip)]
    by_system: dict[str, list[RatedClip]] = {}
    for clip in sorted(by_split["train"] + by_split["dev"], key=lambda clip: clip.name):
        by_system.setdefault(clip.recording.system, []).append(clip)
    lists["system_mos/system_mos_phase1.csv"] = [_means(system, rated) for system, rated in by_system.items()]
    demo = {c.name: c.recording.scene.prompt for c in clips if c.recording.system in DEMO_SYSTEMS}
    common = {c.prompt_id: c.recording.scene.prompt for c in clips if c.recording.system not in DEMO_SYSTEMS}
    for name, prompts in (("demo_prompt_info.txt", demo), ("prompt_info.txt", common)):
        lists[name] = ["id\ttext", *(f"{key}\t{text}" for key, text in sorted(prompts.items()))]
    return lists


def _means(name: str, clips: Sequence[RatedClip]) -> str:
    """Write a name and the mean of all ratings of some clips per axis: ``name,MI,TA``."""
    pooled = [[rating for clip in clips for rating in clip.ratings[axis.name]] for axis in AXES]
    return ",".join([name, *(str(round(sum(ratings) / len(ratings), 6)) for ratings in pooled)])


def _person_lines(clip: RatedClip) -> list[str]:
    """Write one line per listener: ``file.wav,rater,MI,TA``."""
    rows = zip(clip.listeners, *(clip.ratings[axis.name] for axis in AXES), strict=True)
    return [f"{clip.name},L{listener + 1:02d},{','.join(map(str, ratings))}" for listener, *ratings in rows]
