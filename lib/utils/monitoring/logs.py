"""The package's log: a readable console, and a file with all records.

A progress line on the terminal is erased before each log line and drawn again below it.
"""

import logging
import logging.handlers
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..printable import printable

LOGGER_NAME = "faster_rcnn"  # the package's, above the loggers of its modules
FILE_ONLY = {"file_only": True}  # pass as `extra` to keep a record off the console


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler  # takes no parameter before Python 3.11


class StatusLine:
    """The one line of the terminal that is rewritten in place, if there is one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._stream: TextIO | None = None
        self._text = ""

    def show(self, stream: TextIO, text: str) -> None:
        """Write ``text``, one line without a newline, over the current line."""
        with self._lock:
            self._stream, self._text = stream, text
            stream.write(f"\r\x1b[K{text}")
            stream.flush()

    def finish(self) -> None:
        """Keep the current line on the terminal, and continue below it."""
        self._end("\n")

    def erase(self) -> None:
        """Erase the current line from the terminal."""
        self._end("\r\x1b[K")

    def _end(self, text: str) -> None:
        with self._lock:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
            self._stream, self._text = None, ""

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Erase the current line during the block, and draw it again afterwards."""
        with self._lock:
            stream, text = self._stream, self._text
            self.erase()
            try:
                yield
            finally:
                if stream is not None:
                    self.show(stream, text)


STATUS = StatusLine()


class _Formatter(logging.Formatter):
    """Time, level above info, and message, in which no text can forge a record."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True).replace("\n", "\n  ")

    def formatMessage(self, record: logging.LogRecord) -> str:
        level = "WARNING: " if record.levelno >= logging.WARNING else ""
        level = "ERROR: " if record.levelno >= logging.ERROR else level
        return f"{record.asctime} {level}{record.message}"


class _Console(_StreamHandler):
    """Console output that keeps the progress line intact."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "file_only", False):
            return
        with STATUS.aside():
            super().emit(record)


class _File(logging.handlers.WatchedFileHandler):
    """The log file, created again if deleted; errors lose lines, but never the run."""

    _failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or report that it cannot be written."""
        try:
            super().emit(record)
        except OSError:  # its folder was deleted
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._failed:
            self._failed = True
            error = sys.exc_info()[1]
            with STATUS.aside():
                sys.stderr.write(
                    f"warning: cannot write to {self.baseFilename} ({error}); "
                    "the run continues and its log has gaps\n"
                )


def setup_logging(log_file: Path | None = None) -> logging.Logger:
    """Send the package's log to stderr and append it to a file.

    A further call replaces the handlers of an earlier call; handlers of others are
    kept, and records still reach the root logger.

    Args:
        log_file: file to append to, its folder created if missing; None for no file.

    Raises:
        OSError: if the file cannot be opened for writing.
    """
    logger = logging.getLogger(LOGGER_NAME)
    handlers: list[logging.Handler] = [_Console(sys.stderr)]
    handlers[0].setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_File(log_file, encoding="utf-8"))
        handlers[1].setFormatter(_Formatter("%(asctime)s %(message)s"))
    for old in list(logger.handlers):
        if isinstance(old, _Console | _File):
            logger.removeHandler(old)
            old.close()
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return logger
