"""RoI pooling in Triton against the operator on CPUs: values, maxima, gradients."""

import pytest
import torch
from faster_rcnn.kernels.library import kernels_for
from faster_rcnn.kernels.pooling import roi_pool
from faster_rcnn.kernels.pooling_layout import MODES, Options

pytestmark = [
    pytest.mark.slow,
    pytest.mark.gpu,
    pytest.mark.skipif(
        kernels_for("roi_pool", "cpu") is None,
        reason="the compiled kernels are not built",
    ),
]

FORMATS = [torch.channels_last, torch.contiguous_format]
TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}

HARD_ROIS = torch.tensor(
    [
        [[8.0, 20, 100, 90], [0, 0, 176, 144], [50, 50, 50, 50], [-40, 30, 60, 300]],
        [[33.0, 17, 39, 22], [90, 80, 30, 20], [300, 300, 400, 390], [0, 0, 160, 128]],
    ]
)
"""At stride 16 on 9 x 11 cells: inside, whole, a point, over edges; tiny, inverted,
beyond, and ending on the last cells."""


@pytest.fixture
def check(gpu, monkeypatch):
    """Runs both on the same input, forward and backward.

    Blocks are small so that there are several of RoIs, of channels and across.
    """
    from faster_rcnn.kernels.gpu import pooling as gpu_pooling

    monkeypatch.setattr(gpu_pooling, "AT_ONCE", 2)
    if torch.device("cpu") == gpu:  # interpreted
        monkeypatch.setattr(gpu_pooling, "CHANNELS", 32)

    def check(
        features, rois, sizes=None, *, mode="align", size=3, scales=(1 / 16,),
        sampling_ratio=0, aligned=False, max_pool=False, canonical_size=224.0,
        canonical_level=0,
    ):  # fmt: skip
        options = {
            "sampling_ratio": sampling_ratio, "aligned": aligned, "max_pool": max_pool,
            "canonical_size": canonical_size, "canonical_level": canonical_level,
        }  # fmt: skip
        wants = [f.detach().requires_grad_() for f in features]
        want = roi_pool(
            wants, rois, sizes, scales=scales, size=size, mode=mode, **options
        )
        upstream = torch.randn(want.shape, generator=torch.Generator().manual_seed(3))
        upstream = upstream.to(want.dtype)
        want_grads = torch.autograd.grad(want, wants, upstream)

        how = Options(list(scales), size, MODES[mode], *options.values())
        on_gpu = [f.to(gpu) for f in features]
        rois = rois.to(gpu).contiguous()
        sizes = None if sizes is None else [s.to(gpu) for s in sizes]
        got, places = gpu_pooling.roi_pool(on_gpu, rois, sizes, how)
        last = not features[0].is_contiguous()
        fmt = FORMATS[0] if last else FORMATS[1]
        assert got.dtype == want.dtype and got.is_contiguous(memory_format=fmt)
        tolerance = TOLERANCES[want.dtype]
        torch.testing.assert_close(got.cpu(), want, rtol=tolerance, atol=tolerance)
        shapes = [n for f in features for n in f.shape[2:]]
        upstream = upstream.to(gpu).contiguous(memory_format=torch.channels_last)
        grads = gpu_pooling.roi_pool_backward(
            upstream, places, rois, sizes, shapes, last, how
        )
        for grad, want_grad in zip(grads, want_grads, strict=True):
            assert grad.dtype == want.dtype
            assert grad.is_contiguous(memory_format=fmt)
            scale = max(1.0, want_grad.abs().max().item())
            torch.testing.assert_close(
                grad.cpu(), want_grad, rtol=tolerance, atol=tolerance * scale
            )
        return got, grads

    return check


def features(
    *, fmt=FORMATS[0], dtype=torch.float32, cells=(9, 11), channels=16, seed=0
):
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn(2, channels, *cells, generator=generator)
    return data.to(dtype).contiguous(memory_format=fmt)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_modes_and_formats(check, fmt, mode):
    size, data = (3 if fmt == FORMATS[0] else 2), features(fmt=fmt, cells=(4, 9))
    rois = HARD_ROIS * torch.tensor([0.8, 0.4, 0.8, 0.4])
    pooled, grads = check([data], rois, mode=mode, size=size)
    assert pooled.any() and grads[0].any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("dtype", "fmt"), list(zip([torch.bfloat16, torch.float16], FORMATS, strict=True))
)
def test_other_types(check, fmt, mode, dtype):
    rois = torch.tensor([[[8.0, 20, 50, 60]], [[3.0, 7, 90, 50]]])
    data = features(fmt=fmt, dtype=dtype, cells=(4, 6))
    pooled, grads = check([data], rois, mode=mode, size=2)
    assert pooled.any() and grads[0].any()


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_align(check, aligned, sampling_ratio):
    check(
        [features(channels=5, cells=(5, 6))], HARD_ROIS * 0.55, size=2,
        sampling_ratio=sampling_ratio, aligned=aligned,
    )  # fmt: skip


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("mode", ["align", "crop", "crop_stn"])
def test_maxima_inside(check, fmt, mode):
    # Away from RoIs whose samples coincide: which of equals is largest is rounding.
    rois = torch.tensor([[[8.0, 20, 60, 50], [-20, 7, 40, 90]],
                         [[33.0, 17, 70, 60], [5, 6, 90, 75]]])  # fmt: skip
    check([features(fmt=fmt, cells=(5, 6))], rois, mode=mode, max_pool=True, size=2)


@pytest.mark.parametrize("mode", MODES)
def test_padding_is_not_read(check, mode):
    sizes = [torch.tensor([[6, 9], [7, 5]])]
    bare = features(cells=(7, 9))
    for n, (rows, columns) in enumerate(sizes[0].tolist()):
        bare[n, :, rows:] = bare[n, :, :, columns:] = float("nan")
    pooled, grads = check([bare], HARD_ROIS[:, :2], sizes, mode=mode, size=2)
    assert pooled.isfinite().all()
    assert not grads[0][0, :, 6:].any() and not grads[0][1, :, :, 5:].any()


@pytest.mark.parametrize("mode", ["align", "pool"])
@pytest.mark.parametrize("padded", [False, True])
def test_levels(check, mode, padded):
    levels = [features(cells=(12 // s, 16 // s), seed=s) for s in (1, 2, 4)]
    sizes = [torch.tensor([[9 // s, 16 // s], [12 // s, 10 // s]]) for s in (1, 2, 4)]
    # Sides of 8, 16, 32, one without area, and one between two levels.
    rois = torch.tensor(
        [
            [[4.0, 4, 12, 12], [5, 5, 21, 21], [0, 0, 32, 32], [9, 9, 9, 20]],
            [[4.0, 4, 12, 11], [5, 5, 20, 21], [0, 8, 40, 40], [9, 9, 33, 18]],
        ]
    )
    _, grads = check(
        levels, rois, sizes if padded else None, mode=mode, size=2,
        scales=[1 / 4, 1 / 8, 1 / 16], canonical_size=16.0, canonical_level=1,
    )  # fmt: skip
    assert all(grad.any() for grad in grads)


def test_many_channels(check):
    rois = HARD_ROIS[:, :2] * 0.3
    for fmt in FORMATS:
        check([features(fmt=fmt, cells=(3, 4), channels=35)], rois, mode="crop", size=2)


@pytest.mark.parametrize("mode", MODES)
def test_no_numbers(check, mode):
    rois = HARD_ROIS[:, :2].clone()
    rois[0, 0, 0] = float("nan")
    rois[0, 1, 3] = float("inf")
    rois[1, 0, 1] = 1e30
    check([features(channels=2, cells=(3, 4))], rois, mode=mode, size=2)


@pytest.mark.parametrize("mode", MODES)
def test_smallest_maps(check, mode):
    rois = HARD_ROIS * 0.2
    check([features(channels=1, cells=(1, 1))], rois[:, :1], mode=mode, size=2)
    fmt = FORMATS[1]
    check([features(channels=7, cells=(1, 5), fmt=fmt)], rois[:, 1:2], mode=mode)
    sizes = [torch.tensor([[0, 0], [2, -1]])]  # nothing but padding
    check([features(channels=3, cells=(2, 3))], rois[:, :2], sizes, mode=mode, size=2)


@pytest.mark.parametrize(("images", "channels"), [(0, 2), (2, 0)])
def test_nothing_to_pool(gpu, images, channels):
    from faster_rcnn.kernels.gpu import pooling as gpu_pooling

    data = torch.ones(images, channels, 3, 4, device=gpu)
    rois = HARD_ROIS[:images].to(gpu)
    how = Options([1 / 16], 2, MODES["align"], 0, False, False, 224.0, 0)
    pooled, places = gpu_pooling.roi_pool([data], rois, None, how)
    assert pooled.shape == (4 * images, channels, 2, 2)
    args = (pooled, places, rois, None, [3, 4], True, how)
    assert gpu_pooling.roi_pool_backward(*args)[0].shape == data.shape


def test_no_rois(check):
    pooled, grads = check([features(channels=2)], HARD_ROIS[:, :0])
    assert pooled.shape[0] == 0 and not grads[0].any()


def test_maxima_of_nothing_and_of_no_numbers(gpu):
    from faster_rcnn.kernels.gpu import pooling as gpu_pooling

    data = torch.full((1, 1, 2, 2), float("nan"))
    data[0, 0, 1, 1] = 5.0
    rois = torch.tensor([[[0.0, 0, 0, 0], [0, 0, 1, 1], [9, 9, 9, 9]]])
    how = Options([1.0], 1, MODES["pool"], 0, False, False, 224.0, 0)
    pooled, places = gpu_pooling.roi_pool([data.to(gpu)], rois.to(gpu), None, how)
    lowest = torch.finfo(torch.float32).min
    assert pooled.flatten().tolist() == [lowest, 5.0, 0.0]
    assert places.flatten().tolist() == [-1, 3, -1]


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("mode", ["align", "pool"])
def test_offsets_beyond_31_bits(gpu, fmt, mode):
    """Only the last cells of a map of 4 GB are touched; the rest needs no memory."""
    from faster_rcnn.kernels.gpu import pooling as gpu_pooling

    channels, rows, columns = 33, 8200, 8200
    assert channels * rows * columns > 2**31
    data = torch.empty(
        (1, channels, rows, columns),
        dtype=torch.bfloat16, device=gpu, memory_format=fmt,
    )  # fmt: skip
    corner = torch.randn(channels, 4, 4, generator=torch.Generator().manual_seed(0))
    data[0, :, -4:, -4:] = corner.to(data)
    rois = torch.tensor([[[8196.0, 8196, 8199, 8199]]])
    how = Options([1.0], 2, MODES[mode], 2, False, False, 224.0, 0)
    pooled, _ = gpu_pooling.roi_pool([data], rois.to(gpu), None, how)
    near = corner[None].to(torch.bfloat16).contiguous(memory_format=fmt)
    want, _ = gpu_pooling.roi_pool([near.to(gpu)], rois.to(gpu) - 8196, None, how)
    assert want.any() and torch.equal(pooled, want)
