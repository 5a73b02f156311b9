"""Files of safetensors, written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, each by itself and as it is; readable for those for whom other new files are.

    Raises:
        OSError: If they cannot be written, as on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    try:
        save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        raise (OSError(int(code[1]), os.strerror(int(code[1])), str(path)) if code else error) from error
    path.chmod(mode)
