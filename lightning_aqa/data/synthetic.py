"""A made-up corpus: audio files that are synthesised, with simulated ratings, in the layout of a published corpus."""

from __future__ import annotations

from typing import Any

from lightning_aqa.data.aes_natural import read_aes_natural
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Manifest
from lightning_aqa.data.musiceval import read_musiceval
from lightning_aqa.data.pair_table import PairTable
from lightning_aqa.data.synthesis.corpus import Layout, write_corpus
from lightning_aqa.data.synthesis.pairs_plan import FOLDER, TABLE


class Synthetic(AQADataModule):
    """Write a corpus in the layout of MusicEval or of AES-Natural, or a table of pairs, then read it as such.

    All sounds are synthesised and all scores are simulated: no person has rated them, and a number measured here says
    nothing about how people hear. It is for trying things out, for tests and for benchmarks.

    Args:
        root: Folder to write to; a corpus that is there with the same settings is used as it is.
        layout: Corpus to imitate: ``musiceval`` (axes MI, TA) or ``aes_natural`` (axes PQ, PC, CE, CU), or ``pairs``, a
            table of pairs about the axis preference, as ``PairTable`` reads it.
        num_clips: Clips in all splits together.
        num_systems: Made-up systems of different quality.
        seconds: Shortest and longest clip, in seconds.
        corpus_seed: Seed of the sounds, the systems and the listeners.
    """

    def __init__(
        self,
        root: str,
        layout: Layout = "musiceval",
        num_clips: int = 240,
        num_systems: int = 12,
        seconds: tuple[float, float] = (2.0, 4.0),
        corpus_seed: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.root, self.layout, self.num_clips, self.num_systems = root, layout, num_clips, num_systems
        self.seconds, self.corpus_seed = seconds, corpus_seed

    def read(self) -> Manifest:
        """Write the corpus where it is not there yet, and read its lists."""
        root = write_corpus(
            self.root,
            self.layout,
            num_clips=self.num_clips,
            num_systems=self.num_systems,
            seconds=self.seconds,
            seed=self.corpus_seed,
        )
        if self.layout == "pairs":
            return PairTable(str(root / TABLE), audio_root=str(root / FOLDER)).read()
        return read_musiceval(root) if self.layout == "musiceval" else read_aes_natural(root)
