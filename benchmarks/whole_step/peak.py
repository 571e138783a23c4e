"""Measure the highest rate of convolutions and matrix products on this machine.

No data sheet gives it for a virtual machine with two cores.
"""

import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

_CONVS = (
    # ResNets at 600x800: images, channels in and out, kernel, height, width
    (1, 64, 64, 3, 152, 200),
    (1, 256, 256, 3, 38, 50),
    (1, 1024, 512, 3, 38, 50),
    (1, 1024, 256, 1, 76, 100),
    (64, 512, 512, 3, 7, 7),
    (64, 2048, 512, 1, 7, 7),
)
_PRODUCTS = ((1024, 4096, 1024), (2048, 2048, 2048))


def measure_peaks(
    device: torch.device, *, seconds: float = 4.0, scale: int | None = None
) -> dict[str, float]:
    """Measure FLOPs per second by type, the best of some shapes.

    Args:
        device: device of the computation.
        seconds: time for each type.
        scale: factor on the number of images; if None, 16 on a GPU and 1 otherwise.
    """
    scale = scale or (16 if device.type == "cuda" else 1)
    return {
        str(dtype).removeprefix("torch."): max(_rates(device, dtype, seconds, scale))
        for dtype in (torch.float32, torch.bfloat16)
    }


def _rates(
    device: torch.device, dtype: torch.dtype, seconds: float, scale: int
) -> Iterator[float]:
    share = seconds / (len(_CONVS) + len(_PRODUCTS))
    for images, inputs, outputs, kernel, height, width in _CONVS:
        x = torch.randn(scale * images, inputs, height, width, device=device)
        weight = torch.randn(outputs, inputs, kernel, kernel, device=device)
        x, weight = (
            t.to(dtype).contiguous(memory_format=torch.channels_last)
            for t in (x, weight)
        )
        cells = scale * images * height * width
        flops = 2 * cells * outputs * inputs * kernel**2
        yield flops / _best(_conv(x, weight, kernel // 2), device, share)
    for rows, inner, columns in _PRODUCTS:
        a = torch.randn(scale * rows, inner, device=device).to(dtype)
        b = torch.randn(inner, columns, device=device).to(dtype)
        flops = 2 * scale * rows * inner * columns
        yield flops / _best(_product(a, b), device, share)


def _conv(
    x: torch.Tensor, weight: torch.Tensor, padding: int
) -> Callable[[], torch.Tensor]:
    return lambda: F.conv2d(x, weight, padding=padding)


def _product(a: torch.Tensor, b: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: a @ b


@torch.inference_mode()
def _best(
    call: Callable[[], torch.Tensor], device: torch.device, limit: float
) -> float:
    """Return the shortest time of a call in seconds."""
    best, started = float("inf"), time.perf_counter()
    call()
    while time.perf_counter() - started < limit or best == float("inf"):
        best = min(best, _seconds(call, device))
    return best


def _seconds(call: Callable[[], torch.Tensor], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    first = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    last = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(10):
        call()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 10_000
