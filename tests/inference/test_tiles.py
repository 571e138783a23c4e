import numpy as np
import pytest
import torch
from faster_rcnn.config.settings import BoxConfig, TestConfig
from faster_rcnn.datasets.loading.tiling import Tiling
from faster_rcnn.inference.tiles import merge_tiles
from faster_rcnn.layer_utils.structures import Detections

SIDE = 100
IMAGE = 230, 310


def detections(boxes, scores=None, classes=None, **fields):
    boxes = torch.tensor(np.array(boxes), dtype=torch.float32).reshape(1, -1, 4)
    count = boxes.shape[1]
    return Detections(
        boxes,
        torch.tensor(np.array([[0.9] * count if scores is None else scores])),
        torch.tensor([[1] * count if classes is None else classes]).long(),
        torch.ones(1, count, dtype=torch.bool),
        **fields,
    )


def seen_in(tile, boxes, *, offset=0.0):
    """What a perfect detector finds in a tile: the visible parts, in its pixels."""
    corner = np.array([tile.x, tile.y] * 2)
    limit = np.array([tile.width, tile.height] * 2)
    parts = (np.array(boxes).reshape(-1, 4) - corner).clip(0, limit)
    visible = (parts[:, 2:] - parts[:, :2] > 3).all(axis=1)
    return parts[visible] - np.array([0, 0, offset, offset]), visible


def merge(found, tiles, *, offset=0.0):
    boxes, scales = BoxConfig(offset=offset), [1.0] * len(tiles)
    return merge_tiles(found, tiles, scales, boxes=boxes, test=TestConfig())


def scattered(rng, count):
    """Boxes of 5 to 250 pixels in the image that do not touch."""
    found = []
    while len(found) < count:
        size = np.exp(rng.uniform(np.log(5), np.log(250), 2)).clip(max=200)
        corner = rng.uniform(0, np.array(IMAGE[::-1]) - size)
        box = np.concatenate([corner, corner + size])
        apart = [
            (box[:2] > other[2:] + 4).any() or (box[2:] < other[:2] - 4).any()
            for other in found
        ]
        if all(apart):
            found.append(box)
    return np.array(found)


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_every_object_is_found_once_whatever_its_size(seed, whole, offset):
    rng = np.random.default_rng(seed)
    boxes = scattered(rng, 8)
    scores = rng.permutation(np.linspace(0.5, 0.9, 8))
    tiles = Tiling(SIDE, 0.25, whole).tiles(*IMAGE)
    found = []
    for tile in tiles:
        parts, visible = seen_in(tile, boxes, offset=offset)
        found.append(detections(parts, scores[visible]))
    merged = merge(found, tiles, offset=offset)
    order = np.argsort(-scores)
    expected = boxes[order] - np.array([0, 0, offset, offset])
    np.testing.assert_allclose(merged.boxes[0], expected, atol=1e-3)
    np.testing.assert_allclose(merged.scores[0], scores[order], atol=1e-6)


def test_parts_of_different_objects_stay_apart():
    tiles = Tiling(SIDE, 0.25, whole=False).tiles(SIDE, 175)
    first, second = tiles
    above, below = [20, 10, 100, 20], [0, 40, 70, 50]
    other_class = detections([[10, 60, 100, 80], above], classes=[1, 2])
    found = merge([other_class, detections([below, [0, 60, 70, 80]])], tiles)
    joined = {tuple(box) for box in found.boxes[0].tolist()}
    assert first.x == 0 and second.x == 75
    assert joined == {(20, 10, 100, 20), (75, 40, 145, 50), (10, 60, 145, 80)}


def test_a_part_in_the_overlap_is_dropped_even_if_the_other_tile_found_nothing():
    tiles = Tiling(SIDE, 0.25, whole=False).tiles(SIDE, 175)
    cut = detections([[80, 40, 100, 60]])
    assert merge([cut, detections([])], tiles).boxes.shape[1] == 0


def test_the_whole_image_answers_for_objects_that_no_tile_shows_whole():
    *tiles, everything = Tiling(SIDE, 0.25).tiles(SIDE, 175)
    assert everything.whole and len(tiles) == 2
    large, small = [10, 10, 160, 90], [30, 30, 40, 40]
    parts = [detections([[10, 10, 100, 90]]), detections([[0, 12, 85, 88]])]
    whole = detections([large, small], scores=[0.4, 0.95])
    merged = merge([*parts, whole], [*tiles, everything])
    assert merged.boxes[0].tolist() == [large]


def test_masks_and_keypoints_of_joined_parts():
    tiles = Tiling(SIDE, 0.25, whole=False).tiles(SIDE, 175)
    size = 28
    full = torch.ones(1, 1, size, size)
    upper = full.clone()
    upper[..., size // 2 :, :] = 0
    points = torch.tensor([[[[30.0, 50, 0.9], [99, 50, 0.2]]]])
    others = torch.tensor([[[[1.0, 50, 0.1], [60, 50, 0.8]]]])
    merged = merge(
        [
            detections([[20, 40, 100, 60]], masks=full, keypoints=points),
            detections([[0, 40, 65, 60]], [0.8], masks=upper, keypoints=others),
        ],
        tiles,
    )
    assert merged.boxes[0].tolist() == [[20, 40, 140, 60]]
    mask = merged.masks[0, 0] >= 0.5
    right = int(size * 80 / 120) + 1  # beyond what the first tile shows
    assert mask[:, : right - 2].all() and mask[: size // 2 - 1, right:].all()
    assert not mask[size // 2 + 1 :, right:].any()
    kept = torch.tensor([[30.0, 50, 0.9], [135, 50, 0.8]])
    torch.testing.assert_close(merged.keypoints[0, 0], kept)


def test_tiles_cover_the_image_with_the_overlap():
    tiles = Tiling(SIDE, 0.25, whole=False).tiles(*IMAGE)
    columns = sorted({tile.x for tile in tiles})
    assert {(tile.width, tile.height) for tile in tiles} == {(SIDE, SIDE)}
    assert columns[0] == 0 and columns[-1] == IMAGE[1] - SIDE
    assert max(np.diff(columns)) <= 75
    assert len(Tiling(SIDE).tiles(SIDE, SIDE)) == 1
    low = Tiling(SIDE).tiles(40, 175)
    assert [tile.height for tile in low] == [40, 40, 40]
