"""Masks and keypoints of the drawn shapes."""

import hotcoco.mask
import numpy as np
import pytest
from faster_rcnn.datasets.mask_outlines import trace
from faster_rcnn.datasets.records import Wanted
from faster_rcnn.datasets.shapes import generate, read
from faster_rcnn.datasets.shapes_outlines import (
    KEYPOINTS,
    coco_annotations,
    outline_keypoints,
)
from faster_rcnn.datasets.shapes_scene import draw_scene


@pytest.fixture(scope="module")
def objects():
    scenes = [draw_scene(np.random.default_rng([7, i])) for i in range(60)]
    return [drawn for scene in scenes for drawn in scene.objects]


def solid(polygons, height, width):
    rows = [np.ravel(part).tolist() for part in polygons]
    parts = hotcoco.mask.decode(hotcoco.mask.frPyObjects(rows, height, width))
    return parts.any(axis=2)


def test_polygons_are_the_visible_pixels(objects):
    for drawn in objects:
        found = solid(trace(drawn.seen), *drawn.seen.shape)
        overlap = (found & drawn.seen).sum() / (found | drawn.seen).sum()
        assert overlap > 0.9, drawn.name
    rings = [drawn for drawn in objects if drawn.name == "ring" and drawn.visible == 1]
    middles = [np.rint(ring.outline[1].mean(0)).astype(int) for ring in rings]
    for ring, (x, y) in zip(rings, middles, strict=True):
        assert not solid(trace(ring.seen), *ring.seen.shape)[y, x]


def test_keypoints_lie_on_the_outline(objects):
    count = np.zeros(3, int)
    for drawn in objects:
        keypoints = outline_keypoints(drawn)
        assert keypoints.shape == (len(KEYPOINTS), 3)
        count += np.bincount(keypoints[:, 2].astype(int), minlength=3)
        if (keypoints[:, 2] > 0).all():
            top, left, right, bottom = keypoints[:, :2]
            assert left[1] == right[1] and top[0] == bottom[0]
            assert left[0] < top[0] < right[0] and top[1] < left[1] < bottom[1]
        if drawn.visible == 1 and not drawn.truncated:
            assert (keypoints[:, 2] == 2).all()
    assert count[2] > 5 * count.min() > 0


def test_a_mirrored_shape_has_the_mirrored_keypoints(objects):
    whole = next(o for o in objects if o.visible == 1 and o.name == "star")
    width = whole.seen.shape[1]
    mirrored = type(whole)(
        name="star",
        outline=tuple(
            np.column_stack((width - 1 - c[:, 0], c[:, 1])) for c in whole.outline
        ),
        box=whole.box,
        visible=1,
        truncated=False,
        difficult=False,
        seen=whole.seen[:, ::-1],
    )
    expected = outline_keypoints(whole)[[0, 2, 1, 3]]
    expected[:, 0] = width - 1 - expected[:, 0]
    np.testing.assert_allclose(outline_keypoints(mirrored), expected, atol=1e-9)


def test_annotations_are_read_beside_the_boxes(tmp_path):
    generate(tmp_path / "shapes", train_images=6, test_images=2)
    boxes = read(tmp_path / "shapes", "train", Wanted())
    assert not boxes.has_masks and boxes.records[0].masks is None
    found = read(tmp_path / "shapes", "train", Wanted(masks=True, keypoints=True))
    assert found.has_masks and found.keypoints.flip_pairs == ((1, 2),)
    assert found.layout == "voc" and found.drops == {}
    objects = 0
    for number, (plain, full) in enumerate(
        zip(boxes.records, found.records, strict=True)
    ):
        scene = draw_scene(np.random.default_rng((20150604, 0, number)))
        rows = list(coco_annotations(scene, number + 1))
        assert len(full.masks) == len(full.keypoints) == len(plain.boxes) == len(rows)
        np.testing.assert_array_equal(plain.boxes, full.boxes)
        for row, box, mask, keypoints in zip(
            rows, full.boxes, full.masks, full.keypoints, strict=True
        ):
            corners = np.concatenate(mask)
            extent = [*corners.min(0), *corners.max(0)]
            np.testing.assert_allclose(extent, box, atol=1.5)
            labelled = keypoints[keypoints[:, 2] > 0]
            written = np.reshape(row["keypoints"], (-1, 3))
            written = written[written[:, 2] > 0]
            np.testing.assert_allclose(labelled[:, :2], written[:, :2] + 0.5, atol=1e-4)
            objects += 1
    assert objects > 5
