"""The input of a head's predictor: pooled features after the head's layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ..layer_utils.roi_pooling import Pooling, pool_rois
from ..layer_utils.structures import FeatureMaps
from ..utils.torch_versions import exporting
from .backbone import Backbone


class Body(Protocol):
    """The layers of a head up to its predictor."""

    @property
    def out_channels(self) -> int:
        """Length of the vectors."""

    def __call__(self, pooled: Tensor, /) -> Any:
        """Map pooled regions ``(M, C, P, P)`` to vectors ``(M, out_channels)``."""


class LastStage:
    """The last stage of a C4 backbone as the body of a head; all heads share it.

    It has no weights of its own: its layers belong to the backbone.

    Args:
        backbone: of kind c4.
        average: average over each region; otherwise the result is a map.
    """

    def __init__(self, backbone: Backbone, *, average: bool = True) -> None:
        self.backbone = backbone
        self.average = average

    @property
    def out_channels(self) -> int:
        """Length of the vectors."""
        return self.backbone.head_channels

    def __call__(self, pooled: Tensor) -> Tensor:
        """Map pooled regions to vectors, or maps."""
        backbone = self.backbone
        return backbone.head(pooled) if self.average else backbone.head_map(pooled)


class RoIFeatures:
    """Pool RoIs and run a body on them.

    Args:
        body: the head's layers, which another module owns.
        pooling: how regions are pooled.
        strides: strides of the maps from which regions are pooled, the finest ones.
        lift: runs the body's first layers on whole maps, and returns None if the result
            would differ; None if no layer can run before pooling.
        gradient: factor of the gradient that reaches the maps.
    """

    def __init__(
        self,
        body: Body,
        *,
        pooling: Pooling,
        strides: Sequence[int],
        lift: Callable[[FeatureMaps], FeatureMaps | None] | None = None,
        gradient: float = 1.0,
    ) -> None:
        self.body = body
        self.lift = lift
        self.gradient = gradient
        self.pooling = pooling
        self.strides = tuple(strides)

    def __call__(self, features: FeatureMaps, rois: Tensor) -> Tensor:
        """Compute a vector for each RoI ``(N, R, 4)``: ``(N * R, out_channels)``."""
        pooled = self.pool(self.lifted(features, rois), rois)
        if self.gradient != 1 and torch.is_grad_enabled():
            pooled = _ScaledGradient.apply(pooled, self.gradient)
        return self.vectors(pooled)

    def vectors(self, pooled: Tensor) -> Tensor:
        """Map pooled regions ``(M, C, P, P)`` to vectors ``(M, out_channels)``."""
        found: Tensor = self.body(pooled)
        return found

    def lifted(self, features: FeatureMaps, rois: Tensor) -> FeatureMaps:
        """Run the body's first layers on the maps, if that takes less time."""
        pooling, cells = self.pooling, features.maps[0][0, 0].numel()
        if self.lift is None:
            return features
        if pooling.mode != "align" or pooling.max_pool or exporting():
            return features  # maxima do not commute; exported sizes may be dynamic
        if rois.shape[1] * pooling.size**2 <= cells:
            return features
        return self.lift(features) or features

    def pool(self, features: FeatureMaps, rois: Tensor) -> Tensor:
        """Pool the features of RoIs ``(N, R, 4)`` to P x P: ``(N * R, C, P, P)``."""
        features = features.of(len(self.strides))
        pooled = pool_rois(features, rois, self.pooling, strides=self.strides)
        return pooled.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class HeadContext:
    """What the heads of a detector have in common.

    Attributes:
        backbone: whose last stage C4 heads share, as `LastStage`.
        channels: of the maps that regions are pooled from.
        strides: of these maps.
        pooling: how box heads pool them.
        num_classes: C, background included.
        fg_slots: largest number of foreground RoIs of an image that has background.
    """

    backbone: Backbone
    channels: int
    strides: tuple[int, ...]
    pooling: Pooling
    num_classes: int
    fg_slots: int

    def roi_features(self, body: Body, *, size: int) -> RoIFeatures:
        """Pool RoIs as box heads do, to another size and as constants."""
        pooling = replace(self.pooling, size=size, box_gradient=False)
        return RoIFeatures(body, pooling=pooling, strides=self.strides)


class _ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


def pooled_strides(strides: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of the maps that regions are pooled from.

    These are the leading maps of which each has twice the stride of the previous one.
    The coarser maps of a pyramid serve the RPN alone (FPN, section 4.2). If several
    maps share a stride, as in torchvision's MobileNet v3, regions are pooled from the
    first.
    """
    count = 1
    while count < len(strides) and strides[count] == 2 * strides[count - 1]:
        count += 1
    return tuple(strides[:count])
