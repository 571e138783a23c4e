"""JSON files larger than memory: a few list elements at a time."""

import json
import re
from collections.abc import Iterator
from typing import Any

_LARGEST = 1 << 28
"""Characters of one value; a longer one is an error."""

_MARGIN = 16
"""A number this close to the end of the window may be incomplete."""

_decode = json.JSONDecoder().raw_decode
_comma = re.compile(r"[ \t\n\r]*,[ \t\n\r]*").match
_space = re.compile(r"[ \t\n\r]*").match


def json_tables(
    text: Iterator[str], *, rows: int = 4096
) -> Iterator[tuple[str, list[Any] | None]]:
    """Read a JSON object whose values are long lists.

    Args:
        text: the file, in pieces of any length.
        rows: most elements handed out at once.

    Yields:
        Each key with the next elements of its list; once with ``[]`` for an empty list
        and once with None for any other value. Nothing if the file holds no object.

    Raises:
        ValueError: the text is no JSON; with line, column and character.
        RecursionError: values are nested too deep.
    """
    reader = _Reader(text)
    if reader.peek() != "{":
        reader.value()
    elif reader.opened("}"):
        while True:
            if reader.peek() != '"':
                reader.fail("Expecting property name enclosed in double quotes")
            key = reader.value()
            reader.step(":")
            if reader.peek() == "[":
                for elements in reader.elements(rows):
                    yield key, elements
            else:
                reader.value()
                yield key, None
            if reader.step(",}") == "}":
                break
    if reader.peek():
        reader.fail("Extra data")


class _Reader:
    """A window that moves over the text."""

    def __init__(self, text: Iterator[str]) -> None:
        self.pieces = text
        self.window = ""
        self.at = 0
        # Before the window: characters, lines, characters of the last line.
        self.passed = self.lines = self.column = 0

    def more(self) -> bool:
        """Read more text and drop the consumed part; return False at the end."""
        rest = len(self.window) - self.at
        if rest > _LARGEST:
            return False
        pieces = []
        wanted = max(rest, 1)  # doubles, so that a long value is seldom decoded again
        for piece in self.pieces:
            pieces.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        if not any(pieces):
            return False
        newlines = self.window.count("\n", 0, self.at)
        last = self.window.rfind("\n", 0, self.at)
        self.column = self.at - last - 1 + (self.column if last < 0 else 0)
        self.lines += newlines
        self.passed += self.at
        self.window = self.window[self.at :] + "".join(pieces)
        self.at = 0
        return True

    def peek(self) -> str:
        """Return the next character that is no white space; "" at the end."""
        while True:
            match = _space(self.window, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.window) or not self.more():
                return self.window[self.at : self.at + 1]

    def step(self, expected: str) -> str:
        """Consume one of the expected characters."""
        found = self.peek()
        if not found or found not in expected:
            self.fail(f"Expecting {expected[0]!r} delimiter")
        self.at += 1
        return found

    def opened(self, closing: str) -> bool:
        """Enter an object or list; if it is empty, leave it and return False."""
        self.at += 1
        if self.peek() != closing:
            return True
        self.at += 1
        return False

    def value(self) -> Any:
        """Decode and consume the next value."""
        self.peek()
        while True:
            try:
                value, end = _decode(self.window, self.at)
            except json.JSONDecodeError as error:
                if not self.more():
                    self.fail(error.msg, error.pos)
                continue
            if len(self.window) - end > _MARGIN or not self.more():
                self.at = end
                return value

    def elements(self, rows: int) -> Iterator[list[Any]]:
        """Decode a list, so many elements at a time."""
        found: list[Any] = []
        if self.opened("]"):
            while True:
                if not self.quick(found):
                    found.append(self.value())
                    if self.step(",]") == "]":
                        break
                    self.peek()
                if len(found) == rows:
                    yield found
                    found = []
        yield found

    def quick(self, found: list[Any]) -> bool:
        """Decode an element and its comma here, if both are in the window."""
        try:
            value, end = _decode(self.window, self.at)
        except json.JSONDecodeError:
            return False
        comma = _comma(self.window, end)
        if comma is None:
            return False
        self.at = comma.end()
        found.append(value)
        return True

    def fail(self, message: str, at: int | None = None) -> None:
        """Raise ValueError for a place in the window."""
        at = self.at if at is None else at
        line = self.lines + self.window.count("\n", 0, at) + 1
        last = self.window.rfind("\n", 0, at)
        column = at - last + (self.column if last < 0 else 0)
        raise ValueError(
            f"{message}: line {line} column {column} (char {self.passed + at})"
        )
