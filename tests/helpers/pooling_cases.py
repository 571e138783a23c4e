"""Small inputs of RoI pooling, and pool_rois as the tests call it."""

import torch
from box_oracles import random_boxes
from faster_rcnn.layer_utils.roi_pooling import Pooling, pool_rois
from faster_rcnn.layer_utils.structures import FeatureMaps
from pooling_oracles import STRIDE

BILINEAR = ["align", "crop", "crop_stn"]
ALL = [*BILINEAR, "pool"]

ROI = torch.tensor([[[16.0, 16.0, 80.0, 48.0]]])
"""Covers cells 1 to 5 across and 1 to 3 down."""

SIZES = torch.tensor([[5, 7], [6, 4]])
"""True rows and columns of two images' features, padded to 6 x 8."""


def pool(features, rois, sizes=None, *, mode="align", size=3, **changes):
    maps = FeatureMaps([features], None if sizes is None else [sizes])
    return pool_rois(maps, rois, Pooling(mode, size, **changes), strides=[STRIDE])


def random_features(images=2, channels=3, height=6, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, channels, height, width, generator=generator)


def random_like(tensor, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)


def ramp(height=6, width=8):
    """A map whose cell (y, x) holds x + 10 y."""
    rows, columns = torch.arange(height), torch.arange(width)
    return (columns + 10.0 * rows[:, None])[None, None]


def boxes_at_borders():
    """Boxes inside two images whose features are ``SIZES``.

    The first does not fill its last cell, the second's last rows made no cell, so that
    RoIs end beyond the map; thin ones there lie beyond it altogether.
    """
    limits = torch.tensor(
        [[5 * 16 + 11.0, 7 * 16 + 13.0], [6 * 16 - 7.0, 4 * 16 + 9.0]]
    )
    rois = random_boxes(24, size=125).view(2, 12, 4)
    rois[:, 0] = torch.tensor([0.0, 0.0, 999.0, 999.0])
    rois[:, 1] = torch.tensor([20.0, 88.0, 50.0, 999.0])
    rois[:, 2] = torch.tensor([71.0, 3.0, 999.0, 40.0])
    rois[:, 3] = torch.tensor([0.0, 7.0, 48.0, 64.0])  # to the last cells exactly
    return torch.minimum(rois, limits.flip(1).repeat(1, 2)[:, None])
