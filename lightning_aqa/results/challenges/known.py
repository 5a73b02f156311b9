"""Challenges with what their organisers ask for: form of the answer, systems, metrics, the rule that ranks teams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lightning_aqa.batch import Axis
from lightning_aqa.data.aes_natural import AXES as AES_AXES
from lightning_aqa.data.aes_natural_sources import CHALLENGE as TRACK_2
from lightning_aqa.data.bvcc import AXES as MOS
from lightning_aqa.data.musiceval_files import AXES as MUSIC_AXES
from lightning_aqa.data.musiceval_files import CHALLENGE as TRACK_1
from lightning_aqa.data.musiceval_files import NAME
from lightning_aqa.data.songeval import AXES as SONG_AXES
from lightning_aqa.metrics.levels import METRICS
from lightning_aqa.results.challenges.formats import SPACE, AnswerFormat
from lightning_aqa.results.challenges.ranking import DenseRanks, MeanOf, Rule

LIST = "list"
"""Name of a challenge that the YAML itself describes."""
TOP_TIER = "TTA"


class Challenge(NamedTuple):
    """A challenge.

    Args:
        title: Its name for people.
        form: Form of the answer.
        system: Regular expression whose group is the system in the name of a clip; empty where names do not tell.
        example: Name of a made-up clip, of system ``s`` and number ``n``.
        rule: Rule that ranks teams.
        asked: What the organisers say of answer and rule, and where; what is not known.
        published: Corpus of its rows in ``published.csv``.
        top_tier: Score per axis from which on a clip is of the top tier; empty where that is no metric of it.
        metrics: Its metrics.
    """

    title: str
    form: AnswerFormat
    system: str
    example: str
    rule: Rule
    asked: str
    published: str = ""
    top_tier: Mapping[str, float] = {}
    metrics: tuple[str, ...] = METRICS


_OWN_TABLE = (
    "The organisers take a container with the whole system, no answer file; this table is for your own check. Teams "
    "are ranked by the mean of four normalised metrics, each with equal weight; how they are normalised is not told, "
    "so the plain mean at utterance level stands here. Thresholds of the top tier: code of HEAR (arXiv 2511.18869)."
)
_SONG_RULE = MeanOf("utterance", ("LCC", "SRCC", "KTAU", TOP_TIER))
_SONG_METRICS = ("LCC", "SRCC", "KTAU", TOP_TIER)
_TOP = {"Coherence": 4.0, "Musicality": 4.0, "Memorability": 3.75, "Clarity": 3.75, "Naturalness": 4.0}
_BY_SYSTEM = MeanOf("system", ("SRCC",))
_MUSICALITY = tuple(axis for axis in SONG_AXES if axis.name == "Musicality")


def _own_table(axes: tuple[Axis, ...]) -> AnswerFormat:
    return AnswerFormat("answer.csv", axes, ("id", *(axis.name for axis in axes)))


KNOWN: dict[str, Challenge] = {
    "audiomos2025_track1": Challenge(
        "AudioMOS 2025, track 1",
        AnswerFormat("answer.txt", MUSIC_AXES),
        NAME.pattern,
        TRACK_1 + "S{s:03d}_P{n:03d}",
        _BY_SYSTEM,
        "A zip with answer.txt (README of the baseline); lines as its code and that of QAMRO write them. Papers rank "
        "by SRCC of systems.",
        "MusicEval",
    ),
    "audiomos2025_track2": Challenge(
        "AudioMOS 2025, track 2",
        AnswerFormat("answer.txt", AES_AXES, ("sample_id", *(axis.name for axis in AES_AXES))),
        f"^{TRACK_2}(sys[^-]+)-",
        TRACK_2 + "sys{s:05d}-utt{n:05d}",
        _BY_SYSTEM,
        "A zip with answer.txt, header and order of the columns as the code of QAMRO writes them; whether the server "
        "wants the header is not told. 32 metrics, no single rule; papers compare SRCC of systems.",
        "AES-Natural",
    ),
    "asae2026_track1": Challenge(
        "ASAE 2026, track 1", _own_table(_MUSICALITY), "", "song{s:02d}{n:03d}", _SONG_RULE, _OWN_TABLE,
        "ASAE 2026, track 1", {"Musicality": _TOP["Musicality"]}, _SONG_METRICS,
    ),
    "asae2026_track2": Challenge(
        "ASAE 2026, track 2", _own_table(SONG_AXES), "", "song{s:02d}{n:03d}", _SONG_RULE, _OWN_TABLE,
        "ASAE 2026, track 2", _TOP, _SONG_METRICS,
    ),
    "voicemos": Challenge(
        "VoiceMOS",
        AnswerFormat("answer.txt", MOS),
        r"(?:^|-)(sys[^-]+)-",
        "sys{s:05d}-utt{n:05d}",
        _BY_SYSTEM,
        "A zip with answer.txt (README of the SSL-MOS baseline of 2022). Until 2024 SRCC of systems ranks; in 2026 "
        "that of utterances does.",
        "VoiceMOS",
    ),
    "urgent2026_track2": Challenge(
        "URGENT 2026, track 2",
        AnswerFormat("mos.scp", MOS, delimiter=SPACE, beside=("README.yaml",)),
        r"^(.+)[-_]fileid_\d+$",
        "P{s:03d}-fileid_{n:04d}",
        DenseRanks((("MSE",), ("LCC",), ("SRCC", "KTAU"))),
        "A zip with mos.scp and README.yaml (its template is on the challenge's site). Dense ranks per metric, "
        "averaged in each of three categories, then over them.",
        "URGENT 2026, track 2",
    ),
}  # fmt: skip
"""Known challenges by the name that a YAML gives."""
