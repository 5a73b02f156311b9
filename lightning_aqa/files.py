"""Write files so that a reader finds the old one or the new one, never half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def replacing(path: str | Path) -> Iterator[TextIO]:
    """Open a text file (UTF-8, line ends as written) that takes its name once it is complete.

    Args:
        path: Where the file will be; one that is there stays until then, and for good where writing fails.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "results.json"
        >>> with replacing(path) as file:
        ...     _ = file.write("{}")
        ...     path.exists()
        False
        >>> path.read_text()
        '{}'
    """
    part = Path(path).with_name(f"{Path(path).name}.{os.getpid()}.part")
    try:
        with open(part, "w", newline="", encoding="utf-8") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
