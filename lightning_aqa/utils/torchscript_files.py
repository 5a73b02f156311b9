"""TorchScript files: loaded where a person has permitted it, since they are programs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch

from lightning_aqa.utils.weights import WeightsError

PERMIT = "LIGHTNING_AQA_TORCHSCRIPT"


def load_script(path: Path) -> Any:
    """Load a TorchScript file, if that is permitted.

    Raises:
        WeightsError: If it is not, or the file is something else.
    """
    if os.environ.get(PERMIT) != "1":
        raise WeightsError(
            f"{path}: TorchScript is a program, which may do more than compute; if you trust where it comes from, set "
            f"{PERMIT}=1, or export the model to ONNX."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise WeightsError(
            f"{path}: cannot be read as TorchScript ({reason}); give a file of torch.jit.save."
        ) from None
