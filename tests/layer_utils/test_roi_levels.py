"""RoIs and the pyramid's levels they are pooled from."""

import pytest
import torch
from box_oracles import random_boxes
from faster_rcnn.layer_utils.roi_pooling import Pooling, pool_rois, roi_levels
from faster_rcnn.layer_utils.structures import FeatureMaps
from pooling_cases import random_features, random_like
from torchvision.ops.poolers import LevelMapper, MultiScaleRoIAlign

STRIDES = (4, 8, 16, 32)


def rois(count=40, size=900):
    boxes = random_boxes(2 * count, size=size).view(2, count, 4)
    boxes[0, 0] = torch.tensor([0.0, 0, 224, 224])  # just so large: stride 16
    boxes[0, 1] = torch.tensor([0.0, 0, 223.9, 223.9])
    boxes[0, 2] = torch.tensor([5.0, 5, 5, 80])  # no area
    boxes[0, 3] = torch.tensor([0.0, 0, 3, 3])
    return boxes


def pyramid(requires_grad=False):
    maps = [
        random_features(height=96 // 2**i, width=128 // 2**i, seed=i).requires_grad_(
            requires_grad
        )
        for i in range(4)
    ]
    return FeatureMaps(maps, None)


def test_levels_by_hand():
    assert roi_levels(rois(), STRIDES)[0, :4].tolist() == [2, 1, 0, 0]
    assert roi_levels(rois(), (16, 32))[0, :4].tolist() == [0, 0, 0, 0]
    assert not roi_levels(rois(), (32,)).any()


def test_levels_are_torchvisions():
    boxes = rois().flatten(0, 1)
    want = LevelMapper(2, 5)([boxes])
    levels = roi_levels(boxes, STRIDES)
    assert torch.equal(levels, want) and len(levels.unique()) == 4


@pytest.mark.parametrize("compiled", [True, False])
def test_equals_torchvision(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(
            "faster_rcnn.layer_utils.roi_pooling.kernels.serves", lambda _: False
        )
    boxes, features = rois(), pyramid(True)
    peer = MultiScaleRoIAlign(list("0123"), 3, 2)
    want = peer(
        dict(zip("0123", features.maps, strict=True)), list(boxes), [(384, 512)] * 2
    )
    got = pool_rois(
        features, boxes, Pooling("align", 3, sampling_ratio=2), strides=STRIDES
    )
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    upstream = random_like(want)
    gradients = torch.autograd.grad(want, features.maps, upstream)
    ours = torch.autograd.grad(got, features.maps, upstream)
    for a, b in zip(ours, gradients, strict=True):
        assert b.any()
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_padded_levels_are_pooled_as_bare_ones():
    boxes, bare = rois(size=380), pyramid()
    padded, sizes = [], []
    for x in bare.maps:
        height, width = x.shape[2:]
        padded.append(torch.nn.functional.pad(x, (0, 5, 0, 3), value=7.0))
        sizes.append(torch.tensor([[height, width]] * 2))
    pooling = Pooling("align", 3)
    want = pool_rois(bare, boxes, pooling, strides=STRIDES)
    got = pool_rois(FeatureMaps(padded, sizes), boxes, pooling, strides=STRIDES)
    torch.testing.assert_close(got, want)
