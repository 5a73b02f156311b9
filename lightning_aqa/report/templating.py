"""The templates of the page: Jinja2 with autoescape, so that every text from outside is escaped."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from lightning_aqa.metrics.levels import higher_is_better
from lightning_aqa.results.tables import LEVELS, capital, shown, shown_interval, signed

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def environment() -> Environment:
    """Return the environment of all templates, which lie in ``templates``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("lightning_aqa.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
    made.filters |= {
        "shown": shown,
        "signed": signed,
        "breakable": breakable,
        "interval": shown_interval,
        "capital": capital,
    }
    made.tests |= {"finite": math.isfinite, "better_if_higher": higher_is_better}
    made.globals["LEVELS"] = LEVELS
    return made


def render(template: str, **context: Any) -> str:
    """Return a template filled in, as text that is not escaped again.

    Args:
        template: Name of the template, without ``.html.j2``.
        context: What it needs, no more and no less.
    """
    from markupsafe import Markup

    return Markup(environment().get_template(f"{template}.html.j2").render(**context))


def breakable(name: str) -> str:
    """Let a long name break after its underscores, equals signs and commas."""
    from markupsafe import Markup, escape

    text = escape(name)
    for sign in "_=,":
        text = text.replace(sign, Markup(f"{sign}<wbr>"))
    return text


def phrase(text: str, *names: str) -> str:
    """Fill names into a sentence that has markup; they are escaped."""
    from markupsafe import Markup

    return Markup(text).format(*names)


def picture(svg: str) -> str:
    """Mark a picture of our own as markup; its texts are escaped where it is drawn."""
    from markupsafe import Markup

    return Markup(svg)
