"""The form of an answer file: the name of each clip in it, its lines, and the archive that it is handed in as."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis
from lightning_aqa.data.decoding import AUDIO
from lightning_aqa.utils.files import file_size

SPACE = " "
LARGEST_BYTES = 64 * 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of the files in an archive, so that the same answer has the same bytes."""


class AnswerFormat(NamedTuple):
    """The form of an answer.

    Args:
        file: Name that the organisers ask for.
        axes: What is predicted, in the order of the columns, with the scales.
        header: Names of the columns in the first line; empty where there is to be no such line.
        delimiter: What stands between the cells.
        keeps_suffix: Whether clips are called with the suffix of their files, such as ``.wav``.
        beside: Other files that the archive has to hold.
    """

    file: str
    axes: tuple[Axis, ...]
    header: tuple[str, ...] = ()
    delimiter: str = ","
    keeps_suffix: bool = False
    beside: tuple[str, ...] = ()

    def name(self, clip: str) -> str:
        """Return what a clip of a list is called in the answer."""
        return clip.strip() if self.keeps_suffix else stem(clip)

    def line(self) -> str:
        """Say what a line holds."""
        return self.delimiter.join(self.header or ("id", *(axis.name for axis in self.axes)))


def stem(name: str) -> str:
    """Return a name without the suffix of an audio file, in small or large letters.

    Example:
        >>> stem("a.b.WAV "), stem("0012"), stem("v1.5")
        ('a.b', '0012', 'v1.5')
    """
    name = name.strip()
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in AUDIO else name


def write_text(form: AnswerFormat, names: Sequence[str], scores_NA: NDArray[np.float64]) -> str:
    r"""Return the text of an answer; each score has as many digits as it takes to read it back as it is.

    Args:
        form: Its form.
        names: What each of N clips is called.
        scores_NA: Shape ``(N, A)``, in score points.

    Example:
        >>> form = AnswerFormat("answer.txt", (Axis("MI", "", 1, 5), Axis("TA", "", 1, 5)))
        >>> write_text(form, ["S1_P1"], np.array([[3.25, 4.0]]))
        'S1_P1,3.25,4.0\n'
    """
    rows = [[name, *map(_digits, row)] for name, row in zip(names, scores_NA.tolist(), strict=True)]
    return "".join(_line([*row], form.delimiter) for row in ([list(form.header)] if form.header else []) + rows)


def _digits(score: float) -> str:
    return np.format_float_positional(score, trim="0")


def _line(cells: Sequence[str], delimiter: str) -> str:
    if delimiter == SPACE:
        return SPACE.join(cells) + "\n"
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(cells)
    return text.getvalue()


def is_archive(path: Path) -> bool:
    """Tell whether an answer is handed in as an archive, by its name."""
    return path.suffix.lower() == ".zip"


def pack(path: Path, form: AnswerFormat, text: str, beside: Mapping[str, bytes]) -> bytes:
    """Return the bytes of an answer: the text itself, or an archive of it and of what belongs beside it."""
    if not is_archive(path):
        return text.encode("utf-8")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {form.file: text.encode("utf-8"), **beside}.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return data.getvalue()


def unpack(path: Path, form: AnswerFormat) -> tuple[bytes, list[str]]:
    """Return the bytes of the answer in a file or an archive, and what the archive lacks or holds too much.

    Raises:
        ValueError: If it is no file, no archive or without the answer.
    """
    if not is_archive(path):
        if file_size(path) > LARGEST_BYTES:
            raise ValueError(f"{path}: larger than {LARGEST_BYTES >> 20} MiB, which no answer is; name another file.")
        return path.read_bytes(), []
    file_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            found = [name for name in names if name == form.file]
            if len(found) != 1:
                raise ValueError(
                    f"{path}: {len(found)} files called {form.file} in it, expected one, at the top; it holds "
                    f"{', '.join(names[:5]) or 'nothing'}."
                )
            with archive.open(form.file) as file:
                data = file.read(LARGEST_BYTES + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a zip file ({error}); pack it again.") from None
    if len(data) > LARGEST_BYTES:
        raise ValueError(f"{path}: {form.file} in it is larger than {LARGEST_BYTES >> 20} MiB, which no answer is.")
    return data, _others(names, form)


def _others(names: Iterable[str], form: AnswerFormat) -> list[str]:
    """Say what an archive lacks or holds too much."""
    there, asked = set(names) - {form.file}, set(form.beside)
    return [f"no {name} in it; the organisers ask for it" for name in sorted(asked - there)] + [
        f"{name} is in it too; pack {' and '.join([form.file, *form.beside])} alone" for name in sorted(there - asked)
    ]
