"""Layers of the mask head and the keypoint head (Mask R-CNN, figure 4, section 5).

Letters: M RoIs of all images, P side of a pooled region, C classes, K keypoints.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import HeadNorm, head_conv, init_convs


class MaskLayers(nn.Module):
    """3x3 convolutions, then a deconvolution to twice the size, each with a ReLU.

    Args:
        in_channels: channels of the pooled regions.
        channels: channels of all layers.
        convs: number of convolutions.
        norm: norm behind each convolution: "none", "batch" or "group".
    """

    def __init__(
        self, in_channels: int, channels: int, *, convs: int, norm: HeadNorm = "none"
    ) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * convs
        self.convs = nn.ModuleList(
            head_conv(into, out, norm) for into, out in pairwise(widths)
        )
        self.out_channels = channels
        self.deconv = _deconv(widths[-1], channels, 2)
        init_convs(self.convs)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled regions ``(M, C, P, P)`` to ``(M, channels, 2 P, 2 P)``."""
        for layer in self.convs:
            pooled = F.relu(layer(pooled), inplace=True)
        hidden: Tensor = self.deconv(pooled)
        return F.relu(hidden, inplace=True)


class MaskPredictor(nn.Conv2d):
    """A 1x1 convolution to the mask of each class, computed for one class per RoI.

    Args:
        in_channels: channels of the maps.
        num_classes: C, background included; 1 for one mask for all classes.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes, 1)
        nn.init.normal_(self.weight, std=0.001)
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def of_classes(self, maps: Tensor, classes: Tensor) -> Tensor:
        """Predict the mask logits of each RoI's own class.

        Args:
            maps: ``(M, in_channels, S, S)``.
            classes: ``(M,)`` int64.

        Returns:
            ``(M, S, S)`` float32.
        """
        assert self.bias is not None
        rows = classes if self.out_channels > 1 else classes * 0
        # Through channels_last, so that the gradient has the memory layout of the
        # weight; DistributedDataParallel would copy it otherwise.
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)[rows][:, :, None]
        # (M, in_channels, 1)
        cells = maps.permute(0, 2, 3, 1).flatten(1, 2)  # (M, S * S, in_channels)
        logits = (cells @ weight.to(cells.dtype)).float()[..., 0]
        logits = logits + self.bias[rows][:, None].float()
        return logits.view(-1, *maps.shape[2:])


class KeypointLayers(nn.Module):
    """3x3 convolutions with ReLU, a deconvolution, and a bilinear enlargement.

    Args:
        in_channels: channels of the pooled regions.
        channels: channels of the convolutions.
        convs: number of convolutions.
        keypoints: K.
    """

    def __init__(
        self, in_channels: int, channels: int, *, convs: int, keypoints: int
    ) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * convs
        self.convs = nn.ModuleList(
            head_conv(into, out, "none") for into, out in pairwise(widths)
        )
        self.out_channels = keypoints
        self.deconv = _deconv(channels, keypoints, 4)
        init_convs(self.convs)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled regions ``(M, C, P, P)`` to float32 ``(M, K, 4 P, 4 P)``."""
        for layer in self.convs:
            pooled = F.relu(layer(pooled), inplace=True)
        logits: Tensor = self.deconv(pooled)
        return F.interpolate(
            logits.float(), scale_factor=2.0, mode="bilinear", align_corners=False
        )


def _deconv(in_channels: int, out_channels: int, kernel: int) -> nn.ConvTranspose2d:
    """Build a deconvolution that doubles height and width."""
    padding = (kernel - 2) // 2
    layer = nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, padding)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
