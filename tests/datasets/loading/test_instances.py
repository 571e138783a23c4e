"""Masks and keypoints follow their image: drawn, transformed, and compared."""

import dataclasses
import math

import cv2
import hotcoco.mask
import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.batches import collate
from faster_rcnn.datasets.loading.masks import MAX_VERTICES, ObjectBitmap, pack_masks
from faster_rcnn.datasets.loading.mosaic import join_mosaic, mosaic_windows
from faster_rcnn.datasets.records import KeypointNames, RunLengths
from faster_rcnn.datasets.wanted_instances import Instances
from faster_rcnn.layer_utils.mask_targets import annotated, mask_targets
from faster_rcnn.layer_utils.structures import Bitmaps, Polygons
from loader_words import sample_of
from pairwise import pairwise
from tiny_runs import make_record

WIDTH, HEIGHT = 90, 70
NAMES = KeypointNames(("left", "right", "tip"), ((0, 1),))
EYES = np.array([[22.5, 17.5], [55.5, 40.5], [80.5, 60.5]])
SHADES = (255, 120, 180)  # of the three keypoints, in blue
BENT = np.array([[4.3, 6.1], [50.7, 3.2], [44.1, 30.9], [27.4, 14.2], [9.8, 48.6]])
BLOCKS = (
    np.array([[40.0, 36], [86, 40], [70, 66], [44, 58]]),
    np.array([[60.0, 4], [84, 4], [84, 20], [60, 20]]),
)
OUTLINES = ((BENT,), BLOCKS)


FINE = 8


def share(outline, height, width):
    """Share of each pixel inside an outline, 0 to 1."""
    canvas = np.zeros((height * FINE, width * FINE), np.float32)
    for part in outline:
        points = np.round((np.asarray(part, np.float64) * FINE - 0.5) * 16)
        cv2.fillPoly(canvas, [points.astype(np.int32)], 1, shift=4)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def drawn(mask, height, width):
    """Share of each pixel of the network input inside the mask of a sample."""
    if not isinstance(mask, ObjectBitmap):
        return share(mask, height, width)
    canvas = np.zeros((height * FINE, width * FINE), np.float32)
    if mask.frame.any():
        inside, cells = [], []
        for axis, pixels in ((1, height), (0, width)):
            low, high, count = mask.frame[axis], mask.frame[axis + 2], mask.values.shape
            at = (np.arange(pixels * FINE) + 0.5) / FINE
            cell = np.floor((at - low) / (high - low) * count[1 - axis]).astype(int)
            inside.append((cell >= 0) & (cell < count[1 - axis]))
            cells.append(cell[inside[-1]])
        canvas[np.ix_(*inside)] = mask.values[np.ix_(*cells)] > 0
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def run_lengths(outline):
    solid = np.asfortranarray((share(outline, HEIGHT, WIDTH) > 0.5).astype(np.uint8))
    return RunLengths(hotcoco.mask.encode(solid)["counts"], (HEIGHT, WIDTH))


@pytest.fixture
def record(tmp_path):
    """One object in red and one in green; keypoints in blue, all of the first."""
    corners = [np.concatenate(parts) for parts in OUTLINES]
    boxes = [(*c.min(0), *c.max(0)) for c in corners]
    keypoints = np.zeros((2, 3, 3), np.float32)
    keypoints[0] = np.column_stack((EYES, (2, 1, 2)))

    def make(form="outlines"):
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for channel, outline in enumerate(OUTLINES):
            solid = share(outline, HEIGHT, WIDTH)
            solid = solid > 0.5 if form == "run lengths" else solid
            pixels[..., 2 - channel] = 255 * solid
        for (x, y), shade in zip(EYES.astype(int), SHADES, strict=True):
            pixels[y - 4 : y + 5, x - 4 : x + 5, 0] = shade
        cv2.imwrite(str(tmp_path / "image.png"), pixels)
        plain = make_record(tmp_path / "image.png", WIDTH, HEIGHT, boxes, (1, 2))
        masks = tuple(tuple(map(np.float32, parts)) for parts in OUTLINES)
        if form == "run lengths":
            masks = tuple(map(run_lengths, OUTLINES))
        return dataclasses.replace(plain, masks=masks, keypoints=keypoints)

    return make


def sample(record, **options):
    defaults = {"short_side": HEIGHT, "long_side": 1000, "min_visible": 0}
    wanted = Instances("polygons", NAMES)
    return sample_of(record, **(defaults | {"instances": wanted} | options))


def expect_equal(found, picture, scale):
    """Masks are the same up to their border, and neither is shifted."""
    reach = 1 + math.ceil(scale)
    kernel = np.ones((2 * reach + 1,) * 2, np.uint8)
    small, large = cv2.erode(picture, kernel), cv2.dilate(picture, kernel)
    assert (found[small > 0.9] > 0.6).all() and (found[large < 0.1] < 0.2).all()
    if picture.sum() > 100:
        centres = [np.argwhere(m + 1).T @ m.ravel() / m.sum() for m in (found, picture)]
        np.testing.assert_allclose(*centres, atol=0.4 * max(scale, 1))


def expect_followed(result, *, flip, scale, regions=None):
    """Compare each mask with its colour, and each keypoint with its shade."""
    height, width = result.pixels.shape[:2]
    whole = [np.ones((height, width), bool)] * len(result.masks)
    assert len(result.masks) == len(result.boxes) == len(result.keypoints)
    for g, region in enumerate(regions or whole):
        picture = np.float32(result.pixels[..., result.classes[g] - 1] / 255) * region
        expect_equal(drawn(result.masks[g], height, width), picture, scale)
    order = (1, 0, 2) if flip else (0, 1, 2)
    for points in result.keypoints[result.classes == 1]:
        for k, (x, y, visibility) in enumerate(points):
            if visibility:
                assert 0 <= x <= width and 0 <= y <= height
                row, column = min(int(y), height - 1), min(int(x), width - 1)
                shade = result.pixels[row, column, 2]
                assert abs(int(shade) - SHADES[order[k]]) < 30
                assert visibility == (2, 1, 2)[order[k]]
            else:
                assert x == y == 0
    assert not result.keypoints[result.classes == 2].any()  # objects without keypoints


@pairwise(
    {
        "form": ["outlines", "run lengths"],
        "flip": [False, True],
        "quarters": [0, 1, 2, 3],
        "short_side": [35, 51, 70, 133],
        "zoom, window, place": [
            (1, None, (0.5, 0.5)),
            (0.6, None, (0.5, 0.5)),
            (1.7, None, (0.2, 0.1)),
            (2.3, None, (0.9, 0.6)),
            (1, (41, 57), (0.4, 0.7)),
            (0.5, (30, 90), (0.0, 0.99)),
        ],
    }
)
def test_masks_and_keypoints_follow(
    record, form, flip, quarters, short_side, zoom, window, place
):
    options = {"flip": flip, "quarters": quarters, "zoom": zoom, "place": place}
    result = sample(record(form), window=window, short_side=short_side, **options)
    expect_followed(result, flip=flip, scale=result.scale)


@pytest.mark.parametrize("form", ["outlines", "run lengths"])
@pytest.mark.parametrize("flip", [False, True])
def test_a_mosaic_hides_what_its_other_images_cover(record, form, flip):
    windows = mosaic_windows((HEIGHT, WIDTH), (0.42, 0.55))
    options = {"flip": flip, "place": (0.3, 0.4)}
    for zoom in (0.6, 1.4):
        tiles = [sample(record(form), window=w, zoom=zoom, **options) for w in windows]
        result = join_mosaic(tiles)
        assert result.pixels.shape == (HEIGHT, WIDTH, 3)
        regions, labelled = [], 0
        for part, (x, y) in zip(tiles, [(0, 0), (1, 0), (0, 1), (1, 1)], strict=True):
            region = np.zeros((HEIGHT, WIDTH), bool)
            rows = slice(windows[0][0], None) if y else slice(windows[0][0])
            region[rows, slice(windows[0][1], None) if x else slice(windows[0][1])] = 1
            regions += [region] * len(part.boxes)
            labelled += (part.keypoints[..., 2] > 0).sum()
        largest = max(part.scale for part in tiles)
        expect_followed(result, flip=flip, scale=largest, regions=regions)
        assert (result.keypoints[..., 2] > 0).sum() == labelled > 0
        for mask, region in zip(result.masks, regions, strict=True):
            # Nothing beyond the border to another image.
            assert (drawn(mask, HEIGHT, WIDTH)[~region] < 0.2).all()


def test_targets_of_both_forms_agree(record):
    """A RoI at the edge of a crop sees the same, drawn or cropped."""
    options = {"zoom": 1.6, "place": (0.5, 0.3), "flip": True}
    targets = {}
    for name, form, kind in (
        ("outlines", "outlines", "polygons"),
        ("run lengths", "run lengths", "polygons"),
        ("drawn", "outlines", "bitmaps"),
    ):
        result = sample(record(form), **options)
        truth = collate([result], size_multiple=1, bitmaps=kind == "bitmaps")[1]
        assert isinstance(truth.masks, Polygons if name == "outlines" else Bitmaps)
        rois, matched = truth.boxes[:, :2], torch.tensor([[0, 1]])
        targets[name] = mask_targets(truth.masks, rois, matched, size=28)
        assert annotated(truth.masks).tolist() == [[True] * 2 + [False] * 6]
    # The outer boxes leave the crop: their targets reach to the very edge.
    assert targets["outlines"][0].any(dim=1).float().mean() > 0.8
    for name in ("run lengths", "drawn"):
        differ = targets[name] != targets["outlines"]
        assert differ.float().mean() < (0.05 if name == "run lengths" else 0.02)


def test_crowds_are_left_out_and_missing_masks_are_empty(record):
    full = record()
    crowd = dataclasses.replace(full, crowd=np.array([True, False]))
    truth = collate([sample(crowd)], size_multiple=1).ground_truth
    expected = collate([sample(full)], size_multiple=1).ground_truth
    torch.testing.assert_close(
        truth.masks.vertices[0, 0], expected.masks.vertices[0, 1]
    )
    assert truth.valid.sum() == annotated(truth.masks).sum() == 1
    for masks in (((), full.masks[1]), ((), run_lengths(BLOCKS))):
        some = dataclasses.replace(full, masks=masks, keypoints=None)
        truth = collate([sample(some)], size_multiple=1).ground_truth
        assert annotated(truth.masks).tolist() == [[False, True] + [False] * 6]
        assert truth.keypoints.shape == (1, 8, 3, 3) and not truth.keypoints.any()
    none = dataclasses.replace(full, masks=None)
    assert not annotated(collate([sample(none)], size_multiple=1)[1].masks).any()
    empty = sample(make_record(full.path, WIDTH, HEIGHT))
    truth = collate([empty], size_multiple=1).ground_truth
    assert truth.masks.vertices.shape == (1, 8, 256, 2)


def test_boxes_alone_unless_wanted(record):
    plain = sample(record(), instances=Instances())
    truth = collate([plain], size_multiple=1).ground_truth
    assert plain.masks is plain.keypoints is truth.masks is truth.keypoints is None
    np.testing.assert_array_equal(plain.boxes, sample(record()).boxes)


@pytest.mark.parametrize("form", ["outlines", "run lengths", "detailed"])
def test_a_hundred_objects_take_less_than_5_mb(tmp_path, form):
    height, width = 800, 1333
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((height, width, 3), np.uint8))
    corners = {"outlines": 300, "run lengths": 300, "detailed": 2 * MAX_VERTICES}[form]
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    ring = np.stack((660 + 600 * np.cos(angle), 400 + 390 * np.sin(angle)), 1)
    masks = ((ring.astype(np.float32),),) * 100
    if form == "run lengths":
        solid = cv2.fillPoly(np.zeros((height, width), np.uint8), [ring.astype(int)], 1)
        counts = hotcoco.mask.encode(np.asfortranarray(solid))["counts"]
        masks = (RunLengths(counts, (height, width)),) * 100
    box = (60, 10, 1260, 790)
    plain = make_record(tmp_path / "image.png", width, height, [box] * 100)
    full = sample(dataclasses.replace(plain, masks=masks), short_side=height)
    truth = collate([full], size_multiple=1).ground_truth
    assert sum(t.nbytes for t in truth.masks if isinstance(t, torch.Tensor)) < 5e6
    assert annotated(truth.masks).sum() == 100
    matched = torch.full((1, 1), 99)
    targets = mask_targets(truth.masks, truth.boxes[:, :1], matched, size=28)
    assert abs(targets.mean() - np.pi / 4) < 0.01


def test_shapes_of_polygons_are_few():
    def triangles(count):
        corners = np.array([[0.0, 0], [9, 0], [5, 9]])
        return (corners,) * count

    kinds = set()
    for count in range(1, 250):
        masks = pack_masks([[triangles(count)]], slots=8, sizes=[(9, 9)])
        kinds.add((masks.vertices.shape[2], masks.num_parts))
    assert kinds == {(256, 4), (256, 16), (256, 64), (1024, 256)}
