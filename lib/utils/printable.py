"""Make text from outside safe to print: file names, tags, class names."""

import os
import re
import sys

# Controls of C0 and C1, line separators, marks that change the writing direction, and
# surrogates, which represent bytes that are not UTF-8.
_STEERING = (
    "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
)
_ANY = re.compile(f"[{_STEERING}]")
_BUT_LINES = re.compile(f"(?![\n\t])[{_STEERING}]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Escape what is no UTF-8, controls a terminal or reorders text, as in ``\x1b``.

    Args:
        lines: keep newlines and tabs, for text of several lines.
    """
    return (_BUT_LINES if lines else _ANY).sub(_escaped, text)


def show(text: str) -> None:
    """Print text for people on the standard output.

    If nobody reads it any longer, as after ``| head -1``, this and later texts are
    dropped, and the command finishes its work.
    """
    try:
        print(printable(text, lines=True), flush=True)
    except BrokenPipeError:
        # Python flushes stdout once more at its end, and would complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")
