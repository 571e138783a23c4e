"""Argument parser without abbreviations, which suggests the nearest option."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ..utils.printable import printable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean x?"`` for the nearest known word, else ``""``."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


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
