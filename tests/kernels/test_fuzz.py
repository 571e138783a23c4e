"""Anything that passes the checks of shapes and types: no crash, a defined result."""

import numpy as np
import pytest
import torch
from faster_rcnn.kernels.library import kernels_for
from faster_rcnn.kernels.matching import match_boxes
from faster_rcnn.kernels.pooling import roi_pool
from faster_rcnn.kernels.pooling_layout import MODES
from faster_rcnn.kernels.reference import match_by_matrix, nms_by_torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

KERNELS = kernels_for("nms", "cpu")

pytestmark = pytest.mark.skipif(
    KERNELS is None, reason="the compiled kernels are not built"
)

SIZES = st.integers(0, 9)
SEEDS = st.integers(0, 2**32 - 1)
WILD = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-40, -0.0, 2.0**31, 2.0**63, -1.0)

settings.register_profile("kernels", max_examples=150, deadline=None, derandomize=True)
settings.load_profile("kernels")


def wild(rng, *shape, share):
    """Numbers of all sizes, a share of them unreasonable."""
    values = rng.normal(0, 100, shape).round(rng.integers(0, 4))
    return np.where(rng.random(shape) < share, rng.choice(WILD, shape), values)


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


@given(SEEDS, SIZES, st.integers(0, 200), st.integers(0, 60), st.sampled_from([0, 0.1]))
def test_suppression(seed, images, count, slots, share):
    rng = np.random.default_rng(seed)
    boxes = tensor(wild(rng, images, count, 4, share=share))
    scores = tensor(wild(rng, images, count, share=share))
    valid = torch.tensor(rng.random((images, count)) < 0.9)
    groups = torch.tensor(rng.integers(-2, 3, (images, count)))
    limit, offset = float(np.float32(rng.random())), float(rng.integers(0, 2))
    inputs = (boxes, scores, valid, groups, limit, slots, offset)
    index, kept = KERNELS.nms(*inputs)
    assert index.shape == kept.shape == (images, slots)
    assert not index[~kept].any()
    assert valid.gather(1, index)[kept].all() if count else not kept.any()
    for i in range(images):
        assert index[i, kept[i]].unique().numel() == kept[i].sum()
    if share == 0:
        # Inverted boxes too: a union may be negative or zero.
        expected = nms_by_torchvision(*inputs)
        assert torch.equal(index, expected[0]) and torch.equal(kept, expected[1])


@given(SEEDS, SIZES, st.integers(0, 700), SIZES, st.sampled_from([0, 0.1]))
def test_matching(seed, images, count, slots, share):
    rng = np.random.default_rng(seed)
    boxes = tensor(wild(rng, images, count, 4, share=share))
    gt_boxes = tensor(wild(rng, images, slots, 4, share=share))
    valid, crowd = (torch.tensor(rng.random((images, slots)) < p) for p in (0.8, 0.2))
    usable = torch.tensor(rng.random((images, count)) < 0.8)
    offset = float(rng.integers(0, 2))
    found = match_boxes(
        boxes, gt_boxes, valid, offset=offset, usable=usable, crowd=crowd
    )
    assert all(field.shape == (images, count) for field in found)
    assert ((found.matched >= 0) & (found.matched < max(slots, 1))).all()
    if share == 0:
        expected = match_by_matrix(boxes, gt_boxes, valid, offset, usable, crowd)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@given(
    SEEDS,
    st.integers(0, 3),
    st.integers(1, 20),
    SIZES,
    SIZES,
    SIZES,
    st.integers(2, 5),
    st.sampled_from(list(MODES)),
)
def test_pooling(seed, images, channels, height, width, count, size, mode):
    rng = np.random.default_rng(seed)
    fmt = (torch.channels_last, torch.contiguous_format)[rng.integers(2)]
    dtype = (torch.float32, torch.bfloat16, torch.float16)[rng.integers(3)]
    features = torch.tensor(rng.normal(size=(images, channels, height, width)))
    features = features.to(dtype).contiguous(memory_format=fmt).requires_grad_()
    rois = tensor(wild(rng, images, count, 4, share=0.1))
    sizes = None
    if rng.random() < 0.5:  # also such as are no sizes at all
        sizes = [torch.tensor(rng.integers(-2, 12, (images, 2)))]
    pooled = roi_pool(
        [features],
        rois,
        sizes,
        scales=[float(rng.choice([1 / 16, 1.0, 1e-30, 1e30]))],
        size=size,
        mode=mode,
        sampling_ratio=int(rng.integers(0, 4)),
        aligned=bool(rng.integers(2)),
        max_pool=bool(rng.integers(2)),
    )
    assert pooled.shape == (images * count, channels, size, size)
    assert pooled.isfinite().all()
    (grad,) = torch.autograd.grad(pooled.sum(), features)
    assert grad.shape == features.shape and grad.isfinite().all()
