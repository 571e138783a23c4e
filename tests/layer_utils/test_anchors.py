import numpy as np
import pytest
import torch
from faster_rcnn.layer_utils.anchors import base_anchors, cells_inside, grid_anchors
from torchvision.models.detection.anchor_utils import AnchorGenerator

RATIOS = (0.5, 1, 2)


def base(offset=1, scales=(8, 16, 32), ratios=RATIOS, stride=16, **options):
    return base_anchors(
        stride=stride, ratios=ratios, scales=scales, offset=offset, **options
    )


def test_legacy_base_by_hand():
    # The cell's centre is 7.5. Ratio 1, scale 8: 128 px, 7.5 -/+ 63.5.
    # Ratio 0.5: sqrt(512) = 22.6 -> 23 wide, 23 / 2 = 11.5 -> 12 high (to even), times
    # 8: 184 x 96, 7.5 -/+ 91.5 and 7.5 -/+ 47.5.
    assert base(scales=(8,), ratios=(0.5, 1)).tolist() == [
        [-84, -40, 99, 55],
        [-56, -56, 71, 71],
    ]


def test_continuous_base_by_hand():
    # The cell's centre is 8. Ratio 4, scale 2: 8 x 32 px doubled, 8 -/+ 8 and 8 -/+ 32.
    assert base(offset=0, scales=(2,), ratios=(4,)).tolist() == [[0, -24, 16, 40]]


def test_continuous_base_has_exact_areas_and_ratios():
    anchors = base(offset=0)
    widths, heights = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    ratios = torch.tensor(RATIOS).repeat_interleave(3)
    scales = torch.tensor([8.0, 16.0, 32.0]).repeat(3)
    torch.testing.assert_close(heights / widths, ratios)
    torch.testing.assert_close((widths * heights).sqrt(), scales * 16)


@pytest.mark.parametrize("offset", [0, 1])
def test_base_is_symmetric_about_the_cell(offset):
    anchors = base(offset=offset)
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    torch.testing.assert_close(centre, torch.full((9, 2), (16 - offset) / 2))


def test_anchors_around_the_corner_by_hand():
    got = base(offset=0, scales=(1,), ratios=(4, 1), stride=10, centre="corner")
    assert got.tolist() == [[-2.5, -10, 2.5, 10], [-5, -5, 5, 5]]


@pytest.mark.parametrize("offset", [0, 1])
def test_corner_is_half_a_cell_from_the_middle(offset):
    shift = 0.5 * (16 - offset)
    corner = base(offset=offset, centre="corner")
    assert torch.equal(corner + shift, base(offset=offset))


def test_three_ways_of_rounding():
    by_way = {
        way: base(offset=0, scales=(2,), ratios=(0.5,), centre="corner", rounding=way)
        for way in ("none", "sides", "corners", "auto")
    }
    side = 16 * 2**0.5  # 22.63 wide, 11.31 high, both doubled and halved
    expected = torch.tensor([[-side, -side / 2, side, side / 2]])
    torch.testing.assert_close(by_way["none"], expected)
    # 22.63 rounds to 23; half of that, 11.5, rounds to the even 12.
    assert by_way["sides"].tolist() == [[-23, -12, 23, 12]]
    assert by_way["corners"].tolist() == [[-23, -11, 23, 11]]
    assert torch.equal(by_way["auto"], by_way["none"])
    assert torch.equal(base(), base(rounding="sides"))


@pytest.mark.parametrize("ratios", [(0.5, 1.0, 2.0), (0.33, 3.0)])
def test_torchvision_anchors(ratios):
    scales = (2, 4, 8, 32)
    generator = AnchorGenerator((tuple(16 * s for s in scales),), (ratios,))
    got = base(0, scales, ratios, centre="corner", rounding="corners")
    assert torch.equal(got, generator.cell_anchors[0])


def test_torchvision_anchors_of_a_dense_head():
    sides = (32, int(32 * 2 ** (1 / 3)), int(32 * 2 ** (2 / 3)))
    generator = AnchorGenerator((sides,), (RATIOS,))
    scales = [side / 8 for side in sides]
    got = base(0, scales, RATIOS, stride=8, centre="corner", rounding="corners")
    assert torch.equal(got, generator.cell_anchors[0])


def test_golden_anchors_of_a_dense_head(shared):
    """Nine a cell at strides 8 to 128 of an image of 256 x 320 pixels."""
    data = np.load(shared / "golden" / "family" / "retina_anchors.npz")
    grids: dict[str, list[torch.Tensor]] = {"corner": [], "cell": [], "corners": []}
    for level, stride in enumerate((8, 16, 32, 64, 128)):
        octaves = [4 * 2 ** (i / 3) for i in range(3)]
        whole = [int(stride * 4 * 2 ** (i / 3)) / stride for i in range(3)]
        cells = (-(-256 // stride), -(-320 // stride))
        cell = base(0, octaves, stride=stride, centre="corner")
        # Detectron2 orders them by size, then ratio.
        want = data["d2_cells"][9 * level : 9 * level + 9].reshape(3, 3, 4)
        np.testing.assert_allclose(
            cell.view(3, 3, 4).transpose(0, 1).numpy(), want, rtol=1e-6
        )
        around = base(0, octaves, stride=stride)
        rounded = base(0, whole, stride=stride, centre="corner", rounding="corners")
        # torchvision divides the image by the map: 320 // 3 = 106 pixels, not 128.
        fitted = (256 // cells[0], 320 // cells[1])
        grids["corner"].append(grid_anchors(cell, *cells, stride=stride))
        grids["cell"].append(grid_anchors(around, *cells, stride=stride))
        grids["corners"].append(grid_anchors(rounded, *cells, stride=fitted))
    by_size = [
        torch.cat(grids[key]).view(-1, 3, 3, 4).transpose(1, 2).reshape(-1, 4)
        for key in ("corner", "cell")
    ]
    np.testing.assert_allclose(by_size[0], data["d2_anchors_offset0.0"], atol=1e-4)
    np.testing.assert_allclose(by_size[1], data["d2_anchors_offset0.5"], atol=1e-4)
    np.testing.assert_array_equal(torch.cat(grids["corners"]), data["tv_anchors"])


def test_grid_as_in_a_loop():
    first = base(scales=(2, 4))
    want = [
        [a + shift for a, shift in zip(row, (16 * x, 16 * y) * 2, strict=True)]
        for y in range(3)
        for x in range(4)
        for row in first.tolist()
    ]
    assert grid_anchors(first, 3, 4, stride=16).tolist() == want


def test_mirrored_grid_holds_the_same_anchors():
    anchors = grid_anchors(base(), 4, 5, stride=16)
    x1, y1, x2, y2 = anchors.unbind(1)
    mirrored = torch.stack((5 * 16 - 1 - x2, y1, 5 * 16 - 1 - x1, y2), dim=1)
    assert sorted(mirrored.tolist()) == sorted(anchors.tolist())


def test_grid_of_unequal_strides():
    grid = grid_anchors(base(scales=(2,)), 3, 4, stride=(10, 7)).view(3, 4, 3, 4)
    moved = grid[2, 3] - grid[0, 0]
    assert torch.equal(moved, torch.tensor([21.0, 20.0, 21.0, 20.0]).expand(3, 4))


def test_empty_map():
    assert grid_anchors(base(), 0, 5, stride=16).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grid_follows_dtype_and_device(dtype):
    for device in ("cpu", "meta"):
        anchors = grid_anchors(base().to(device, dtype), 2, 3, stride=16)
        assert anchors.dtype == dtype and anchors.device.type == device


def test_cells_inside_by_hand():
    # A map of 2 x 3 cells; the first image fills 1 x 2 of them, the second all.
    inside = cells_inside(2, 3, torch.tensor([[1, 2], [2, 3]]), anchors_per_cell=2)
    assert inside is not None
    first = [True, True, True, True, False, False] + [False] * 6
    assert inside.tolist() == [first, [True] * 12]
    assert cells_inside(2, 3, None, anchors_per_cell=2) is None


def test_cells_inside_match_the_anchors_of_the_bare_map():
    first = base()
    big = grid_anchors(first, 5, 7, stride=16)
    inside = cells_inside(5, 7, torch.tensor([[3, 4]]), anchors_per_cell=len(first))
    assert inside is not None
    assert torch.equal(big[inside[0]], grid_anchors(first, 3, 4, stride=16))


@pytest.mark.parametrize(
    ("ratios", "scales"),
    [((), (8,)), ((1,), ()), ((0,), (8,)), ((1, -1), (8,)), ((1,), (8, 0))],
)
def test_bad_ratios_and_scales(ratios, scales):
    with pytest.raises(ValueError, match="at least one ratio and one scale") as error:
        base(ratios=ratios, scales=scales)
    assert f"ratios {list(ratios)} and scales {list(scales)}" in str(error.value)
    assert "anchors.ratios" in str(error.value)


@pytest.mark.parametrize("name", ["voc", "coco", "lg"])
def test_golden_base(shared, name):
    data = np.load(shared / "golden" / "anchors.npz")
    scales = data[f"scales_{name}"].tolist()
    assert np.array_equal(base(scales=scales).numpy(), data[f"base_{name}"])


def test_golden_grids(shared):
    data = np.load(shared / "golden" / "anchors.npz")
    keys = [key for key in data.files if key.startswith("pre_")]
    assert len(keys) == 6
    for key in keys:
        _, name, size = key.split("_")
        height, width = map(int, size.split("x"))
        first = base(scales=data[f"scales_{name}"].tolist())
        grid = grid_anchors(first, height, width, stride=16)
        assert np.array_equal(grid.numpy(), data[key]), key
