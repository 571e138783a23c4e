"""Best overlaps against all anchors, and the scales proposed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checked_folders import RECIPE, VocFolder, check, thing
from faster_rcnn.datasets.checks.coverage import (
    Objects,
    best_overlaps,
    measure_coverage,
    network_objects,
    suggest_scales,
)
from faster_rcnn.datasets.checks.text import coverage_lines, recommended_setting
from faster_rcnn.layer_utils.anchors import base_anchors, grid_anchors
from faster_rcnn.layer_utils.boxes import inside_image, pairwise_iou
from pairwise import pairwise

ANCHORS = {"stride": 16, "ratios": (0.5, 1, 2), "scales": (1, 2, 4)}


def overlaps_of(boxes, size, *, stride, offset, border, **anchors):
    boxes = np.array(boxes, np.float64)
    extents = boxes[:, 2:] - boxes[:, :2] + offset
    sizes = np.tile(np.array(size, np.float64), (len(boxes), 1))
    objects = Objects([], [], [], boxes, extents, sizes)
    base = base_anchors(stride=stride, offset=offset, **anchors).numpy()
    options = {"stride": stride, "offset": offset, "border": border}
    return best_overlaps(objects, base.astype(np.float64), **options)


def all_anchors(boxes, size, *, offset, border, centre, **anchors):
    """The oracle: every anchor of every cell."""
    width, height = size
    base = base_anchors(**anchors, offset=offset, centre=centre)
    stride = anchors["stride"]
    rows, columns = -(-height // stride), -(-width // stride)
    grid = grid_anchors(base, rows, columns, stride=stride)
    sizes = torch.tensor([[height, width]])
    usable = inside_image(grid, sizes, border=border, offset=offset)[0]
    others = torch.as_tensor(boxes, dtype=torch.float32)
    iou = pairwise_iou(grid[usable], others, offset=offset)
    return iou.amax(dim=0).numpy() if usable.any() else np.zeros(len(boxes))


@pairwise(
    {
        "offset": [0, 1],
        "border": [0, 5, -1],
        "centre": ["cell", "corner"],
        "size": [(150, 101), (64, 64), (40, 90), (12, 12)],
    }
)
def test_best_overlaps_are_those_of_all_anchors(offset, border, centre, size):
    random = np.random.default_rng(0)
    near = random.uniform(0, 0.8, (200, 2)) * size
    far = near + random.uniform(0.05, 1, (200, 2)) * (np.array(size) - near)
    boxes = np.concatenate([near, far - offset], axis=1)
    options = {"offset": offset, "border": border, "centre": centre, **ANCHORS}
    found = overlaps_of(boxes, size, **options)
    np.testing.assert_allclose(found, all_anchors(boxes, size, **options), atol=2e-6)


def test_an_anchor_itself():
    # The 32 x 32 anchor of the second cell: centre 24, corners 8 and 40.
    options = {"stride": 16, "ratios": (1,), "scales": (2,), "offset": 0, "border": 0}
    assert overlaps_of([[8, 8, 40, 40]], (64, 64), **options) == [1]
    # A quarter of it, wherever it lies inside, is met by a quarter.
    assert overlaps_of([[20, 20, 36, 36]], (64, 64), **options) == [0.25]


def test_no_objects():
    none = np.zeros((0, 4))
    assert overlaps_of(none, (9, 9), offset=0, border=0, **ANCHORS).shape == (0,)
    assert suggest_scales(np.zeros(0), stride=16) == ()
    coverage = measure_coverage([], RECIPE)
    assert (coverage.poor, coverage.at_border, coverage.small) == (0, 0, (0, 0.0))
    assert coverage_lines(coverage) == ["no object to measure anchors on"]


@pytest.mark.parametrize(
    ("sides", "scales"),
    [
        ([16] * 9, (1,)),
        ([16, 32, 64], (1, 2, 4)),
        ([20, 90], (1, 2, 4)),  # the ends lie a little inside: 21.4 < 16 * 2**0.5
        ([22, 93], (2, 4, 8)),  # 23.4 > 16 * 2**0.5, 91.6 > 64 * 2**0.5
        ([5], (0.25,)),
        ([40] * 98 + [4000], (2,)),
    ],
)
def test_suggested_scales(sides, scales):
    assert suggest_scales(np.array(sides, np.float64), stride=16) == scales


def test_objects_are_those_of_training(tmp_path):
    folder = VocFolder(tmp_path / "own")
    difficult = thing(box=(1, 1, 9, 9), extra="<difficult>1</difficult>")
    folder.annotate("a", thing(box=(41, 1, 90, 30)), difficult, thing(box=(5, 5, 5, 5)))
    entries = check(folder.root).entries[:1]
    for ignored, count in ((False, 1), (True, 2)):
        sizes = {"short_side": 120, "long_side": 200}
        recipe = replace(RECIPE, **sizes, offset=1, use_ignored=ignored)
        objects = network_objects(entries, recipe)
        assert len(objects.boxes) == len(objects.names) == count
    # Clipped to 80, then twice as large; legacy corners lie inside.
    assert objects.boxes[0].tolist() == [80, 0, 158, 58]
    assert objects.sizes[0].tolist() == [160, 120]
    assert objects.sides[0] == pytest.approx((79 * 59) ** 0.5)
    assert objects.ratios[0] == pytest.approx(59 / 79)


def report_on(root, box):
    """Check six images with one object each."""
    folder = VocFolder(root / "own")
    for stem in "abcdef":
        folder.annotate(stem, thing(box=box))
    return check(folder.root)


def test_small_objects_and_advice(tmp_path):
    coverage = report_on(tmp_path, (31, 31, 34, 34)).coverage
    assert coverage.objects.sides.tolist() == [4] * 6 and coverage.poor == 6
    assert coverage.small == (6, 0.25) and coverage.suggested == (0.25,)
    text = "\n".join(coverage_lines(coverage))
    assert "below 0.5 for 6 of 6 objects (100.0 %)" in text
    assert "smallest scale: 6; scale 0.25 would suit them" in text
    assert "larger images" in text
    # Under 0.25 the anchors are 4 x 4 at centres 8, 24, ...: none touches 30 to 34.
    assert coverage.suggested_poor == 6 and "try --set" not in text


def test_advice_that_helps(tmp_path):
    coverage = report_on(tmp_path, (6, 6, 75, 60)).coverage
    assert coverage.suggested == (4,) and coverage.poor == 6
    text = "\n".join(coverage_lines(coverage))
    assert ('try --set anchors.scales "[4]"' in text) == (coverage.suggested_poor < 6)


def test_advice_for_a_pyramid(tmp_path):
    """The levels have one scale: half of it meets objects of half the size."""
    report = report_on(tmp_path, (27, 27, 36, 36))
    recipe = replace(RECIPE, strides=(4, 8), scales=((5,), (5,)), border=-1)
    coverage = measure_coverage(report.entries, recipe)
    assert coverage.suggested == (2.5,)
    assert (coverage.poor, coverage.suggested_poor) == (6, 0)
    assert recommended_setting(coverage) == '--set anchors.scales "[2.5]"'


def test_objects_at_the_border(tmp_path):
    # The 16 x 16 anchor around (72, 56) sticks out of the 60 rows.
    coverage = report_on(tmp_path, (65, 49, 80, 60)).coverage
    assert (coverage.poor, coverage.at_border) == (6, 6)
