"""Argument parser of all commands, and the argument types and options they share."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ..utils.printable import printable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean x?"`` for the nearest known word, else ``""``."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def count(text: str) -> int:
    """Parse a whole number of 1 or more, as the type of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of 1 or more, found {text!r}"
        )
    return int(text)


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--set SECTION.KEY VALUE ...``, stored as ``overrides``.

    Args:
        parser: parser of the command.
        example: example for the help text.
    """
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        dest="overrides",
        metavar=("SECTION.KEY", "VALUE"),
        help=f"settings to override, e.g. --set {example}",
    )


class Parser(argparse.ArgumentParser):
    """A parser that accepts no abbreviations, and suggests the nearest option."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> argparse.Namespace:
        """Parse a command line.

        Raises:
            SystemExit: status 2 after an error message, or 0 after help.
        """
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown)
        return arguments

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message, lines=True), file)

    def _refuse(self, words: Sequence[str]) -> NoReturn:
        options = (word.partition("=")[0] for word in words if word.startswith("-"))
        hints = (nearest(option, self._option_string_actions) for option in options)
        hint = next(filter(None, hints), "")
        self.error(f"unrecognized arguments: {' '.join(words)}{hint}")
