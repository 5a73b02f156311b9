"""``lightning-aqa export``: a trained predictor as an ONNX file, equal to the package's scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lightning_aqa.cli.signatures import call


def export(
    checkpoint: str, *, output: str = "model.onnx", part: Literal["model", "head"] | None = None, force: bool = False
) -> int:
    """Export a predictor to ONNX: the whole model where the encoder allows, else its head on the encoder's features.

    What has to be done to audio before it, the axes and their scales are in the file's metadata. The scores are
    compared with those of the package, in onnxruntime, before the file is there.

    Args:
        checkpoint: Run folder, checkpoint, or a config whose parts bring their own weights.
        output: File to write.
        part: Take the waveform (``model``) or the features of the encoder (``head``).
        force: Replace the file if it is there.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If the predictor cannot be exported, or the file is there.
    """
    path = Path(output)
    if path.suffix != ".onnx":
        raise ValueError(f"--output={output}: expected a name that ends in .onnx.")
    if path.exists() and not force:
        raise ValueError(f"--output={output}: there is such a file; name another, or replace it by --force.")
    from lightning_aqa.scoring.ensemble import EnsembleScorer
    from lightning_aqa.scoring.export import export_onnx
    from lightning_aqa.scoring.load import load

    scorer = load(checkpoint, device="cpu")
    if isinstance(scorer, EnsembleScorer):
        raise ValueError(
            f"{checkpoint} is an ensemble of several encoders: export its members, or `ensemble --distill`."
        )
    found = export_onnx(scorer, path, part)
    told = "the whole model: waveform" if found.part == "model" else "the head: features of the encoder"
    print(f"{path}: {told} to scores, within {found.difference:.1e} of the scale of the package's own.")
    print(f"before it: {found.metadata['preprocessing']}.")
    return 0


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(export, args)
