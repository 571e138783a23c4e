"""Layers that all backbones share: folded batch norm and masked padding.

Letters: N images in the batch, C channels, H and W height and width of a feature map.
`sizes` is always ``(N, 2)`` int64, the true height and width of each image's part of
the map; None if no image of the batch is padded.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels.convolution import (
    Activation,
    activate,
    convolve,
    is_depthwise,
    true_cells,
)
from ..layer_utils.anchor_grid import joined
from ..layer_utils.structures import FeatureMaps

NormKind = Literal["frozen", "batch"]
HeadNorm = Literal["none", "batch", "group"]
_GROUPS = 32  # Group Normalization (Wu & He 2018), section 4

_N = TypeVar("_N", bound="Norm")


def freeze(module: nn.Module) -> None:
    """Stop training a module, the statistics of its norms included."""
    module.requires_grad_(False)
    for part in module.modules():
        if isinstance(part, Norm):
            part.freeze()


def on_levels(
    layers: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]],
    features: FeatureMaps,
) -> tuple[Tensor, Tensor]:
    """Apply layers that all levels share.

    Args:
        layers: computes logits and deltas ``(N, A, ...)`` of a map and its sizes.
        features: maps, finest first.

    Returns:
        Logits and deltas of all levels, finest first.
    """
    sizes: Sequence[Tensor | None] = features.sizes or [None] * len(features.maps)
    levels = [layers(x, size) for x, size in zip(features.maps, sizes, strict=True)]
    logits, deltas = zip(*levels, strict=True)
    return joined(logits, dim=1), joined(deltas, dim=1)


class Norm(nn.BatchNorm2d):
    """Batch normalisation that can be frozen, with the state of `nn.BatchNorm2d`.

    A frozen norm is a fixed affine map: it uses the stored statistics, even after
    `train()`, and its weight and bias are not trained.
    """

    def __init__(self, channels: int, kind: NormKind) -> None:
        super().__init__(channels)
        self.frozen = False
        if kind == "frozen":
            self.freeze()

    def freeze(self) -> None:
        """Freeze the statistics, the weight and the bias."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def train(self: _N, mode: bool = True) -> _N:
        """Set training mode; a frozen norm stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self


def conv_norm(
    x: Tensor,
    conv: nn.Conv2d,
    norm: Norm,
    activation: Activation = "none",
    sizes: Tensor | None = None,
) -> Tensor:
    """Convolve and normalise, in one convolution unless batch statistics are needed.

    With stored statistics the norm is an affine map per channel, so it is folded into
    the weights: ``conv(x, w * scale) + shift``. This is exact in training too: the
    gradient reaches `w` (and the weight and bias of a trainable norm) through the
    product, and no tensor of the feature map's size is kept for the norm.

    Args:
        x: ``(N, C, H, W)``.
        conv: a convolution without bias, padded by half its kernel.
        norm: the norm that follows it.
        activation: the activation that follows the norm.
        sizes: ``(N, 2)`` true sizes of the output, which is then zero beyond them, as
            `zero_padding` makes it; only with an activation.

    Returns:
        ``(N, C', H', W')``, safe to change in place.
    """
    if norm.training:
        out = zero_padding(norm(convolve(x, conv, conv.weight)), sizes)
        return activate(out, activation)
    return convolve(x, conv, *folded_norm(conv, norm), activation, sizes)


def folded_norm(conv: nn.Conv2d, norm: Norm) -> tuple[Tensor, Tensor]:
    """Fold a norm with stored statistics into the convolution before it.

    Args:
        conv: a convolution without bias.
        norm: a norm that is not in training.

    Returns:
        Weight and shift of the folded convolution.
    """
    assert conv.bias is None and conv.padding_mode == "zeros" and not norm.training
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    return conv.weight * scale[:, None, None, None], shift


class NormAct(Norm):
    """The batch norm of another library, with its activation.

    Attributes:
        folded: whether the `FoldingConv` before it applies the stored statistics.
    """

    folded = False

    @staticmethod
    def adopt(norm: nn.BatchNorm2d, kind: NormKind) -> None:
        """Turn a norm into a `NormAct`, with its state, epsilon and activation."""
        norm.__class__ = NormAct
        assert isinstance(norm, NormAct)
        norm.frozen = False
        if kind == "frozen":
            norm.freeze()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)`` unless that is done, and activate."""
        if self.training or not self.folded:
            x = super().forward(x)
        for name in ("drop", "act"):
            if name in self._modules:
                x = self.get_submodule(name)(x)
        return x


class FoldingConv(nn.Conv2d):
    """A convolution of another library that applies the norm after it, if it can.

    Attributes:
        norm: the norm; in a tuple, because it is a submodule elsewhere.
        pad: pads the input for a convolution with TensorFlow's padding, or None.
    """

    norm: tuple[NormAct]
    pad: Callable[..., Tensor] | None

    @staticmethod
    def adopt(
        conv: nn.Conv2d, norm: nn.Module, pad: Callable[..., Tensor] | None
    ) -> None:
        """Turn a convolution without bias into a `FoldingConv`."""
        assert isinstance(norm, NormAct) and conv.bias is None
        conv.__class__ = FoldingConv
        assert isinstance(conv, FoldingConv)
        conv.norm, conv.pad, norm.folded = (norm,), pad, True

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H', W')``; see `conv_norm`."""
        (norm,) = self.norm
        weight, shift = self.weight, None
        if not norm.training:
            weight, shift = folded_norm(self, norm)
        if self.pad is not None:
            x = self.pad(x, self.kernel_size, self.stride, self.dilation)
        # `convolve` takes padding by half the kernel for granted, except if depthwise.
        half = tuple(size // 2 for size in self.kernel_size)
        if is_depthwise(self) or (self.pad is None and self.padding == half):
            return convolve(x, self, weight, shift)
        padding = cast(tuple[int, int], self.padding)
        return F.conv2d(
            x, weight, shift, self.stride, padding, self.dilation, self.groups
        )


class ConvNorm(nn.Sequential):
    """A convolution (key ``0``) and its norm (key ``1``), applied by `conv_norm`.

    Padding is half the kernel, so the output size is ``ceil(size / stride)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        norm: NormKind,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, 1, groups, False
        )
        super().__init__(conv, Norm(out_channels, norm))
        self.stride = stride

    def forward(
        self, x: Tensor, activation: Activation = "none", sizes: Tensor | None = None
    ) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H', W')``; see `conv_norm`."""
        conv, norm = cast(nn.Conv2d, self[0]), cast(Norm, self[1])
        return conv_norm(x, conv, norm, activation, sizes)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and shift; see `folded_norm`."""
        return folded_norm(cast(nn.Conv2d, self[0]), cast(Norm, self[1]))


class ConvGroupNorm(nn.Sequential):
    """A 3x3 convolution (key ``0``) and group normalisation (key ``1``)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        super().__init__(conv, nn.GroupNorm(_GROUPS, out_channels))

    def forward(self, x: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H, W)``; statistics are of the true sizes.

        Args:
            x: zero beyond the true sizes.
            sizes: ``(N, 2)`` true height and width; None if nothing is padded.
        """
        conv, norm = cast(nn.Conv2d, self[0]), cast(nn.GroupNorm, self[1])
        x = conv(x)
        if sizes is None:
            return cast(Tensor, norm(x))
        shape = (x.shape[0], norm.num_groups, -1, *x.shape[2:])
        groups = zero_padding(x, sizes).float().reshape(shape)
        count = sizes.prod(dim=1).view(-1, 1, 1, 1, 1) * groups.shape[2]
        mean = groups.sum(dim=(2, 3, 4), keepdim=True) / count
        groups = zero_padding((groups - mean).flatten(1, 2), sizes).reshape(shape)
        variance = groups.square().sum(dim=(2, 3, 4), keepdim=True) / count
        groups = groups * torch.rsqrt(variance + norm.eps)
        weight, bias = norm.weight[:, None, None], norm.bias[:, None, None]
        return (groups.flatten(1, 2) * weight + bias).to(x.dtype)


def head_conv(in_channels: int, out_channels: int, norm: HeadNorm) -> nn.Module:
    """Build a 3x3 convolution of a head, with its norm."""
    if norm == "batch":
        return ConvNorm(in_channels, out_channels, 3, norm="batch")
    if norm == "group":
        return ConvGroupNorm(in_channels, out_channels)
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def zero_padding(x: Tensor, sizes: Tensor | None) -> Tensor:
    """Set everything beyond each image's true size to zero.

    Applied before each convolution with a kernel larger than 1x1, this gives a padded
    image the features of the unpadded one, whose border the convolution pads with
    zeros. A ReLU keeps zeros, so masking before it masks its output too, and only one
    of the two maps is kept for the backward pass.

    Args:
        x: ``(N, C, H, W)``.
        sizes: ``(N, 2)`` true height and width in cells of `x`; if None, `x` is
            returned unchanged.

    Returns:
        ``(N, C, H, W)``, in the memory format of `x`.
    """
    if sizes is None:
        return x
    return x * true_cells(sizes, *x.shape[2:]).to(x.dtype)


def shrink(sizes: Tensor | None, stride: int, *, ceil: bool = True) -> Tensor | None:
    """Compute the true sizes after a layer of the given stride.

    Args:
        sizes: ``(N, 2)`` sizes before the layer, or None.
        stride: stride of the layer.
        ceil: True for an odd kernel padded by half its width (and for an unpadded 1x1),
            False for an unpadded pool whose kernel equals its stride.

    Returns:
        ``(N, 2)``; None if ``sizes`` is None.
    """
    if sizes is None or stride == 1:
        return sizes
    return (sizes + stride - 1) // stride if ceil else sizes // stride


def init_convs(module: nn.Module) -> None:
    """Initialise all convolutions from He's normal distribution over the fan-out."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
