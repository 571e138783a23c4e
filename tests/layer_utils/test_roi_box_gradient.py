"""The gradient of pooled features to the coordinates of the RoIs."""

import itertools

import numpy as np
import pytest
import torch
from box_oracles import JUNK, random_boxes
from pairwise import pairwise
from pooling_cases import (
    ALL,
    BILINEAR,
    ROI,
    SIZES,
    boxes_at_borders,
    pool,
    ramp,
    random_features,
    random_like,
)
from pooling_oracles import slow_align, slow_crop, slow_crop_stn

MODES = pytest.mark.parametrize("mode", BILINEAR)

ALIGNS = [
    {"sampling_ratio": ratio, "aligned": aligned}
    for ratio, aligned in itertools.product([0, 1, 2], [False, True])
]
"""RoIAlign's choices: adaptive or not, aligned or not."""

CHOICES = [*ALIGNS, {"mode": "crop"}, {"mode": "crop_stn"}]


def box_gradient(features, rois, sizes=None, *, upstream=None, **options):
    """Pooled features, and the gradient to the RoIs of their sum with ``upstream``."""
    rois = rois.clone().requires_grad_()
    pooled = pool(features, rois, sizes, box_gradient=True, **options)
    (pooled * (1 if upstream is None else upstream)).sum().backward()
    return pooled.detach(), rois.grad


@pytest.mark.parametrize("mode", ["crop", "crop_stn"])
def test_crops_by_hand(mode):
    # Sample i of 0, 1, 2 moves by 1 - i / 2 with x1 and by i / 2 with x2: 3/2 cells in
    # each of three rows. A cell of 16 px is worth 1 across and 10 down.
    _, grad = box_gradient(ramp(), ROI, mode=mode)
    torch.testing.assert_close(grad, torch.tensor([[[4.5, 45, 4.5, 45]]]) / 16)


@pytest.mark.parametrize("options", ALIGNS)
def test_align_by_hand(options):
    # The means of both bins lie at 1/4 and 3/4 of the RoI.
    _, grad = box_gradient(ramp(), ROI + 1.0, size=2, **options)
    torch.testing.assert_close(grad, torch.tensor([[[2.0, 20, 2, 20]]]) / 16)
    # Of the upper left bin alone.
    upstream = torch.tensor([[1.0, 0], [0, 0]])
    _, grad = box_gradient(ramp(), ROI + 1.0, size=2, upstream=upstream, **options)
    torch.testing.assert_close(grad, torch.tensor([[[0.75, 7.5, 0.25, 2.5]]]) / 16)


def test_on_a_cell_it_is_that_of_moving_right_or_down():
    # Cells 0, 1, 4, 9 across; samples on cells 0, 1, 2, the last of which moves to 9.
    squares = (torch.arange(4.0) ** 2).expand(1, 1, 3, 4)
    rois = torch.tensor([[[0.0, 0.0, 32.0, 16.0]]])
    for mode in ("crop", "crop_stn"):
        _, grad = box_gradient(squares, rois, mode=mode)
        want = [3 * (1 + 3 / 2), 0, 3 * (3 / 2 + 5), 0]
        torch.testing.assert_close(grad[0, 0], torch.tensor(want) / 16)
    # On the last cell the crop stands still, the affine grid fades to 0.
    rois = torch.tensor([[[48.0, 0.0, 48.0, 16.0]]])
    for mode, slope in (("crop", 0.0), ("crop_stn", -9 * 4.5)):
        _, grad = box_gradient(squares, rois, mode=mode)
        assert (grad[0, 0, ::2] * 16).tolist() == [slope, slope]


def test_of_a_least_cell():
    # Without alignment a RoI is one cell at least: x2 and y2 then count for nothing.
    rois = torch.tensor([[[20.0, 20.0, 23.0, 25.0]]])
    _, grad = box_gradient(ramp(), rois, size=1)
    torch.testing.assert_close(grad, torch.tensor([[[1.0, 10, 0, 0]]]) / 16)


def test_empty_rois_of_adaptive_sampling_have_none():
    # Turned around, a RoI spans no cell: no sample, the pooled value is 0.
    rois = torch.tensor([[[60.0, 20.0, 20.0, 50.0], [20.0, 20.0, 60.0, 50.0]]])
    pooled, grad = box_gradient(ramp(), rois, aligned=True)
    assert not pooled[0].any() and not grad[0, 0].any()
    assert pooled[1].all() and grad[0, 1].all()


@pytest.mark.parametrize("options", CHOICES)
def test_central_differences_of_slow_loops(options):
    ratio, aligned = options.get("sampling_ratio"), options.get("aligned")
    slow = {
        "crop": slow_crop,
        "crop_stn": slow_crop_stn,
        "align": lambda f, r, p: slow_align(f, r, p, ratio, aligned),
    }[options.get("mode", "align")]
    features = random_features(2, 1).double()
    rois = random_boxes(8, size=100).double().view(2, 4, 4)
    rois[0, 0] += 60.0  # leaves the map
    upstream = random_like(torch.empty(8, 1, 3, 3, dtype=torch.float64))
    _, grad = box_gradient(features, rois, upstream=upstream, **options)
    for i, r, k in np.ndindex(2, 4, 4):
        values = []
        for step in (-1e-5, 1e-5):
            roi = rois[i, r].tolist()
            roi[k] += step
            pooled = slow(features[i, 0].numpy(), roi, 3)
            values.append((pooled * upstream[4 * i + r, 0].numpy()).sum())
        slope = (values[1] - values[0]) / 2e-5
        assert grad[i, r, k].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("options", CHOICES)
@pytest.mark.parametrize("max_pool", [False, True])
def test_gradcheck(options, max_pool):
    features = random_features(2, 2, 4, 5).double().requires_grad_()
    rois = random_boxes(4, size=70, seed=1).double().view(2, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f, r: pool(
            f, r, size=2, max_pool=max_pool, box_gradient=True, **options
        ),
        (features, rois),
    )


@pytest.mark.parametrize("options", CHOICES)
def test_values_stay(options):
    features, grads, outputs = random_features(height=19, width=25), [], []
    rois = random_boxes(40, size=299).view(2, 20, 4).requires_grad_()
    for wanted in (False, True):
        x = features.clone().requires_grad_()
        outputs.append(pool(x, rois, size=7, box_gradient=wanted, **options))
        outputs[-1].backward(random_like(outputs[-1]))
        assert (rois.grad is not None) == wanted
        grads.append(x.grad)
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-4)


@pairwise(
    {
        "mode": BILINEAR,
        "max_pool": [False, True],
        "aligned": [False, True],
        "ratio": [0, 2],
        "junk": [0.0, *JUNK],
    }
)
def test_padded_maps_give_that_of_bare_ones(mode, max_pool, aligned, ratio, junk):
    options = {"mode": mode, "max_pool": max_pool, "aligned": aligned}
    options["sampling_ratio"] = ratio
    bare, rois = random_features().double(), boxes_at_borders().double()
    upstream = random_like(torch.empty(2, 12, 3, 3, 3, dtype=torch.float64))
    padded = torch.full_like(bare, junk)
    grads, outputs = [], []
    for i, (height, width) in enumerate(SIZES.tolist()):
        alone = bare[i : i + 1, :, :height, :width]
        padded[i, :, :height, :width] = alone
        pooled, grad = box_gradient(
            alone, rois[i : i + 1], upstream=upstream[i], **options
        )
        outputs.append(pooled)
        grads.append(grad)
    pooled, grad = box_gradient(
        padded, rois, SIZES, upstream=upstream.flatten(0, 1), **options
    )
    torch.testing.assert_close(pooled, torch.cat(outputs))
    torch.testing.assert_close(grad, torch.cat(grads))


@MODES
def test_no_rois(mode):
    for sizes in (None, SIZES):
        pooled, grad = box_gradient(
            random_features(), torch.zeros(2, 0, 4), sizes, mode=mode
        )
        assert pooled.shape == (0, 3, 3, 3) and grad.shape == (2, 0, 4)


@MODES
def test_unused_slots_are_harmless(mode):
    _, grad = box_gradient(random_features(), torch.zeros(2, 5, 4), mode=mode)
    assert grad.isfinite().all()


def test_not_of_max_pooling():
    with pytest.raises(ValueError, match=r"box_gradient needs a bilinear mode"):
        pool(random_features(), torch.zeros(2, 1, 4), mode="pool", box_gradient=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "wanted"),
    [(mode, False) for mode in ALL] + [(mode, True) for mode in BILINEAR],
)
def test_compiles_whole(mode, wanted):
    features, rois = random_features(), random_boxes(8, size=100).view(2, 4, 4)

    def run(features, rois):
        return pool(
            features, rois, SIZES, mode=mode, sampling_ratio=2, box_gradient=wanted
        )

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    grads = []
    for function in (run, compiled):
        x, y = features.clone().requires_grad_(), rois.clone().requires_grad_()
        function(x, y).square().sum().backward()
        assert (y.grad is not None) == wanted
        grads.append((x.grad, y.grad))
    torch.testing.assert_close(grads[0], grads[1])
