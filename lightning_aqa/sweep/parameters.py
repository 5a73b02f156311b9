"""Parameters of a W&B sweep file: a value, some values, or a distribution to draw from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

FIELDS: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
    "constant": (("value",), {}),
    "categorical": (("values",), {}),
    "categorical_w_probabilities": (("values", "probabilities"), {}),
    "int_uniform": (("min", "max"), {}),
    "uniform": (("min", "max"), {}),
    "log_uniform": (("min", "max"), {}),
    "log_uniform_values": (("min", "max"), {}),
    "normal": ((), {"mu": 0.0, "sigma": 1.0}),
    "log_normal": ((), {"mu": 0.0, "sigma": 1.0}),
    "beta": ((), {"a": 1.0, "b": 1.0}),
}
FIELDS |= {
    f"q_{name}": (FIELDS[name][0], {**FIELDS[name][1], "q": 1.0})
    for name in ("uniform", "log_uniform", "log_uniform_values", "normal", "log_normal", "beta")
}
"""Fields of each distribution that must be given, and those that have a default."""


class Parameter(NamedTuple):
    """A parameter and how its values come about.

    Args:
        name: Dotted key, which becomes a flag.
        kind: Name of the distribution, as W&B has it.
        fields: Its settings, defaults included.
    """

    name: str
    kind: str
    fields: dict[str, Any]


def read_parameter(name: str, given: Any) -> Parameter:
    """Read one entry under ``parameters:``.

    Args:
        name: Dotted key.
        given: What stands under it.

    Raises:
        ValueError: If it is no parameter of W&B, or one that cannot be run here.

    Example:
        >>> read_parameter("lr", {"min": 0.0, "max": 0.5}).kind
        'uniform'
    """
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"parameters.{name}: give value, values, or min and max; got {given!r}.")
    if "parameters" in given:
        raise ValueError(f"parameters.{name}: nested parameters become no flag; write {name}.<key> as one dotted key.")
    kind = str(given.get("distribution") or _inferred(given))
    if kind not in FIELDS:
        raise ValueError(f"parameters.{name}: unknown distribution {kind!r}; there are {', '.join(FIELDS)}.")
    needed, defaults = FIELDS[kind]
    fields = {key: value for key, value in given.items() if key != "distribution"}
    missing = [key for key in needed if key not in fields]
    extra = [key for key in fields if key not in needed and key not in defaults]
    if missing or extra:
        fault = f"lacks {', '.join(missing)}" if missing else f"has no {', '.join(extra)}"
        raise ValueError(f"parameters.{name}: {kind} {fault}; it takes {', '.join([*needed, *defaults])}.")
    parameter = Parameter(name, kind, {**defaults, **fields})
    _check(parameter)
    return parameter


def _inferred(given: Mapping[str, Any]) -> str:
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical_w_probabilities" if "probabilities" in given else "categorical"
    are_whole = all(isinstance(given.get(key), int) for key in ("min", "max"))
    return "int_uniform" if are_whole else "uniform"


def _check(parameter: Parameter) -> None:
    name, kind, fields = parameter
    if "values" in fields and not (isinstance(fields["values"], list) and fields["values"]):
        raise ValueError(f"parameters.{name}.values must be a list that is not empty, got {fields['values']!r}.")
    if kind == "categorical_w_probabilities":
        chances = fields["probabilities"]
        is_sum = isinstance(chances, list) and math.isclose(sum(chances), 1.0, abs_tol=1e-6)
        if not is_sum or len(chances) != len(fields["values"]) or min(chances) < 0:
            raise ValueError(f"parameters.{name}.probabilities must be one per value with the sum 1, got {chances!r}.")
    if "min" in fields:
        low, high = fields["min"], fields["max"]
        if not all(isinstance(bound, int | float) for bound in (low, high)) or low > high:
            raise ValueError(f"parameters.{name}: min must be a number up to max, got {low!r} and {high!r}.")
        if kind.endswith("log_uniform_values") and low <= 0:
            raise ValueError(f"parameters.{name}: min of {kind} must be above 0, got {low!r}.")
    if "q" in fields and not fields["q"] > 0:
        raise ValueError(f"parameters.{name}.q must be above 0, got {fields['q']!r}.")


def grid_values(parameter: Parameter) -> list[Any]:
    """List the values that a grid goes through.

    Raises:
        ValueError: If there is no end to them.

    Example:
        >>> grid_values(read_parameter("n", {"min": 1, "max": 3}))
        [1, 2, 3]
    """
    kind, fields = parameter.kind, parameter.fields
    if kind == "constant":
        return [fields["value"]]
    if kind == "categorical":
        return list(fields["values"])
    if kind == "int_uniform":
        return list(range(int(fields["min"]), int(fields["max"]) + 1))
    if kind == "q_uniform":
        first, last = math.ceil(fields["min"] / fields["q"] - 1e-9), math.floor(fields["max"] / fields["q"] + 1e-9)
        return [_tidy(step * fields["q"], fields["q"]) for step in range(first, last + 1)]
    raise ValueError(f"parameters.{parameter.name}: a grid takes value, values, int_uniform or q_uniform, got {kind}.")


def draw(parameter: Parameter, generator: np.random.Generator) -> Any:
    """Draw a value.

    Args:
        parameter: What to draw from.
        generator: Source of randomness.

    Example:
        >>> draw(read_parameter("n", {"min": 4, "max": 4}), np.random.default_rng(0))
        4
    """
    kind, fields = parameter.kind, parameter.fields
    if kind == "constant":
        return fields["value"]
    if kind.startswith("categorical"):
        return fields["values"][int(generator.choice(len(fields["values"]), p=fields.get("probabilities")))]
    if kind == "int_uniform":
        return int(generator.integers(fields["min"], fields["max"], endpoint=True))
    value = _continuous(kind.removeprefix("q_"), fields, generator)
    return _tidy(round(value / fields["q"]) * fields["q"], fields["q"]) if "q" in fields else value


def _continuous(kind: str, fields: Mapping[str, Any], generator: np.random.Generator) -> float:
    if kind == "uniform":
        return float(generator.uniform(fields["min"], fields["max"]))
    if kind == "log_uniform":  # its bounds are exponents of e
        return math.exp(generator.uniform(fields["min"], fields["max"]))
    if kind == "log_uniform_values":
        return math.exp(generator.uniform(math.log(fields["min"]), math.log(fields["max"])))
    if kind == "beta":
        return float(generator.beta(fields["a"], fields["b"]))
    value = float(generator.normal(fields["mu"], fields["sigma"]))
    return math.exp(value) if kind == "log_normal" else value


def _tidy(value: float, step: float) -> float | int:
    """Return a multiple of a step without the dust of binary fractions; a whole number for a whole step."""
    return round(value) if isinstance(step, int) or float(step).is_integer() else float(f"{value:.12g}")
