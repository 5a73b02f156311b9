"""Plan simulated clips and ratings as AES-Natural and its evaluation set lie on disk: the same lists and spellings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from lightning_aqa.data.aes_natural import AXES, COLUMNS, EVALUATION, EVALUATION_LIST, LISTS
from lightning_aqa.data.aes_natural_sources import CHALLENGE, EVALUATION_FOLDER, PLACEHOLDER, SOURCES
from lightning_aqa.data.synthesis.degradations import draw_mix
from lightning_aqa.data.synthesis.listeners import Panel
from lightning_aqa.data.synthesis.recordings import Plan, Recording, Settings, System, draw_systems, rng_for
from lightning_aqa.data.synthesis.sources import MUSDB18, ROTA, STEMS, Source, draw_code
from lightning_aqa.data.synthesis.textures import Scene, draw_scene
from lightning_aqa.data.synthesis.tunes import Tune

NUM_LISTENERS = 10
# The one file that the real corpus lacks: its readers take the domain of each evaluation system from the user.
SYSTEM_DOMAINS = "system_domains.csv"
DOMAINS = ("speech", "music", "sound")
Ratings = dict[str, list[int]]


class Rated(NamedTuple):
    """A clip, the path that lists name it by, and ten ratings per axis name."""

    recording: Recording
    data_path: str
    ratings: Ratings


def plan_aes_natural(settings: Settings) -> Plan:
    """Plan natural clips with train and dev lists, and clips of made-up systems as the evaluation set.

    About 60 / 15 / 25 % of the clips are train, dev and evaluation. The same ten listeners rate every clip from 0 to
    10. Files of a natural corpus have that corpus's format, channels and sample rate, and lie in ``audio/<corpus>``.

    Args:
        settings: Size, length, rate and seed.

    Returns:
        The clips and lists.
    """
    panel = Panel.draw(NUM_LISTENERS, AXES, rng_for(settings.seed, "listeners"))
    num_evaluation = count_evaluation(settings.num_clips)
    natural = _natural_clips(settings, settings.num_clips - num_evaluation)
    systems = draw_systems(settings.num_systems, rng_for(settings.seed, "systems"))
    generated = [_generated(settings, systems, index) for index in range(num_evaluation)]
    rated = [_rate(panel, recording, settings.seed) for recording in natural]
    rated_generated = sorted((_rate(panel, made, settings.seed) for made in generated), key=lambda clip: clip.data_path)
    texts = {**_natural_lists(rated), **_evaluation_lists(rated_generated)}
    return Plan([*natural, *generated], texts)


def count_evaluation(num_clips: int) -> int:
    """Count the clips of the evaluation set: a quarter."""
    return round(num_clips / 4)


def _natural_clips(settings: Settings, num_clips: int) -> list[Recording]:
    """Record clips of each source in turn; every fifth of the list sorted by source goes to dev."""
    counts = dict.fromkeys(ROTA, 0)
    clips = []
    for index in range(num_clips):
        source = ROTA[index % len(ROTA)]
        clips.append(_natural(settings, source, counts[source]))
        counts[source] += 1
    clips.sort(key=lambda clip: (clip.domain, clip.path.split("/")[1]))
    return [replace(clip, split="dev" if index % 5 == 3 else "train") for index, clip in enumerate(clips)]


def _natural(settings: Settings, source: Source, index: int) -> Recording:
    """Record one clip of a natural corpus, with the damage that is usual there."""
    rng = rng_for(settings.seed, "natural", source.name, str(index))
    path = f"audio/{source.name}/{source.file(index, rng)}"
    return Recording(
        path=path,
        domain=source.domain,
        scene=_song(path, settings.seed) if source is MUSDB18 else draw_scene(source.domain, rng),
        strengths=draw_mix(rng.uniform(*source.damage), rng),
        seconds=settings.draw_seconds(rng),
        sample_rate=int(rng.choice(source.rates)),
        stereo=source.stereo,
    )


def _song(path: str, seed: int) -> Scene:
    """Give the tune of a song's stem; all stems of a song share key, tempo and instrument."""
    song, file = path.rsplit("/", 1)
    return replace(Tune.draw(rng_for(seed, "song", song)), layers=STEMS[file.removesuffix(".wav")])


def _generated(settings: Settings, systems: list[System], index: int) -> Recording:
    """Make one system of the evaluation set produce a clip; each system works in one domain."""
    number = index % len(systems)
    rng = rng_for(settings.seed, "generated", str(index))
    system = f"sys{draw_code(5, rng_for(settings.seed, 'system', str(number)))}"
    return Recording(
        path=f"{EVALUATION_FOLDER}/wav/{CHALLENGE}{system}-utt{draw_code(6, rng)}.wav",
        domain=DOMAINS[number % len(DOMAINS)],
        scene=draw_scene(DOMAINS[number % len(DOMAINS)], rng),
        strengths=systems[number].strengths(rng),
        seconds=settings.draw_seconds(rng),
        sample_rate=settings.sample_rate,
        system=system,
        split="eval",
    )


def _rate(panel: Panel, recording: Recording, seed: int) -> Rated:
    """Have a clip rated by everybody."""
    rng = rng_for(seed, "ratings", recording.path)
    return Rated(recording, _data_path(recording.path), panel.rate(recording.truth(), range(NUM_LISTENERS), rng))


def _data_path(path: str) -> str:
    """Say what the lists call a file.

    Example:
        >>> _data_path("audio/MusicCaps/a.wav"), _data_path(f"{EVALUATION_FOLDER}/wav/{CHALLENGE}sysA-uttB.wav")
        ('/your_path/musiccaps/a.wav', 'audiomos2025-track2-sysA-uttB')
    """
    top, source, file = path.split("/", 2)
    return f"{PLACEHOLDER}{SOURCES[source].folder}/{file}" if top == "audio" else path[:-4].rsplit("/", 1)[1]


def _natural_lists(clips: list[Rated]) -> dict[str, str]:
    """Write the CSV lists of means and the JSON lines of ratings of the natural clips."""
    texts = {}
    for split, name in LISTS.items():
        chosen = [clip for clip in clips if clip.recording.split == split]
        texts[name] = _csv(map(_means, chosen))
    for domain in DOMAINS:
        lines = [json.dumps(_ratings(clip)) for clip in clips if clip.recording.domain == domain]
        texts[f"AES_natural_{domain}.jsonl"] = "\n".join(lines) + "\n"
    return texts


def _evaluation_lists(clips: list[Rated]) -> dict[str, str]:
    """Write the list and the annotations of the evaluation set; like the real file, the latter ends without newline."""
    lines = [json.dumps(_ratings(clip), separators=(",", ":")) for clip in clips]
    domains = sorted({(clip.recording.system, clip.recording.domain) for clip in clips})
    return {
        SYSTEM_DOMAINS: "system,domain\n" + "".join(f"{system},{domain}\n" for system, domain in domains),
        EVALUATION_LIST: "".join(f"{clip.data_path}\n" for clip in clips),
        EVALUATION: "\n".join(lines),
    }


def _ratings(clip: Rated) -> dict[str, str | list[float]]:
    """Make the JSON object of a clip: its path and ten ratings per axis, which the real files write as floats."""
    ratings = {COLUMNS[axis]: [float(rating) for rating in clip.ratings[axis]] for axis in COLUMNS}
    return {"data_path": clip.data_path, **ratings}


def _means(clip: Rated) -> list[str]:
    """Make the CSV row of a clip: sample id, path and mean ratings."""
    kind = {"sound": "audio"}.get(clip.recording.domain, clip.recording.domain)
    # The real ids keep .mp3 and drop the other endings.
    name = clip.data_path.removeprefix(PLACEHOLDER).removesuffix(".wav").removesuffix(".flac")
    sample_id = f"{CHALLENGE}{kind}-{name.replace('/', '_').replace(' ', '_')}"
    means = [str(sum(clip.ratings[axis]) / NUM_LISTENERS) for axis in COLUMNS]
    return [sample_id, clip.data_path, *means]


def _csv(rows: Iterable[list[str]]) -> str:
    """Write rows under the header, with quotes where a comma needs them and the line ends of the real lists."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["sample_id", "data_path", *COLUMNS.values()], *rows])
    return text.getvalue()
