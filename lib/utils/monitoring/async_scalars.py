"""Read numbers from the device without making the host wait.

If the host reads a number of the work that it has just queued on a GPU, the GPU idles
until the host has queued more. So the copy of the numbers is queued too, and they are
read one update later.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class AsyncScalars:
    """Pass numbers to callbacks: at once on a CPU, one update later on a GPU."""

    def __init__(self) -> None:
        self.pending: Callable[[], None] | None = None

    def send(
        self, values: Mapping[str, Tensor], use: Callable[[dict[str, float]], None]
    ) -> None:
        """Call ``use`` with the numbers by name, after those sent before.

        Args:
            values: ``()`` each, on one device.
            use: the callback; not called again if it raises.
        """
        self.flush()
        names = tuple(values)  # not the tensors, which may hold a graph
        together = torch.stack([v.detach().float() for v in values.values()])
        read = _start_copy(together)

        def pass_on() -> None:
            self.pending = None
            use(dict(zip(names, read(), strict=True)))

        self.pending = pass_on
        if together.device.type != "cuda":
            self.flush()

    def flush(self) -> None:
        """Wait for the values that were sent, and pass them on."""
        if self.pending is not None:
            self.pending()


def _start_copy(values: Tensor) -> Callable[[], list[float]]:
    """Queue the copy, and return a function that waits for it."""
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
