"""Parsers of subcommands, made by jsonargparse from the signature and the docstring of a function."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from lightning_aqa.cli.messages import is_debug, readable
from lightning_aqa.utils.args import find_options, split_extra, split_options

PROGRAM = "lightning-aqa"


def call(function: Callable[..., int], args: Sequence[str], **given: Any) -> int:
    """Call the function of a subcommand with what the arguments say.

    Parameters that are not keyword-only are positional arguments; one of type ``list[str]`` takes all that are left,
    and may be absent where it has a default. Those that are keyword-only are options, of which those of type ``bool``
    are switches, and those of a list or None may be given several times.

    Args:
        function: Function whose typed parameters and Google-style docstring are the parser.
        args: Arguments after the subcommand.
        given: Arguments of the function that do not come from the command line.

    Returns:
        The exit code that the function returns.
    """
    if {"-h", "--help"} & set(split_extra(args)[0]):
        args = ["--help"]
    settings = _make_parser(function, given.keys()).parse_args(_positionals_last(function, args))
    return function(**settings.as_dict(), **given)


def call_with_model(function: Callable[..., int], args: Sequence[str]) -> int:
    """Call the function of a subcommand; arguments that change the model of a config are its ``model_args``."""
    model_args = [arg for arg in args if arg.startswith("--model.")]
    return call(function, [arg for arg in args if arg not in model_args], model_args=model_args)


def split_own(function: Callable[..., int], args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide arguments into the options of a function, with their values, and all others."""
    valued, plain = _flags(function)
    return split_options(args, valued, [*plain, "-h", "--help"])


def switches_of(function: Callable[..., int]) -> list[str]:
    """List the options of a function that take no value."""
    return _flags(function)[1]


def check_at_least(least: Mapping[str, float], given: Mapping[str, Any]) -> None:
    """Refuse numbers that are too small; None is none.

    Example:
        >>> check_at_least({"workers": 1}, {"workers": 0})
        Traceback (most recent call last):
        ValueError: --workers must be at least 1, got 0.
    """
    for name, bound in least.items():
        if given[name] is not None and given[name] < bound:
            raise ValueError(f"--{name} must be at least {bound:g}, got {given[name]:g}.")


def _make_parser(function: Callable[..., int], skip: Collection[str]) -> Any:
    from docstring_parser import parse
    from jsonargparse import ArgumentParser

    class _Parser(ArgumentParser):
        """A parser that says a mistake in one line."""

        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            if is_debug():
                super().error(message, ex)
            options = [name for name, item in _parameters(function).items() if not _is_positional(item)]
            text = _in_plain_words(readable(message, options), options)
            more = "" if text.endswith("?") else f" See `{self.prog} --help`."
            sys.stderr.write(f"error: {text.rstrip('.')}{'' if text.endswith('?') else '.'}{more}\n")
            self.exit(2)

    described = parse(inspect.getdoc(function) or "")
    helps = {item.arg_name: " ".join((item.description or "").split()) for item in described.params}
    parser = _Parser(prog=f"{PROGRAM} {_name(function)}", description=_description(described), allow_abbrev=False)
    hints = get_type_hints(function)
    for name, item in _parameters(function).items():
        if name not in skip:
            _add(parser, item, hints[name], helps[name])
    return parser


def _in_plain_words(text: str, options: Sequence[str]) -> str:
    """Name options with their dashes, and types of numbers as people do.

    Example:
        >>> _in_plain_words("clips: Expected a <class 'int'>. Got value: x", ["clips"])
        '--clips: expected a whole number, got x'
    """
    before, required, names = text.partition("required: ")
    given = [f"--{name}" if name in options else name for name in names.rstrip(".").split(", ")]
    text = before + required + ", ".join(given) if required else text
    for kind, words in (("int", "a whole number"), ("float", "a number")):
        text = re.sub(rf"^(\w+): Expected a <class '{kind}'>\. Got value: ", rf"--\1: expected {words}, got ", text)
    return text


def _add(parser: Any, parameter: inspect.Parameter, kind: Any, text: str) -> None:
    """Add the argument of a parameter."""
    if _is_switch(parameter):
        parser.add_argument(f"--{parameter.name}", action="store_true", help=text)
    elif _is_positional(parameter):
        several = "+" if parameter.default is parameter.empty else "*"
        parser.add_argument(parameter.name, type=str, nargs=None if kind is str else several, help=text)
    elif item := _item(kind):
        parser.add_argument(f"--{parameter.name}", type=_each(item), action="append", help=text)
    elif parameter.default is parameter.empty:
        parser.add_argument(f"--{parameter.name}", type=kind, required=True, help=text)
    else:
        parser.add_argument(f"--{parameter.name}", type=kind, default=parameter.default, help=text)


def _item(kind: Any) -> Any:
    """Return the type of what is in a list that may be None; None for any other type."""
    listed = next((of for of in get_args(kind) if get_origin(of) is list), None)
    return get_args(listed)[0] if listed else None


def _each(kind: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return a reader of one value, and of the list of them, which jsonargparse checks at the end."""

    def number(value: Any) -> Any:
        return [kind(item) for item in value] if isinstance(value, list) else kind(value)

    return number


def _name(function: Callable[..., int]) -> str:
    return function.__name__.replace("_", "-")


def _description(described: Any) -> str:
    return " ".join(filter(None, (described.short_description, described.long_description)))


def _parameters(function: Callable[..., int]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.POSITIONAL_OR_KEYWORD


def _is_switch(parameter: inspect.Parameter) -> bool:
    return parameter.annotation == "bool" and parameter.default is False


def _flags(function: Callable[..., int]) -> tuple[list[str], list[str]]:
    """List the options that take a value, and the switches."""
    options = [item for item in _parameters(function).values() if not _is_positional(item)]
    plain = [f"--{item.name}" for item in options if _is_switch(item)]
    return [f"--{item.name}" for item in options if not _is_switch(item)], plain


def _positionals_last(function: Callable[..., int], args: Sequence[str]) -> list[str]:
    """Put positional arguments together after all options: argparse takes a list of them in one piece alone."""
    own, extra = split_extra(args)
    taken = {index for option in find_options(own, *_flags(function)) for index in range(option.start, option.stop)}
    is_option = [index in taken or (arg.startswith("-") and arg != "-") for index, arg in enumerate(own)]
    options = [arg for arg, mine in zip(own, is_option, strict=True) if mine]
    positionals = [arg for arg, mine in zip(own, is_option, strict=True) if not mine]
    return [*options, *positionals, *(["--", *extra] if extra else [])]
