"""YAML from anywhere, read within limits.

A few lines can stand for billions of values (aliases of aliases), and brackets alone
exhaust the stack. The events of the parser show both before anything is built. Two
equal keys, of which PyYAML keeps the last, are an error.
"""

import re
import reprlib
import stat
from pathlib import Path
from typing import Any

import yaml

_LENGTH = 1 << 18  # characters
_DEPTH = 30
_VALUES = 20_000


# Leading zeros make a number octal in YAML 1.1 and decimal in YAML 1.2; colons make it
# a number of base 60 in the one and text in the other.
_AMBIGUOUS = re.compile(r"[-+]?0[0-7_]+|.*:.*")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class UnsafeYAMLError(ValueError):
    """A text that is far larger or deeper than a file of settings."""


def read_settings_file(path: Path, *, encoding: str = "utf-8") -> str:
    """Read a file of settings, which is small.

    Raises:
        UnsafeYAMLError: the file is too large, or a device or a pipe, which may have
            no end; nothing of it is read.
        UnicodeDecodeError: it is of another encoding.
        OSError: it cannot be read.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        kind = "a folder" if stat.S_ISDIR(state.st_mode) else "a device or a pipe"
        raise UnsafeYAMLError(f"expected a regular file, found {kind}")
    if state.st_size > 4 * _LENGTH:  # a character takes up to four bytes
        raise UnsafeYAMLError(
            f"expected at most {_LENGTH} characters, found {state.st_size} bytes"
        )
    return path.read_text(encoding=encoding)


class _Loader(yaml.SafeLoader):
    """Plain values, no key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                continue  # of merged keys, those of the mapping itself hold
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in lines:
                raise _refusal(
                    f"the key {brief(key)} is there twice, in lines {lines[key]} and "
                    f"{line}, and one would be lost; keep one of them"
                )
            lines[key] = line
        return super().construct_mapping(node, deep=deep)


class NumberLoader(_Loader):
    """Accept only numbers that every reader of YAML reads alike."""

    def construct_scalar(self, node: Any) -> Any:
        """Return the text of a scalar."""
        if node.tag in _NUMBERS and _AMBIGUOUS.fullmatch(node.value):
            raise _refusal(
                f"line {node.start_mark.line + 1}: {brief(node.value)} is a number of "
                "another base to some readers of YAML; write it as a plain decimal "
                "number, or in quotes if it is text"
            )
        return super().construct_scalar(node)


class TextLoader(_Loader):
    """Keep scalars as text, except null: 01 stays "01", no stays "no"."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            (tag, shape) for tag, shape in found if tag.endswith((":null", ":merge"))
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(text: str, loader: type[yaml.SafeLoader] = NumberLoader) -> Any:
    """Read YAML's plain values.

    Args:
        loader: decides what scalars become.

    Raises:
        UnsafeYAMLError: it is too long, nested too deeply, or stands for too much.
        yaml.YAMLError: it is not valid, or two keys of a mapping are equal.
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
        # Tags that do not suit their values: !!int "", !!set [1].
        raise UnsafeYAMLError(f"found an invalid value ({error})") from error


def _refusal(text: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, None)


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
