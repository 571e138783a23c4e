"""Text from outside as it may be shown: file names, tags, names of classes."""

import re

# Controls of C0 and C1, line separators, marks that turn the direction of writing, and
# surrogates, which stand for bytes that are no UTF-8.
_STEERING = (
    "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
)
_ANY = re.compile(f"[{_STEERING}]")
_BUT_LINES = re.compile(f"(?![\n\t])[{_STEERING}]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Escape what would steer a terminal or reorder what is read, as in ``\x1b``.

    Args:
        text: in part from a file, a folder or an annotation.
        lines: leave newlines and tabs, for text of several lines.

    Returns:
        Text that any UTF-8 file takes.
    """
    return (_BUT_LINES if lines else _ANY).sub(_escaped, text)


def show(text: str) -> None:
    """Print text for people on the standard output."""
    print(printable(text, lines=True))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")
