"""The progress of a download, of a check, and of unpacking."""

import math
import sys

from ..monitoring.progress import Progress, format_duration
from .disk import amount

_LOG_EVERY = 1 << 30  # bytes between two lines of a log; a download's last one counts


class ByteProgress(Progress):
    """Bytes done, bytes per second and time left, shown as `Progress` shows them.

    Args:
        label: start of the line.
        total: bytes of the whole, if known.
        start: bytes of an earlier call.
    """

    def __init__(self, label: str, total: int | None = None, *, start: int = 0) -> None:
        super().__init__(total or sys.maxsize, start=start, log_every=_LOG_EVERY)
        self._label = label

    def expect(self, total: int | None) -> None:
        """Set the number of bytes of the whole, once it is known."""
        self._total = total or sys.maxsize

    def show(self, count: int) -> None:
        """Show that ``count`` bytes are done in all."""
        self.update(count, images=0)

    def _format(self) -> str:
        speed, _ = self.rates()
        known = self._total < sys.maxsize
        parts = [f"{self._label}  {amount(self._done)}"]
        if known:
            percent = 100 * self._done / self._total
            parts[0] += f" of {amount(self._total)}  {percent:5.1f}%"
        if math.isfinite(speed):
            parts.append(f"{amount(speed)}/s")
            if known and speed > 0:
                left = (self._total - self._done) / speed
                parts.append(f"eta {format_duration(left)}")
        return "  ".join(parts)
