"""A file that is on its way: which of its bytes have come, over a crash too.

A file of one piece grows from its start, and its length tells how much has come. One of
several pieces comes in any order, and a note beside it lists what is missing.
"""

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

PIECE = 1 << 25  # bytes asked for at a time
_NOTE_EVERY = 1.0  # seconds, so much is fetched again after a crash


@dataclass(slots=True, eq=False)
class Gap:
    """Missing bytes.

    Attributes:
        start: the first one; it moves as bytes come.
        end: the one after the last; None as long as the file's size is not known.
        busy: somebody is fetching them.
    """

    start: int
    end: int | None
    busy: bool = False

    @property
    def empty(self) -> bool:
        """Whether all has come."""
        return self.end is not None and self.start >= self.end


class PartFile:
    """The bytes of a file that have come so far. Safe to use from several threads.

    Args:
        path: where they gather; what an earlier process left there is taken over.
        size: bytes of the whole file, if known.
    """

    def __init__(self, path: Path, size: int | None) -> None:
        self.path = path
        self.size = size
        self._size_given = size
        self._note = path.with_name(path.name + ".missing")
        self._noted = 0.0
        self._useless = False  # what is there, since its note is damaged
        self._lock = threading.Lock()
        self._gaps = self._left_gaps()

    @property
    def received(self) -> int:
        """How many bytes have come."""
        with self._lock:
            if self.size is None:
                return self._gaps[0].start
            return self.size - sum((g.end or self.size) - g.start for g in self._gaps)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        with self._lock:
            return not self._gaps

    def expect(self, size: int) -> None:
        """Take over the file's size from who offers it."""
        with self._lock:
            if self.size is None:
                self.size = size
                gap = self._gaps[0]
                gap.end = max(size, gap.start)
                self._cut(gap)

    def take(self) -> Gap | None:
        """Give the first piece that nobody is fetching, to be given back; or None."""
        with self._lock:
            if self._useless:
                self._remove()
            for gap in self._gaps:
                if not gap.busy:
                    gap.busy = True
                    self._cut(gap)
                    return gap
            return None

    def give_back(self, gap: Gap) -> None:
        """Let others fetch what is still missing of a piece."""
        with self._lock:
            gap.busy = False
            if gap.empty:
                self._gaps.remove(gap)
            self._take_note()

    def open(self, gap: Gap) -> BinaryIO:
        """Open the file for writing at a piece's start."""
        self.path.touch()
        file = self.path.open("r+b", buffering=0)
        file.seek(gap.start)
        return file

    def write(self, file: BinaryIO, gap: Gap, block: bytes) -> None:
        """Add bytes to a piece; `file` is what `open` gave for it."""
        while block:
            written = file.write(block)
            block = block[written:]
            with self._lock:
                gap.start += written
                if time.monotonic() > self._noted + _NOTE_EVERY:
                    self._take_note()

    def end_here(self, gap: Gap) -> None:
        """End a file of unknown size with what has come."""
        with self._lock:
            self.size = gap.end = gap.start

    def clear(self) -> None:
        """Forget all that has come."""
        with self._lock:
            self._remove()
            self.size = self._size_given
            self._gaps = self._left_gaps()

    def settle(self) -> None:
        """Take the note away. Call it when the file is complete."""
        self._note.unlink(missing_ok=True)

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self._useless = False

    def _cut(self, gap: Gap) -> None:
        """Shorten a gap to a piece."""
        if gap.end is not None and gap.end - gap.start > PIECE:
            rest = Gap(gap.start + PIECE, gap.end)
            self._gaps.insert(self._gaps.index(gap) + 1, rest)
            gap.end = rest.start

    def _left_gaps(self) -> list[Gap]:
        """Find out what an earlier process left missing."""
        length = self.path.stat().st_size if self.path.is_file() else 0
        if self._note.is_file():
            try:
                return self._noted_gaps(length)
            except (ValueError, TypeError, KeyError):
                # Without its note a file's length means nothing.
                self._useless, length = True, 0
        gap = Gap(length, self.size)
        return [] if gap.empty else [gap]

    def _noted_gaps(self, length: int) -> list[Gap]:
        note = json.loads(self._note.read_text())
        size, spans = int(note["size"]), [(int(a), int(b)) for a, b in note["missing"]]
        bounds = [0, *(bound for span in spans for bound in span), size]
        come = size
        for start, end in reversed(spans):
            come = start if end == come else come
        if self.size not in (None, size) or bounds != sorted(bounds) or length < come:
            raise ValueError("the note is of another file")
        self.size = size
        return [Gap(start, end) for start, end in spans if start < end]

    def _take_note(self) -> None:
        """Write down what is missing, in one step."""
        self._noted = time.monotonic()
        if self.size is None or self.size <= PIECE or not self.path.exists():
            return
        note = {"size": self.size, "missing": [[g.start, g.end] for g in self._gaps]}
        fresh = self._note.with_name(self._note.name + ".new")
        fresh.write_text(json.dumps(note))
        os.replace(fresh, self._note)
