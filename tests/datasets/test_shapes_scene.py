"""One drawn image: what the set promises, tight boxes, flags, contrast."""

from collections import Counter

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets import shapes_scene
from faster_rcnn.datasets.shapes_scene import (
    CLASSES,
    draw_scene,
)


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(np.random.default_rng([7, i])) for i in range(150)]


def objects_of(scenes):
    for scene in scenes:
        yield from scene.objects


def inside(outline, height, width):
    """Crossing count of a ray to the right from each pixel centre: even is outside."""
    x = np.arange(width)[None, :]
    y = np.arange(height)[:, None]
    odd = np.zeros((height, width), bool)
    for contour in outline:
        for (ax, ay), (bx, by) in zip(contour, np.roll(contour, -1, 0), strict=True):
            if ay == by:
                continue
            spans = (ay > y) != (by > y)
            odd ^= spans & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return odd


def voc_box(mask):
    ys, xs = np.nonzero(mask)
    return [xs.min() + 1, ys.min() + 1, xs.max() + 1, ys.max() + 1]


def test_the_set_is_complete(scenes):
    objects = list(objects_of(scenes))
    names = Counter(drawn.name for drawn in objects)
    assert set(names) == set(CLASSES)
    assert min(names.values()) > len(objects) / 12
    counts = Counter(len(scene.objects) for scene in scenes)
    assert set(counts) == set(range(7))
    assert 0.02 < counts[0] / 150 < 0.12
    assert 0 < sum(s.pixels.ndim == 2 for s in scenes) / 150 < 0.1
    assert 0.04 < sum(o.difficult for o in objects) / len(objects) < 0.12
    assert 0.06 < sum(o.truncated for o in objects) / len(objects) < 0.3
    assert len({scene.pixels.shape[:2] for scene in scenes}) == 4
    widths = [o.box[2] - o.box[0] + 1 for o in objects]
    assert min(widths) < 28 and max(widths) > 100
    assert 30 < np.median(widths) < 70


def test_boxes_lie_inside_the_image(scenes):
    for scene in scenes:
        height, width = scene.pixels.shape[:2]
        for drawn in scene.objects:
            left, top, right, bottom = drawn.box
            assert 1 <= left <= right <= width
            assert 1 <= top <= bottom <= height


def test_boxes_and_flags_follow_from_the_outlines(scenes):
    """Masks by crossing counts, not by OpenCV, give the boxes to a pixel or two."""
    offsets = []
    pad = 96
    for scene in scenes[:60]:
        height, width = scene.pixels.shape[:2]
        covered = np.zeros((height, width), bool)
        for drawn in reversed(scene.objects):  # the nearest first
            moved = tuple(contour + pad for contour in drawn.outline)
            whole = inside(moved, height + 2 * pad, width + 2 * pad)
            in_image = whole[pad:-pad, pad:-pad]
            seen = in_image & ~covered
            covered |= in_image
            share = seen.sum() / whole.sum()
            # OpenCV's edges lie half a pixel out, and sharp tips one more.
            slack = 4 / np.sqrt(whole.sum())
            assert drawn.visible == pytest.approx(share, abs=slack)
            assert drawn.visible >= 0.6
            if abs(share - 0.7) > slack:
                side = min(drawn.box[2] - drawn.box[0], drawn.box[3] - drawn.box[1]) + 1
                assert drawn.difficult == (share < 0.7 or side < 20)
            if not drawn.truncated:
                assert whole.sum() - in_image.sum() <= 4
            # Slivers a pixel wide fall either way where shapes touch.
            off = np.abs(np.subtract(voc_box(seen), drawn.box))
            assert off.max() <= (2 if drawn.visible > 0.98 else 8)
            offsets.extend(off)
    assert len(offsets) > 400
    assert np.mean(offsets) < 1


def test_a_lone_object_is_where_its_box_says(monkeypatch):
    """The pixels that a known disc changes on a flat canvas are those of its box."""
    monkeypatch.setattr(shapes_scene, "CLASSES", ("disc",))
    monkeypatch.setattr(shapes_scene, "_BORDER_SHARE", 0.0)
    for seed in range(10):
        canvas = np.full((160, 192, 3), 120, np.uint8)
        layers = []
        shapes_scene._add_object(np.random.default_rng(seed), canvas, layers)
        box = shapes_scene._annotate(layers[0]).box
        changed = voc_box((np.abs(canvas.astype(int) - 120) > 25).any(axis=2))
        assert np.abs(np.subtract(changed, box)).max() <= 1
        ((outline),) = layers[0].outline
        extent = [*(outline.min(0) + 1), *(outline.max(0) + 1)]
        assert np.abs(np.subtract(extent, box)).max() <= 1


def test_objects_stand_out_from_what_is_behind_them():
    for seed in range(20):
        level = 12 * seed
        canvas = np.full((160, 192, 3), level, np.uint8)
        alpha = np.zeros((160, 192), np.uint8)
        alpha[40:80, 50:90] = 255
        rng = np.random.default_rng(seed)
        colours = shapes_scene._colours(rng, CLASSES[seed % len(CLASSES)])
        shapes_scene._paint(rng, canvas, alpha, colours)
        painted = canvas[40:80, 50:90].mean(axis=(0, 1))
        assert np.abs(painted - level).max() > 40
        assert (canvas[alpha == 0] == level).all()


def test_a_class_has_a_usual_colour_but_not_always():
    """Hues of many stars lie within the spread, but for a few of any colour."""
    rng = np.random.default_rng(0)
    usual = 360 / len(CLASSES) * CLASSES.index("star")
    near = 0
    for _ in range(400):
        bgr = shapes_scene._colours(rng, "star")
        hues = cv2.cvtColor(bgr[None] / 255, cv2.COLOR_BGR2HSV)[0, :, 0]
        away = np.abs((hues - usual + 180) % 360 - 180)
        near += bool((away <= 18.5).all())
    assert 0.88 < near / 400 < 0.99
