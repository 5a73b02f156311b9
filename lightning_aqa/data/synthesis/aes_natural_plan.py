"""Plan simulated clips and ratings as AES-Natural and its evaluation set lie on disk: the same lists and spellings."""

from __future__ import annotations

import csv
import io
import json
import string
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lightning_aqa.data.aes_natural import AXES, COLUMNS, EVALUATION, EVALUATION_LIST, LISTS
from lightning_aqa.data.aes_natural_sources import CHALLENGE, EVALUATION_FOLDER, PLACEHOLDER, SOURCES
from lightning_aqa.data.synthesis.degradations import draw_mix
from lightning_aqa.data.synthesis.listeners import ListenerPanel
from lightning_aqa.data.synthesis.recordings import CorpusPlan, Recording, Settings, System, draw_systems, rng_for
from lightning_aqa.data.synthesis.scenes import Scene

NUM_LISTENERS = 10
# The one file that the real corpus lacks: its readers take the domain of each evaluation system from the user.
SYSTEM_DOMAINS = "system_domains.csv"
DOMAINS = ("speech", "music", "sound")
STEMS = {
    "mixture": ("drums", "bass", "chords", "vocals"),
    "bass": ("bass",),
    "drums": ("drums",),
    "other": ("chords", "melody"),
    "vocals": ("vocals",),
}
SONGS = ("Salt, Pepper & Tide - Slow Harbour", "Nine & Ten - Paper Boat", "The Low Shelf - Don't Wait")


class NaturalCorpus(NamedTuple):
    """A corpus that clips seem to come from: rates of its files in Hz, and least and most damage, 0 to 1."""

    name: str
    rates: tuple[int, ...]
    damage: tuple[float, float]


LIBRITTS = NaturalCorpus("LibriTTS", (24000,), (0.05, 0.4))
EARS = NaturalCorpus("EARS", (48000,), (0.0, 0.25))
COMMON_VOICE = NaturalCorpus("CommonVoice", (32000, 48000), (0.2, 0.85))
MUSDB18 = NaturalCorpus("MUSDB18", (44100,), (0.0, 0.25))
MUSICCAPS = NaturalCorpus("MusicCaps", (44100,), (0.1, 0.85))
AUDIOSET = NaturalCorpus("AudioSet", (48000,), (0.1, 0.85))
ROTA = (AUDIOSET, LIBRITTS, MUSDB18, AUDIOSET, COMMON_VOICE, MUSICCAPS, AUDIOSET, EARS, MUSDB18)
"""The corpus of each clip in turn: as many clips of speech as of music and of sound."""


class RatedPath(NamedTuple):
    """A clip, the path that lists name it by, and ten ratings per axis name."""

    recording: Recording
    data_path: str
    ratings: dict[str, list[int]]


def plan_aes_natural(settings: Settings) -> CorpusPlan:
    """Plan natural clips with train and dev lists, and clips of made-up systems as the evaluation set.

    About 60 / 15 / 25 % of the clips are train, dev and evaluation. The same ten listeners rate every clip from 0 to
    10. Files of a natural corpus have that corpus's format, channels and sample rate, and lie in ``audio/<corpus>``.
    """
    panel = ListenerPanel.draw(NUM_LISTENERS, AXES, rng_for(settings.seed, "listeners"))
    num_evaluation = count_evaluation(settings.num_clips)
    indices = range(settings.num_clips - num_evaluation)
    natural = sorted((_natural(settings, index) for index in indices), key=lambda c: (c.domain, c.path.split("/")[1]))
    natural = [replace(clip, split="dev" if index % 5 == 3 else "train") for index, clip in enumerate(natural)]
    systems = draw_systems(settings.num_systems, rng_for(settings.seed, "systems"))
    generated = [_generated(settings, systems, index) for index in range(num_evaluation)]
    rated, others = ([_rate(panel, clip, settings.seed) for clip in clips] for clips in (natural, generated))
    others.sort(key=lambda clip: clip.data_path)
    return CorpusPlan([*natural, *generated], {**_natural_lists(rated), **_evaluation_lists(others)})


def count_evaluation(num_clips: int) -> int:
    """Count the clips of the evaluation set: a quarter."""
    return round(num_clips / 4)


def _natural(settings: Settings, index: int) -> Recording:
    """Record one clip of a natural corpus, with the damage that is usual there; stems of a song share its tune."""
    rounds, turn = divmod(index, len(ROTA))
    corpus = ROTA[turn]
    number = rounds * ROTA.count(corpus) + ROTA[:turn].count(corpus)
    rng = rng_for(settings.seed, "natural", corpus.name, str(number))
    file, domain = _file(corpus, number, rng), SOURCES[corpus.name].domain
    scene = Scene.draw(domain, rng)
    if corpus is MUSDB18:
        song, stem = file.rsplit("/", 1)
        scene = Scene.draw(domain, rng_for(settings.seed, "song", song))
        scene = replace(scene, layers=STEMS[stem.removesuffix(".wav")])
    return Recording(
        path=f"audio/{corpus.name}/{file}",
        scene=scene,
        strengths=draw_mix(rng.uniform(*corpus.damage), rng),
        seconds=settings.draw_seconds(rng),
        sample_rate=int(rng.choice(corpus.rates)),
        stereo=corpus is MUSDB18,
    )


def _file(corpus: NaturalCorpus, number: int, rng: np.random.Generator) -> str:
    """Name the n-th file of a natural corpus as its files are named."""
    if corpus is LIBRITTS:
        speaker, chapter = rng.integers(100, 9000), rng.integers(10000, 200000)
        return f"train-clean-100/{speaker}/{chapter}/{speaker}_{chapter}_{number:06d}_000000.wav"
    if corpus is EARS:
        return f"p{number + 1:03d}/emo_{rng.choice(('contentment', 'confusion', 'neutral'))}_sentences.wav"
    if corpus is COMMON_VOICE:
        return f"en/clips/common_voice_en_{17000000 + 1000 * number + rng.integers(1000)}.mp3"
    if corpus is MUSDB18:
        songs, stem = divmod(number, len(STEMS))
        again, song = divmod(songs, len(SONGS))
        title = SONGS[song] + (f" {again + 1}" if again else "")
        return f"{'train' if song else 'test'}/{title}/{list(STEMS)[stem]}.wav"
    if corpus is MUSICCAPS:
        return f"{_code(11, rng)}.wav"
    start = 10000 * rng.integers(30)
    return f"audio/{_code(11, rng)}_{start}_{start + 10000}.flac"


def _code(length: int, rng: np.random.Generator) -> str:
    """Draw a name such as the ids of videos and of the evaluation set have."""
    return "".join(rng.choice(list(string.ascii_letters + string.digits), length))


def _generated(settings: Settings, systems: list[System], index: int) -> Recording:
    """Make one system of the evaluation set produce a clip; each system works in one domain."""
    number = index % len(systems)
    rng = rng_for(settings.seed, "generated", str(index))
    system = f"sys{_code(5, rng_for(settings.seed, 'system', str(number)))}"
    return Recording(
        path=f"{EVALUATION_FOLDER}/wav/{CHALLENGE}{system}-utt{_code(6, rng)}.wav",
        scene=Scene.draw(DOMAINS[number % len(DOMAINS)], rng),
        strengths=systems[number].strengths(rng),
        seconds=settings.draw_seconds(rng),
        sample_rate=settings.sample_rate,
        system=system,
        split="eval",
    )


def _rate(panel: ListenerPanel, clip: Recording, seed: int) -> RatedPath:
    """Have a clip rated by everybody, under the name that the lists have for its file."""
    ratings = panel.rate(clip.truth(), range(NUM_LISTENERS), rng_for(seed, "ratings", clip.path))
    if clip.split == "eval":
        return RatedPath(clip, clip.path[:-4].rsplit("/", 1)[1], ratings)
    _, source, file = clip.path.split("/", 2)
    return RatedPath(clip, f"{PLACEHOLDER}{SOURCES[source].folder}/{file}", ratings)


def _natural_lists(clips: list[RatedPath]) -> dict[str, str]:
    """Write the CSV lists of means and the JSON lines of ratings of the natural clips, with the real line ends."""
    texts = {}
    for split, name in LISTS.items():
        text = io.StringIO(newline="")
        rows = [_means(clip) for clip in clips if clip.recording.split == split]
        csv.writer(text).writerows([["sample_id", "data_path", *COLUMNS.values()], *rows])
        texts[name] = text.getvalue()
    for domain in DOMAINS:
        lines = [json.dumps(_ratings(clip)) for clip in clips if clip.recording.domain == domain]
        texts[f"AES_natural_{domain}.jsonl"] = "\n".join(lines) + "\n"
    return texts


def _evaluation_lists(clips: list[RatedPath]) -> dict[str, str]:
    """Write the list and the annotations of the evaluation set; like the real file, the latter ends without newline."""
    domains = sorted({(clip.recording.system, clip.recording.domain) for clip in clips})
    return {
        SYSTEM_DOMAINS: "system,domain\n" + "".join(f"{system},{domain}\n" for system, domain in domains),
        EVALUATION_LIST: "".join(f"{clip.data_path}\n" for clip in clips),
        EVALUATION: "\n".join(json.dumps(_ratings(clip), separators=(",", ":")) for clip in clips),
    }


def _ratings(clip: RatedPath) -> dict[str, str | list[float]]:
    """Make the JSON object of a clip: its path and ten ratings per axis, which the real files write as floats."""
    return {"data_path": clip.data_path, **{COLUMNS[axis]: [float(r) for r in clip.ratings[axis]] for axis in COLUMNS}}


def _means(clip: RatedPath) -> list[str]:
    """Make the CSV row of a clip: sample id, path and mean ratings; the real ids keep .mp3 and drop other endings."""
    kind = {"sound": "audio"}.get(clip.recording.domain, clip.recording.domain)
    name = clip.data_path.removeprefix(PLACEHOLDER).removesuffix(".wav").removesuffix(".flac")
    sample_id = f"{CHALLENGE}{kind}-{name.replace('/', '_').replace(' ', '_')}"
    return [sample_id, clip.data_path, *(str(sum(clip.ratings[axis]) / NUM_LISTENERS) for axis in COLUMNS)]
