"""Make a page of a jinja2 template.

Templates, style sheets and scripts lie beside the code that fills them, and are named
by their path in this package, such as ``utils/pages/page.html``. Every value is escaped
unless it is ``Markup`` or has ``__html__``, as drawings do.
"""

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .canvas import color_rules

_PACKAGE = Path(__file__).parents[2]


def render(template: str, **values: object) -> Markup:
    """Fill a template.

    Args:
        values: its variables; one that is missing is an error.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(values))


def macro(template: str, name: str) -> Callable[..., Markup]:
    """Return a macro of a template as a function."""
    found: Callable[..., Markup] = getattr(
        _ENVIRONMENT.get_template(template).module, name
    )
    return found


def styles(*names: str) -> Markup:
    """Return the style of all pages, followed by the named style sheets."""
    return Markup(color_rules() + "\n") + sources("utils/pages/page.css", *names)


def sources(*names: str) -> Markup:
    """Return the text of files of this package, unescaped."""
    texts = [(_PACKAGE / name).read_text(encoding="utf-8") for name in names]
    return Markup("".join(texts))


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_PACKAGE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals |= {"styles": styles, "sources": sources}
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
