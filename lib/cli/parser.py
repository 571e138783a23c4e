"""Argument parser of all commands, and the argument types and options they share."""

import argparse
import difflib
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from ..utils.printable import printable, show


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


def score(text: str) -> float:
    """Parse a score from 0 to 1, as the type of an argument."""
    try:
        if 0 <= float(text) <= 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")


OTHER_PROGRAMS = {
    "--learning-rate": "--lr",
    "--lr0": "--lr",
    "--base-lr": "--lr",
    "--bs": "--batch-size",
    "--batch": "--batch-size",
    "-b": "--batch-size",
    "--num-epochs": "--epochs",
    "--max-epochs": "--epochs",
    "--max-iter": "--iters",
    "--num-workers": "--workers",
    "-j": "--workers",
    "--img": "--imgsz",
    "--img-size": "--imgsz",
    "--image-size": "--imgsz",
    "--num-gpus": "--gpus",
    "--nproc-per-node": "--gpus",
    "--config": "--cfg",
    "--config-file": "--cfg",
    "--opts": "--set",
    "--options": "--set",
    "--pretrained": "--weights",
    "--load-from": "--weights",
    "--resume-from": "--resume",
    "--ckpt": "--checkpoint",
    "--conf": "--threshold",
    "--score-thr": "--threshold",
    "--source": "SOURCE",
    "--data": "DATASET",
    "--data-path": "DATASET",
    "--dataset": "DATASET",
    "--model": "NET",
    "--arch": "NET",
    "--backbone": "NET",
    "--net": "NET",
}
"""Names of options in other programs, and what they are called here."""

_KEY_AND_VALUE = re.compile(r"([A-Za-z_]\w*\.\w+)=(.*)", re.DOTALL)


class _Overrides(argparse.Action):
    """Collects settings, given as ``KEY VALUE`` or ``KEY=VALUE``, as key, value, ..."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        pairs = list(_keys_and_values(values))
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), *pairs])


def _keys_and_values(words: Sequence[str]) -> Iterator[str]:
    """Split ``KEY=VALUE`` where a key is expected; a value may contain ``=``."""
    rest = iter(words)
    for word in rest:
        match = _KEY_AND_VALUE.fullmatch(word)
        yield from match.groups() if match else (word, *itertools.islice(rest, 1))


def add_device(parser: argparse.ArgumentParser, *, precision: bool = False) -> None:
    """Add ``--device``, and ``--precision`` of a detector if asked."""
    add = parser.add_argument
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    if precision:
        kinds = ("auto", "float32", "bfloat16", "float16")
        add("--precision", default="auto", choices=kinds)


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--set SECTION.KEY VALUE ...``, stored as ``overrides``."""
    parser.add_argument(
        *("--set", "--cfg-options"),
        nargs="+",
        action=_Overrides,
        default=[],
        dest="overrides",
        metavar=("SECTION.KEY", "VALUE"),
        help=f"settings to override, as KEY VALUE or KEY=VALUE, e.g. --set {example}",
    )


class UsageError(ValueError):
    """Arguments that a command does not accept."""


class Parser(argparse.ArgumentParser):
    """A parser that accepts no abbreviations, and suggests the nearest option.

    Args:
        check: returns what is wrong with parsed arguments, or None.
    """

    def __init__(
        self,
        *,
        check: Callable[[argparse.Namespace], str | None] = lambda _: None,
        **options: Any,
    ) -> None:
        super().__init__(allow_abbrev=False, **options)
        self._check = check

    def parse_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> argparse.Namespace:
        """Parse a command line.

        Raises:
            SystemExit: status 2 after an error message, or 0 after help.
        """
        try:
            return self.parse_words(args, namespace)
        except UsageError as error:
            super().error(str(error))

    def parse_words(
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> argparse.Namespace:
        """Parse words of a program, which has its own way with errors.

        Raises:
            UsageError: the command does not accept them.
        """
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown)
        if problem := self._check(arguments):
            self.error(problem)
        return arguments

    def long_options(self) -> list[str]:
        """Return the names of the options, such as ``--lr``."""
        return [name for name in self._option_string_actions if name[:2] == "--"]

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise UsageError(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            show(message.removesuffix("\n"))
        else:
            super()._print_message(printable(message, lines=True), file)

    def _refuse(self, words: Sequence[str]) -> NoReturn:
        hint = next(filter(None, map(self._hint, words)), "")
        self.error(f"unrecognized arguments: {' '.join(words)}{hint}")

    def _hint(self, word: str) -> str:
        """Suggest what to write in place of a word that was not understood."""
        name, equals, value = word.partition("=")
        known = self._option_string_actions
        if word.startswith("-"):
            other = OTHER_PROGRAMS.get(name, name)
            same = other if other in known or other.isupper() else None
            return f"; did you mean {same}?" if same else nearest(name, known)
        if not equals:
            return ""
        if "." in name and "--set" in known:
            return f"; did you mean --set {word}?"
        option = OTHER_PROGRAMS.get(f"--{name}", f"--{name}")
        return f"; did you mean {option} {value}?" if option in known else ""
