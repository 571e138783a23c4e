"""RoI max pooling compiled at run time by CuPy: the least code for a GPU of one's own.

Letters: N images, R RoIs, C channels, P output cells per side.
"""

import functools
from typing import Any

import cupy
import torch
from torch import Tensor

THREADS = 256

SOURCE = r"""
// Both: one thread per number of the output, (R, C, P, P). A RoI is (image, x1, y1, x2,
// y2) in whole cells, its corners the first and last cell inside.

extern "C" __global__ void forward(
    const float* maps, const float* rois, float* pooled, int* places,
    int total, int channels, int height, int width, int size)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    int column = i % size, row = i / size % size, channel = i / size / size % channels;
    const float* roi = rois + i / size / size / channels * 5;
    int x1 = (int)roi[1], y1 = (int)roi[2];
    int wide = max((int)roi[3] - x1 + 1, 1), high = max((int)roi[4] - y1 + 1, 1);
    int top = max(y1 + row * high / size, 0);
    int left = max(x1 + column * wide / size, 0);
    int bottom = min(y1 + ((row + 1) * high + size - 1) / size, height);
    int right = min(x1 + ((column + 1) * wide + size - 1) / size, width);
    const float* map = maps + ((size_t)roi[0] * channels + channel) * height * width;
    float best = 0.f;
    int place = -1;
    for (int y = top; y < bottom; ++y)
        for (int x = left; x < right; ++x)
            if (place < 0 || map[y * width + x] > best) {
                place = y * width + x;
                best = map[place];
            }
    pooled[i] = best;
    places[i] = place;
}

extern "C" __global__ void backward(
    const float* grad, const float* rois, const int* places, float* grad_maps,
    int total, int channels, int height, int width, int size)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total || places[i] < 0) return;
    int channel = i / size / size % channels;
    size_t image = (size_t)rois[i / size / size / channels * 5];
    size_t first = (image * channels + channel) * height * width;
    atomicAdd(grad_maps + first + places[i], grad[i]);
}
"""


@functools.cache
def _kernel(name: str) -> Any:
    return cupy.RawKernel(SOURCE, name)


def _launch(name: str, total: int, *arguments: Tensor | int) -> None:
    """Run one thread per number of the output, on PyTorch's stream."""
    values = [
        a.data_ptr() if isinstance(a, Tensor) else cupy.int32(a) for a in arguments
    ]
    with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
        _kernel(name)((-(-total // THREADS),), (THREADS,), tuple(values))


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, rois: Tensor, size: int) -> Tensor:
        channels, height, width = maps.shape[1:]
        pooled = maps.new_empty(len(rois), channels, size, size)
        places = torch.empty_like(pooled, dtype=torch.int32)
        total = pooled.numel()
        ctx.numbers = (total, channels, height, width, size)
        ctx.shape = maps.shape
        ctx.save_for_backward(rois, places)
        _launch("forward", total, maps, rois, pooled, places, *ctx.numbers)
        return pooled

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        rois, places = ctx.saved_tensors
        grad = grads[0].contiguous()
        grad_maps = grad.new_zeros(ctx.shape)
        total = ctx.numbers[0]
        _launch("backward", total, grad, rois, places, grad_maps, *ctx.numbers)
        return grad_maps, None, None


def roi_pool(maps: Tensor, rois: Tensor, size: int) -> Tensor:
    """Maxima of every RoI's bins.

    Args:
        maps: ``(N, C, H, W)`` float32, contiguous, on a GPU.
        rois: ``(R, 5)`` float32 image, x1, y1, x2, y2 in whole cells.
        size: P.

    Returns:
        ``(R, C, P, P)``, differentiable in the maps.
    """
    pooled: Tensor = _Pool.apply(maps.contiguous(), rois.contiguous(), size)
    return pooled
