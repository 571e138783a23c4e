"""The compiled RoI pooling against torchvision's and the readable samplers."""

import pytest
import torch
import torchvision
from faster_rcnn.kernels import bilinear
from faster_rcnn.kernels.library import kernels_for
from faster_rcnn.kernels.pooling import roi_pool
from faster_rcnn.kernels.pooling_layout import MODES
from pairwise import pairwise
from torch.nn import functional as F

pytestmark = pytest.mark.skipif(
    kernels_for("roi_pool", "cpu") is None, reason="the compiled kernels are not built"
)

FORMATS = [torch.channels_last, torch.contiguous_format]
BILINEAR = ["align", "crop", "crop_stn"]
EVERY = pairwise({"fmt": FORMATS, "mode": [*BILINEAR, "pool"]})


def random_map(images=2, channels=19, height=13, width=17, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, channels, height, width, generator=generator)


def hard_rois(images=2, height=13, width=17):
    """RoIs of all sizes; the first ones on, over and beyond the edges, or inverted."""
    generator = torch.Generator().manual_seed(1)
    far = 16 * torch.tensor([width, height])
    corner = torch.rand(images, 30, 2, generator=generator) * far * 0.8
    sides = torch.rand(images, 30, 2, generator=generator) * far
    rois = torch.cat((corner, torch.minimum(corner + sides, far - 1)), dim=2)
    rois[:, 0] = torch.cat((torch.zeros(2), far))
    rois[:, 1] = torch.cat((torch.zeros(2), far - 16))
    rois[:, 2] = torch.cat((far - 16, far + 90))
    rois[:, 3] = torch.cat((-far, far * 0.3))
    rois[:, 4] = torch.cat((far + 200, far + 300))
    rois[:, 5, 2:] = rois[:, 5, :2]
    rois[:, 6, 2:] = rois[:, 6, :2] - 40
    rois[:, 7] = torch.tensor([33.0, 49, 34, 50])
    return rois


def reference(features, rois, mode, size, *, sampling_ratio=0, aligned=False):
    """Pooled by torchvision or by the readable sampler, at a stride of 16."""
    index = torch.arange(len(rois))[:, None, None].expand(-1, rois.shape[1], 1)
    flat = torch.cat((index, rois), dim=2).flatten(0, 1).to(features.dtype)
    if mode == "pool":
        return torchvision.ops.roi_pool(features, flat, size, 1 / 16)
    if mode == "align":
        return torchvision.ops.roi_align(
            features, flat, size, 1 / 16, sampling_ratio or -1, aligned
        )
    beyond = mode == "crop_stn"
    corners = rois.to(features.dtype) / 16
    return bilinear.crop(features, corners, size=size, zeros_beyond=beyond)


def pool(features, rois, mode, sizes=None, **options):
    """Pool at a stride of 16 to 3x3, if nothing else is asked for."""
    options = {"scales": [1 / 16], "size": 3} | options
    return roi_pool([features], rois, sizes, mode=mode, **options)


def check(features, rois, mode, *, size=7, max_pool=False, tolerance=1e-5, **options):
    """Values, gradient, type and memory format."""
    features = features.clone(memory_format=torch.preserve_format).requires_grad_()
    pooled = pool(features, rois, mode, size=size, max_pool=max_pool, **options)
    assert pooled.dtype == features.dtype
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(2))
    upstream = torch.empty_like(pooled).copy_(upstream)
    (grad,) = torch.autograd.grad(pooled, features, upstream)
    wide = features.detach().double().requires_grad_()
    # In float32 for maxima, whose bins and ties depend on it.
    wide = features.detach().float().requires_grad_() if "pool" in mode else wide
    expected = reference(wide, rois, mode, 2 * size if max_pool else size, **options)
    if max_pool:
        expected = F.max_pool2d(expected, 2)
    (expected_grad,) = torch.autograd.grad(expected, wide, upstream.to(wide.dtype))
    torch.testing.assert_close(
        pooled.double(), expected.double(), rtol=tolerance, atol=tolerance
    )
    scale = max(1.0, expected_grad.abs().max().item())
    torch.testing.assert_close(
        grad.double(), expected_grad.double(), rtol=0, atol=tolerance * scale
    )
    return pooled, grad


@pairwise(
    {
        "fmt": FORMATS,
        "size": [1, 2, 7],
        "aligned": [False, True],
        "sampling_ratio": [0, 1, 2],
    }
)
def test_align(fmt, size, aligned, sampling_ratio):
    features = random_map().contiguous(memory_format=fmt)
    options = {"aligned": aligned, "sampling_ratio": sampling_ratio}
    pooled, grad = check(features, hard_rois(), "align", size=size, **options)
    assert pooled.is_contiguous(memory_format=fmt)
    assert grad.is_contiguous(memory_format=fmt)


@pairwise(
    {
        "fmt": FORMATS,
        "mode": ["crop", "crop_stn"],
        "size": [2, 3, 7],
    }
)
def test_crops(fmt, mode, size):
    check(random_map().contiguous(memory_format=fmt), hard_rois(), mode, size=size)


@EVERY
def test_maxima_inside(fmt, mode):
    features = random_map().contiguous(memory_format=fmt)
    # Away from RoIs whose samples coincide: which of equals is largest is rounding.
    rois = hard_rois()[:, 8:]
    check(features, rois, mode, size=3, max_pool=True)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_max_pooling_to_the_bit(fmt, size):
    features = random_map().contiguous(memory_format=fmt)
    features[0, :, 4:8] = features[0, :, 3:4]  # ties
    check(features, hard_rois(), "pool", size=size, tolerance=0 if size > 1 else 1e-6)


@pairwise(
    {
        "fmt": FORMATS,
        "mode": [*BILINEAR, "pool"],
        "dtype, tolerance": [(torch.bfloat16, 2**-7), (torch.float16, 2**-9)],
    }
)
def test_half_precision(fmt, mode, dtype, tolerance):
    features = random_map().to(dtype).contiguous(memory_format=fmt)
    check(features, hard_rois(), mode, tolerance=tolerance)


@pytest.mark.parametrize("channels", [1, 15, 16, 255, 256, 257, 300])
@pytest.mark.parametrize("mode", ["align", "pool"])
def test_any_number_of_channels(channels, mode):
    features = random_map(channels=channels)
    for fmt in FORMATS:
        check(
            features.contiguous(memory_format=fmt), hard_rois()[:, 5:12], mode, size=3
        )


@EVERY
def test_padded_maps_pool_as_bare_ones(fmt, mode):
    """Cells beyond an image's own size are never read, and get no gradient."""
    sizes = torch.tensor([[9, 17], [13, 11]])
    features = random_map().contiguous(memory_format=fmt)
    padded = features.clone(memory_format=torch.preserve_format)
    padded[0, :, 9:], padded[1, :, :, 11:] = float("nan"), float("nan")
    padded.requires_grad_()
    rois = hard_rois()
    pooled = pool(padded, rois, mode, [sizes])
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(2))
    (grad,) = torch.autograd.grad(pooled, padded, upstream)
    for i, (height, width) in enumerate(sizes.tolist()):
        bare = features[i : i + 1, :, :height, :width].contiguous(memory_format=fmt)
        bare.requires_grad_()
        alone = pool(bare, rois[i : i + 1], mode)
        rows = slice(30 * i, 30 * (i + 1))
        assert torch.equal(pooled[rows], alone)
        (bare_grad,) = torch.autograd.grad(alone, bare, upstream[rows])
        assert torch.equal(grad[i : i + 1, :, :height, :width], bare_grad)
        assert grad[i].count_nonzero() == bare_grad.count_nonzero()


@EVERY
def test_levels_of_a_pyramid(fmt, mode):
    """Each RoI is pooled from the level that FPN's eq. 1 gives it."""
    levels = [
        random_map(height=64 // 2**k, width=96 // 2**k, seed=k)
        .contiguous(memory_format=fmt)
        .requires_grad_()
        for k in range(3)
    ]
    scales = [1 / 4, 1 / 8, 1 / 16]
    side = torch.tensor([20.0, 111.9, 112, 150, 223.9, 224, 300, 0])
    corner = torch.tensor([10.0, 5, 3, 30, 12, 14, 2, 40])
    rois = torch.stack((corner, corner, corner + side, corner + side), dim=1)
    rois = rois.expand(2, -1, -1)
    # 224 px belong to level 2, half of that to level 1.
    expected_level = [0, 0, 1, 1, 1, 2, 2, 0]
    options = {"size": 3, "mode": mode}
    pooled = roi_pool(levels, rois, None, scales=scales, canonical_level=2, **options)
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(2))
    grads = torch.autograd.grad(pooled, levels, upstream)
    pooled, upstream = pooled.unflatten(0, (2, 8)), upstream.unflatten(0, (2, 8))
    for k, level in enumerate(levels):
        mine = [r for r, wanted in enumerate(expected_level) if wanted == k]
        alone = roi_pool([level], rois[:, mine], None, scales=[scales[k]], **options)
        assert torch.equal(pooled[:, mine].flatten(0, 1), alone)
        (grad,) = torch.autograd.grad(alone, level, upstream[:, mine].flatten(0, 1))
        assert torch.equal(grads[k], grad)


@EVERY
def test_equal_to_the_bit_whatever_the_threads(fmt, mode):
    features = random_map(channels=100).contiguous(memory_format=fmt)
    features.requires_grad_()
    results = []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        try:
            pooled = pool(features, hard_rois(), mode)
            results.append((pooled, *torch.autograd.grad(pooled.sum(), features)))
        finally:
            torch.set_num_threads(1)
    for pooled, grad in results[1:]:
        assert torch.equal(pooled, results[0][0])
        assert torch.equal(grad, results[0][1])


def test_no_rois_and_no_images():
    for images, count in ((2, 0), (0, 3)):
        features = random_map(images=images).requires_grad_()
        rois = torch.zeros(images, count, 4)
        for mode in MODES:
            pooled = pool(features, rois, mode)
            assert pooled.shape == (0, 19, 3, 3)
            (grad,) = torch.autograd.grad(pooled.sum(), features)
            assert not grad.any()


@pytest.mark.parametrize("mode", [*BILINEAR, "pool"])
def test_empty_maps_give_zeros(mode):
    pooled = pool(torch.zeros(1, 4, 0, 5), torch.zeros(1, 2, 4), mode)
    assert pooled.shape == (2, 4, 3, 3) and not pooled.any()


@pytest.mark.parametrize("mode", [*BILINEAR, "pool"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_rois_that_are_no_places_read_nothing_else(mode, bad):
    features = random_map().requires_grad_()
    rois = hard_rois()
    clean = pool(features, rois, mode)
    for column in range(4):
        junk = rois.clone()
        junk[0, 10, column] = bad
        pooled = pool(features, junk, mode)
        others = torch.arange(60) != 10
        assert torch.equal(pooled[others], clean[others])
        assert pooled.isfinite().all()
        (grad,) = torch.autograd.grad(pooled.sum(), features)
        assert grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [*BILINEAR, "pool"])
def test_is_a_whole_operator(mode):
    features = [
        random_map(channels=3, height=5, width=6, seed=k).requires_grad_()
        for k in (0, 1)
    ]
    rois = hard_rois(height=5, width=6)[:, :4]
    sizes = [torch.tensor([[5, 4], [3, 6]])] * 2
    for padded in (None, sizes):
        options = ([0.1, 0.05], 2, MODES[mode], 0, False, mode != "pool", 60.0, 0)
        torch.library.opcheck(
            torch.ops.faster_rcnn.roi_pool.default, (features, rois, padded, *options)
        )


@pytest.mark.slow
def test_traces_in_one_graph():
    features = random_map().requires_grad_()

    def loss(rois):
        return pool(features, rois, "align").square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(hard_rois()), loss(hard_rois()))


def test_autocast_keeps_the_type_of_the_features():
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16):
            pooled = pool(random_map().to(dtype), hard_rois(), "align")
        assert pooled.dtype == dtype


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"features": []}, "features"),
        ({"features": [torch.zeros(2, 3, 4)]}, "features"),
        ({"features": [torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4)]}, "features"),
        (
            {"features": [torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4).half()]},
            "features",
        ),
        ({"rois": torch.zeros(6, 4)}, "rois"),
        ({"rois": torch.zeros(3, 6, 4)}, "rois"),
        ({"rois": torch.zeros(2, 6, 4).long()}, "rois"),
        ({"sizes": [torch.zeros(2, 3)]}, "sizes"),
        ({"scales": [1.0, 0.5]}, "scales"),
        ({"scales": [0.0]}, "scales"),
        ({"size": 0}, "size"),
        ({"mode": "average"}, "mode"),
    ],
)
def test_bad_arguments_are_named(change, name):
    arguments = {
        "features": [torch.zeros(2, 3, 4, 4)],
        "rois": torch.zeros(2, 6, 4),
        "sizes": None,
        "scales": [1 / 16],
        "size": 7,
        "mode": "align",
    }
    with pytest.raises(ValueError, match=rf"^{name}.*: expected .*found"):
        roi_pool(**(arguments | change))
