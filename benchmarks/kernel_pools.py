"""Compare RoI pooling with torchvision and plain PyTorch, on one map.

Letters: R RoIs, C channels, H x W cells of the feature map.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from faster_rcnn.kernels import bilinear
from faster_rcnn.layer_utils.roi_pooling import Pooling, pool_rois
from faster_rcnn.layer_utils.structures import FeatureMaps
from kernel_inputs import STRIDE
from timing import BFLOAT16, Call, Case
from torch import Tensor


def random_map(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Generate normal numbers that are exact in bfloat16, so in all types."""
    return torch.randn(shape, generator=generator).bfloat16().float()


class Pools:
    """Comparisons of RoI pooling on one map.

    Attributes:
        features: ``(1, C, H, W)`` contiguous float32.
        rois: ``(R, 4)`` in pixels of the image, best first.
    """

    def __init__(
        self, features: Tensor, rois: Tensor, generator: torch.Generator
    ) -> None:
        self.features, self.rois, self.generator = features, rois, generator
        last = features.contiguous(memory_format=torch.channels_last)
        self.variants = {
            "channels_last": last,
            "contiguous": features,
            BFLOAT16: last.bfloat16(),
        }

    def align(
        self, count: int, size: int, ratio: int, backward: bool, wanted: float | None
    ) -> Case:
        """Compare RoIAlign; with ratio 0, a bin has as many samples as cells."""
        rois = self._with_index(count)
        return self._case(
            f"RoIAlign {size}x{size}, {ratio or 'adaptive'} samples",
            count,
            size,
            backward,
            wanted,
            {"mode": "align", "sampling_ratio": ratio},
            "torchvision",
            lambda f: torchvision.ops.roi_align(
                f, rois, size, 1 / STRIDE, ratio or -1, False
            ),
        )

    def maxima(self, count: int, wanted: float | None) -> Case:
        """Compare RoI max pooling."""
        rois = self._with_index(count)
        return self._case(
            "RoI max pooling 7x7",
            count,
            7,
            True,
            wanted,
            {"mode": "pool"},
            "torchvision",
            lambda f: torchvision.ops.roi_pool(f, rois, 7, 1 / STRIDE),
        )

    def crop(self, count: int, backward: bool, wanted: float | None) -> Case:
        """Compare crop_and_resize with our RoIAlign, because torchvision lacks it."""
        last = self.variants["channels_last"]
        upstream = self._upstream(count, 7).contiguous(
            memory_format=torch.channels_last
        )
        rois = self.rois[None, :count]
        return self._case(
            "crop_and_resize 7x7",
            count,
            7,
            backward,
            wanted,
            {"mode": "crop"},
            "our RoIAlign, 1 sample",
            lambda f: self._crop(f, rois, 7),
            theirs=lambda: _run(
                lambda f: pool_rois(
                    FeatureMaps([f], None),
                    rois,
                    Pooling("align", 7, sampling_ratio=1),
                    strides=[STRIDE],
                ),
                last,
                upstream if backward else None,
            ),
        )

    def crop_with_maxima(self, count: int) -> Case:
        """Compare crop_and_resize with 2x2 maxima with PyTorch's grid_sample."""
        rois = self.rois[None, :count]
        return self._case(
            "crop_and_resize 14x14, 2x2 maxima",
            count,
            7,
            True,
            None,
            {"mode": "crop", "max_pool": True},
            "PyTorch's grid_sample, max_pool2d",
            lambda f: F.max_pool2d(self._crop(f, rois, 14), 2),
            strays=1e-4,
        )

    def _case(
        self,
        name: str,
        count: int,
        size: int,
        backward: bool,
        wanted: float | None,
        how: dict[str, Any],
        rival: str,
        reference: Callable[[Tensor], Tensor],
        theirs: Call | None = None,
        strays: float = 0.0,
    ) -> Case:
        rois = self.rois[None, :count]
        upstream = self._upstream(count, size) if backward else None

        def pool(features: Tensor) -> Tensor:
            maps = FeatureMaps([features], None)
            return pool_rois(maps, rois, Pooling(size=size, **how), strides=[STRIDE])

        ours, least_bytes = {}, {}
        for variant, features in self.variants.items():
            numbers = features.numel() + count * features.shape[1] * size * size
            least_bytes[variant] = numbers * features.itemsize * (1 + backward)
            ours[variant] = _bind(pool, features, upstream)
        expected = _bind(reference, self.features, upstream)
        passes = "forward and backward" if backward else "forward"
        return Case(
            f"{name}, {count} RoIs, {passes}",
            ours,
            rival,
            theirs or expected,
            wanted,
            least_bytes,
            expected,
            strays,
        )

    def _upstream(self, count: int, size: int) -> Tensor:
        shape = (count, self.features.shape[1], size, size)
        return random_map(shape, self.generator).to(self.features.device)

    def _with_index(self, count: int) -> Tensor:
        return F.pad(self.rois[:count], (1, 0))  # image 0

    @staticmethod
    def _crop(features: Tensor, rois: Tensor, size: int) -> Tensor:
        return bilinear.crop(features, rois / STRIDE, size=size, zeros_beyond=False)


def _bind(
    pool: Callable[[Tensor], Tensor], features: Tensor, upstream: Tensor | None
) -> Call:
    """Bind pooling to features and an upstream gradient of their type and format."""
    if upstream is not None:
        contiguous = features.is_contiguous()
        fmt = torch.contiguous_format if contiguous else torch.channels_last
        upstream = upstream.to(features.dtype).contiguous(memory_format=fmt)
    return lambda: _run(pool, features, upstream)


def _run(
    pool: Callable[[Tensor], Tensor], features: Tensor, upstream: Tensor | None
) -> tuple[Tensor, ...]:
    """Pool, and compute the features' gradient if an upstream gradient is given."""
    if upstream is None:
        with torch.no_grad():
            return (pool(features),)
    features = features.detach().requires_grad_()
    pooled = pool(features)
    return pooled.detach(), *torch.autograd.grad(pooled, features, upstream)
