"""The convolutions of the region proposal network (Faster R-CNN, section 3.1).

Letters: N images, K anchors per cell, A = H * W * K anchors, S sampled anchors per
image, M cells of all images.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ..layer_utils.patches import cell_patches
from ..layer_utils.structures import FeatureMaps
from .layers import zero_padding


class RPNPredictor(nn.Module):
    """A 3x3 convolution and two sibling 1x1 convolutions over a feature map.

    Args:
        in_channels: channels of the map.
        channels: channels of the hidden layers.
        anchors_per_cell: K.
        convs: hidden layers, 1 in the paper.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        anchors_per_cell: int,
        *,
        convs: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.more_convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(convs - 1)
        )
        # Two scores per anchor, as published: K for background, then K for object.
        self.scores = nn.Conv2d(channels, 2 * anchors_per_cell, 1)
        self.deltas = nn.Conv2d(channels, 4 * anchors_per_cell, 1)
        for layer in (self.conv, *self.more_convs, self.scores, self.deltas):
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Score and regress every anchor.

        Args:
            features: ``(N, C, H, W)``.
            sizes: ``(N, 2)`` true rows and columns, None if nothing is padded.

        Returns:
            Objectness logits ``(N, A)`` and deltas ``(N, A, 4)``, float32, in the
            order of ``layer_utils.anchors.grid_anchors``.
        """
        x = F.relu(self.conv(zero_padding(features, sizes)), inplace=True)
        for conv in self.more_convs:
            x = F.relu(conv(zero_padding(x, sizes)), inplace=True)
        background, objects = self.scores(x).float().chunk(2, dim=1)  # (N, K, H, W)
        # softmax(background, object) = sigmoid(object - background).
        logits = (objects - background).permute(0, 2, 3, 1).flatten(1)  # (N, A)
        deltas = self.deltas(x).float().permute(0, 2, 3, 1)  # (N, H, W, 4K)
        return logits, deltas.reshape(deltas.shape[0], -1, 4)

    def is_cheaper_at(self, anchors: int, features: FeatureMaps) -> bool:
        """Return whether training `at_anchors` takes less time than on whole maps.

        It runs forward twice, and backward over the sampled cells only. Otherwise the
        backward pass, which costs twice a forward pass, covers all cells.
        """
        cells = sum(x.shape[2] * x.shape[3] for x in features.maps)
        return len(self.more_convs) == 0 and 3 * anchors < 2 * cells

    def at_anchors(self, features: FeatureMaps, index: Tensor) -> tuple[Tensor, Tensor]:
        """Score and regress anchors by index, if there is one convolution.

        Args:
            features: maps of all levels.
            index: ``(N, S)`` int64, anchors of all levels.

        Returns:
            Objectness logits ``(N, S)`` and deltas ``(N, S, 4)``, float32.
        """
        per_cell = self.deltas.out_channels // 4
        patches = cell_patches(features, index // per_cell).flatten(0, 1)
        logits, deltas = self.at_cells(patches)  # (N * S, K), (N * S, K, 4)
        own = (index % per_cell).flatten()[:, None]  # (N * S, 1)
        logits = logits.gather(1, own)
        deltas = deltas.gather(1, own[:, :, None].expand(-1, -1, 4))
        return logits.view(index.shape), deltas.view(*index.shape, 4)

    def at_cells(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Score and regress the anchors of single cells, if there is one convolution.

        Args:
            patches: ``(M, 9, C)``, each cell and its neighbours, row by row.

        Returns:
            Objectness logits ``(M, K)`` and deltas ``(M, K, 4)``, float32.
        """
        weight = self.conv.weight.permute(0, 2, 3, 1).flatten(1)  # (C', 9 C)
        x = F.relu(F.linear(patches.flatten(1), weight, self.conv.bias), inplace=True)
        # Through channels_last too, so that the gradient has the memory layout of the
        # weight; DistributedDataParallel would warn and copy it otherwise.
        scores, deltas = (
            F.linear(x, layer.weight.permute(0, 2, 3, 1).flatten(1), layer.bias).float()
            for layer in (self.scores, self.deltas)
        )
        background, objects = scores.chunk(2, dim=1)
        return objects - background, deltas.view(deltas.shape[0], -1, 4)
