"""Promises of a kind of part, as checks that the project's tests and ``lightning-aqa check`` run alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

Build = TypeVar("Build")


class ContractError(AssertionError):
    """A promise that a part does not keep; the message says what was seen."""


class Outcome(NamedTuple):
    """The end of a check.

    Args:
        promise: What every part of the kind promises.
        broken: What was seen instead; empty where it is kept.
    """

    promise: str
    broken: str


def promise_of(check: Callable[..., None]) -> str:
    """Return the promise that a check is about: the first line of its docstring.

    Example:
        >>> promise_of(promise_of)
        'Return the promise that a check is about: the first line of its docstring'
    """
    return (check.__doc__ or check.__name__).strip().splitlines()[0].rstrip(".")


def outcomes(checks: Sequence[Callable[[Build], None]], build: Build) -> Iterator[Outcome]:
    """Run checks one after another, each on a part of its own; an error of the part is a promise not kept."""
    for check in checks:
        torch.manual_seed(0)
        try:
            check(build)
        except ContractError as error:
            yield Outcome(promise_of(check), str(error))
        except Exception as error:  # of the part, whatever it is
            reason = " ".join(str(error).split())
            yield Outcome(promise_of(check), f"it raised {type(error).__name__}: {reason}")
        else:
            yield Outcome(promise_of(check), "")


def require(holds: object, broken: str) -> None:
    """Demand something of a part.

    Raises:
        ContractError: If it does not hold.
    """
    if not holds:
        raise ContractError(broken)


def require_close(found: Tensor, expected: Tensor, where: str, *, within: float = 1e-5) -> None:
    """Demand that numbers agree.

    Args:
        found: Numbers.
        expected: What they should be.
        where: What is compared, for the message.
        within: Largest difference, absolute.

    Raises:
        ContractError: If shapes differ, or a number by more.
    """
    require(found.shape == expected.shape, f"{where}: shape {list(found.shape)}, expected {list(expected.shape)}")
    apart = (found.detach().double() - expected.detach().double()).abs()
    apart = torch.where(found == expected, 0.0, apart).nan_to_num(nan=torch.inf)
    most = float(apart.max()) if apart.numel() else 0.0
    require(most <= within, f"{where}: up to {most:.2g} apart, at most {within:.0e} is allowed")


def without_gradient(parameters: dict[str, torch.nn.Parameter]) -> list[str]:
    """Return the names of those whose gradient is missing, zero or not finite; an empty one needs none.

    That of a single number may be zero: the bias before a softmax shifts all of its logits alike.
    """
    grads = {name: parameter.grad for name, parameter in parameters.items() if parameter.numel()}
    return [
        name
        for name, grad in grads.items()
        if grad is None or not grad.isfinite().all() or (grad.numel() > 1 and not grad.any())
    ]
