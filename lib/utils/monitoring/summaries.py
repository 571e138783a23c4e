"""Write events, images and metrics of a run, for TensorBoard and for scripts."""

import errno
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboardX import RecordWriter, summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from torch import Tensor

from ..closeable import Closeable
from ..drawing import Picture
from ..files import write_atomic

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 10.0
_BINS = 64
_HISTOGRAM_LIMIT = 1e38  # keeps the range of a histogram within float32


class Summaries(Closeable):
    """A TensorBoard event file, written with tensorboardX's summaries.

    tensorboardX's SummaryWriter writes in a thread, and if a full disk kills it, the
    training loop waits forever; here the run continues without TensorBoard.

    Args:
        purge_step: the first step that a resumed run writes again, from which on
            TensorBoard ignores the folder's earlier event files.
    """

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads event files in the order of their names, which differ even
        # for two starts within one second.
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9}.{now % 10**9:09d}.{os.getpid()}"
        self._path = folder / name
        self._writer: Any = RecordWriter(str(self._path))
        self._flushed = time.monotonic()
        self._write(Event(file_version="brain.Event:2"), purge_step)
        if purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(session_log=start), purge_step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers, each a curve under its name; NaN and infinity are kept."""
        for name, value in values.items():
            self._add(summary.scalar(name, float(value)), step)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def images(self, name: str, rgb: Picture, step: int) -> None:
        """Add an image, ``(H, W, 3)`` uint8 RGB."""
        self._add(summary.image(name, rgb, dataformats="HWC"), step)

    def histograms(self, tensors: Mapping[str, Tensor], step: int) -> dict[str, int]:
        """Add histograms of tensors of any shape, type and device.

        Returns:
            The number of non-finite values of each tensor that has any; also added as
            curves ``not_finite/<name>``.
        """
        not_finite: dict[str, int] = {}
        for name, tensor in tensors.items():
            values = tensor.detach().flatten().float().cpu()
            finite = values[values.isfinite()]
            if finite.numel() < values.numel():
                not_finite[name] = values.numel() - finite.numel()
            if finite.numel():
                self._add(_histogram(name, finite), step)
        self.scalars({f"not_finite/{k}": n for k, n in not_finite.items()}, step)
        return not_finite

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Add a text such as a YAML file, shown verbatim."""
        fence = "```"
        while fence in text:
            fence += "`"
        self._add(summary.text(tag, f"{fence}yaml\n{text.rstrip()}\n{fence}\n"), step)

    def flush(self) -> None:
        """Write everything that was added to the disk."""
        self._flushed = time.monotonic()
        if self._writer is not None:
            try:
                self._writer.flush()
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Flush and close the file. Safe to call twice; later additions are ignored."""
        self.flush()
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _add(self, content: Any, step: int) -> None:
        self._write(Event(summary=content), step)

    def _write(self, event: Any, step: int | None) -> None:
        if self._writer is None:
            return
        event.wall_time = time.time()
        if step is not None:
            event.step = step
        try:
            self._writer.write(event.SerializeToString())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        writer, self._writer = self._writer, None
        with suppress(OSError):  # closing flushes, and so fails in the same way
            writer.close()
        text = "cannot write %s (%s); the run continues without TensorBoard"
        logger.warning(text, self._path, error)


class MetricsFile(Closeable):
    """A file of JSON lines, one for each time the run logs its metrics.

    A resumed run's file equals that of an uninterrupted run: lines of iterations after
    the checkpoint are dropped, because the run will write them again.

    Args:
        start: iterations done when the run starts or resumes.

    Raises:
        OSError: the file cannot be read or written.
    """

    def __init__(self, path: Path, *, start: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        if path.exists():
            _drop_after(path, start)
        # Unbuffered, so that closing the file cannot fail again with pending data.
        self._file = path.open("ab", buffering=0)

    def append(self, iteration: int, values: Mapping[str, object]) -> None:
        """Write a line ``{"iteration": iteration, **values}`` to the file at once.

        Numbers that are not finite become the texts "NaN", "Infinity" and "-Infinity",
        which ``float()`` reads back.

        Raises:
            OSError: the line cannot be written; the message names the file.
        """
        line = json.dumps(_plain({"iteration": iteration, **values}), allow_nan=False)
        data = f"{line}\n".encode()
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}: cannot add a line", str(self._path)
            ) from error

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()


def _histogram(name: str, values: Tensor) -> Any:
    """Return the summary of ``(n,)`` finite float32 values on the CPU, n > 0."""
    low, high = float(values.min()), float(values.max())
    first, last = np.clip((low, high), -_HISTOGRAM_LIMIT, _HISTOGRAM_LIMIT).tolist()
    if first == last:
        margin = max(abs(first), 1.0) / 2
        edges = [first - margin, last + margin]
        counts = [float(values.numel())]
    else:
        counts = torch.histc(values.clamp(first, last), _BINS, first, last).tolist()
        edges = np.linspace(first, last, _BINS + 1).tolist()
    total = float(values.sum(dtype=torch.float64))
    squares = float(torch.linalg.vector_norm(values)) ** 2
    # Each edge closes a bucket on its right, so the first one's bucket is empty.
    return summary.histogram_raw(
        *(name, low, high, values.numel(), total, squares, edges, [0.0, *counts])
    )


def _plain(value: object) -> object:
    """Return the value with non-finite numbers as text, which JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return value


def _drop_after(path: Path, iteration: int) -> None:
    """Rewrite a metrics file without incomplete lines or lines after ``iteration``."""
    content = path.read_text(encoding="utf-8", errors="replace")
    kept: list[str] = []
    damaged = 0
    for line in content.splitlines():
        try:
            of_line = json.loads(line)["iteration"]
        except (ValueError, KeyError, TypeError):
            damaged += 1
            continue
        if of_line <= iteration:
            kept.append(line + "\n")
    if damaged:
        logger.warning("%s: dropped %d unreadable line(s)", path, damaged)
    if "".join(kept) != content:
        write_atomic(path, "".join(kept))
