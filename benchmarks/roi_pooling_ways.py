"""Three implementations of RoI max pooling, with common inputs.

Letters: N images, R RoIs of all images, C channels, P output cells per side.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from faster_rcnn.layer_utils.roi_pooling import Pooling, pool_rois
from faster_rcnn.layer_utils.structures import FeatureMaps
from timing import Call, check_equal
from torch import Tensor

P = 7

Pool = Callable[[Tensor], Tensor]


class Setting(NamedTuple):
    """A setting: ``rois`` RoIs of ``batch`` maps ``(channels, size, size)``."""

    batch: int
    channels: int
    size: int
    rois: int

    def __str__(self) -> str:
        shape = f"({self.batch}, {self.channels}, {self.size}, {self.size})"
        return f"{shape}, {self.rois} RoIs"


class Inputs(NamedTuple):
    """Maps, RoIs and the upstream gradient of the pooled regions.

    Attributes:
        maps: ``(N, C, H, W)`` contiguous float32.
        rois: ``(R, 5)`` image, x1, y1, x2, y2: first and last cell inside.
        upstream: ``(R, C, P, P)``.
    """

    maps: Tensor
    rois: Tensor
    upstream: Tensor

    def first(self, count: int) -> "Inputs":
        """Return the same setting with fewer RoIs."""
        return Inputs(self.maps, self.rois[:count], self.upstream[:count])


def draw_inputs(setting: Setting, device: torch.device) -> Inputs:
    """Draw random corners as in the study; RoI k belongs to image k modulo N."""
    generator = torch.Generator().manual_seed(0)
    batch, channels, size, count = setting
    maps = torch.randn(batch, channels, size, size, generator=generator)
    ends = torch.randint(size, (2, count, 2), generator=generator).sort(dim=0).values
    image = torch.arange(count)[:, None] % batch
    rois = torch.cat((image, *ends), dim=1).float()
    upstream = torch.randn(count, channels, P, P, generator=generator)
    return Inputs(maps.to(device), rois.to(device), upstream.to(device))


class Way(NamedTuple):
    """An implementation of pooling.

    Attributes:
        maps: maps in the implementation's format.
        pool: function from maps to ``(S, C, P, P)``.
        slots: ``(R,)`` slot of each RoI among S.
        filled: S, the number of pooled slots.
    """

    maps: Tensor
    pool: Pool
    slots: Tensor
    filled: int

    def run(self, upstream: Tensor | None) -> tuple[Tensor, ...]:
        """Pool, and compute the maps' gradient if an upstream gradient is given."""
        if upstream is None:
            with torch.no_grad():
                return (self.pool(self.maps),)
        maps = self.maps.detach().requires_grad_()
        pooled = self.pool(maps)
        return pooled.detach(), *torch.autograd.grad(pooled, maps, upstream)


def ours(inputs: Inputs) -> Way:
    """Our layer, with the same number of slots for every image.

    Unused slots contain a RoI of a single cell, which is pooled too.
    """
    maps, rois, _ = inputs
    slots = -(-len(rois) // len(maps))
    k = torch.arange(len(rois), device=maps.device)
    image, slot = k % len(maps), k // len(maps)
    boxes = maps.new_zeros(len(maps), slots, 4)
    boxes[image, slot] = rois[:, 1:]

    def pool(maps: Tensor) -> Tensor:
        return pool_rois(
            FeatureMaps([maps], None), boxes, Pooling("pool", P), strides=[1]
        )

    last = maps.contiguous(memory_format=torch.channels_last)
    return Way(last, pool, image * slots + slot, len(maps) * slots)


def by_torchvision(inputs: Inputs) -> Way:
    """torchvision's operator."""
    return _all(inputs, lambda maps: torchvision.ops.roi_pool(maps, inputs.rois, P))


def by_loop(inputs: Inputs) -> Way:
    """Plain PyTorch, RoI by RoI."""
    corners = inputs.rois.long().tolist()

    def pool(maps: Tensor) -> Tensor:
        pooled = [
            F.adaptive_max_pool2d(maps[i, :, y1 : y2 + 1, x1 : x2 + 1], P)
            for i, x1, y1, x2, y2 in corners
        ]
        return torch.stack(pooled)

    return _all(inputs, pool)


def _all(inputs: Inputs, pool: Pool) -> Way:
    every = torch.arange(len(inputs.rois), device=inputs.maps.device)
    return Way(inputs.maps, pool, every, len(every))


LOOP = "loop"
WAYS: dict[str, Callable[[Inputs], Way]] = {
    "ours": ours,
    "torchvision": by_torchvision,
    LOOP: by_loop,
}


def check(inputs: Inputs, names: list[str]) -> None:
    """Check that all implementations give the same maxima and gradients.

    Raises:
        ValueError: they differ.
    """
    expected = by_torchvision(inputs).run(inputs.upstream)
    for name in names:
        way = WAYS[name](inputs)
        pooled, grad = way.run(_upstream(way, inputs))
        check_equal((pooled[way.slots], grad), expected, what=name)


def _upstream(way: Way, inputs: Inputs) -> Tensor:
    """Return the gradient of every slot, in the memory format of the maps."""
    upstream = inputs.upstream.new_zeros(way.filled, *inputs.upstream.shape[1:])
    upstream[way.slots] = inputs.upstream
    last = not way.maps.is_contiguous()
    fmt = torch.channels_last if last else torch.contiguous_format
    return upstream.contiguous(memory_format=fmt)


def bind(name: str, inputs: Inputs, *, backward: bool) -> Call:
    """Return the call to time: one implementation, forward or forward and backward."""
    way = WAYS[name](inputs)
    upstream = _upstream(way, inputs) if backward else None
    return lambda: way.run(upstream)
