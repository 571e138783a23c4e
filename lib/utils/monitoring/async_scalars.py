"""Numbers from the device, for which the host does not wait.

Where the host reads a number of the work it has just queued on a GPU, the GPU idles
from then until the host has queued more. So numbers are copied by the queue itself, and
read an update later: what the host may then wait for lies before a whole update.
"""

from collections.abc import Callable

import torch
from torch import Tensor


class AsyncScalars:
    """Hands numbers on: at once on a CPU, later on a GPU.

    Attributes:
        pending: hands on the last ones, if that is still to be done.
    """

    def __init__(self) -> None:
        self.pending: Callable[[], None] | None = None

    def send(self, values: Tensor, use: Callable[[list[float]], None]) -> None:
        """Have ``use`` called with the values, after those sent before.

        Args:
            values: ``(K,)`` on any device.
            use: may raise; then the numbers are taken for handed on.
        """
        self.flush()
        read = _start_copy(values.detach())

        def hand_on() -> None:
            self.pending = None
            use(read())

        self.pending = hand_on
        if values.device.type != "cuda":
            self.flush()

    def flush(self) -> None:
        """Wait for what was sent, and hand it on."""
        if self.pending is not None:
            self.pending()


def _start_copy(values: Tensor) -> Callable[[], list[float]]:
    """Queue the copy; what is returned waits for it."""
    if values.device.type != "cuda":
        return values.tolist
    there = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    there.copy_(values, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def read() -> list[float]:
        copied.synchronize()
        numbers: list[float] = there.tolist()
        return numbers

    return read
