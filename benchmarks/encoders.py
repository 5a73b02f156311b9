"""Time the encoders against the code they replace: ``python benchmarks/encoders.py``.

Both run frozen, on the same random weights and the same clips, in turns, so that both see the same machine. What counts
is the median of the CPU time, which a busy machine bends less than the time on the wall.
"""

from __future__ import annotations

import os

# A thread that waits for another spins by default, and its spinning would be counted, the more the busier the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from needs import need
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lightning_aqa.encoders.cpu import packed

NUM_THREADS, REPEATS, SECONDS, NUM_CLIPS = 2, 5, 10, 4
GEMM = (2048, 768, 3072)
Runner = Callable[[Tensor], Tensor]
Build = Callable[[torch.dtype], tuple[Runner, Runner]]


class Contest(NamedTuple):
    """A pair to time against each other; ``build`` gives ours and the reference, with weights of a type.

    Both take a float32 waveform ``(B, T)`` at the sample rate and return the same numbers in the same shape.
    """

    name: str
    reference: str
    sample_rate: int
    build: Build


def build_beats(dtype: torch.dtype) -> tuple[Runner, Runner]:
    """Build BEATs as large as the published ones, and SpeechBrain's from the same file."""
    from speechbrain.lobes.models.beats import BEATs as SpeechBrainBEATs

    from lightning_aqa.encoders.beats import BEATs

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "beats.pt")
        torch.save(_random_beats(), path)
        ours = BEATs(path).eval().requires_grad_(False).to(dtype)
        reference: Any = SpeechBrainBEATs(path, output_all_hiddens=True).requires_grad_(False).to(dtype)
    banks = reference.preprocess
    reference.preprocess = lambda *arguments: banks(*arguments).to(dtype)

    def run_ours(waveform: Tensor) -> Tensor:
        with packed():  # as in scoring
            layers: Tensor = ours(waveform, torch.full((len(waveform),), waveform.shape[1])).layers
        return layers

    def run_reference(waveform: Tensor) -> Tensor:
        states_LNBD: Tensor = reference(waveform, torch.ones(len(waveform)))[0]
        return states_LNBD.permute(2, 0, 1, 3)

    return run_ours, run_reference


def _random_beats() -> dict[str, Any]:
    """Make a checkpoint in the official layout."""
    from lightning_aqa.encoders.beats_model import BEATsConfig, BEATsModel

    cfg = {"deep_norm": True, "relative_position_embedding": True, "gru_rel_pos": True, "max_distance": 800}
    torch.manual_seed(0)
    state = BEATsModel(BEATsConfig.of(cfg)).state_dict()
    table = state.pop("encoder.relative_attention_bias.weight")
    tables = [f"encoder.layers.{layer}.self_attn.relative_attention_bias.weight" for layer in range(12)]
    return {"cfg": cfg, "model": state | dict.fromkeys(tables, table)}


def build_wavlm(dtype: torch.dtype) -> tuple[Runner, Runner]:
    """Build a WavLM-base by ``Hub``, and the model of transformers by itself."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    from lightning_aqa.encoders.huggingface import Hub

    torch.manual_seed(0)
    reference: Any = WavLMModel(WavLMConfig())
    reference.eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)  # type: ignore[no-untyped-call]
        ours = Hub(folder).eval().requires_grad_(False).to(dtype)
    reference.to(dtype)

    def run_ours(waveform: Tensor) -> Tensor:
        with packed():  # as in scoring
            layers: Tensor = ours(waveform, torch.full((len(waveform),), waveform.shape[1])).layers
        return layers

    def run_reference(waveform: Tensor) -> Tensor:
        states: Any = reference(waveform.to(dtype), output_hidden_states=True).hidden_states
        return torch.stack(states, dim=1).float()

    return run_ours, run_reference


HTSAT_BASE: dict[str, Any] = {
    "patch_embeds_hidden_size": 128,
    "hidden_size": 1024,
    "depths": [2, 2, 12, 2],
    "num_attention_heads": [4, 8, 16, 32],
}


def build_clap(dtype: torch.dtype) -> tuple[Runner, Runner]:
    """Build a CLAP with HTSAT-base, and the model of transformers on the same log-mel spectra."""
    from transformers import ClapConfig, ClapModel

    from lightning_aqa.encoders.clap import CLAP

    torch.manual_seed(0)
    reference: Any = ClapModel(ClapConfig(audio_config=HTSAT_BASE))
    reference.eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        ours = CLAP(folder, text=False).eval().requires_grad_(False).to(dtype)
    reference.to(dtype)

    def run_ours(waveform: Tensor) -> Tensor:
        with packed():
            return ours.embed_audio(waveform, torch.full((len(waveform),), waveform.shape[1]))

    def run_reference(waveform: Tensor) -> Tensor:
        mel_BFM = ours.log_mel(waveform, torch.full((len(waveform),), waveform.shape[1]))
        embedded: Any = reference.get_audio_features(input_features=mel_BFM[:, None].to(dtype))
        return torch.nn.functional.normalize(getattr(embedded, "pooler_output", embedded).float(), dim=-1)

    return run_ours, run_reference


CONTESTS = [
    Contest("WavLM-base", "transformers", 16000, build_wavlm),
    Contest("BEATs", "SpeechBrain", 16000, build_beats),
    Contest("CLAP", "transformers", 48000, build_clap),
]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Time one call, in seconds of all threads together."""
    start = time.process_time()
    work()
    return time.process_time() - start


def gemm(dtype: torch.dtype, *, is_packed: bool) -> Callable[[], object]:
    """Return a matrix product in the shape of a transformer's perceptron, by packed weights or as torch does it."""
    rows, inputs, outputs = GEMM
    matrix, layer = torch.randn(rows, inputs, dtype=dtype), torch.nn.Linear(inputs, outputs, dtype=dtype)
    layer.requires_grad_(False)

    def multiply() -> None:
        with packed() if is_packed else nullcontext():
            for _ in range(10):
                layer(matrix)

    return multiply


def median_seconds(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Time several things in turns and return the median of each; the first turn warms up."""
    turns = [{name: cpu_seconds(work) for name, work in works.items()} for _ in range(REPEATS + 1)]
    return {name: median(turn[name] for turn in turns[1:]) for name in works}


def run(contest: Contest, table: Table) -> None:
    """Add the two rows of a contest: float32 and bfloat16 weights."""
    waveform = 0.1 * torch.randn(NUM_CLIPS, SECONDS * contest.sample_rate, generator=torch.Generator().manual_seed(0))
    works: dict[str, Callable[[], object]] = {}
    differences: dict[str, float] = {}
    flops, exact = 0, torch.empty(0)
    for kind, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        ours, reference = contest.build(dtype)
        if not flops:
            with FlopCounterMode(display=False) as counter:
                exact = reference(waveform)
            flops = counter.get_total_flops()
        differences[kind] = float((ours(waveform) - exact).abs().max())
        works[f"ours {kind}"], works[f"reference {kind}"] = _bind(ours, waveform), _bind(reference, waveform)
        works[f"gemm {kind}"], works[f"plain gemm {kind}"] = gemm(dtype, is_packed=True), gemm(dtype, is_packed=False)
    with torch.inference_mode():
        seconds = median_seconds(works)
    for kind, difference in differences.items():
        ours_seconds, reference_seconds = seconds[f"ours {kind}"], seconds[f"reference {kind}"]
        peak, plain = (20 * GEMM[0] * GEMM[1] * GEMM[2] / seconds[f"{name} {kind}"] for name in ("gemm", "plain gemm"))
        table.add_row(
            f"{contest.name} against {contest.reference}",
            kind,
            f"{ours_seconds / NUM_CLIPS:.2f} s",
            f"{reference_seconds / NUM_CLIPS:.2f} s",
            f"{reference_seconds / ours_seconds:.2f}x",
            f"{seconds['reference fp32'] / ours_seconds:.2f}x",
            f"{flops / ours_seconds / peak:.0%}",
            f"{flops / reference_seconds / peak:.0%}",
            f"{peak / 1e9:.0f}",
            f"{plain / 1e9:.0f}",
            f"{difference:.0e}",
        )


def _bind(runner: Runner, waveform: Tensor) -> Callable[[], object]:
    return lambda: runner(waveform)


@torch.no_grad()
def main() -> None:
    """Print the table."""
    need("speechbrain")
    torch.set_num_threads(NUM_THREADS)
    clips = f"{NUM_CLIPS} clips of {SECONDS} s"
    table = Table(title=f"CPU seconds for each clip of {SECONDS} s, {clips} at once, frozen, {NUM_THREADS} threads")
    columns = (
        "weights",
        "ours",
        "reference",
        "ratio",
        "to its fp32",
        "of GEMM peak",
        "its",
        "GFLOP/s",
        "unpacked",
        "error",
    )
    table.add_column("encoder")
    for column in columns:
        table.add_column(column, justify="right")
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    console = Console(width=120)
    with console.status("encoding"):
        for contest in CONTESTS:
            run(contest, table)
    console.print(table)
    console.print(f"GFLOP/s is the peak, of one core: a product of {' x '.join(map(str, GEMM))} by packed weights.")
    console.print("unpacked is that of the same product by torch's own layer.")
    console.print("error is the largest difference of ours to the reference with fp32 weights.")


if __name__ == "__main__":
    main()
