"""YAML that was perhaps written to do harm: read within limits.

A few lines can stand for billions of values (aliases of aliases), and brackets alone
exhaust the stack. Both are seen in the events of the parser, before anything is built.
"""

import reprlib
from typing import Any

import yaml

_LENGTH = 1 << 18  # characters
_DEPTH = 30
_VALUES = 20_000


class UnsafeYAMLError(ValueError):
    """A text that is far larger or deeper than a file of settings."""


class TextLoader(yaml.SafeLoader):
    """Leaves scalars as they are written, except null: 01 stays "01", no stays "no"."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            (tag, shape) for tag, shape in found if tag.endswith((":null", ":merge"))
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Read YAML's plain values.

    Args:
        text: the file's content.
        loader: decides what scalars become.

    Raises:
        UnsafeYAMLError: it is too long, nested too deeply, or stands for too much.
        yaml.YAMLError: it is not valid.
        ValueError: a number or date is impossible.
    """
    if len(text) > _LENGTH:
        raise UnsafeYAMLError(
            f"expected at most {_LENGTH} characters, found {len(text)}"
        )
    _check_events(text)
    try:
        return yaml.load(text, Loader=loader)
    except (TypeError, AttributeError, LookupError, OverflowError) as error:
        # Of values that a tag makes into what they are not: !!int "", !!set [1].
        raise UnsafeYAMLError(f"found a value that is none ({error})") from error


def _check_events(text: str) -> None:
    """Count the values with all that their aliases stand for."""
    inside: list[tuple[str | None, int]] = []  # anchor and start of what is open
    sizes: dict[str, int] = {}
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise UnsafeYAMLError(
                    f"found {reprlib.repr(event.anchor)} inside of itself, or nowhere"
                )
            total += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, total))
            total += 1
            if len(inside) > _DEPTH:
                raise UnsafeYAMLError(f"expected at most {_DEPTH} levels, found more")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = inside.pop()
            if anchor:
                sizes[anchor] = total - start
        if total > _VALUES:
            raise UnsafeYAMLError(f"expected at most {_VALUES} values, found more")


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 200
_brief.maxlist = _brief.maxtuple = _brief.maxdict = 20
_brief.maxlevel = 3
_brief.maxlong = 40


def brief(value: object) -> str:
    """A value for a message, of whatever size it is."""
    try:
        return _brief.repr(value)
    except ValueError:  # a whole number of thousands of digits
        return f"a {type(value).__name__} too long to show"
