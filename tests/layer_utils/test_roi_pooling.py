import numpy as np
import pytest
import torch
from box_oracles import JUNK, flip, random_boxes
from pairwise import pairwise
from pooling_cases import (
    ALL,
    ROI,
    SIZES,
    boxes_at_borders,
    pool,
    ramp,
    random_features,
    random_like,
)
from pooling_oracles import STRIDE, slow_align, slow_crop, slow_crop_stn, slow_pool

MODES = pytest.mark.parametrize("mode", ALL)


# By hand. The RoI covers cells 1 to 5 across and 1 to 3 down.


def test_align_by_hand():
    # Bins of 2 x 1 cells about x = 2, 4 and y = 1.5, 2.5.
    assert pool(ramp(), ROI, size=2).tolist() == [[[[17, 19], [27, 29]]]]
    # Half a cell less on both axes: 0.5 + 5.
    shifted = pool(ramp(), ROI, size=2, aligned=True)
    assert shifted.tolist() == [[[[11.5, 13.5], [21.5, 23.5]]]]


def test_pool_by_hand():
    # 5 x 3 cells: columns 1-3 and 3-5, rows 1-2 and 2-3; the last of each is largest.
    assert pool(ramp(), ROI, mode="pool", size=2).tolist() == [[[[23, 25], [33, 35]]]]


@pytest.mark.parametrize("mode", ["crop", "crop_stn"])
def test_crops_by_hand(mode):
    # Samples at x = 1, 3, 5 and y = 1, 2, 3.
    assert pool(ramp(), ROI, mode=mode).tolist() == [
        [[[11, 13, 15], [21, 23, 25], [31, 33, 35]]]
    ]


def test_crops_beyond_the_map_by_hand():
    # Samples at x = 6.5, 7, 7.5 and 8 of a map that ends with 7 at 7; y = 0.
    rois = torch.tensor([[[104.0, 0.0, 128.0, 0.0]]])
    for mode, row in (("crop", [6.5, 7, 0, 0]), ("crop_stn", [6.5, 7, 3.5, 0])):
        pooled = pool(ramp(), rois, mode=mode, size=4)
        torch.testing.assert_close(pooled, torch.tensor([[[row] * 4]]))


def test_crop_sees_the_last_cells():
    # Rounding must not push the last sample of a box that ends on them off the map.
    features = torch.ones(1, 1, 63, 63)
    rois = random_boxes(500, size=900)[None]
    rois[..., 2:] = 62 * 16
    torch.testing.assert_close(
        pool(features, rois, mode="crop", size=14), torch.ones(500, 1, 14, 14)
    )


def test_max_pool_by_hand():
    # Four samples per side at x = 1, 2.33, 3.67, 5 and y = 1, 1.67, 2.33, 3; of each
    # 2 x 2 the last is largest.
    torch.testing.assert_close(
        pool(ramp(), ROI, mode="crop", size=2, max_pool=True),
        torch.tensor([[[[7 / 3 + 50 / 3, 5 + 50 / 3], [7 / 3 + 30, 35.0]]]]),
    )


# Slow loops.


@pytest.mark.parametrize(
    ("options", "slow"),
    [
        ({"mode": "align"}, lambda f, r: slow_align(f, r, 3, 0, False)),
        (
            {"mode": "align", "sampling_ratio": 2, "aligned": True},
            lambda f, r: slow_align(f, r, 3, 2, True),
        ),
        ({"mode": "pool"}, lambda f, r: slow_pool(f, r, 3)),
        ({"mode": "crop"}, lambda f, r: slow_crop(f, r, 3)),
        ({"mode": "crop_stn"}, lambda f, r: slow_crop_stn(f, r, 3)),
    ],
)
def test_as_in_a_loop(options, slow):
    features = random_features(height=6, width=9)
    rois = random_boxes(20, size=96).view(2, 10, 4)
    rois[0, 0] = torch.tensor([0.0, 0.0, 143.0, 95.0])
    rois[0, 1] = torch.tensor([50.0, 40.0, 50.0, 40.0])
    rois[1, 0] = torch.tensor([100.0, 60.0, 180.0, 130.0])  # leaves the map
    result = pool(features, rois, **options)
    for i in range(2):
        for r in range(10):
            for c in range(3):
                want = slow(features[i, c].double().numpy(), rois[i, r].tolist())
                np.testing.assert_allclose(
                    result[10 * i + r, c].numpy(), want, rtol=1e-4, atol=1e-5
                )


# Properties.


@MODES
def test_constant_map_gives_constant_regions(mode):
    features = torch.full((2, 3, 7, 7), 2.5)
    rois = random_boxes(12, size=96).view(2, 6, 4)
    torch.testing.assert_close(
        pool(features, rois, mode=mode), torch.full((12, 3, 3, 3), 2.5)
    )


@pytest.mark.parametrize("mode", ["align", "crop", "crop_stn"])
def test_gradient_is_the_transpose(mode):
    # All are linear in the features: <pool(x), u> = <x, gradient of it for u>.
    features = random_features().requires_grad_()
    rois = random_boxes(12, size=120).view(2, 6, 4)
    pooled = pool(features, rois, mode=mode)
    upstream = random_like(pooled)
    pooled.backward(upstream)
    torch.testing.assert_close(
        (pooled * upstream).sum(), (features * features.grad).sum()
    )


def test_gradient_of_pool_goes_to_the_maxima():
    features = ramp().requires_grad_()
    pool(features, ROI, mode="pool", size=2).sum().backward()
    where = features.grad.nonzero()[:, 2:].tolist()
    assert where == [[2, 3], [2, 5], [3, 3], [3, 5]]


def test_mirrored_map_gives_mirrored_regions():
    features, rois = random_features(width=7), random_boxes(8, size=96).view(2, 4, 4)
    mirrored = flip(rois, 7 * STRIDE, 0)
    torch.testing.assert_close(
        pool(features.flip(3), mirrored, aligned=True),
        pool(features, rois, aligned=True).flip(3),
        rtol=1e-4,
        atol=1e-5,
    )


@pairwise(
    {
        "mode": ALL,
        "max_pool": [False, True],
        "aligned": [False, True],
        "junk": [0.0, *JUNK],
    }
)
def test_padded_maps_are_pooled_as_bare_ones(mode, max_pool, aligned, junk):
    sizes, rois = SIZES, boxes_at_borders()
    padded = torch.full((2, 3, 6, 8), junk)
    options = {"mode": mode, "max_pool": max_pool, "aligned": aligned}
    bare, grads, outputs = random_features(), [], []
    upstream = random_like(torch.empty(24, 3, 3, 3))
    for i, (height, width) in enumerate(sizes.tolist()):
        padded[i, :, :height, :width] = bare[i, :, :height, :width]
        alone = bare[i : i + 1, :, :height, :width].clone().requires_grad_()
        outputs.append(pool(alone, rois[i : i + 1], **options))
        outputs[-1].backward(upstream[12 * i : 12 * i + 12])
        grads.append(alone.grad)
    padded.requires_grad_()
    together = pool(padded, rois, sizes, **options)
    together.backward(upstream)
    torch.testing.assert_close(together, torch.cat(outputs), rtol=1e-4, atol=1e-5)
    for i, (height, width) in enumerate(sizes.tolist()):
        grad = padded.grad[i].clone()
        torch.testing.assert_close(
            grad[:, :height, :width], grads[i][0], rtol=1e-4, atol=1e-4
        )
        grad[:, :height, :width] = 0
        assert not grad.any()


@MODES
def test_full_sizes_change_nothing(mode):
    features, rois = random_features(), random_boxes(8, size=120).view(2, 4, 4)
    sizes = torch.tensor([[6, 8], [6, 8]])
    assert torch.equal(
        pool(features, rois, mode=mode), pool(features, rois, sizes, mode=mode)
    )


@MODES
def test_batch_is_its_images_one_by_one(mode):
    features, rois = random_features(3), random_boxes(12, size=120).view(3, 4, 4)
    together = pool(features, rois, mode=mode)
    alone = [pool(features[i : i + 1], rois[i : i + 1], mode=mode) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


@MODES
def test_memory_format_changes_nothing(mode):
    features, rois = random_features(), random_boxes(8, size=100).view(2, 4, 4)
    sizes = torch.tensor([[6, 8], [5, 7]])
    last = features.contiguous(memory_format=torch.channels_last)
    for true_sizes in (None, sizes):
        assert torch.equal(
            pool(features, rois, true_sizes, mode=mode),
            pool(last, rois, true_sizes, mode=mode),
        )


@MODES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pools_in_float32(mode, dtype):
    features = random_features().to(dtype)
    rois = random_boxes(8, size=100).view(2, 4, 4)
    pooled = pool(features, rois, mode=mode)
    assert pooled.dtype == dtype
    assert torch.equal(pooled, pool(features.float(), rois, mode=mode).to(dtype))


@MODES
@pytest.mark.parametrize("max_pool", [False, True])
def test_no_rois(mode, max_pool):
    for true_sizes in (None, torch.tensor([[6, 8], [5, 7]])):
        pooled = pool(
            random_features(),
            torch.zeros(2, 0, 4),
            true_sizes,
            mode=mode,
            max_pool=max_pool,
        )
        assert pooled.shape == (0, 3, 3, 3)


@MODES
def test_unused_slots_are_harmless(mode):
    # Slots of no proposal hold zeros: they are pooled too.
    features = random_features().requires_grad_()
    pooled = pool(features, torch.zeros(2, 5, 4), mode=mode, max_pool=True)
    pooled.sum().backward()
    assert pooled.isfinite().all() and features.grad.isfinite().all()


@pytest.mark.parametrize("mode", ALL)
def test_double_stays_double(mode):
    features, rois = random_features(), random_boxes(8, size=100).view(2, 4, 4)
    pooled = pool(features.double(), rois, mode=mode)
    assert pooled.dtype == torch.float64
    torch.testing.assert_close(
        pooled, pool(features, rois, mode=mode).double(), rtol=1e-4, atol=1e-5
    )


@MODES
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (4, 1)])
def test_maps_of_a_single_row_or_column(mode, height, width):
    features = random_features(1, 1, height, width)
    rois = random_boxes(6, size=40)[None]
    rois[0, 0] = 0.0
    slow = {"pool": slow_pool, "crop": slow_crop, "crop_stn": slow_crop_stn}
    slow["align"] = lambda plane, roi, size: slow_align(plane, roi, size, 0, False)
    for pooled, roi in zip(pool(features, rois, mode=mode), rois[0], strict=True):
        want = slow[mode](features[0, 0].double().numpy(), roi.tolist(), 3)
        np.testing.assert_allclose(pooled[0].numpy(), want, rtol=1e-4, atol=1e-5)


def test_unknown_mode():
    with pytest.raises(
        ValueError, match=r"pooling\.mode .* align, pool, crop, crop_stn; .*'warp'"
    ):
        pool(random_features(), torch.zeros(2, 1, 4), mode="warp")


@pytest.mark.parametrize("mode", ["crop", "crop_stn"])
def test_crop_of_a_single_sample(mode):
    with pytest.raises(
        ValueError, match=r"at least 2 per side; found 1.*pooling\.size"
    ):
        pool(random_features(), torch.zeros(2, 1, 4), mode=mode, size=1)
