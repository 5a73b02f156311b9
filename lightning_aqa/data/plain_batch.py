"""Batches of a user's own loader: the dict that stands for a ``Batch``, and what is said of one that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_aqa.batch import Axis, Batch
from lightning_aqa.utils.text import did_you_mean, shortened

KEYS = ("waveform", "scores", "num_samples", "ids", "systems", "domains", "prompts", "weights")
TEXTS = ("ids", "systems", "domains", "prompts")
EXPECTED = "a Batch, or a dict with waveform (B, T) and scores (B, A)"


def as_batch(given: Any, axes: Sequence[Axis], dtype: torch.dtype = torch.float32) -> Batch:
    """Return a batch of what a loader gives: a ``Batch``, or a dict with ``waveform`` and, but to predict, ``scores``.

    Args:
        given: ``waveform`` ``(B, T)``, mono at the encoder's rate, floats; ``scores`` ``(B, A)`` in score points, or
            ``{axis: (B,)}``, NaN where not rated. Of use where they are known: ``num_samples`` ``(B,)``, valid samples
            of each row; ``ids``, ``systems``, ``domains``, ``prompts``, lists of B texts; ``weights`` ``(B,)`` of rows
            that are windows of one clip, which have its id. Tensors, arrays or lists.
        axes: What the scores are of, in order.
        dtype: Of waveform, scores and weights.

    Returns:
        The batch; without ids its list of ids is empty, without scores these are NaN.

    Raises:
        ValueError: If a key, a shape or a dtype is wrong.

    Example:
        >>> from lightning_aqa.batch import make_axes
        >>> batch = as_batch({"waveform": torch.zeros(2, 8), "scores": {"mos": [3, 4]}}, make_axes({"mos": [1, 5]}))
        >>> batch.scores.tolist(), batch.num_samples.tolist()
        ([[3.0], [4.0]], [8, 8])
    """
    fields = given._asdict() if isinstance(given, Batch) else given
    if not isinstance(fields, Mapping):
        raise ValueError(f"A loader gave {_kind(given)}, expected {EXPECTED}; have its collate_fn return that.")
    _check_keys([name for name in fields if not isinstance(given, Batch)])
    waveform_BT = _waveform(fields["waveform"], dtype, has_features=fields.get("features") is not None)
    size = len(waveform_BT)
    texts = {name: _texts(name, fields.get(name), size) for name in TEXTS}
    return Batch(
        waveform=waveform_BT,
        num_samples=_num_samples(fields.get("num_samples"), waveform_BT),
        scores=scores_of(fields.get("scores"), axes, size).to(dtype),
        ids=texts["ids"],
        systems=texts["systems"] or [""] * size,
        domains=texts["domains"] or [""] * size,
        prompts=texts["prompts"] or [""] * size,
        features=fields.get("features"),
        weights=_weights(fields.get("weights"), size, dtype),
        pairs=fields.get("pairs"),
    )


def check_rated(given: Any) -> None:
    """Refuse a batch to train on that has no scores.

    Raises:
        ValueError: If it is a dict without.
    """
    if isinstance(given, Mapping) and given.get("scores") is None:
        raise ValueError(f"A training batch has {', '.join(map(str, given))} and no scores; expected {EXPECTED}.")


def _check_keys(names: Sequence[Any]) -> None:
    for name in names:
        if name not in KEYS:
            raise ValueError(
                f"A batch has the key {name!r}, expected waveform, scores and, where known, {', '.join(KEYS[2:])}; "
                f"rename it or leave it out.{did_you_mean(str(name), KEYS)}"
            )
    if names and "waveform" not in names:
        raise ValueError(f"A batch has {', '.join(names)} and no waveform; expected {EXPECTED}.")


def _waveform(given: Any, dtype: torch.dtype, *, has_features: bool) -> Tensor:
    waveform = _tensor("waveform", given)
    if waveform.ndim != 2 or not len(waveform) or not (waveform.shape[1] or has_features):
        mono = "; average its channels, as by waveform.mean(1)" if waveform.ndim == 3 else ""
        raise ValueError(
            f"waveform has shape {tuple(waveform.shape)}, expected (B, T): B clips of mono audio at the encoder's "
            f"rate, padded at the end{mono}."
        )
    if not waveform.is_floating_point():
        raise ValueError(
            f"waveform is of {waveform.dtype}, expected floats between -1 and 1; divide 16-bit samples by 32768."
        )
    return waveform.to(dtype)


def _num_samples(given: Any, waveform_BT: Tensor) -> Tensor:
    size, longest = waveform_BT.shape
    if given is None:
        return torch.full((size,), longest, device=waveform_BT.device)
    num_samples = _tensor("num_samples", given)
    if num_samples.shape != (size,) or num_samples.is_floating_point():
        raise ValueError(
            f"num_samples has shape {tuple(num_samples.shape)} and {num_samples.dtype}, expected ({size},) whole "
            f"numbers: the valid samples of each of the {size} rows of waveform."
        )
    if longest and not bool(((num_samples >= 1) & (num_samples <= longest)).all()):
        low, high = int(num_samples.min()), int(num_samples.max())
        raise ValueError(
            f"num_samples runs from {low} to {high}, expected 1 to {longest}, the length of waveform; it counts "
            "samples, not seconds."
        )
    return num_samples.long()


def scores_of(given: Any, axes: Sequence[Axis], size: int) -> Tensor:
    """Return the scores in the precision that they came in, shape ``(B, A)``."""
    names = [axis.name for axis in axes]
    if given is None:
        return torch.full((size, len(axes)), torch.nan)
    if isinstance(given, Mapping):
        _check_axes(given, names)
        columns = [_tensor(f"scores[{name!r}]", given[name]) for name in names]
        if any(column.shape != (size,) for column in columns):
            shapes = ", ".join(f"{name} {tuple(column.shape)}" for name, column in zip(names, columns, strict=True))
            raise ValueError(f"scores has {shapes}, expected ({size},) of each: a score per row of waveform.")
        scores = torch.stack([column.double() for column in columns], 1)
    else:
        scores = _tensor("scores", given)
        scores = scores[:, None] if scores.shape == (size,) and len(names) == 1 else scores
        if scores.shape != (size, len(names)):
            raise ValueError(
                f"scores has shape {tuple(scores.shape)}, expected ({size}, {len(names)}): a row per row of waveform, "
                f"a column for each axis of the module ({', '.join(names)}), NaN where not rated."
            )
    _check_range(scores, axes)
    return scores


def _check_axes(given: Mapping[Any, Any], names: Sequence[str]) -> None:
    if set(given) == set(names):
        return
    unknown = [str(name) for name in given if name not in names]
    near = did_you_mean(unknown[0], names) if unknown else ""
    raise ValueError(
        f"scores has {', '.join(map(str, given)) or 'no axis'}, expected {', '.join(names)}, the axes of the module; "
        f"an axis that is not rated is NaN.{near}"
    )


def _check_range(scores_BA: Tensor, axes: Sequence[Axis]) -> None:
    for axis, scores_B in zip(axes, scores_BA.double().unbind(1), strict=True):
        rated_B = scores_B[~scores_B.isnan()]
        if len(rated_B) and not bool(((rated_B >= axis.low - 1e-3) & (rated_B <= axis.high + 1e-3)).all()):
            low, high = rated_B.min().item(), rated_B.max().item()
            raise ValueError(
                f"scores of {axis.name} run from {low:g} to {high:g}, expected {axis.low:g} to {axis.high:g}, its "
                f"scale; give the module its scale, such as axes={{{axis.name!r}: [0, 100]}}."
            )


def _weights(given: Any, size: int, dtype: torch.dtype) -> Tensor | None:
    if given is None:
        return None
    weights = _tensor("weights", given)
    if weights.shape != (size,) or not bool((weights > 0).all()):
        raise ValueError(
            f"weights is {shortened(str(weights.tolist()))}, expected {size} numbers above 0: the share of each row "
            "in the score of its clip."
        )
    return weights.to(dtype)


def _texts(name: str, given: Any, size: int) -> list[str]:
    """Return texts, of which numbers are made; an empty list where there are none."""
    if given is None:
        return []
    values = given.tolist() if isinstance(given, Tensor | np.ndarray) else given
    if isinstance(values, str) or not isinstance(values, Sequence) or (len(values) not in (0, size)):
        raise ValueError(f"{name} is {shortened(repr(values))}, expected a list of {size} texts, one per row.")
    return ["" if value is None else str(value) for value in values]


def _tensor(name: str, given: Any) -> Tensor:
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{name} is {_kind(given)}, expected a tensor or an array of numbers of one length; pad shorter rows."
        ) from None


def _kind(given: Any) -> str:
    """Name what was given, with the kinds of what it holds."""
    inner = f" of {', '.join(_names(given))}" if isinstance(given, list | tuple) and given else ""
    return f"a {type(given).__name__}{inner}"


def _names(given: Sequence[Any]) -> Iterator[str]:
    yield from dict.fromkeys(type(item).__name__ for item in given)
