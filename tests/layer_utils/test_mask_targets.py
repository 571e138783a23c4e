"""Mask targets, beside those of Detectron2 and torchvision."""

import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.masks import pack_bitmaps, pack_polygons
from faster_rcnn.kernels import library
from faster_rcnn.layer_utils.mask_targets import mask_targets
from golden_masks import golden_outlines, unpacked
from torchvision.ops import roi_align


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "family" / "mask_targets.npz")


@pytest.fixture(scope="module")
def inputs(shared):
    return np.load(shared / "golden" / "family" / "inputs.npz")


def sampled(golden):
    rois, matched = golden["mask0_rois"], golden["mask0_roi_gt"]
    return torch.from_numpy(rois)[None], torch.from_numpy(matched)[None]


@pytest.mark.parametrize("size", [14, 28])
def test_polygons_give_detectron2s_targets(golden, inputs, size):
    outlines = golden_outlines(inputs, "mask0")
    masks = pack_polygons([outlines], slots=20)
    found = mask_targets(masks, *sampled(golden), size=size)[0].numpy()
    expected = unpacked(golden[f"mask0_polygon_targets_{size}"], size)
    np.testing.assert_array_equal(found, expected)


needs_kernels = pytest.mark.skipif(
    library.kernels_for("roi_pool", "cpu") is None,
    reason="torchvision's operators know no image smaller than the map",
)


@needs_kernels
@pytest.mark.parametrize("size", [14, 28])
@pytest.mark.parametrize("soft", [False, True])
def test_bitmaps_give_detectron2s_and_torchvisions_targets(golden, size, soft):
    full = unpacked(golden["mask0_full_polygon_bitmasks"], 320).astype(bool)
    masks = pack_bitmaps([list(full)], slots=20, max_side=512)
    rois, matched = sampled(golden)
    found = mask_targets(masks, rois, matched, size=size, soft=soft)[0].numpy()
    # RoIs beyond the image too.
    outside = (rois[0] < 0) | (rois[0] > torch.tensor([320, 256, 320, 256]))
    assert 20 < outside.any(1).sum() < 40
    if soft:
        expected = golden[f"mask0_tv_targets_{size}"]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    else:
        expected = unpacked(golden[f"mask0_bitmask_targets_{size}"], size)
        assert (found != expected).sum() <= 1  # where a cell is a half


CORNERS = ((0, 0), (30, 60), (20, 20), (0, 60))


def blobs(rng):
    """Masks at the image's edges and inside it, and an empty one."""
    masks = np.zeros((5, 60, 90), np.bool_)
    for mask, (y, x) in zip(masks, CORNERS, strict=False):
        mask[y : y + 30, x : x + 30] = rng.random((30, 30)) < 0.7
    return masks


@needs_kernels
@pytest.mark.parametrize("soft", [False, True])
def test_a_bitmap_of_the_box_is_as_good_as_one_of_the_image(soft):
    rng = np.random.default_rng(0)
    masks = blobs(rng)
    start = rng.uniform((-20, -20), (70, 50), (60, 2))
    far = start + rng.uniform(1, 80, (60, 2))
    rois = torch.from_numpy(np.concatenate((start, far), 1).astype(np.float32))
    matched = torch.from_numpy(rng.integers(0, 5, 60))
    full = torch.from_numpy(masks).float()[:, None]
    indexed = torch.cat((matched[:, None].float(), rois), 1)
    expected = roi_align(full, indexed, 14, aligned=not soft)[:, 0]
    if not soft:
        expected = (expected >= 0.5).float()
    packed = pack_bitmaps([list(masks)], slots=8)
    found = mask_targets(packed, rois[None], matched[None], size=14, soft=soft)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@needs_kernels
def test_a_large_object_is_shrunk_little_by_little():
    """Bitmaps of 192 pixels a side give the targets of exact ones, nowhere shifted."""
    mask = np.zeros((700, 900), np.bool_)
    rows, columns = np.mgrid[:700, :900]
    mask[((rows - 350) / 300) ** 2 + ((columns - 450) / 400) ** 2 < 1] = True
    rois = torch.tensor([[[40.0, 45, 860, 660]]])
    matched = torch.zeros(1, 1, dtype=torch.int64)
    exact = pack_bitmaps([[mask]], slots=1, max_side=1024)
    small = pack_bitmaps([[mask]], slots=1)
    assert small.values.shape[-1] == 192
    for soft, worst in ((True, 0.06), (False, 1)):
        one, other = (
            mask_targets(m, rois, matched, size=28, soft=soft) for m in (exact, small)
        )
        assert (one - other).abs().max() <= worst
        assert (one - other).abs().mean() < 0.002


def test_a_hundred_masks_take_less_than_5_mb():
    ring = np.random.default_rng(0).uniform(0, 800, (400, 2))
    polygons = pack_polygons([[[ring, ring[:100]]] * 100], slots=128)
    assert polygons.vertices.nbytes + polygons.parts.nbytes < 5e6
    assert polygons.num_parts == 4
    bitmaps = pack_bitmaps([[np.ones((800, 1333), np.bool_)] * 2], slots=128)
    assert bitmaps.values.nbytes + bitmaps.frames.nbytes < 5e6


@pytest.mark.parametrize("kind", ["polygons", "bitmaps"])
def test_targets_are_one_graph(kind):
    if kind == "polygons":
        masks = pack_polygons([[[np.array([[0, 0], [9, 0], [5, 9.0]])]]], slots=2)
    else:
        masks = pack_bitmaps([[np.eye(12, dtype=np.bool_)]], slots=2)
    rois, matched = torch.tensor([[[0.0, 0, 10, 10]]]), torch.tensor([[0]])

    def targets(rois):
        return mask_targets(masks, rois, matched, size=14)

    compiled = torch.compile(targets, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(rois), targets(rois))
    assert targets(rois).any()
